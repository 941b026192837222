"""Every process is replaced, one after the other, while customers order: none of them sees anything of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx
import psycopg
import pytest

from cli.audit.run import audit
from cli.serve import PARTS
from sandbox.ports import Ports
from sandbox.supervisor import Stack
from tests.support.replicas import two_of_each
from tests.support.steady_load import TIMEOUT, add_product, open_door, sign_in, sign_up

pytestmark = [pytest.mark.more, pytest.mark.long]

BUYERS = 4
UNITS = 1_000_000


async def test_an_update_of_every_process_is_seen_by_nobody(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    ports = Ports.free()
    logs = tmp_path / "logs"
    logs.mkdir()
    async with (
        Stack(var=tmp_path / "var", ports=ports, parts=False) as stack,
        two_of_each(stack.settings, gateway_port=ports.gateway, folder=logs) as replicas,
        open_door(replicas.of("gateway")) as door,
        httpx.AsyncClient(base_url=stack.endpoints.stripe, timeout=TIMEOUT, trust_env=False) as stripe,
    ):
        account = stack.endpoints.accounts["admin"]
        admin = await sign_in(door, account.email, account.password)
        product, sold_out = await add_product(door, admin, units=UNITS), await add_product(door, admin, units=0)
        buyers = [await sign_up(door, stripe, product=product, sold_out=sold_out) for _ in range(BUYERS)]
        stopping = asyncio.Event()

        async with asyncio.TaskGroup() as shopping:
            for buyer in buyers:
                shopping.create_task(buyer.buy(stopping))
            for part in PARTS:
                for replica in replicas.of(part):
                    before = door.answered
                    await replica.replace()
                    assert door.answered > before
            stopping.set()

        placed = {buyer.id: {order.order_id for order in buyer.placed} for buyer in buyers}
        paid = sum(order.outcome == "PAID" for buyer in buyers for order in buyer.placed)
        async with await psycopg.AsyncConnection.connect(stack.endpoints.postgres["order"]) as orders:
            rows = await (await orders.execute("SELECT user_id::text, id::text FROM orders")).fetchall()
        assert sorted(rows) == sorted((buyer, order) for buyer, ids in placed.items() for order in ids)
        level = (await door.ask("GET", f"/v1/inventory/{product}", headers=admin)).json()
        assert (level["on_hand"], level["reserved"]) == (UNITS - paid, 0)
        assert (await audit(stack.settings))[1] == []
        record_property(
            "figure", f"rolling update: {len(rows)} orders, {door.answered} answers, {door.sent_again} sent again"
        )
