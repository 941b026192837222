"""What the order service refuses."""

from __future__ import annotations

import grpc

from domain.order_numbers import is_written_as_number, parse_order_number
from domain.orders import OrderStatus
from domain.refusals import Refusal
from runtime.refusal import Refused


class OrderNotFound(Refused):
    """There is no such order, or the caller may not know that there is."""

    refusal = Refusal.ORDER_NOT_FOUND
    code = grpc.StatusCode.NOT_FOUND

    def __init__(self, reference: str) -> None:
        """`reference` is an id, or what somebody wrote for a number."""
        is_mistyped = is_written_as_number(reference) and parse_order_number(reference) is None
        why = ": a letter of its number is wrong, or two are swapped" if is_mistyped else ""
        super().__init__(f"order {reference} not found{why}", order_id=reference)


class PaymentWindowTooLong(Refused):
    """Nobody may take so long to pay."""

    refusal = Refusal.PAYMENT_WINDOW_TOO_LONG

    def __init__(self, *, longest: int) -> None:
        super().__init__(
            f"payment_window_seconds must be at most {longest}; leave it out for the usual time", longest=str(longest)
        )


class GuestCheckoutOff(Refused):
    """The shop wants accounts."""

    refusal = Refusal.GUEST_CHECKOUT_OFF
    code = grpc.StatusCode.PERMISSION_DENIED

    def __init__(self) -> None:
        super().__init__("orders need an account here; open one, or log in")


class OrderStillOpen(Refused):
    """What is to be erased is needed until the order has ended."""

    refusal = Refusal.ORDER_STILL_OPEN

    def __init__(self, order_id: str) -> None:
        super().__init__(f"order {order_id} has not ended yet; cancel it, or wait until it is paid", order_id=order_id)


class OrderHasNoGuest(Refused):
    """An account has the order."""

    refusal = Refusal.ORDER_HAS_NO_GUEST

    def __init__(self, order_id: str) -> None:
        super().__init__(f"order {order_id} belongs to an account; erase that one", order_id=order_id)


class OrderNotCancellable(Refused):
    """The order ended otherwise, or has been paid."""

    refusal = Refusal.ORDER_NOT_CANCELLABLE

    def __init__(self, order_id: str, status: OrderStatus) -> None:
        super().__init__(f"order {order_id} is {status} and cannot be cancelled", order_id=order_id, status=status)


class NothingToDecide(Refused):
    """Nothing of the subject waits for a person's decision, or not for this one; the message says how it stands."""

    refusal = Refusal.NOTHING_TO_DECIDE

    def __init__(self, subject_id: str, why: str) -> None:
        super().__init__(f"{subject_id}: {why}", subject_id=subject_id)
