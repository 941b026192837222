"""What happens to an order, as it happens."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, cast

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import HeaderParameter
from litestar.response import Stream
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from api.auth import SECURITY, SignedInRequest, signed_in_or_guest
from api.order_streams import OrderStream, OrderStreams
from api.problems import declared
from api.references import OrderReference
from runtime.validation import Violations

_EVENT_STREAM: Final = "text/event-stream"
_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""The latter for nginx, which would keep events back."""
_SEQ: Final = "[0-9]{1,9}"
"""Every such number is one that the order service takes."""
LastEventId = Annotated[
    str,
    HeaderParameter(
        name="Last-Event-ID",
        description="The `id` of the last event that you have; none for all.",
        schema_extra={"pattern": f"^({_SEQ})?$"},
    ),
]


class EventStream(Stream):
    """The answer that has an order's stream for its body, and closes it, whatever became of the client."""

    def __init__(self, stream: OrderStream) -> None:
        super().__init__(stream.events(), media_type=_EVENT_STREAM, headers=_HEADERS)
        self._stream = stream

    def to_asgi_response(self, *arguments: Any, **options: Any) -> ASGIResponse:
        """As Litestar calls it."""
        response = super().to_asgi_response(*arguments, **options)

        async def respond(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await response(scope, receive, send)
            finally:
                self._stream.close()

        return cast("ASGIResponse", respond)


@get(
    "/v1/orders/{order_id:str}/events",
    operation_id="streamOrderEvents",
    summary="What happens to an order, as it happens",
    tags=["orders"],
    guards=[signed_in_or_guest],
    security=SECURITY,
    responses={
        200: ResponseSpec(
            str,
            generate_examples=False,
            media_type=_EVENT_STREAM,
            description="Server-sent events: `transition`, whose `id` is its number and whose data is a Transition.",
        ),
        204: ResponseSpec(None, generate_examples=False, description="You have all of them, and no other can follow."),
        **declared(400, 401, 404, 429),
    },
)
async def stream_order_events(
    request: SignedInRequest,
    order_id: OrderReference,
    streams: NamedDependency[OrderStreams],
    last_event_id: LastEventId = "",
) -> Response[None] | EventStream:
    """The order's history as server-sent events, from behind `Last-Event-ID` on, and then each transition as it comes.

    The stream ends behind FAILED and CANCELLED, which no order leaves, once the access token has expired, and when this
    server stops: come back with the last `id` that you have. A comment comes every 15 seconds at least. An account has
    20 streams open at a time as a rule: one more is answered 429, and 503 where the server has no room.
    """
    with Violations() as violations:
        violations.check_order("order_id", order_id)
        after = _check_last(violations, last_event_id)
    stream = await streams.open(order_id, caller=request.user, after=after)
    if stream is None:
        return Response(None, status_code=204, headers=_HEADERS)
    return EventStream(stream)


def _check_last(violations: Violations, last_event_id: str) -> int:
    """The number of the last event that a client has; 0 for none."""
    if not last_event_id:
        return 0
    if not re.fullmatch(_SEQ, last_event_id):
        violations.add("Last-Event-ID", "must be the id of an event of this stream")
        return 0
    return int(last_event_id)
