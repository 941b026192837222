"""How many copies of the payment service ask one account: each holds a lock in the database that they share.

The lock is on the connection that a copy listens on, so that a copy that dies is not counted any more, and nothing has
to be stored or cleaned up. While nobody can be counted, the last number stands.
"""

from __future__ import annotations

from typing import Final

from runtime.database import Database
from services.payment.stripe.gate import StripeGate

PRESENCE: Final = (0x5354, 0x5249)
"""Key of the advisory lock that every copy shares."""
INTERVAL: Final = 5.0
"""Seconds from one count to the next."""


async def divide_rate(database: Database, gate: StripeGate) -> None:
    """Keep to our part of the account's rate, if it has one.

    Raises:
        DatabaseAway: they cannot be counted.
    """
    if gate.pace.rate is None:
        return
    async with database.autocommit() as connection:
        copies: int = await connection.fetch_value(
            """
            SELECT count(*) FROM pg_locks
             WHERE locktype = 'advisory' AND objsubid = 2 AND granted
               AND (classid, objid) = (%(part)s::int8::oid, %(what)s::int8::oid)
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            """,
            part=PRESENCE[0],
            what=PRESENCE[1],
        )
    gate.pace.divide(copies)
