"""The pricing step in memory: a catalogue, and what Stripe charges at least."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from domain.money import MAX_AMOUNT
from domain.orders import OrderLine, PricedLine
from domain.refusals import Refusal
from domain.saga import Quote, QuoteRequest
from tests.doubles.refusals import refused
from workflows.steps import PricingSteps


@dataclass(slots=True)
class Product:
    """A product; price in minor units per unit."""

    price: int
    currency: str
    active: bool = True


class PricingDouble(PricingSteps):
    """See `workflows.steps.PricingSteps`; `check_amount` refuses a total that cannot be charged."""

    def __init__(self, check_amount: Callable[[int, str], None]) -> None:
        self.products: dict[str, Product] = {}
        self._check_amount = check_amount

    async def quote(self, request: QuoteRequest) -> Quote:
        lines = [self._price(line, request.currency) for line in request.lines]
        total = sum(line.total for line in lines)
        if total > MAX_AMOUNT:
            raise refused(Refusal.PAYMENT_REJECTED, f"no order may cost {total}")
        if request.expected_total not in (None, total):
            raise refused(Refusal.PRICE_CHANGED, f"{total}, not {request.expected_total}")
        self._check_amount(total, request.currency)
        return Quote(lines=lines, total=total, currency=request.currency)

    def _price(self, line: OrderLine, currency: str) -> PricedLine:
        product = self.products.get(line.product_id)
        if product is None:
            raise refused(Refusal.PRODUCT_NOT_FOUND, f"product {line.product_id}")
        if not product.active:
            raise refused(Refusal.PRODUCT_INACTIVE, f"product {line.product_id}")
        if product.currency != currency:
            raise refused(Refusal.CURRENCY_MISMATCH, f"product {line.product_id}")
        return PricedLine(line.product_id, line.quantity, product.price)
