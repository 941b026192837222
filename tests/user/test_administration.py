"""Administering accounts over gRPC, on a real PostgreSQL."""

from __future__ import annotations

import asyncio

import pytest

from domain.ids import new_id
from domain.refusals import Refusal
from domain.users import Role
from ordersaga.user.v1 import user_pb2 as pb
from ordersaga.user.v1.user_pb2_grpc import UserServiceStub
from runtime.caller import ANONYMOUS, Caller, CallerRole
from runtime.database import Database
from runtime.refusal import CallRefused
from services.user.administration.service import Administration
from services.user.bootstrap import UserComponents
from services.user.errors import AccountDisabled, BadCredentials, InvalidRefreshToken, LastAdmin
from services.user.model import ClientTraits, User
from tests.support.rpc import call

PASSWORD = "correct horse"
ADA = Caller(CallerRole.OPERATOR, "ada")


@pytest.fixture
def administration(components: UserComponents) -> Administration:
    return components.administration


async def new_user(components: UserComponents, role: Role = Role.CUSTOMER) -> User:
    user = await components.users.register(email=f"user-{new_id()}@example.test", password=PASSWORD, name="Somebody")
    if role is Role.CUSTOMER:
        return user
    return await components.administration.change(user.id, role=role, disabled=None, actor="test")


@pytest.fixture
async def two_admins(components: UserComponents, database: Database) -> tuple[User, User]:
    """The only ones."""
    async with database.autocommit() as connection:
        await connection.execute("UPDATE users SET role = 'customer'")
    return await new_user(components, Role.ADMIN), await new_user(components, Role.ADMIN)


async def refused(stub: UserServiceStub, request: pb.ChangeUserRequest, caller: Caller = ADA) -> Refusal:
    with pytest.raises(CallRefused) as caught:
        await call(stub.ChangeUser, request, caller=caller)
    return caught.value.refusal


async def test_an_operator_gives_an_account_another_role_and_the_next_token_has_it(
    components: UserComponents, stub: UserServiceStub
) -> None:
    user = await new_user(components)

    changed = await call(stub.ChangeUser, pb.ChangeUserRequest(user_id=user.id, role=pb.ROLE_SUPPORT), caller=ADA)

    assert changed.user.role == pb.ROLE_SUPPORT
    request = pb.AuthenticateUserRequest(email=user.email, password=PASSWORD)
    assert (await call(stub.AuthenticateUser, request, caller=ANONYMOUS)).user.role == pb.ROLE_SUPPORT


async def test_with_another_role_every_session_ends_and_a_repeat_ends_none(components: UserComponents) -> None:
    user = await new_user(components)
    before = await components.refresh_tokens.issue(user, ClientTraits())

    promoted = await components.administration.change(user.id, role=Role.SUPPORT, disabled=None, actor="test")
    after = await components.refresh_tokens.issue(promoted, ClientTraits())
    await components.administration.change(user.id, role=Role.SUPPORT, disabled=None, actor="test")

    with pytest.raises(InvalidRefreshToken):
        await components.refresh_tokens.rotate(before.text, ClientTraits())
    assert await components.refresh_tokens.rotate(after.text, ClientTraits())


async def test_nobody_logs_in_to_a_disabled_account_until_it_is_enabled(components: UserComponents) -> None:
    user = await new_user(components)
    session = await components.refresh_tokens.issue(user, ClientTraits())

    disabled = await components.administration.change(user.id, role=None, disabled=True, actor="test")

    assert disabled.disabled
    with pytest.raises(AccountDisabled):
        await components.users.authenticate(email=user.email, password=PASSWORD)
    with pytest.raises(BadCredentials):  # who does not know the password learns nothing
        await components.users.authenticate(email=user.email, password="wrong horse")
    with pytest.raises(InvalidRefreshToken):
        await components.refresh_tokens.rotate(session.text, ClientTraits())
    await components.administration.change(user.id, role=None, disabled=False, actor="test")
    assert await components.users.authenticate(email=user.email, password=PASSWORD)


