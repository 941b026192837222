"""How every connection of ours to PostgreSQL is made: one whose other end is gone ends within seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from psycopg.conninfo import conninfo_to_dict, make_conninfo

_DEFAULTS: Final[Mapping[str, str]] = {
    "connect_timeout": "3",
    # A peer that is silent for five seconds is asked every two, and given up after three questions without an answer;
    # data that it does not acknowledge, after ten (milliseconds).
    "keepalives": "1",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}


def with_keepalives(dsn: str) -> str:
    """A libpq DSN with limits for a server that does not answer; what the DSN itself says of them stands.

    Raises:
        psycopg.ProgrammingError: it is no DSN.
    """
    return make_conninfo("", **{**_DEFAULTS, **conninfo_to_dict(dsn)})
