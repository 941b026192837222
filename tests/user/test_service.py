"""The user service over gRPC, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from typing import Literal

import pytest
from argon2 import PasswordHasher, extract_parameters

from domain.ids import new_id
from domain.refusals import Refusal
from domain.users import Role
from ordersaga.user.v1 import user_pb2 as pb
from ordersaga.user.v1.user_pb2_grpc import UserServiceStub
from runtime.caller import ANONYMOUS, SERVICE, Caller, CallerRole
from runtime.database import Database
from runtime.idempotency import IdempotencyKeyReused
from runtime.refusal import CallRefused, InvalidArgument
from runtime.settings import Settings
from services.user.bootstrap import bootstrap
from services.user.errors import BadCredentials, EmailTaken
from services.user.service import UserService
from tests.support.identities import VERIFIER
from tests.support.rows import fetch_rows
from tests.support.rpc import call

DEADLINE = 10.0
PASSWORD = "correct horse"


class Client:
    """The service's calls, each by whoever usually makes it."""

    def __init__(self, stub: UserServiceStub) -> None:
        self.stub = stub

    async def register(self, *, email: str, password: str = PASSWORD, name: str = "Customer") -> pb.User:
        request = pb.RegisterUserRequest(email=email, password=password, name=name)
        return (await call(self.stub.RegisterUser, request, caller=ANONYMOUS, deadline=DEADLINE)).user

    async def authenticate(self, *, email: str, password: str = PASSWORD) -> pb.AuthenticateUserResponse:
        request = pb.AuthenticateUserRequest(email=email, password=password)
        return await call(self.stub.AuthenticateUser, request, caller=ANONYMOUS, deadline=DEADLINE)

    async def get(self, user_id: str, *, caller: Caller) -> pb.User:
        return (
            await call(self.stub.GetUser, pb.GetUserRequest(user_id=user_id), caller=caller, deadline=DEADLINE)
        ).user


@pytest.fixture(scope="module")
def users(stub: UserServiceStub) -> Client:
    return Client(stub)


def new_email() -> str:
    return f"customer-{new_id()}@example.test"


async def stored(database: Database, user_id: str) -> dict[str, object]:
    [row] = await fetch_rows(database, "SELECT to_jsonb(users) FROM users WHERE id = %(id)s", id=user_id)
    return dict(row[0])


async def password_hash(database: Database, user_id: str) -> str:
    return str((await stored(database, user_id))["password_hash"])


async def outbox(database: Database, user_id: str) -> list[tuple[str, str, str, int, dict[str, object]]]:
    rows = await fetch_rows(
        database, "SELECT topic, ce_type, ce_id, ce_seq, data FROM outbox WHERE key = %(id)s ORDER BY id", id=user_id
    )
    return [(topic, kind, event_id, seq, json.loads(data)) for topic, kind, event_id, seq, data in rows]


async def test_anybody_opens_a_customers_account(users: Client) -> None:
    email = new_email()

    user = await users.register(email=email, name="Zoë Ångström")

    assert (user.email, user.name, user.role) == (email, "Zoë Ångström", pb.ROLE_CUSTOMER)
    assert await users.get(user.id, caller=SERVICE) == user


async def test_the_password_is_kept_as_argon2id_only(users: Client, database: Database) -> None:
    user = await users.register(email=new_email())

    row = await stored(database, user.id)
    assert str(row["password_hash"]).startswith("$argon2id$")
    assert PASSWORD not in str(row)


async def test_a_new_account_has_one_event_with_its_id_alone(users: Client, database: Database) -> None:
    user = await users.register(email=new_email())

    [(topic, kind, event_id, seq, data), _] = await outbox(database, user.id)
    assert (topic, kind, event_id, seq) == ("user-events", "user.created", f"user:{user.id}:1", 1)
    assert set(data) == {"userId", "at"}
    assert data["userId"] == user.id


async def test_an_email_is_kept_as_given_and_taken_in_any_case(users: Client) -> None:
    email = f"Mixed.Case-{new_id()}@Example.test"

    user = await users.register(email=email)

    assert user.email == email
    for same in (email, email.lower(), email.upper()):
        with pytest.raises(CallRefused) as caught:
            await users.register(email=same)
        assert caught.value.refusal is Refusal.EMAIL_TAKEN


