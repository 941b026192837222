"""The faults of the Go system that this one replaces, as far as they are a whole order's, each shown gone."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from domain.ids import new_id
from services.payment.webhooks.errors import BadWebhookSignature
from tests.support.payment_harness import sign
from tests.support.saga_shop import Shop

DECLINED = "pm_card_chargeDeclined"


async def test_fault_1_a_failed_payment_gives_all_stock_back(shop: Shop) -> None:
    products = [await shop.product(units=5) for _ in range(2)]
    run = await shop.place(*((product, 3) for product in products), payment_method=DECLINED, wait=10)
    assert [(await shop.stock(product)).reserved for product in products] == [3, 3]

    for _ in range(2):
        assert not await shop.pay(run, DECLINED)
        await shop.deliver_events()
    result = await shop.result(run)

    assert (result.status, result.reason) == ("FAILED", "PAYMENT_DECLINED")
    levels = [await shop.stock(product) for product in products]
    assert [(level.on_hand, level.reserved) for level in levels] == [(5, 0), (5, 0)]
    assert await shop.disagreements(run) == []


async def test_fault_1_an_order_that_fails_at_its_second_line_keeps_nothing_of_the_first(shop: Shop) -> None:
    plenty, scarce = await shop.product(units=10), await shop.product(units=1)

    result = await shop.result(await shop.place((plenty, 4), (scarce, 2)))

    assert (result.status, result.reason) == ("FAILED", "OUT_OF_STOCK")
    assert [(await shop.stock(product)).reserved for product in (plenty, scarce)] == [0, 0]


async def test_fault_4_stripes_signed_webhook_turns_an_order_paid_and_an_unsigned_one_does_nothing(shop: Shop) -> None:
    product, window = await shop.product(units=5), timedelta(hours=1)
    run = await shop.place((product, 2), payment_window_seconds=int(window.total_seconds()), wait=10)
    assert await shop.pay(run)
    page = await shop.stripe.v1.events.list_async({"limit": 100, "types": ["payment_intent.succeeded"]})
    order_id = (await shop.order(run)).id
    [body] = [
        msgspec.json.encode(event.to_dict(for_json=True))
        for event in page.data
        if event.data.object["metadata"]["order_id"] == order_id
    ]
    webhooks, inbox = shop.payment.webhooks, shop.payment.inbox

    with pytest.raises(BadWebhookSignature):
        await webhooks.receive(body=body, signature=sign(body, secret=f"whsec_{new_id()}"))
    await inbox.process_due()
    assert (await shop.order(run)).status == "PENDING"
    await webhooks.receive(body=body, signature=sign(body))
    await inbox.process_due()
    result = await shop.result(run)

    assert (result.status, (await shop.order(run)).status) == ("PAID", "PAID")
    history = await run.fetch_history()
    signalled = [event for event in history.events if event.HasField("workflow_execution_signaled_event_attributes")]
    assert len(signalled) == 1
    description = await run.describe()
    assert description.close_time is not None
    assert description.close_time - description.start_time < window
    assert await shop.disagreements(run) == []
