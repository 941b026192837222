"""What is being sent is claimed: nobody else sends it meanwhile, and whatever ends a sender, it goes out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from typing import Any

import pytest
import pytest_asyncio
from aiosmtpd.smtp import SMTP, Envelope, Session
from google.protobuf.json_format import MessageToJson

from domain.ids import new_id
from domain.notifications import Channel
from domain.orders import OrderStatus
from ordersaga.events.v1.order_events_pb2 import OrderTransitioned
from runtime.database import Connection, Database, DatabaseAway
from runtime.due_worker import DueWorker
from runtime.settings import Settings
from sandbox.ports import free_port
from services.notification import bootstrap as bootstrap_module
from services.notification.messenger import Message, Messenger
from services.notification.model import DueNotification, OrderEvent, Template, WrittenMessage
from services.notification.repository import NotificationRepository
from services.notification.smtp import Smtp
from tests.support.gateway import Gateway, gateway_with_services, sign_up
from tests.support.notification_sink import QueuedSms, sending_service
from tests.support.rows import fetch_rows

Sender = DueWorker[DueNotification]

AT = datetime(2026, 11, 22, 9, 5, tzinfo=UTC)


class Delivery:
    """A mail that the relay has heard, and has not answered for."""

    def __init__(self, message_id: str) -> None:
        self.message_id = message_id
        self._answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def answer(self, text: str) -> None:
        self._answer.set_result(text)

    async def answered(self) -> str:
        return await self._answer


class Relay:
    """An SMTP server that answers for a mail when the test lets it."""

    def __init__(self) -> None:
        self.port = free_port()
        self.connections: list[SMTP] = []
        self._deliveries: asyncio.Queue[Delivery] = asyncio.Queue()

    def connection(self) -> SMTP:
        self.connections.append(SMTP(self, hostname="relay.example.test", loop=asyncio.get_running_loop()))
        return self.connections[-1]

    async def next(self) -> Delivery:
        async with asyncio.timeout(10):
            return await self._deliveries.get()

    @property
    def has_more(self) -> bool:
        return not self._deliveries.empty()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        assert isinstance(envelope.content, bytes)
        delivery = Delivery(message_from_bytes(envelope.content)["Message-ID"])
        self._deliveries.put_nowait(delivery)
        return await delivery.answered()


class Desk:
    """The queue in the database, and senders that empty it over one relay."""

    def __init__(self, database: Database, gateway: Gateway, relay: Relay) -> None:
        self.database = database
        self.gateway = gateway
        self.relay = relay

    @asynccontextmanager
    async def sender(self, *, mail: Messenger | None = None, grace: float = 5) -> AsyncIterator[Sender]:
        settings = Settings(smtp_port=self.relay.port, shutdown_grace=grace)
        async with sending_service(self.database.dsn, self.gateway, settings, mail=mail) as service:
            yield service.sender

    async def write(self, *, user_id: str) -> str:
        """A message that is due; its id."""
        notification_id = new_id()
        message = WrittenMessage(
            channel=Channel.EMAIL, user_id=user_id, recipient="other@example.test", subject="Hello", body="Hello\n"
        )
        async with self.database.autocommit() as connection:
            assert await NotificationRepository(connection).add_written(notification_id, message)
        return notification_id

    async def receive(self, order_id: str, user_id: str, status: OrderStatus, template: Template, *, seq: int) -> None:
        """An event of an order arrives, whose mail is due from here on."""
        async with self.database.autocommit() as connection:
            event = _event(order_id, user_id, status, template, seq=seq)
            assert (await NotificationRepository(connection).receive(new_id(), event)).left_due == 1

    async def state(self, notification_id: str) -> tuple[Any, ...]:
        """Status, attempts begun and number."""
        [row] = await fetch_rows(
            self.database, "SELECT status, attempts, seq FROM notifications WHERE id = %(id)s", id=notification_id
        )
        return row

    async def events(self, key: str) -> list[tuple[str, str]]:
        return await fetch_rows(
            self.database, "SELECT ce_id, ce_type FROM outbox WHERE key = %(key)s ORDER BY id", key=key
        )

    async def seconds_until_due(self, notification_id: str) -> float:
        [[seconds]] = await fetch_rows(
            self.database,
            "SELECT extract(epoch FROM next_attempt_at - now())::float FROM notifications WHERE id = %(id)s",
            id=notification_id,
        )
        return float(seconds)

    async def end_leases(self) -> None:
        """Let the time pass that the leases last."""
        async with self.database.autocommit() as connection:
            await connection.execute("UPDATE notifications SET next_attempt_at = now() WHERE status = 'PENDING'")


@pytest_asyncio.fixture(scope="module")
async def gateway(databases: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    stripe_data = tmp_path_factory.mktemp("stripe")
    async with gateway_with_services(databases, stripe_data=stripe_data, sms=QueuedSms()) as gateway:
        yield gateway


@pytest_asyncio.fixture
async def desk(databases: Mapping[str, str], gateway: Gateway) -> AsyncIterator[Desk]:
    relay = Relay()
    server = await asyncio.get_running_loop().create_server(relay.connection, "127.0.0.1", relay.port)
    database = Database(databases["notification"], pool_size=2)
    async with database.autocommit() as connection:
        await connection.execute("DELETE FROM notifications WHERE status = 'PENDING'")
    yield Desk(database, gateway, relay)
    await database.close()
    server.close()
    for smtp in relay.connections:
        if smtp.transport is not None:
            smtp.transport.close()


async def test_what_is_being_sent_is_nobody_elses_and_no_lock_is_held(desk: Desk) -> None:
    user_id = new_id()
    notification_id = await desk.write(user_id=user_id)

    async with desk.sender() as one, desk.sender() as two:
        sending = asyncio.create_task(one.process_due())
        delivery = await desk.relay.next()
        assert await two.process_due() == 0
        locked = await fetch_rows(
            desk.database,
            "SELECT id FROM notifications WHERE id = %(id)s FOR UPDATE NOWAIT",
            id=notification_id,
        )
        delivery.answer("250 OK")
        assert await sending == 1

    assert locked == [(notification_id,)]
    assert await desk.state(notification_id) == ("SENT", 1, 1)
    assert await desk.events(user_id) == [(f"notification:{user_id}:1", "notification.sent")]
    assert not desk.relay.has_more


@pytest.mark.parametrize("late", ["250 OK", "451 later", "550 never"])
async def test_a_send_that_outlives_its_lease_changes_nothing_of_what_somebody_else_is_sending(
    desk: Desk, late: str
) -> None:
    user_id = new_id()
    notification_id = await desk.write(user_id=user_id)

    async with desk.sender() as slow, desk.sender() as second:
        first_try = asyncio.create_task(slow.process_due())
        first = await desk.relay.next()
        await desk.end_leases()
        second_try = asyncio.create_task(second.process_due())
        repeated = await desk.relay.next()
        first.answer(late)
        await first_try
        between = await desk.state(notification_id)
        claim = await desk.seconds_until_due(notification_id)
        repeated.answer("250 OK")
        await second_try

    assert repeated.message_id == first.message_id
    assert between == ("PENDING", 2, None)
    assert claim > 0
    assert await desk.state(notification_id) == ("SENT", 2, 1)
    assert await desk.events(user_id) == [(f"notification:{user_id}:1", "notification.sent")]


async def test_an_attempt_is_broken_off_before_its_lease_ends(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap_module, "LEASE", timedelta(seconds=0.4))
    notification_id = await desk.write(user_id=new_id())

    async with desk.sender() as sender:
        await sender.process_due()

    assert await desk.state(notification_id) == ("PENDING", 1, None)
    assert 0 < await desk.seconds_until_due(notification_id) < 2


class Killed(BaseException):
    """Ends a sender where it stands: nothing of ours catches it."""


class KilledAfterwards(Smtp):
    """Its process is killed when the relay has taken the mail."""

    async def send(self, message: Message) -> None:
        await super().send(message)
        raise Killed


async def test_a_killed_senders_mail_goes_out_after_the_lease_with_the_same_id(desk: Desk) -> None:
    user_id = new_id()
    notification_id = await desk.write(user_id=user_id)
    smtp = KilledAfterwards(Settings(smtp_port=desk.relay.port))

    async with desk.sender() as sender, desk.sender(mail=smtp) as killed:
        relay = asyncio.create_task(_take(desk.relay, 1))
        await killed.process_due()
        [first] = await relay
        left = await desk.state(notification_id)
        assert await sender.process_due() == 0
        assert 0 < await desk.seconds_until_due(notification_id) <= 60
        await desk.end_leases()
        relay = asyncio.create_task(_take(desk.relay, 1))
        await sender.process_due()
        [again] = await relay
    smtp.close()

    assert left == ("PENDING", 1, None)
    assert again == first
    assert await desk.state(notification_id) == ("SENT", 2, 1)
    assert await desk.events(user_id) == [(f"notification:{user_id}:1", "notification.sent")]


@pytest.mark.parametrize("committed", [False, True], ids=["before_the_commit", "after_the_commit"])
async def test_what_was_sent_is_not_sent_again_when_the_database_was_away_for_a_moment(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    monkeypatch.setattr("runtime.due_worker.RECORD_INTERVAL", 0.0)
    finish = NotificationRepository.finish
    breaks = [DatabaseAway("broken off"), DatabaseAway("not there yet")]

    async def break_off(self: NotificationRepository, *arguments: Any, **options: Any) -> bool | None:
        if not breaks:
            return await finish(self, *arguments, **options)
        if committed and len(breaks) == 2:
            await finish(self, *arguments, **options)
        raise breaks.pop(0)

    monkeypatch.setattr(NotificationRepository, "finish", break_off)
    user_id = new_id()
    notification_id = await desk.write(user_id=user_id)

    async with desk.sender() as sender:
        relay = asyncio.create_task(_take(desk.relay, 1))
        await sender.process_due()
        await relay
        assert await sender.process_due() == 0

    assert breaks == []
    assert not desk.relay.has_more
    assert await desk.state(notification_id) == ("SENT", 1, 1)
    assert await desk.events(user_id) == [(f"notification:{user_id}:1", "notification.sent")]


async def test_a_sender_that_stops_before_the_relay_has_answered_releases_its_claim(desk: Desk) -> None:
    notification_id = await desk.write(user_id=new_id())

    async with desk.sender(grace=0.01) as sender:
        sending = asyncio.create_task(sender.run())
        await desk.relay.next()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        released = await desk.state(notification_id)
        assert await desk.seconds_until_due(notification_id) <= 0
        relay = asyncio.create_task(_take(desk.relay, 1))
        await sender.process_due()
        await relay

    assert released == ("PENDING", 0, None)
    assert await desk.state(notification_id) == ("SENT", 1, 1)


async def test_two_mails_of_one_order_that_end_at_once_are_numbered_without_a_gap(desk: Desk) -> None:
    user_id, _ = await sign_up(desk.gateway)
    order_id = new_id()

    async with desk.sender() as one, desk.sender() as two:
        await desk.receive(order_id, user_id, OrderStatus.PAID, Template.ORDER_PAID, seq=3)
        later = asyncio.create_task(one.process_due())
        deliveries = [await desk.relay.next()]
        # the earlier event comes late: its mail cannot be waited for any more
        await desk.receive(order_id, user_id, OrderStatus.PENDING, Template.ORDER_PLACED, seq=2)
        earlier = asyncio.create_task(two.process_due())
        deliveries.append(await desk.relay.next())
        for delivery in deliveries:
            delivery.answer("250 OK")
        await asyncio.gather(later, earlier)

    rows = await fetch_rows(
        desk.database,
        "SELECT status, attempts, seq FROM notifications WHERE order_id = %(id)s ORDER BY seq",
        id=order_id,
    )
    assert rows == [("SENT", 1, 1), ("SENT", 1, 2)]
    assert await desk.events(order_id) == [
        (f"notification:{order_id}:1", "notification.sent"),
        (f"notification:{order_id}:2", "notification.sent"),
    ]


async def test_messages_of_one_user_that_end_at_once_are_numbered_without_a_gap(desk: Desk) -> None:
    user_id = new_id()
    for _ in range(4):
        await desk.write(user_id=user_id)

    async with desk.sender() as one, desk.sender() as two:
        tries = [asyncio.create_task(sender.process_due()) for sender in (one, two)]
        deliveries = [await desk.relay.next() for _ in range(4)]
        for delivery in deliveries:
            delivery.answer("250 OK")
        await asyncio.gather(*tries)

    assert [ce_id for ce_id, _ in await desk.events(user_id)] == [f"notification:{user_id}:{n}" for n in range(1, 5)]


async def test_a_later_mail_of_an_order_waits_while_an_earlier_one_is_being_sent_and_follows_at_once(
    desk: Desk,
) -> None:
    user_id, _ = await sign_up(desk.gateway)
    order_id = new_id()

    async with desk.sender() as one, desk.sender() as two:
        await desk.receive(order_id, user_id, OrderStatus.PENDING, Template.ORDER_PLACED, seq=2)
        first = asyncio.create_task(one.process_due())
        delivery = await desk.relay.next()
        await desk.receive(order_id, user_id, OrderStatus.PAID, Template.ORDER_PAID, seq=3)
        assert await two.process_due() == 0
        delivery.answer("250 OK")
        [later] = await _take(desk.relay, 1)
        assert await first == 2

    assert later == f"<order-{order_id}-3@ordersaga>"


async def test_a_mail_costs_two_statements_when_nothing_else_is_due(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements: list[str] = []
    ended = asyncio.Event()

    def note(self: Database) -> AbstractAsyncContextManager[Connection]:
        statements.append("a statement")
        return autocommit(self)

    async def finish(self: NotificationRepository, *arguments: Any, **options: Any) -> bool | None:
        ended.set()
        return await finish_it(self, *arguments, **options)

    autocommit, finish_it = Database.autocommit, NotificationRepository.finish
    monkeypatch.setattr(NotificationRepository, "finish", finish)
    await desk.write(user_id=new_id())
    async with desk.sender() as sender:
        monkeypatch.setattr(sender, "_poll", 60)
        monkeypatch.setattr(Database, "autocommit", note)
        sending = asyncio.create_task(sender.run())
        await _take(desk.relay, 1)
        await ended.wait()
        sending.cancel()
        await asyncio.wait([sending])

    assert len(statements) == 2


async def _take(relay: Relay, count: int) -> list[str]:
    """Take the next mails; their Message-IDs."""
    taken = []
    for _ in range(count):
        delivery = await relay.next()
        delivery.answer("250 OK")
        taken.append(delivery.message_id)
    return taken


def _event(order_id: str, user_id: str, status: OrderStatus, template: Template, *, seq: int) -> OrderEvent:
    data = OrderTransitioned(order_id=order_id, user_id=user_id, to_status=status, currency="EUR", total=2500)
    data.at.FromDatetime(AT)
    data.payment_deadline.FromDatetime(AT)
    return OrderEvent(id=f"order:{order_id}:{seq}", seq=seq, template=template, data=data, text=MessageToJson(data))
