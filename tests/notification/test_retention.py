"""What mails said is forgotten when they are sent, inbox and dead letters when topics have forgotten; no mail twice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import pytest
import pytest_asyncio
from google.protobuf.json_format import MessageToJson
from psycopg.errors import CheckViolation
from pydantic import SecretStr

from domain.ids import new_id
from ordersaga.events.v1.order_events_pb2 import OrderTransitioned
from runtime.database import Database
from runtime.dead_letters import DeadLetter
from runtime.settings import Settings
from services.notification.bootstrap import NotificationComponents, bootstrap
from services.notification.dead_letters.model import Place
from services.notification.directory import Customer, Directory
from services.notification.errors import DeadLetterNotFound, MessageRefused
from services.notification.messenger import Message, Recipient
from services.notification.model import OrderEvent, Template
from tests.support.background import running
from tests.support.retention import delete_old
from tests.support.rows import fetch_rows
from tests.support.shared_postgres import PostgresServer, unique_suffix

ADA = Recipient(name="Ada Lovelace", address="ada@example.test")


class OneCustomer:
    """Knows everybody, and what every product is called."""

    async def recipient(self, user_id: str) -> Recipient:
        return ADA

    async def customer(self, user_id: str) -> Customer:
        return Customer(recipient=ADA, email_confirmed=True)

    async def product_names(self, product_ids: object) -> Mapping[str, str]:
        return {}


class Relay:
    """Takes mails, unless it has a problem."""

    def __init__(self) -> None:
        self.problem: Exception | None = None
        self.taken: list[str] = []

    async def send(self, message: Message) -> None:
        if self.problem is not None:
            raise self.problem
        self.taken.append(message.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """The service, and the relay that it sends to; nothing is sent, and nothing deleted, by itself."""

    service: NotificationComponents
    relay: Relay

    @property
    def database(self) -> Database:
        return self.service.database

    async def hear(self, order_id: str, *, seq: int = 3) -> bool:
        """An event comes from Kafka, that the order is cancelled; whether its mail is due by that."""
        data = OrderTransitioned(order_id=order_id, user_id=order_id, currency="EUR", reason="BY_CUSTOMER")
        stored = await self.service.notifications.receive(
            OrderEvent(
                id=f"order:{order_id}:{seq}",
                seq=seq,
                template=Template.ORDER_CANCELLED,
                data=data,
                text=MessageToJson(data),
            )
        )
        return stored.left_due > 0

    async def send_all(self) -> None:
        await self.service.sender.process_due()

    async def delete(self) -> None:
        await delete_old(self.service.retention, self.database)

    async def mail(self, order_id: str) -> dict[str, Any]:
        async with self.database.autocommit() as connection:
            [row] = await connection.fetch_all(
                dict[str, Any], "SELECT * FROM notifications WHERE order_id = %(id)s", id=order_id
            )
            return row

    async def age_inbox(self, order_id: str, by: str) -> None:
        await fetch_rows(
            self.database,
            """
            UPDATE inbox SET received_at = received_at - %(by)s::interval
             WHERE ce_id LIKE 'order:' || %(id)s || ':%%' RETURNING ce_id
            """,
            by=by,
            id=order_id,
        )

    async def inbox(self, order_id: str) -> int:
        statement = "SELECT ce_id FROM inbox WHERE ce_id LIKE 'order:' || %(id)s || ':%%'"
        return len(await fetch_rows(self.database, statement, id=order_id))


@pytest.fixture(scope="session")  # a module's tests may come to a process in two parts
def clean(postgres: PostgresServer, worker_id: str) -> Mapping[str, str]:
    """The DSN of a database in which nobody else works."""
    return postgres.copy_databases(f"mail_retention_{unique_suffix(worker_id)}", ["notification"])


@pytest_asyncio.fixture
async def post(clean: Mapping[str, str]) -> AsyncIterator[Post]:
    relay = Relay()
    settings = Settings(notification_dsn=SecretStr(clean["notification"]), database_pool_size=4)
    async with bootstrap(settings, directory=cast("Directory", OneCustomer()), mail=relay, sms=relay) as service:
        yield Post(service=service, relay=relay)


async def test_what_a_mail_was_made_from_is_forgotten_when_it_is_sent(post: Post) -> None:
    order_id = new_id()
    await post.hear(order_id)
    assert (await post.mail(order_id))["event"] is not None

    await post.send_all()

    mail = await post.mail(order_id)
    assert (mail["status"], mail["event"], mail["template"], mail["ce_id"]) == (
        *("SENT", None, "order_cancelled"),
        f"order:{order_id}:3",
    )
    assert not await post.hear(order_id)


async def test_a_mail_that_failed_keeps_what_it_is_made_from_and_can_be_sent_later(post: Post) -> None:
    order_id = new_id()
    await post.hear(order_id)
    post.relay.problem = MessageRefused("the relay wants no such mail")
    await post.send_all()
    failed = await post.mail(order_id)
    assert (failed["status"], failed["sent_at"]) == ("FAILED", None)
    assert datetime.now(UTC) >= failed["failed_at"] >= failed["created_at"]
    await fetch_rows(
        post.database,
        "UPDATE notifications SET created_at = now() - interval '900 days' WHERE id = %(id)s RETURNING id",
        id=failed["id"],
    )

    await post.delete()
    post.relay.problem = None
    async with running(post.service.sender.run):
        assert (await post.service.desk.retry(str(failed["id"]))).done

    mail = await post.mail(order_id)
    assert (mail["status"], mail["failed_at"], mail["event"]) == ("SENT", None, None)
    assert len(post.relay.taken) == 1


async def test_what_an_older_release_has_sent_is_forgotten_too(post: Post) -> None:
    order_id = new_id()
    await post.hear(order_id)
    await post.send_all()
    await fetch_rows(
        post.database, "UPDATE notifications SET event = '{}' WHERE order_id = %(id)s RETURNING id", id=order_id
    )

    await post.delete()

    assert (await post.mail(order_id))["event"] is None


async def test_no_mail_that_is_still_to_be_sent_can_lose_what_it_is_made_from(post: Post) -> None:
    order_id = new_id()
    await post.hear(order_id)

    with pytest.raises(CheckViolation, match="made_from"):
        await fetch_rows(
            post.database, "UPDATE notifications SET event = NULL WHERE order_id = %(id)s RETURNING id", id=order_id
        )

    await post.send_all()


async def test_the_inbox_knows_an_event_for_longer_than_its_topic(post: Post) -> None:
    order_id = new_id()
    await post.hear(order_id)
    await post.age_inbox(order_id, "36 days 23 hours")

    await post.delete()
    assert await post.inbox(order_id) == 1

    await post.age_inbox(order_id, "2 hours")
    await post.delete()
    assert await post.inbox(order_id) == 0
    await post.send_all()


async def test_a_topic_that_is_kept_for_longer_has_the_inbox_kept_for_longer(clean: Mapping[str, str]) -> None:
    settings = Settings(notification_dsn=SecretStr(clean["notification"]), kafka_retention=90 * 86_400)
    relay = Relay()
    async with bootstrap(settings, directory=cast("Directory", OneCustomer()), mail=relay, sms=relay) as service:
        post, order_id = Post(service=service, relay=relay), new_id()
        await post.hear(order_id)
        await post.age_inbox(order_id, "96 days")
        await post.delete()
        assert await post.inbox(order_id) == 1
        await post.send_all()


async def test_an_event_that_comes_when_the_inbox_has_forgotten_it_makes_no_second_mail(post: Post) -> None:
    order_id = new_id()
    await post.hear(order_id)
    await post.send_all()
    await post.age_inbox(order_id, "38 days")
    await post.delete()
    assert await post.inbox(order_id) == 0

    assert not await post.hear(order_id)
    await post.send_all()

    assert len(post.relay.taken) == 1
    assert (await post.mail(order_id))["status"] == "SENT"
    assert await post.hear(order_id, seq=4)  # one that is new has its mail
    await post.send_all()


async def keep_letter(post: Post, offset: int) -> Place:
    await post.service.dead_letters.keep(
        DeadLetter(
            topic="order-events",
            partition=0,
            offset=offset,
            recorded_at=datetime.now(UTC),
            key=b"k",
            value=b"v",
            headers=(),
            consumer="notification",
            reason="it is no event",
            error="",
            refused_at=datetime.now(UTC),
        )
    )
    return Place(topic="order-events", partition=0, offset=offset)


async def age_letters(post: Post, by: str) -> None:
    await fetch_rows(
        post.database,
        """
        UPDATE dead_letters SET refused_at = refused_at - %(by)s::interval, closed_at = closed_at - %(by)s::interval
        RETURNING id
        """,
        by=by,
    )


async def test_a_dead_letter_goes_with_what_was_done_about_it_once_it_has_been_closed_for_long(post: Post) -> None:
    letters = post.service.dead_letters
    open_one, closed_one = await keep_letter(post, 1), await keep_letter(post, 2)
    await letters.resolve(closed_one, actor="operator:ada", note="not ours")
    await letters.retry(open_one, actor="operator:ada", note="perhaps")  # refused again
    await age_letters(post, "89 days")

    await post.delete()
    assert len((await letters.get(closed_one)).actions) == 1

    await age_letters(post, "2 days")
    await post.delete()
    with pytest.raises(DeadLetterNotFound):
        await letters.get(closed_one)

    await age_letters(post, "900 days")
    await post.delete()
    assert len((await letters.get(open_one)).actions) == 1
    assert await fetch_rows(post.database, "SELECT count(*) FROM dead_letter_actions") == [(1,)]
