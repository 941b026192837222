"""Over HTTP and in the same process the official SDK sees the same account: answers, headers, faults, what is left."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
import stripe

from sandbox.stripe.account import StripeAccount
from sandbox.stripe.api.calls import ApiRequest, Reply
from sandbox.stripe.errors import ApiError
from sandbox.stripe.faults import ApiFaults, Faults, Operation
from sandbox.stripe.in_process import InProcessClient
from sandbox.stripe.objects import Charge, Intent, RefundStatus
from sandbox.stripe.rules.intents import Authentication
from sandbox.stripe.server import StripeDouble
from tests.support.stripe_double import WEBHOOK_SECRET, create, in_process_sdk, open_account, sdk

_HEADERS = (
    "content-type",
    "idempotency-key",
    "idempotent-replayed",
    "original-request",
    "request-id",
    "stripe-version",
)
_RANDOM = re.compile(
    r"\b(pi|ch|re|evt|req|pm|txn|du|we|whsec)_[A-Za-z0-9]{14,}|_secret_[A-Za-z0-9]{25}|[0-9a-f]{8}(-[0-9a-f]{4,12}){4}"
)


@dataclass
class Observer:
    """What a caller sees, call by call; what is random or an address is replaced by when it was first seen."""

    client: stripe.StripeClient
    account: StripeAccount
    with_key: Callable[[str], stripe.StripeClient]
    """The SDK with another key."""
    seen: list[str] = field(default_factory=list)
    _names: dict[str, str] = field(default_factory=dict)

    async def see(self, call: Awaitable[Any]) -> Any:
        """Await a call and note what it came to."""
        try:
            answer = await call
        except stripe.StripeError as error:
            message = None if error.http_status else str(error).partition("(Network error")[0].split()
            self._note(type(error).__name__, error.http_status, message, error.http_body, error.headers)
            return None
        response = answer.last_response
        self._note(type(answer).__name__, response.code, None, response.body, response.headers)
        return answer

    def _note(
        self, kind: str, status: object, message: object, body: object, headers: Mapping[str, str] | None
    ) -> None:
        shown = {name: (headers or {}).get(name) for name in _HEADERS}
        text = f"{kind} {status} {message} {body!r} {shown}".replace(self.account.base_url, "BASE")
        self.seen.append(_RANDOM.sub(lambda match: self._names.setdefault(match[0], f"#{len(self._names)}"), text))


@asynccontextmanager
async def over_http() -> AsyncIterator[Observer]:
    with open_account() as account:
        async with StripeDouble(account) as double, sdk(double) as client, sdk(double, api_key="pk_test_shop") as shop:
            yield Observer(client, account, lambda key: shop)


@asynccontextmanager
async def in_process() -> AsyncIterator[Observer]:
    with open_account() as account:
        http = InProcessClient(account)
        yield Observer(in_process_sdk(http), account, lambda key: in_process_sdk(http, api_key=key))


async def paying(observer: Observer) -> None:
    intents = observer.client.v1.payment_intents
    made = await observer.see(create(observer.client, key="create", metadata={"order_id": "ö & 1"}))
    await observer.see(create(observer.client, key="create", metadata={"order_id": "ö & 1"}))
    await observer.see(create(observer.client, key="create", metadata={"order_id": "another"}))
    await observer.see(
        intents.confirm_async(made.id, {"payment_method": "pm_card_chargeDeclined"}, {"idempotency_key": "c"})
    )
    await observer.see(
        intents.confirm_async(made.id, {"payment_method": "pm_card_chargeDeclined"}, {"idempotency_key": "c"})
    )
    await observer.see(intents.confirm_async(made.id, {"payment_method": "pm_card_visa", "expand": ["latest_charge"]}))
    await observer.see(intents.cancel_async(made.id, {}, {"idempotency_key": "cancel"}))
    await observer.see(intents.cancel_async(made.id, {}, {"idempotency_key": "cancel"}))
    await observer.see(observer.client.v1.events.list_async({"types": ["payment_intent.succeeded", "charge.failed"]}))


async def refunding(observer: Observer) -> None:
    paid = await observer.see(create(observer.client, payment_method="pm_card_pendingRefund", confirm=True))
    made = await observer.see(observer.client.v1.refunds.create_async({"payment_intent": paid.id, "amount": 100}))
    observer.account.clock.advance(5)
    await observer.see(observer.client.v1.refunds.retrieve_async(made.id))
    observer.account.open_dispute(paid.latest_charge)
    await observer.see(observer.client.v1.refunds.create_async({"payment_intent": paid.id}))
    await observer.see(observer.client.v1.disputes.list_async({"payment_intent": paid.id, "limit": 1}))


async def settling_late(observer: Observer) -> None:
    intents = observer.client.v1.payment_intents
    made = await observer.see(create(observer.client, currency="eur", allowed_payment_method_types=["sepa_debit"]))
    await observer.see(intents.update_async(made.id, {"amount": 1_000, "metadata": {"a": "1", "b": ""}}))
    await observer.see(intents.confirm_async(made.id, {"payment_method": "pm_failed_de"}))
    accepted: Any = {"mandate_data": {"customer_acceptance": {"type": "offline"}}}
    await observer.see(intents.confirm_async(made.id, accepted))
    await observer.see(intents.cancel_async(made.id))
    observer.account.clock.advance(5)
    await observer.see(intents.retrieve_async(made.id, {"expand": ["latest_charge"]}))


async def holding(observer: Observer) -> None:
    intents = observer.client.v1.payment_intents
    for end in ({"amount_to_capture": 100}, {"amount_to_capture": 10_000}):
        held = await observer.see(
            create(observer.client, payment_method="pm_card_visa", confirm=True, capture_method="manual")
        )
        await observer.see(intents.capture_async(held.id, end))  # type: ignore[arg-type]  # plain
        await observer.see(intents.cancel_async(held.id))


async def what_is_wrong(observer: Observer) -> None:
    await observer.see(create(observer.client, colour="red"))
    await observer.see(observer.client.v1.payment_intents.retrieve_async("pi_nobody"))
    await observer.see(observer.client.raw_request_async("get", "/v1/coffees"))
    await observer.see(observer.client.raw_request_async("delete", "/v1/payment_intents/pi_1"))
    await observer.see(create(observer.with_key("pk_test_shop")))


async def endpoints(observer: Observer) -> None:
    service = observer.client.v1.webhook_endpoints
    wanted: Any = {"url": "https://shop.example.test/", "enabled_events": ["payment_intent.succeeded"]}
    made = await observer.see(service.create_async(wanted, {"idempotency_key": "made"}))
    await observer.see(service.create_async(wanted, {"idempotency_key": "made"}))
    await observer.see(service.update_async(made.id, {"disabled": True}))
    await observer.see(service.list_async())
    await observer.see(service.delete_async(made.id))
    await observer.see(service.delete_async(made.id))
    await observer.see(observer.with_key("pk_test_shop").v1.webhook_endpoints.list_async())


async def faults(observer: Observer) -> None:
    for key, fault in {
        "429": ApiFaults(error_429=1.0),
        "before": ApiFaults(error_500_before=1.0),
        "after": ApiFaults(error_500_after=1.0),
        "lost": ApiFaults(lose_response=1.0),
    }.items():
        observer.account.faults.set(Faults(api=fault))
        await observer.see(create(observer.client, key=key))
        observer.account.faults.clear()
        await observer.see(create(observer.client, key=key))
    await observer.see(observer.client.v1.payment_intents.list_async({"limit": 2}))


async def a_concurrent_duplicate(observer: Observer) -> None:
    observer.account.faults.set(Faults(api=ApiFaults(delay_ms=(60_000, 60_000))))
    first = asyncio.create_task(create(observer.client, key="k"))
    duplicate = asyncio.create_task(create(observer.client, key="k"))
    refused, [executing] = await asyncio.wait([first, duplicate], return_when=asyncio.FIRST_COMPLETED)
    observer.account.faults.clear()
    for task in (*refused, executing):
        await observer.see(task)


SCENARIOS = [
    paying,
    refunding,
    settling_late,
    holding,
    endpoints,
    what_is_wrong,
    faults,
    a_concurrent_duplicate,
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_both_transports_show_the_same(scenario: Callable[[Observer], Awaitable[None]]) -> None:
    async with over_http() as http:
        await scenario(http)
    async with in_process() as direct:
        await scenario(direct)

    assert direct.seen == http.seen
    assert len(direct.seen) > 1


async def test_a_call_that_takes_too_long_goes_on_without_its_caller() -> None:
    with open_account() as account:
        http = InProcessClient(account, timeout=0.01)
        client = in_process_sdk(http)
        account.faults.set(
            Faults(api=ApiFaults(delay_ms=(60_000, 60_000), operations=frozenset({Operation.INTENT_CREATE})))
        )

        with pytest.raises(stripe.APIConnectionError, match="TimeoutError"):
            await create(client, key="k")
        account.faults.clear()
        await http.drain()
        again = await create(client, key="k")

        assert [intent.id for intent in account.all(Intent)] == [again.id]


async def test_a_cancelled_caller_does_not_stop_its_call() -> None:
    with open_account() as account:
        sent = asyncio.Event()

        async def note(request: ApiRequest) -> None:
            sent.set()

        http = InProcessClient(account, before=note)
        account.faults.set(Faults(api=ApiFaults(delay_ms=(60_000, 60_000))))
        caller = asyncio.create_task(create(in_process_sdk(http)))
        await sent.wait()

        caller.cancel()
        await asyncio.wait([caller])
        account.faults.clear()
        await http.drain()

        assert caller.cancelled()
        assert len(account.all(Intent)) == 1


@pytest.mark.parametrize(("lost", "made"), [("before", 0), ("after", 1)])
async def test_a_hook_may_lose_the_request_or_the_response(lost: str, made: int) -> None:
    async def lose(request: ApiRequest, *reply: Reply) -> None:
        assert [answered.status for answered in reply] == [200] * made
        raise stripe.APIConnectionError(f"{request.method} {request.path} was lost")  # type: ignore[no-untyped-call]

    with open_account() as account:
        client = in_process_sdk(InProcessClient(account, **{lost: lose}))  # type: ignore[arg-type]  # either of the two

        with pytest.raises(stripe.APIConnectionError, match="POST /v1/payment_intents was lost"):
            await create(client)

        assert len(account.all(Intent)) == made


async def test_the_customers_payment_is_a_method_that_no_fault_concerns() -> None:
    with open_account() as account:
        client = in_process_sdk(InProcessClient(account))
        intent = await create(client, currency="eur", allowed_payment_method_types=["card", "sepa_debit"])
        account.faults.set(Faults(api=ApiFaults(error_500_before=1.0)))

        with pytest.raises(ApiError) as declined:
            account.confirm(intent.id, "pm_card_visa_chargeDeclined")
        waiting = account.confirm(intent.id, "pm_card_authenticationRequired")
        failed = account.authenticate(waiting.id, Authentication.FAIL)
        processing = account.confirm(intent.id, "pm_success_de")

        assert (declined.value.status, waiting.status) == (402, "requires_action")
        assert (failed.status, processing.status) == ("requires_payment_method", "processing")
        assert [charge.status for charge in account.all(Charge, list_key=intent.id)] == ["failed", "pending"]


async def test_the_switches_are_methods_and_no_rule_binds_overwrite() -> None:
    with open_account(late_after=None, webhook_events=["charge.refunded"]) as account:
        client = in_process_sdk(InProcessClient(account))
        waiting = await create(client, payment_method="pm_card_authenticationRequired", confirm=True)
        paid = account.authenticate(waiting.id)
        refund = await client.v1.refunds.create_async({"payment_intent": paid.id, "amount": 100})
        account.change_refund(refund.id, RefundStatus.FAILED)
        [charge] = account.all(Charge, list_key=paid.id)

        [delivery] = account.deliveries.due()
        signed = account.deliveries.sign(delivery)
        account.deliveries.failed(delivery)
        event = stripe.Webhook.construct_event(signed.body, signed.signature, WEBHOOK_SECRET)
        assert (event.type, account.deliveries.due()) == ("charge.refunded", [])
        account.clock.advance(1)
        assert [again.attempts for again in account.deliveries.due()] == [1]

        account.overwrite(msgspec.structs.replace(paid, currency="eur"))
        account.remove(charge.id)
        assert ((await client.v1.payment_intents.retrieve_async(paid.id)).currency, account.all(Charge)) == ("eur", [])
        account.clear()
        assert (account.all(Intent), account.deliveries.outstanding()) == ([], [])
