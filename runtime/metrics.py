"""What a process counts and measures, for Prometheus (https://prometheus.io/docs/practices/naming/).

What OpenTelemetry has a name for bears it, as Prometheus spells it (https://opentelemetry.io/docs/specs/semconv/). A
process shows them on a port of its own (`runtime.probes`). Labels never hold ids or anything else without bounds.
Gauges that somebody has to be asked for are set by `runtime.measuring`.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

# A second series for each counter and histogram, which nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it untyped
_POOL: Final = "db_client_connection_pool_name"

# -- Requests and calls ---------------------------------------------------------------------------------------------
HTTP_SECONDS: Final = Histogram(
    "http_server_request_duration_seconds",
    "HTTP requests at the gateway.",
    ["http_request_method", "http_route", "http_response_status_code"],
)
HTTP_REJECTED: Final = Counter(
    "ordersaga_http_rejected", "HTTP connections that a server of ours ended before their time, by why.", ["reason"]
)
HTTP_LIMITED: Final = Counter(
    "ordersaga_http_limited", "HTTP requests that were turned away because their client asks too often.", ["limit"]
)
LIMITS_UNSHARED: Final = Counter(
    "ordersaga_limits_unshared", "Times that a gateway decided by itself, because the shared limits did not answer."
)
RPC_SECONDS: Final = Histogram(
    "rpc_server_call_duration_seconds",
    "gRPC calls that a service answered.",
    ["rpc_method", "rpc_response_status_code"],
)
SHED: Final = Counter(
    "ordersaga_shed",
    "Calls that a service turned away before it began anything for them; why: orders_wait, orders_come, busy_loop, "
    "full_line, calls or caller_gone.",
    ["why"],
)
STRIPE_SECONDS: Final = Histogram(
    "ordersaga_stripe_call_duration_seconds",
    "Calls of Stripe's API; outcome: succeeded, declined, refused, busy, failed or unanswered.",
    ["operation", "outcome"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
STRIPE_CALLS: Final = Gauge(
    "ordersaga_stripe_calls",
    "Calls of Stripe now; lane: calls, events; state: under way, waiting for their turn.",
    ["lane", "state"],
)
STRIPE_TURNED_AWAY: Final = Counter(
    "ordersaga_stripe_turned_away", "Calls of Stripe that were not made, because too many are under way.", ["lane"]
)

# -- Orders ---------------------------------------------------------------------------------------------------------
ORDER_TRANSITIONS: Final = Counter("ordersaga_order_transitions", "Orders that arrived in a status.", ["status"])
ORDER_SECONDS: Final = Histogram(
    "ordersaga_order_time_to_status_seconds",
    "From an order's acceptance to its arrival in a status.",
    ["status"],
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 1_800, 3_600),
)
ORDERS_OPEN: Final = Gauge("ordersaga_orders_open", "Orders that have not ended, by status.", ["status"])
ORDERS_OLDEST_SECONDS: Final = Gauge(
    "ordersaga_orders_oldest_open_age_seconds", "Age of the oldest order that has not ended; 0 without one.", ["status"]
)
ORDERS_OVERDUE_SECONDS: Final = Gauge(
    "ordersaga_orders_overdue_seconds",
    "How long an open order is past its deadline; 0 if none is.",
    ["status"],
)
ATTENTION_RAISED: Final = Counter(
    "ordersaga_attention_raised", "Times that something was found to need a person.", ["kind", "step"]
)
ATTENTION_OPEN: Final = Gauge(
    "ordersaga_attention_open", "What needs a person now; every order service says the same.", ["kind"]
)

# -- Sagas ----------------------------------------------------------------------------------------------------------
STEP_SECONDS: Final = Histogram(
    "ordersaga_step_duration_seconds",
    "Attempts at steps of sagas; outcome: succeeded, refused, cancelled, or failed or deferred, which are followed by "
    "another: a deferred one had no slot to ask Stripe in.",
    ["step", "outcome"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
COMPENSATIONS: Final = Counter("ordersaga_compensations", "Steps that undid what an order had done.", ["step"])
TASK_QUEUE_BACKLOG: Final = Gauge(
    "ordersaga_task_queue_backlog",
    "Tasks that wait for a worker, about; type: workflow or activity.",
    ["queue", "type"],
)
TASK_QUEUE_AGE_SECONDS: Final = Gauge(
    "ordersaga_task_queue_backlog_age_seconds", "How long the oldest of them has waited, about.", ["queue", "type"]
)
TASK_QUEUE_POLLERS: Final = Gauge(
    "ordersaga_task_queue_pollers", "Workers that asked Temporal for tasks within the last minutes.", ["queue", "type"]
)

# -- Events ---------------------------------------------------------------------------------------------------------
OUTBOX_LAG_SECONDS: Final = Histogram(
    "ordersaga_outbox_lag_seconds",
    "From an event's transaction to Kafka's acknowledgement.",
    ["database"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 300),
)
OUTBOX_UNPUBLISHED: Final = Gauge(
    "ordersaga_outbox_unpublished", "Events that are not in Kafka yet; counted up to 10,000.", ["database"]
)
OUTBOX_OLDEST_SECONDS: Final = Gauge(
    "ordersaga_outbox_oldest_age_seconds",
    "Age of the oldest of them; 0 without one.",
    ["database"],
)
CONSUMER_LAG_RECORDS: Final = Gauge(
    "ordersaga_consumer_lag_records", "Records in Kafka that a consumer of ours has still to handle.", ["group"]
)
CONSUMER_LAG_SECONDS: Final = Gauge(
    "ordersaga_consumer_lag_seconds", "Age of the record that it is at; 0 when there is none.", ["group"]
)
CONSUMER_PARTITIONS: Final = Gauge(
    "ordersaga_consumer_partitions", "Partitions that the group has assigned to this process.", ["group"]
)
DEAD_LETTERS: Final = Counter("ordersaga_dead_letters", "Records that no retry can help.", ["topic"])

# -- Stripe's events, mails, work -------------------------------------------------------------------------------------
PROVIDER_EVENTS: Final = Counter(
    "ordersaga_provider_events", "Stripe events by what became of them; RECEIVED: to be tried again.", ["outcome"]
)
PROVIDER_EVENTS_OPEN: Final = Gauge(
    "ordersaga_provider_events_open",
    "Stripe events that are stored and not processed; state: waiting, or failing; counted up to 10,000.",
    ["state"],
)
PROVIDER_EVENTS_OLDEST_SECONDS: Final = Gauge(
    "ordersaga_provider_events_oldest_open_age_seconds", "Since when the oldest of them is stored.", ["state"]
)
MESSAGES: Final = Counter(
    "ordersaga_messages", "Mails and SMS by what became of them; PENDING: to be tried again.", ["channel", "status"]
)
DUE_WORK_WAITING: Final = Gauge(
    "ordersaga_due_work_waiting", "Rows that are to be processed, now or later; counted up to 10,000.", ["work"]
)
DUE_WORK_FAILING: Final = Gauge(
    "ordersaga_due_work_failing", "Those of them whose last attempt failed; counted up to 10,000.", ["work"]
)
DUE_WORK_LATE_SECONDS: Final = Gauge(
    "ordersaga_due_work_late_seconds", "How long that one has been due which was due first; 0 if none is.", ["work"]
)

EXPIRED_ROWS: Final = Counter(
    "ordersaga_expired_rows",
    "Rows that were deleted, or their contents, because they were old.",
    ["database", "table"],
)

# -- The process ------------------------------------------------------------------------------------------------------
PART_READY: Final = Gauge("ordersaga_part_ready", "1 if the part can do its job.", ["part"])
PART_DEGRADED: Final = Gauge("ordersaga_part_degraded", "How many things it does without for now.", ["part"])
MEASUREMENT_UP: Final = Gauge(
    "ordersaga_measurement_up",
    "0 if gauges are missing, because who knows their values is away.",
    ["measurement"],
)
POOL_CONNECTIONS: Final = Gauge(
    "db_client_connection_count", "Connections to PostgreSQL; state: used, idle.", [_POOL, "db_client_connection_state"]
)
POOL_MAX: Final = Gauge("db_client_connection_max", "Most connections to PostgreSQL.", [_POOL])
POOL_PENDING: Final = Gauge("db_client_connection_pending_requests", "Who waits for a connection.", [_POOL])
DATABASE_STATEMENTS: Final = Counter(
    "ordersaga_database_statements", "Statements that services ran; BEGIN and COMMIT are none.", ["database"]
)
DATABASE_TRANSACTIONS: Final = Counter(
    "ordersaga_database_transactions",
    "Transactions that services began; a statement outside one is one.",
    ["database"],
)
POOL_TIMEOUTS: Final = Counter("db_client_connection_timeouts", "Who waited for a connection in vain.", [_POOL])
LOOP_LAG_SECONDS: Final = Gauge(
    "ordersaga_event_loop_lag_seconds",
    "How late the order service's event loop comes to what is due, of late at least.",
)
CLOCK_SKEW_SECONDS: Final = Gauge(
    "ordersaga_clock_skew_seconds",
    "How far our clock is ahead; against: stripe (to a second), temporal, or postgresql/<database>.",
    ["against"],
)
CERTIFICATE_EXPIRES: Final = Gauge(
    "ordersaga_certificate_expires_timestamp_seconds", "When the certificate of a part expires, Unix time.", ["part"]
)


def render_metrics() -> bytes:
    """This process's metrics in Prometheus's text format."""
    return generate_latest(REGISTRY)
