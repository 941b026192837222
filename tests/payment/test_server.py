"""The payment service over gRPC: bad requests name their fields, refusals have reasons, trouble is UNAVAILABLE."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc
import grpc.aio
import pytest

from domain.ids import new_id
from domain.money import MAX_AMOUNT
from domain.refusals import Refusal
from ordersaga.common.v1.order_line_pb2 import OrderLine
from ordersaga.payment.v1 import payment_pb2 as pb
from ordersaga.payment.v1.payment_pb2_grpc import PaymentServiceStub
from runtime.caller import ANONYMOUS, SERVICE, Caller, CallerRole
from runtime.process import Lifecycle
from runtime.refusal import CallRefused
from runtime.rpc_client import ServiceUnavailable
from sandbox.certificates import OPERATOR
from sandbox.ports import free_port
from services.payment.server import grpc_service, run
from tests.support.background import running
from tests.support.payment_harness import ADMIN, PaymentHarness, payment_harness, sign
from tests.support.rpc import call, channel_to

DEADLINE = 10.0
CUSTOMER = Caller(CallerRole.CUSTOMER, new_id())
THE_ADMIN = Caller(CallerRole.ADMIN, ADMIN)


@pytest.fixture
async def payments(harness: PaymentHarness) -> AsyncIterator[PaymentServiceStub]:
    async with channel_to(grpc_service(harness.components)) as channel:
        yield PaymentServiceStub(channel)


def open_request(**changes: object) -> pb.OpenPaymentRequest:
    values = {"order_id": new_id(), "user_id": new_id(), "amount": 2_599, "currency": "EUR", **changes}
    return pb.OpenPaymentRequest(**values)  # type: ignore[arg-type]  # any values


def refund_request(order_id: str, **changes: object) -> pb.RequestRefundRequest:
    values = {"order_id": order_id, "idempotency_key": new_id(), "note": "arrived broken", **changes}
    return pb.RequestRefundRequest(**values)  # type: ignore[arg-type]  # any values


async def refusal(
    method: grpc.aio.UnaryUnaryMultiCallable[Any, Any], request: object, *, caller: Caller = SERVICE
) -> CallRefused:
    """How a call is refused."""
    with pytest.raises(CallRefused) as refused:
        await call(method, request, caller=caller, deadline=DEADLINE)
    return refused.value


async def test_a_payment_is_opened_checked_closed_and_voided(
    harness: PaymentHarness, payments: PaymentServiceStub
) -> None:
    request = open_request(payment_method="pm_card_visa")

    opened = await call(payments.OpenPayment, request, caller=SERVICE, deadline=DEADLINE)
    check = pb.CheckPaymentRequest(order_id=request.order_id)
    checked = await call(payments.CheckPayment, check, caller=SERVICE, deadline=DEADLINE)
    close = pb.ClosePaymentRequest(order_id=request.order_id)
    closed = await call(payments.ClosePayment, close, caller=SERVICE, deadline=DEADLINE)
    void = pb.VoidPaymentRequest(order_id=request.order_id)
    await call(payments.VoidPayment, void, caller=SERVICE, deadline=DEADLINE)
    await harness.run_sagas(await harness.service.check(request.order_id, refresh=False))
    voided = await call(payments.CheckPayment, check, caller=SERVICE, deadline=DEADLINE)

    assert opened.payment == pb.Payment(
        id=opened.payment.id,
        order_id=request.order_id,
        status=pb.PAYMENT_STATUS_SUCCEEDED,
        amount=2_599,
        currency="EUR",
        amount_received=2_599,
        amount_refundable=2_599,
    )
    assert checked.payment == closed.payment == opened.payment
    assert voided.payment.amount_refunded == 2_599


async def test_a_bad_request_names_every_field(payments: PaymentServiceStub) -> None:
    request = open_request(order_id="1", user_id="X", amount=-1, currency="eur", payment_method="p" * 256)

    with pytest.raises(CallRefused) as refused:
        await call(payments.OpenPayment, request, caller=SERVICE, deadline=DEADLINE)

    assert refused.value.refusal is Refusal.INVALID_ARGUMENT
    assert set(refused.value.details) == {"order_id", "user_id", "amount", "currency", "payment_method"}


async def test_a_payment_in_a_currency_that_came_in_otherwise_says_so(
    harness: PaymentHarness, payments: PaymentServiceStub
) -> None:
    payment = await harness.opened()
    # Somebody changed the intent at Stripe before the customer paid.
    await harness.change_intent(payment, currency="jpy", amount=2_599)
    await harness.customer_pays(payment, "pm_card_visa")

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


async def test_trouble_at_stripe_is_unavailable_and_no_refusal(
    harness: PaymentHarness, payments: PaymentServiceStub
) -> None:
    harness.break_api("payment_intents.create", error_500_before=1.0)

    with pytest.raises(ServiceUnavailable) as unavailable:
        await call(payments.OpenPayment, open_request(), caller=SERVICE, deadline=DEADLINE)

    assert unavailable.value.code is grpc.StatusCode.UNAVAILABLE


async def test_only_its_customer_gets_the_client_secret_of_a_payment(
    harness: PaymentHarness, payments: PaymentServiceStub
) -> None:
    payment = await harness.opened()
    request = pb.GetPaymentOfOrderRequest(order_id=payment.order_id)

    own = await call(
        payments.GetPaymentOfOrder,
        request,
        caller=Caller(CallerRole.CUSTOMER, payment.user_id or ""),
        deadline=DEADLINE,
    )
    with pytest.raises(CallRefused) as refused:
        await call(payments.GetPaymentOfOrder, request, caller=Caller(CallerRole.CUSTOMER, new_id()), deadline=DEADLINE)
    by_admin = await call(
        payments.GetPaymentOfOrder, request, caller=Caller(CallerRole.ADMIN, new_id()), deadline=DEADLINE
    )

    assert (by_admin.payment, by_admin.client_secret) == (own.payment, "")
    assert own.client_secret.startswith(f"{payment.intent_id}_secret_")
    assert refused.value.refusal is Refusal.PAYMENT_NOT_FOUND


async def test_a_webhook_needs_no_caller_but_a_signature(harness: PaymentHarness, payments: PaymentServiceStub) -> None:
    await harness.opened("pm_card_visa")
    [body] = await harness.webhook_bodies("payment_intent.succeeded")
    good, forged, empty = (
        pb.ReceiveWebhookRequest(body=sent, signature=signature)
        for sent, signature in [(body, sign(body)), (body, sign(b"other")), (b"{}", sign(b"{}"))]
    )

    await call(payments.ReceiveWebhook, good, caller=ANONYMOUS, deadline=DEADLINE)

    for request, refusal in [(forged, Refusal.BAD_WEBHOOK_SIGNATURE), (empty, Refusal.BAD_WEBHOOK_BODY)]:
        with pytest.raises(CallRefused) as refused:
            await call(payments.ReceiveWebhook, request, caller=ANONYMOUS, deadline=DEADLINE)
        assert refused.value.refusal is refusal
    assert await harness.event_statuses() == {"payment_intent.succeeded": "RECEIVED"}


async def test_the_service_starts_and_stores_events_while_temporal_is_away(databases: Mapping[str, str]) -> None:
    async with payment_harness(databases["payment"], over_http=True) as harness:
        payment = await harness.opened("pm_card_visa")
        changes = {
            "payment_listen": f"127.0.0.1:{free_port()}",
            "temporal_address": "127.0.0.1:1",
            "stripe_sweep_interval": 0.05,
            "shutdown_grace": 1,
        }
        lifecycle = Lifecycle(asyncio.Event())
        running = asyncio.create_task(run(harness.settings.model_copy(update=changes), lifecycle))
        await asyncio.wait_for(lifecycle.started.wait(), 10)

        # The sweep brings the event in, the inbox processes it in vain.
        async with asyncio.timeout(20):
            waiting = "SELECT status, last_error FROM provider_events WHERE last_error IS NOT NULL"
            while not (rows := await harness.rows(waiting)):
                pass
        lifecycle.stopping.set()
        await asyncio.wait_for(running, 10)

        assert [(row["status"], row["last_error"].partition(":")[0]) for row in rows] == [("RECEIVED", "Temporal")]
        assert (await harness.service.check(payment.order_id, refresh=False)).amount_received == 2_599


async def test_a_refund_is_asked_for_carried_out_listed_and_closed(
    harness: PaymentHarness, payments: PaymentServiceStub
) -> None:
    payment = await harness.opened("pm_card_visa")
    product = new_id()
    lines = [OrderLine(product_id=product, quantity=2)]
    request = refund_request(payment.order_id, amount=600, restock=lines, ordered=lines)

    asked = await call(payments.RequestRefund, request, caller=THE_ADMIN, deadline=DEADLINE)
    again = await call(payments.RequestRefund, request, caller=THE_ADMIN, deadline=DEADLINE)
    carry_out = pb.CarryOutRefundRequest(refund_id=asked.refund.id)
    carried_out = await call(payments.CarryOutRefund, carry_out, caller=SERVICE, deadline=DEADLINE)
    close = pb.CloseRefundRequest(refund_id=asked.refund.id, version=carried_out.refund.version)
    early = pb.CloseRefundRequest(refund_id=asked.refund.id, version=asked.refund.version)
    too_early = await call(payments.CloseRefund, early, caller=SERVICE, deadline=DEADLINE)
    closed = await call(payments.CloseRefund, close, caller=SERVICE, deadline=DEADLINE)
    listing = pb.ListRefundsRequest(order_id=payment.order_id)
    listed = await call(payments.ListRefunds, listing, caller=THE_ADMIN, deadline=DEADLINE)

    assert (asked.accepted_only, asked.replayed, again.accepted_only, again.replayed) == (True, False, True, True)
    expected = pb.Refund(
        id=asked.refund.id,
        order_id=payment.order_id,
        payment_id=payment.id,
        status=pb.REFUND_STATUS_REQUESTED,
        origin=pb.REFUND_ORIGIN_ADMIN,
        amount=600,
        currency="EUR",
        restock=lines,
        restock_id=asked.refund.id,
        version=1,
        note="arrived broken",
        created_at=asked.refund.created_at,
    )
    assert asked.refund == again.refund == expected
    assert (carried_out.refund.status, carried_out.refund.version) == (pb.REFUND_STATUS_SUCCEEDED, 2)
    assert (too_early.closed, closed.closed) == (False, True)
    assert list(listed.refunds) == [carried_out.refund]


async def test_a_failed_refund_is_replaced_or_resolved_over_grpc(
    harness: PaymentHarness, payments: PaymentServiceStub
) -> None:
    payment = await harness.opened("pm_card_visa")
    refunds = [await harness.refunded(payment, amount) for amount in (600, 700)]
    for refund in refunds:
        harness.move_refund(refund.stripe_refund_id, "failed", failure_reason="declined")
    await harness.hear("refund.failed")

    replace = pb.ReplaceRefundRequest(refund_id=refunds[0].id)
    replaced = await call(payments.ReplaceRefund, replace, caller=SERVICE, deadline=DEADLINE)
    resolve = pb.ResolveRefundRequest(refund_id=refunds[1].id)
    resolved = await call(payments.ResolveRefund, resolve, caller=SERVICE, deadline=DEADLINE)

    assert (replaced.refund.status, resolved.refund.status) == (pb.REFUND_STATUS_REPLACED, pb.REFUND_STATUS_RESOLVED)
    assert resolved.refund.failure_reason == "declined"


async def test_a_dispute_is_checked_and_closed_over_grpc(harness: PaymentHarness, payments: PaymentServiceStub) -> None:
    payment = await harness.opened("pm_card_visa")
    dispute_id = await harness.dispute(payment)
    await harness.hear("charge.dispute.created")
    harness.move_dispute(dispute_id, "lost")

    check = pb.CheckDisputeRequest(dispute_id=dispute_id)
    dispute = (await call(payments.CheckDispute, check, caller=SERVICE, deadline=DEADLINE)).dispute
    answers = [
        await call(
            payments.CloseDispute,
            pb.CloseDisputeRequest(dispute_id=dispute_id, version=version),
            caller=SERVICE,
            deadline=DEADLINE,
        )
        for version in (dispute.version - 1, dispute.version)
    ]
    whole = pb.CheckPaymentRequest(order_id=payment.order_id)
    disputed = await call(payments.CheckPayment, whole, caller=SERVICE, deadline=DEADLINE)

    assert dispute == pb.Dispute(
        id=dispute_id,
        order_id=payment.order_id,
        status=pb.DISPUTE_STATUS_LOST,
        reason="fraudulent",
        amount=2_599,
        currency="EUR",
        withdrawn=2_599,
        respond_by=dispute.respond_by,
        version=2,
    )
    assert dispute.respond_by.seconds > 0
    assert [answer.closed for answer in answers] == [False, True]
    assert list(disputed.payment.disputes) == [dispute]


async def test_refunds_and_disputes_that_do_not_exist_are_refused_by_name(payments: PaymentServiceStub) -> None:
    for method, request, expected in (
        (payments.CarryOutRefund, pb.CarryOutRefundRequest(refund_id=new_id()), Refusal.REFUND_NOT_FOUND),
        (payments.ReplaceRefund, pb.ReplaceRefundRequest(refund_id=new_id()), Refusal.REFUND_NOT_FOUND),
        (payments.ResolveRefund, pb.ResolveRefundRequest(refund_id=new_id()), Refusal.REFUND_NOT_FOUND),
        (payments.CloseRefund, pb.CloseRefundRequest(refund_id=new_id(), version=1), Refusal.REFUND_NOT_FOUND),
        (payments.CheckDispute, pb.CheckDisputeRequest(dispute_id="du_nobody"), Refusal.DISPUTE_NOT_FOUND),
        (payments.CloseDispute, pb.CloseDisputeRequest(dispute_id="du_nobody", version=1), Refusal.DISPUTE_NOT_FOUND),
    ):
        assert (await refusal(method, request)).refusal is expected


async def test_customers_see_their_own_refunds_alone(harness: PaymentHarness, payments: PaymentServiceStub) -> None:
    payment = await harness.opened("pm_card_visa")
    refund = await harness.refunded(payment, 600)
    request = pb.ListRefundsRequest(order_id=payment.order_id)

    owner = Caller(CallerRole.CUSTOMER, payment.user_id or "")
    own = await call(payments.ListRefunds, request, caller=owner, deadline=DEADLINE)

    assert [listed.id for listed in own.refunds] == [refund.id]
    assert (await refusal(payments.ListRefunds, request, caller=CUSTOMER)).refusal is Refusal.PAYMENT_NOT_FOUND


async def test_a_bad_request_for_a_refund_names_every_field(payments: PaymentServiceStub) -> None:
    request = refund_request(
        "1",
        idempotency_key="",
        amount=0,
        restock=[OrderLine(product_id="x", quantity=0)],
        note="w" * 501,
        wait_ms=30_001,
    )

    refused = await refusal(payments.RequestRefund, request, caller=THE_ADMIN)

    assert refused.refusal is Refusal.INVALID_ARGUMENT
    assert {field.partition("[")[0] for field in refused.details} == {
        "order_id",
        "idempotency_key",
        "amount",
        "restock",
        "note",
        "wait_ms",
    }


@pytest.mark.parametrize("amount", [0, -1, MAX_AMOUNT + 1])
async def test_a_refund_of_no_amount_that_money_has_is_a_bad_request(payments: PaymentServiceStub, amount: int) -> None:
    refused = await refusal(payments.RequestRefund, refund_request(new_id(), amount=amount), caller=THE_ADMIN)

    assert (refused.refusal, set(refused.details)) == (Refusal.INVALID_ARGUMENT, {"amount"})


async def test_a_bad_id_of_a_refund_or_dispute_is_named(payments: PaymentServiceStub) -> None:
    for method, request, field in (
        (payments.CarryOutRefund, pb.CarryOutRefundRequest(refund_id="1"), "refund_id"),
        (payments.ReplaceRefund, pb.ReplaceRefundRequest(refund_id=""), "refund_id"),
        (payments.ResolveRefund, pb.ResolveRefundRequest(refund_id="re_1"), "refund_id"),
        (payments.CloseRefund, pb.CloseRefundRequest(version=1), "refund_id"),
        (payments.CheckDispute, pb.CheckDisputeRequest(), "dispute_id"),
        (payments.CloseDispute, pb.CloseDisputeRequest(dispute_id="d" * 256), "dispute_id"),
        (payments.ListRefunds, pb.ListRefundsRequest(order_id="1"), "order_id"),
    ):
        caller = CUSTOMER if method is payments.ListRefunds else SERVICE
        refused = await refusal(method, request, caller=caller)
        assert (refused.refusal, set(refused.details)) == (Refusal.INVALID_ARGUMENT, {field})


async def test_refusals_of_a_refund_say_what_is_left_or_which_dispute_it_is(
    harness: PaymentHarness, payments: PaymentServiceStub
) -> None:
    payment = await harness.opened("pm_card_visa")
    too_much = await refusal(payments.RequestRefund, refund_request(payment.order_id, amount=2_600), caller=THE_ADMIN)
    dispute_id = await harness.dispute(payment)
    await harness.hear("charge.dispute.created")
    disputed = await refusal(payments.RequestRefund, refund_request(payment.order_id), caller=THE_ADMIN)

    assert (too_much.refusal, too_much.details["left"]) == (Refusal.REFUND_EXCEEDS_PAYMENT, "2599")
    assert (disputed.refusal, disputed.details["dispute_id"]) == (Refusal.PAYMENT_DISPUTED, dispute_id)


async def test_the_order_service_retries_and_dismisses_events(
    harness: PaymentHarness, payments: PaymentServiceStub
) -> None:
    payment = await harness.opened()
    await harness.customer_pays(payment, "pm_card_visa")
    await harness.deliver(await harness.webhook_bodies("payment_intent.succeeded", "payment_intent.created"))
    [row] = await harness.rows(
        "UPDATE provider_events SET next_attempt_at = now() + interval '1 h' WHERE status = 'RECEIVED' "
        "RETURNING event_id"
    )
    retry = pb.RetryEventRequest(event_id=row["event_id"])
    dismiss = pb.DismissEventRequest(event_id=row["event_id"], note="operator:ada: paid out by hand")

    async with running(harness.components.inbox.run):
        retried = await call(payments.RetryEvent, retry, caller=SERVICE, deadline=DEADLINE)
    done = await refusal(payments.DismissEvent, dismiss)
    unknown = await refusal(payments.RetryEvent, pb.RetryEventRequest(event_id="evt_unknown"))
    bad = await refusal(payments.DismissEvent, pb.DismissEventRequest())

    assert (retried.done, retried.outcome) == (True, "it is processed")
    assert done.refusal is Refusal.EVENT_DONE
    assert unknown.refusal is Refusal.EVENT_NOT_FOUND
    assert (bad.refusal, set(bad.details)) == (Refusal.INVALID_ARGUMENT, {"note"})


async def test_the_order_service_lists_refunds_and_disputes_that_have_to_have_a_workflow(
    harness: PaymentHarness, payments: PaymentServiceStub
) -> None:
    payment = await harness.opened("pm_card_visa")
    refund = (await harness.request(payment, 500)).refund
    dispute_id = await harness.dispute(payment)
    await harness.hear("charge.dispute.created")
    for table in ("refunds", "disputes"):
        await harness.rows(f"UPDATE {table} SET updated_at = now() - interval '11 s' WHERE saga_open RETURNING id")  # noqa: S608

    found = {
        kind: await call(
            payments.ListOpenCases, pb.ListOpenCasesRequest(kind=kind, most=500), caller=SERVICE, deadline=DEADLINE
        )
        for kind in (pb.OPEN_CASE_KIND_REFUND, pb.OPEN_CASE_KIND_DISPUTE)
    }
    after = pb.ListOpenCasesRequest(kind=pb.OPEN_CASE_KIND_DISPUTE, after=dispute_id, most=1)
    bad = await refusal(payments.ListOpenCases, pb.ListOpenCasesRequest(most=501))
    no_id = await refusal(
        payments.ListOpenCases, pb.ListOpenCasesRequest(kind=pb.OPEN_CASE_KIND_REFUND, after="du_1", most=1)
    )

    assert {kind: [(case.id, case.order_id) for case in answer.cases] for kind, answer in found.items()} == {
        pb.OPEN_CASE_KIND_REFUND: [(refund.id, payment.order_id)],
        pb.OPEN_CASE_KIND_DISPUTE: [(dispute_id, payment.order_id)],
    }
    assert not (await call(payments.ListOpenCases, after, caller=SERVICE, deadline=DEADLINE)).cases
    assert (set(bad.details), set(no_id.details)) == ({"kind", "most"}, {"after"})


async def test_an_operator_asks_for_a_refund_under_their_name(
    harness: PaymentHarness, payments: PaymentServiceStub
) -> None:
    payment = await harness.opened("pm_card_visa")
    request = refund_request(payment.order_id, amount=500, note="the parcel was lost")
    ada = Caller(CallerRole.OPERATOR, OPERATOR)

    first = await call(payments.RequestRefund, request, caller=ada, deadline=DEADLINE)
    again = await call(payments.RequestRefund, request, caller=ada, deadline=DEADLINE)

    [refund] = (await harness.stored(payment)).refunds
    assert (first.replayed, again.replayed, again.refund.id, refund.id) == (
        False,
        True,
        first.refund.id,
        first.refund.id,
    )
    assert (refund.requested_by, refund.requested_by_operator, refund.note) == (None, OPERATOR, "the parcel was lost")