async def test_of_two_that_want_one_email_at_once_one_gets_it(service: UserService) -> None:
    email = new_email()

    outcomes = await asyncio.gather(
        *(service.register(email=email, password=PASSWORD, name="Customer") for _ in range(4)), return_exceptions=True
    )

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["EmailTaken", "EmailTaken", "EmailTaken", "User"]


async def test_a_sign_up_that_is_repeated_with_its_key_is_answered_with_the_account(
    service: UserService, database: Database
) -> None:
    email, key = new_email(), new_id()

    users = await asyncio.gather(
        *(service.register(email=email, password=PASSWORD, name="Customer", idempotency_key=key) for _ in range(4))
    )

    [user] = {user.id: user for user in users}.values()
    assert [kind for _, kind, *_ in await outbox(database, user.id)].count("user.created") == 1


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"idempotency_key": "another"}, EmailTaken),
        ({"idempotency_key": None}, EmailTaken),
        ({"password": "battery staple"}, IdempotencyKeyReused),
        ({"name": "Somebody else"}, IdempotencyKeyReused),
    ],
    ids=["another key", "no key", "another password", "another name"],
)
async def test_nobody_else_is_answered_with_an_account(
    service: UserService, changes: dict[str, str | None], error: type[Exception]
) -> None:
    sign_up = {"email": new_email(), "password": PASSWORD, "name": "Customer", "idempotency_key": "mine"}
    await service.register(**sign_up)

    with pytest.raises(error):
        await service.register(**{**sign_up, **changes})  # type: ignore[arg-type]  # None is for the key alone


async def test_a_key_whose_account_has_another_address_by_now_opens_no_second_one(
    service: UserService, database: Database
) -> None:
    email, key = new_email(), new_id()
    user = await service.register(email=email, password=PASSWORD, name="Customer", idempotency_key=key)
    async with database.autocommit() as connection:
        await connection.execute("UPDATE users SET email = %(email)s WHERE id = %(id)s", email=new_email(), id=user.id)

    with pytest.raises(IdempotencyKeyReused):
        await service.register(email=email, password=PASSWORD, name="Customer", idempotency_key=key)

    assert await fetch_rows(database, "SELECT id FROM users WHERE email = %(email)s", email=email) == []


@pytest.mark.parametrize(
    "email",
    ["a@b.test", "first.last+tag@sub.example.test", "o'brien@example.test", f"{'a' * 64}@example.test", "x@xn--1.test"],
)
async def test_usual_emails_are_accepted(users: Client, email: str) -> None:
    assert (await users.register(email=email)).email == email


LONG_DOMAIN = ".".join(["d" * 62] * 4)


@pytest.mark.parametrize(
    "email",
    [
        "",
        "customer",
        "@example.test",
        "customer@",
        "customer@localhost",
        "two@at@example.test",
        "customer@example..test",
        "customer@-example.test",
        ".customer@example.test",
        "customer.@example.test",
        "cus tomer@example.test",
        "customer@example.test\n",
        "customer@example.test\r\nBcc: everybody@example.test",
        "customer\x00@example.test",
        "customer@[127.0.0.1]",
        '"quoted"@example.test',
        "Customer <customer@example.test>",
        "zoë@example.test",
        "customer@exämple.test",
        f"{'a' * 65}@example.test",
        f"abc@{LONG_DOMAIN}",
    ],
)
async def test_what_is_no_email_is_refused(users: Client, email: str) -> None:
    with pytest.raises(CallRefused) as caught:
        await users.register(email=email)

    assert caught.value.refusal is Refusal.INVALID_ARGUMENT
    assert set(caught.value.details) == {"email"}


async def test_the_longest_email_is_accepted(users: Client) -> None:
    email = f"ab@{LONG_DOMAIN}"
    assert len(email) == 254

    assert (await users.register(email=email)).email == email


@pytest.mark.parametrize("password", ["", "1234567", "x" * 129, "1234\x005678"])
async def test_a_password_that_does_not_fit_is_refused(users: Client, password: str) -> None:
    with pytest.raises(CallRefused) as caught:
        await users.register(email=new_email(), password=password)

    assert caught.value.refusal is Refusal.INVALID_ARGUMENT
    assert set(caught.value.details) == {"password"}
    assert password not in caught.value.message or not password


