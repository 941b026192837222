"""The notification service on a real PostgreSQL, broker, user and product service, and an SMTP sink."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiosmtpd.smtp import SMTP, Envelope, Session
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.protobuf.json_format import MessageToJson
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from pydantic import SecretStr

from domain.events import ORDER_EVENTS, PARTITIONS, USER_EVENTS
from domain.ids import new_id
from domain.orders import EVENT_TYPES, REFUND_FAILED_EVENT, REFUNDED_EVENT, OrderStatus
from ordersaga.events.v1.order_events_pb2 import OrderedLine, OrderTransitioned
from ordersaga.product.v1.product_pb2 import CreateProductRequest
from ordersaga.product.v1.product_pb2_grpc import ProductServiceStub
from ordersaga.user.v1.user_pb2 import (
    ChangeEmailRequest,
    ConfirmEmailRequest,
    RegisterUserRequest,
    RequestPasswordResetRequest,
    ResetPasswordRequest,
)
from ordersaga.user.v1.user_pb2_grpc import UserServiceStub
from runtime.caller import ANONYMOUS, Caller, CallerRole
from runtime.cloudevents import EventHeaders
from runtime.database import Database
from runtime.identity import Part
from runtime.kafka import Publisher
from runtime.kafka_connection import kafka_options
from runtime.process import ComponentRunner, Lifecycle
from runtime.settings import Settings
from runtime.tracing import event_traceparent
from sandbox.mail.mailbox import Mailbox, Message
from sandbox.ports import address, free_port
from services.notification import server as notification
from services.product import server as product
from services.user import server as user
from tests.support.brokers import BROKERS, Broker, broker_on, cluster_of
from tests.support.identities import tls_settings
from tests.support.real.kafka import KafkaCluster
from tests.support.rows import fetch_rows
from tests.support.rpc import call, open_callers

AT = datetime(2026, 11, 22, 9, 5, tzinfo=UTC)
ADMIN = Caller(CallerRole.ADMIN, new_id())
DEAD_LETTERS = f"{ORDER_EVENTS}.dlq"


class Sink:
    """An SMTP server that can be away, and can refuse recipients."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.refuse_with: str | None = None
        self._mailbox = Mailbox(folder)
        self._server: asyncio.Server | None = None
        self._connections: list[SMTP] = []

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's
        self, server: SMTP, session: Session, envelope: Envelope, recipient: str, options: list[str]
    ) -> str:
        if self.refuse_with is not None:
            return f"{self.refuse_with} <{recipient}> is not wanted here"
        envelope.rcpt_tos.append(recipient)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        return await self._mailbox.handle_DATA(server, session, envelope)

    async def open(self) -> None:
        self._server = await asyncio.get_running_loop().create_server(self._connection, "127.0.0.1", self.port)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            if connection.transport is not None:
                connection.transport.close()

    def _connection(self) -> SMTP:
        self._connections.append(SMTP(self, hostname="sink.example.test", loop=asyncio.get_running_loop()))
        return self._connections[-1]

    def to(self, email: str) -> list[Message]:
        return list(self._mailbox.all(to=email))


@asynccontextmanager
async def running(part: ComponentRunner, settings: Settings) -> AsyncIterator[None]:
    lifecycle = Lifecycle(asyncio.Event())
    task = asyncio.ensure_future(part(settings, lifecycle))
    started = asyncio.create_task(lifecycle.started.wait())
    await asyncio.wait({task, started}, return_when=asyncio.FIRST_COMPLETED, timeout=20)
    started.cancel()
    try:
        yield
    finally:
        lifecycle.stopping.set()
        await task


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110 - what is waited for happens in another process
            await asyncio.sleep(0.02)


