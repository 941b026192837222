"""Every statement of the notification database, and of the relay."""

from __future__ import annotations

from bench.filling.fill import Filled
from bench.filling.people import BIG
from bench.filling.story import Ending
from domain.events import NOTIFICATION_EVENTS, ORDER_EVENTS
from domain.ids import new_id
from domain.notifications import Channel, NotificationStatus
from ordersaga.events.v1.order_events_pb2 import OrderTransitioned
from runtime.database import Connection
from runtime.dead_letters import DeadLetter
from runtime.kafka_standing import Standing
from services.notification.dead_letters.model import Place
from services.notification.dead_letters.repository import DeadLetterRepository
from services.notification.model import DeadLetterStatus, LetterAction, OrderEvent, Template, WrittenMessage
from services.notification.on_call import NotificationOnCall
from services.notification.repository import DUE_NOTIFICATIONS, NotificationRepository
from tests.plans.driving import MINUTE, NOW, PAGE, an_event, run, run_common, run_due
from tests.plans.recording import RecordedDatabase
from workers.relay.database import OutboxDatabase


async def drive(database: RecordedDatabase, filled: Filled) -> None:
    """Run those of the notification service."""
    sold, user_id = next(order for order in filled.last if order.ending is Ending.PAID), filled.accounts[BIG].id
    data = OrderTransitioned(order_id=sold.id, user_id=user_id)
    event = OrderEvent(id=f"order:{sold.id}:9", seq=9, template=Template.ORDER_PAID, data=data, text="{}")
    message = WrittenMessage(channel=Channel.EMAIL, user_id=user_id, recipient=None, subject="A", body="B")

    async def change(connection: Connection) -> None:
        repository, mail_id = NotificationRepository(connection), new_id()
        assert await repository.receive(mail_id, event)
        await repository.find(mail_id)
        await repository.next_seq(mail_id)
        await repository.make_due(mail_id)
        await repository.dismiss(mail_id, note="no")
        written_id = new_id()
        assert await repository.add_written(written_id, message)
        await repository.next_seq(written_id)

    async def ask_consumer() -> Standing:
        return Standing(group="notification", waiting=0, stands_since=None, problem="", error="", error_at=None)

    on_call = NotificationOnCall(database, ask_consumer=ask_consumer)
    await run(
        database,
        change,
        *(
            lambda connection, whose=whose: NotificationRepository(connection).make_withheld_due(whose)
            for whose in (user_id, filled.accounts[10].id)
        ),
        lambda connection: NotificationRepository(connection).erase(user_id),
        lambda _: on_call.find_concerns(older_than=MINUTE, most=PAGE),
        lambda _: on_call.describe_order(sold.id),
    )
    await run_due(
        database,
        DUE_NOTIFICATIONS,
        lambda claimed: lambda connection: NotificationRepository(connection).withhold(claimed, delay=MINUTE),
        lambda claimed: (
            lambda connection: NotificationRepository(connection).finish(
                claimed,
                NotificationStatus.SENT,
                error=None,
                dismissed=None,
                event=an_event(NOTIFICATION_EVENTS, of=claimed.key, seq=50),
                at=NOW,
            )
        ),
    )
    await _dead_letters(database)
    await run_common(database, "notification")


async def _dead_letters(database: RecordedDatabase) -> None:
    letter = DeadLetter(
        topic=ORDER_EVENTS,
        partition=1,
        offset=1,
        recorded_at=NOW,
        key=b"",
        value=b"",
        headers=(),
        consumer="notification",
        reason="unreadable",
        error="",
        refused_at=NOW,
    )

    async def act(connection: Connection) -> None:
        repository = DeadLetterRepository(connection)
        await repository.keep(letter)
        found = await repository.find(Place(topic=ORDER_EVENTS, partition=1, offset=1))
        assert found is not None
        await repository.act(
            found.id,
            LetterAction.RESOLVE,
            status=DeadLetterStatus.RESOLVED,
            actor="operator:on-call",
            note="",
            refusal="",
        )
        for closed_too in (True, False):
            await repository.list(closed_too=closed_too, after=None, limit=PAGE)
            await repository.list(closed_too=closed_too, after=found.id, limit=PAGE)

    await run(database, act, lambda connection: DeadLetterRepository(connection).count_open())


async def drive_relay(database: RecordedDatabase) -> None:
    """Run those of the relay, in anybody's database."""
    async with database.undone():
        outbox = OutboxDatabase(database.raw, holder="somebody")
        epoch = await outbox.hold(epoch=None)
        assert epoch is not None
        assert await outbox.hold(epoch=epoch) == epoch
        rows = await outbox.read(limit=PAGE, without=[("order-events", "a")])
        assert rows
        ids = [row.id for row in rows]
        assert await outbox.mark_and_read(ids[:2], epoch=epoch, limit=PAGE, without=[]) is not None
        assert await outbox.mark_published(ids[2:], epoch=epoch)
        await outbox.read(limit=PAGE, without=[])  # nothing is left to be published
        await outbox.release(epoch=epoch)
