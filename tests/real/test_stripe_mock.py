"""Every call that our client makes is one of Stripe's API: its own mock server takes them all (`make test-real`)."""

from __future__ import annotations

import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
import stripe

from runtime.settings import Settings
from services.payment.bootstrap import bootstrap
from services.payment.payments.errors import PaymentUnsettled
from services.payment.stripe.client import StripeClient
from services.payment.stripe.gate import StripeGate
from tests.support.payment_harness import new_payment, payment_settings
from tests.support.real.stripe_mock import NEWEST_API_VERSION, running_stripe_mock
from tests.support.saga_recorder import SagaRecorder

SINCE = datetime(2026, 1, 1, tzinfo=UTC)


async def _list_events(client: StripeClient) -> None:
    async for _ in client.list_events(created_from=SINCE):
        pass


CALLS: dict[str, Callable[[StripeClient], Awaitable[object]]] = {
    "find_problem": lambda client: client.find_problem(),
    "create_intent": lambda client: client.create_intent(
        payment_id="p", order_id="o", amount=1_000, currency="EUR", key="create"
    ),
    "find_intent": lambda client: client.find_intent(payment_id="p", created_from=SINCE, created_until=SINCE),
    "get_intent": lambda client: client.get_intent("pi_1"),
    "get_client_secret": lambda client: client.get_client_secret("pi_1"),
    "confirm_intent": lambda client: client.confirm_intent("pi_1", payment_method="pm_card_visa", key="confirm"),
    "cancel_intent": lambda client: client.cancel_intent("pi_1", key="cancel"),
    "list_failed_charges": lambda client: client.list_failed_charges("pi_1"),
    "create_refund": lambda client: client.create_refund(
        refund_id="r", order_id="o", intent_id="pi_1", amount=100, currency="EUR", key="refund"
    ),
    "list_refunds": lambda client: client.list_refunds("pi_1"),
    "list_disputes": lambda client: client.list_disputes("pi_1"),
    "list_events": _list_events,
    "list_endpoints": lambda client: client.list_endpoints(),
    "create_endpoint": lambda client: client.create_endpoint(url="https://shop.example.test/", key="endpoint"),
    "update_endpoint": lambda client: client.update_endpoint("we_1"),
}


class Recorder(stripe.AIOHTTPClient):
    """Sends requests, and keeps what was answered to each."""

    def __init__(self) -> None:
        super().__init__(timeout=10)
        self.answers: list[tuple[str, int]] = []

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        body, status, answered = await super().request_async(method, url, headers, post_data)
        self.answers.append((f"{method.upper()} {urlsplit(url).path}", status))
        return body, status, answered


def test_every_call_of_our_client_is_checked() -> None:
    public = {name for name, _ in inspect.getmembers(StripeClient, inspect.isfunction) if not name.startswith("_")} - {
        "close"
    }

    assert set(CALLS) == public


@pytest.fixture(scope="module")
async def api_base(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with running_stripe_mock(tmp_path_factory.mktemp("stripe-mock")) as url:
        yield url


@pytest.mark.real
@pytest.mark.needs("go")
@pytest.mark.timeout(600)  # the first run builds it
@pytest.mark.parametrize("name", CALLS)
async def test_stripes_mock_server_takes_our_calls(api_base: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stripe, "api_version", NEWEST_API_VERSION)
    recorder = Recorder()
    client = StripeClient(
        api_key="sk_test_123",
        gate=StripeGate(rate=None, calls=1, events=1),
        api_base=api_base,
        timeout=10,
        payment_method_types=["card", "sepa_debit"],
        app="ordersaga",
        http_client=recorder,
    )

    await CALLS[name](client)
    await client.close()

    assert recorder.answers
    assert [answer for answer in recorder.answers if answer[1] != 200] == []


@pytest.mark.real
@pytest.mark.needs("go")
@pytest.mark.timeout(600)
async def test_no_call_of_the_payment_service_is_refused(api_base: str, databases: Mapping[str, str]) -> None:
    recorder = Recorder()
    settings = Settings.model_validate(payment_settings(databases["payment"], stripe_api_base=api_base))
    async with bootstrap(settings, stripe_http=recorder, sagas=SagaRecorder()) as components:
        payments = components.payments
        for payment_method in (None, "pm_card_visa"):
            payment = await payments.open(new_payment(payment_method=payment_method))
            await payments.check(payment.order_id, refresh=True)
            with suppress(PaymentUnsettled):  # the mock server answers each call alike, whatever came before
                await payments.close(payment.order_id)
            with suppress(PaymentUnsettled):
                await payments.void(payment.order_id)
    await recorder.close_async()  # type: ignore[no-untyped-call]  # the SDK leaves it untyped

    calls = {re.sub(r"pi_[A-Za-z0-9]+", "{intent}", call) for call, _ in recorder.answers}
    assert {status for _, status in recorder.answers} == {200}
    assert calls == {
        "POST /v1/payment_intents",
        "GET /v1/payment_intents/{intent}",
        "POST /v1/payment_intents/{intent}/confirm",
        "POST /v1/payment_intents/{intent}/cancel",
        "GET /v1/charges",
    }


@pytest.mark.real
@pytest.mark.needs("go")
@pytest.mark.timeout(600)
async def test_stripes_mock_server_refuses_what_is_no_parameter(api_base: str) -> None:
    http = stripe.AIOHTTPClient(timeout=10)
    client = stripe.StripeClient("sk_test_123", base_addresses={"api": api_base}, http_client=http)

    with pytest.raises(stripe.InvalidRequestError):
        await client.v1.payment_intents.create_async({"amount": 1, "currency": "eur", "colour": "red"})  # type: ignore[typeddict-unknown-key]  # the point
    await http.close_async()  # type: ignore[no-untyped-call]  # the SDK leaves it untyped