class World:
    """Everything around the notification service, and what a test says to it."""

    def __init__(self, settings: Settings, broker: Broker, sink: Sink, database: Database, users: Database) -> None:
        self.settings = settings
        self.users = users
        self.broker = broker
        self.sink = sink
        self.database = database

    async def register(self, *, name: str = "Ada Byron", confirmed: bool = True) -> tuple[str, str]:
        """A new customer: id and e-mail."""
        email = f"customer-{new_id()}@example.test"
        async with open_callers(Part.USER, self.settings.user_address) as channel:
            answer = await call(
                UserServiceStub(channel).RegisterUser,
                RegisterUserRequest(email=email, password="correct horse battery", name=name),
                caller=ANONYMOUS,
                deadline=10,
            )
        if confirmed:
            async with self.users.autocommit() as connection:
                await connection.execute("UPDATE users SET confirmed_at = now() WHERE id = %(id)s", id=answer.user.id)
        return answer.user.id, email

    async def create_product(self, name: str) -> str:
        async with open_callers(Part.PRODUCT, self.settings.product_address) as channel:
            answer = await call(
                ProductServiceStub(channel).CreateProduct,
                CreateProductRequest(name=name, unit_price=1250, currency="EUR"),
                caller=ADMIN,
                deadline=10,
            )
        return answer.product.id

    async def publish(
        self, event: OrderTransitioned, *, seq: int, value: bytes | None = None, kind: str | None = None
    ) -> None:
        """Put an event of an order into Kafka; of the kind that mirrors its status, unless it is given."""
        headers = EventHeaders(
            id=f"order:{event.order_id}:{seq}",
            type=kind or EVENT_TYPES[OrderStatus(event.to_status)],
            source="/ordersaga/order",
            subject=event.order_id,
            seq=seq,
            traceparent=event_traceparent(cause_id=event.order_id, event_id=f"order:{event.order_id}:{seq}"),
            time=AT,
        )
        publisher = Publisher(self.settings)
        await publisher.send_one(
            topic=ORDER_EVENTS,
            key=event.order_id.encode(),
            value=MessageToJson(event).encode() if value is None else value,
            headers=headers.to_kafka(),
        )
        await publisher.close()

    async def publish_account_events(self, user_id: str) -> None:
        """Put all events of an account into Kafka, as the relay does."""
        rows = await fetch_rows(
            self.users, "SELECT ce_id, ce_type, ce_seq, data FROM outbox WHERE key = %(id)s ORDER BY id", id=user_id
        )
        publisher = Publisher(self.settings)
        for event_id, kind, seq, data in rows:
            headers = EventHeaders(
                id=event_id,
                type=kind,
                source="/ordersaga/user",
                subject=user_id,
                seq=seq,
                traceparent=event_traceparent(cause_id=user_id, event_id=event_id),
                time=AT,
            )
            await publisher.send_one(
                topic=USER_EVENTS, key=user_id.encode(), value=data.encode(), headers=headers.to_kafka()
            )
        await publisher.close()

    async def mails_to(self, email: str, *, at_least: int) -> list[Message]:
        """The mails to an address, once there are so many."""

        async def enough() -> bool:
            return len(self.sink.to(email)) >= at_least

        await until(enough)
        return self.sink.to(email)

    async def account(self, method: str, request: Any, caller: Caller = ANONYMOUS) -> Any:
        """Call the user service."""
        async with open_callers(Part.USER, self.settings.user_address) as channel:
            return await call(getattr(UserServiceStub(channel), method), request, caller=caller, deadline=10)

    async def notifications(self, order_id: str) -> list[tuple[str, str, int | None]]:
        """Template, status and number of an order's mails."""
        return await fetch_rows(
            self.database,
            "SELECT template, status, seq FROM notifications WHERE order_id = %(id)s ORDER BY order_seq",
            id=order_id,
        )

    async def outbox(self, order_id: str) -> list[tuple[str, str]]:
        return await fetch_rows(
            self.database,
            "SELECT ce_id, ce_type FROM outbox WHERE key = %(id)s AND topic = 'notification-events' ORDER BY id",
            id=order_id,
        )

    async def stored(self) -> str:
        """Everything in the tables, as text."""
        rows = await fetch_rows(
            self.database, "SELECT n::text FROM notifications n UNION ALL SELECT o::text FROM outbox o"
        )
        return "\n".join(row[0] for row in rows)


