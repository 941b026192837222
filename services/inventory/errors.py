"""What the inventory service refuses."""

from __future__ import annotations

from domain.refusals import Refusal
from runtime.refusal import Refused


class OutOfStock(Refused):
    """Fewer units are available than asked for."""

    refusal = Refusal.OUT_OF_STOCK

    def __init__(self, *, product_id: str, requested: int, available: int) -> None:
        super().__init__(
            f"product {product_id}: {requested} requested, {available} available",
            product_id=product_id,
            requested=str(requested),
            available=str(available),
        )


class ReservationNotFound(Refused):
    """The order has no reservation, or none that is committed where only sold units will do."""

    refusal = Refusal.RESERVATION_NOT_FOUND

    def __init__(self, order_id: str, *, committed: bool = False) -> None:
        wanted = "committed reservation" if committed else "reservation"
        super().__init__(f"order {order_id} has no {wanted}", order_id=order_id)


class ReservationReleased(Refused):
    """The order's reservation was released for good."""

    refusal = Refusal.RESERVATION_RELEASED

    def __init__(self, order_id: str) -> None:
        super().__init__(f"the reservation of order {order_id} is released", order_id=order_id)


class ReservationCommitted(Refused):
    """The order's units are sold."""

    refusal = Refusal.RESERVATION_COMMITTED

    def __init__(self, order_id: str) -> None:
        super().__init__(f"the reservation of order {order_id} is committed", order_id=order_id)


class ReservationDiffers(Refused):
    """The order has a reservation of other lines."""

    refusal = Refusal.RESERVATION_DIFFERS

    def __init__(self, order_id: str) -> None:
        super().__init__(f"order {order_id} has a reservation of other lines", order_id=order_id)


class RestockExceedsSale(Refused):
    """More units would have come back than the order bought."""

    refusal = Refusal.RESTOCK_EXCEEDS_SALE

    def __init__(self, *, product_id: str, asked: int, left: int) -> None:
        super().__init__(
            f"product {product_id}: {asked} to be put back, {left} left of what was sold",
            product_id=product_id,
            asked=str(asked),
            left=str(left),
        )


class RestockDiffers(Refused):
    """The refund put other units back."""

    refusal = Refusal.RESTOCK_DIFFERS

    def __init__(self, restock_id: str) -> None:
        super().__init__(f"refund {restock_id} put other units back", restock_id=restock_id)


class AdjustmentDiffers(Refused):
    """The adjustment id stands for another adjustment."""

    refusal = Refusal.ADJUSTMENT_DIFFERS

    def __init__(self, adjustment_id: str) -> None:
        super().__init__(
            "this Idempotency-Key was used with another adjustment; take a new key", adjustment_id=adjustment_id
        )
