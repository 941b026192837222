"""The settings of the stack's processes, and how they get them: as environment variables."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Collection, Mapping
from dataclasses import asdict
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from domain.rate_limits import widened
from runtime.part_settings import only_for
from runtime.settings import Settings, SettingsError
from sandbox.certificates import Certificates
from sandbox.credentials import Credentials
from sandbox.external import External, without_external
from sandbox.ports import HOST, Ports, address
from sandbox.postgres.databases import SERVICES, Databases
from sandbox.settings import SandboxSettings
from services.payment.stripe.event_types import HANDLED_EVENT_TYPES

PREFIX = "ORDERSAGA_"

TWILIO_ACCOUNT = f"AC{0:032x}"
TWILIO_SENDER = "+15005550006"
"""The one sender that works with Twilio's own test credentials, too."""

SHUTDOWN_GRACE = 2.0
"""Seconds that running requests get at a stop; the whole stack stops within 10."""

_KNOWN_TO_DOUBLES: Final = (
    *("log_level", "shutdown_grace"),
    *("stripe_api_key", "stripe_webhook_secret", "twilio_account_sid", "twilio_auth_token", "twilio_sender"),
)

BUILD_ID = "embedded"
"""All releases are one version of the order worker: each takes the place of the one before it, at its start."""

LIMITS_FACTOR = 1_000
"""All its customers come from one address, the demo's, the tests' and the bench's, and ask as fast as they can."""

KAFKA_SESSION_MS = 4_000
"""Joining a group takes half of it here."""
KAFKA_FETCH_WAIT_MS = 200
"""The embedded broker looks for records before it keeps somebody waiting and after it, and not meanwhile."""


def stack_settings(
    *,
    ports: Ports,
    namespace: str,
    databases: Databases | None,
    credentials: Credentials,
    certificates: Certificates,
    external: Collection[External] = (),
) -> Settings:
    """The settings of all components: addresses from the stack; the rest, such as limits, from our environment.

    Of an external server the environment says everything; `databases` is None where PostgreSQL is one.

    Raises:
        SettingsError: a setting in our environment does not fit, or lacks a database of an external PostgreSQL.
    """
    ours = Settings.load()
    own: dict[str, Any] = dict(
        **({} if databases is None else _dsns(databases)),
        user_address=address(ports.user),
        product_address=address(ports.product),
        inventory_address=address(ports.inventory),
        order_address=address(ports.order),
        payment_address=address(ports.payment),
        notification_address=address(ports.notification),
        user_listen=address(ports.user),
        product_listen=address(ports.product),
        inventory_listen=address(ports.inventory),
        order_listen=address(ports.order),
        payment_listen=address(ports.payment),
        notification_listen=address(ports.notification),
        shutdown_grace=SHUTDOWN_GRACE,
        gateway_host=HOST,
        gateway_port=ports.gateway,
        guest_checkout=True,
        rate_limits=ours.rate_limits or widened(LIMITS_FACTOR),
        jwt_private_key=SecretStr(credentials.jwt_private_key),
        jwt_public_keys=credentials.jwt_public_keys,
        tls_ca_file=certificates.ca_file,
        tls_certificate_file=certificates.certificate_file,
        tls_key_file=certificates.key_file,
        temporal_address=address(ports.temporal),
        temporal_namespace=namespace,
        build_id=ours.build_id or BUILD_ID,
        kafka_bootstrap=address(ports.kafka),
        kafka_replication=1,
        kafka_min_in_sync=1,
        kafka_idempotence=False,
        kafka_session_timeout_ms=KAFKA_SESSION_MS,
        kafka_fetch_wait_ms=KAFKA_FETCH_WAIT_MS,
        stripe_api_key=SecretStr(credentials.stripe_api_key),
        stripe_api_base=f"http://{address(ports.stripe)}",
        stripe_webhook_url=_webhook_url(ports),
        stripe_webhook_secret=SecretStr(credentials.stripe_webhook_secret),
        stripe_webhook_secret_previous=None,
        smtp_host=HOST,
        smtp_port=ports.smtp,
        smtp_tls="none",
        smtp_user=None,
        smtp_password=None,
        twilio_account_sid=TWILIO_ACCOUNT,
        twilio_auth_token=SecretStr(credentials.twilio_auth_token),
        twilio_sender=TWILIO_SENDER,
        twilio_api_base=f"http://{address(ports.mailbox)}",
    )
    settings = Settings(**without_external(own, external))
    if databases is None:
        _check_databases(settings)
    return settings


