"""`ordersaga events tail`, as it is called, on a broker with events of ours and what others put among them."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message

from cli.events import reading
from cli.events.reading import open_topics
from cli.events.since import parse_since
from domain.events import NOTIFICATION_EVENTS, ORDER_EVENTS, PAYMENT_EVENTS, STOCK_EVENTS
from domain.ids import new_id
from ordersaga.events.v1.notification_events_pb2 import NotificationChanged
from ordersaga.events.v1.order_events_pb2 import OrderedLine, OrderTransitioned
from ordersaga.events.v1.payment_events_pb2 import PaymentChanged
from ordersaga.events.v1.product_events_pb2 import ProductChanged
from ordersaga.events.v1.stock_events_pb2 import StockChanged
from runtime.cloudevents import EventHeaders
from runtime.kafka import Publisher
from runtime.settings import Settings, SettingsError
from sandbox.environment import process_environment
from sandbox.ports import address, free_port
from sandbox.processes import ROOT
from tests.support.brokers import EmbeddedBroker
from tests.support.client import until
from tests.support.command import ordersaga

AT = datetime(2026, 11, 22, 9, 5, tzinfo=UTC)
ORDER, OTHER, PRODUCT, USER = (new_id() for _ in range(4))


def stock(order_id: str) -> StockChanged:
    return StockChanged(product_id=PRODUCT, order_id=order_id, quantity=2, on_hand=8, reserved=2)


EVENTS: list[tuple[str, str, str, Message]] = [
    (
        ORDER_EVENTS,
        ORDER,
        "order.received",
        OrderTransitioned(user_id=USER, to_status="RECEIVED", currency="EUR", lines=[OrderedLine(quantity=2)]),
    ),
    (STOCK_EVENTS, PRODUCT, "stock.reserved", stock(ORDER)),
    (STOCK_EVENTS, PRODUCT, "stock.reserved", stock(OTHER)),
    (
        PAYMENT_EVENTS,
        ORDER,
        "payment.status_updated",
        PaymentChanged(status="SUCCEEDED", amount=2500, amount_received=2500, currency="EUR"),
    ),
    (
        ORDER_EVENTS,
        ORDER,
        "order.paid",
        OrderTransitioned(from_status="PENDING", to_status="PAID", currency="EUR", total=2500),
    ),
    (
        NOTIFICATION_EVENTS,
        ORDER,
        "notification.sent",
        NotificationChanged(channel="email", template="order_paid", status="SENT", user_id=USER),
    ),
]
SAYS_OF_THE_ORDER = [
    f"RECEIVED; 1 line, customer {USER}",
    f"2 units for order {ORDER}; 8 on hand, 2 of them reserved",
    "SUCCEEDED; 25.00 EUR of 25.00 EUR received",
    "PENDING → PAID; 25.00 EUR",
    f"email order_paid: SENT; customer {USER}",
]


async def publish(publisher: Publisher, topic: str, key: str, kind: str, data: Message, *, seq: int) -> None:
    headers = EventHeaders(
        id=f"test:{key}:{seq}",
        type=kind,
        source="/ordersaga/test",
        subject=key,
        seq=seq,
        traceparent="00-1-1-1",
        time=AT + timedelta(seconds=seq),
    )
    value = MessageToJson(data).encode()
    await publisher.send_one(topic=topic, key=key.encode(), value=value, headers=headers.to_kafka())


@pytest_asyncio.fixture(scope="module")
async def settings(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Settings]:
    """Of a broker that has our events, and in `order-events` two foreign records."""
    broker = EmbeddedBroker(tmp_path_factory.mktemp("kafka") / "kafka.log")
    await broker.start()
    settings = Settings(**broker.settings)
    publisher = Publisher(settings)
    for seq, (topic, key, kind, data) in enumerate(EVENTS, start=1):
        await publish(publisher, topic, key, kind, data, seq=seq)
        await asyncio.sleep(0.002)  # a millisecond of its own for each, by which they are sorted
    await publisher.send_one(topic=ORDER_EVENTS, key=b"theirs", value=b"\x1b[2J\xff", headers=[("x", None)])
    await publisher.send_one(topic=ORDER_EVENTS, key=None, value=None, headers=[("ce_specversion", b"0.3")])
    await publisher.close()
    yield settings
    await broker.stop()


async def tail(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command while the broker goes on."""
    environment = process_environment(settings, "events")
    return await asyncio.to_thread(partial(ordersaga, "events", "tail", *arguments, environment=environment))


