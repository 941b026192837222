"""What admins write: from ``POST /v1/notifications`` to the mailbox, over real SMTP and Twilio's own client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from pydantic import SecretStr

from domain.ids import new_id
from domain.notifications import Channel, NotificationStatus
from runtime.caller import CallerRole
from runtime.refusal import Unavailable
from runtime.settings import Settings, SettingsError
from services.notification.bootstrap import NotificationComponents
from services.notification.model import WrittenMessage
from services.notification.sms import TwilioSms
from tests.support.gateway import NOWHERE, PASSWORD, Gateway, gateway_with_services, open_gateway
from tests.support.identities import bearer
from tests.support.notification_sink import QueuedSms, Sink, running_sink, send_all, sending_service
from tests.support.recorded_sagas import RecordedSagas

ADMIN = bearer(CallerRole.ADMIN)


@pytest_asyncio.fixture(scope="module")
async def gateway(databases: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    stripe_data = tmp_path_factory.mktemp("stripe")
    async with gateway_with_services(databases, stripe_data=stripe_data, sms=QueuedSms()) as gateway:
        yield gateway


@pytest_asyncio.fixture(scope="module")
async def sink(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sink]:
    async with running_sink(tmp_path_factory.mktemp("sink")) as sink:
        yield sink


@pytest_asyncio.fixture(scope="module")
async def service(databases: Mapping[str, str], gateway: Gateway, sink: Sink) -> AsyncIterator[NotificationComponents]:
    async with sending_service(databases["notification"], gateway, sink.settings) as service:
        yield service


@pytest.fixture
def dsn(databases: Mapping[str, str]) -> str:
    return databases["notification"]


async def account(gateway: Gateway) -> tuple[str, str]:
    """A new customer: id and e-mail."""
    email = f"customer-{new_id()}@example.test"
    body = {"email": email, "password": PASSWORD, "name": "Grace Hopper"}
    return (await gateway.http.post("/v1/users", json=body)).json()["id"], email


def number() -> str:
    """A telephone number that no other test has."""
    return f"+49{int(new_id().replace('-', ''), 16) % 10**12 + 10**12}"


def mail(user_id: str, **changes: Any) -> dict[str, Any]:
    return {"channel": "email", "user_id": user_id, "subject": "About you", "body": "We close on Friday.\n", **changes}


def sms(user_id: str, **changes: Any) -> dict[str, Any]:
    return {"channel": "sms", "user_id": user_id, "phone": number(), "message": "We close on Friday.", **changes}


async def post(gateway: Gateway, body: object, *, key: str | None = None) -> tuple[int, dict[str, Any]]:
    headers = ADMIN if key is None else {**ADMIN, "Idempotency-Key": key}
    response = await gateway.http.post("/v1/notifications", json=body, headers=headers)
    return response.status_code, response.json()


def rows(dsn: str, user_id: str) -> list[tuple[Any, ...]]:
    """Status, number and what is still known of a user's notifications."""
    with psycopg.connect(dsn) as connection:
        return connection.execute(
            "SELECT channel, status, seq, recipient, subject, body FROM notifications WHERE user_id = %s ORDER BY id",
            [user_id],
        ).fetchall()


