"""A request takes effect once per user, route and key, and its duplicates get what the first one made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import nullcontext

import pytest
import pytest_asyncio
from sqlalchemy import Text
from sqlmodel import Field, SQLModel

from domain.ids import new_id
from domain.refusals import Refusal
from runtime.database import Database, service_metadata
from runtime.idempotency import (
    CLAIM_KEY,
    FirstRequest,
    IdempotencyKeyColumns,
    IdempotencyKeyReused,
    IdempotencyKeys,
    IdempotentRequest,
)
from tests.support.rows import fetch_rows
from tests.support.scratch import Scratch

DUPLICATES = 8


class Key(IdempotencyKeyColumns, table=True):
    """The keys of a service."""

    __tablename__ = "idempotency_keys"
    metadata = service_metadata()


class Made(SQLModel, table=True):
    """What requests make."""

    __tablename__ = "made"
    metadata = service_metadata()

    id: str = Field(sa_type=Text, primary_key=True)


@pytest_asyncio.fixture(scope="module")
async def database(scratch: Scratch) -> AsyncIterator[Database]:
    scratch.create(Key, Made)
    async with scratch.database(pool_size=DUPLICATES) as database:
        yield database


def request(
    content: int = 1,
    *,
    key: str = "",
    user_id: str = "0199aa00-0000-7000-8000-000000000001",
    route: str = "POST /v1/orders",
) -> IdempotentRequest:
    return IdempotentRequest.of({"amount": content}, user_id=user_id, route=route, key=key or new_id(), wait=2)


async def claim(database: Database, asked: IdempotentRequest, subject_id: str) -> bool:
    async with database.autocommit() as connection:
        return await IdempotencyKeys(connection).claim(asked, subject_id=subject_id)


async def first_of(database: Database, asked: IdempotentRequest) -> FirstRequest:
    async with database.autocommit() as connection:
        return await IdempotencyKeys(connection).get_first(asked)


async def waits_for_lock(database: Database) -> bool:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    return await fetch_rows(database, waiting) == [(1,)]


async def until_waiting(database: Database) -> None:
    async with asyncio.timeout(20):
        while not await waits_for_lock(database):  # noqa: ASYNC110 - it happens in PostgreSQL
            await asyncio.sleep(0.01)


async def test_of_concurrent_duplicates_one_takes_effect_and_all_get_what_it_made(database: Database) -> None:
    asked = request()
    everybody = asyncio.Barrier(DUPLICATES)

    async def take_effect(subject_id: str) -> str | None:
        async with database.transaction() as connection:
            await everybody.wait()
            if not await IdempotencyKeys(connection).claim(asked, subject_id=subject_id):
                return None
            await connection.execute("INSERT INTO made VALUES (%(id)s)", id=subject_id)
            return subject_id

    ids = [new_id() for _ in range(DUPLICATES)]
    outcomes = await asyncio.gather(*(take_effect(subject_id) for subject_id in ids))

    [made] = [outcome for outcome in outcomes if outcome is not None]
    assert await fetch_rows(database, "SELECT id FROM made WHERE id = ANY(%(ids)s)", ids=ids) == [(made,)]
    assert (await first_of(database, asked)).subject_id == made


@pytest.mark.parametrize("first_commits", [True, False])
async def test_a_concurrent_duplicate_waits_for_the_end_of_the_first_ones_transaction(
    database: Database, first_commits: bool
) -> None:
    asked, first, second = request(), new_id(), new_id()

    with nullcontext() if first_commits else pytest.raises(LookupError):
        async with database.transaction() as connection:
            assert await IdempotencyKeys(connection).claim(asked, subject_id=first)
            duplicate = asyncio.create_task(claim(database, asked, second))
            await until_waiting(database)
            assert not duplicate.done()
            if not first_commits:
                raise LookupError
    claimed = await duplicate

    assert claimed is not first_commits
    assert (await first_of(database, asked)).subject_id == (first if first_commits else second)


async def test_a_claim_can_be_part_of_the_statement_that_takes_effect(database: Database) -> None:
    asked, first, second = request(), new_id(), new_id()
    statement = f"WITH key AS ({CLAIM_KEY}) INSERT INTO made SELECT subject_id::text FROM key"  # noqa: S608 - constants

    async with database.autocommit() as connection:
        changed = [await connection.execute(statement, **asked.claim(subject_id)) for subject_id in (first, second)]

    assert changed == [1, 0]
    assert await fetch_rows(database, "SELECT id FROM made WHERE id = ANY(%(ids)s)", ids=[first, second]) == [(first,)]


async def test_a_key_that_stands_for_another_request_is_refused(database: Database) -> None:
    asked = request(1)
    await claim(database, asked, new_id())

    with pytest.raises(IdempotencyKeyReused) as caught:
        await first_of(database, request(2, key=asked.key))

    assert caught.value.refusal is Refusal.IDEMPOTENCY_KEY_REUSED
    assert caught.value.details == {"key": asked.key}


async def test_another_user_or_route_has_keys_of_its_own(database: Database) -> None:
    asked = request(1)
    others = [
        request(2, key=asked.key, user_id=new_id()),
        request(3, key=asked.key, route="POST /v1/orders/{id}/cancel"),
    ]
    subjects = [new_id() for _ in range(3)]

    claims = [await claim(database, each, subject) for each, subject in zip((asked, *others), subjects, strict=True)]

    assert claims == [True] * 3
    assert [(await first_of(database, each)).subject_id for each in (asked, *others)] == subjects


async def test_a_key_that_nobody_claimed_stands_for_nothing(database: Database) -> None:
    with pytest.raises(LookupError):
        await first_of(database, request())


async def test_a_duplicate_finds_until_when_the_first_request_waited_whatever_itself_asks_for(
    database: Database,
) -> None:
    asked = request()
    await claim(database, asked, new_id())

    later = IdempotentRequest.of({"amount": 1}, user_id=asked.user_id, route=asked.route, key=asked.key, wait=60)

    assert later.answer_by > asked.answer_by
    assert (await first_of(database, later)).answer_by == asked.answer_by