def says(line: str) -> str:
    """What a line says, behind its columns."""
    return line[110:]


async def test_what_is_stored_is_shown_in_the_order_of_time_whatever_is_among_it(settings: Settings) -> None:
    topics = sorted({topic for topic, *_ in EVENTS})
    shown = await tail(settings, *topics, "--since", "beginning", "--no-follow")

    lines = shown.stdout.splitlines()
    assert (shown.returncode, shown.stderr) == (0, "")
    assert lines[0] == (
        f"2026-11-22 09:05:01Z  order-events         {ORDER}  order.received            1  {SAYS_OF_THE_ORDER[0]}"
    )
    assert [says(line) for line in lines[:6] if OTHER not in line] == SAYS_OF_THE_ORDER
    assert sorted(says(line) for line in lines[6:]) == [
        "FOREIGN: ce_specversion is '0.3', not 1.0: ",
        "FOREIGN: header ce_specversion is missing: \\x1b[2J\\xff",
    ]


async def test_an_order_has_its_stock_its_payment_and_its_mails_and_no_others(settings: Settings) -> None:
    shown = await tail(settings, "--since", "beginning", "--no-follow", "--order", ORDER)

    assert [says(line) for line in shown.stdout.splitlines()] == SAYS_OF_THE_ORDER


@pytest.mark.parametrize(
    ("filters", "types"),
    [
        (["--type", "order.paid"], ["order.paid"]),
        (["--type", "order.*", "--type", "notification.sent"], ["order.received", "order.paid", "notification.sent"]),
        (["--key", PRODUCT], ["stock.reserved", "stock.reserved"]),
        (["stock-events", "--order", OTHER], ["stock.reserved"]),
        (["--key", "theirs"], [None]),
        (["--limit", "1"], ["order.received"]),
        (["--since", "1h", "payment-events"], ["payment.status_updated"]),
    ],
    ids=["type", "types", "key", "order of a topic", "foreign", "limit", "since"],
)
async def test_only_what_is_asked_for_is_shown_as_json(
    settings: Settings, filters: list[str], types: list[str | None]
) -> None:
    arguments = filters if "--since" in filters else ["--since", "beginning", *filters]

    shown = await tail(settings, "--no-follow", "--json", *arguments)

    assert [json.loads(line).get("type") for line in shown.stdout.splitlines()] == types


async def test_json_has_all_of_an_event_and_says_of_a_foreign_record_what_it_lacks(settings: Settings) -> None:
    shown = await tail(settings, "order-events", "--since", "beginning", "--no-follow", "--json")

    events = {event["key"]: event for event in map(json.loads, shown.stdout.splitlines())}
    paid = events[ORDER]
    assert (paid["id"], paid["seq"], paid["source"]) == (f"test:{ORDER}:5", 5, "/ordersaga/test")
    assert (paid["time"], paid["data"]["toStatus"]) == ("2026-11-22T09:05:05Z", "PAID")
    assert events["theirs"]["foreign"] == "header ce_specversion is missing"
    assert events["theirs"]["value"] == "\x1b[2J\\xff"


