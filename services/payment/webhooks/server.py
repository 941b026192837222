"""gRPC of webhooks."""

from __future__ import annotations

from typing import Any

import grpc.aio

from ordersaga.payment.v1 import payment_pb2 as pb
from runtime.identity import Part
from runtime.permissions import allow
from services.payment.webhooks.service import WebhookService

Context = grpc.aio.ServicerContext[Any, Any]


class WebhookRpcs:
    """The methods about Stripe's events."""

    _webhooks: WebhookService

    @allow(Part.GATEWAY)
    async def ReceiveWebhook(self, request: pb.ReceiveWebhookRequest, context: Context) -> pb.ReceiveWebhookResponse:
        await self._webhooks.receive(body=request.body, signature=request.signature)
        return pb.ReceiveWebhookResponse()
