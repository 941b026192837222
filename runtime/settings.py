"""Every setting of every component, in one typed place.

Each is read from the environment as ``ORDERSAGA_<NAME>``; one that is empty counts as not set. A secret may be in a
file instead, which ``ORDERSAGA_<NAME>_FILE`` names. A value that does not fit stops the process at start with the
setting's name. The defaults are those of the embedded stack (`make up`).
"""

from __future__ import annotations

import os
import re
from enum import StrEnum
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Final, get_origin

from pydantic import AfterValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError as NotParsedError

from domain.limits import MAX_FOLLOWED
from domain.orders import MAX_PAYMENT_WINDOW_SECONDS
from domain.rate_limits import DEFAULT_RATES, Rates, parse_rates

_LAST_PORT: Final = 65535
_DAY: Final = 86_400
Port = Annotated[int, Field(ge=1, le=_LAST_PORT)]
Seconds = Annotated[float, Field(gt=0)]


def _check_ports(hosts: str) -> str:
    for host in hosts.split(","):
        if not 1 <= int(host.rpartition(":")[2]) <= _LAST_PORT:
            raise ValueError(f"{host} has no port from 1 to {_LAST_PORT}")
    return hosts


Hosts = Annotated[str, Field(pattern=r"^[^,\s]+:\d+(,[^,\s]+:\d+)*$"), AfterValidator(_check_ports)]


Origin = Annotated[str, Field(pattern=r"^https?://[^/\s*?#@]+$")]
"""Scheme, host and port, as browsers send them (RFC 6454)."""

_LIVE_KEYS: Final = ("sk_live_", "rk_live_")
_STRIPE_LIVE_RATE: Final = 100.0
_STRIPE_TEST_RATE: Final = 25.0

_FIELD: Final = re.compile(r'field "(\w+)"')
"""How pydantic names the setting that it could not parse."""


class Pooler(StrEnum):
    """What stands between a service and PostgreSQL, and when it gives a service's connection to somebody else."""

    NONE = "none"
    SESSION = "session"
    """When the service closes it: nothing changes for us."""
    TRANSACTION = "transaction"
    """After each transaction: statements cannot be prepared, and nobody can listen."""


class SettingsError(Exception):
    """A setting is missing or does not fit; the message names it and says what it wants."""


def _line(violation: ErrorDetails) -> str:
    name = "_".join(str(part) for part in violation["loc"]).upper()
    return f"ORDERSAGA_{name}: {violation['msg'].removeprefix('Value error, ')}"


def not_parsed(prefix: str, error: NotParsedError) -> str:
    """In a line which variable holds no JSON, though its setting wants some. Its value may be secret."""
    named = _FIELD.search(str(error))
    return f"{prefix}{named[1].upper()}: must be JSON: {error.__cause__}" if named else str(error)


class _SecretFiles(PydanticBaseSettingsSource):
    """The secrets that are in files.

    Raises:
        SettingsError: a file cannot be read or is empty, or the setting itself is set, too.
    """

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The contents of the field's file without the line's end; None for a field that has none."""
        prefix = self.config["env_prefix"]
        setting = f"{prefix}{field_name.upper()}"
        path = os.environ.get(f"{setting}_FILE")
        if not path or "SecretStr" not in repr(field.annotation):
            return None, field_name, False
        if os.environ.get(setting):
            raise SettingsError(f"{setting}_FILE: {setting} is set, too; one of them is enough")
        try:
            value = Path(path).read_text().strip()
        except OSError as error:
            raise SettingsError(f"{setting}_FILE: {path} cannot be read: {error.strerror}") from None
        if not value:
            raise SettingsError(f"{setting}_FILE: {path} is empty")
        return value, field_name, get_origin(field.annotation) is dict

    def __call__(self) -> dict[str, Any]:
        """The values by the fields' names."""
        values = {}
        for name, field in self.settings_cls.model_fields.items():
            value, key, is_complex = self.get_field_value(field, name)
            if value is None:
                continue
            try:
                values[key] = self.prepare_field_value(name, field, value, is_complex)
            except ValueError as error:
                raise SettingsError(f"ORDERSAGA_{name.upper()}_FILE: its contents must be JSON: {error}") from None
        return values