def events(dsn: str, user_id: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(
            "SELECT ce_id, ce_type, data::json->>'status', data::json->>'channel', data::json->>'orderId',"
            " data::json->>'userId' FROM outbox WHERE key = %s ORDER BY id",
            [user_id],
        ).fetchall()


def make_due(dsn: str, user_id: str) -> None:
    """Skip the wait between two attempts."""
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE notifications SET next_attempt_at = now() WHERE user_id = %s", [user_id])


async def test_a_mail_goes_to_the_users_own_address(
    gateway: Gateway, service: NotificationComponents, sink: Sink, dsn: str
) -> None:
    user_id, email = await account(gateway)

    status, answer = await post(gateway, mail(user_id))
    await send_all(service)

    assert (status, answer) == (202, {"id": answer["id"], "channel": "email", "status": "PENDING"})
    [received] = await sink.received(to=email)
    assert received["channel"] == "email"
    assert received["from"] == "Ordersaga <orders@example.test>"
    assert received["message_id"] == f"<notification-{answer['id']}@ordersaga>"
    assert (received["subject"], received["text"], received["html"]) == ("About you", "We close on Friday.\n", None)
    assert events(dsn, user_id) == [
        (f"notification:{user_id}:1", "notification.sent", "SENT", "email", "", user_id),
    ]


async def test_a_mail_goes_to_the_address_that_was_given(
    gateway: Gateway, service: NotificationComponents, sink: Sink
) -> None:
    user_id, email = await account(gateway)
    other = f"other-{new_id()}@example.test"

    await post(gateway, mail(user_id, to=other))
    await send_all(service)

    assert len(await sink.received(to=other)) == 1
    assert await sink.received(to=email) == []


async def test_an_sms_goes_out_by_twilios_client(
    gateway: Gateway, service: NotificationComponents, sink: Sink, dsn: str
) -> None:
    user_id, _ = await account(gateway)
    body = sms(user_id, message="Grüße – your parcel is here: 5 €")

    status, answer = await post(gateway, body)
    await send_all(service)

    assert (status, answer["channel"], answer["status"]) == (202, "sms", "PENDING")
    [received] = await sink.received(to=body["phone"])
    assert (received["channel"], received["from"]) == ("sms", "+15005550006")
    assert received["text"] == "Grüße – your parcel is here: 5 €"
    assert events(dsn, user_id) == [(f"notification:{user_id}:1", "notification.sent", "SENT", "sms", "", user_id)]


async def test_what_was_sent_is_forgotten_and_events_name_nobody(
    gateway: Gateway, service: NotificationComponents, dsn: str
) -> None:
    user_id, email = await account(gateway)
    body = sms(user_id, message="A secret of yours")
    await post(gateway, body)
    await post(gateway, mail(user_id, to="other@example.test"))

    before = rows(dsn, user_id)
    await send_all(service)

    assert [row[3:] for row in before] == [
        (body["phone"], "", "A secret of yours"),
        ("other@example.test", "About you", "We close on Friday.\n"),
    ]
    assert [(row[1], *row[3:]) for row in rows(dsn, user_id)] == [("SENT", None, None, None)] * 2
    with psycopg.connect(dsn) as connection:
        stored = connection.execute(
            "SELECT string_agg(text, ' ') FROM (SELECT n::text FROM notifications n WHERE user_id = %s"
            " UNION ALL SELECT o::text FROM outbox o WHERE key = %s) AS all_of_it (text)",
            [user_id, user_id],
        ).fetchone()
    assert stored is not None
    assert user_id in stored[0]
    assert not [secret for secret in (email, "other@", body["phone"][1:], "secret", "Grace") if secret in stored[0]]


async def test_the_same_id_sends_once_and_is_answered_with_what_became_of_it(
    gateway: Gateway, service: NotificationComponents, sink: Sink, dsn: str
) -> None:
    user_id, email = await account(gateway)
    body, key = mail(user_id), new_id()

    answers = await asyncio.gather(*(post(gateway, body, key=key) for _ in range(4)))
    await send_all(service)
    late = await post(gateway, body, key=key)
    await send_all(service)

    assert [status for status, _ in answers] == [202] * 4
    [notification_id] = {answer["id"] for _, answer in answers}
    assert late == (202, {"id": notification_id, "channel": "email", "status": "SENT"})
    assert len(await sink.received(to=email)) == 1
    assert len(events(dsn, user_id)) == 1


@pytest.mark.parametrize("sent", [False, True], ids=["queued", "sent"])
async def test_a_key_that_stands_for_another_message_is_refused(
    gateway: Gateway, service: NotificationComponents, sent: bool
) -> None:
    user_id, _ = await account(gateway)
    key, first = new_id(), sms(user_id)
    await post(gateway, first, key=key)
    if sent:
        await send_all(service)

    for other in (sms(user_id), mail(user_id)):
        status, problem = await post(gateway, other, key=key)
        assert (status, problem["type"]) == (422, "urn:ordersaga:problem:idempotency-key-reused")


@pytest.mark.parametrize("write", [mail, sms])
async def test_a_message_to_nobody_is_refused_and_not_queued(gateway: Gateway, dsn: str, write: Any) -> None:
    stranger = new_id()

    status, problem = await post(gateway, write(stranger))

    assert (status, problem["type"]) == (404, "urn:ordersaga:problem:not-found")
    assert rows(dsn, stranger) == []


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (mail("1", subject="", body=""), {"user_id", "subject", "body"}),
        (mail(new_id(), subject="About\r\nBcc: x@example.test"), {"subject"}),
        (mail(new_id(), subject=" ", body="\n"), {"subject", "body"}),
        (mail(new_id(), to="nobody"), {"to"}),
        (mail(new_id(), to="zoé@example.test"), {"to"}),
        (mail(new_id(), subject="x" * 201, body="x" * 20_001), {"subject", "body"}),
        (sms(new_id(), phone="0151 2345678"), {"phone"}),
        (sms(new_id(), phone="+491512345678\n"), {"phone"}),
        (sms(new_id(), message="x" * 1_601), {"message"}),
        (sms(new_id(), message=" "), {"message"}),
        (sms(new_id(), subject="Hello"), {"subject"}),
        ({"user_id": new_id()}, {"channel"}),
    ],
)
async def test_a_message_that_cannot_be_sent_is_refused_by_name(
    gateway: Gateway, body: dict[str, Any], fields: set[str]
) -> None:
    status, problem = await post(gateway, body)

    assert (status, problem["type"]) == (400, "urn:ordersaga:problem:validation")
    assert {violation["field"] for violation in problem["errors"]} == fields


async def test_the_longest_sms_is_taken(gateway: Gateway, service: NotificationComponents, sink: Sink) -> None:
    user_id, _ = await account(gateway)
    body = sms(user_id, message="x" * 1_600)

    await post(gateway, body)
    await send_all(service)

    assert len((await sink.received(to=body["phone"]))[0]["text"]) == 1_600


