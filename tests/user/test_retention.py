"""Tokens and links that open nothing any more are deleted, and nobody who has a session notices."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import pytest_asyncio

from domain.ids import new_id
from runtime.database import Database
from runtime.settings import Settings
from services.user.bootstrap import UserComponents, bootstrap
from services.user.errors import ExpiredRefreshToken, InvalidRefreshToken, LinkNotValid, RefreshTokenReused
from services.user.model import ClientTraits, IssuedToken, User
from tests.support.retention import delete_old
from tests.support.rows import fetch_rows
from tests.support.shared_postgres import PostgresServer, unique_suffix

PASSWORD = "correct horse"
BROWSER = ClientTraits(address="192.0.2.0", user_agent="Browser")


@pytest.fixture(scope="session")  # a module's tests may come to a process in two parts
def clean(postgres: PostgresServer, worker_id: str) -> Mapping[str, str]:
    """The DSN of a database in which nobody else works."""
    return postgres.copy_databases(f"user_retention_{unique_suffix(worker_id)}", ["user"])


@pytest_asyncio.fixture
async def components(settings: Settings, clean: Mapping[str, str]) -> AsyncIterator[UserComponents]:
    database = Database(clean["user"], pool_size=4)
    async with bootstrap(settings, database=database) as components:
        yield components
    await database.close()


@pytest.fixture
async def user(components: UserComponents) -> User:
    return await components.users.register(email=f"user-{new_id()}@example.test", password=PASSWORD, name="Ada")


async def log_in(components: UserComponents, user: User) -> IssuedToken:
    return await components.refresh_tokens.issue(user, BROWSER)


async def refresh(components: UserComponents, token: IssuedToken) -> IssuedToken:
    return (await components.refresh_tokens.rotate(token.text, BROWSER))[1]


async def age(components: UserComponents, user: User, by: str) -> None:
    """Let all tokens of an account be older."""
    await fetch_rows(
        components.database,
        """
        UPDATE refresh_tokens SET issued_at = issued_at - %(by)s::interval, expires_at = expires_at - %(by)s::interval,
               revoked_at = revoked_at - %(by)s::interval
         WHERE user_id = %(id)s RETURNING id
        """,
        by=by,
        id=user.id,
    )


async def tokens(components: UserComponents, user: User) -> int:
    rows = await fetch_rows(components.database, "SELECT id FROM refresh_tokens WHERE user_id = %(id)s", id=user.id)
    return len(rows)


async def delete(components: UserComponents) -> None:
    await delete_old(components.retention, components.database)


async def test_a_token_that_was_never_used_goes_a_week_after_it_has_expired(
    components: UserComponents, user: User
) -> None:
    token = await log_in(components, user)
    await age(components, user, "36 days 23 hours")

    await delete(components)
    with pytest.raises(ExpiredRefreshToken):
        await refresh(components, token)

    await age(components, user, "2 hours")
    await delete(components)
    assert await tokens(components, user) == 0
    with pytest.raises(InvalidRefreshToken):
        await refresh(components, token)


async def test_a_session_that_is_used_for_months_keeps_its_first_token_and_those_that_are_valid(
    components: UserComponents, user: User
) -> None:
    token = await log_in(components, user)
    for _ in range(4):
        await age(components, user, "20 days")
        token = await refresh(components, token)

    await delete(components)

    assert await tokens(components, user) == 3  # the first one, and those of 20 days ago and now
    assert [session.id for session in await components.sessions.list(user.id)] == [token.session_id]
    token = await refresh(components, token)
    await components.sessions.end(token.session_id, user_id=user.id)
    with pytest.raises(InvalidRefreshToken):
        await refresh(components, token)


async def test_a_token_that_is_used_twice_ends_its_session_also_when_older_ones_are_gone(
    components: UserComponents, user: User
) -> None:
    first = await log_in(components, user)
    await age(components, user, "29 days")
    second = await refresh(components, first)
    await age(components, user, "29 days")
    third = await refresh(components, second)
    await delete(components)

    with pytest.raises(RefreshTokenReused):
        await refresh(components, second)

    with pytest.raises(InvalidRefreshToken):
        await refresh(components, third)


async def test_a_whole_session_goes_once_nobody_can_have_used_it_for_long(
    components: UserComponents, user: User
) -> None:
    token = await log_in(components, user)
    for _ in range(3):
        token = await refresh(components, token)
    await age(components, user, "38 days")

    await delete(components)
    await delete(components)  # the first token goes after all that refer to it

    assert await tokens(components, user) == 0


async def test_what_has_ended_goes_a_week_later_and_is_told_of_as_long_as_it_matters(
    components: UserComponents, user: User
) -> None:
    token = await refresh(components, await log_in(components, user))
    other = await log_in(components, user)
    await components.sessions.end(token.session_id, user_id=user.id)
    await age(components, user, "6 days 23 hours")

    await delete(components)
    assert await tokens(components, user) == 3

    await age(components, user, "2 hours")
    await delete(components)
    assert await tokens(components, user) == 1
    await refresh(components, other)
    with pytest.raises(InvalidRefreshToken):
        await refresh(components, token)


async def test_a_session_that_has_ended_is_known_until_its_access_tokens_have_expired(
    settings: Settings, clean: Mapping[str, str]
) -> None:
    database = Database(clean["user"], pool_size=4)
    changes = {"session_retention": 3_600, "access_token_ttl": 7_200}
    async with bootstrap(settings.model_copy(update=changes), database=database) as components:
        user = await components.users.register(email=f"user-{new_id()}@example.test", password=PASSWORD, name="Ada")
        token = await log_in(components, user)
        await components.sessions.end(token.session_id, user_id=user.id)
        await age(components, user, "1 hour 59 minutes")

        await delete(components)

        assert token.session_id in (await components.sessions.list_ended(None)).session_ids
    await database.close()


async def test_many_tokens_of_an_ended_session_go_in_batches_the_first_one_last(
    components: UserComponents, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.retention.AT_ONCE", 2)
    token = await log_in(components, user)
    for _ in range(6):
        token = await refresh(components, token)
    await components.refresh_tokens.revoke(token.text)
    await age(components, user, "8 days")

    await delete(components)

    assert await tokens(components, user) == 0


async def link_of(components: UserComponents, user: User) -> str:
    [(link_id,)] = await fetch_rows(
        components.database, "SELECT id FROM account_links WHERE user_id = %(id)s", id=user.id
    )
    return str(link_id)


async def age_links(components: UserComponents, user: User, by: str) -> None:
    await fetch_rows(
        components.database,
        """
        UPDATE account_links SET requested_at = requested_at - %(by)s::interval,
               expires_at = expires_at - %(by)s::interval
         WHERE user_id = %(id)s RETURNING id
        """,
        by=by,
        id=user.id,
    )


async def links(components: UserComponents, user: User) -> list[tuple[Any, ...]]:
    return await fetch_rows(
        components.database, "SELECT id::text FROM account_links WHERE user_id = %(id)s", id=user.id
    )


async def test_a_link_goes_a_month_after_its_mail_could_be_written_last(components: UserComponents, user: User) -> None:
    link_id = await link_of(components, user)
    await age_links(components, user, "36 days")

    await delete(components)
    assert await links(components, user) == [(link_id,)]

    await age_links(components, user, "2 days")
    await delete(components)
    assert await links(components, user) == []


async def test_a_link_that_still_works_stays_however_old_it_is(components: UserComponents, user: User) -> None:
    link = await components.links.issue(await link_of(components, user))
    await fetch_rows(
        components.database,
        "UPDATE account_links SET requested_at = now() - interval '90 days' WHERE user_id = %(id)s RETURNING id",
        id=user.id,
    )

    await delete(components)
    await components.links.confirm(link.token)

    await age_links(components, user, "40 days")
    await delete(components)
    with pytest.raises(LinkNotValid):
        await components.links.confirm(link.token)
