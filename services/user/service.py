"""Use cases of the user service. Passwords are hashed outside of transactions: a hash takes a tenth of a second."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Final
from uuid import UUID, uuid5

from domain.ids import new_id
from domain.users import LinkPurpose, Role
from runtime.database import Connection, Database
from runtime.idempotency import IdempotencyKeyReused, IdempotencyKeys, IdempotentRequest
from runtime.refusal import Unavailable
from services.user.checks import check_account
from services.user.erasure.repository import ErasureRepository
from services.user.errors import AccountDisabled, BadCredentials, EmailTaken, UserErased, UserNotFound
from services.user.links.requests import request_link
from services.user.messages import created_event
from services.user.model import User
from services.user.passwords import Passwords
from services.user.repository import UserRepository
from services.user.token_repository import TokenRepository

REGISTER_ROUTE: Final = "POST /v1/users"
"""Where the keys of `register` are sent."""
_ADDRESSES: Final = UUID("5e0b1f5c-8a53-5c0e-b6a2-0a4d0c7d9e21")
"""Namespace (RFC 9562) of the ids that stand for e-mail addresses."""


class UserService:
    """Accounts and passwords."""

    def __init__(self, database: Database, passwords: Passwords) -> None:
        self._database = database
        self._passwords = passwords

    async def register(self, *, email: str, password: str, name: str, idempotency_key: str | None = None) -> User:
        """Open a customer's account; a mail with a link that confirms its address is due with it.

        A repeat with the same key and password is answered with the account as it is by now.

        Raises:
            EmailTaken: another account has the e-mail, in whatever case.
            IdempotencyKeyReused: the key stands for another request.
            Unavailable: too many passwords wait to be hashed.
        """
        password_hash = await self._passwords.hash(password)
        request = None if idempotency_key is None else _sign_up(email=email, name=name, key=idempotency_key)
        async with self._database.transaction() as connection:
            user = await _add(connection, email=email, password_hash=password_hash, name=name, role=Role.CUSTOMER)
            if user is not None:
                if request is not None and not await IdempotencyKeys(connection).claim(request, subject_id=user.id):
                    raise IdempotencyKeyReused(request.key)  # for an account that has another address by now
                return user
        if request is None:
            raise EmailTaken
        return await self._registered_before(request, email=email, password=password)

    async def _registered_before(self, request: IdempotentRequest, *, email: str, password: str) -> User:
        """The account that an earlier sign-up with the key and password opened."""
        async with self._database.autocommit() as connection:
            try:
                first = await IdempotencyKeys(connection).get_first(request)
            except LookupError:
                raise EmailTaken from None
            user, password_hash = await UserRepository(connection).find_credentials(email) or (None, None)
        if user is None or user.id != first.subject_id:
            raise EmailTaken
        if not await self._passwords.verify(password, password_hash=password_hash):
            raise IdempotencyKeyReused(request.key)
        return user

    async def authenticate(self, *, email: str, password: str) -> User:
        """The account that the e-mail, in whatever case, and the password belong to.

        An unknown e-mail takes the same work as a wrong password. A hash with other parameters than today's is
        replaced.

        Raises:
            BadCredentials: they belong to none.
            AccountDisabled: they do, and an admin has disabled the account.
            Unavailable: too many passwords wait to be verified.
        """
        async with self._database.autocommit() as connection:
            found = await UserRepository(connection).find_credentials(email)
        user, password_hash = found or (None, None)
        matches = await self._passwords.verify(password, password_hash=password_hash)
        if user is None or password_hash is None or not matches:
            raise BadCredentials
        if user.disabled:
            raise AccountDisabled
        if self._passwords.is_outdated(password_hash):
            await self._renew_hash(user.id, password, old=password_hash)
        return user

    async def _renew_hash(self, user_id: str, password: str, *, old: str) -> None:
        with suppress(Unavailable):  # the next login does it
            new = await self._passwords.hash(password)
            async with self._database.autocommit() as connection:
                await UserRepository(connection).replace_password_hash(user_id, old=old, new=new)

    async def get(self, user_id: str) -> User:
        """One account.

        Raises:
            UserErased: there was one.
            UserNotFound: there is none.
        """
        async with self._database.autocommit() as connection:
            user = await UserRepository(connection).find_user(user_id)
            if user is None and await ErasureRepository(connection).is_erased(user_id):
                raise UserErased(user_id)
        if user is None:
            raise UserNotFound(user_id)
        return user

    async def ensure_admin(self, *, email: str, password: str, name: str) -> User:
        """See to it that there is an admin with this e-mail and password; a repeat changes nothing.

        An account that has the e-mail keeps its id and name, and gets the role and the password; it is enabled, and
        its sessions end.

        Raises:
            InvalidArgument: no account can be made of this.
        """
        check_account(email=email, password=password, name=name)
        password_hash = await self._passwords.hash(password)
        async with self._database.transaction() as connection:
            user = await _add(connection, email=email, password_hash=password_hash, name=name, role=Role.ADMIN)
            if user is None:
                user = await UserRepository(connection).make_admin(email, password_hash=password_hash)
                # Whoever was logged in before must not become an admin by a refresh.
                await TokenRepository(connection).end_sessions(user.id)
        return user


def _sign_up(*, email: str, name: str, key: str) -> IdempotentRequest:
    """A sign-up with its key, which is the address's, for nobody has logged in.

    It is told from others without its password, of which only a slow hash may be kept.
    """
    return IdempotentRequest.of(
        {"email": email, "name": name},
        user_id=str(uuid5(_ADDRESSES, email.lower())),
        route=REGISTER_ROUTE,
        key=key,
        wait=0,
    )


async def _add(connection: Connection, *, email: str, password_hash: str, name: str, role: Role) -> User | None:
    """A new account; a customer's address is confirmed by a mail, an admin's by whoever names them."""
    now = datetime.now(UTC)
    confirmed_at = now if role is Role.ADMIN else None
    user = User(id=new_id(), email=email, name=name, role=role, seq=1, created_at=now, confirmed_at=confirmed_at)
    users = UserRepository(connection)
    if not await users.add_user(user, password_hash=password_hash, events=[created_event(user)]):
        return None
    if not user.email_confirmed:
        await request_link(connection, user, LinkPurpose.CONFIRM_EMAIL)
    return user