async def test_it_follows_until_ctrl_c_and_then_ends_in_one_line(settings: Settings) -> None:
    command = [sys.executable, "-m", "cli.main", "events", "tail", "product-events", "--since", "beginning"]
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env=process_environment(settings, "events"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.timeout(60):
        assert await process.stderr.readline() == b"(all that is there is shown; Ctrl-C ends)\n"
        publisher = Publisher(settings)
        product = ProductChanged(name="Mug", unit_price=1250, currency="EUR", active=True)
        await publish(publisher, "product-events", new_id(), "product.created", product, seq=1)
        await publisher.close()
        line = (await process.stdout.readline()).decode().rstrip()
        process.send_signal(signal.SIGINT)
        out, error = await process.communicate()

    assert says(line) == "Mug, 12.50 EUR"
    assert (process.returncode, out, error) == (130, b"", b"Interrupted.\n")


async def test_whoever_reads_it_may_stop(settings: Settings) -> None:
    tail = f"{sys.executable} -m cli.main events tail --since beginning --no-follow"
    command = f"{tail} | head -n 1; echo ${{PIPESTATUS[0]}}"
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", command),
        cwd=ROOT,
        env=process_environment(settings, "events"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate()

    assert (len(out.splitlines()), out.splitlines()[-1], error) == (2, b"0", b"")


@pytest.mark.parametrize(
    ("arguments", "changes", "code", "said"),
    [
        (["returns"], {}, 2, "there is no topic returns of ours; these are: order-events, "),
        (["--since", "soon"], {}, 2, "--since: 'soon' is neither a span of time (90s, 10m, 2h, 7d), nor a time"),
        ([], {"kafka_ca_file": Path("/nowhere"), "kafka_security_protocol": "SSL"}, 2, "ORDERSAGA_KAFKA_CA_FILE: /now"),
        ([], {"kafka_bootstrap": address(free_port())}, 3, "Kafka: 127.0.0.1:"),
    ],
    ids=["topic", "since", "setting", "nobody there"],
)
async def test_what_is_wrong_is_said_in_one_line_and_told_apart_by_the_exit_code(
    settings: Settings, arguments: list[str], changes: Mapping[str, object], code: int, said: str
) -> None:
    shown = await tail(settings.model_copy(update=dict(changes)), *arguments)

    assert (shown.returncode, shown.stdout, len(shown.stderr.splitlines())) == (code, "", 1)
    assert shown.stderr.startswith(said)


async def test_a_topic_that_is_missing_is_named_and_not_made(settings: Settings) -> None:
    async def ask() -> None:
        async with open_topics(settings, ["order-events", "returns"], since=None):
            pass

    with pytest.raises(Exception, match="Kafka: topic returns is missing; run `ordersaga setup kafka`"):
        await ask()
    with pytest.raises(Exception, match="topic returns is missing"):
        await ask()


async def test_a_broker_that_goes_away_is_named_and_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_LOOK_SECONDS", 0.1)
    broker, said = EmbeddedBroker(tmp_path / "kafka.log"), list[str]()
    await broker.start()
    async with open_topics(Settings(**broker.settings), [ORDER_EVENTS], since=None) as reader:
        following = asyncio.ensure_future(anext(reader.following(said.append)))
        await broker.stop()
        await until(lambda: _last(said), lambda last: "nobody listens there" in last)
        await broker.start()
        await until(lambda: _last(said), lambda last: last == "")
        publisher = Publisher(Settings(**broker.settings))
        await publisher.send_one(topic=ORDER_EVENTS, key=b"1", value=b"later", headers=[])
        await publisher.close()
        async with asyncio.timeout(30):
            record = await following
    await broker.stop()

    assert record.value == b"later"


async def _last(said: list[str]) -> str:
    return said[-1] if said else "(nothing)"


NOW = datetime(2026, 11, 30, 3, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("beginning", datetime.fromtimestamp(0, UTC)),
        ("90s", NOW - timedelta(seconds=90)),
        ("10m", NOW - timedelta(minutes=10)),
        ("7d", NOW - timedelta(days=7)),
        ("2026-11-30T02:00", NOW - timedelta(hours=1)),
        ("2026-11-30 03:00+01:00", NOW - timedelta(hours=1)),
        ("2026-11-29", NOW - timedelta(hours=27)),
    ],
)
def test_since_is_a_span_or_a_moment(text: str, moment: datetime) -> None:
    assert parse_since(text, now=NOW) == moment


@pytest.mark.parametrize("text", ["", "10", "10 minutes", "m", "-5m", "2026-11-30T04:00", "yesterday"])
def test_since_refuses_what_it_does_not_understand_and_what_is_to_come(text: str) -> None:
    with pytest.raises(SettingsError, match="--since: "):
        parse_since(text, now=NOW)
