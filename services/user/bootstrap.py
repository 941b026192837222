"""Wires the user service from its settings and ports: for the process that runs it, and for every test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from runtime.database import Database, open_database
from runtime.database_measuring import database_measurements
from runtime.ended_sessions import EndedSessions
from runtime.health import Checks
from runtime.measuring import Measurement
from runtime.on_call import NothingOnCall, OnCall
from runtime.settings import Settings
from runtime.tokens import TokenSigner
from services.user.administration.service import Administration
from services.user.passwords import Passwords
from services.user.refresh_tokens import RefreshTokens
from services.user.service import UserService
from services.user.sessions.service import Sessions
from services.user.tables import SCHEMA


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """The part of the service that issues no tokens, and needs no key to sign them with."""

    database: Database
    users: UserService
    administration: Administration


@dataclass(frozen=True, slots=True, kw_only=True)
class UserComponents(Accounts):
    """What the service is made of."""

    refresh_tokens: RefreshTokens
    sessions: Sessions
    ended_sessions: EndedSessions
    signer: TokenSigner
    on_call: OnCall
    checks: Checks
    measurements: Sequence[Measurement]


@asynccontextmanager
async def bootstrap(settings: Settings, *, database: Database | None = None) -> AsyncIterator[UserComponents]:
    """The service's components, as long as the context is open.

    Args:
        settings: of the process.
        database: in place of the one that the settings name; whoever gives it closes it.

    Raises:
        SettingsError: a setting is missing, or does not fit.
    """
    signer = TokenSigner(settings.required("jwt_private_key"), ttl=settings.access_token_ttl)
    async with bootstrap_accounts(settings, database=database) as accounts:
        sessions = Sessions(accounts.database, token_life=timedelta(seconds=settings.access_token_ttl))
        yield UserComponents(
            database=accounts.database,
            users=accounts.users,
            administration=accounts.administration,
            sessions=sessions,
            ended_sessions=EndedSessions(sessions.list_ended),
            refresh_tokens=RefreshTokens(accounts.database, ttl=timedelta(seconds=settings.refresh_token_ttl)),
            signer=signer,
            on_call=NothingOnCall(),
            checks=Checks(needs={"database": partial(accounts.database.find_problem, schema=SCHEMA)}),
            measurements=database_measurements("user", accounts.database),
        )


@asynccontextmanager
async def bootstrap_accounts(settings: Settings, *, database: Database | None = None) -> AsyncIterator[Accounts]:
    """Its accounts alone, for whoever has no key; as `bootstrap`."""
    async with open_database(settings, "user", given=database) as opened:
        yield Accounts(
            database=opened,
            users=UserService(opened, Passwords(memory_kib=settings.password_hash_memory)),
            administration=Administration(opened),
        )
