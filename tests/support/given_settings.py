"""What a deployment has to give a part: the settings that it reads, and no others."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from pydantic_core import PydanticUndefined

from runtime.part_settings import SETTINGS
from runtime.settings import Settings

SETUP_ARGUMENTS: Final = {
    *("ORDERSAGA_ADMIN_EMAIL", "ORDERSAGA_ADMIN_PASSWORD", "ORDERSAGA_ADMIN_NAME"),
    *("ORDERSAGA_RELAY_ROLE", "ORDERSAGA_AUDIT_ROLE"),
}
"""What `ordersaga setup` takes besides settings."""
DISPENSABLE: Final = {
    *("temporal_config_file", "temporal_profile", "temporal_address", "temporal_namespace"),  # one way of them is given
    *("listen_dsns", "owner_dsns"),
    *("kafka_username", "kafka_password", "kafka_ca_file", "kafka_certificate_file", "kafka_key_file"),
    *("stripe_api_base", "stripe_webhook_secret_previous"),
    *("smtp_tls", "smtp_ca_file", "smtp_user", "smtp_password"),
    *("twilio_account_sid", "twilio_auth_token", "twilio_sender", "twilio_api_base"),
}
"""Has no default, and a part does without it, or with others in its place."""


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


def needed_by(part: str) -> set[str]:
    """The settings that the part cannot do without, or whose default is good on one machine alone."""
    return {name for name in SETTINGS[part] if name not in DISPENSABLE and _has_no_good_default(name)}


def superfluous(part: str, given: Collection[str]) -> set[str]:
    """What the part is given, and does not read."""
    return set(given) - set(SETTINGS[part])


def _has_no_good_default(name: str) -> bool:
    field = Settings.model_fields[name]
    default = field.get_default(call_default_factory=True)
    return default in (None, {}, PydanticUndefined) or "127.0.0.1" in str(default)
