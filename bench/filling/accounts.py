"""The user database: accounts with their confirmed addresses, and where they were logged in last."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from random import Random
from typing import Final

from bench.filling.ids import drawn_id
from bench.filling.mails import MailDatabase
from bench.filling.people import Account
from bench.filling.shape import Shape
from bench.filling.sheets import Events, Sheet, to_json
from bench.filling.story import moment
from domain.events import USER_EVENTS
from domain.users import LinkPurpose, Role
from services.user.tables import AccountLinkRow, Outbox, RefreshTokenRow, UserRow

_CONFIRMED_AFTER: Final = timedelta(minutes=2)
_PUBLISHED_AFTER: Final = timedelta(milliseconds=200)
_LINK_TTL: Final = timedelta(days=3)
_TOKEN_TTL: Final = timedelta(days=30)
_DIGEST_BYTES: Final = 32


class AccountDatabase:
    """Its sheets, in the order in which they can be written."""

    def __init__(self, random: Random, shape: Shape, mails: MailDatabase) -> None:
        self._random = random
        self._shape = shape
        self._mails = mails
        self._users = Sheet(
            UserRow, "id", "email", "name", "role", "seq", "created_at", "confirmed_at", "password_hash"
        )
        self._links = Sheet(
            AccountLinkRow,
            *("id", "user_id", "purpose", "email", "token_hashes", "requested_at", "expires_at", "used_at"),
        )
        self._tokens = Sheet(
            RefreshTokenRow, "id", "family_id", "user_id", "token_hash", "issued_at", "expires_at", "user_agent"
        )
        self._events = Events(Outbox, topic=USER_EVENTS, aggregate="user", random=random)
        self.sheets: Sequence[Sheet] = [self._users, self._links, self._tokens, self._events]

    def add(self, account: Account) -> None:
        """One account, with the mail by which its address was confirmed."""
        opened_at = self._shape.began_at - timedelta(days=30) * (1 - account.number / self._shape.customers)
        confirmed_at = opened_at + _CONFIRMED_AFTER
        is_recent = self._shape.is_recent(account.number, of=self._shape.customers)
        link_id = drawn_id(self._random, opened_at)
        self._users.add(
            *(account.id, account.email, f"Filled Customer {account.number}", Role.CUSTOMER, 3, opened_at),
            *(confirmed_at, self._shape.password_hash),
        )
        self._links.add(
            *(link_id, account.id, LinkPurpose.CONFIRM_EMAIL, account.email, [self._random.randbytes(_DIGEST_BYTES)]),
            *(opened_at, opened_at + _LINK_TTL, confirmed_at),
        )
        self._mails.add_account(account, opened_at=opened_at, is_recent=is_recent)
        if not is_recent:
            return
        token_id = drawn_id(self._random, self._shape.until - _TOKEN_TTL)
        self._tokens.add(
            *(token_id, token_id, account.id, self._random.randbytes(_DIGEST_BYTES)),
            *(self._shape.until - _TOKEN_TTL, self._shape.until, "Mozilla/5.0"),
        )
        created = {"userId": account.id, "at": moment(opened_at)}
        requested = {**created, "linkId": link_id}
        confirmed = {"userId": account.id, "at": moment(confirmed_at), "linkId": link_id}
        for seq, (kind, data, at) in enumerate(
            (
                ("user.created", created, opened_at),
                ("user.confirmation_requested", requested, opened_at),
                ("user.email_confirmed", confirmed, confirmed_at),
            ),
            start=1,
        ):
            self._events.add_event(
                kind,
                of=account.id,
                seq=seq,
                key=account.id,
                cause=account.id,
                data=to_json(data),
                at=at,
                published_at=at + _PUBLISHED_AFTER,
            )
