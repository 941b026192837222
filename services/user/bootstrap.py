"""Wires the user service from its settings and ports: for the process that runs it, and for every test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

from domain.users import LinkPurpose
from runtime.backoff import Backoff
from runtime.database import Database, open_database
from runtime.database_measuring import database_measurements
from runtime.due_worker import DueWorker
from runtime.ended_sessions import EndedSessions
from runtime.health import Checks
from runtime.measuring import Measurement
from runtime.on_call import NothingOnCall, OnCall
from runtime.periodic import repeat
from runtime.retention import DUE_RULES, DueRule, retention_worker
from runtime.settings import Settings
from runtime.tokens import TokenSigner
from services.user.administration.service import Administration
from services.user.erasure.others import Others, open_others
from services.user.erasure.repository import DUE_ERASURES, ErasedPerson
from services.user.erasure.service import Erasures
from services.user.guests.repository import DUE_ADOPTIONS, ConfirmedAddress
from services.user.guests.service import Guests
from services.user.limits.service import PRUNE_INTERVAL, SharedLimits
from services.user.links.repository import DUE_RESETS
from services.user.links.service import AccountLinks
from services.user.passwords import Passwords
from services.user.refresh_tokens import RefreshTokens
from services.user.retention import rules
from services.user.service import UserService
from services.user.sessions.service import Sessions
from services.user.tables import SCHEMA

_LEASE: Final = timedelta(seconds=30)
_BACKOFF: Final = Backoff(first=1, longest=60)
_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """The part of the service that issues no tokens, and needs no key to sign them with."""

    database: Database
    passwords: Passwords
    users: UserService
    administration: Administration


@dataclass(frozen=True, slots=True, kw_only=True)
class UserComponents(Accounts):
    """What the service is made of.

    Attributes:
        resets: works on requests to reset passwords.
        erasing: has other services forget people.
        adopting: has the order service look for what was ordered with confirmed addresses.
        retention: deletes what is old and no history.
        background: what runs beside the server, each until cancelled.
    """

    links: AccountLinks
    resets: DueWorker[str]
    erasures: Erasures
    erasing: DueWorker[ErasedPerson]
    guests: Guests
    adopting: DueWorker[ConfirmedAddress]
    retention: DueWorker[DueRule]
    background: Sequence[Callable[[], Awaitable[object]]]
    refresh_tokens: RefreshTokens
    sessions: Sessions
    ended_sessions: EndedSessions
    signer: TokenSigner
    limits: SharedLimits
    on_call: OnCall
    checks: Checks
    measurements: Sequence[Measurement]


@asynccontextmanager
async def bootstrap(
    settings: Settings, *, database: Database | None = None, others: Others | None = None
) -> AsyncIterator[UserComponents]:
    """The service's components, as long as the context is open.

    Args:
        settings: of the process.
        database: in place of the one that the settings name; whoever gives it closes it.
        others: in place of the other services that the settings name.

    Raises:
        SettingsError: a setting or the certificate is missing, or does not fit.
    """
    signer = TokenSigner(settings.required("jwt_private_key"), ttl=settings.access_token_ttl)
    async with bootstrap_accounts(settings, database=database) as accounts, AsyncExitStack() as stack:
        if others is None:
            others = await stack.enter_async_context(open_others(settings))
        sessions = Sessions(accounts.database, token_life=timedelta(seconds=settings.access_token_ttl))
        links, resets = _wire_links(settings, accounts)
        erasures, erasing = _wire_erasures(settings, accounts, others)
        guests, adopting = _wire_guests(settings, accounts, others, signer)
        limits = SharedLimits(accounts.database)
        retention = retention_worker("user", accounts.database, rules(settings))
        yield UserComponents(
            database=accounts.database,
            passwords=accounts.passwords,
            links=links,
            resets=resets,
            erasures=erasures,
            erasing=erasing,
            guests=guests,
            adopting=adopting,
            retention=retention,
            background=(
                resets.run,
                erasing.run,
                adopting.run,
                partial(repeat, limits.prune, interval=PRUNE_INTERVAL, name="limits.prune"),
                retention.run,
            ),
            users=accounts.users,
            administration=accounts.administration,
            sessions=sessions,
            ended_sessions=EndedSessions(sessions.list_ended),
            refresh_tokens=RefreshTokens(accounts.database, ttl=timedelta(seconds=settings.refresh_token_ttl)),
            signer=signer,
            limits=limits,
            on_call=NothingOnCall(),
            checks=Checks(needs={"database": partial(accounts.database.find_problem, schema=SCHEMA)}),
            measurements=database_measurements(
                "user",
                accounts.database,
                due={
                    resets.name: DUE_RESETS,
                    erasing.name: DUE_ERASURES,
                    adopting.name: DUE_ADOPTIONS,
                    retention.name: DUE_RULES,
                },
            ),
        )


@asynccontextmanager
async def bootstrap_accounts(settings: Settings, *, database: Database | None = None) -> AsyncIterator[Accounts]:
    """Its accounts alone, for whoever has no key; as `bootstrap`."""
    async with open_database(settings, "user", given=database) as opened:
        passwords = Passwords(memory_kib=settings.password_hash_memory)
        yield Accounts(
            database=opened,
            passwords=passwords,
            users=UserService(opened, passwords),
            administration=Administration(opened),
        )


def _wire_links(settings: Settings, accounts: Accounts) -> tuple[AccountLinks, DueWorker[str]]:
    confirmation, reset = timedelta(seconds=settings.confirmation_link_ttl), timedelta(seconds=settings.reset_link_ttl)
    links = AccountLinks(
        accounts.database,
        accounts.passwords,
        lives={
            LinkPurpose.CONFIRM_EMAIL: confirmation,
            LinkPurpose.CHANGE_EMAIL: confirmation,
            LinkPurpose.RESET_PASSWORD: reset,
        },
        on_reset_requested=lambda: resets.wake(),
    )
    resets = DueWorker(
        "password_resets",
        database=accounts.database,
        table=DUE_RESETS,
        process=links.process_reset_request,
        concurrency=_AT_ONCE,
        lease=_LEASE,
        backoff=_BACKOFF,
        grace=settings.shutdown_grace,
    )
    return links, resets


def _wire_erasures(settings: Settings, accounts: Accounts, others: Others) -> tuple[Erasures, DueWorker[ErasedPerson]]:
    erasures = Erasures(
        accounts.database,
        accounts.passwords,
        others,
        token_life=timedelta(seconds=settings.access_token_ttl),
        on_due=lambda: erasing.wake(),
    )
    erasing = DueWorker(
        "erasures",
        database=accounts.database,
        table=DUE_ERASURES,
        process=erasures.process,
        concurrency=_AT_ONCE,
        lease=_LEASE,
        backoff=_BACKOFF,
        grace=settings.shutdown_grace,
    )
    return erasures, erasing


def _wire_guests(
    settings: Settings, accounts: Accounts, others: Others, signer: TokenSigner
) -> tuple[Guests, DueWorker[ConfirmedAddress]]:
    guests = Guests(accounts.database, others, signer)
    adopting = DueWorker(
        "adoptions",
        database=accounts.database,
        table=DUE_ADOPTIONS,
        process=guests.process_adoption,
        concurrency=_AT_ONCE,
        lease=_LEASE,
        backoff=_BACKOFF,
        grace=settings.shutdown_grace,
    )
    return guests, adopting
