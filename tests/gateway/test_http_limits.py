"""What a stranger's connection may send, and for how long it may keep us waiting."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any

import pytest
import uvloop
from prometheus_client import REGISTRY

from runtime.http_limits import INTERNAL_LIMITS, room_for
from runtime.http_server import http_server
from sandbox.ports import free_port
from tests.support.client import until
from tests.support.raw_http import connected

GENEROUS = replace(INTERNAL_LIMITS, head_timeout=600, body_timeout=600, idle_timeout=600)
LARGE = 1 << 26
"""Bytes: more than the kernel keeps for a client that does not read."""
SHORT = 1.0
"""Seconds: nothing that is to be in time has to wait for anything."""
GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
HALF_HEAD = b"GET / HTTP/1.1\r\nhost: x\r\n"
POST = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n"


def on_uvloop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """The test on the loop that our processes run."""

    @wraps(test)
    def run(**arguments: Any) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(test(**arguments))

    return run


class Application:
    """Answers with the body it got: at once when the path is /early, when `go` is set when it is /later."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.begun = asyncio.Event()
        self.disconnects = 0

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (message := await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": f"{message['type']}.complete"})
            return
        self.begun.set()
        body = b"" if scope["path"] == "/early" else await self._read(receive)
        if body is None:
            return
        if scope["path"] == "/later":
            await self.go.wait()
        if scope["path"] == "/large":
            body = bytes(LARGE)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})

    async def _read(self, receive: Any) -> bytes | None:
        body: bytes = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.disconnects += 1
                return None
            body += message["body"]
            if not message["more_body"]:
                return body


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    port: int
    app: Application
    draining: list[bool]


@asynccontextmanager
async def serving(**limits: Any) -> AsyncIterator[Server]:
    server = Server(port=free_port(), app=Application(), draining=[False])
    async with http_server(
        server.app,
        host="127.0.0.1",
        port=server.port,
        grace=5,
        limits=replace(GENEROUS, **limits),
        is_draining=lambda: server.draining[0],
    ):
        yield server


def rejected(reason: str) -> float:
    return REGISTRY.get_sample_value("ordersaga_http_rejected_total", {"reason": reason}) or 0


# -- Size -------------------------------------------------------------------------------------------------------------


@on_uvloop
async def test_a_header_without_end_is_cut_off() -> None:
    before = rejected("head_too_large")
    async with serving() as server, connected(server.port, HALF_HEAD + b"x: ") as client:
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
    async with serving() as server, connected(server.port, head) as client:
        assert (await client.answer()).problem == "head-too-large"
        assert await client.rest() == b""
        assert not server.app.begun.is_set()


@on_uvloop
async def test_a_head_as_large_as_allowed_is_served() -> None:
    head = b"GET / HTTP/1.1\r\nhost: x\r\nx: %s\r\n\r\n" % (b"a" * 16_300)
    async with serving() as server, connected(server.port, head + head) as client:
        assert [(await client.answer()).status for _ in range(2)] == [200, 200]


@pytest.mark.parametrize(("number", "status"), [(99, 200), (100, 431)])
@on_uvloop
async def test_headers_are_counted(number: int, status: int) -> None:
    head = b"GET / HTTP/1.1\r\nhost: x\r\n%s\r\n" % (b"x: y\r\n" * number)
    async with serving() as server, connected(server.port, head) as client:
        answer = await client.answer()

        assert answer.status == status
        assert status == 200 or answer.problem == "too-many-headers"


@on_uvloop
async def test_trailers_without_end_are_cut_off() -> None:
    begun = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nx: "
    async with serving() as server, connected(server.port, begun) as client:
        await client.send_until_closed(b"a" * (1 << 20))

        assert (await client.answer()).problem == "head-too-large"


@on_uvloop
async def test_what_is_no_http_gets_a_problem() -> None:
    async with serving() as server, connected(server.port, b"\x16\x03\x01\x02\x00\r\n\r\n") as client:
        assert (await client.answer()).problem == "bad-request"
        assert await client.rest() == b""


# -- Time -------------------------------------------------------------------------------------------------------------


@on_uvloop
async def test_a_connection_that_sends_nothing_is_closed_without_a_word() -> None:
    before = rejected("silent")
    async with serving(head_timeout=SHORT) as server, connected(server.port) as client:
        assert await client.rest() == b""
    assert rejected("silent") == before + 1


@on_uvloop
async def test_half_a_head_times_out_however_it_drips() -> None:
    async with serving(head_timeout=SHORT) as server, connected(server.port, HALF_HEAD + b"x: ") as client:
        while not client.has_heard():
            client.send(b"a")
            await asyncio.sleep(0.05)

        answer = await client.answer()
        assert (answer.status, answer.problem, answer.headers["connection"]) == (408, "request-timeout", "close")
        assert await client.rest() == b""


