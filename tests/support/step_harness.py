"""The steps of the sagas, carried out by the real services in this process, and the world around them.

Nothing runs by itself: a test says when the customer pays, when somebody does something in Stripe's dashboard, and when
Stripe's events arrive. Temporal takes whatever it is asked, and runs nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from temporalio.client import (
    Client,
    Interceptor,
    OutboundInterceptor,
    SignalWorkflowInput,
    StartWorkflowInput,
    WorkflowHandle,
)

from domain.ids import new_id
from domain.orders import OrderLine
from domain.refunds import RefundStatus
from domain.saga import CloseRefundRequest, MarkPendingRequest, OpenPaymentRequest
from ordersaga.common.v1.order_line_pb2 import OrderLine as OrderLineMessage
from ordersaga.inventory.v1 import inventory_pb2
from ordersaga.order.v1 import order_pb2
from ordersaga.payment.v1 import payment_pb2
from ordersaga.product.v1 import product_pb2
from runtime.caller import Caller, CallerRole
from runtime.protos import to_proto
from sandbox.stripe.disputes import DisputeStatus
from sandbox.stripe.errors import ApiError
from sandbox.stripe.objects import Charge, ChargeStatus, Intent, Refund
from sandbox.stripe.objects import RefundStatus as StripeRefundStatus
from tests.saga.simulator import background
from tests.saga.simulator.at_stripe import View
from tests.saga.simulator.databases import open_databases
from tests.saga.simulator.installation import SERVICES, open_installation
from tests.saga.simulator.slot import Slot
from tests.saga.simulator.temporal_calls import TemporalCalls
from tests.support.identities import signed_in
from workflows.steps import RefundSteps

Request = TypeVar("Request")
Response = TypeVar("Response")

USER = new_id()
ADMIN = Caller(CallerRole.ADMIN, new_id())
DEBIT = "pm_success_de"


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """What Stripe has of an order; amounts in minor units."""

    intents: int
    status: str | None
    captured: int
    refunded: int
    refunds: int
    failed_charges: int


class StepHarness:
    """The steps, and the world around them."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot
        self._services = slot.installation
        self._account = slot.installation.account

    async def clear(self) -> None:
        """As if nothing had ever happened."""
        await self._slot.empty()

    async def do(self, step: Callable[[Any, Request], Awaitable[Response]], request: Request) -> Response:
        """Run a step of `workflows.steps` as an activity."""
        answer: Response = await self._services.repeat(step.__name__, request)
        return answer

    async def product(self, *, price: int = 1_000, units: int = 10, currency: str = "EUR") -> str:
        """A new product with so many units in stock."""
        create = product_pb2.CreateProductRequest(name="Thing", unit_price=price, currency=currency)
        product = (await self._services.products.CreateProduct(create, metadata=signed_in(ADMIN).metadata)).product
        adjust = inventory_pb2.AdjustStockRequest(
            adjustment_id=new_id(), product_id=product.id, delta=units, note="delivery"
        )
        await self._services.inventory.AdjustStock(adjust, metadata=signed_in(ADMIN).metadata)
        return product.id

    async def withdraw(self, product_id: str) -> None:
        """Sell no more of it."""
        request = product_pb2.UpdateProductRequest(product_id=product_id, active=False)
        await self._services.products.UpdateProduct(request, metadata=signed_in(ADMIN).metadata)

    async def accept(self, *lines: tuple[str, int]) -> str:
        """A new order, RECEIVED; its id."""
        request = order_pb2.CreateOrderRequest(
            idempotency_key=new_id(),
            lines=[to_proto(OrderLineMessage, line) for line in order_lines(*lines)],
            currency="EUR",
            shipping_address=order_pb2.Address(name="C", line1="1 St", city="T", postal_code="12345", country="DE"),
            payment_window_seconds=900,
            wait_ms=0,
        )
        customer = Caller(CallerRole.CUSTOMER, USER)
        return (await self._services.orders.CreateOrder(request, metadata=signed_in(customer).metadata)).order.id

    async def pay(self, order_id: str, payment_method: str) -> None:
        """The customer confirms the payment at Stripe; a decline is no error."""
        with suppress(ApiError):
            self._account.confirm(self._intent(order_id).id, payment_method)

    async def start_slow_payment(self, order_id: str) -> None:
        """The intent becomes processing."""
        await self.pay(order_id, DEBIT)

    async def settle_slow_payment(self, order_id: str) -> None:
        """The money of a processing intent arrives."""
        self._account.settle(self._intent(order_id).id)

    async def cancel_at_stripe(self, order_id: str) -> None:
        """Somebody cancels the intent in the dashboard."""
        await self._services.reader.v1.payment_intents.cancel_async(self._intent(order_id).id)

    async def change_amount(self, order_id: str, amount: int) -> None:
        """Somebody with the secret key changes the amount of an intent that is not paid."""
        self._account.overwrite(msgspec.structs.replace(self._intent(order_id), amount=amount))

    async def request_refund(self, order_id: str, amount: int | None = None) -> str:
        """An admin asks for a refund, of all that is left without an amount; its id.

        Raises:
            AioRpcError: the service refuses.
        """
        request = payment_pb2.RequestRefundRequest(order_id=order_id, idempotency_key=new_id(), wait_ms=0)
        if amount is not None:
            request.amount = amount
        return (await self._services.payments.RequestRefund(request, metadata=signed_in(ADMIN).metadata)).refund.id

    async def open_refunds(self, order_id: str) -> list[str]:
        """The ids of the order's refunds from which something still follows, oldest first."""
        rows = await self._slot.databases.rows(
            "payment",
            """
            SELECT refunds.id::text FROM refunds JOIN payments ON payments.id = payment_id
             WHERE order_id = %(order_id)s AND saga_open ORDER BY refunds.created_at, refunds.id
            """,
            order_id=order_id,
        )
        return [row["id"] for row in rows]

    async def give_back(self, order_id: str) -> None:
        """Do what the sagas of the order's refunds do: carry each out, and close what is done."""
        for refund_id in await self.open_refunds(order_id):
            refund = await self.do(RefundSteps.carry_out_refund, refund_id)
            if refund.status is not RefundStatus.PENDING and not refund.status.has_failed:
                request = CloseRefundRequest(refund_id=refund_id, version=refund.version)
                await self.do(RefundSteps.close_refund, request)

    async def refund_in_dashboard(self, order_id: str, amount: int) -> None:
        """Somebody gives money back in Stripe's dashboard."""
        refunds = self._services.reader.v1.refunds
        await refunds.create_async({"payment_intent": self._intent(order_id).id, "amount": amount})

    async def move_refund(self, order_id: str, status: str) -> None:
        """Stripe lets the order's newest refund succeed or fail."""
        newest = self._account.all(Refund, list_key=self._intent(order_id).id)[-1]
        self._account.change_refund(newest.id, StripeRefundStatus(status))

    async def open_dispute(self, order_id: str) -> str:
        """The customer goes to their bank; the dispute's id."""
        [charge] = self._charges(order_id, ChargeStatus.SUCCEEDED)
        return self._account.open_dispute(charge.id).id

    async def move_dispute(self, dispute_id: str, status: str) -> None:
        """The bank moves a dispute on."""
        self._account.change_dispute(dispute_id, DisputeStatus(status))

    async def deliver_events(self) -> None:
        """Stripe's events arrive and are processed."""
        await background.deliver(self._slot)

    async def level(self, product_id: str) -> tuple[int, int]:
        """On hand, and of that reserved."""
        request = inventory_pb2.GetStockRequest(product_id=product_id)
        stock = (await self._services.inventory.GetStock(request, metadata=signed_in(ADMIN).metadata)).stock
        return stock.on_hand, stock.reserved

    async def money(self, order_id: str) -> Money:
        """What Stripe has of the order."""
        intents = self._intents(order_id)
        refunds = [refund for intent in intents for refund in self._account.all(Refund, list_key=intent.id)]
        succeeded = [refund for refund in refunds if refund.status is StripeRefundStatus.SUCCEEDED]
        return Money(
            intents=len(intents),
            status=intents[0].status if intents else None,
            captured=sum(intent.amount_received for intent in intents),
            refunded=sum(refund.amount for refund in succeeded),
            refunds=len(refunds),
            failed_charges=len(self._charges(order_id, ChargeStatus.FAILED)),
        )

    async def history(self, order_id: str) -> list[str]:
        """The statuses that the order went through."""
        rows = await self._slot.databases.rows(
            "order",
            "SELECT to_status FROM order_transitions WHERE order_id = %(order_id)s ORDER BY seq",
            order_id=order_id,
        )
        return [row["to_status"] for row in rows]

    async def attention(self, order_id: str) -> Mapping[str, str]:
        """Step to note, of what is not cleared."""
        rows = await self._slot.databases.rows(
            "order",
            "SELECT step, cause FROM concerns WHERE order_id = %(order_id)s AND cleared_at IS NULL",
            order_id=order_id,
        )
        return {row["step"]: row["cause"] for row in rows}

    def _intents(self, order_id: str) -> list[Intent]:
        return [intent for intent in self._account.all(Intent) if intent.metadata.get("order_id") == order_id]

    def _intent(self, order_id: str) -> Intent:
        return self._intents(order_id)[0]

    def _charges(self, order_id: str, status: ChargeStatus) -> list[Charge]:
        charges = [
            charge for intent in self._intents(order_id) for charge in self._account.all(Charge, list_key=intent.id)
        ]
        return [charge for charge in charges if charge.status is status]


