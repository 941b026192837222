"""Mails that do not get out: who is told, what a person does about one, and what is told of an order's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import grpc.aio
import pytest
import pytest_asyncio
from google.protobuf.json_format import MessageToJson
from pydantic import SecretStr

from domain.concerns import FLAGGED_STEP, WAITING_STEP, ConcernKind
from domain.ids import new_id
from domain.notifications import Channel
from domain.refusals import Refusal
from ordersaga.events.v1.order_events_pb2 import OrderTransitioned
from ordersaga.notification.v1 import notification_pb2 as pb
from ordersaga.notification.v1.notification_pb2_grpc import NotificationServiceStub
from runtime.caller import SERVICE
from runtime.database import Database
from runtime.kafka_standing import Standing
from runtime.on_call import Concern, OrderRecord
from runtime.refusal import CallRefused
from runtime.settings import Settings
from services.notification.bootstrap import NotificationComponents, bootstrap
from services.notification.directory import Customer, Directory
from services.notification.errors import MessageDelayed, MessageRefused, NotificationDone, NotificationNotFound
from services.notification.messenger import Message, Recipient
from services.notification.model import OrderEvent, Template, WrittenMessage
from services.notification.on_call import FAILED, WAITING, NotificationOnCall
from services.notification.repository import NotificationRepository
from services.notification.server import grpc_service
from tests.support.background import running
from tests.support.rows import fetch_rows
from tests.support.rpc import call, channel_to

NOW = timedelta(0)
"""Younger than anything that waits."""
SENT, DELAYED, REFUSED = None, MessageDelayed("the relay is away"), MessageRefused("the relay wants no such mail")


class OneCustomer:
    """Knows everybody, and what every product is called."""

    async def recipient(self, user_id: str) -> Recipient:
        return Recipient(name="Ada Lovelace", address="ada@example.test")

    async def customer(self, user_id: str) -> Customer:
        return Customer(recipient=await self.recipient(user_id), email_confirmed=True)

    async def product_names(self, product_ids: object) -> Mapping[str, str]:
        return {}


class Relay:
    """Takes mails, or does not: `problem` is what it says then."""

    def __init__(self) -> None:
        self.problem: Exception | None = None
        self.taken: list[str] = []

    async def send(self, message: Message) -> None:
        if self.problem is not None:
            raise self.problem
        self.taken.append(message.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """The service, and the relay that it sends to; nothing is sent by itself."""

    service: NotificationComponents
    relay: Relay

    @property
    def database(self) -> Database:
        return self.service.database

    async def receive(self, order_id: str, template: Template, *, seq: int) -> str:
        """An event of an order comes in, whose mail is due from here on; the mail's id."""
        mail_id = new_id()
        data = OrderTransitioned(
            order_id=order_id, user_id=order_id, currency="EUR", total=2_599, refund_amount=100, reason="EXPIRED"
        )
        event = OrderEvent(
            id=f"order:{order_id}:{seq}", seq=seq, template=template, data=data, text=MessageToJson(data)
        )
        async with self.database.autocommit() as connection:
            assert (await NotificationRepository(connection).receive(mail_id, event)).left_due == 1
        return mail_id

    async def write(self) -> str:
        """A message whose text is given is due; its id."""
        message_id = new_id()
        message = WrittenMessage(
            channel=Channel.EMAIL, user_id=new_id(), recipient="other@example.test", subject="Hello", body="Hello\n"
        )
        async with self.database.autocommit() as connection:
            assert await NotificationRepository(connection).add_written(message_id, message)
        return message_id

    async def send_all(self, problem: Exception | None = SENT) -> None:
        """Let the relay take, or refuse, what is due."""
        self.relay.problem = problem
        await self.service.sender.process_due()

    async def postpone(self) -> None:
        """As if what waits had just failed for the hundredth time."""
        async with self.database.autocommit() as connection:
            await connection.execute("UPDATE notifications SET next_attempt_at = now() + interval '1 h'")

    async def find_concerns(self, *, older_than: timedelta = NOW) -> list[Concern]:
        found = await self.service.on_call.find_concerns(older_than=older_than, most=10)
        return [concern for concern in found if concern.kind is ConcernKind.MAIL]  # nothing is consumed here

    async def describe(self, order_id: str) -> OrderRecord:
        record = await self.service.on_call.describe_order(order_id)
        assert record is not None
        return record

    async def state(self, mail_id: str) -> tuple[Any, ...]:
        """Status and number of a notification."""
        [row] = await fetch_rows(self.database, "SELECT status, seq FROM notifications WHERE id = %(id)s", id=mail_id)
        return row

    async def numbers(self, order_id: str) -> list[str]:
        """Of our events about the order's mails, in the order in which they are published."""
        rows = await fetch_rows(
            self.database, "SELECT ce_id, ce_type FROM outbox WHERE key = %(key)s ORDER BY id", key=order_id
        )
        return [f"{ce_id.rpartition(':')[2]} {ce_type}" for ce_id, ce_type in rows]


