"""What is refused about disputes."""

from __future__ import annotations

import grpc

from domain.refusals import Refusal
from runtime.refusal import Refused


class DisputeNotFound(Refused):
    """There is no such dispute."""

    refusal = Refusal.DISPUTE_NOT_FOUND
    code = grpc.StatusCode.NOT_FOUND

    def __init__(self, dispute_id: str) -> None:
        super().__init__(f"there is no dispute {dispute_id}", dispute_id=dispute_id)
