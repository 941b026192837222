"""Requests for refunds, and their answers. Amounts in minor units of what came in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from domain.orders import OrderLine
from runtime.caller import Caller, CallerRole
from runtime.rows import Value
from services.payment.payments.model import Payment, Refund
from services.payment.tables import RefundApprovalColumns


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRefund:
    """What somebody who may asks for; without an amount, all that is left.

    Attributes:
        requested_by: the user's id, or what stands for the operator's (`runtime.caller.Caller.key`).
        by_support: whether the user is a member of support, to whom a limit applies.
        operator: the operator's name; None of a user.
        ordered: what the order has of each product: no more is put back, over all its refunds.
    """

    order_id: str
    amount: int | None
    restock: tuple[OrderLine, ...]
    ordered: tuple[OrderLine, ...]
    requested_by: str
    by_support: bool = False
    operator: str | None = None
    note: str

    @property
    def content(self) -> Mapping[str, object]:
        """What distinguishes it from another request; in the form of 0.1, whose keys still stand for their requests.

        An operator's note is not part of it: a command that is typed again may have another one.
        """
        return {
            "order_id": self.order_id,
            "amount": self.amount,
            "restock": [asdict(line) for line in self.restock],
            "ordered": [],
            "requested_by": self.requested_by,
            "why": self.note if self.operator is None else "",
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedRefund:
    """The answer to a request for a refund: it succeeded or failed, or, `accepted_only`, may do so later."""

    payment: Payment
    refund: Refund
    accepted_only: bool
    replayed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NewApproval:
    """What a second person lets somebody else give back, at most; the amount in minor units of what came in."""

    order_id: str
    amount: int
    approver: Caller
    note: str

    @property
    def content(self) -> Mapping[str, object]:
        """What distinguishes it from another one; an operator's note is not part of it, as with `NewRefund`."""
        note = "" if self.approver.role is CallerRole.OPERATOR else self.note
        return {"order_id": self.order_id, "amount": self.amount, "note": note}


class RefundApproval(Value, RefundApprovalColumns):
    """A second person's approval, as it is stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenApproval:
    """The answer to whoever approves a refund of the payment: what they gave, now or with an earlier request."""

    payment: Payment
    approval: RefundApproval
    replayed: bool