def event_of(
    *, user_id: str, product_id: str, status: OrderStatus, order_id: str, reason: str = ""
) -> OrderTransitioned:
    event = OrderTransitioned(
        order_id=order_id,
        user_id=user_id,
        to_status=status,
        reason=reason,
        currency="EUR",
        total=2500,
        lines=[OrderedLine(product_id=product_id, quantity=2, unit_price=1250)],
    )
    event.at.FromDatetime(AT)
    event.payment_deadline.FromDatetime(AT)
    return event


def refund_of(paid: OrderTransitioned, *, amount: int, refunded: int, status: OrderStatus) -> OrderTransitioned:
    event = OrderTransitioned(refund_id=new_id(), refund_amount=amount, refunded=refunded)
    event.MergeFrom(paid)
    event.to_status = status
    return event


@pytest.fixture(scope="module")
def signing_key() -> SecretStr:
    key = Ed25519PrivateKey.generate()
    return SecretStr(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


@pytest.fixture(scope="module", params=BROKERS)
def cluster(request: pytest.FixtureRequest) -> KafkaCluster | None:
    return cluster_of(request)


@pytest_asyncio.fixture(scope="module")
async def world(
    databases: Mapping[str, str],
    signing_key: SecretStr,
    cluster: KafkaCluster | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("notification")
    sink = Sink(folder / "mails")
    broker = broker_on(cluster, folder / "kafka.log")
    addresses = {part: address(free_port()) for part in ("user", "product", "notification")}
    settings = Settings(
        **tls_settings(),
        user_address=addresses["user"],
        user_listen=addresses["user"],
        product_address=addresses["product"],
        product_listen=addresses["product"],
        notification_address=addresses["notification"],
        notification_listen=addresses["notification"],
        user_dsn=SecretStr(databases["user"]),
        product_dsn=SecretStr(databases["product"]),
        notification_dsn=SecretStr(databases["notification"]),
        jwt_private_key=signing_key,
        **broker.settings,
        kafka_session_timeout_ms=2_000 if cluster is None else 6_000,
        smtp_port=sink.port,
        shutdown_grace=1,
    )
    await broker.start()
    await sink.open()
    database = Database(databases["notification"], pool_size=2)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running(user.run, settings))
        await stack.enter_async_context(running(product.run, settings))
        await stack.enter_async_context(running(notification.run, settings))
        users = Database(databases["user"], pool_size=2)
        stack.push_async_callback(users.close)
        world = World(settings, broker, sink, database, users)
        yield world
    sink.close()
    await database.close()
    if cluster is None:
        await broker.stop()


@pytest.fixture(autouse=True)
def _willing_sink(world: World) -> Iterator[None]:
    yield
    world.sink.refuse_with = None


async def test_a_paid_order_is_mailed_to_the_customers_address_with_its_lines(world: World) -> None:
    user_id, email = await world.register()
    cup, order_id = await world.create_product("Cup, blue"), new_id()

    await world.publish(event_of(user_id=user_id, product_id=cup, status=OrderStatus.PAID, order_id=order_id), seq=3)
    await until(lambda: _has_outbox(world, order_id, 1))

    [mail] = world.sink.to(email)
    assert mail.message_id == f"<order-{order_id}-3@ordersaga>"
    assert mail.sender == "Ordersaga <orders@example.test>"
    assert mail.subject == "Your receipt: we received 25.00 EUR"
    assert mail.text is not None
    assert mail.html is not None
    assert "Hello Ada Byron," in mail.text
    assert "2 x Cup, blue\n    12.50 EUR each, 25.00 EUR" in mail.text
    assert "Cup, blue" in mail.html
    assert await world.notifications(order_id) == [("order_paid", "SENT", 1)]
    assert await world.outbox(order_id) == [(f"notification:{order_id}:1", "notification.sent")]


async def test_no_address_or_name_is_stored(world: World) -> None:
    # a name of its own: other tests leave messages in these tables, and what people wrote in them
    name = f"Ada {new_id()}"
    user_id, email = await world.register(name=name)
    order_id = new_id()

    await world.publish(
        event_of(user_id=user_id, product_id=new_id(), status=OrderStatus.PAID, order_id=order_id), seq=3
    )
    await until(lambda: _has_outbox(world, order_id, 1))

    assert name in (world.sink.to(email)[0].text or "")
    stored = await world.stored()
    assert order_id in stored
    assert email not in stored
    assert name not in stored


async def test_a_field_that_is_newer_than_the_service_is_no_obstacle(world: World) -> None:
    user_id, email = await world.register()
    order_id = new_id()
    paid = event_of(user_id=user_id, product_id=new_id(), status=OrderStatus.PAID, order_id=order_id)
    newer = {**json.loads(MessageToJson(paid)), "newer": "than we"}

    await world.publish(paid, seq=3, value=json.dumps(newer).encode())
    await until(lambda: _has_outbox(world, order_id, 1))

    assert len(world.sink.to(email)) == 1


async def test_an_orders_mails_come_in_the_order_of_its_events_and_none_for_order_received(world: World) -> None:
    user_id, email = await world.register()
    cup, order_id = await world.create_product("Cup"), new_id()

    for seq, status in enumerate((OrderStatus.RECEIVED, OrderStatus.PENDING, OrderStatus.PAID), start=1):
        await world.publish(event_of(user_id=user_id, product_id=cup, status=status, order_id=order_id), seq=seq)
    await until(lambda: _has_outbox(world, order_id, 2))

    assert [mail.subject for mail in world.sink.to(email)] == [
        "Your order: set aside until 22 November 2026, 09:05 UTC",
        "Your receipt: we received 25.00 EUR",
    ]
    assert await world.outbox(order_id) == [
        (f"notification:{order_id}:1", "notification.sent"),
        (f"notification:{order_id}:2", "notification.sent"),
    ]


async def test_each_refund_of_an_order_is_a_mail_of_its_own_in_the_order_of_its_events(world: World) -> None:
    user_id, email = await world.register()
    cup, order_id = await world.create_product("Cup"), new_id()
    paid = event_of(user_id=user_id, product_id=cup, status=OrderStatus.PAID, order_id=order_id)
    part = refund_of(paid, amount=500, refunded=500, status=OrderStatus.PARTIALLY_REFUNDED)
    same_again = refund_of(paid, amount=500, refunded=1_000, status=OrderStatus.PARTIALLY_REFUNDED)
    rest = refund_of(paid, amount=1_500, refunded=2_500, status=OrderStatus.REFUNDED)
    taken_back = refund_of(paid, amount=1_500, refunded=1_000, status=OrderStatus.PARTIALLY_REFUNDED)

    await world.publish(paid, seq=3)
    for seq, event in enumerate((part, same_again, rest), start=4):
        await world.publish(event, seq=seq, kind=REFUNDED_EVENT)
    await world.publish(taken_back, seq=7, kind=REFUND_FAILED_EVENT)
    await world.publish(same_again, seq=5, kind=REFUNDED_EVENT)  # comes again
    await until(lambda: _has_outbox(world, order_id, 5))

    mails = world.sink.to(email)
    assert [(mail.message_id, mail.subject) for mail in mails] == [
        (f"<order-{order_id}-3@ordersaga>", "Your receipt: we received 25.00 EUR"),
        (f"<order-{order_id}-4@ordersaga>", "Your refund: we have given 5.00 EUR back to you"),
        (f"<order-{order_id}-5@ordersaga>", "Your refund: we have given 5.00 EUR back to you"),
        (f"<order-{order_id}-6@ordersaga>", "Your refund: we have given 15.00 EUR back to you"),
        (f"<order-{order_id}-7@ordersaga>", "Your refund of 15.00 EUR did not reach you"),
    ]
    assert "So far, 10.00 EUR of the\n25.00 EUR" in (mails[2].text or "")
    assert "refunded in full" in (mails[3].text or "")
    assert [row[:2] for row in await world.notifications(order_id)] == [
        ("order_paid", "SENT"),
        *[("order_refunded", "SENT")] * 3,
        ("order_refund_failed", "SENT"),
    ]


async def test_an_event_that_comes_again_is_mailed_once(world: World) -> None:
    user_id, email = await world.register()
    order_id = new_id()
    paid = event_of(user_id=user_id, product_id=new_id(), status=OrderStatus.PAID, order_id=order_id)

    for _ in range(3):
        await world.publish(paid, seq=3)
    await _everything_before_is_handled(world, order_id, user_id)

    assert [mail.message_id for mail in world.sink.to(email)] == [
        f"<order-{order_id}-3@ordersaga>",
        f"<order-{order_id}-4@ordersaga>",
    ]


async def test_mails_wait_while_the_smtp_relay_is_away(world: World) -> None:
    user_id, email = await world.register()
    order_id = new_id()
    world.sink.close()

    await world.publish(
        event_of(
            user_id=user_id, product_id=new_id(), status=OrderStatus.FAILED, order_id=order_id, reason="OUT_OF_STOCK"
        ),
        seq=2,
    )
    await until(lambda: _was_tried(world, order_id))
    assert await world.notifications(order_id) == [("order_failed", "PENDING", None)]
    await world.sink.open()
    await until(lambda: _has_outbox(world, order_id, 1))

    [mail] = world.sink.to(email)
    assert mail.text is not None
    assert "There is not enough left in stock of a product in your order." in mail.text
    assert await world.notifications(order_id) == [("order_failed", "SENT", 1)]


async def test_a_4xx_answer_delays_a_mail(world: World) -> None:
    user_id, email = await world.register()
    order_id = new_id()
    world.sink.refuse_with = "451"

    await world.publish(
        event_of(user_id=user_id, product_id=new_id(), status=OrderStatus.PAID, order_id=order_id), seq=3
    )
    await until(lambda: _was_tried(world, order_id))
    world.sink.refuse_with = None
    await until(lambda: _has_outbox(world, order_id, 1))

    assert len(world.sink.to(email)) == 1


async def test_a_5xx_answer_fails_a_mail_for_good_with_an_event(world: World) -> None:
    user_id, email = await world.register()
    order_id = new_id()
    world.sink.refuse_with = "550"

    await world.publish(
        event_of(user_id=user_id, product_id=new_id(), status=OrderStatus.CANCELLED, order_id=order_id), seq=3
    )
    await until(lambda: _has_outbox(world, order_id, 1))

    assert await world.notifications(order_id) == [("order_cancelled", "FAILED", 1)]
    assert await world.outbox(order_id) == [(f"notification:{order_id}:1", "notification.failed")]
    assert email not in await world.stored()


async def test_an_unknown_customer_fails_the_mail(world: World) -> None:
    order_id = new_id()

    await world.publish(
        event_of(user_id=new_id(), product_id=new_id(), status=OrderStatus.PAID, order_id=order_id), seq=3
    )
    await until(lambda: _has_outbox(world, order_id, 1))

    assert await world.notifications(order_id) == [("order_paid", "FAILED", 1)]


async def test_a_record_that_is_no_event_goes_to_the_dead_letters_and_the_next_one_is_handled(world: World) -> None:
    user_id, _ = await world.register()
    order_id = new_id()
    bad = event_of(user_id=user_id, product_id=new_id(), status=OrderStatus.PAID, order_id=order_id)

    await world.publish(bad, seq=3, value=b"\xff not json")
    await _everything_before_is_handled(world, order_id, user_id)

    async with AIOKafkaConsumer(
        DEAD_LETTERS, **kafka_options(world.settings), auto_offset_reset="earliest"
    ) as consumer:
        async with asyncio.timeout(10):
            record = await consumer.getone()
    headers = dict(record.headers)
    assert record.key == order_id.encode()
    assert record.value == b"\xff not json"
    assert headers["ce_id"] == f"order:{order_id}:3".encode()
    assert headers["dlq_reason"] == b"the data is not the JSON of an OrderTransitioned"
    assert headers["dlq_topic"] == ORDER_EVENTS.encode()


async def test_the_service_answers_health_checks(world: World) -> None:
    async with open_callers(Part.NOTIFICATION, world.settings.notification_address) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=HealthCheckRequest.SerializeToString,
            response_deserializer=HealthCheckResponse.FromString,
        )
        answer = await check(HealthCheckRequest(), timeout=5)

    assert answer.status == HealthCheckResponse.SERVING


