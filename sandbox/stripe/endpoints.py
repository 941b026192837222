"""Where an account's events are sent to (https://docs.stripe.com/api/webhook_endpoints/object)."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from sandbox.stripe.resources import Resource

CONFIGURED_ENDPOINT: Final = "we_configuredBySettings0000"
"""The id of the endpoint that an account is configured with; the same at every start."""


class EndpointStatus(StrEnum):
    """Whether events are sent to it."""

    ENABLED = "enabled"
    DISABLED = "disabled"


class WebhookEndpoint(Resource, frozen=True, kw_only=True):
    """An endpoint as it is stored. `secret` is answered to its creation alone."""

    noun = "webhook endpoint"
    prefix = "we"

    url: str
    enabled_events: list[str]
    secret: str | msgspec.UnsetType
    metadata: dict[str, str]
    status: EndpointStatus = EndpointStatus.ENABLED
    api_version: str | None = None
    """What its events are rendered for; the account's own version for None."""
    description: str | None = None
    application: str | None = None
    livemode: bool = False
    object: str = "webhook_endpoint"

    def wants(self, event_type: str) -> bool:
        """Whether such an event is sent to it."""
        return self.status is EndpointStatus.ENABLED and (
            event_type in self.enabled_events or "*" in self.enabled_events
        )


class DeletedEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """What is answered to its deletion."""

    id: str
    object: str = "webhook_endpoint"
    deleted: bool = True
