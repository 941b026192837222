"""Defects in what shipping and discounts do to orders, and in who may say them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tests.support.mutation import Mutation

_ORDERS: Final = ["tests/order/test_adjustments.py"]
_SUMS: Final = ["tests/unit/test_price_adjustments.py"]

ADJUSTMENTS: Final[Sequence[Mutation]] = (
    Mutation(
        breaks="a discount makes an order dearer",
        file="domain/orders.py",
        source="return -self.amount if self.type is AdjustmentType.DISCOUNT else self.amount",
        mutated="return self.amount",
        tests=_SUMS,
    ),
    Mutation(
        breaks="a discount may be more than the order",
        file="services/product/service.py",
        source="    if total < 0:",
        mutated="    if total < -MAX_AMOUNT:",
        tests=_SUMS,
    ),
    Mutation(
        breaks="an order is sold at a total that leaves its shipping out",
        file="services/order/service.py",
        source="pricing.check_total(found.adjustments)",
        mutated="pricing.check_total(found.adjustments if found.total else ())",
        tests=_ORDERS,
    ),
    Mutation(
        breaks="a saga that is started again forgets shipping and discounts",
        file="services/order/repository.py",
        source="{_adjustments_of(order)}",
        mutated="'[]'::json AS adjustments",
        tests=_ORDERS,
    ),
    Mutation(
        breaks="customers say their discounts to the order service",
        file="services/order/back_end/server.py",
        source="@allow(Part.GATEWAY, CallerRole.ADMIN)",
        mutated="@allow(Part.GATEWAY, CallerRole.ADMIN, CallerRole.CUSTOMER)",
        tests=_ORDERS,
    ),
    Mutation(
        breaks="a customer takes the keys that the back end uses for them",
        file="services/order/service.py",
        source="return route + ON_BEHALF if new.on_behalf else route",
        mutated="return route",
        tests=_ORDERS,
    ),
    Mutation(
        breaks="with other shipping it is the same request",
        file="services/order/model.py",
        source='for name in ("shop_metadata", "adjustments") if not getattr(self, name)}',
        mutated='for name in ("shop_metadata", "adjustments")}',
        tests=_ORDERS,
    ),
    Mutation(
        breaks="an audit takes whatever total there is",
        file="cli/audit/invariants.py",
        source="if order.total != order.price:",
        mutated="if order.total is None and order.price is not None:",
        tests=_SUMS,
    ),
)