@pytest.mark.parametrize("password", ["password1", "Password1", "iloveyou", "１２３４５６７８", "PASSW0RD"])
async def test_a_password_that_is_tried_first_is_refused_however_it_is_written(users: Client, password: str) -> None:
    with pytest.raises(CallRefused) as caught:
        await users.register(email=new_email(), password=password)

    assert set(caught.value.details) == {"password"}
    assert "commonest" in caught.value.details["password"]


async def test_a_password_is_the_same_in_every_form_of_its_letters(users: Client) -> None:
    email = new_email()

    await users.register(email=email, password="caf\u00e9 au lait \ufb01n")

    assert (await users.authenticate(email=email, password="cafe\u0301 au lait fin")).access_token


@pytest.mark.parametrize("password", ["7f3q91xz", "ä" * 128, "🐘🐘🐘🐘 🐘🐘🐘"])
async def test_passwords_count_characters_not_bytes(users: Client, password: str) -> None:
    email = new_email()

    await users.register(email=email, password=password)

    assert (await users.authenticate(email=email, password=password)).access_token


@pytest.mark.parametrize(
    "name", ["", " ", "x" * 101, "two\nlines", "a\x00b", "two\u2028lines", "\u202eAda", "Ada\u200b", "Ada shop.example"]
)
async def test_a_name_that_does_not_fit_is_refused(users: Client, name: str) -> None:
    with pytest.raises(CallRefused) as caught:
        await users.register(email=new_email(), name=name)

    assert caught.value.refusal is Refusal.INVALID_ARGUMENT
    assert set(caught.value.details) == {"name"}


async def test_every_fault_is_named_at_once(users: Client) -> None:
    with pytest.raises(CallRefused) as caught:
        await users.register(email="", password="", name="")

    assert set(caught.value.details) == {"email", "password", "name"}


async def test_email_and_password_get_a_token_that_the_gateway_verifies(users: Client) -> None:
    email = new_email()
    user = await users.register(email=email)

    answer = await users.authenticate(email=email.upper())

    assert answer.user == user
    assert VERIFIER.verify(answer.access_token) == Caller(CallerRole.CUSTOMER, user.id)
    assert answer.HasField("expires_at")


async def test_an_unknown_email_and_a_wrong_password_look_alike(users: Client) -> None:
    email = new_email()
    await users.register(email=email)
    answers = []

    for tried, password in ((email, "wrong horse"), (new_email(), PASSWORD), ("no e-mail at all", "x")):
        with pytest.raises(CallRefused) as caught:
            await users.authenticate(email=tried, password=password)
        answers.append((caught.value.refusal, caught.value.message, caught.value.details))

    assert answers[0] == answers[1] == answers[2]
    assert answers[0][0] is Refusal.BAD_CREDENTIALS


async def test_an_unknown_email_costs_the_same_work(service: UserService, monkeypatch: pytest.MonkeyPatch) -> None:
    verified: list[str] = []
    verify = PasswordHasher.verify

    def note(hasher: PasswordHasher, password_hash: str | bytes, password: str | bytes) -> Literal[True]:
        verified.append(str(password_hash))
        return verify(hasher, password_hash, password)

    monkeypatch.setattr(PasswordHasher, "verify", note)
    email = new_email()
    await service.register(email=email, password=PASSWORD, name="Customer")

    for tried in (email, new_email()):
        with pytest.raises(BadCredentials):
            await service.authenticate(email=tried, password="wrong horse")

    known, unknown = (parts.split("$")[1:4] for parts in verified)
    assert known == unknown


@pytest.mark.parametrize(
    ("field", "email", "password"),
    [
        ("email", "", PASSWORD),
        ("email", "x" * 255, PASSWORD),
        ("email", "a\x00b@example.test", PASSWORD),
        ("password", "customer@example.test", ""),
        ("password", "customer@example.test", "x" * 129),
        ("password", "customer@example.test", "1234\x005678"),
    ],
)
async def test_credentials_that_cannot_be_any_are_refused_by_field(
    users: Client, field: str, email: str, password: str
) -> None:
    with pytest.raises(CallRefused) as caught:
        await users.authenticate(email=email, password=password)

    assert caught.value.refusal is Refusal.INVALID_ARGUMENT
    assert set(caught.value.details) == {field}


