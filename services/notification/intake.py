"""From Kafka records to mails that are due, with every check that rendering one relies on."""

from __future__ import annotations

from functools import partial
from typing import Final

from aiokafka import ConsumerRecord
from google.protobuf.json_format import ParseError

from domain.events import ORDER_EVENTS, USER_EVENTS
from domain.ids import is_id
from domain.money import EXPONENTS
from ordersaga.events.v1.order_events_pb2 import OrderTransitioned
from ordersaga.events.v1.user_events_pb2 import UserChanged
from runtime.cloudevents import EventHeaders, NotAnEvent
from runtime.database import DatabaseAway
from runtime.due_worker import DueWorker
from runtime.kafka_consumer import Consumer, Handler, Subscription, Unprocessable
from runtime.settings import Settings
from runtime.tracing import note_order
from services.notification.dead_letters.service import DeadLetters
from services.notification.model import (
    ACCOUNT_TEMPLATE_OF,
    EMAIL_CONFIRMED_EVENT,
    TEMPLATE_OF,
    AccountEvent,
    DueNotification,
    OrderEvent,
    Template,
    concerns_guest,
    parse_account_event,
    parse_order_event,
)
from services.notification.service import NotificationService

GROUP: Final = "notification"

_OF_REFUNDS: Final = frozenset({Template.ORDER_REFUNDED, Template.ORDER_REFUND_FAILED})
_WITH_TOTAL: Final = frozenset({Template.ORDER_PLACED, Template.ORDER_PAID, *_OF_REFUNDS})


def order_event_handler(notifications: NotificationService, sender: DueWorker[DueNotification]) -> Handler:
    """Takes in an event of an order, with whose mail the sender goes on."""

    async def handle(record: ConsumerRecord) -> None:
        event = to_order_event(record)
        if event is not None:
            note_order(event.data)
            await sender.add(partial(notifications.receive, event), most=1)

    return handle


def account_event_handler(notifications: NotificationService, sender: DueWorker[DueNotification]) -> Handler:
    """Takes in an event of an account, with whose mail the sender goes on."""

    async def handle(record: ConsumerRecord) -> None:
        event_type = _headers(record).type
        if event_type == EMAIL_CONFIRMED_EVENT:
            if await notifications.release(_account_data(record)[0].user_id):
                sender.wake()
        elif event_type in ACCOUNT_TEMPLATE_OF:
            await sender.add(partial(notifications.receive, to_account_event(record)), most=1)

    return handle


def event_handler(notifications: NotificationService, sender: DueWorker[DueNotification]) -> Handler:
    """Takes in an event of an order or an account, whichever the record's topic has."""
    handlers = {
        ORDER_EVENTS: order_event_handler(notifications, sender),
        USER_EVENTS: account_event_handler(notifications, sender),
    }

    async def handle(record: ConsumerRecord) -> None:
        await handlers[record.topic](record)

    return handle


def events_consumer(settings: Settings, handle: Handler, dead_letters: DeadLetters) -> Consumer:
    """Consumes the events of orders and accounts; what cannot be handled is kept for people."""
    subscription = Subscription(
        group=GROUP,
        topics=(ORDER_EVENTS, USER_EVENTS),
        handle=handle,
        refused=dead_letters.keep,
        transient=(DatabaseAway,),
    )
    return Consumer(settings, subscription)


def to_order_event(record: ConsumerRecord) -> OrderEvent | None:
    """The event in a record of topic order-events; None for a type that makes no mail.

    Raises:
        Unprocessable: it is no event of ours, or lacks what its mail needs. The message quotes no data.
    """
    headers = _headers(record)
    template = TEMPLATE_OF.get(headers.type)
    if template is None:
        return None
    try:
        text = (record.value or b"").decode()
        data = parse_order_event(text)
    except (ParseError, UnicodeDecodeError):
        raise Unprocessable("the data is not the JSON of an OrderTransitioned") from None
    violation = _violation(data, template)
    if violation is not None:
        raise Unprocessable(violation)
    if template is Template.ORDER_PLACED and not data.total:
        return None  # there is nothing to pay: the receipt follows at once
    if data.is_guest and not concerns_guest(template, data):
        return None
    return OrderEvent(id=headers.id, seq=headers.seq, template=template, data=data, text=text)


def to_account_event(record: ConsumerRecord) -> AccountEvent:
    """The event in a record of topic user-events, of a type that makes a mail.

    Raises:
        Unprocessable: it is no event of ours, or lacks what its mail needs. The message quotes no data.
    """
    headers = _headers(record)
    data, text = _account_data(record)
    template = ACCOUNT_TEMPLATE_OF[headers.type]
    if template is not Template.PASSWORD_CHANGED and not is_id(data.link_id):
        raise Unprocessable("link_id must be a UUID")
    return AccountEvent(id=headers.id, template=template, data=data, text=text)


def _account_data(record: ConsumerRecord) -> tuple[UserChanged, str]:
    try:
        text = (record.value or b"").decode()
        data = parse_account_event(text)
    except (ParseError, UnicodeDecodeError):
        raise Unprocessable("the data is not the JSON of a UserChanged") from None
    if not is_id(data.user_id):
        raise Unprocessable("user_id must be a UUID")
    return data, text


def _headers(record: ConsumerRecord) -> EventHeaders:
    try:
        return EventHeaders.from_kafka(record.headers)
    except NotAnEvent as error:
        raise Unprocessable(str(error)) from None


def _violation(data: OrderTransitioned, template: Template) -> str | None:
    if not is_id(data.order_id) or not is_id(data.user_id):
        return "order_id and user_id must be UUIDs"
    if data.currency not in EXPONENTS:
        return "currency is not one that we know"
    if template in _WITH_TOTAL and not data.HasField("total"):
        return "total is missing"
    if template is Template.ORDER_PLACED and not data.HasField("payment_deadline"):
        return "payment_deadline is missing"
    if template in _OF_REFUNDS and data.refund_amount <= 0:
        return "refund_amount is missing"
    return None
