"""Wires the notification service from its settings and ports: for the process that runs it, and for every test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

from domain.events import CONSUMED
from ordersaga.order.v1.order_pb2_grpc import OrderServiceStub
from ordersaga.product.v1.product_pb2_grpc import ProductServiceStub
from ordersaga.user.v1.user_pb2_grpc import UserServiceStub
from runtime.backoff import Backoff
from runtime.database import Database, open_database
from runtime.database_measuring import database_measurements
from runtime.due_worker import DueWorker
from runtime.health import Check, Checks, seldom
from runtime.identity import Part
from runtime.kafka_consumer import Consumer
from runtime.kafka_topics import find_missing as find_missing_topics
from runtime.measuring import Measurement
from runtime.on_call import OnCall
from runtime.retention import DUE_RULES, DueRule, retention_worker
from runtime.rpc_client import open_channels
from runtime.rpc_health import serving
from runtime.settings import Settings
from services.notification.dead_letters.service import DeadLetters
from services.notification.desk import NotificationDesk
from services.notification.directory import Directory
from services.notification.intake import event_handler, events_consumer
from services.notification.messenger import Messenger
from services.notification.model import DueNotification
from services.notification.on_call import NotificationOnCall
from services.notification.repository import DUE_NOTIFICATIONS
from services.notification.retention import rules
from services.notification.service import NotificationService
from services.notification.sms import TwilioSms
from services.notification.smtp import Smtp
from services.notification.tables import SCHEMA

SENT_AT_ONCE: Final = 3
"""Notifications in progress at a time."""
LEASE: Final = timedelta(seconds=60)
"""Longer than any attempt, whatever the limits of the single calls (Twilio, gRPC) are set to."""
LOOK_AGAIN: Final = 30.0
"""Seconds from one look whether the SMTP relay takes mails to the next."""
BACKOFF: Final = Backoff(first=1, longest=300)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationComponents:
    """What the service is made of.

    Attributes:
        sender: sends what is due; to be woken when something has become due.
        consumer: takes in the events of orders and accounts; `Consumer.standing` says whether it moves.
        dead_letters: what it refused; `DeadLetters.count_open` says how many wait for a person.
        desk: where operators act on what does not get out.
        retention: deletes what is old and no history.
        background: what runs beside the server, each until cancelled.
    """

    database: Database
    notifications: NotificationService
    sender: DueWorker[DueNotification]
    consumer: Consumer
    dead_letters: DeadLetters
    desk: NotificationDesk
    on_call: OnCall
    retention: DueWorker[DueRule]
    background: Sequence[Callable[[], Awaitable[object]]]
    checks: Checks
    measurements: Sequence[Measurement]


@asynccontextmanager
async def bootstrap(
    settings: Settings,
    *,
    database: Database | None = None,
    directory: Directory | None = None,
    mail: Messenger | None = None,
    sms: Messenger | None = None,
) -> AsyncIterator[NotificationComponents]:
    """The service's components, as long as the context is open.

    Args:
        settings: of the process.
        database: in place of the one that the settings name; whoever gives it closes it.
        directory: looks people and products up, in place of the user and product services that the settings name.
        mail: takes mails, in place of the SMTP relay that the settings name.
        sms: takes SMS, in place of Twilio, whose account the settings may lack: then there are none.

    Raises:
        SettingsError: a setting is missing: the database, a certificate, the token or sender of a Twilio account.
    """
    async with AsyncExitStack() as stack:
        if sms is None and (twilio := TwilioSms.of(settings)) is not None:
            stack.push_async_callback(twilio.close)
            sms = twilio
        opened = await stack.enter_async_context(open_database(settings, "notification", given=database))
        uses: dict[str, Check] = {"kafka": partial(find_missing_topics, settings, topics=CONSUMED)}
        if mail is None:
            mail = smtp = Smtp(settings)
            stack.callback(smtp.close)
            uses["smtp"] = seldom(smtp.find_problem, interval=LOOK_AGAIN)
        if directory is None:
            channels = await stack.enter_async_context(
                open_channels(settings, Part.NOTIFICATION, Part.USER, Part.PRODUCT, Part.ORDER)
            )
            uses |= {part.value: serving(channel) for part, channel in channels.items()}
            directory = Directory(
                users=UserServiceStub(channels[Part.USER]),
                products=ProductServiceStub(channels[Part.PRODUCT]),
                orders=OrderServiceStub(channels[Part.ORDER]),
                deadline=settings.grpc_deadline,
            )
        notifications = NotificationService(
            opened,
            directory=directory,
            mail=mail,
            sms=sms,
            account_page=settings.account_page,
            order_page=settings.order_page,
            withholds=settings.require_confirmed_email,
        )
        sender = DueWorker(
            "notifications",
            database=opened,
            table=DUE_NOTIFICATIONS,
            process=notifications.process,
            concurrency=SENT_AT_ONCE,
            lease=LEASE,
            backoff=BACKOFF,
            grace=settings.shutdown_grace,
        )
        retention = retention_worker("notification", opened, rules(settings))
        handle = event_handler(notifications, sender)
        dead_letters = DeadLetters(opened, handle=handle)
        consumer = events_consumer(settings, handle, dead_letters)
        yield NotificationComponents(
            database=opened,
            notifications=notifications,
            sender=sender,
            consumer=consumer,
            dead_letters=dead_letters,
            desk=NotificationDesk(opened, on_due=sender.wake),
            on_call=NotificationOnCall(opened, ask_consumer=consumer.standing),
            retention=retention,
            background=(sender.run, consumer.run, retention.run),
            checks=Checks(needs={"database": partial(opened.find_problem, schema=SCHEMA)}, uses=uses),
            measurements=[
                *database_measurements(
                    "notification",
                    opened,
                    due={sender.name: DUE_NOTIFICATIONS, retention.name: DUE_RULES},
                ),
                consumer.measurement,
            ],
        )
