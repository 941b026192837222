"""A whole shop in memory: the doubles of all steps in front of one Stripe model, and its state as the audit's facts."""

from __future__ import annotations

from datetime import UTC, datetime

from cli.audit.facts import (
    DisputeFact,
    Facts,
    IntentFact,
    OrderFact,
    PaymentFact,
    RefundFact,
    ReservationFact,
    RestockFact,
    StockFact,
    TransitionFact,
)
from domain.orders import OrderLine
from domain.stock import ReservationStatus
from tests.doubles.orders import OrderRow, OrdersDouble
from tests.doubles.payments import DisputeRow, Meanwhile, Payment, PaymentsDouble, RefundRow
from tests.doubles.pricing import PricingDouble, Product
from tests.doubles.refunds import DisputesDouble, RefundsDouble
from tests.doubles.stock import Reservation, Stock, StockDouble
from tests.doubles.stripe import Intent, StripeModel

THEN = datetime(2026, 1, 1, tzinfo=UTC)


class DoubledShop:
    """Every step of the sagas, and what stands behind them."""

    payments_type: type[PaymentsDouble] = PaymentsDouble
    stock_type: type[StockDouble] = StockDouble

    def __init__(self, *, meanwhile: Meanwhile | None = None) -> None:
        self.stripe = StripeModel()
        self.payments = self.payments_type(self.stripe, meanwhile=meanwhile)
        self.refunds = RefundsDouble(self.payments, self.stripe, meanwhile=meanwhile)
        self.disputes = DisputesDouble(self.payments)
        self.pricing = PricingDouble(self.payments.check_amount)
        self.stock = self.stock_type()
        self.orders = OrdersDouble()
        self.delivered = 0
        """How many of Stripe's events have arrived."""

    def add_product(self, product_id: str, *, price: int, units: int, currency: str = "EUR") -> None:
        """A new product with so many units in stock."""
        self.pricing.products[product_id] = Product(price, currency)
        self.stock.deliver(product_id, units)

    def accept(self, order_id: str, lines: list[OrderLine], currency: str = "EUR") -> None:
        """A new order, RECEIVED."""
        self.orders.accept(order_id, {line.product_id: line.quantity for line in lines}, currency)

    def intent(self, order_id: str) -> Intent | None:
        """The order's intent at Stripe, if it was made."""
        return next((intent for intent in self.stripe.intents.values() if intent.order_id == order_id), None)

    def take_events(self) -> list[str]:
        """Let Stripe's new events arrive: each makes the payment service catch up. The ids of those that tell a saga.

        Like the inbox: of a cancellation that we asked for, the saga has the answer already; and what becomes of
        refunds and disputes concerns workflows of their own, see `PaymentsDouble.take_news`.
        """
        ids = []
        while self.delivered < len(self.stripe.events):
            event = self.stripe.events[self.delivered]
            self.delivered += 1
            order_id = self.stripe.intents[event.intent_id].order_id
            payment = self.payments.payments[order_id]
            if payment.closing and payment.status == "CANCELLED":
                continue
            self.payments.follow_up(order_id)
            if not event.type.startswith(("refund.", "charge.dispute.")):
                ids.append(event.id)
        return ids

    def facts(self) -> Facts:
        """What the audit looks at."""
        orders = {order.id: _order(order) for order in self.orders.orders.values()}
        transitions = [
            TransitionFact(
                order_id=order.id,
                seq=seq,
                from_status=row.from_status,
                to_status=row.to_status,
                has_outbox_row=True,
                is_published=True,
            )
            for order in self.orders.orders.values()
            for seq, row in enumerate(order.transitions, start=1)
        ]
        reservations = {order_id: _reservation(order_id, row) for order_id, row in self.stock.reservations.items()}
        return Facts(
            read_at=THEN,
            orders=orders,
            transitions=transitions,
            reservations=reservations,
            stock=[_stock(product_id, row, self.stock) for product_id, row in self.stock.stock.items()],
            restocks=_restocks(self.stock),
            payments={order_id: _payment(row) for order_id, row in self.payments.payments.items()},
            refunds=[
                _refund(row.order_id, refund)
                for row in self.payments.payments.values()
                for refund in row.refunds.values()
            ],
            disputes=[
                _dispute(row.order_id, dispute)
                for row in self.payments.payments.values()
                for dispute in row.disputes.values()
            ],
            waiting_events=[],
            intents={intent.id: _intent(intent) for intent in self.stripe.intents.values()},
            runs={},
            published={order_id: list(range(1, order.seq + 1)) for order_id, order in orders.items()},
        )


