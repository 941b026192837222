"""Reads what calls of webhook endpoints ask for, as `parsing` does for all others."""

from __future__ import annotations

from typing import Final, get_args
from urllib.parse import urlsplit

from stripe.params import WebhookEndpointCreateParams

from sandbox.stripe.api.params import Params, required
from sandbox.stripe.api.parsing import given
from sandbox.stripe.commands import CreateEndpoint, UpdateEndpoint
from sandbox.stripe.errors import ApiError, invalid


def _words_of(parameter: str) -> frozenset[str]:
    """What a parameter of a new webhook endpoint may be, by the SDK's types, which Stripe generates."""
    [literal] = get_args(WebhookEndpointCreateParams.__annotations__[parameter])
    return frozenset(get_args(literal))


_EVENT_TYPES: Final = _words_of("enabled_events")
_API_VERSIONS: Final = _words_of("api_version")


def create(params: Params) -> CreateEndpoint:
    """Read the parameters of a new webhook endpoint."""
    url, events = _url(params), _enabled_events(params)
    if url is None:
        raise required("url")
    if not events:
        raise required("enabled_events")
    api_version = params.text("api_version")
    if api_version is not None and api_version not in _API_VERSIONS:
        raise invalid(f"Invalid Stripe API version: {api_version}", param="api_version")
    return CreateEndpoint(
        url=url,
        enabled_events=events,
        api_version=api_version,
        description=params.clearable_text("description") or None,
        metadata=given(params.metadata()),
    )


def update(params: Params) -> UpdateEndpoint:
    """Read the parameters of a change of a webhook endpoint; its API version is none of them."""
    return UpdateEndpoint(
        url=_url(params),
        enabled_events=_enabled_events(params),
        disabled=params.boolean("disabled"),
        description=params.clearable_text("description"),
        metadata=params.metadata(),
    )


def delete(params: Params) -> None:
    """A deletion has no parameters."""


def _url(params: Params) -> str | None:
    url = params.text("url")
    if url is None:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _not_a_url(url) from None
    if parts.scheme not in ("http", "https"):
        raise invalid("Invalid URL: An explicit scheme (such as https) must be provided.", param="url")
    if not parts.hostname:
        raise _not_a_url(url)
    return url


def _not_a_url(url: str) -> ApiError:
    return invalid(f"Not a valid URL: {url}", code="url_invalid", param="url")


def _enabled_events(params: Params) -> list[str]:
    events = params.array("enabled_events")
    for number, name in enumerate(events):
        if name not in _EVENT_TYPES:
            raise invalid(
                f"Invalid enabled_events[{number}]: {name!r} is no type of event; see "
                "https://docs.stripe.com/api/events/types",
                param=f"enabled_events[{number}]",
            )
    return events