class Settings(BaseSettings):
    """Settings of all components; each reads only those that it needs."""

    model_config = SettingsConfigDict(env_prefix="ORDERSAGA_", env_ignore_empty=True, frozen=True, extra="ignore")

    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$", description="Lowest level logged.")

    tracing: bool = Field(
        default=False,
        description="Export traces by OTLP, whereto and how many by OpenTelemetry's own variables, such as "
        "OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_TRACES_SAMPLER.",
    )
    tracing_joins_clients: bool = Field(
        default=True,
        description="Go on with the trace that a client's traceparent names, and whether it is recorded; else each "
        "request is a trace of its own, linked with the client's.",
    )

    probe_host: str = Field(default="127.0.0.1", description="Address that the probe port is bound on.")
    probe_port: Port | None = Field(
        default=None, description="Port on which the process answers /livez, /readyz and /metrics; none when not set."
    )
    drain_delay: float = Field(
        default=0,
        ge=0,
        description="How long a process that is to stop goes on, not ready, until nobody sends it more, seconds.",
    )

    # -- PostgreSQL: one database per service; libpq connection URIs ------------------------------------------------
    user_dsn: SecretStr | None = Field(default=None, description="Database of the user service.")
    product_dsn: SecretStr | None = Field(default=None, description="Database of the product service.")
    inventory_dsn: SecretStr | None = Field(default=None, description="Database of the inventory service.")
    order_dsn: SecretStr | None = Field(default=None, description="Database of the order service.")
    payment_dsn: SecretStr | None = Field(default=None, description="Database of the payment service.")
    notification_dsn: SecretStr | None = Field(default=None, description="Database of the notification service.")
    owner_dsns: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="JSON object: service to the DSN of the owner of its tables, for `ordersaga setup`; where there is "
        "none, the service's own role is the owner.",
    )
    relay_role: str = Field(
        default="relay", description="PostgreSQL role that `ordersaga setup` lets in as the relay; none lets nobody in."
    )
    audit_role: str = Field(
        default="audit", description="PostgreSQL role that `ordersaga setup` lets in as the audit; none lets nobody in."
    )
    database_pool_size: int = Field(default=8, ge=1, le=200, description="Connections per service process.")
    database_most_waiting: int = Field(
        default=400,
        ge=1,
        description="Calls that wait in a service process for a connection, and have had none yet; the next one is "
        "turned away.",
    )
    database_pooler: Pooler = Field(
        default=Pooler.NONE,
        description="Mode of the pooler (PgBouncer, …) that the services' DSNs lead to: none, session, transaction.",
    )
    listen_dsns: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="JSON object: service (order, payment) to a DSN that reaches its database without a pooler in "
        "transaction mode, for LISTEN.",
    )
    audit_dsns: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="JSON object: service to the DSN of the audit's read-only role in its database.",
    )

    # -- Retention: how long is kept what is no history (docs/decisions/0028) ---------------------------------------
    outbox_retention: float = Field(
        default=7 * _DAY,
        ge=_DAY,
        le=30 * _DAY,
        description="How long published events stay in the outboxes, to be published again if need be: no longer than "
        "their topics keep them, seconds.",
    )
    idempotency_key_retention: float = Field(
        default=_DAY,
        ge=_DAY,
        description="How long an Idempotency-Key stands for its request; clients may repeat one for a day, seconds.",
    )
    provider_event_retention: float = Field(
        default=45 * _DAY,
        ge=31 * _DAY,
        description="How long Stripe's events are kept once they are done: longer than the 30 days for which Stripe "
        "lists them, seconds.",
    )
    session_retention: float = Field(
        default=7 * _DAY,
        ge=3_600,
        description="How long refresh tokens are kept once they have expired, or their session has ended, seconds.",
    )

    # -- gRPC: where each service listens, and where its clients find it --------------------------------------------
    order_listen: str = Field(default="127.0.0.1:50051", description="Where the order service listens, host:port.")
    payment_listen: str = Field(default="127.0.0.1:50052", description="Where the payment service listens.")
    notification_listen: str = Field(default="127.0.0.1:50053", description="Where the notification service listens.")
    inventory_listen: str = Field(default="127.0.0.1:50054", description="Where the inventory service listens.")
    product_listen: str = Field(default="127.0.0.1:50055", description="Where the product service listens.")
    user_listen: str = Field(default="127.0.0.1:50056", description="Where the user service listens.")
    order_address: Hosts = Field(
        default="127.0.0.1:50051",
        description="Where the order service is called: host:port[,…]; all hosts, and a name's addresses, take turns.",
    )
    payment_address: Hosts = Field(default="127.0.0.1:50052", description="Where the payment service is called.")
    notification_address: Hosts = Field(
        default="127.0.0.1:50053", description="Where the notification service is called."
    )
    inventory_address: Hosts = Field(default="127.0.0.1:50054", description="Where the inventory service is called.")
    product_address: Hosts = Field(default="127.0.0.1:50055", description="Where the product service is called.")
    user_address: Hosts = Field(default="127.0.0.1:50056", description="Where the user service is called.")
    tls_ca_file: str | None = Field(
        default=None, description="PEM; the CA that signed the parts' certificates, and nobody else's."
    )
    tls_certificate_file: str | None = Field(
        default=None,
        description="PEM; the part's certificate. {part} stands for its name, where a process runs several.",
    )
    tls_key_file: str | None = Field(default=None, description="PEM; the key of that certificate; {part} likewise.")
    grpc_connection_age: Seconds = Field(
        default=30, description="After which a service has its callers connect, and look its name up, anew, seconds."
    )
    grpc_most_calls: int = Field(
        default=4_000,
        ge=1,
        description="Calls that a service process answers at a time, most of which wait for an order to move; the next "
        "one is turned away.",
    )
    grpc_reflection: bool = Field(default=False, description="Let parts ask a service for its methods.")
    grpc_deadline: Seconds = Field(default=5.0, description="Deadline of a gRPC call whose caller sets none, seconds.")
    shutdown_grace: Seconds = Field(default=5.0, description="What running requests get to end at a stop, seconds.")

    # -- Gateway ----------------------------------------------------------------------------------------------------
    gateway_host: str = Field(default="127.0.0.1", description="Address the gateway binds.")
    gateway_port: Port = Field(default=8080, description="Port the gateway binds.")
    http_head_bytes: int = Field(
        default=16_384, ge=1_024, description="Largest head (request line and headers) of a request, bytes."
    )
    http_headers: int = Field(default=100, ge=10, description="Most headers of a request.")
    http_head_timeout: Seconds = Field(
        default=10, description="What a client gets to send a request's head, from its first byte on, seconds."
    )
    http_body_timeout: Seconds = Field(
        default=30, description="What a client gets to send a request's body, or to read on when it stops, seconds."
    )
    http_idle_timeout: Seconds = Field(
        default=75,
        description="How long a connection stays open between requests: longer than the load balancer keeps it, so "
        "that it is the one who closes, seconds.",
    )
    http_connections: int = Field(
        default=1_000,
        ge=1,
        description="Connections of clients at a time; for a new one the first is closed that waits for its client.",
    )
    max_streams: int = Field(
        default=500,
        ge=1,
        le=MAX_FOLLOWED,
        description="Streams of orders' events that a gateway has open at a time; each takes one of HTTP_CONNECTIONS, "
        "of which some must be left.",
    )
    max_streams_per_account: int = Field(
        default=20, ge=1, description="Such streams that one account has open at a time, at each gateway."
    )

    trusted_proxies: list[IPv4Network | IPv6Network] = Field(
        default=[],
        description="JSON array: networks of the proxies in front of it, whose X-Forwarded-For says who asks, "
        'such as ["10.0.0.0/8"]. Anybody else\'s is not read.',
    )

    cors_origins: list[Origin] = Field(
        default=[],
        description="JSON array: origins whose pages may call the gateway from a browser, such as "
        '["https://shop.example"].',
    )
    hsts_max_age: int = Field(
        default=0,
        ge=0,
        description="For how long browsers are told to come by TLS alone, seconds; 0 tells them nothing. Set it where "
        "clients reach the gateway by TLS.",
    )
    rate_limits: dict[str, str | None] = Field(
        default={},
        description="JSON object: limit to count/seconds, or null for none, in place of the default, such as "
        '{"orders": "30/60"}. Limits: ' + ", ".join(f"{limit} {rate}" for limit, rate in DEFAULT_RATES.items()) + ".",
    )

    # -- Tokens: JWT signed with Ed25519 (RFC 8037) -----------------------------------------------------------------
    jwt_private_key: SecretStr | None = Field(default=None, description="PEM; the user service signs with it.")
    jwt_public_keys: str | None = Field(
        default=None,
        description="JWK set (RFC 7517) with the public keys; the gateway and the services verify with it.",
    )
    access_token_ttl: Seconds = Field(default=900, description="Life of an access token, seconds.")
    refresh_token_ttl: Seconds = Field(
        default=30 * 86_400, description="Life of a refresh token, seconds; each token of a family has its own."
    )

    confirmation_link_ttl: Seconds = Field(
        default=3 * 86_400, description="Life of a mailed link that confirms an address, seconds."
    )
    reset_link_ttl: Seconds = Field(
        default=3_600, description="Life of a mailed link that lets its reader choose a password, seconds."
    )

    # -- First admin ------------------------------------------------------------------------------------------------
    admin_email: str | None = Field(default=None, description="E-mail of the admin that `ordersaga setup` makes.")
    admin_password: SecretStr | None = Field(default=None, description="That admin's password.")
    admin_name: str = Field(default="Admin", description="That admin's name.")

    # -- Passwords: argon2id ----------------------------------------------------------------------------------------
    password_hash_memory: int = Field(
        default=65_536,
        ge=32,
        description="Memory of one password hash, KiB; below the default, which is RFC 9106's, it is not safe.",
    )
    password_deadline: Seconds = Field(
        default=30, description="Deadline of a call that has a password hashed, which waits for its turn, seconds."
    )

    # -- Temporal ---------------------------------------------------------------------------------------------------
    temporal_config_file: Path | None = Field(
        default=None,
        description="temporal.toml with profiles: address, namespace, TLS, client certificate, API key; the SDK's own "
        "place when not set. TEMPORAL_… variables apply as they do to the temporal command.",
    )
    temporal_profile: str | None = Field(default=None, description="Which profile of it; default when not set.")
    temporal_address: str | None = Field(
        default=None, description="Temporal front end, host:port, in place of the profile's; else 127.0.0.1:7233."
    )
    temporal_namespace: str | None = Field(
        default=None, description="Temporal namespace, in place of the profile's; else default."
    )
    temporal_payload_keys: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="JSON object: id to key (base64 of 32 bytes) that payloads in histories are encrypted with; the "
        "first one encrypts, all decrypt. Not encrypted when not set.",
    )
    temporal_encrypt: bool = Field(
        default=True,
        description="Encrypt payloads, where there are keys; false only decrypts, until every process has the keys.",
    )
    codec_host: str = Field(default="127.0.0.1", description="Address that the codec server binds.")
    codec_port: Port = Field(default=8234, description="Port that the codec server binds.")
    codec_origin: str | None = Field(
        default=None,
        description="Origin of the Web UI, whose pages may ask the codec server for those who signed in there, such as "
        "http://host:8233.",
    )
    temporal_retention: Seconds = Field(
        default=30 * 86_400, description="How long closed workflows are to be kept, at least, seconds."
    )
    temporal_task_queue: str = Field(
        default="ordersaga",
        description="Task queue of the order worker; retried steps that ask Stripe have another, with -payments behind "
        "its name.",
    )
    workflow_slots: int = Field(
        default=40,
        ge=2,
        le=1_000,
        description="Workflow tasks that an order worker runs at once. Not many more: a task that waits 2 s for the "
        "CPU counts as deadlocked.",
    )
    step_slots: int = Field(
        default=40,
        ge=2,
        le=1_000,
        description="Steps that an order worker runs at once within workflow tasks, and as many that are retried.",
    )
    payment_slots: int = Field(
        default=40, ge=1, le=1_000, description="Retried steps that ask Stripe, which an order worker runs at once."
    )
    local_payment_slots: int = Field(
        default=16,
        ge=1,
        le=500,
        description="Steps that ask Stripe, which an order worker runs at once within workflow tasks; fewer while "
        "Stripe is slow. Half of WORKFLOW_SLOTS and of STEP_SLOTS at most: the rest is for whatever needs no Stripe.",
    )
    cached_workflows: int = Field(
        default=2_000,
        ge=0,
        le=100_000,
        description="Waiting orders that an order worker keeps in memory; others are replayed when something happens "
        "to them.",
    )
    deployment_name: str = Field(
        default="ordersaga",
        pattern=r"^[^.:\s]+$",
        description="Temporal's name for all versions of the order worker together, its worker deployment.",
    )
    build_id: str | None = Field(
        default=None,
        pattern=r"^[^:\s]+$",
        description="Version of the order worker; the release's number when not set. An order stays with the version "
        "that it began on. The same word for all releases where each takes the place of the one before it.",
    )
    workflow_sandbox: bool = Field(
        default=False, description="Run workflow code in the SDK's sandbox, as the tests do; docs/decisions/0009."
    )

    # -- Saga: copied into each workflow's input, so that a change touches new orders only -----------------------------
    payment_attempts: int = Field(
        default=3, ge=1, le=20, description="Failed charges and authentications after which an order FAILS."
    )
    attention_after: Seconds = Field(default=60, description="A step that fails this long raises attention, seconds.")
    payment_event_timeout: Seconds = Field(
        default=5, description="How long the saga waits for the signed event of a confirm that succeeded, seconds."
    )
    watch_interval: Seconds = Field(
        default=20,
        description="How often the order service looks at all that is open, for what needs a person, seconds.",
    )
    repair_automatically: bool = Field(
        default=False,
        description="Start the saga of an open order again whose workflow is gone or was ended from outside, without a "
        "person; else `ordersaga repair` does.",
    )
    acceptance_limit: float = Field(
        default=3_600,
        ge=60,
        description="An order that waited this long for its saga to begin FAILS as ACCEPTED_TOO_LATE, uncharged, "
        "seconds.",
    )
    saga_sweep_interval: Seconds = Field(default=5, description="How often what has no workflow is sought, seconds.")
    saga_starts_in_progress: int = Field(
        default=16,
        ge=1,
        le=200,
        description="Sagas that an order service starts at a time for orders that Temporal did not take at once.",
    )
    max_start_delay: float = Field(
        default=3,
        ge=0,
        description="New orders are turned away that would wait for longer than this for their saga to begin, behind "
        "those that wait for a worker already; or while storing and starting orders takes longer than this. 0: never "
        "for that. Seconds.",
    )
    max_loop_lag: float = Field(
        default=1,
        ge=0,
        description="New orders are turned away while the order service's event loop is this late for a second on end; "
        "0: never for that. Seconds.",
    )

    # -- Orders: what one customer may keep from the others ---------------------------------------------------------
    max_payment_window: int = Field(
        default=3_600,
        ge=1,
        le=MAX_PAYMENT_WINDOW_SECONDS,
        description="Longest time that an order may give its customer to pay, while its stock is held, seconds.",
    )
    max_open_orders: int = Field(
        default=20, ge=1, description="Unpaid orders that one customer may have; the next one is refused."
    )
    max_held_units: int = Field(
        default=1_000, ge=1, description="Units that the unpaid orders of one customer may hold together."
    )

    guest_checkout: bool = Field(
        default=False,
        description="Take orders with an e-mail address and no account. Strangers can then hold stock, within the "
        "limits for guests, and have one mail sent to an address; decision 26.",
    )
    max_guest_orders: int = Field(
        default=3, ge=1, description="Unpaid orders that one address of guests may have; the next one is refused."
    )
    max_guest_units: int = Field(
        default=50, ge=1, description="Units that the unpaid orders of one address of guests may hold together."
    )

    # -- Kafka ------------------------------------------------------------------------------------------------------
    kafka_bootstrap: Hosts = Field(default="127.0.0.1:9092", description="Kafka bootstrap servers, host:port[,…].")
    kafka_security_protocol: str = Field(
        default="PLAINTEXT",
        pattern="^(PLAINTEXT|SSL|SASL_PLAINTEXT|SASL_SSL)$",
        description="Whether connections to Kafka are encrypted (SSL), and log in (SASL).",
    )
    kafka_sasl_mechanism: str = Field(
        default="SCRAM-SHA-512",
        pattern="^(PLAIN|SCRAM-SHA-256|SCRAM-SHA-512)$",
        description="How connections log in at Kafka.",
    )
    kafka_username: str | None = Field(default=None, description="Login at Kafka.")
    kafka_password: SecretStr | None = Field(default=None, description="Password at Kafka.")
    kafka_ca_file: Path | None = Field(
        default=None, description="PEM; who signed the brokers' certificates; else the system's CAs."
    )
    kafka_certificate_file: Path | None = Field(
        default=None, description="PEM; our client certificate, where brokers want one."
    )
    kafka_key_file: Path | None = Field(default=None, description="PEM; its key, where it is not in the same file.")
    kafka_replication: int = Field(
        default=3, ge=1, le=32, description="How many brokers `ordersaga setup` has keep each topic."
    )
    kafka_min_in_sync: int = Field(
        default=2, ge=1, le=32, description="How many of them must have an event before it counts as published."
    )
    kafka_retention: Seconds = Field(
        default=30 * 86_400, description="How long `ordersaga setup` has topics keep events, seconds."
    )
    kafka_idempotence: bool = Field(default=True, description="Idempotent producer; the embedded broker has none.")
    kafka_session_timeout_ms: int = Field(default=10_000, ge=1_000, description="Consumer group session timeout.")
    kafka_fetch_wait_ms: int = Field(
        default=500,
        ge=1,
        le=10_000,
        description="How long a broker keeps a consumer waiting that has read everything; a record that comes ends it.",
    )
    relay_dsns: dict[str, SecretStr] = Field(
        default_factory=dict, description="JSON object: service to the DSN of the relay's own role in its database."
    )

    # -- Stripe -----------------------------------------------------------------------------------------------------
    stripe_api_key: SecretStr | None = Field(default=None, description="Secret API key.")
    stripe_api_base: str | None = Field(default=None, description="Base URL of the API; Stripe's own when not set.")
    stripe_app: str = Field(
        default="ordersaga",
        pattern=r"^[A-Za-z0-9_.-]{1,40}$",
        description="Our mark in the metadata of what is made at Stripe; installations that share an account need "
        "different ones, and none may change its own.",
    )
    stripe_webhook_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s/]+/.*$",
        description="Where Stripe sends its events: the gateway's /webhooks/stripe as Stripe reaches it. "
        "`ordersaga setup` makes the endpoint there, `ordersaga doctor` looks at it.",
    )
    stripe_webhook_secret: SecretStr | None = Field(default=None, description="Signing secret of the endpoint.")
    stripe_webhook_secret_previous: SecretStr | None = Field(
        default=None, description="The secret before the last rotation, still accepted."
    )
    stripe_timeout: Seconds = Field(default=10, description="Limit of one Stripe call, seconds.")
    stripe_rate: float | None = Field(
        default=None,
        gt=0,
        description="Calls of Stripe's API per second, which the copies of the payment service divide among them. "
        "When not set, Stripe's documented limit, 100 with a live key and 25 with a test key; none where "
        "STRIPE_API_BASE names another API.",
    )
    stripe_calls_in_progress: int = Field(
        default=40,
        ge=1,
        le=80,
        description="Calls of Stripe's API that a payment service has under way at once for those who wait for the "
        "answer; as many more wait for their turn. Those for Stripe's events are not among them.",
    )
    stripe_payment_method_types: list[str] = Field(
        default=["card"], min_length=1, description="JSON array: payment method types offered to customers."
    )
    stripe_sweep_interval: Seconds = Field(default=30, description="How often Stripe's event list is read, seconds.")
    provider_events_in_progress: int = Field(
        default=32,
        ge=1,
        le=400,
        description="Stripe's events that a payment service processes at a time; a quarter of them may ask Stripe.",
    )
    unknown_event_grace_period: Seconds = Field(
        default=600,
        description="How long an event is retried before it is flagged whose order is unknown, or of which Stripe "
        "refuses to tell, seconds.",
    )

    support_refund_limit: int = Field(
        default=10_000,
        ge=0,
        description="Most that members of support may give back of one order, in all, minor units of its currency.",
    )
    refund_approval_limit: int = Field(
        default=0,
        ge=0,
        description="Most that people may give back of one order, in all, without a second one who approves it, minor "
        "units of its currency; 0: no refund needs a second one.",
    )

    # -- Mail -------------------------------------------------------------------------------------------------------
    smtp_host: str = Field(default="127.0.0.1", description="SMTP relay.")
    smtp_port: Port = Field(default=1025, description="Port of the SMTP relay.")
    smtp_tls: str | None = Field(
        default=None,
        pattern="^(none|starttls|tls)$",
        description="Encryption: none, starttls, tls; when not set, starttls unless the relay is on this machine.",
    )
    smtp_ca_file: Path | None = Field(
        default=None, description="PEM; the CAs of the relay's certificate; the system's when not set."
    )
    smtp_user: str | None = Field(default=None, description="Login at the SMTP relay.")
    smtp_password: SecretStr | None = Field(default=None, description="Password at the SMTP relay.")
    require_confirmed_email: bool = Field(
        default=True,
        description="Keep mails about orders back, for a week at most, until the customer has confirmed their address.",
    )
    account_page: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s#]+$",
        description="Page of the shop that takes the links of mails about accounts: they are this with "
        "#confirm-email=TOKEN, #change-email=TOKEN or #reset-password=TOKEN behind it. A mail shows the token alone "
        "when not set.",
    )
    order_page: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s#]+$",
        description="Page of the shop that takes the links by which guests follow their orders: they are this with "
        "#order=TOKEN behind it. A mail shows the token alone when not set.",
    )
    mail_sender: str = Field(default="Ordersaga <orders@example.test>", description="From header of every mail.")

    # -- SMS: by Twilio, or none at all while there is no account ---------------------------------------------------
    twilio_account_sid: str | None = Field(default=None, description="Account SID; SMS are refused when not set.")
    twilio_auth_token: SecretStr | None = Field(default=None, description="Auth token of the Twilio account.")
    twilio_sender: str | None = Field(default=None, description="Number (E.164) or sender ID that SMS come from.")
    twilio_api_base: str | None = Field(default=None, description="Base URL of the API; Twilio's own when not set.")
    twilio_timeout: Seconds = Field(default=10, description="Limit of one Twilio call, seconds.")

    @field_validator("*")
    @classmethod
    def _refuse_blank_secrets(cls, value: object) -> object:
        for secret in value.values() if isinstance(value, dict) else [value]:
            if isinstance(secret, SecretStr) and not secret.get_secret_value().strip():
                raise ValueError("a secret must not be blank")
        return value

    @field_validator("rate_limits")
    @classmethod
    def _check_rates(cls, value: dict[str, str | None]) -> dict[str, str | None]:
        parse_rates(value)
        return value

    @field_validator("local_payment_slots")
    @classmethod
    def _leave_room_for_others(cls, value: int, info: ValidationInfo) -> int:
        most = min(info.data.get(name, 0) for name in ("workflow_slots", "step_slots")) // 2
        if value > most:
            raise ValueError(f"must be at most {most}, half of WORKFLOW_SLOTS and of STEP_SLOTS")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then the files that it names."""
        return init_settings, env_settings, _SecretFiles(settings_cls)

    @classmethod
    def load(cls) -> Settings:
        """Read the environment.

        Raises:
            SettingsError: with one line per setting that does not fit.
        """
        try:
            return cls()
        except ValidationError as error:
            raise SettingsError("\n".join(_line(violation) for violation in error.errors())) from None
        except NotParsedError as error:
            raise SettingsError(not_parsed("ORDERSAGA_", error)) from None

    def required(self, name: str) -> str:
        """The value of a setting that has no default.

        Raises:
            SettingsError: when it is not set.
        """
        value = getattr(self, name)
        if value is None:
            description = type(self).model_fields[name].description
            raise SettingsError(f"ORDERSAGA_{name.upper()} is not set. It is: {description}")
        return value.get_secret_value() if isinstance(value, SecretStr) else str(value)

    @cached_property
    def rates(self) -> Rates:
        """The rate limits, defaults included."""
        return parse_rates(self.rate_limits)

    @cached_property
    def stripe_calls_per_second(self) -> float | None:
        """Of the account, all who ask it together; None for no limit (https://docs.stripe.com/rate-limits)."""
        if self.stripe_rate is not None or self.stripe_api_base is not None:
            return self.stripe_rate
        return _STRIPE_LIVE_RATE if self.required("stripe_api_key").startswith(_LIVE_KEYS) else _STRIPE_TEST_RATE

    @cached_property
    def stripe_webhook_secrets(self) -> tuple[str, ...]:
        """The secrets that a webhook may be signed with, the current one first."""
        secrets = (self.stripe_webhook_secret, self.stripe_webhook_secret_previous)
        return tuple(secret.get_secret_value() for secret in secrets if secret is not None)