async def test_a_hash_of_older_parameters_is_replaced_at_the_next_login(
    settings: Settings, service: UserService, database: Database
) -> None:
    email = new_email()
    user = await service.register(email=email, password=PASSWORD, name="Customer")
    before = await password_hash(database, user.id)

    newer = settings.model_copy(update={"password_hash_memory": 2 * settings.password_hash_memory})
    async with bootstrap(newer, database=database) as components:
        with pytest.raises(BadCredentials):
            await components.users.authenticate(email=email, password="wrong horse")
        assert await password_hash(database, user.id) == before
        await components.users.authenticate(email=email, password=PASSWORD)

        after = await password_hash(database, user.id)
        assert after != before
        assert extract_parameters(after).memory_cost == newer.password_hash_memory
        await components.users.authenticate(email=email, password=PASSWORD)
        assert await password_hash(database, user.id) == after


async def test_an_account_is_shown_to_its_owner_to_admins_and_to_services(users: Client) -> None:
    user = await users.register(email=new_email())

    for caller in (Caller(CallerRole.CUSTOMER, user.id), Caller(CallerRole.ADMIN, new_id()), SERVICE):
        assert await users.get(user.id, caller=caller) == user


async def test_anothers_account_looks_like_one_that_does_not_exist(users: Client) -> None:
    user = await users.register(email=new_email())
    messages = set()

    for user_id in (user.id, new_id()):
        with pytest.raises(CallRefused) as caught:
            await users.get(user_id, caller=Caller(CallerRole.CUSTOMER, new_id()))
        assert caught.value.refusal is Refusal.USER_NOT_FOUND
        messages.add(caught.value.message.replace(user_id, "…"))

    assert len(messages) == 1


async def test_an_account_that_does_not_exist_is_not_found(users: Client) -> None:
    with pytest.raises(CallRefused) as caught:
        await users.get(new_id(), caller=SERVICE)

    assert caught.value.refusal is Refusal.USER_NOT_FOUND


@pytest.mark.parametrize("user_id", ["", "me", "0199B0B4-7C1E-7D3A-8F21-5B6C7D8E9FA0"])
async def test_a_malformed_user_id_is_refused(users: Client, user_id: str) -> None:
    with pytest.raises(CallRefused) as caught:
        await users.get(user_id, caller=SERVICE)

    assert caught.value.refusal is Refusal.INVALID_ARGUMENT
    assert set(caught.value.details) == {"user_id"}


async def test_ensuring_an_admin_makes_one_and_a_repeat_changes_nothing(
    users: Client, service: UserService, database: Database
) -> None:
    email = new_email()

    first = await service.ensure_admin(email=email, password=PASSWORD, name="Admin")
    second = await service.ensure_admin(email=email.upper(), password=PASSWORD, name="Somebody else")

    assert (second.id, second.email, second.name, second.role) == (first.id, email, "Admin", Role.ADMIN)
    assert len(await outbox(database, first.id)) == 1
    answer = await users.authenticate(email=email)
    assert answer.user.role == pb.ROLE_ADMIN
    assert VERIFIER.verify(answer.access_token) == Caller(CallerRole.ADMIN, first.id)


async def test_ensuring_an_admin_promotes_an_account_and_sets_its_password(users: Client, service: UserService) -> None:
    email = new_email()
    customer = await users.register(email=email, name="Customer")

    admin = await service.ensure_admin(email=email, password="another horse", name="Admin")

    assert (admin.id, admin.name, admin.role) == (customer.id, "Customer", Role.ADMIN)
    assert (await users.authenticate(email=email, password="another horse")).user.role == pb.ROLE_ADMIN
    with pytest.raises(CallRefused):
        await users.authenticate(email=email, password=PASSWORD)


async def test_an_admin_must_be_as_valid_as_any_account(service: UserService) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await service.ensure_admin(email="admin", password="short", name="")

    assert set(caught.value.details) == {"email", "password", "name"}