@pytest_asyncio.fixture
async def post(databases: Mapping[str, str]) -> AsyncIterator[Post]:
    relay = Relay()
    settings = Settings(notification_dsn=SecretStr(databases["notification"]), database_pool_size=4)
    async with bootstrap(settings, directory=cast("Directory", OneCustomer()), mail=relay, sms=relay) as service:
        async with service.database.autocommit() as connection:
            await connection.execute("DELETE FROM notifications")
            await connection.execute("DELETE FROM dead_letters")
        yield Post(service=service, relay=relay)


@pytest_asyncio.fixture
async def stub(post: Post) -> AsyncIterator[NotificationServiceStub]:
    async with channel_to(grpc_service(post.service)) as channel:
        yield NotificationServiceStub(channel)


async def test_a_mail_that_waits_is_told_with_attempts_and_error_and_those_behind_it_are_not(post: Post) -> None:
    order_id = new_id()
    first = await post.receive(order_id, Template.ORDER_FAILED, seq=1)
    await post.receive(order_id, Template.ORDER_CANCELLED, seq=2)
    await post.send_all(DELAYED)

    [concern] = await post.find_concerns()

    [(created_at,)] = await fetch_rows(post.database, "SELECT created_at FROM notifications WHERE id = %(i)s", i=first)
    assert concern == Concern(
        kind=ConcernKind.MAIL,
        subject_id=first,
        step=WAITING_STEP,
        order_id=order_id,
        cause="the mail order failed is not sent",
        since=created_at,
        attempts=1,
        last_error="the relay is away",
    )
    assert await post.find_concerns(older_than=timedelta(minutes=1)) == []


async def test_a_mail_that_failed_is_told_until_it_is_dismissed_and_dismissed_once(post: Post) -> None:
    message_id = await post.write()
    await post.send_all(REFUSED)

    [failed] = await post.find_concerns(older_than=timedelta(minutes=1))
    await post.service.desk.dismiss(message_id, note="operator:ada: called them")

    assert (failed.subject_id, failed.step, failed.order_id) == (message_id, FLAGGED_STEP, None)
    assert (failed.cause, failed.last_error) == (
        "a mail whose text was given can never be sent as things stand",
        "the relay wants no such mail",
    )
    assert await post.find_concerns() == []
    with pytest.raises(NotificationDone, match="operator:ada: called them"):
        await post.service.desk.dismiss(message_id, note="operator:grace")


async def test_a_consumer_that_stands_still_for_long_is_told(post: Post) -> None:
    since = datetime.now(UTC) - timedelta(minutes=5)
    standing = Standing(
        group="notification", waiting=12, stands_since=since, problem="", error="DatabaseAway", error_at=since
    )

    async def ask() -> Standing:
        return standing

    on_call = NotificationOnCall(post.database, ask_consumer=ask)
    [concern] = await on_call.find_concerns(older_than=timedelta(minutes=1), most=10)

    assert (concern.kind, concern.subject_id, concern.since) == (ConcernKind.PART, "notification", since)
    assert "12" in concern.cause
    assert await on_call.find_concerns(older_than=timedelta(minutes=10), most=10) == []


