"""SQL of approvals. Every method runs on the caller's connection, in its transaction."""

from __future__ import annotations

from typing import Final

from runtime.database import Connection
from runtime.rows import columns, parameters
from services.payment.refunds.model import RefundApproval
from services.payment.tables import RefundApprovalRow

_ADD: Final = f"""
    INSERT INTO refund_approvals ({columns(RefundApprovalRow)}) VALUES ({parameters(RefundApprovalRow)})
"""  # noqa: S608 - put together from constants
_APPROVALS: Final = f"SELECT {columns(RefundApprovalRow)} FROM refund_approvals"  # noqa: S608 - likewise


class ApprovalRepository:
    """Approvals of refunds, on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, approval: RefundApproval) -> None:
        """Write a new one."""
        await self._connection.execute(_ADD, **approval.model_dump())

    async def get(self, approval_id: str) -> RefundApproval:
        """One of them.

        Raises:
            LookupError: there is no such approval.
        """
        found = await self._connection.fetch_one(RefundApproval, f"{_APPROVALS} WHERE id = %(id)s", id=approval_id)
        if found is None:
            raise LookupError(f"there is no approval {approval_id}")
        return found

    async def list_of(self, payment_id: str) -> list[RefundApproval]:
        """All of a payment's, oldest first."""
        return await self._connection.fetch_all(
            RefundApproval,
            f"{_APPROVALS} WHERE payment_id = %(payment_id)s ORDER BY created_at, id",
            payment_id=payment_id,
        )

    async def lock_unused(self, payment_id: str) -> list[RefundApproval]:
        """Those of a payment that no refund has used, which nobody else uses until the transaction ends."""
        return await self._connection.fetch_all(
            RefundApproval,
            f"{_APPROVALS} WHERE payment_id = %(payment_id)s AND refund_id IS NULL ORDER BY created_at, id FOR UPDATE",
            payment_id=payment_id,
        )

    async def use(self, approval_id: str, *, refund_id: str) -> None:
        """Note which refund used it up."""
        await self._connection.execute(
            "UPDATE refund_approvals SET refund_id = %(refund_id)s WHERE id = %(id)s",
            id=approval_id,
            refund_id=refund_id,
        )