async def test_a_rebuilt_topic_mails_nobody_twice_and_new_events_come_through(world: World) -> None:
    user_id, email = await world.register()
    order_id = new_id()
    pending = event_of(user_id=user_id, product_id=new_id(), status=OrderStatus.PENDING, order_id=order_id)
    await world.publish(pending, seq=2)
    await until(lambda: _has_outbox(world, order_id, 1))

    await world.broker.stop()
    await world.broker.start()
    await world.publish(pending, seq=2)
    await _everything_before_is_handled(world, order_id, user_id)

    assert [mail.message_id for mail in world.sink.to(email)] == [
        f"<order-{order_id}-2@ordersaga>",
        f"<order-{order_id}-4@ordersaga>",
    ]
    assert await _partitions(world.settings) == PARTITIONS


async def _everything_before_is_handled(world: World, order_id: str, user_id: str) -> None:
    """Send one more event of the order and wait for its mail: what came before it in its partition is dealt with."""
    await world.publish(
        event_of(user_id=user_id, product_id=new_id(), status=OrderStatus.CANCELLED, order_id=order_id), seq=4
    )

    async def is_sent() -> bool:
        return ("order_cancelled", "SENT") in {row[:2] for row in await world.notifications(order_id)}

    await until(is_sent)


async def _has_outbox(world: World, order_id: str, count: int) -> bool:
    return len(await world.outbox(order_id)) >= count


