"""The payment service over gRPC: bad requests name their fields, refusals have reasons, trouble is UNAVAILABLE."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import grpc
import pytest
from pydantic import SecretStr
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from domain.ids import new_id
from domain.refusals import Refusal
from ordersaga.payment.v1 import payment_pb2 as pb
from ordersaga.payment.v1.payment_pb2_grpc import PaymentServiceStub, add_PaymentServiceServicer_to_server
from runtime.caller import ANONYMOUS, SERVICE, Caller, CallerRole
from runtime.process import Life
from runtime.refusal import CallRefused
from runtime.rpc_client import ServiceUnavailable, call, open_channel
from runtime.rpc_server import RpcServer
from runtime.settings import Settings
from sandbox.ports import free_port
from services.payment.server import SERVICE_NAME, PaymentServicer, run
from services.payment.signals import SignalUndelivered, TemporalSignals
from tests.payment_rig import Rig, payment_rig, sign
from tests.stripe_double import API_KEY, WEBHOOK_SECRET

DEADLINE = 10.0


@pytest.fixture
async def rig(databases: Mapping[str, str], tmp_path: Path) -> AsyncIterator[Rig]:
    async with payment_rig(databases["payment"], tmp_path) as made:
        yield made


@pytest.fixture
async def payments(rig: Rig) -> AsyncIterator[PaymentServiceStub]:
    servicer = PaymentServicer(rig.service, rig.intake)
    server = RpcServer(
        "127.0.0.1:0",
        services=(SERVICE_NAME,),
        add=lambda server: add_PaymentServiceServicer_to_server(servicer, server),
        grace=1,
    )
    async with server, open_channel(f"127.0.0.1:{server.port}") as channel:
        yield PaymentServiceStub(channel)


def open_request(**changes: object) -> pb.OpenPaymentRequest:
    values = {"order_id": new_id(), "user_id": new_id(), "amount": 2_599, "currency": "EUR", **changes}
    return pb.OpenPaymentRequest(**values)  # type: ignore[arg-type]  # any values


async def test_a_payment_is_opened_checked_closed_and_voided(payments: PaymentServiceStub) -> None:
    request = open_request(payment_method="pm_card_visa")

    opened = await call(payments.OpenPayment, request, caller=SERVICE, deadline=DEADLINE)
    check = pb.CheckPaymentRequest(order_id=request.order_id)
    checked = await call(payments.CheckPayment, check, caller=SERVICE, deadline=DEADLINE)
    close = pb.ClosePaymentRequest(order_id=request.order_id)
    closed = await call(payments.ClosePayment, close, caller=SERVICE, deadline=DEADLINE)
    void = pb.VoidPaymentRequest(order_id=request.order_id)
    await call(payments.VoidPayment, void, caller=SERVICE, deadline=DEADLINE)
    voided = await call(payments.CheckPayment, check, caller=SERVICE, deadline=DEADLINE)

    assert opened.payment == pb.Payment(
        id=opened.payment.id,
        order_id=request.order_id,
        status=pb.PAYMENT_STATUS_SUCCEEDED,
        amount=2_599,
        currency="EUR",
        amount_received=2_599,
    )
    assert checked.payment == closed.payment == opened.payment
    assert voided.payment.amount_refunded == 2_599


async def test_a_bad_request_names_every_field(payments: PaymentServiceStub) -> None:
    request = open_request(order_id="1", user_id="X", amount=-1, currency="eur", payment_method="p" * 256)

    with pytest.raises(CallRefused) as refused:
        await call(payments.OpenPayment, request, caller=SERVICE, deadline=DEADLINE)

    assert refused.value.refusal is Refusal.INVALID_ARGUMENT
    assert set(refused.value.details) == {"order_id", "user_id", "amount", "currency", "payment_method"}


async def test_a_payment_in_a_currency_that_came_in_otherwise_says_so(rig: Rig, payments: PaymentServiceStub) -> None:
    payment = await rig.opened()
    # Somebody changed the intent at Stripe before the customer paid.
    rig.change_intent(payment, currency="jpy", amount=2_599)
    await rig.customer_pays(payment, "pm_card_visa")

    request = pb.CheckPaymentRequest(order_id=payment.order_id, refresh=True)
    answer = await call(payments.CheckPayment, request, caller=SERVICE, deadline=DEADLINE)

    assert (answer.payment.amount_received, answer.payment.currency) == (2_599, "JPY")


@pytest.mark.parametrize(
    ("amount", "currency", "refusal"),
    [
        (49, "EUR", Refusal.PAYMENT_REJECTED),
        (5_124, "KWD", Refusal.PAYMENT_REJECTED),
        (1, "E", Refusal.INVALID_ARGUMENT),
    ],
)
async def test_an_amount_that_stripe_cannot_charge_is_rejected(
    payments: PaymentServiceStub, amount: int, currency: str, refusal: Refusal
) -> None:
    with pytest.raises(CallRefused) as refused:
        await call(
            payments.CheckAmount,
            pb.CheckAmountRequest(amount=amount, currency=currency),
            caller=SERVICE,
            deadline=DEADLINE,
        )

    assert refused.value.refusal is refusal


async def test_an_amount_that_stripe_can_charge_is_accepted(payments: PaymentServiceStub) -> None:
    await call(
        payments.CheckAmount, pb.CheckAmountRequest(amount=50, currency="EUR"), caller=SERVICE, deadline=DEADLINE
    )


async def test_trouble_at_stripe_is_unavailable_and_no_refusal(rig: Rig, payments: PaymentServiceStub) -> None:
    await rig.break_api("payment_intents.create", error_500_before=1.0)

    with pytest.raises(ServiceUnavailable) as unavailable:
        await call(payments.OpenPayment, open_request(), caller=SERVICE, deadline=DEADLINE)

    assert unavailable.value.code is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("caller", [ANONYMOUS, Caller(CallerRole.CUSTOMER, new_id())])
async def test_only_services_open_payments(payments: PaymentServiceStub, caller: Caller) -> None:
    with pytest.raises(CallRefused) as refused:
        await call(payments.OpenPayment, open_request(), caller=caller, deadline=DEADLINE)

    assert refused.value.refusal is Refusal.PERMISSION_DENIED


async def test_another_customers_client_secret_does_not_exist(rig: Rig, payments: PaymentServiceStub) -> None:
    payment = await rig.opened()
    request = pb.GetClientSecretRequest(order_id=payment.order_id)

    own = await call(
        payments.GetClientSecret,
        request,
        caller=Caller(CallerRole.CUSTOMER, payment.user_id or ""),
        deadline=DEADLINE,
    )
    with pytest.raises(CallRefused) as refused:
        await call(payments.GetClientSecret, request, caller=Caller(CallerRole.CUSTOMER, new_id()), deadline=DEADLINE)

    assert own.client_secret.startswith(f"{payment.intent_id}_secret_")
    assert refused.value.refusal is Refusal.PAYMENT_NOT_FOUND


async def test_a_webhook_needs_no_caller_but_a_signature(rig: Rig, payments: PaymentServiceStub) -> None:
    await rig.opened("pm_card_visa")
    [body] = await rig.webhook_bodies("payment_intent.succeeded")
    good, forged, empty = (
        pb.ReceiveWebhookRequest(body=sent, signature=signature)
        for sent, signature in [(body, sign(body)), (body, sign(b"other")), (b"{}", sign(b"{}"))]
    )

    await call(payments.ReceiveWebhook, good, caller=ANONYMOUS, deadline=DEADLINE)

    for request, refusal in [(forged, Refusal.BAD_WEBHOOK_SIGNATURE), (empty, Refusal.BAD_WEBHOOK_BODY)]:
        with pytest.raises(CallRefused) as refused:
            await call(payments.ReceiveWebhook, request, caller=ANONYMOUS, deadline=DEADLINE)
        assert refused.value.refusal is refusal
    assert await rig.event_statuses() == {"payment_intent.succeeded": "RECEIVED"}


async def test_the_service_starts_and_stores_events_while_temporal_is_down(
    rig: Rig, databases: Mapping[str, str]
) -> None:
    payment = await rig.opened("pm_card_visa")
    settings = Settings(
        payment_dsn=SecretStr(databases["payment"]),
        payment_address=f"127.0.0.1:{free_port()}",
        stripe_api_key=SecretStr(API_KEY),
        stripe_api_base=str(rig.browser.base_url).rstrip("/"),
        stripe_webhook_secret=SecretStr(WEBHOOK_SECRET),
        temporal_address="127.0.0.1:1",
        stripe_sweep_interval=0.05,
        shutdown_grace=1,
    )
    life = Life(asyncio.Event())
    running = asyncio.create_task(run(settings, life))
    await asyncio.wait_for(life.started.wait(), 10)

    # The sweep brings the event in, the inbox works on it in vain.
    async with asyncio.timeout(20):
        while not (rows := await rig.rows("SELECT status, note FROM provider_events WHERE note <> ''")):
            pass
    life.stopping.set()
    await asyncio.wait_for(running, 10)

    assert [(row["status"], row["note"].partition(":")[0]) for row in rows] == [("RECEIVED", "Temporal")]
    assert (await rig.service.check(payment.order_id, refresh=False)).amount_received == 2_599


async def test_a_signal_for_an_order_without_a_workflow_decides_nothing() -> None:
    server = shutil.which("temporal-test-server", path=str(Path(sys.executable).parent))
    async with await WorkflowEnvironment.start_time_skipping(test_server_existing_path=server) as environment:
        signals = TemporalSignals(environment.client)

        await signals.payment_changed(order_id=new_id(), event_id="evt_1")


async def test_a_signal_that_reaches_no_temporal_is_undelivered() -> None:
    client = await Client.connect("127.0.0.1:1", lazy=True)

    with pytest.raises(SignalUndelivered):
        await TemporalSignals(client).payment_changed(order_id=new_id(), event_id="evt_1")
