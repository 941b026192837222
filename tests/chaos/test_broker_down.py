"""The Kafka broker is down while orders pass: nobody notices at the shop, and every event and mail comes afterwards."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from domain.ids import new_id
from tests.chaos.conftest import Chaos
from tests.support.client import PARTITIONS, Customer, Event, Json, StackClient, observer, order_of, until

pytestmark = pytest.mark.more

ORDER_EVENTS = ["order.received", "order.created", "order.paid"]
PAYMENT_EVENTS = ["payment.created", "payment.status_updated", "payment.status_updated"]


async def place(client: StackClient, customer: Customer, product_id: str) -> Json:
    order: Json = (await client.place(customer, order_of(product_id, quantity=1), key=new_id())).json()
    return order


async def pay(client: StackClient, customer: Customer, order: Json) -> None:
    await client.pay(order)
    await client.until_status(customer, order["id"], "PAID")


def mails_of(order: Json) -> list[str]:
    """The confirmation and the receipt, by the events that they are sent for."""
    return [f"<order-{order['id']}-{seq}@ordersaga>" for seq in (2, 3)]


def seqs_and_types(events: Sequence[Event]) -> list[tuple[str, str]]:
    return [(event.headers["ce_seq"], event.headers["ce_type"]) for event in events]


def gapless(types: Sequence[str]) -> list[tuple[str, str]]:
    return [(str(seq), kind) for seq, kind in enumerate(types, start=1)]


async def unread(client: StackClient) -> int:
    """Records of order-events past those that the notification service's group has committed, as far as they come."""
    partitions = [TopicPartition("order-events", number) for number in range(PARTITIONS)]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=client.stack.endpoints.kafka,
        group_id="notification",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    consumer.assign(partitions)  # so it looks at the group's offsets without joining it
    async with consumer:
        return sum(len(records) for records in (await consumer.getmany(timeout_ms=1_000)).values())


async def test_orders_get_paid_without_the_broker_and_their_events_and_mails_come_when_it_is_back(
    chaos: Chaos,
) -> None:
    client = chaos.client
    customer, product_id = await client.sign_up(), await client.add_product(units=10)
    before, across = [await place(client, customer, product_id) for _ in range(2)]
    await pay(client, customer, before)
    # one consumer before and another after: a position in the log of a broker that forgot it means nothing
    async with observer(client.stack.settings) as consumer:
        await consumer.events("order-events", before["id"], at_least=3)
        await consumer.events("order-events", across["id"], at_least=2)

    async with chaos.down("kafka"):
        within = await place(client, customer, product_id)
        await pay(client, customer, across)
        await pay(client, customer, within)
    orders = [before, across, within]

    async with observer(client.stack.settings) as consumer:
        for order in orders:
            events = await consumer.events("order-events", order["id"], at_least=3)
            assert seqs_and_types(events) == gapless(ORDER_EVENTS)
            events = await consumer.events("payment-events", order["id"], at_least=3)
            assert seqs_and_types(events) == gapless(PAYMENT_EVENTS)
        events = await consumer.events("stock-events", product_id, at_least=7)
        assert [event.headers["ce_seq"] for event in events] == [str(seq) for seq in range(1, 8)]
    # the broker forgot what was read, so all comes to the notification service a second time
    await until(lambda: unread(client), lambda count: count == 0)
    mails = await client.mails(customer.email, at_least=6)
    assert sorted(mail["message_id"] for mail in mails) == sorted(name for order in orders for name in mails_of(order))
    await chaos.orders_agree()
