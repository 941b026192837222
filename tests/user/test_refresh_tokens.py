"""Refresh tokens over gRPC, on a real PostgreSQL: rotation, reuse detection, revocation."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.ids import new_id
from domain.refusals import Refusal
from ordersaga.user.v1 import user_pb2 as pb
from ordersaga.user.v1.user_pb2_grpc import UserServiceStub
from runtime.caller import ANONYMOUS, Caller, CallerRole
from runtime.database import Database
from runtime.refusal import CallRefused
from services.user.service import UserService
from tests.support.gateway import PASSWORD
from tests.support.identities import VERIFIER
from tests.support.rpc import call

DEADLINE = 10.0
TTL = timedelta(days=30)


class Client:
    """A customer, and what they do with their tokens."""

    def __init__(self, stub: UserServiceStub, email: str) -> None:
        self._stub = stub
        self.email = email

    async def log_in(self) -> str:
        request = pb.AuthenticateUserRequest(email=self.email, password=PASSWORD)
        answer = await call(self._stub.AuthenticateUser, request, caller=ANONYMOUS, deadline=DEADLINE)
        return answer.refresh_token

    async def refresh(self, token: str) -> pb.RefreshTokenResponse:
        request = pb.RefreshTokenRequest(refresh_token=token)
        return await call(self._stub.RefreshToken, request, caller=ANONYMOUS, deadline=DEADLINE)

    async def next_token(self, token: str) -> str:
        return (await self.refresh(token)).refresh_token

    async def log_out(self, token: str) -> None:
        request = pb.RevokeTokenRequest(refresh_token=token)
        await call(self._stub.RevokeToken, request, caller=ANONYMOUS, deadline=DEADLINE)

    async def refused(self, token: str) -> Refusal:
        with pytest.raises(CallRefused) as caught:
            await self.refresh(token)
        assert token not in f"{caught.value.message} {caught.value.details}" or not token
        return caught.value.refusal


@pytest.fixture
async def customer(service: UserService, stub: UserServiceStub) -> Client:
    email = f"customer-{new_id()}@example.test"
    await service.register(email=email, password=PASSWORD, name="Customer")
    return Client(stub, email)


async def stored(database: Database, customer: Client) -> list[dict[str, Any]]:
    async with database.autocommit() as connection:
        rows: list[dict[str, Any]] = await connection.fetch_all(
            dict,
            "SELECT t.* FROM refresh_tokens t JOIN users u ON u.id = t.user_id WHERE u.email = %(email)s ORDER BY t.id",
            email=customer.email,
        )
        return rows


async def expire_all(database: Database, customer: Client) -> None:
    async with database.autocommit() as connection:
        await connection.execute(
            "UPDATE refresh_tokens SET expires_at = now() FROM users u WHERE u.id = user_id AND u.email = %(email)s",
            email=customer.email,
        )


async def test_a_login_gives_a_token_of_256_random_bits_of_which_only_the_hash_is_stored(
    customer: Client, database: Database
) -> None:
    tokens = {await customer.log_in() for _ in range(2)}

    assert [len(base64.urlsafe_b64decode(f"{token}=")) for token in tokens] == [32, 32]
    rows = await stored(database, customer)
    assert [len(row["token_hash"]) for row in rows] == [32, 32]
    for token in tokens:
        assert token not in str(rows)
        assert token.encode() not in {bytes(row["token_hash"]) for row in rows}


async def test_a_refresh_token_gets_the_next_pair_of_its_family(customer: Client, database: Database) -> None:
    first = await customer.log_in()

    answer = await customer.refresh(first)

    assert answer.refresh_token != first
    assert answer.user.email == customer.email
    assert VERIFIER.verify(answer.access_token) == Caller(CallerRole.CUSTOMER, answer.user.id)
    used, fresh = await stored(database, customer)
    assert used["id"] == used["family_id"] == fresh["family_id"]
    assert (used["used_at"] is None, fresh["used_at"]) == (False, None)
    expires_at = answer.refresh_expires_at.ToDatetime(tzinfo=UTC)
    assert abs(expires_at - datetime.now(UTC) - TTL) < timedelta(minutes=1)
    assert fresh["expires_at"] == expires_at


async def test_a_family_goes_on_for_as_long_as_it_is_used(customer: Client) -> None:
    token = await customer.log_in()

    for _ in range(5):
        token = await customer.next_token(token)

    assert await customer.next_token(token)


async def test_a_used_token_is_refused_and_revokes_its_family(customer: Client) -> None:
    first = await customer.log_in()
    second = await customer.next_token(first)
    third = await customer.next_token(second)

    assert await customer.refused(first) is Refusal.REFRESH_TOKEN_REUSED
    assert await customer.refused(third) is Refusal.INVALID_REFRESH_TOKEN
    assert await customer.refused(second) is Refusal.REFRESH_TOKEN_REUSED


async def test_a_client_that_lost_the_answer_must_log_in_again(customer: Client) -> None:
    token = await customer.log_in()
    lost = await customer.next_token(token)

    assert await customer.refused(token) is Refusal.REFRESH_TOKEN_REUSED
    assert await customer.refused(lost) is Refusal.INVALID_REFRESH_TOKEN
    assert await customer.next_token(await customer.log_in())


async def test_reuse_leaves_other_logins_alone(customer: Client) -> None:
    stolen, other = await customer.log_in(), await customer.log_in()
    await customer.next_token(stolen)

    assert await customer.refused(stolen) is Refusal.REFRESH_TOKEN_REUSED

    assert await customer.next_token(other)


async def test_of_many_uses_at_once_one_wins_and_the_family_is_revoked(customer: Client, database: Database) -> None:
    token = await customer.log_in()

    outcomes = await asyncio.gather(*(customer.refresh(token) for _ in range(8)), return_exceptions=True)

    won = [outcome for outcome in outcomes if isinstance(outcome, pb.RefreshTokenResponse)]
    lost = [outcome.refusal for outcome in outcomes if isinstance(outcome, CallRefused)]
    assert (len(won), lost) == (1, [Refusal.REFRESH_TOKEN_REUSED] * 7)
    assert await customer.refused(won[0].refresh_token) is Refusal.INVALID_REFRESH_TOKEN
    assert len(await stored(database, customer)) == 2


async def test_a_token_born_while_its_family_is_revoked_is_worth_nothing(customer: Client) -> None:
    for _ in range(10):
        first = await customer.log_in()
        second = await customer.next_token(first)

        rotation, _ = await asyncio.gather(customer.refresh(second), customer.log_out(first), return_exceptions=True)

        if isinstance(rotation, pb.RefreshTokenResponse):
            assert await customer.refused(rotation.refresh_token) is Refusal.INVALID_REFRESH_TOKEN
        else:
            assert isinstance(rotation, CallRefused)
            assert rotation.refusal is Refusal.INVALID_REFRESH_TOKEN


async def test_an_expired_token_says_so_and_can_be_followed_by_a_login(customer: Client, database: Database) -> None:
    token = await customer.log_in()
    await expire_all(database, customer)

    assert await customer.refused(token) is Refusal.EXPIRED_REFRESH_TOKEN
    assert await customer.refused(token) is Refusal.EXPIRED_REFRESH_TOKEN
    assert await customer.next_token(await customer.log_in())


async def test_a_used_token_counts_as_reused_even_when_it_has_expired(customer: Client, database: Database) -> None:
    token = await customer.log_in()
    following = await customer.next_token(token)
    await expire_all(database, customer)

    assert await customer.refused(token) is Refusal.REFRESH_TOKEN_REUSED
    assert await customer.refused(following) is Refusal.INVALID_REFRESH_TOKEN


@pytest.mark.parametrize("token", ["x", "A" * 43, "A" * 255, "zoë"])
async def test_a_token_that_is_none_of_ours_is_invalid(customer: Client, token: str) -> None:
    assert await customer.refused(token) is Refusal.INVALID_REFRESH_TOKEN


@pytest.mark.parametrize("token", ["", "A" * 256, "a\x00b"])
async def test_a_token_that_cannot_be_any_is_refused_by_field(customer: Client, token: str) -> None:
    for attempt in (customer.refresh, customer.log_out):
        with pytest.raises(CallRefused) as caught:
            await attempt(token)
        assert caught.value.refusal is Refusal.INVALID_ARGUMENT
        assert set(caught.value.details) == {"refresh_token"}


@pytest.mark.parametrize("generation", [0, 1, 2])
async def test_logging_out_with_any_token_of_a_family_revokes_it(customer: Client, generation: int) -> None:
    tokens = [await customer.log_in()]
    for _ in range(2):
        tokens.append(await customer.next_token(tokens[-1]))
    other = await customer.log_in()

    for _ in range(2):
        await customer.log_out(tokens[generation])

    assert await customer.refused(tokens[-1]) is Refusal.INVALID_REFRESH_TOKEN
    assert await customer.next_token(other)


async def test_logging_out_with_an_unknown_token_is_no_error(customer: Client) -> None:
    await customer.log_out("A" * 43)


async def test_the_next_access_token_has_the_role_that_the_account_has_by_then(
    customer: Client, service: UserService
) -> None:
    before = await customer.log_in()
    await service.ensure_admin(email=customer.email, password=PASSWORD, name="Admin")

    assert await customer.refused(before) is Refusal.INVALID_REFRESH_TOKEN
    assert (await customer.refresh(await customer.log_in())).user.role == pb.ROLE_ADMIN
