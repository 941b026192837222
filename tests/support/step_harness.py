"""The steps of the sagas with what stands behind them, for the contract suite: the doubles in memory.

`tests.support.step_harness_services` has the same in front of the real services. A harness also does what happens
outside of a saga: the customer pays, somebody cancels an intent in Stripe's dashboard, Stripe's events arrive.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from domain.ids import new_id
from domain.orders import OrderLine
from domain.refunds import RefundStatus
from domain.saga import CloseRefundRequest, MarkPendingRequest, OpenPaymentRequest
from tests.doubles.shop import DoubledShop
from tests.doubles.stripe import StripeDeclines
from workflows.steps import DisputeSteps, OrderSteps, PaymentSteps, PricingSteps, RefundSteps, StockSteps

Request = TypeVar("Request")
Response = TypeVar("Response")

USER = new_id()


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """What Stripe has of an order; amounts in minor units."""

    intents: int
    status: str | None
    captured: int
    refunded: int
    refunds: int
    failed_charges: int


class StepHarness(ABC):
    """The steps, and the world around them."""

    pricing: PricingSteps
    stock: StockSteps
    payment: PaymentSteps
    refund: RefundSteps
    dispute: DisputeSteps
    order: OrderSteps

    @abstractmethod
    async def do(self, step: Callable[[Request], Awaitable[Response]], request: Request) -> Response:
        """Run a step as an activity."""

    @abstractmethod
    async def product(self, *, price: int = 1_000, units: int = 10, currency: str = "EUR") -> str:
        """A new product with so many units in stock."""

    @abstractmethod
    async def withdraw(self, product_id: str) -> None:
        """Sell no more of it."""

    @abstractmethod
    async def accept(self, *lines: tuple[str, int]) -> str:
        """A new order, RECEIVED; its id."""

    @abstractmethod
    async def pay(self, order_id: str, card: str) -> None:
        """The customer confirms the payment at Stripe; a decline is no error."""

    @abstractmethod
    async def start_slow_payment(self, order_id: str) -> None:
        """The intent becomes processing."""

    @abstractmethod
    async def settle_slow_payment(self, order_id: str) -> None:
        """The money of a processing intent arrives."""

    @abstractmethod
    async def cancel_at_stripe(self, order_id: str) -> None:
        """Somebody cancels the intent in the dashboard."""

    @abstractmethod
    async def change_amount(self, order_id: str, amount: int) -> None:
        """Somebody with the secret key changes the amount of an intent that is not paid."""

    @abstractmethod
    async def request_refund(self, order_id: str, amount: int | None = None) -> str:
        """An admin asks for a refund, of all that is left without an amount; its id."""

    @abstractmethod
    async def open_refunds(self, order_id: str) -> list[str]:
        """The ids of the order's refunds from which something still follows, oldest first."""

    async def give_back(self, order_id: str) -> None:
        """Do what the sagas of the order's refunds do: carry each out, and close what is done."""
        for refund_id in await self.open_refunds(order_id):
            refund = await self.do(self.refund.carry_out_refund, refund_id)
            if refund.status is not RefundStatus.PENDING and not refund.status.has_failed:
                request = CloseRefundRequest(refund_id=refund_id, version=refund.version)
                await self.do(self.refund.close_refund, request)

    @abstractmethod
    async def refund_in_dashboard(self, order_id: str, amount: int) -> None:
        """Somebody gives money back in Stripe's dashboard."""

    @abstractmethod
    async def move_refund(self, order_id: str, status: str) -> None:
        """Stripe lets the order's newest refund succeed or fail."""

    @abstractmethod
    async def open_dispute(self, order_id: str) -> str:
        """The customer goes to their bank; the dispute's id."""

    @abstractmethod
    async def move_dispute(self, dispute_id: str, status: str) -> None:
        """The bank moves a dispute on."""

    @abstractmethod
    async def deliver_events(self) -> None:
        """Stripe's events arrive and are worked off."""

    @abstractmethod
    async def level(self, product_id: str) -> tuple[int, int]:
        """On hand, and of that reserved."""

    @abstractmethod
    async def money(self, order_id: str) -> Money:
        """What Stripe has of the order."""

    @abstractmethod
    async def history(self, order_id: str) -> list[str]:
        """The statuses that the order went through."""

    @abstractmethod
    async def attention(self, order_id: str) -> Mapping[str, str]:
        """Step to why, of what is not cleared."""