async def _was_tried(world: World, order_id: str) -> bool:
    [[attempts]] = await fetch_rows(
        world.database, "SELECT sum(attempts) FROM notifications WHERE order_id = %(id)s", id=order_id
    )
    return (attempts or 0) > 0


async def _partitions(settings: Settings) -> int:
    admin = AIOKafkaAdminClient(**kafka_options(settings))
    await admin.start()
    [described] = await admin.describe_topics([ORDER_EVENTS])
    await admin.close()
    return len(described["partitions"])


def token_in(mail: Message) -> str:
    """The token of the link that a mail carries, which its two forms have alike."""
    assert mail.text is not None
    assert mail.html is not None
    [token] = re.findall(r"^[\w-]{64}$", mail.text, re.MULTILINE)
    assert f"<code>{token}</code>" in mail.html
    return str(token)


async def test_mails_about_orders_wait_until_the_address_is_confirmed_by_the_link_in_the_first_mail(
    world: World,
) -> None:
    user_id, email = await world.register(confirmed=False)
    order_id = new_id()
    await world.publish(
        event_of(user_id=user_id, product_id=new_id(), status=OrderStatus.PAID, order_id=order_id), seq=3
    )
    await world.publish_account_events(user_id)

    [first] = await world.mails_to(email, at_least=1)
    assert first.subject == "Confirm your address"
    assert "Hello," in (first.text or "")  # the name may be somebody's message
    await until(lambda: _is_withheld(world, order_id))
    assert len(world.sink.to(email)) == 1
    await world.account("ConfirmEmail", ConfirmEmailRequest(token=token_in(first)))
    await world.publish_account_events(user_id)

    [_, receipt] = await world.mails_to(email, at_least=2)
    assert receipt.subject.startswith("Your receipt")
    await until(lambda: _has_outbox(world, order_id, 1))
    assert await world.notifications(order_id) == [("order_paid", "SENT", 1)]


