"""What a deployment has to give to whatever it runs: the settings that this reads, and no others."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from pydantic_core import PydanticUndefined

from runtime.part_settings import SETTINGS
from runtime.settings import Settings

DISPENSABLE: Final = {
    *("temporal_config_file", "temporal_profile", "temporal_address", "temporal_namespace"),  # one way of them is given
    *("temporal_payload_keys", "listen_dsns", "owner_dsns", "audit_dsns"),
    *("kafka_username", "kafka_password", "kafka_ca_file", "kafka_certificate_file", "kafka_key_file"),
    *("stripe_api_base", "stripe_webhook_url", "stripe_webhook_secret_previous", "stripe_rate"),
    *("smtp_tls", "smtp_ca_file", "smtp_user", "smtp_password"),
    *("twilio_account_sid", "twilio_auth_token", "twilio_sender", "twilio_api_base"),
    *("admin_email", "admin_password"),
    *("build_id", "rate_limits", "account_page", "order_page"),
}
"""Has no default, and is done without, or with others in its place."""


def settings_of(variables: Iterable[str]) -> set[str]:
    """The names of the settings that these environment variables set.

    Raises:
        AssertionError: one of them sets none.
    """
    found = set()
    for variable in variables:
        name = variable.removeprefix("ORDERSAGA_").lower()
        secret = name.removesuffix("_file")
        if name in Settings.model_fields:
            found.add(name)
        else:
            assert secret in Settings.model_fields, f"{variable} is no setting"
            assert "SecretStr" in repr(Settings.model_fields[secret].annotation), f"{variable}: only secrets have files"
            found.add(secret)
    return found


def readers(arguments: Sequence[str]) -> list[str]:
    """What `ordersaga` runs with these arguments, as `SETTINGS` names it: parts, or steps of the set-up."""
    command, *names = arguments
    return names if command == "serve" else [f"{command} {step}" for step in names]


def read_by(arguments: Sequence[str]) -> set[str]:
    """The settings that `ordersaga` reads with these arguments."""
    return {setting for reader in readers(arguments) for setting in SETTINGS[reader]}


def missing(arguments: Sequence[str], given: Collection[str]) -> set[str]:
    """What it is not given and cannot do without, or whose default is good on one machine alone."""
    return {name for name in read_by(arguments) - set(given) - DISPENSABLE if _has_no_good_default(name)}


def superfluous(arguments: Sequence[str], given: Collection[str]) -> set[str]:
    """What it is given, and does not read."""
    return set(given) - read_by(arguments)


def _has_no_good_default(name: str) -> bool:
    default = Settings.model_fields[name].get_default(call_default_factory=True)
    return default in (None, {}, PydanticUndefined) or "127.0.0.1" in str(default)
