"""What becomes of mails whose customer has not confirmed their address, or was erased."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import pytest
import pytest_asyncio
from google.protobuf.json_format import MessageToJson
from pydantic import SecretStr

from domain.concerns import ConcernKind
from domain.ids import new_id
from domain.notifications import Channel
from ordersaga.events.v1.order_events_pb2 import OrderTransitioned
from runtime.database import Database
from runtime.settings import Settings
from services.notification.bootstrap import NotificationComponents, bootstrap
from services.notification.directory import Customer, Directory
from services.notification.errors import MessageNotNeeded
from services.notification.messenger import Message, Recipient
from services.notification.model import OrderEvent, Template, WrittenMessage
from services.notification.repository import NotificationRepository
from tests.support.rows import fetch_rows

NOW = timedelta(0)


class Customers:
    """Knows everybody, as a test says: whether they confirmed their address, and whether they were erased."""

    def __init__(self) -> None:
        self.confirmed = False
        self.erased = False

    async def recipient(self, user_id: str) -> Recipient:
        return (await self.customer(user_id)).recipient

    async def customer(self, user_id: str) -> Customer:
        if self.erased:
            raise MessageNotNeeded("the account was erased")
        return Customer(recipient=Recipient(name="Ada", address="ada@example.test"), email_confirmed=self.confirmed)

    async def require_user(self, user_id: str) -> None:
        """Everybody has an account."""

    async def product_names(self, product_ids: object) -> Mapping[str, str]:
        return {}


class Relay:
    """Takes every mail."""

    def __init__(self) -> None:
        self.taken: list[Message] = []

    async def send(self, message: Message) -> None:
        self.taken.append(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    service: NotificationComponents
    customers: Customers
    relay: Relay

    @property
    def database(self) -> Database:
        return self.service.database

    async def receive(self, user_id: str) -> str:
        """A mail about an order of the user is due; its id."""
        mail_id, order_id = new_id(), new_id()
        data = OrderTransitioned(order_id=order_id, user_id=user_id, currency="EUR", reason="EXPIRED")
        event = OrderEvent(
            id=f"order:{order_id}:2", seq=2, template=Template.ORDER_FAILED, data=data, text=MessageToJson(data)
        )
        async with self.database.autocommit() as connection:
            assert (await NotificationRepository(connection).receive(mail_id, event)).left_due == 1
        return mail_id

    async def send_all(self) -> int:
        return await self.service.sender.process_due()

    async def age(self, interval: str) -> None:
        """Let what waits be older, and be looked at at once."""
        async with self.database.autocommit() as connection:
            await connection.execute(
                "UPDATE notifications SET created_at = created_at - %(by)s::interval, next_attempt_at = now()",
                by=interval,
            )

    async def stored(self, mail_id: str) -> dict[str, Any]:
        [(row,)] = await fetch_rows(
            self.database, "SELECT to_jsonb(n) FROM notifications AS n WHERE id = %(id)s", id=mail_id
        )
        return dict(row)

    async def concerns(self) -> list[str]:
        found = await self.service.on_call.find_concerns(older_than=NOW, most=10)
        return [concern.subject_id for concern in found if concern.kind is ConcernKind.MAIL]  # nothing is consumed here


@pytest_asyncio.fixture
async def post(databases: Mapping[str, str]) -> AsyncIterator[Post]:
    settings = Settings(notification_dsn=SecretStr(databases["notification"]))
    customers, relay = Customers(), Relay()
    async with bootstrap(settings, directory=cast("Directory", customers), mail=relay) as service:
        async with service.database.autocommit() as connection:
            await connection.execute("TRUNCATE notifications, inbox")
        yield Post(service=service, customers=customers, relay=relay)


async def test_a_mail_waits_for_its_address_to_be_confirmed_and_calls_nobody(post: Post) -> None:
    user_id = new_id()
    mail_id = await post.receive(user_id)

    assert await post.send_all() == 1
    assert await post.send_all() == 0

    stored = await post.stored(mail_id)
    assert (stored["status"], stored["withheld"], stored["attempts"], stored["last_error"]) == (
        "PENDING",
        True,
        0,
        None,
    )
    assert (await post.concerns(), post.relay.taken) == ([], [])
    post.customers.confirmed = True
    assert await post.service.notifications.release(new_id()) is False
    assert await post.service.notifications.release(user_id) is True
    assert await post.send_all() == 1
    assert [message.recipient.address for message in post.relay.taken] == ["ada@example.test"]
    assert (await post.stored(mail_id))["status"] == "SENT"


async def test_it_is_looked_at_again_if_nobody_says_that_the_address_was_confirmed(post: Post) -> None:
    await post.receive(new_id())
    await post.send_all()
    post.customers.confirmed = True

    await post.age("1 hour")
    await post.send_all()

    assert len(post.relay.taken) == 1


async def test_after_a_week_it_ends_unsent_and_calls_nobody(post: Post) -> None:
    mail_id = await post.receive(new_id())
    await post.age("8 days")

    await post.send_all()

    stored = await post.stored(mail_id)
    assert (stored["status"], stored["dismissed"]) == ("FAILED", "by itself: the address was never confirmed")
    assert (await post.concerns(), post.relay.taken) == ([], [])


@pytest.mark.parametrize("is_withheld", [True, False])
async def test_a_mail_about_an_order_of_somebody_erased_ends_unsent_and_calls_nobody(
    post: Post, is_withheld: bool
) -> None:
    user_id = new_id()
    mail_id = await post.receive(user_id)
    if is_withheld:
        await post.send_all()
    post.customers.erased = True

    await post.service.notifications.erase(user_id)
    await post.send_all()

    stored = await post.stored(mail_id)
    assert (stored["status"], stored["dismissed"]) == ("FAILED", "by itself: the account was erased")
    assert (await post.concerns(), post.relay.taken) == ([], [])


async def test_what_waits_to_be_said_to_somebody_erased_is_forgotten_wherever_it_was_to_go(post: Post) -> None:
    erased, other = new_id(), new_id()
    ids = {}
    for user_id in (erased, other):
        ids[user_id] = new_id()
        message = WrittenMessage(
            channel=Channel.EMAIL, user_id=user_id, recipient="work@example.test", subject="Ada", body="Dear Ada\n"
        )
        await post.service.notifications.queue(ids[user_id], message)

    await post.service.notifications.erase(erased)
    post.customers.erased = True
    forgotten = str(await post.stored(ids[erased]))
    for _ in range(2):
        await post.service.notifications.erase(erased)
        await post.send_all()

    assert "Ada" not in forgotten
    assert "work@example.test" not in forgotten
    stored = await post.stored(ids[erased])
    assert (stored["status"], stored["recipient"], stored["fingerprint"]) == ("FAILED", None, "\\x")
    assert [message.id for message in post.relay.taken] == [f"notification:{ids[other]}"]