async def test_a_mail_that_waits_is_sent_at_once_when_somebody_wants_it(post: Post) -> None:
    mail_id = await post.receive(new_id(), Template.ORDER_FAILED, seq=1)
    await post.send_all(DELAYED)
    await post.postpone()
    post.relay.problem = SENT

    async with running(post.service.sender.run):
        retried = await post.service.desk.retry(mail_id)

    assert (retried.done, retried.outcome) == (True, "it is sent")
    assert (await post.state(mail_id))[0] == "SENT"


async def test_a_mail_that_waits_again_says_why(post: Post) -> None:
    mail_id = await post.receive(new_id(), Template.ORDER_FAILED, seq=1)
    await post.send_all(DELAYED)
    await post.postpone()

    async with running(post.service.sender.run):
        retried = await post.service.desk.retry(mail_id)

    assert (retried.done, retried.outcome) == (False, "it waits again, and is tried again: the relay is away")


async def test_a_mail_behind_another_one_of_its_order_says_so(post: Post) -> None:
    order_id = new_id()
    await post.receive(order_id, Template.ORDER_FAILED, seq=1)
    behind = await post.receive(order_id, Template.ORDER_CANCELLED, seq=2)

    retried = await post.service.desk.retry(behind)

    assert (retried.done, retried.outcome) == (False, "it waits for an earlier mail of its order")


async def test_a_mail_that_failed_and_is_sent_after_all_leaves_no_gap_in_the_numbers(post: Post) -> None:
    order_id = new_id()
    first = await post.receive(order_id, Template.ORDER_FAILED, seq=1)
    await post.send_all(REFUSED)
    second = await post.receive(order_id, Template.ORDER_CANCELLED, seq=2)
    await post.send_all()
    assert (await post.state(first), await post.state(second)) == (("FAILED", 1), ("SENT", 2))

    async with running(post.service.sender.run):
        retried = await post.service.desk.retry(first)
    third = await post.receive(order_id, Template.ORDER_CANCELLED, seq=3)
    await post.send_all()

    assert retried.done
    assert (await post.state(first), await post.state(third)) == (("SENT", 3), ("SENT", 4))
    assert await post.numbers(order_id) == [
        "1 notification.failed",
        "2 notification.sent",
        "3 notification.sent",
        "4 notification.sent",
    ]


async def test_a_dismissed_mail_that_is_retried_and_fails_again_is_told_again(post: Post) -> None:
    mail_id = await post.receive(new_id(), Template.ORDER_FAILED, seq=1)
    await post.send_all(REFUSED)
    await post.service.desk.dismiss(mail_id, note="operator:ada")

    async with running(post.service.sender.run):
        retried = await post.service.desk.retry(mail_id)

    assert (retried.done, retried.outcome) == (False, "it failed again: the relay wants no such mail")
    assert [concern.subject_id for concern in await post.find_concerns()] == [mail_id]


async def test_nothing_can_be_done_about_what_is_sent_forgotten_or_unknown(post: Post) -> None:
    desk = post.service.desk
    forgotten = await post.write()
    await post.send_all(REFUSED)
    sent = await post.receive(new_id(), Template.ORDER_FAILED, seq=1)

    with pytest.raises(NotificationDone, match="has not failed"):
        await desk.dismiss(sent, note="operator:ada")
    await post.send_all()

    with pytest.raises(NotificationDone, match="is sent"):
        await desk.retry(sent)
    with pytest.raises(NotificationDone, match="is sent"):
        await desk.dismiss(sent, note="operator:ada")
    with pytest.raises(NotificationDone, match="has to be written again"):
        await desk.retry(forgotten)
    with pytest.raises(NotificationNotFound):
        await desk.retry(new_id())
    with pytest.raises(NotificationNotFound):
        await desk.dismiss(new_id(), note="operator:ada")