def _order(order: OrderRow) -> OrderFact:
    return OrderFact(
        id=order.id,
        status=order.status,
        seq=len(order.transitions),
        total=order.total,
        refunded=order.refunded,
        currency=order.currency,
        created_at=THEN,
        updated_at=THEN,
        lines=order.lines,
    )


def _reservation(order_id: str, reservation: Reservation) -> ReservationFact:
    return ReservationFact(order_id=order_id, status=reservation.status, lines=reservation.lines)


def _stock(product_id: str, stock: Stock, inventory: StockDouble) -> StockFact:
    def quantities(status: ReservationStatus) -> list[int]:
        return [
            reservation.lines[product_id]
            for reservation in inventory.reservations.values()
            if reservation.status is status and product_id in reservation.lines
        ]

    return StockFact(
        product_id=product_id,
        on_hand=stock.on_hand,
        reserved=stock.reserved,
        seq=len(stock.movements),
        movements=len(stock.movements),
        last_seq=len(stock.movements),
        on_hand_by_ledger=sum(change for _, change in stock.movements),
        reserved_by_lines=sum(quantities(ReservationStatus.ACTIVE)),
        committed_lines=len(quantities(ReservationStatus.COMMITTED)),
        committed_movements=sum(kind == "committed" for kind, _ in stock.movements),
    )


def _restocks(inventory: StockDouble) -> list[RestockFact]:
    sold = {
        order_id: row.lines
        for order_id, row in inventory.reservations.items()
        if row.status is ReservationStatus.COMMITTED
    }
    pairs = {(row.order_id, product_id) for row in inventory.restocks.values() for product_id in row.lines}
    return [
        RestockFact(
            order_id=order_id,
            product_id=product_id,
            restocked=inventory.restocked(order_id, product_id),
            sold=sold.get(order_id, {}).get(product_id, 0),
        )
        for order_id, product_id in sorted(pairs)
    ]


def _payment(payment: Payment) -> PaymentFact:
    terms = payment.terms or ("", 0, "XXX", None)
    return PaymentFact(
        id=payment.id,
        order_id=payment.order_id,
        status=payment.status,
        amount=terms[1],
        currency=terms[2],
        amount_received=payment.amount_received,
        currency_received=payment.currency_received,
        intent_id=payment.intent_id,
        seq=0,
        refunded=payment.refunded,
    )


def _refund(order_id: str, refund: RefundRow) -> RefundFact:
    return RefundFact(
        id=refund.id,
        order_id=order_id,
        status=refund.status,
        amount=refund.amount,
        stripe_refund_id=refund.made_id,
        version=refund.version,
        saga_open=refund.saga_open,
        updated_at=THEN,
    )


def _dispute(order_id: str, dispute: DisputeRow) -> DisputeFact:
    return DisputeFact(
        id=dispute.id,
        order_id=order_id,
        status=dispute.status,
        amount=dispute.amount,
        currency="EUR",
        withdrawn=dispute.withdrawn,
        version=dispute.version,
        saga_open=dispute.saga_open,
        updated_at=THEN,
    )


def _intent(intent: Intent) -> IntentFact:
    return IntentFact(
        id=intent.id,
        payment_id=intent.payment_id,
        order_id=intent.order_id,
        status=intent.status,
        amount_received=intent.amount_received,
        refunded=intent.refunded,
        refunds={refund.id: refund.status for refund in intent.refunds},
        disputes={dispute.id: dispute.status for dispute in intent.disputes},
    )
