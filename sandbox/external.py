"""Servers of the stack that somebody else runs: then settings say where they are, as in production."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any, Final


class External(StrEnum):
    """A server that the stack can do without starting."""

    POSTGRES = "postgres"
    TEMPORAL = "temporal"
    KAFKA = "kafka"
    SMTP = "smtp"


_SETTINGS: Final[Mapping[External, Collection[str]]] = {
    External.TEMPORAL: ("temporal_address", "temporal_namespace"),
    External.KAFKA: (
        *("kafka_bootstrap", "kafka_idempotence", "kafka_session_timeout_ms"),
        *("kafka_replication", "kafka_min_in_sync"),
    ),
    External.SMTP: ("smtp_host", "smtp_port", "smtp_tls", "smtp_user", "smtp_password"),
}
"""What the stack says of each of its own; of another, the environment does. (Of databases it says what it has.)"""


def without_external(settings: Mapping[str, Any], external: Collection[External]) -> dict[str, Any]:
    """The stack's own settings, without those that are the environment's to say."""
    theirs = {name for server in external for name in _SETTINGS.get(server, ())}
    return {name: value for name, value in settings.items() if name not in theirs}