async def test_a_token_is_in_its_mail_alone(world: World) -> None:
    user_id, email = await world.register(confirmed=False)
    await world.publish_account_events(user_id)
    [mail] = await world.mails_to(email, at_least=1)
    token = token_in(mail)

    users = await fetch_rows(world.users, "SELECT l::text FROM account_links l UNION ALL SELECT o::text FROM outbox o")

    assert token not in await world.stored()
    assert token not in "\n".join(row[0] for row in users)


async def test_a_forgotten_password_is_chosen_anew_by_the_link_in_a_mail_and_the_account_is_told(world: World) -> None:
    user_id, email = await world.register()
    await world.account("RequestPasswordReset", RequestPasswordResetRequest(email=email))
    await until(lambda: _has_account_event(world, user_id, "user.password_reset_requested"))
    await world.publish_account_events(user_id)
    mails = await world.mails_to(email, at_least=2)
    [reset] = [mail for mail in mails if mail.subject == "Choose a new password"]

    request = ResetPasswordRequest(token=token_in(reset), password="battery staple")
    await world.account("ResetPassword", request)
    await world.publish_account_events(user_id)

    told = (await world.mails_to(email, at_least=3))[-1]
    assert told.subject == "Your password was changed"
    assert "Hello Ada Byron," in (told.text or "")