@pytest.mark.parametrize("change", [{"role": Role.SUPPORT, "disabled": None}, {"role": None, "disabled": True}])
async def test_a_login_that_was_verified_before_a_change_gets_no_session_after_it(
    components: UserComponents, change: dict[str, Role | bool | None]
) -> None:
    user = await new_user(components)
    verified = await components.users.authenticate(email=user.email, password=PASSWORD)

    await components.administration.change(user.id, actor="test", **change)  # type: ignore[arg-type]  # by its name

    with pytest.raises(BadCredentials):
        await components.refresh_tokens.issue(verified, ClientTraits())


@pytest.mark.parametrize(
    "change",
    [
        {"role": pb.ROLE_CUSTOMER},
        {"role": pb.ROLE_SUPPORT},
        {"disabled": True},
        {"role": pb.ROLE_ADMIN, "disabled": True},
    ],
)
async def test_the_last_admin_stays_one(
    components: UserComponents, stub: UserServiceStub, two_admins: tuple[User, User], change: dict[str, int | bool]
) -> None:
    first, last = two_admins
    await components.administration.change(first.id, role=Role.CUSTOMER, disabled=None, actor="test")

    request = pb.ChangeUserRequest(user_id=last.id, **change)  # type: ignore[arg-type]  # by its name
    assert await refused(stub, request) is Refusal.LAST_ADMIN
    assert (await components.users.get(last.id)).is_active_admin


async def test_a_disabled_admin_is_none_that_is_left(components: UserComponents, two_admins: tuple[User, User]) -> None:
    first, last = two_admins
    await components.administration.change(first.id, role=None, disabled=True, actor="test")

    with pytest.raises(LastAdmin):
        await components.administration.change(last.id, role=Role.CUSTOMER, disabled=None, actor="test")
    await components.administration.change(first.id, role=Role.CUSTOMER, disabled=None, actor="test")


async def test_of_two_that_want_the_last_two_admins_away_at_once_one_is_refused(
    components: UserComponents, two_admins: tuple[User, User]
) -> None:
    outcomes = await asyncio.gather(
        *(
            components.administration.change(admin.id, role=role, disabled=disabled, actor="test")
            for admin, role, disabled in zip(two_admins, (Role.CUSTOMER, None), (None, True), strict=True)
        ),
        return_exceptions=True,
    )

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["LastAdmin", "User"]
    left = [await components.users.get(admin.id) for admin in two_admins]
    assert [user.is_active_admin for user in left].count(True) == 1


async def test_an_account_that_is_not_there_cannot_be_changed(stub: UserServiceStub) -> None:
    assert await refused(stub, pb.ChangeUserRequest(user_id=new_id(), disabled=True)) is Refusal.USER_NOT_FOUND
    assert await refused(stub, pb.ChangeUserRequest(user_id="me", disabled=True)) is Refusal.INVALID_ARGUMENT
    unknown = pb.ChangeUserRequest(user_id=new_id(), role=7)  # type: ignore[arg-type]  # newer than we are
    assert await refused(stub, unknown) is Refusal.INVALID_ARGUMENT


async def test_support_finds_an_account_by_its_address_and_reads_all_a_page_at_a_time(
    components: UserComponents, stub: UserServiceStub
) -> None:
    support = Caller(CallerRole.SUPPORT, new_id())
    users = [await new_user(components) for _ in range(3)]

    by_email = pb.ListUsersRequest(page_size=10, email=users[1].email.upper())
    assert [user.id for user in (await call(stub.ListUsers, by_email, caller=support)).users] == [users[1].id]
    first = await call(stub.ListUsers, pb.ListUsersRequest(page_size=2), caller=support)
    second = pb.ListUsersRequest(page_size=1, page_token=first.next_page_token)
    found = [*first.users, *(await call(stub.ListUsers, second, caller=support)).users]
    assert [user.id for user in found] == [user.id for user in reversed(users)]
    assert (await call(stub.GetUser, pb.GetUserRequest(user_id=users[0].id), caller=support)).user.id == users[0].id