async def test_the_order_service_retries_and_dismisses_over_grpc(post: Post, stub: NotificationServiceStub) -> None:
    mail_id = await post.receive(new_id(), Template.ORDER_FAILED, seq=1)
    await post.send_all(REFUSED)
    post.relay.problem = SENT

    dismiss = pb.DismissNotificationRequest(notification_id=mail_id, note="operator:ada: called them")
    await call(stub.DismissNotification, dismiss, caller=SERVICE)
    async with running(post.service.sender.run):
        retried = await call(
            stub.RetryNotification, pb.RetryNotificationRequest(notification_id=mail_id), caller=SERVICE
        )
    refused = await refusal(stub.DismissNotification, pb.DismissNotificationRequest(notification_id="1", note=""))
    unknown = await refusal(stub.RetryNotification, pb.RetryNotificationRequest(notification_id=new_id()))

    assert (retried.done, retried.outcome) == (True, "it is sent")
    assert (refused.refusal, set(refused.details)) == (Refusal.INVALID_ARGUMENT, {"notification_id", "note"})
    assert unknown.refusal is Refusal.NOTIFICATION_NOT_FOUND


async def refusal(method: grpc.aio.UnaryUnaryMultiCallable[Any, Any], request: object) -> CallRefused:
    with pytest.raises(CallRefused) as refused:
        await call(method, request, caller=SERVICE)
    return refused.value


async def test_an_orders_mails_are_described_and_their_customer_is_told_which_were_sent(post: Post) -> None:
    order_id = new_id()
    failed = await post.receive(order_id, Template.ORDER_FAILED, seq=1)
    await post.send_all(REFUSED)
    sent = await post.receive(order_id, Template.ORDER_CANCELLED, seq=2)
    await post.send_all()
    await post.service.desk.dismiss(failed, note="operator:ada")

    record = await post.describe(order_id)

    mails, events = record.sections
    rows = [dict(zip(mails.columns, row, strict=True)) for row in mails.rows]
    assert record.user_id == order_id
    assert [(row["mail"], row["template"], row["channel"], row["status"]) for row in rows] == [
        (failed, "order_failed", "email", "FAILED"),
        (sent, "order_cancelled", "email", "SENT"),
    ]
    assert (rows[0]["last_error"], rows[0]["dismissed"]) == ("the relay wants no such mail", "operator:ada")
    assert [row[0] for row in events.rows] == [f"notification:{order_id}:{seq}" for seq in (1, 2)]
    assert [(entry.type, entry.text, entry.for_customer) for entry in record.timeline] == [
        ("mail.failed", "the mail order failed could not be sent", True),
        ("mail.sent", "the mail order cancelled was sent", True),
    ]
    assert "ada@example.test" not in str(record)


async def test_an_order_without_mails_is_not_described(post: Post) -> None:
    assert await post.service.on_call.describe_order(new_id()) is None


@pytest.mark.parametrize(
    ("statement", "index"), [(WAITING, "ix_notifications_waiting"), (FAILED, "ix_notifications_failed")]
)
async def test_what_does_not_get_out_is_found_by_an_index_that_holds_nothing_else(
    post: Post, statement: Any, index: str
) -> None:
    async with post.database.transaction() as connection:
        await connection.execute("""
            INSERT INTO notifications (id, user_id, channel, status, attempts, next_attempt_at, created_at, fingerprint)
            SELECT gen_random_uuid(), gen_random_uuid(), 'email', 'SENT', 1, now(), now(), 'x'
              FROM generate_series(1, 20000)
        """)
        await connection.execute("ANALYZE notifications")
        plan: list[dict[str, str]] = await connection.fetch_all(
            dict, f"EXPLAIN {statement}", older_than=timedelta(minutes=1), most=500
        )
        await connection.execute("DELETE FROM notifications")
    lines = [row["QUERY PLAN"] for row in plan]

    assert any(index in line for line in lines), lines