async def test_customers_send_nothing(gateway: Gateway) -> None:
    user_id, _ = await account(gateway)
    body = mail(user_id)

    own = await gateway.http.post("/v1/notifications", json=body, headers=bearer(CallerRole.CUSTOMER, user_id))
    nobody = await gateway.http.post("/v1/notifications", json=body)

    assert (own.status_code, nobody.status_code) == (403, 401)


async def test_a_number_that_twilio_refuses_fails_for_good_with_an_event(
    gateway: Gateway, service: NotificationComponents, dsn: str
) -> None:
    user_id, _ = await account(gateway)
    body, key = sms(user_id, phone="+15005550009"), new_id()
    await post(gateway, body, key=key)

    await send_all(service)

    assert rows(dsn, user_id) == [("sms", "FAILED", 1, None, None, None)]
    assert [event[1:4] for event in events(dsn, user_id)] == [("notification.failed", "FAILED", "sms")]
    assert (await post(gateway, body, key=key))[1]["status"] == "FAILED"
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT last_error FROM notifications WHERE user_id = %s", [user_id]).fetchall() == [
            ("Twilio 400 21614",)
        ]


async def test_an_sms_waits_for_twilio_and_holds_up_no_mail(
    gateway: Gateway, service: NotificationComponents, sink: Sink, dsn: str
) -> None:
    user_id, email = await account(gateway)
    body = sms(user_id)
    await post(gateway, body)
    await post(gateway, mail(user_id))
    wrong = sink.settings.model_copy(update={"twilio_auth_token": SecretStr("wrong")})

    async with sending_service(dsn, gateway, wrong) as locked_out:
        await send_all(locked_out)
    waiting = rows(dsn, user_id)
    make_due(dsn, user_id)
    await send_all(service)

    assert [row[:4] for row in waiting] == [("sms", "PENDING", None, body["phone"]), ("email", "SENT", 1, None)]
    assert [row[:3] for row in rows(dsn, user_id)] == [("sms", "SENT", 2), ("email", "SENT", 1)]
    assert (len(await sink.received(to=email)), len(await sink.received(to=body["phone"]))) == (1, 1)


async def test_messages_of_one_user_that_end_together_are_numbered_without_a_gap(
    gateway: Gateway, service: NotificationComponents, dsn: str
) -> None:
    user_id, _ = await account(gateway)
    for _ in range(6):
        await post(gateway, sms(user_id))

    await asyncio.gather(*(send_all(service) for _ in range(3)))

    assert [event[0] for event in events(dsn, user_id)] == [f"notification:{user_id}:{seq}" for seq in range(1, 7)]


async def test_what_was_queued_stays_when_sms_are_no_longer_configured(
    gateway: Gateway, service: NotificationComponents, sink: Sink, dsn: str
) -> None:
    user_id, _ = await account(gateway)
    body = sms(user_id)
    await post(gateway, body)

    async with sending_service(dsn, gateway, Settings(smtp_port=sink.settings.smtp_port)) as without_sms:
        await send_all(without_sms)
    assert [row[:2] for row in rows(dsn, user_id)] == [("sms", "PENDING")]
    make_due(dsn, user_id)
    await send_all(service)

    assert len(await sink.received(to=body["phone"])) == 1


async def test_nothing_is_queued_while_the_user_service_is_away(sink: Sink, dsn: str) -> None:
    message = WrittenMessage(
        channel=Channel.EMAIL, user_id=new_id(), recipient="other@example.test", subject="Hello", body="Hello"
    )

    async with (
        open_gateway({"user_address": NOWHERE}, RecordedSagas()) as alone,
        sending_service(dsn, alone, sink.settings) as service,
    ):
        with pytest.raises(Unavailable, match="the user service"):
            await service.notifications.queue(new_id(), message)

    assert rows(dsn, message.user_id) == []


async def test_a_repeat_needs_no_user_service(
    gateway: Gateway, service: NotificationComponents, sink: Sink, dsn: str
) -> None:
    user_id, _ = await account(gateway)
    message = WrittenMessage(channel=Channel.EMAIL, user_id=user_id, recipient=None, subject="Hello", body="Hello")
    notification_id = new_id()
    await service.notifications.queue(notification_id, message)
    await send_all(service)

    async with (
        open_gateway({"user_address": NOWHERE}, RecordedSagas()) as alone,
        sending_service(dsn, alone, sink.settings) as repeating,
    ):
        assert await repeating.notifications.queue(notification_id, message) is NotificationStatus.SENT


@pytest.mark.parametrize("missing", ["twilio_auth_token", "twilio_sender"])
def test_an_account_without_its_token_or_sender_is_named_at_the_start(sink: Sink, missing: str) -> None:
    with pytest.raises(SettingsError, match=f"ORDERSAGA_{missing.upper()} is not set"):
        TwilioSms.of(sink.settings.model_copy(update={missing: None}))