async def test_a_new_address_counts_once_it_is_confirmed_and_the_old_one_is_told(world: World) -> None:
    user_id, email = await world.register()
    another = f"another-{new_id()}@example.test"
    request = ChangeEmailRequest(current_password="correct horse battery", email=another)
    await world.account("ChangeEmail", request, Caller(CallerRole.CUSTOMER, user_id))
    await world.publish_account_events(user_id)
    [asked] = await world.mails_to(another, at_least=1)

    await world.account("ConfirmEmail", ConfirmEmailRequest(token=token_in(asked)))
    await world.publish_account_events(user_id)

    told = (await world.mails_to(email, at_least=2))[-1]
    assert told.subject == "Your address was changed"
    assert another not in (told.text or "")


async def test_a_link_that_nobody_needs_any_more_is_not_mailed_and_nobody_is_called_for_that(world: World) -> None:
    user_id, email = await world.register(confirmed=False)
    async with world.users.autocommit() as connection:
        await connection.execute("UPDATE account_links SET used_at = now() WHERE user_id = %(id)s", id=user_id)

    await world.publish_account_events(user_id)
    await until(lambda: _has_outbox(world, user_id, 1))

    assert world.sink.to(email) == []
    [(status, dismissed)] = await fetch_rows(
        world.database, "SELECT status, dismissed FROM notifications WHERE user_id = %(id)s", id=user_id
    )
    assert (status, "LINK_NOT_VALID" in dismissed) == ("FAILED", True)


async def _is_withheld(world: World, order_id: str) -> bool:
    rows = await fetch_rows(world.database, "SELECT withheld FROM notifications WHERE order_id = %(id)s", id=order_id)
    return rows == [(True,)]


async def _has_account_event(world: World, user_id: str, kind: str) -> bool:
    rows = await fetch_rows(world.users, "SELECT ce_type FROM outbox WHERE key = %(id)s", id=user_id)
    return (kind,) in rows
