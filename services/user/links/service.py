"""Use cases of links: what their readers can do, and the mails that they ask for.

Whatever changes a link or an account does so while the account is locked.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

from domain.ids import new_id
from domain.users import LinkPurpose
from runtime.database import Connection, Database
from runtime.due_work import Claimed
from runtime.outbox import Event
from runtime.refusal import Unavailable
from services.user.errors import BadCredentials, EmailTaken, LinkNotValid, TooManyMails, UserNotFound
from services.user.links.model import IssuedLink, Link, LinkToken, ReplacedEmail
from services.user.links.repository import LinkRepository
from services.user.links.requests import request_link
from services.user.messages import changed_event
from services.user.model import User
from services.user.passwords import Passwords
from services.user.repository import UserRepository
from services.user.token_repository import TokenRepository


class AccountLinks:
    """One-time links, and what else changes an address or a password.

    Args:
        database: the user database.
        passwords: hashes and verifies.
        lives: how long a link of each purpose works, from when its mail was written.
        on_reset_requested: called when a request to reset a password is due.
    """

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        *,
        lives: Mapping[LinkPurpose, timedelta],
        on_reset_requested: Callable[[], None],
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._lives = lives
        self._on_reset_requested = on_reset_requested

    async def request_confirmation(self, user_id: str) -> None:
        """Have a link mailed that confirms an account's address; none once it is confirmed.

        Raises:
            UserNotFound: there is no such account.
            TooManyMails: it had several within an hour.
        """
        async with self._locked(user_id) as (connection, user):
            if not user.email_confirmed:
                await request_link(connection, user, LinkPurpose.CONFIRM_EMAIL)

    async def confirm(self, token: str) -> None:
        """Confirm the address that a link was mailed to, which becomes the account's if it is another one.

        A repeat is no error. Once the address is another one, no link to the one before works, and that one is told.

        Raises:
            LinkNotValid: the link cannot be used for this.
            EmailTaken: another account has the address by now.
        """
        async with self._opened(token, LinkPurpose.CONFIRM_EMAIL, LinkPurpose.CHANGE_EMAIL) as (connection, user, link):
            if link.email == user.email and user.email_confirmed:
                return
            if not link.is_good or (link.purpose is LinkPurpose.CONFIRM_EMAIL and link.email != user.email):
                raise LinkNotValid
            users, links = UserRepository(connection), LinkRepository(connection)
            if not await users.confirm_email(user.id, email=link.email):
                raise EmailTaken
            changes = link.email != user.email
            if changes:
                await links.void(user.id)
            await links.use(link.id, replaced_email=user.email if changes else None)
            what = "user.email_changed" if changes else "user.email_confirmed"
            await users.add_event(_event(user, what, link_id=link.id))

    async def request_reset(self, email: str) -> None:
        """Let a link be mailed to the account with this e-mail, if there is one; that is looked up afterwards."""
        async with self._database.autocommit() as connection:
            await LinkRepository(connection).request_reset(new_id(), email)
        self._on_reset_requested()

    async def process_reset_request(self, claimed: Claimed[str]) -> None:
        """Have the link mailed; see `runtime.due_worker`. Nobody hears whether there is such an account."""
        async with self._database.transaction() as connection:
            users = UserRepository(connection)
            found = await users.find_credentials(claimed.item)
            user = None if found is None else await users.lock_user(found[0].id)
            if user is not None and not user.disabled:
                with suppress(TooManyMails):
                    await request_link(connection, user, LinkPurpose.RESET_PASSWORD)
            if not await LinkRepository(connection).end_reset_request(claimed):
                raise Unavailable("the claim was lost")

    async def reset_password(self, token: str, password: str) -> None:
        """Set the password of the account that a link was mailed to, and end all of its sessions.

        Whoever reads the mails to the address is thereby known to. The account is told.

        Raises:
            LinkNotValid: the link cannot be used for this.
            Unavailable: too many passwords wait to be hashed.
        """
        async with self._opened(token, LinkPurpose.RESET_PASSWORD) as (_, user, link):
            _check_reset(user, link)  # before anything is hashed for it
        password_hash = await self._passwords.hash(password)
        async with self._opened(token, LinkPurpose.RESET_PASSWORD) as (connection, user, link):
            _check_reset(user, link)
            users = UserRepository(connection)
            await users.confirm_email(user.id, email=user.email)
            await self._set_password(connection, user, password_hash=password_hash, session=None)

    async def change_password(self, user_id: str, *, current: str, new: str, session: str) -> None:
        """Give an account another password, and end its other sessions. The account is told.

        Raises:
            BadCredentials: the current one is another.
            UserNotFound: there is no such account.
            Unavailable: too many passwords wait to be hashed.
        """
        verified = await self._verify(user_id, current)
        password_hash = await self._passwords.hash(new)
        async with self._locked(user_id) as (connection, user):
            if user.password_changed_at != verified.password_changed_at:
                raise BadCredentials
            await self._set_password(connection, user, password_hash=password_hash, session=session or None)

    async def change_email(self, user_id: str, *, password: str, email: str) -> None:
        """Have a link mailed to another address, which makes it the account's.

        Raises:
            BadCredentials: the password is another.
            EmailTaken: another account has the address.
            TooManyMails: several such links were mailed within an hour.
            UserNotFound: there is no such account.
            Unavailable: too many passwords wait to be verified.
        """
        await self._verify(user_id, password)
        async with self._locked(user_id) as (connection, user):
            taken = await UserRepository(connection).find_credentials(email)
            if taken is not None and taken[0].id != user_id:
                raise EmailTaken
            await request_link(connection, user, LinkPurpose.CHANGE_EMAIL, email=email)

    async def issue(self, link_id: str) -> IssuedLink:
        """A token for a link, for the mail that is being written.

        Raises:
            LinkNotValid: it was used, or nobody needs it any more.
        """
        token = LinkToken.new(link_id)
        async with self._database.autocommit() as connection:
            links = LinkRepository(connection)
            purpose = await links.find_purpose(link_id)
            issued = None if purpose is None else await links.issue(token, ttl=self._lives[purpose])
        if issued is None:
            raise LinkNotValid
        email, name, expires_at = issued
        return IssuedLink(email=email, name=name, token=token.text, expires_at=expires_at)

    async def get_replaced_email(self, link_id: str) -> ReplacedEmail:
        """The address that an account had before a link changed it.

        Raises:
            LinkNotValid: it changed none.
        """
        async with self._database.autocommit() as connection:
            found = await LinkRepository(connection).find_replaced_email(link_id)
        if found is None:
            raise LinkNotValid
        return found

    async def _set_password(
        self, connection: Connection, user: User, *, password_hash: str, session: str | None
    ) -> None:
        await UserRepository(connection).set_password(user.id, password_hash=password_hash)
        await TokenRepository(connection).end_sessions(user.id, but=session)
        await LinkRepository(connection).void(user.id, but=LinkPurpose.CONFIRM_EMAIL)
        await UserRepository(connection).add_event(_event(user, "user.password_changed"))

    async def _verify(self, user_id: str, password: str) -> User:
        async with self._database.autocommit() as connection:
            users = UserRepository(connection)
            user, password_hash = await users.find_user(user_id), await users.find_password_hash(user_id)
        if user is None:
            raise UserNotFound(user_id)
        if not await self._passwords.verify(password, password_hash=password_hash):
            raise BadCredentials
        return user

    @asynccontextmanager
    async def _locked(self, user_id: str) -> AsyncIterator[tuple[Connection, User]]:
        async with self._database.transaction() as connection:
            user = await UserRepository(connection).lock_user(user_id)
            if user is None:
                raise UserNotFound(user_id)
            yield connection, user

    @asynccontextmanager
    async def _opened(self, text: str, *purposes: LinkPurpose) -> AsyncIterator[tuple[Connection, User, Link]]:
        """The link that a token opens, with its account, which is locked."""
        token = LinkToken.parse(text)
        if token is None:
            raise LinkNotValid
        async with self._database.transaction() as connection:
            links = LinkRepository(connection)
            found = await links.find(token)
            user = None if found is None else await UserRepository(connection).lock_user(found.user_id)
            link = await links.find(token)  # what became of it meanwhile
            if user is None or link is None or link.purpose not in purposes:
                raise LinkNotValid
            yield connection, user, link


def _check_reset(user: User, link: Link) -> None:
    if not link.is_good or link.email != user.email or user.disabled:
        raise LinkNotValid


def _event(user: User, what: str, *, link_id: str = "") -> Event:
    return changed_event(user.id, what, seq=user.seq + 1, at=datetime.now(UTC), link_id=link_id)
