"""Typed business errors, and how they travel over gRPC as ``google.rpc.ErrorInfo`` (AIP-193)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar, Final

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from domain.refusals import ERROR_DOMAIN, Refusal

_DETAILS_KEY = "grpc-status-details-bin"
MAX_VIOLATIONS: Final = 30


class Refused(Exception):
    """A service refuses for a business reason. Each service derives one class per refusal.

    A refusal changed nothing, and the same request would be refused again: callers must not retry it blindly.
    """

    refusal: ClassVar[Refusal]
    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.FAILED_PRECONDITION

    def __init__(self, message: str, /, **details: str) -> None:
        super().__init__(message)
        self.message = message
        self.details: Mapping[str, str] = details


class InvalidArgument(Refused):
    """A request breaks the contract; the details name each field that does and why."""

    refusal = Refusal.INVALID_ARGUMENT
    code = grpc.StatusCode.INVALID_ARGUMENT

    @classmethod
    def of(cls, violations: Mapping[str, str]) -> InvalidArgument:
        """One refusal for all faulty fields; of very many it names the first and counts the rest.

        The details travel in HTTP/2 trailers, of which gRPC takes 16 KB.
        """
        named = dict(list(violations.items())[:MAX_VIOLATIONS])
        more = len(violations) - len(named)
        message = f"{len(violations)} field(s) are wrong" + (f"; the first {len(named)} are named" if more else "")
        return cls(message, **named)


class Unavailable(Exception):
    """The request cannot be carried out now, for no business reason: the caller, who sees the text, shall repeat it."""


class Shed(Unavailable):
    """The request was turned away before any work was begun for it, because there is too much to do.

    Attributes:
        why: names the limit that was met, for metrics.
        retry_after: when to come again, seconds; None when any moment is as good.
    """

    def __init__(self, message: str, *, why: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.why = why
        self.retry_after = retry_after


class OtherSideAway(Unavailable):
    """Nobody answers where this and anything like it is asked, so that asking for the next thing is in vain, too."""


class CallRefused(Exception):
    """The service that was called refused: what its `Refused` said, on the caller's side."""

    def __init__(self, refusal: Refusal, message: str, details: Mapping[str, str]) -> None:
        super().__init__(message)
        self.refusal = refusal
        self.message = message
        self.details = details


def to_status(refused: Refused) -> status_pb2.Status:
    """The rich status that carries a refusal."""
    info = error_details_pb2.ErrorInfo(
        reason=refused.refusal.value, domain=ERROR_DOMAIN, metadata=dict(refused.details)
    )
    detail = any_pb2.Any()
    detail.Pack(info)
    return status_pb2.Status(code=code_pb2.Code.Value(refused.code.name), message=refused.message, details=[detail])


def to_shed_status(problem: Unavailable, *, retry_after: float) -> status_pb2.Status:
    """The rich status that says that nothing was begun, and when to come again: in so many seconds."""
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromTimedelta(timedelta(seconds=retry_after))
    detail = any_pb2.Any()
    detail.Pack(retry)
    return status_pb2.Status(code=code_pb2.UNAVAILABLE, message=str(problem), details=[detail])


def from_rpc_error(error: grpc.aio.AioRpcError) -> CallRefused | None:
    """The refusal in a failed call, or None when it failed for another cause (unavailable, deadline, defect)."""
    if (status := _rich_status(error)) is None:
        return None
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.domain == ERROR_DOMAIN:
            return CallRefused(Refusal(info.reason), status.message, dict(info.metadata))
    return None


def retry_delay(error: grpc.aio.AioRpcError) -> float | None:
    """Seconds after which a call that was turned away before it was begun is to come again; None for any other."""
    if (status := _rich_status(error)) is None:
        return None
    for detail in status.details:
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(retry):
            return float(retry.retry_delay.ToTimedelta().total_seconds())
    return None


def _rich_status(error: grpc.aio.AioRpcError) -> status_pb2.Status | None:
    if not any(key == _DETAILS_KEY for key, _ in error.trailing_metadata() or ()):
        return None
    return rpc_status.from_call(error)  # type: ignore[arg-type]  # typed for the sync API; reads only what both have
