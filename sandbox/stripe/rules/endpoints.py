"""Rules for webhook endpoints (https://docs.stripe.com/api/webhook_endpoints)."""

from __future__ import annotations

from msgspec.structs import replace

from sandbox.stripe.commands import CreateEndpoint, UpdateEndpoint
from sandbox.stripe.endpoints import EndpointStatus, WebhookEndpoint
from sandbox.stripe.errors import invalid
from sandbox.stripe.resources import new_id
from sandbox.stripe.rules.intents import merge_metadata

_MAX_ENDPOINTS = 16


def create(command: CreateEndpoint, *, count: int, at: int) -> WebhookEndpoint:
    """A new endpoint, enabled, with a secret of its own.

    Raises:
        ApiError: 400 when the account has as many already as it can have; `count` is how many it has.
    """
    if count >= _MAX_ENDPOINTS:
        raise invalid(f"You have reached the maximum of {_MAX_ENDPOINTS} test webhook endpoints.")
    return WebhookEndpoint(
        id=new_id(WebhookEndpoint.prefix),
        created=at,
        url=command.url,
        enabled_events=command.enabled_events,
        secret=new_id("whsec", size=32),
        api_version=command.api_version,
        metadata=command.metadata,
        description=command.description,
    )


def update(endpoint: WebhookEndpoint, command: UpdateEndpoint) -> WebhookEndpoint:
    """The endpoint with what the command gives."""
    status = endpoint.status
    if command.disabled is not None:
        status = EndpointStatus.DISABLED if command.disabled else EndpointStatus.ENABLED
    return replace(
        endpoint,
        url=command.url or endpoint.url,
        enabled_events=command.enabled_events or endpoint.enabled_events,
        status=status,
        metadata=merge_metadata(endpoint.metadata, command.metadata),
        description=endpoint.description if command.description is None else command.description or None,
    )
