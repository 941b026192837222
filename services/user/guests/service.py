"""Use cases of guests.

An account adopts what was ordered with its address once its holder has proved that they read its mails. The order
service does it, and asks here which account that is; here is only noted whom it has to look for, in the transaction in
which the address is confirmed.
"""

from __future__ import annotations

from functools import partial

import structlog

from runtime.caller import Caller, CallerRole
from runtime.database import Database
from runtime.due_work import Claimed
from runtime.due_worker import Record
from runtime.tokens import SignedToken, TokenSigner
from services.user.erasure.others import Others
from services.user.guests.repository import ConfirmedAddress, GuestRepository

log = structlog.stdlib.get_logger(__name__)


class Guests:
    """People who order without an account.

    Args:
        database: the user database.
        others: among them the order service.
        signer: of tokens.
    """

    def __init__(self, database: Database, others: Others, signer: TokenSigner) -> None:
        self._database = database
        self._others = others
        self._signer = signer

    def issue_token(self, *, order_id: str, guest_id: str, seconds: int) -> SignedToken:
        """A token for the guest who placed the order, and for that order alone."""
        return self._signer.sign(Caller(CallerRole.GUEST, guest_id, order_id=order_id), ttl=seconds)

    async def find_confirmed_user(self, email: str) -> str | None:
        """The account whose holder is known to read mails to this address, in whatever case."""
        async with self._database.autocommit() as connection:
            return await GuestRepository(connection).find_confirmed(email)

    async def process_adoption(self, claimed: Claimed[ConfirmedAddress]) -> Record:
        """Have the order service look for what was ordered with an address; see `runtime.due_worker`.

        Raises:
            ServiceUnavailable: it is away.
        """
        await self._others.adopt_guest_orders(claimed.item.email)
        return partial(self._end, claimed)

    async def _end(self, claimed: Claimed[ConfirmedAddress]) -> bool:
        async with self._database.autocommit() as connection:
            if not await GuestRepository(connection).end_adoption(claimed):
                log.info("adoption.claim_lost", user_id=claimed.item.user_id)
        return False
