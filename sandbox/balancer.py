"""A load balancer in the client's own process, which knows nothing of the gateways' health."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Final

import httpx

from sandbox.ports import HOST
from sandbox.replicas import Replica

_NO_ANSWER: Final = (httpx.ConnectError, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)


class Balancer(httpx.AsyncBaseTransport):
    """Sends requests to each gateway in turn, for a client whose URLs name any host.

    What a gateway that goes away refused, or closed without a word, is sent to the next one as it was, so it needs an
    Idempotency-Key, or to do no harm twice. Where a gateway does so that is not about to go, that is the client's.

    Attributes:
        sent_again: how often that happened.
    """

    def __init__(self, gateways: Sequence[Replica], *, limits: httpx.Limits | None = None) -> None:
        self._gateways = gateways
        self._turn = count()
        self._inner = httpx.AsyncHTTPTransport(trust_env=False, limits=limits or httpx.Limits())
        self.sent_again = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Called by httpx."""
        turn = next(self._turn) % len(self._gateways)
        *first, last = [*self._gateways[turn:], *self._gateways[:turn]]
        for gateway in first:
            try:
                return await self._send(gateway, request)
            except _NO_ANSWER:
                if not gateway.is_going:
                    raise
                self.sent_again += 1
        return await self._send(last, request)

    async def aclose(self) -> None:
        """Called by httpx."""
        await self._inner.aclose()

    async def _send(self, gateway: Replica, request: httpx.Request) -> httpx.Response:
        url = request.url.copy_with(scheme="http", host=HOST, port=gateway.settings.gateway_port)
        sent = httpx.Request(
            request.method, url, headers=request.headers, stream=request.stream, extensions=request.extensions
        )
        answer = await self._inner.handle_async_request(sent)
        assert isinstance(answer.stream, httpx.AsyncByteStream)  # noqa: S101 - httpx's own word
        try:  # here, where a connection that breaks in the middle is no answer yet
            body = b"".join([part async for part in answer.stream])
        finally:
            await answer.aclose()
        return httpx.Response(answer.status_code, headers=answer.headers, content=body, extensions=answer.extensions)
