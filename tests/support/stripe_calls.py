"""The service's calls of Stripe as a test sees them, and what it lets happen around one of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from sandbox.stripe.api.calls import ApiRequest, Reply
from sandbox.stripe.api.routes import find_route

Hook = Callable[[], Awaitable[object]]


class StripeCalls:
    """What `InProcessClient` calls around each call.

    Attributes:
        made: the operations that were called, in turn; see `sandbox.stripe.faults.Operation`.
    """

    def __init__(self) -> None:
        self.made: list[str] = []
        self._before: dict[str, Hook] = {}
        self._after: dict[str, Hook] = {}

    def before(self, operation: str, hook: Hook) -> None:
        """Await the hook before Stripe sees the next such call."""
        self._before[operation] = hook

    def after(self, operation: str, hook: Hook) -> None:
        """Await the hook once Stripe has carried out the next such call, before its answer is seen."""
        self._after[operation] = hook

    async def begin(self, request: ApiRequest) -> None:
        """For `InProcessClient`."""
        operation = _operation_of(request)
        self.made.append(operation)
        if hook := self._before.pop(operation, None):
            await hook()

    async def end(self, request: ApiRequest, reply: Reply) -> None:
        """For `InProcessClient`."""
        if hook := self._after.pop(_operation_of(request), None):
            await hook()


def _operation_of(request: ApiRequest) -> str:
    found = find_route(request.method, request.path)
    if found is None:
        raise LookupError(f"Stripe has no {request.method} {request.path}")
    return found[0].operation.value
