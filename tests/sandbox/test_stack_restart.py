"""A stack that is stopped and started again on the same folder: nothing is lost, nothing happens twice."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from cli.audit.run import audit
from domain.ids import new_id
from tests.support.client import Customer, Json, StackClient, order_of, running_stack, until


async def outstanding_webhooks(var: Path) -> int:
    """How many events the Stripe double has not delivered yet."""
    with closing(sqlite3.connect(var / "stripe" / "stripe.sqlite3")) as store:
        return int(store.execute("SELECT count(*) FROM deliveries").fetchone()[0])


async def ended(client: StackClient, customer: Customer, order: Json) -> str:
    """What becomes of a waiting order."""
    read = await until(lambda: client.read_order(customer, order["id"]), lambda read: read["status"] != "PENDING")
    return str(read["status"])


async def test_a_second_start_finds_everything_as_it_was(tmp_path: Path) -> None:
    async with running_stack(tmp_path) as client:
        customer, product_id = await client.sign_up(), await client.add_product()
        finished, waiting, paid_for = [
            (await client.place(customer, order_of(product_id, quantity=quantity), key=new_id())).json()
            for quantity in (1, 2, 3)
        ]
        await client.pay(finished)
        assert await ended(client, customer, finished) == "PAID"
        await client.mails(customer.email, at_least=4)
        late = {"webhook": {"delay_ms": [10_000, 10_000]}}
        (await client.stripe.post("/_sandbox/faults", json=late)).raise_for_status()
        await client.pay(paid_for)
    assert await outstanding_webhooks(tmp_path) > 0

    async with running_stack(tmp_path) as client:
        assert (await client.read_order(customer, waiting["id"])) == waiting
        await client.pay(waiting)
        assert await ended(client, customer, waiting) == "PAID"
        assert await ended(client, customer, paid_for) == "PAID"
        await until(lambda: outstanding_webhooks(tmp_path), lambda count: count == 0)
        stock = await client.gateway.get(f"/v1/inventory/{product_id}", headers=client.admin)
        assert stock.json() == {"product_id": product_id, "on_hand": 4, "reserved": 0, "available": 4}

        # the broker, in memory, had forgotten everything
        history = await client.kafka.events("order-events", finished["id"], at_least=3)
        assert [event.headers["ce_type"] for event in history] == ["order.received", "order.created", "order.paid"]
        # the mail of seq 3 comes after seq 1 and 2 have been consumed again
        mails = await client.mails(customer.email, at_least=6)
        assert sorted(mail["message_id"] for mail in mails) == sorted(
            f"<order-{order['id']}-{seq}@ordersaga>" for order in (finished, waiting, paid_for) for seq in (2, 3)
        )
        _, breaches = await audit(client.stack.settings)
        assert breaches == []
