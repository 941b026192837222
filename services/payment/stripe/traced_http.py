"""Stripe's calls as spans (https://opentelemetry.io/docs/specs/semconv/http/http-spans/)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import stripe
from opentelemetry.semconv._incubating.attributes.url_attributes import URL_TEMPLATE
from opentelemetry.semconv.attributes.http_attributes import HTTP_REQUEST_METHOD, HTTP_RESPONSE_STATUS_CODE
from opentelemetry.semconv.attributes.server_attributes import SERVER_ADDRESS, SERVER_PORT
from opentelemetry.semconv.attributes.url_attributes import URL_FULL
from opentelemetry.trace import SpanKind

from runtime import tracing

_IDS: Final = re.compile(r"/[a-z]{2,3}_\w+")
"""Stripe's own ids in a path, such as ``pi_3Nq``."""
_DEFAULT_PORT: Final = 443


class TracedHttpClient(stripe.AIOHTTPClient):
    """The SDK's client for aiohttp. A call that belongs to no trace, such as that of a sweep, begins none."""

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        if tracing.current_traceparent() is None:
            return await super().request_async(method, url, headers, post_data)
        parts = urlsplit(url)
        template = _IDS.sub("/{id}", parts.path)
        attributes: tracing.Attributes = {
            HTTP_REQUEST_METHOD: method.upper(),
            URL_TEMPLATE: template,
            URL_FULL: parts._replace(query="").geturl(),
            SERVER_ADDRESS: parts.hostname or "",
            SERVER_PORT: parts.port or _DEFAULT_PORT,
        }
        with tracing.span(f"{method.upper()} {template}", SpanKind.CLIENT, attributes=attributes) as span:
            answer = await super().request_async(method, url, headers, post_data)
            status = answer[1]
            span.set_attribute(HTTP_RESPONSE_STATUS_CODE, status)
            if status >= 400:
                tracing.fail(span, str(status))
            return answer
