"""Stripe's way in."""

from __future__ import annotations

from typing import Annotated

from litestar import post
from litestar.di import NamedDependency
from litestar.handlers.base import BaseRouteHandler
from litestar.params import HeaderParameter, RawBody

from api.auth import Connection
from api.problems import BAD_WEBHOOK_SIGNATURE, ProblemError, declared
from api.schemas.fields import Empty
from api.services import Services
from ordersaga.payment.v1.payment_pb2 import ReceiveWebhookRequest
from runtime.caller import ANONYMOUS
from runtime.rpc_client import call


def has_signature(connection: Connection, _: BaseRouteHandler) -> None:
    """Guard: an event without a signature is not taken."""
    if "stripe-signature" not in connection.headers:
        raise ProblemError(BAD_WEBHOOK_SIGNATURE, "the Stripe-Signature header is missing")


@post(
    "/webhooks/stripe",
    operation_id="receiveStripeEvent",
    summary="Stripe's webhook endpoint",
    tags=["webhooks"],
    status_code=200,
    guards=[has_signature],
    responses=declared(400, 413),
)
async def receive_stripe_event(
    body: RawBody,
    services: NamedDependency[Services],
    stripe_signature: Annotated[
        str, HeaderParameter(name="Stripe-Signature", description="Over the raw body; proves that Stripe sent it.")
    ],
) -> Empty:
    """Take an event. 200 once it is stored; Stripe repeats it after every other answer."""
    await call(
        services.payment.ReceiveWebhook,
        ReceiveWebhookRequest(body=body, signature=stripe_signature),
        caller=ANONYMOUS,
        deadline=services.deadline,
    )
    return Empty()
