"""The official SDK in the account's own process: its requests go straight to the account, without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
import stripe

from sandbox.stripe.account import StripeAccount
from sandbox.stripe.api.calls import ApiRequest, Reply

BeforeHook = Callable[[ApiRequest], Awaitable[None]]
AfterHook = Callable[[ApiRequest, Reply], Awaitable[None]]


class InProcessClient(stripe.HTTPClient):
    """An HTTP client for ``stripe.StripeClient(…, http_client=…)``, whatever its API base.

    Answers, headers and faults are those of `StripeDouble`. A response that a fault loses is the SDK's
    `stripe.APIConnectionError`, as is a call that takes longer than `timeout` seconds. As over a network, a call goes
    on at the account when its caller is cancelled or gives up.

    Args:
        account: what answers.
        timeout: the limit of one call, seconds; none by default.
        before: awaited before the account sees a request. An exception ends the call there: the request was lost.
        after: awaited once the account has answered. An exception ends the call there: the response was lost.
    """

    name = "in-process"

    def __init__(
        self,
        account: StripeAccount,
        *,
        timeout: float | None = None,
        before: BeforeHook | None = None,
        after: AfterHook | None = None,
    ) -> None:
        super().__init__()
        self._account = account
        self._timeout = timeout
        self._before = before
        self._after = after
        self._calls: set[asyncio.Task[tuple[bytes, int, Mapping[str, str]]]] = set()

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Answer with body, status and headers.

        Raises:
            stripe.APIConnectionError: the response was lost or late.
        """
        parts = urlsplit(url)
        request = ApiRequest(
            method=method.upper(),
            path=unquote(parts.path),
            parameters=parts.query.encode() if post_data is None else post_data.encode(),
            headers={name.lower(): value for name, value in headers.items()},
        )
        call = asyncio.create_task(self._call(request))
        self._calls.add(call)
        call.add_done_callback(self._ended)
        try:
            async with asyncio.timeout(self._timeout):
                return await asyncio.shield(call)
        except TimeoutError as error:
            raise _broken(error) from error

    def sleep_async(self, secs: float) -> Awaitable[None]:
        """Wait between two attempts, when the SDK is set to retry."""
        return asyncio.sleep(secs)

    async def drain(self) -> None:
        """Wait until no call is under way any more, also those whose callers have given up."""
        if self._calls:
            await asyncio.wait(self._calls)

    async def close_async(self) -> None:
        """There is no connection to close."""

    def close(self) -> None:
        """There is no connection to close."""

    def _ended(self, call: asyncio.Task[tuple[bytes, int, Mapping[str, str]]]) -> None:
        self._calls.discard(call)
        if not call.cancelled():
            call.exception()  # looked at, so that asyncio does not complain of one whose caller has given up

    async def _call(self, request: ApiRequest) -> tuple[bytes, int, Mapping[str, str]]:
        if self._before is not None:
            await self._before(request)
        reply = await self._account.answer(request)
        if self._after is not None:
            await self._after(request, reply)
        if reply.lost:
            raise _broken(ConnectionResetError())
        return reply.body, reply.status, httpx.Headers({"Content-Type": "application/json", **reply.headers})


def _broken(error: Exception) -> stripe.APIConnectionError:
    """As the SDK's own clients say it."""
    message = (
        "Unexpected error communicating with Stripe. If this problem persists, let us know at support@stripe.com.\n\n"
        f"(Network error: A {type(error).__name__} was raised)"
    )
    return stripe.APIConnectionError(message, should_retry=True)  # type: ignore[no-untyped-call]  # the SDK leaves it
