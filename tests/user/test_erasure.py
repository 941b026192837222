"""Erasing a person on a real PostgreSQL: the account at once, and what other services know of them, whatever dies."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
import pytest_asyncio

from domain.ids import new_id
from domain.refusals import Refusal
from domain.users import Role
from ordersaga.user.v1 import user_pb2 as pb
from ordersaga.user.v1.user_pb2_grpc import UserServiceStub
from runtime.caller import SERVICE, Caller, CallerRole
from runtime.database import Database
from runtime.refusal import CallRefused, Unavailable
from runtime.settings import Settings
from services.user.bootstrap import UserComponents, bootstrap
from services.user.erasure.others import Others
from services.user.errors import BadCredentials, InvalidRefreshToken, LastAdmin, LinkNotValid
from services.user.model import ClientTraits, User
from services.user.server import grpc_service
from tests.support.rows import fetch_rows
from tests.support.rpc import call, channel_to

PASSWORD = "correct horse"


class RecordedOthers:
    """In the place of the other services: whom they were to forget, and how that went."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: list[bool | Unavailable] = []

    async def forget(self, user_id: str) -> bool:
        self.asked.append(user_id)
        answer = self.answers.pop(0) if self.answers else True
        if isinstance(answer, Unavailable):
            raise answer
        return answer


@pytest.fixture(scope="module")
def others() -> RecordedOthers:
    return RecordedOthers()


@pytest_asyncio.fixture(scope="module")
async def components(settings: Settings, others: RecordedOthers) -> AsyncIterator[UserComponents]:
    async with bootstrap(settings, others=cast("Others", others)) as components:
        yield components


@pytest_asyncio.fixture(scope="module")
async def stub(components: UserComponents) -> AsyncIterator[UserServiceStub]:
    async with channel_to(grpc_service(components)) as channel:
        yield UserServiceStub(channel)


@pytest.fixture
async def user(components: UserComponents, others: RecordedOthers, database: Database) -> User:
    async with database.autocommit() as connection:
        await connection.execute("DELETE FROM erasures")
    others.asked.clear()
    others.answers.clear()
    return await components.users.register(
        email=f"user-{new_id()}@example.test", password=PASSWORD, name=f"Ada {new_id()}"
    )


async def erase(stub: UserServiceStub, user: User, *, by: Caller, password: str = "") -> None:
    await call(stub.EraseUser, pb.EraseUserRequest(user_id=user.id, current_password=password), caller=by)


async def refusal_of(stub: UserServiceStub, user: User, *, by: Caller, password: str = "") -> Refusal:
    with pytest.raises(CallRefused) as caught:
        await erase(stub, user, by=by, password=password)
    return caught.value.refusal


def themselves(user: User) -> Caller:
    return Caller(CallerRole.CUSTOMER, user.id)


async def be_over(database: Database) -> None:
    """Let no access token of anybody erased live any more, and let all be asked at once."""
    async with database.autocommit() as connection:
        await connection.execute(
            "UPDATE erasures SET requested_at = requested_at - interval '1 hour', next_attempt_at = now()"
        )


async def erasures(database: Database) -> list[tuple[Any, ...]]:
    return await fetch_rows(
        database, "SELECT user_id::text, requested_by, completed_at IS NOT NULL, last_error FROM erasures"
    )


async def test_of_an_erased_person_nothing_is_left_but_that_they_were(
    components: UserComponents, stub: UserServiceStub, user: User, database: Database
) -> None:
    session = await components.refresh_tokens.issue(
        user, ClientTraits(address="192.0.2.0/24", user_agent="Phone/erased")
    )

    await erase(stub, user, by=themselves(user), password=PASSWORD)

    with pytest.raises(CallRefused) as gone:
        await call(stub.GetUser, pb.GetUserRequest(user_id=user.id), caller=SERVICE)
    assert gone.value.refusal is Refusal.USER_ERASED
    with pytest.raises(BadCredentials):
        await components.users.authenticate(email=user.email, password=PASSWORD)
    with pytest.raises(InvalidRefreshToken):
        await components.refresh_tokens.rotate(session.text, ClientTraits())
    everything = " ".join(
        [
            str(row)
            for table in ("users", "refresh_tokens", "account_links", "outbox", "erasures", "password_reset_requests")
            for row in await fetch_rows(database, f"SELECT t::text FROM {table} AS t")  # noqa: S608 - from constants
        ]
    )
    for trace in (user.email, user.name, "192.0.2.0", "Phone/erased"):
        assert trace not in everything
    assert await erasures(database) == [(user.id, f"customer:{user.id}", False, None)]


