"""What a stranger's connection may send, and for how long it may keep us waiting."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.client import until
from tests.support.http_server import GET, HALF_HEAD, LARGE, POST, SHORT, on_uvloop, rejected, serving_http
from tests.support.raw_http import connected

# -- Size -------------------------------------------------------------------------------------------------------------


@on_uvloop
async def test_a_header_without_end_is_cut_off() -> None:
    before = rejected("head_too_large")
    async with serving_http() as server, connected(server.port, HALF_HEAD + b"x: ") as client:
        await client.send_until_closed(b"a" * (64 << 20))
        answer = await client.answer()

        assert (answer.status, answer.problem, answer.headers["connection"]) == (431, "head-too-large", "close")
        assert await client.rest() == b""
    assert rejected("head_too_large") == before + 1


@pytest.mark.parametrize(
    "head",
    [
        b"GET /%s HTTP/1.1\r\nhost: x\r\n\r\n" % (b"a" * 17_000),
        b"GET / HTTP/1.1\r\nhost: x\r\nx: %s\r\n\r\n" % (b"a" * 17_000),
        b"GET / HTTP/1.1\r\nhost: x\r\n%s\r\n" % (b"x: %s\r\n" % (b"a" * 1_000) * 17),
        b"\r\n" * 10_000,
    ],
    ids=["path", "header", "headers", "nothing"],
)
@on_uvloop
async def test_a_head_that_is_too_large_gets_a_problem(head: bytes) -> None:
    async with serving_http() as server, connected(server.port, head) as client:
        assert (await client.answer()).problem == "head-too-large"
        assert await client.rest() == b""
        assert not server.app.begun.is_set()


@on_uvloop
async def test_a_head_as_large_as_allowed_is_served() -> None:
    head = b"GET / HTTP/1.1\r\nhost: x\r\nx: %s\r\n\r\n" % (b"a" * 16_300)
    async with serving_http() as server, connected(server.port, head + head) as client:
        assert [(await client.answer()).status for _ in range(2)] == [200, 200]


@pytest.mark.parametrize(("number", "status"), [(99, 200), (100, 431)])
@on_uvloop
async def test_headers_are_counted(number: int, status: int) -> None:
    head = b"GET / HTTP/1.1\r\nhost: x\r\n%s\r\n" % (b"x: y\r\n" * number)
    async with serving_http() as server, connected(server.port, head) as client:
        answer = await client.answer()

        assert answer.status == status
        assert status == 200 or answer.problem == "too-many-headers"


@on_uvloop
async def test_trailers_without_end_are_cut_off() -> None:
    begun = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nx: "
    async with serving_http() as server, connected(server.port, begun) as client:
        await client.send_until_closed(b"a" * (1 << 20))

        assert (await client.answer()).problem == "head-too-large"


@on_uvloop
async def test_what_is_no_http_gets_a_problem() -> None:
    async with serving_http() as server, connected(server.port, b"\x16\x03\x01\x02\x00\r\n\r\n") as client:
        assert (await client.answer()).problem == "bad-request"
        assert await client.rest() == b""


# -- Time -------------------------------------------------------------------------------------------------------------


@on_uvloop
async def test_a_connection_that_sends_nothing_is_closed_without_a_word() -> None:
    before = rejected("silent")
    async with serving_http(head_timeout=SHORT) as server, connected(server.port) as client:
        assert await client.rest() == b""
    assert rejected("silent") == before + 1


@on_uvloop
async def test_half_a_head_times_out_however_it_drips() -> None:
    async with serving_http(head_timeout=SHORT) as server, connected(server.port, HALF_HEAD + b"x: ") as client:
        while not client.has_heard():
            client.send(b"a")
            await asyncio.sleep(0.05)

        answer = await client.answer()
        assert (answer.status, answer.problem, answer.headers["connection"]) == (408, "request-timeout", "close")
        assert await client.rest() == b""


@on_uvloop
async def test_half_a_head_behind_another_request_times_out() -> None:
    async with serving_http(head_timeout=SHORT) as server, connected(server.port, GET + HALF_HEAD) as client:
        assert [(await client.answer()).status for _ in range(2)] == [200, 408]


@on_uvloop
async def test_half_a_body_times_out_however_it_drips() -> None:
    async with serving_http(body_timeout=SHORT) as server, connected(server.port, POST) as client:
        for _ in range(9):
            if client.has_heard():
                break
            client.send(b"a")
            await asyncio.sleep(0.2)

        assert (await client.answer()).problem == "request-timeout"
        assert await client.rest() == b""
        assert server.app.disconnects == 1


@on_uvloop
async def test_a_body_that_goes_on_after_its_answer_is_cut_off() -> None:
    head = b"POST /early HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n"
    async with serving_http(body_timeout=SHORT) as server, connected(server.port, head) as client:
        assert (await client.answer()).status == 200
        assert await client.rest() == b""


@on_uvloop
async def test_a_body_that_comes_in_time_leaves_the_connection_open() -> None:
    head = b"POST /early HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n"
    async with serving_http() as server, connected(server.port, head) as client:
        assert (await client.answer()).status == 200
        client.send(b"0123456789" + GET)
        assert (await client.answer()).status == 200


@on_uvloop
async def test_an_idle_connection_is_closed() -> None:
    async with serving_http(idle_timeout=SHORT) as server, connected(server.port, GET) as client:
        assert (await client.answer()).status == 200
        assert await client.rest() == b""


@on_uvloop
async def test_a_request_that_takes_long_to_answer_is_not_cut_off() -> None:
    head = b"GET /later HTTP/1.1\r\nhost: x\r\n\r\n"
    limits = {"head_timeout": SHORT, "body_timeout": SHORT, "idle_timeout": SHORT}
    async with serving_http(**limits) as server, connected(server.port, head) as client:
        await asyncio.sleep(3 * SHORT)
        assert not client.has_heard()
        server.app.go.set()
        assert (await client.answer()).status == 200


@on_uvloop
async def test_a_client_that_does_not_read_its_answer_is_cut_off() -> None:
    before = rejected("unread")
    async with serving_http(body_timeout=SHORT) as server, connected(server.port) as client:
        client.pause()
        client.send(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")

        async def unread() -> float:
            return rejected("unread")

        await until(unread, lambda number: number > before)


@on_uvloop
async def test_a_client_that_reads_slowly_gets_all_of_its_answer() -> None:
    ask = b"GET /large HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    async with serving_http(body_timeout=2 * SHORT) as server, connected(server.port, ask) as client:
        for _ in range(16):
            assert await client.read(LARGE // 16)
            await asyncio.sleep(SHORT / 4)
        assert len(await client.rest()) > 0  # as much as the head