def order_lines(*lines: tuple[str, int]) -> list[OrderLine]:
    """Lines of an order, sorted as it wants them."""
    return sorted((OrderLine(product, quantity) for product, quantity in lines), key=lambda line: line.product_id)


def opening(order_id: str, **changes: Any) -> OpenPaymentRequest:
    """Open a payment of 20.00 EUR to be paid by the customer, or as the changes say."""
    values = {"order_id": order_id, "user_id": USER, "amount": 2_000, "currency": "EUR", "payment_method": None}
    return OpenPaymentRequest(**{**values, **changes})


def pending(order_id: str, **changes: Any) -> MarkPendingRequest:
    """Mark an order of one product PENDING."""
    return MarkPendingRequest(**{"order_id": order_id, "cause_id": "order_saga:pending", **changes})


class _IdleTemporal(Interceptor):
    """Takes whatever it is asked, and runs nothing."""

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:  # noqa: A002  # the SDK's name
        return _Idle(next)


class _Idle(OutboundInterceptor):
    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:  # noqa: A002
        return WorkflowHandle(await _idle_client(), input.id)

    async def signal_workflow(self, input: SignalWorkflowInput) -> None:  # noqa: A002
        """Nobody hears it."""


async def _idle_client() -> Client:
    return await Client.connect("127.0.0.1:1", lazy=True, interceptors=[_IdleTemporal()])


@asynccontextmanager
async def open_step_harness(dsns: Mapping[str, str]) -> AsyncIterator[StepHarness]:
    """The services on these databases, by service."""
    client = await _idle_client()
    async with (
        open_databases({service: dsns[service] for service in SERVICES}) as databases,
        open_installation(dsns, client) as installation,
    ):
        stripe = View(installation.account)
        slot = Slot(
            installation=installation, stripe=stripe, databases=databases, temporal=client, calls=TemporalCalls()
        )
        with stripe.kept():
            yield StepHarness(slot)