async def test_its_event_is_the_accounts_last_and_whoever_verifies_tokens_hears_of_its_sessions(
    components: UserComponents, stub: UserServiceStub, user: User, database: Database
) -> None:
    session = await components.refresh_tokens.issue(user, ClientTraits())

    await erase(stub, user, by=Caller(CallerRole.OPERATOR, "ada"))

    events = await fetch_rows(database, "SELECT ce_type, ce_seq FROM outbox WHERE key = %(id)s ORDER BY id", id=user.id)
    assert events[-1] == ("user.erased", 3)
    assert session.session_id in (await components.sessions.list_ended(None)).session_ids


async def test_the_address_is_free_for_another_account(
    components: UserComponents, stub: UserServiceStub, user: User
) -> None:
    await erase(stub, user, by=themselves(user), password=PASSWORD)

    again = await components.users.register(email=user.email, password=PASSWORD, name="Somebody else")

    assert again.id != user.id


async def test_links_that_were_mailed_work_no_more(
    components: UserComponents, stub: UserServiceStub, user: User, database: Database
) -> None:
    [(link_id,)] = await fetch_rows(database, "SELECT id::text FROM account_links WHERE user_id = %(id)s", id=user.id)
    token = (await components.links.issue(link_id)).token

    await erase(stub, user, by=themselves(user), password=PASSWORD)

    with pytest.raises(LinkNotValid):
        await components.links.confirm(token)
    with pytest.raises(LinkNotValid):
        await components.links.issue(link_id)


async def test_who_may_erase_whom(stub: UserServiceStub, user: User) -> None:
    assert await refusal_of(stub, user, by=themselves(user)) is Refusal.INVALID_ARGUMENT
    assert await refusal_of(stub, user, by=themselves(user), password="wrong horse") is Refusal.BAD_CREDENTIALS
    for role in (CallerRole.CUSTOMER, CallerRole.SUPPORT):
        stranger = Caller(role, new_id())
        assert await refusal_of(stub, user, by=stranger, password=PASSWORD) is Refusal.USER_NOT_FOUND
    admin = Caller(CallerRole.ADMIN, new_id())

    await erase(stub, user, by=admin)

    assert await refusal_of(stub, user, by=admin) is Refusal.USER_ERASED


async def test_the_last_admin_is_not_erased(components: UserComponents, user: User, database: Database) -> None:
    async with database.autocommit() as connection:
        await connection.execute("UPDATE users SET role = 'customer'")
    await components.administration.change(user.id, role=Role.ADMIN, disabled=None, actor="test")

    with pytest.raises(LastAdmin):
        await components.erasures.erase(user.id, actor="test")

    assert await components.users.authenticate(email=user.email, password=PASSWORD)


async def test_other_services_are_asked_at_once_and_once_more_when_no_token_can_live(
    components: UserComponents, stub: UserServiceStub, user: User, database: Database, others: RecordedOthers
) -> None:
    await erase(stub, user, by=themselves(user), password=PASSWORD)

    assert await components.erasing.process_due() == 1
    assert await erasures(database) == [(user.id, f"customer:{user.id}", False, None)]
    await be_over(database)
    assert await components.erasing.process_due() == 1
    assert await components.erasing.process_due() == 0

    assert await erasures(database) == [(user.id, f"customer:{user.id}", True, None)]
    assert others.asked == [user.id, user.id]


async def test_they_are_asked_until_they_have_forgotten_whatever_is_away(
    components: UserComponents, stub: UserServiceStub, user: User, database: Database, others: RecordedOthers
) -> None:
    await erase(stub, user, by=themselves(user), password=PASSWORD)
    others.answers = [Unavailable("the order service is away"), False, True]

    for expected in (False, False, True):
        await be_over(database)
        assert await components.erasing.process_due() == 1
        [(_, _, is_complete, _)] = await erasures(database)
        assert is_complete is expected

    assert others.asked == [user.id] * 3
