"""Every statement of the payment database."""

from __future__ import annotations

from typing import get_args

from bench.filling.fill import Filled
from bench.filling.story import Ending
from domain.events import PAYMENT_EVENTS
from domain.ids import new_id
from domain.payments import PaymentStatus
from domain.refunds import DisputeStatus, RefundOrigin, RefundStatus
from runtime.database import Connection
from services.payment.on_call.service import PaymentOnCall
from services.payment.payments.model import Dispute, Payment, Refund
from services.payment.payments.repository import DUE_FOLLOW_UPS, FollowedTable, PaymentRepository
from services.payment.refunds.approval_repository import ApprovalRepository
from services.payment.refunds.model import RefundApproval
from services.payment.stripe.copies import divide_rate
from services.payment.stripe.gate import StripeGate
from services.payment.stripe.model import FailedCharge, StripeEvent
from services.payment.webhooks.measuring import read_open_events
from services.payment.webhooks.repository import DUE_EVENTS, DUE_SWEEP, EventRepository
from tests.plans.driving import MINUTE, NOW, PAGE, an_event, run, run_common, run_due, run_keys
from tests.plans.recording import RecordedDatabase


async def drive(database: RecordedDatabase, filled: Filled) -> None:
    """Run them."""
    sold = next(order for order in filled.last if order.ending is Ending.PAID)
    refunded = next(order for order in filled.last if order.refund is not None)
    on_call = PaymentOnCall(database)
    await _payments(database, sold.id, refunded.refund.id if refunded.refund else "")
    await _approvals(database, sold.id)
    await _events(database)
    await run(
        database,
        lambda _: on_call.find_concerns(older_than=MINUTE, most=PAGE),
        lambda _: on_call.describe_order(sold.id),
        lambda _: divide_rate(database, StripeGate(rate=25, calls=1, events=1)),
    )
    await run_keys(database)
    await run_common(database, "payment", reads=[read_open_events])


async def _get(connection: Connection, order_id: str) -> Payment:
    payment = await PaymentRepository(connection).find_by_order(order_id)
    assert payment is not None
    return payment


async def _payments(database: RecordedDatabase, order_id: str, refund_id: str) -> None:
    new = Payment(
        id=new_id(),
        order_id=new_id(),
        user_id=new_id(),
        amount=1,
        currency="EUR",
        status=PaymentStatus.REQUIRES_PAYMENT_METHOD,
        generation_at=NOW,
        created_at=NOW,
        seq=1,
        failed_charges=frozenset(),
        last_decline_code=None,
        refunds=(),
        disputes=(),
    )
    refund = Refund(
        id=new_id(),
        origin=RefundOrigin.ADMIN,
        amount=1,
        currency="EUR",
        status=RefundStatus.REQUESTED,
        restock_id=new_id(),
        created_at=NOW,
    )
    dispute = Dispute(
        id="dp_new",
        status=DisputeStatus.LOST,
        reason="fraudulent",
        amount=1,
        currency="EUR",
        withdrawn=1,
        created_at=NOW,
    )

    async def change(connection: Connection) -> None:
        payment = await _get(connection, order_id)
        assert await PaymentRepository(connection).change_payment(
            payment,
            events=[an_event(PAYMENT_EVENTS, of=payment.id, seq=100)],
            attempts=[FailedCharge(charge_id="ch_new", decline_code="declined", at=NOW)],
            refunds=[refund],
            disputes=[dispute],
        )

    async def find(connection: Connection) -> None:
        payment, repository = await _get(connection, order_id), PaymentRepository(connection)
        assert payment.intent_id is not None
        for intent_id in (payment.intent_id, None):
            await repository.find_by_intent_or_order(intent_id=intent_id, order_id=order_id)
        await repository.find_by_intent_or_order(intent_id=payment.intent_id, order_id=None)
        await repository.find_by_id(payment.id)
        await EventRepository(connection).find_known_intents([payment.intent_id, "pi_nobodys"])

    await run(
        database,
        change,
        find,
        lambda connection: PaymentRepository(connection).add_payment(new, [an_event(PAYMENT_EVENTS, of=new.id, seq=1)]),
        lambda connection: PaymentRepository(connection).adopt(order_id, user_id=new_id()),
        lambda connection: PaymentRepository(connection).find_by_refund(refund_id),
        lambda connection: PaymentRepository(connection).find_by_dispute("dp_1"),
        lambda connection: PaymentRepository(connection).lock_payment(order_id),
    )
    for table in get_args(FollowedTable):
        await _follow(database, table)


async def _follow(database: RecordedDatabase, table: FollowedTable) -> None:
    async def list_open(connection: Connection) -> None:
        first = await PaymentRepository(connection).list_open(table, after=None, most=PAGE)
        await PaymentRepository(connection).list_open(table, after=first[0].id, most=PAGE)

    await run(database, list_open)
    await run_due(
        database,
        DUE_FOLLOW_UPS[table],
        lambda claimed: (
            lambda connection: PaymentRepository(connection).set_followed_up(table, claimed, next_look=MINUTE)
        ),
    )


async def _approvals(database: RecordedDatabase, order_id: str) -> None:
    async def approve(connection: Connection) -> None:
        payment, repository = await _get(connection, order_id), ApprovalRepository(connection)
        approval = RefundApproval(
            id=new_id(),
            payment_id=payment.id,
            amount=1,
            approved_by="admin:somebody",
            approved_by_key=new_id(),
            created_at=NOW,
            expires_at=NOW,
        )
        await repository.add(approval)
        await repository.get(approval.id)
        await repository.list_of(payment.id)
        await repository.lock_unused(payment.id)
        refund_id = await connection.fetch_value("SELECT id FROM refunds ORDER BY id LIMIT 1")
        await repository.use(approval.id, refund_id=refund_id)

    await run(database, approve)


async def _events(database: RecordedDatabase) -> None:
    event = StripeEvent(
        id="evt_new",
        type="payment_intent.succeeded",
        created=0,
        livemode=False,
        has_our_metadata=True,
        intent_id="pi_new",
        order_id=new_id(),
    )

    await run(
        database,
        lambda connection: EventRepository(connection).add([event], claims=1, lease=MINUTE),
        lambda connection: EventRepository(connection).find_known_intents(["pi_new"]),
        lambda connection: EventRepository(connection).find("evt_new"),
        lambda connection: EventRepository(connection).make_due("evt_new"),
        lambda connection: EventRepository(connection).dismiss("evt_new", note="no"),
    )
    await run_due(
        database,
        DUE_EVENTS,
        lambda claimed: lambda connection: EventRepository(connection).finish(claimed, note=""),
    )
    await run_due(
        database,
        DUE_SWEEP,
        lambda claimed: (
            lambda connection: EventRepository(connection).end_sweep(claimed, swept_until=NOW, pause=MINUTE)
        ),
    )
