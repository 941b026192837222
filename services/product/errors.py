"""What the product service refuses."""

from __future__ import annotations

import grpc

from domain.refusals import Refusal
from runtime.refusal import Refused


class ProductNotFound(Refused):
    """There is no such product."""

    refusal = Refusal.PRODUCT_NOT_FOUND
    code = grpc.StatusCode.NOT_FOUND

    def __init__(self, product_id: str) -> None:
        super().__init__(f"there is no product {product_id}", product_id=product_id)


class StaleVersion(Refused):
    """The product is in another version than those that the caller knows."""

    refusal = Refusal.STALE_VERSION

    def __init__(self, *, product_id: str, version: int) -> None:
        super().__init__(
            f"product {product_id} is in version {version} by now; read it again",
            product_id=product_id,
            version=str(version),
        )


class ProductInactive(Refused):
    """The product is not for sale."""

    refusal = Refusal.PRODUCT_INACTIVE

    def __init__(self, product_id: str) -> None:
        super().__init__(f"product {product_id} is not for sale", product_id=product_id)


class CurrencyMismatch(Refused):
    """The product is priced in another currency than the order."""

    refusal = Refusal.CURRENCY_MISMATCH

    def __init__(self, *, product_id: str, priced_in: str, asked_in: str) -> None:
        super().__init__(
            f"product {product_id} is priced in {priced_in}, not in {asked_in}",
            product_id=product_id,
            priced_in=priced_in,
            asked_in=asked_in,
        )


class DiscountTooLarge(Refused):
    """The discounts come to more than everything else of the order, in minor units."""

    refusal = Refusal.DISCOUNT_TOO_LARGE

    def __init__(self, *, total: int) -> None:
        super().__init__(f"the discounts are {-total} more than all that they are taken from", total=str(total))


class PriceChanged(Refused):
    """The total is not the one that the customer saw; both in minor units."""

    refusal = Refusal.PRICE_CHANGED

    def __init__(self, *, expected_total: int, total: int) -> None:
        super().__init__(
            f"the total is {total}, not {expected_total}",
            expected_total=str(expected_total),
            total=str(total),
        )


class TotalTooLarge(Refused):
    """No payment can be as large as the total, in minor units."""

    refusal = Refusal.PAYMENT_REJECTED

    def __init__(self, *, total: int, largest: int) -> None:
        super().__init__(f"the total {total} is larger than {largest}", total=str(total), largest=str(largest))
