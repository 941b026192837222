"""What a process counts and measures, for Prometheus (https://prometheus.io/docs/concepts/metric_types/).

A process shows them on a port of its own (`runtime.probes`). Labels never hold ids or anything else without bounds.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

HTTP_SECONDS: Final = Histogram(
    "ordersaga_http_request_seconds", "HTTP requests at the gateway.", ["method", "route", "status"]
)
HTTP_REJECTED: Final = Counter(
    "ordersaga_http_rejected", "HTTP connections that a server of ours ended before their time, by why.", ["reason"]
)
RPC_SECONDS: Final = Histogram("ordersaga_rpc_seconds", "gRPC calls that a service answered.", ["method", "code"])
ORDER_TRANSITIONS: Final = Counter("ordersaga_order_transitions", "Orders that arrived in a status.", ["status"])
ATTENTION_RAISED: Final = Counter(
    "ordersaga_attention_raised", "Times that something was found to need a person.", ["kind", "step"]
)
ATTENTION_OPEN: Final = Gauge(
    "ordersaga_attention_open", "What needs a person now; every order service says the same.", ["kind"]
)
PROVIDER_EVENTS: Final = Counter(
    "ordersaga_provider_events", "Stripe events by what became of them; RECEIVED: to be tried again.", ["outcome"]
)
OUTBOX_LAG_SECONDS: Final = Histogram(
    "ordersaga_outbox_lag_seconds",
    "From an event's transaction to Kafka's acknowledgement.",
    ["database"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 300),
)
MESSAGES: Final = Counter(
    "ordersaga_messages", "Mails and SMS by what became of them; PENDING: to be tried again.", ["channel", "status"]
)

CERTIFICATE_EXPIRES: Final = Gauge(
    "ordersaga_certificate_expires_timestamp_seconds", "When the certificate of a part expires, Unix time.", ["part"]
)


def render_metrics() -> bytes:
    """This process's metrics in Prometheus's text format."""
    return generate_latest(REGISTRY)