class DoublesHarness(StepHarness):
    """The doubles."""

    def __init__(self) -> None:
        self._shop = DoubledShop()
        self.pricing, self.stock = self._shop.pricing, self._shop.stock
        self.payment, self.order = self._shop.payments, self._shop.orders
        self.refund, self.dispute = self._shop.refunds, self._shop.disputes

    async def do(self, step: Callable[[Request], Awaitable[Response]], request: Request) -> Response:
        return await step(request)

    async def product(self, *, price: int = 1_000, units: int = 10, currency: str = "EUR") -> str:
        product_id = new_id()
        self._shop.add_product(product_id, price=price, units=units, currency=currency)
        return product_id

    async def withdraw(self, product_id: str) -> None:
        self._shop.pricing.products[product_id].active = False

    async def accept(self, *lines: tuple[str, int]) -> str:
        order_id = new_id()
        self._shop.accept(order_id, order_lines(*lines))
        return order_id

    async def pay(self, order_id: str, card: str) -> None:
        try:
            self._shop.stripe.confirm(self._intent(order_id), card)
        except StripeDeclines:
            return

    async def start_slow_payment(self, order_id: str) -> None:
        self._shop.stripe.confirm(self._intent(order_id), "pm_usBankAccount")

    async def settle_slow_payment(self, order_id: str) -> None:
        self._shop.stripe.settle(self._intent(order_id))

    async def cancel_at_stripe(self, order_id: str) -> None:
        self._shop.stripe.cancel(self._intent(order_id))

    async def change_amount(self, order_id: str, amount: int) -> None:
        self._shop.stripe.change_amount(self._intent(order_id), amount)

    async def request_refund(self, order_id: str, amount: int | None = None) -> str:
        return self._shop.payments.request_refund(order_id, amount)

    async def open_refunds(self, order_id: str) -> list[str]:
        refunds = self._shop.payments.payments[order_id].refunds.values()
        return [refund.id for refund in refunds if refund.saga_open]

    async def refund_in_dashboard(self, order_id: str, amount: int) -> None:
        self._shop.stripe.refund(self._intent(order_id), refund_id=None, amount=amount)

    async def move_refund(self, order_id: str, status: str) -> None:
        intent = self._shop.intent(order_id)
        assert intent is not None
        self._shop.stripe.move_refund(intent.refunds[-1].id, status)

    async def open_dispute(self, order_id: str) -> str:
        return self._shop.stripe.dispute(self._intent(order_id)).id

    async def move_dispute(self, dispute_id: str, status: str) -> None:
        self._shop.stripe.move_dispute(dispute_id, status)

    async def deliver_events(self) -> None:
        self._shop.take_events()

    async def level(self, product_id: str) -> tuple[int, int]:
        stock = self._shop.stock.stock[product_id]
        return stock.on_hand, stock.reserved

    async def money(self, order_id: str) -> Money:
        intents = [intent for intent in self._shop.stripe.intents.values() if intent.order_id == order_id]
        return Money(
            intents=len(intents),
            status=intents[0].status if intents else None,
            captured=sum(intent.amount_received for intent in intents),
            refunded=sum(intent.refunded for intent in intents),
            refunds=sum(len(intent.refunds) for intent in intents),
            failed_charges=sum(len(intent.failed_charges) for intent in intents),
        )

    async def history(self, order_id: str) -> list[str]:
        return [row.to_status.value for row in self._shop.orders.orders[order_id].transitions]

    async def attention(self, order_id: str) -> Mapping[str, str]:
        return self._shop.orders.orders[order_id].attention

    def _intent(self, order_id: str) -> str:
        intent = self._shop.intent(order_id)
        assert intent is not None
        return intent.id


def order_lines(*lines: tuple[str, int]) -> list[OrderLine]:
    """Lines of an order, sorted as it wants them."""
    return sorted((OrderLine(product, units) for product, units in lines), key=lambda line: line.product_id)


def opening(order_id: str, **changes: Any) -> OpenPaymentRequest:
    """Open a payment of 20.00 EUR to be paid by the customer, or as the changes say."""
    values = {"order_id": order_id, "user_id": USER, "amount": 2_000, "currency": "EUR", "payment_method": None}
    return OpenPaymentRequest(**{**values, **changes})


def pending(order_id: str, **changes: Any) -> MarkPendingRequest:
    """Mark an order of one product PENDING."""
    return MarkPendingRequest(**{"order_id": order_id, "cause_id": "order_saga:pending", **changes})
