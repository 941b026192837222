"""How many connections strangers may have, and that nothing else has changed for them."""

from __future__ import annotations

import resource

import pytest

from runtime.http_limits import room_for
from tests.support.http_server import GET, HALF_HEAD, POST, on_uvloop, rejected, serving_http
from tests.support.raw_http import connected

# -- Number -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("waiting", [b"", HALF_HEAD, POST], ids=["nothing", "half a head", "half a body"])
@on_uvloop
async def test_whoever_keeps_us_waiting_goes_for_a_new_connection(waiting: bytes) -> None:
    before = rejected("evicted")
    async with (
        serving_http(connections=2) as server,
        connected(server.port, waiting) as first,
        connected(server.port, waiting) as second,
    ):
        async with connected(server.port, GET) as honest:
            assert (await honest.answer()).status == 200
            assert await first.rest() == b""
        assert not second.has_heard()
    assert rejected("evicted") == before + 1


@on_uvloop
async def test_who_waits_with_half_a_head_goes_before_who_may_come_again() -> None:
    async with (
        serving_http(connections=2) as server,
        connected(server.port, GET) as idle,
    ):
        assert (await idle.answer()).status == 200
        async with connected(server.port, HALF_HEAD) as half, connected(server.port, GET) as honest:
            assert (await honest.answer()).status == 200
            assert await half.rest() == b""
            idle.send(GET)
            assert (await idle.answer()).status == 200


@on_uvloop
async def test_half_a_request_behind_a_whole_one_costs_nobody_the_answer() -> None:
    later = b"GET /later HTTP/1.1\r\nhost: x\r\n\r\n"
    async with serving_http(connections=1) as server, connected(server.port, later + POST) as served:
        await server.app.begun.wait()
        async with connected(server.port, GET) as late:
            assert (await late.answer()).status == 503
        server.app.go.set()
        assert (await served.answer()).status == 200
        served.send(b"0123456789")
        assert (await served.answer()).body == b"0123456789"


@on_uvloop
async def test_an_idle_connection_goes_for_a_new_one() -> None:
    async with serving_http(connections=1) as server, connected(server.port, GET) as idle:
        assert (await idle.answer()).status == 200
        async with connected(server.port, GET) as honest:
            assert (await honest.answer()).status == 200
        assert await idle.rest() == b""


@on_uvloop
async def test_when_everybody_is_being_served_the_next_one_is_told_to_come_again() -> None:
    later = b"GET /later HTTP/1.1\r\nhost: x\r\n\r\n"
    async with serving_http(connections=1) as server, connected(server.port, later + HALF_HEAD) as served:
        await server.app.begun.wait()
        for _ in range(3):
            async with connected(server.port, GET) as late:
                answer = await late.answer()
                assert (answer.status, answer.problem) == (503, "too-many-connections")
                assert (answer.headers["retry-after"], answer.headers["connection"]) == ("1", "close")
                assert await late.rest() == b""
        server.app.go.set()
        assert (await served.answer()).status == 200


@pytest.mark.parametrize(
    ("soft", "hard", "room", "raised"),
    [
        (1_024, 524_288, 1_000, 1_128),
        (4_096, 4_096, 1_000, 4_096),
        (1_024, 1_024, 896, 1_024),
        (200, 200, 100, 200),
        (256, resource.RLIM_INFINITY, 1_000, 1_128),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 1_000, resource.RLIM_INFINITY),
    ],
)
def test_connections_leave_descriptors_to_everything_else(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, room: int, raised: int
) -> None:
    limits = [(soft, hard)]
    monkeypatch.setattr(resource, "getrlimit", lambda which: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda which, limit: limits.append(limit))

    assert (room_for(1_000), limits[-1][0]) == (room, raised)


# -- What must not break ----------------------------------------------------------------------------------------------


@on_uvloop
async def test_requests_in_a_row_are_answered_in_their_order() -> None:
    posts = [b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n%d" % number for number in range(9)]
    async with serving_http() as server, connected(server.port, b"".join(posts)) as client:
        assert [(await client.answer()).body for _ in posts] == [b"%d" % number for number in range(9)]


@on_uvloop
async def test_a_request_before_nonsense_is_answered() -> None:
    async with serving_http() as server, connected(server.port, GET + b"nonsense\r\n\r\n") as client:
        assert (await client.answer()).status == 200
        assert await client.rest() == b""


@on_uvloop
async def test_a_client_that_asks_whether_to_go_on_is_told_so() -> None:
    head = b"POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"
    async with serving_http() as server, connected(server.port, head) as client:
        assert (await client.answer()).status == 100
        client.send(b"ab")
        assert (await client.answer()).body == b"ab"


@on_uvloop
async def test_a_wish_for_another_protocol_is_passed_over() -> None:
    head = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"
    async with serving_http() as server, connected(server.port, head) as client:
        assert (await client.answer()).status == 200
        client.send(GET)
        assert (await client.answer()).status == 200


@on_uvloop
async def test_before_the_end_each_answer_is_its_connections_last() -> None:
    async with serving_http() as server, connected(server.port, GET) as client:
        assert "connection" not in (await client.answer()).headers
        server.draining[0] = True
        client.send(GET)
        assert (await client.answer()).headers["connection"] == "close"
        assert await client.rest() == b""
