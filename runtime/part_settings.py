"""Which settings each part reads: so that it is given no more, and that the list of settings says whose each is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from runtime.settings import Settings

_PROCESS: Final = ("log_level", "tracing", "probe_host", "probe_port", "drain_delay", "shutdown_grace")
_TLS: Final = ("tls_ca_file", "tls_certificate_file", "tls_key_file")
_DATABASE: Final = ("database_pool_size", "database_pooler", "database_most_waiting")
_GRPC: Final = (*_TLS, "jwt_public_keys", "grpc_connection_age", "grpc_most_calls", "grpc_reflection")
_PAYLOADS: Final = ("temporal_payload_keys", "temporal_encrypt")
_TEMPORAL: Final = (
    *("temporal_config_file", "temporal_profile", "temporal_address", "temporal_namespace"),
    *_PAYLOADS,
)
_VERSION: Final = ("deployment_name", "build_id")
_KAFKA: Final = (
    *("kafka_bootstrap", "kafka_security_protocol", "kafka_sasl_mechanism", "kafka_username", "kafka_password"),
    *("kafka_ca_file", "kafka_certificate_file", "kafka_key_file"),
)
_STRIPE: Final = ("stripe_api_key", "stripe_api_base", "stripe_app", "stripe_timeout")
_SLOTS: Final = ("workflow_slots", "step_slots", "payment_slots", "local_payment_slots", "cached_workflows")
_ADDRESSES: Final = tuple(
    f"{service}_address" for service in ("user", "product", "inventory", "order", "payment", "notification")
)
_DSNS: Final = tuple(
    f"{service}_dsn" for service in ("user", "product", "inventory", "order", "payment", "notification")
)


def _service(name: str) -> tuple[str, ...]:
    return (*_PROCESS, *_GRPC, *_DATABASE, f"{name}_dsn", f"{name}_listen", "outbox_retention")


SETTINGS: Final[Mapping[str, Sequence[str]]] = {
    "gateway": (
        *_PROCESS,
        *_TLS,
        *_ADDRESSES,
        *("gateway_host", "gateway_port", "jwt_public_keys", "grpc_deadline", "password_deadline"),
        *("http_head_bytes", "http_headers", "http_head_timeout", "http_body_timeout", "http_idle_timeout"),
        *("http_connections", "max_streams", "max_streams_per_account", "tracing_joins_clients"),
        *("trusted_proxies", "rate_limits", "cors_origins", "hsts_max_age"),
    ),
    "user": (
        *_service("user"),
        *("order_address", "notification_address"),
        *("jwt_private_key", "access_token_ttl", "refresh_token_ttl", "password_hash_memory"),
        *("confirmation_link_ttl", "reset_link_ttl", "idempotency_key_retention", "session_retention"),
    ),
    "product": (*_service("product"), "user_address", "idempotency_key_retention"),
    "inventory": (*_service("inventory"), "user_address"),
    "order": (
        *_service("order"),
        *_TEMPORAL,
        *("temporal_task_queue", "listen_dsns", "payment_attempts", "attention_after", "payment_event_timeout"),
        *("acceptance_limit", "saga_sweep_interval", "watch_interval", "repair_automatically"),
        *("saga_starts_in_progress", "max_start_delay", "max_loop_lag"),
        *("max_payment_window", "max_open_orders", "max_held_units", "idempotency_key_retention"),
        *("guest_checkout", "max_guest_orders", "max_guest_units"),
        *("user_address", "product_address", "inventory_address", "payment_address", "notification_address"),
    ),
    "payment": (
        *_service("payment"),
        *_TEMPORAL,
        *_STRIPE,
        *("temporal_task_queue", "listen_dsns", "attention_after", "saga_sweep_interval"),
        *("stripe_webhook_secret", "stripe_webhook_secret_previous", "stripe_payment_method_types"),
        *("stripe_rate", "stripe_calls_in_progress"),
        *("stripe_sweep_interval", "provider_events_in_progress", "unknown_event_grace_period", "order_address"),
        *("support_refund_limit", "refund_approval_limit", "user_address"),
        *("idempotency_key_retention", "provider_event_retention"),
    ),
    "notification": (
        *_service("notification"),
        *_KAFKA,
        *("kafka_idempotence", "kafka_fetch_wait_ms", "kafka_session_timeout_ms", "kafka_retention"),
        *("user_address", "product_address", "grpc_deadline"),
        *("order_address", "order_page"),
        *("smtp_host", "smtp_port", "smtp_tls", "smtp_ca_file", "smtp_user", "smtp_password", "mail_sender"),
        *("require_confirmed_email", "account_page"),
        *("twilio_account_sid", "twilio_auth_token", "twilio_sender", "twilio_api_base", "twilio_timeout"),
    ),
    "order-worker": (
        *_PROCESS,
        *_TLS,
        *_TEMPORAL,
        *("temporal_task_queue", "workflow_sandbox", *_VERSION, *_SLOTS),
        *("product_address", "inventory_address", "payment_address", "order_address"),
    ),
    "relay": (*_PROCESS, *_KAFKA, "kafka_idempotence", "relay_dsns"),
    "codec-server": (
        *_PROCESS,
        *_TLS,
        *_PAYLOADS,
        *("codec_host", "codec_port", "codec_origin", "trusted_proxies", "rate_limits"),
        *("jwt_public_keys", "user_address", "grpc_deadline", "password_deadline"),
    ),
    "setup databases": (*_DSNS, "owner_dsns", "relay_dsns", "audit_dsns", "relay_role", "audit_role"),
    "setup temporal": (*_TEMPORAL, "temporal_retention"),
    "setup kafka": (*_KAFKA, "kafka_replication", "kafka_min_in_sync", "kafka_retention"),
    "setup stripe": (*_STRIPE, "stripe_payment_method_types", "stripe_webhook_url"),
    "setup admin": ("admin_email", "admin_password", "admin_name", "user_dsn", *_DATABASE, "password_hash_memory"),
    "audit": ("audit_dsns", *_TEMPORAL, *_KAFKA, *_STRIPE),
    "events": _KAFKA,
    "replay": _TEMPORAL,
    "deployment": (*_TEMPORAL, "temporal_task_queue", "deployment_name"),
    "operator": (*_TLS, *_ADDRESSES),
}
"""Part, or command of `ordersaga`, to the names of its settings."""


def parts_of(setting: str) -> Iterator[str]:
    """The parts and commands that read a setting."""
    return (part for part, names in SETTINGS.items() if setting in names)


def only_for(settings: Settings, *parts: str) -> dict[str, object]:
    """What of the settings those parts read, by name."""
    names = {name for part in parts for name in SETTINGS[part]}
    return {name: getattr(settings, name) for name in Settings.model_fields if name in names}
