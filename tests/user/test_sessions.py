"""Sessions over gRPC, on a real PostgreSQL: where somebody is logged in, and how that ends."""

from __future__ import annotations

import asyncio

import pytest

from domain.ids import new_id
from domain.refusals import Refusal
from ordersaga.user.v1 import user_pb2 as pb
from ordersaga.user.v1.user_pb2_grpc import UserServiceStub
from runtime.caller import ANONYMOUS, Caller, CallerRole
from runtime.ended_sessions import EndedSessions
from runtime.refusal import CallRefused
from runtime.tokens import EndedSession, TokenVerifier
from services.user.bootstrap import UserComponents
from services.user.model import User
from services.user.sessions.client_traits import to_traits
from tests.support.identities import PUBLIC_KEYS
from tests.support.rpc import call

PASSWORD = "correct horse"


@pytest.fixture
async def user(components: UserComponents) -> User:
    return await components.users.register(email=f"user-{new_id()}@example.test", password=PASSWORD, name="Somebody")


async def log_in(
    stub: UserServiceStub, user: User, *, address: str = "", agent: str = ""
) -> pb.AuthenticateUserResponse:
    client = pb.ClientTraits(address=address, user_agent=agent)
    request = pb.AuthenticateUserRequest(email=user.email, password=PASSWORD, client=client)
    return await call(stub.AuthenticateUser, request, caller=ANONYMOUS)


async def sessions(stub: UserServiceStub, user: User) -> list[pb.Session]:
    caller = Caller(CallerRole.CUSTOMER, user.id)
    return list((await call(stub.ListSessions, pb.ListSessionsRequest(user_id=user.id), caller=caller)).sessions)


def session_of(answer: pb.AuthenticateUserResponse) -> str:
    return TokenVerifier(PUBLIC_KEYS).verify(answer.access_token).session


async def test_a_login_is_a_session_of_which_only_the_network_and_the_client_are_kept(
    stub: UserServiceStub, user: User
) -> None:
    phone = await log_in(stub, user, address="203.0.113.77", agent="Phone/1")
    laptop = await log_in(stub, user, address="2001:db8:1:2::3", agent="Laptop/2")

    found = await sessions(stub, user)

    assert [(each.id, each.address, each.user_agent) for each in found] == [
        (session_of(laptop), "2001:db8:1::/48", "Laptop/2"),
        (session_of(phone), "203.0.113.0/24", "Phone/1"),
    ]


async def test_a_refresh_goes_on_with_the_session_from_where_it_comes(stub: UserServiceStub, user: User) -> None:
    first = await log_in(stub, user, address="203.0.113.77", agent="Phone/1")
    [before] = await sessions(stub, user)

    client = pb.ClientTraits(address="198.51.100.1", user_agent="Phone/2")
    request = pb.RefreshTokenRequest(refresh_token=first.refresh_token, client=client)
    second = await call(stub.RefreshToken, request, caller=ANONYMOUS)

    [after] = await sessions(stub, user)
    assert TokenVerifier(PUBLIC_KEYS).verify(second.access_token).session == before.id == after.id
    assert (after.address, after.user_agent, after.created_at) == ("198.51.100.0/24", "Phone/2", before.created_at)
    assert after.last_used_at.ToDatetime() > before.last_used_at.ToDatetime()


async def test_one_session_is_ended_and_the_others_go_on(
    components: UserComponents, stub: UserServiceStub, user: User
) -> None:
    lost, kept = await log_in(stub, user), await log_in(stub, user)
    caller = Caller(CallerRole.CUSTOMER, user.id)
    request = pb.EndSessionRequest(user_id=user.id, session_id=session_of(lost))

    await call(stub.EndSession, request, caller=caller)

    assert [each.id for each in await sessions(stub, user)] == [session_of(kept)]
    with pytest.raises(CallRefused):
        await call(stub.RefreshToken, pb.RefreshTokenRequest(refresh_token=lost.refresh_token), caller=ANONYMOUS)
    await call(stub.RefreshToken, pb.RefreshTokenRequest(refresh_token=kept.refresh_token), caller=ANONYMOUS)
    with pytest.raises(CallRefused) as caught:
        await call(stub.EndSession, request, caller=caller)
    assert caught.value.refusal is Refusal.SESSION_NOT_FOUND


async def test_all_sessions_end_at_once_and_a_repeat_is_no_error(stub: UserServiceStub, user: User) -> None:
    await asyncio.gather(*(log_in(stub, user) for _ in range(3)))
    caller = Caller(CallerRole.ADMIN, new_id())

    for _ in range(2):
        await call(stub.EndSessions, pb.EndSessionsRequest(user_id=user.id), caller=caller)

    assert await sessions(stub, user) == []


@pytest.mark.parametrize("role", [CallerRole.CUSTOMER, CallerRole.SUPPORT])
async def test_nobody_but_admins_ends_the_sessions_of_another(
    stub: UserServiceStub, user: User, role: CallerRole
) -> None:
    answer = await log_in(stub, user)
    stranger = Caller(role, new_id())

    request = pb.EndSessionRequest(user_id=user.id, session_id=session_of(answer))
    with pytest.raises(CallRefused) as all_of_them:
        await call(stub.EndSessions, pb.EndSessionsRequest(user_id=user.id), caller=stranger)
    with pytest.raises(CallRefused) as one:
        await call(stub.EndSession, request, caller=stranger)

    assert all_of_them.value.refusal is one.value.refusal is Refusal.USER_NOT_FOUND
    assert len(await sessions(stub, user)) == 1


async def test_whoever_verifies_tokens_hears_of_sessions_that_ended_and_refuses_their_tokens(
    components: UserComponents, stub: UserServiceStub, user: User
) -> None:
    lost, kept = await log_in(stub, user), await log_in(stub, user)
    ended = EndedSessions(components.sessions.list_ended)
    verifier = TokenVerifier(PUBLIC_KEYS, ended=ended)
    await ended.catch_up()
    assert [verifier.verify(answer.access_token).id for answer in (lost, kept)] == [user.id, user.id]

    await call(stub.RevokeToken, pb.RevokeTokenRequest(refresh_token=lost.refresh_token), caller=ANONYMOUS)
    await ended.catch_up()

    with pytest.raises(EndedSession):
        verifier.verify(lost.access_token)
    assert verifier.verify(kept.access_token).id == user.id


async def test_who_asks_for_the_first_time_hears_of_all_whose_tokens_may_still_live(
    components: UserComponents, stub: UserServiceStub, user: User
) -> None:
    answer = await log_in(stub, user)
    await components.sessions.end_all(user.id)

    told = await call(stub.ListEndedSessions, pb.ListEndedSessionsRequest(), caller=Caller(CallerRole.SERVICE))

    assert session_of(answer) in told.session_ids
    assert told.token_seconds == 60


@pytest.mark.parametrize(
    ("address", "network"),
    [("203.0.113.77", "203.0.113.0/24"), ("2001:db8:1:2::3", "2001:db8:1::/48"), ("testclient", ""), ("", "")],
)
def test_of_an_address_its_network_is_kept(address: str, network: str) -> None:
    assert to_traits(address=address, user_agent="").address == network


def test_of_what_a_client_calls_itself_the_beginning_that_can_be_printed_is_kept() -> None:
    assert to_traits(address="", user_agent="a\r\n\x00b" + "c" * 500).user_agent == "ab" + "c" * 198