@on_uvloop
async def test_half_a_head_behind_another_request_times_out() -> None:
    async with serving(head_timeout=SHORT) as server, connected(server.port, GET + HALF_HEAD) as client:
        assert [(await client.answer()).status for _ in range(2)] == [200, 408]


@on_uvloop
async def test_half_a_body_times_out_however_it_drips() -> None:
    async with serving(body_timeout=SHORT) as server, connected(server.port, POST) as client:
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
    async with serving(body_timeout=SHORT) as server, connected(server.port, head) as client:
        assert (await client.answer()).status == 200
        assert await client.rest() == b""


@on_uvloop
async def test_a_body_that_comes_in_time_leaves_the_connection_open() -> None:
    head = b"POST /early HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n"
    async with serving() as server, connected(server.port, head) as client:
        assert (await client.answer()).status == 200
        client.send(b"0123456789" + GET)
        assert (await client.answer()).status == 200


@on_uvloop
async def test_an_idle_connection_is_closed() -> None:
    async with serving(idle_timeout=SHORT) as server, connected(server.port, GET) as client:
        assert (await client.answer()).status == 200
        assert await client.rest() == b""


@on_uvloop
async def test_a_request_that_takes_long_to_answer_is_not_cut_off() -> None:
    head = b"GET /later HTTP/1.1\r\nhost: x\r\n\r\n"
    limits = {"head_timeout": SHORT, "body_timeout": SHORT, "idle_timeout": SHORT}
    async with serving(**limits) as server, connected(server.port, head) as client:
        await asyncio.sleep(3 * SHORT)
        assert not client.has_heard()
        server.app.go.set()
        assert (await client.answer()).status == 200


@on_uvloop
async def test_a_client_that_does_not_read_its_answer_is_cut_off() -> None:
    before = rejected("unread")
    async with serving(body_timeout=SHORT) as server, connected(server.port) as client:
        client.pause()
        client.send(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")

        async def unread() -> float:
            return rejected("unread")

        await until(unread, lambda number: number > before)


@on_uvloop
async def test_a_client_that_reads_slowly_gets_all_of_its_answer() -> None:
    ask = b"GET /large HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    async with serving(body_timeout=2 * SHORT) as server, connected(server.port, ask) as client:
        for _ in range(16):
            assert await client.read(LARGE // 16)
            await asyncio.sleep(SHORT / 4)
        assert len(await client.rest()) > 0  # as much as the head


# -- Number -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("waiting", [b"", HALF_HEAD, POST], ids=["nothing", "half a head", "half a body"])
@on_uvloop
async def test_whoever_keeps_us_waiting_goes_for_a_new_connection(waiting: bytes) -> None:
    before = rejected("evicted")
    async with (
        serving(connections=2) as server,
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
        serving(connections=2) as server,
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
    async with serving(connections=1) as server, connected(server.port, later + POST) as served:
        await server.app.begun.wait()
        async with connected(server.port, GET) as late:
            assert (await late.answer()).status == 503
        server.app.go.set()
        assert (await served.answer()).status == 200
        served.send(b"0123456789")
        assert (await served.answer()).body == b"0123456789"


@on_uvloop
async def test_an_idle_connection_goes_for_a_new_one() -> None:
    async with serving(connections=1) as server, connected(server.port, GET) as idle:
        assert (await idle.answer()).status == 200
        async with connected(server.port, GET) as honest:
            assert (await honest.answer()).status == 200
        assert await idle.rest() == b""


@on_uvloop
async def test_when_everybody_is_being_served_the_next_one_is_told_to_come_again() -> None:
    later = b"GET /later HTTP/1.1\r\nhost: x\r\n\r\n"
    async with serving(connections=1) as server, connected(server.port, later + HALF_HEAD) as served:
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
    async with serving() as server, connected(server.port, b"".join(posts)) as client:
        assert [(await client.answer()).body for _ in posts] == [b"%d" % number for number in range(9)]


@on_uvloop
async def test_a_request_before_nonsense_is_answered() -> None:
    async with serving() as server, connected(server.port, GET + b"nonsense\r\n\r\n") as client:
        assert (await client.answer()).status == 200
        assert await client.rest() == b""


@on_uvloop
async def test_a_client_that_asks_whether_to_go_on_is_told_so() -> None:
    head = b"POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"
    async with serving() as server, connected(server.port, head) as client:
        assert (await client.answer()).status == 100
        client.send(b"ab")
        assert (await client.answer()).body == b"ab"


@on_uvloop
async def test_a_wish_for_another_protocol_is_passed_over() -> None:
    head = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"
    async with serving() as server, connected(server.port, head) as client:
        assert (await client.answer()).status == 200
        client.send(GET)
        assert (await client.answer()).status == 200


@on_uvloop
async def test_before_the_end_each_answer_is_its_connections_last() -> None:
    async with serving() as server, connected(server.port, GET) as client:
        assert "connection" not in (await client.answer()).headers
        server.draining[0] = True
        client.send(GET)
        assert (await client.answer()).headers["connection"] == "close"
        assert await client.rest() == b""
