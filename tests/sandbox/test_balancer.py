"""The load balancer of bench and chaos tests: whose turn it is, and what becomes of a request that nobody answered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from runtime.settings import Settings
from sandbox.balancer import Balancer
from sandbox.ports import free_port
from sandbox.replicas import Replica
from tests.support.http_server import Server, on_uvloop, serving_http

BODY = b"an order"


def gateway(port: int, *, is_going: bool = False) -> Replica:
    return Replica(part="gateway", settings=Settings(gateway_port=port), folder=Path(), is_going=is_going)


async def post(balancer: Balancer, times: int) -> Sequence[bytes]:
    async with httpx.AsyncClient(transport=balancer, base_url="http://gateway.test") as client:
        return [(await client.post("/", content=BODY)).content for _ in range(times)]


def was_asked(server: Server) -> bool:
    return server.app.begun.is_set()


@on_uvloop
async def test_gateways_take_turns() -> None:
    async with serving_http() as first, serving_http() as second:
        answers = await post(Balancer([gateway(first.port), gateway(second.port)]), 2)

    assert answers == [BODY, BODY]
    assert was_asked(first)
    assert was_asked(second)


@on_uvloop
async def test_what_a_gateway_that_goes_did_not_answer_is_sent_to_the_next_one_as_it_was() -> None:
    async with serving_http() as staying:
        balancer = Balancer([gateway(free_port(), is_going=True), gateway(staying.port)])
        answers = await post(balancer, 4)

    assert answers == [BODY] * 4
    assert balancer.sent_again == 2


@on_uvloop
async def test_a_gateway_that_breaks_off_though_it_is_not_to_go_is_the_clients_trouble() -> None:
    async with serving_http() as staying:
        balancer = Balancer([gateway(free_port()), gateway(staying.port)])
        with pytest.raises(httpx.ConnectError):
            await post(balancer, 1)

    assert balancer.sent_again == 0
