"""gRPC of Stripe's events: they come in by webhook, and operators act on those that do not get through."""

from __future__ import annotations

from typing import Any

import grpc.aio

from domain.limits import MAX_ACTION_NOTE, MAX_SUBJECT_ID
from ordersaga.payment.v1 import payment_pb2 as pb
from runtime.identity import Part
from runtime.permissions import allow
from runtime.validation import Violations
from services.payment.webhooks.desk import EventDesk
from services.payment.webhooks.service import WebhookService

Context = grpc.aio.ServicerContext[Any, Any]


class WebhookRpcs:
    """The methods about Stripe's events."""

    _webhooks: WebhookService
    _event_desk: EventDesk

    @allow(Part.GATEWAY)
    async def ReceiveWebhook(self, request: pb.ReceiveWebhookRequest, context: Context) -> pb.ReceiveWebhookResponse:
        await self._webhooks.receive(body=request.body, signature=request.signature)
        return pb.ReceiveWebhookResponse()

    @allow(Part.ORDER)
    async def RetryEvent(self, request: pb.RetryEventRequest, context: Context) -> pb.RetryEventResponse:
        retried = await self._event_desk.retry(_check_event(request))
        return pb.RetryEventResponse(done=retried.done, outcome=retried.outcome)

    @allow(Part.ORDER)
    async def DismissEvent(self, request: pb.DismissEventRequest, context: Context) -> pb.DismissEventResponse:
        with Violations() as violations:
            violations.check_plain_line("note", request.note, longest=MAX_ACTION_NOTE)
        await self._event_desk.dismiss(_check_event(request), note=request.note)
        return pb.DismissEventResponse()


def _check_event(request: pb.RetryEventRequest | pb.DismissEventRequest) -> str:
    """The event's id; the order service alone calls, for operators."""
    with Violations() as violations:
        violations.check_text("event_id", request.event_id, longest=MAX_SUBJECT_ID)
    return request.event_id