def _dsns(databases: Databases) -> dict[str, Any]:
    return {
        **{f"{service}_dsn": SecretStr(uri) for service, uri in databases.services.items()},
        "owner_dsns": {service: SecretStr(uri) for service, uri in databases.owners.items()},
        "relay_dsns": {service: SecretStr(uri) for service, uri in databases.relay.items()},
        "audit_dsns": {service: SecretStr(uri) for service, uri in databases.audit.items()},
    }


def _check_databases(settings: Settings) -> None:
    """See that every database of an external PostgreSQL is named, for every role.

    Raises:
        SettingsError: one is not.
    """
    for service in SERVICES:
        settings.required(f"{service}_dsn")
    for table in ("owner_dsns", "relay_dsns", "audit_dsns"):
        if missing := [service for service in SERVICES if service not in getattr(settings, table)]:
            raise SettingsError(
                f"ORDERSAGA_{table.upper()} lacks {', '.join(missing)}: the stack is to use another PostgreSQL, by "
                "ORDERSAGA_SANDBOX_EXTERNAL"
            )


def sandbox_settings(*, ports: Ports, var: Path) -> SandboxSettings:
    """The settings of the stack's own components."""
    return SandboxSettings(
        **{f"{listener}_port": port for listener, port in asdict(ports).items()},
        stripe_folder=var / "stripe",
        stripe_webhook_url=_webhook_url(ports),
        stripe_webhook_events=list(HANDLED_EVENT_TYPES),
        mail_folder=var / "mail",
    )


def _webhook_url(ports: Ports) -> str:
    return f"http://{address(ports.gateway)}/webhooks/stripe"


def process_environment(settings: Settings, *parts: str) -> dict[str, str]:
    """Our environment with the settings of these parts, and none else of Ordersaga or of another Temporal, in it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith((PREFIX, "TEMPORAL_"))}
    return environment | _variables(PREFIX, only_for(settings, *parts))


def server_environment() -> dict[str, str]:
    """Our environment for servers that we did not write: without OpenTelemetry's variables, which are meant for us, and
    which some of them read as well."""
    return {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}


def double_environment(settings: Settings, sandbox: SandboxSettings) -> dict[str, str]:
    """The same for the doubles: what they are to know of ours is what the services say to them."""
    known = {name: getattr(settings, name) for name in _KNOWN_TO_DOUBLES}
    own = {name: getattr(sandbox, name) for name in SandboxSettings.model_fields}
    prefix = str(SandboxSettings.model_config["env_prefix"])
    return process_environment(settings) | _variables(PREFIX, known) | _variables(prefix, own)


def _variables(prefix: str, values: Mapping[str, object]) -> dict[str, str]:
    return {f"{prefix}{name.upper()}": _as_text(value) for name, value in values.items() if value is not None}


def to_shell(environment: Mapping[str, str]) -> str:
    """Ordersaga's settings in an environment, as assignments that a shell can source."""
    ours = sorted((name, value) for name, value in environment.items() if name.startswith(PREFIX))
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in ours)


def _as_text(value: object) -> str:
    revealed = _reveal(value)
    return revealed if isinstance(revealed, str) else json.dumps(revealed)


def _reveal(value: object) -> object:
    match value:
        case SecretStr():
            return value.get_secret_value()
        case Path() | IPv4Network() | IPv6Network():
            return str(value)
        case dict():
            return {key: _reveal(inner) for key, inner in value.items()}
        case list():
            return [_reveal(inner) for inner in value]
        case _:
            return value
