"""How a case begins: what an order looks like before anything goes wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from domain.ids import new_id
from domain.orders import OrderLine
from domain.saga import OpenPaymentRequest, ReserveRequest
from ordersaga.common.v1.order_line_pb2 import OrderLine as OrderLineMessage
from ordersaga.inventory.v1 import inventory_pb2
from ordersaga.order.v1 import order_pb2
from ordersaga.product.v1 import product_pb2
from runtime.caller import Caller, CallerRole
from tests.saga.simulator import customer_events
from tests.saga.simulator.case import Case
from tests.saga.simulator.customer_events import ADMIN, AUTHENTICATION, DECLINED, VISA
from tests.saga.simulator.events import Events
from tests.saga.simulator.schedule import Arrival, Move
from tests.support.identities import signed_in

UNITS: Final = 5
ORDERED: Final = 2
PRICE: Final = 1_000


EVENTS: Final = Events(customer_events.EVENTS)
REPRICED: Final = Events({**customer_events.EVENTS, **customer_events.PRICE_EVENTS})


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderBeginning:
    """What comes with an order, and how long its customer has."""

    payment_method: str | None = None
    price: int = PRICE
    """Of a unit, when it is ordered."""
    window: int = 900
    """Seconds."""
    moves: Sequence[Move] = ()
    """What happens in every such case."""
    events: Events = EVENTS
    is_of_an_order: bool = True

    async def begin(self, case: Case) -> None:
        """The customer places the order; its saga starts."""
        await add_product(case, price=self.price, units=UNITS)
        await place(case, quantity=ORDERED, price=self.price, payment_method=self.payment_method, window=self.window)


async def add_product(case: Case, *, price: int, units: int) -> None:
    """A product with so many units in stock."""
    services = case.slot.installation
    create = product_pb2.CreateProductRequest(name="Thing", unit_price=price, currency="EUR")
    created = await services.products.CreateProduct(create, metadata=signed_in(ADMIN).metadata)
    case.product_id = created.product.id
    adjust = inventory_pb2.AdjustStockRequest(
        adjustment_id=new_id(), product_id=case.product_id, delta=units, note="delivery"
    )
    await services.inventory.AdjustStock(adjust, metadata=signed_in(ADMIN).metadata)


async def place(case: Case, *, quantity: int, price: int = PRICE, payment_method: str | None, window: int) -> None:
    """The customer places an order of that product."""
    case.user_id = new_id()
    request = order_pb2.CreateOrderRequest(
        idempotency_key="order",
        lines=[OrderLineMessage(product_id=case.product_id, quantity=quantity)],
        currency="EUR",
        shipping_address=order_pb2.Address(
            name="Customer", line1="1 Street", city="Town", postal_code="12345", country="DE"
        ),
        payment_method=payment_method or "",
        payment_window_seconds=window,
        wait_ms=0,
    )
    customer = Caller(CallerRole.CUSTOMER, case.user_id)
    created = await case.slot.installation.orders.CreateOrder(request, metadata=signed_in(customer).metadata)
    case.order_id = created.order.id
    lines = [OrderLine(case.product_id, quantity)]
    case.requests["reserve"] = ReserveRequest(order_id=case.order_id, lines=lines)
    case.requests["open_payment"] = OpenPaymentRequest(
        order_id=case.order_id,
        user_id=case.user_id,
        amount=quantity * price,
        currency="EUR",
        payment_method=payment_method,
    )


ORDERS: Final[Mapping[str, OrderBeginning]] = {
    "later": OrderBeginning(),
    "visa": OrderBeginning(payment_method=VISA),
    "declined": OrderBeginning(payment_method=DECLINED),
    "action": OrderBeginning(payment_method=AUTHENTICATION),
    "slow": OrderBeginning(moves=(Arrival("slow", "wait"),)),
    "unknown": OrderBeginning(payment_method="pm_unknown"),
    "short": OrderBeginning(window=3),
    "free": OrderBeginning(price=0, events=REPRICED),
    "freed": OrderBeginning(payment_method=VISA, events=REPRICED),
}
"""``later``: the customer pays in the browser, if at all; ``slow``: by a debit, which takes days; ``short``: the
deadline passes while a step is tried again; ``free``: it costs nothing, unless its product gets a price before the
quote is asked for once more; ``freed``: the other way round; the others come with a payment method that behaves as they
are called."""
