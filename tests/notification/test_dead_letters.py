"""Records that the consumer refuses: kept, listed, tried again and dealt with by operators, by the command they use."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from google.protobuf.json_format import MessageToJson
from pydantic import SecretStr

from domain.concerns import ConcernKind
from domain.events import ORDER_EVENTS
from domain.ids import new_id
from ordersaga.events.v1.order_events_pb2 import OrderTransitioned
from ordersaga.notification.v1 import dead_letters_pb2 as dl
from ordersaga.notification.v1.notification_pb2_grpc import NotificationServiceStub
from runtime.caller import SERVICE
from runtime.cloudevents import EventHeaders
from runtime.database import Database, DatabaseAway
from runtime.dead_letters import DeadLetter
from runtime.identity import Part
from runtime.kafka import Publisher
from runtime.kafka_connection import kafka_options
from runtime.on_call import Concern
from runtime.process import Lifecycle
from runtime.refusal import CallRefused
from runtime.rpc_client import call, open_channel
from runtime.settings import Settings
from sandbox.environment import process_environment
from sandbox.ports import address, free_port
from services.notification import intake
from services.notification import server as notification
from services.notification.bootstrap import NotificationComponents, bootstrap
from services.notification.dead_letters.model import Place
from services.notification.model import DeadLetterStatus
from tests.support.brokers import BROKERS, Broker, broker_on, cluster_of
from tests.support.client import until
from tests.support.command import ordersaga
from tests.support.identities import credentials, tls_settings
from tests.support.real.kafka import KafkaCluster
from tests.support.rows import fetch_rows

FIXED = "fixed in 0.3.1"


@dataclass(kw_only=True)
class World:
    """The notification service with its broker and database, and what a test says to it."""

    settings: Settings
    broker: Broker
    database: Database
    components: NotificationComponents

    async def publish(self, order_id: str, *, value: bytes | None = None) -> None:
        """A paid order's event, or something else as one."""
        event = OrderTransitioned(order_id=order_id, user_id=new_id(), to_status="PAID", currency="EUR", total=2500)
        headers = EventHeaders(
            id=f"order:{order_id}:3",
            type="order.paid",
            source="/ordersaga/order",
            subject=order_id,
            seq=3,
            traceparent="00-1-1-1",
            time=datetime.now(UTC),
        )
        publisher = Publisher(self.settings)
        await publisher.send_one(
            topic=ORDER_EVENTS,
            key=order_id.encode(),
            value=MessageToJson(event).encode() if value is None else value,
            headers=[*headers.to_kafka(), ("x-nothing", None)],
        )
        await publisher.close()

    async def dlq(self, *arguments: str, **changes: object) -> subprocess.CompletedProcess[str]:
        """Run the command as an operator."""
        environment = process_environment(self.settings.model_copy(update=changes), "operator")
        return await asyncio.to_thread(partial(ordersaga, "dlq", *arguments, environment=environment))

    async def letters(self, *arguments: str) -> list[dict[str, Any]]:
        """What `dlq list --json` says."""
        listed: list[dict[str, Any]] = json.loads((await self.dlq("list", "--json", *arguments)).stdout)
        return listed

    async def refused(self, *, at_least: int = 1) -> list[str]:
        """The ids of the open ones, once there are so many."""
        statement = "SELECT topic || '/' || partition || '/' || record_offset FROM dead_letters WHERE status = 'OPEN'"
        rows = await until(lambda: fetch_rows(self.database, statement), lambda rows: len(rows) >= at_least)
        return [letter_id for (letter_id,) in rows]

    async def mails(self, order_id: str) -> int:
        """How many mails the order's events have made due."""
        statement = "SELECT count(*) FROM notifications WHERE order_id = %(id)s"
        return int((await fetch_rows(self.database, statement, id=order_id))[0][0])


@pytest.fixture(scope="module", params=BROKERS)
def cluster(request: pytest.FixtureRequest) -> KafkaCluster | None:
    return cluster_of(request)


@pytest_asyncio.fixture(scope="module")
async def running_world(
    databases: Mapping[str, str], cluster: KafkaCluster | None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    """Nobody is there whom mails could be sent by: they stay due."""
    broker = broker_on(cluster, tmp_path_factory.mktemp("kafka") / "kafka.log")
    await broker.start()
    listen = address(free_port())
    settings = Settings(
        **tls_settings(),
        **broker.settings,
        notification_dsn=SecretStr(databases["notification"]),
        notification_listen=listen,
        notification_address=listen,
        kafka_session_timeout_ms=2_000 if cluster is None else 6_000,
        shutdown_grace=1,
    )
    database, lifecycle = Database(databases["notification"], pool_size=2), Lifecycle(asyncio.Event())
    started: list[NotificationComponents] = []

    @asynccontextmanager
    async def bootstrap_openly(given: Settings) -> AsyncIterator[NotificationComponents]:
        async with bootstrap(given) as components:
            started.append(components)
            yield components

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(notification, "bootstrap", bootstrap_openly)
        served = asyncio.create_task(notification.run(settings, lifecycle))
        await lifecycle.started.wait()
    yield World(settings=settings, broker=broker, database=database, components=started[0])
    lifecycle.stopping.set()
    await served
    await database.close()
    if cluster is None:
        await broker.stop()


@pytest_asyncio.fixture
async def world(running_world: World) -> AsyncIterator[World]:
    """The same, without what others left, on a broker that has had other tests before."""
    await clear(running_world)
    yield running_world
    await clear(running_world)


async def clear(world: World) -> None:
    """Let the consumer reach the end of its topics, and forget what it refused."""
    await until(world.components.consumer.standing, lambda standing: standing.waiting == 0)
    async with world.database.autocommit() as connection:
        await connection.execute("DELETE FROM dead_letter_actions")
        await connection.execute("DELETE FROM dead_letters")


@pytest.fixture
def defect(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The consumer's code is wrong until this is undone."""

    def raise_secret(record: ConsumerRecord) -> None:
        raise KeyError("secret of the record")

    with monkeypatch.context() as planted:
        planted.setattr(intake, "to_order_event", raise_secret)
        yield planted


async def test_a_letter_says_all_that_a_person_has_to_know(world: World) -> None:
    order_id = new_id()

    await world.publish(order_id, value=b'{"orderId": 7')
    [letter_id] = await world.refused()
    listed, shown = await world.dlq("list"), await world.dlq("show", letter_id)
    letter = json.loads((await world.dlq("show", letter_id, "--json")).stdout)

    assert letter_id.startswith(f"{ORDER_EVENTS}/")
    assert (listed.returncode, shown.returncode) == (1, 1)
    assert [word in listed.stdout for word in (letter_id, order_id, "order.paid", "1 open")] == [True] * 4
    assert "by consumer notification" in shown.stdout
    assert 'value      {"orderId": 7' in shown.stdout
    assert f"ordersaga dlq retry {letter_id}" in shown.stdout
    assert (letter["state"], letter["key"], letter["actions"]) == ("OPEN", order_id, [])
    assert letter["reason"] == "the data is not the JSON of an OrderTransitioned"
    assert letter["event"] == {"id": f"order:{order_id}:3", "type": "order.paid", "seq": 3}
    assert letter["value"] == '{"orderId": 7'


async def test_the_record_in_the_topic_of_dead_letters_says_it_too(world: World) -> None:
    order_id = new_id()

    await world.publish(order_id, value=b"\xff")
    [letter_id] = await world.refused()
    async with AIOKafkaConsumer(
        f"{ORDER_EVENTS}.dlq", **kafka_options(world.settings), auto_offset_reset="earliest"
    ) as consumer:
        async with asyncio.timeout(30):
            while (record := await consumer.getone()).key != order_id.encode():
                pass
    headers = dict(record.headers)

    places = [headers[f"dlq_{name}"].decode() for name in ("topic", "partition", "offset")]
    assert "/".join(places) == letter_id
    assert (record.value, headers["ce_type"], headers["dlq_group"]) == (b"\xff", b"order.paid", b"notification")
    assert headers["dlq_reason"] == b"the data is not the JSON of an OrderTransitioned"
    written, refused = (datetime.fromisoformat(headers[f"dlq_{name}"].decode()) for name in ("timestamp", "refused_at"))
    assert written <= refused <= datetime.now(UTC)


async def test_what_a_defect_refused_has_its_effect_once_when_it_is_retried_after_the_fix(
    world: World, defect: pytest.MonkeyPatch
) -> None:
    order_id = new_id()
    await world.publish(order_id)
    [letter_id] = await world.refused()

    too_early = await world.dlq("retry", letter_id, "--note", "perhaps")
    defect.undo()
    dry = await world.dlq("retry", "--all", "--dry-run")
    before = await world.mails(order_id)
    at_once = await asyncio.gather(*(world.dlq("retry", letter_id, "--note", FIXED) for _ in range(2)))
    again = await world.dlq("retry", letter_id)
    listed, shown = await world.dlq("list"), await world.dlq("show", letter_id)

    assert too_early.returncode == 1
    assert 'retried by operator:sandbox "perhaps": refused again: KeyError in test_dead_letters.py:' in too_early.stdout
    assert "secret" not in shown.stdout
    assert (dry.returncode, dry.stdout, before) == (0, f"{letter_id}: would be tried again\n", 0)
    assert [done.returncode for done in (*at_once, again)] == [0, 0, 0]
    assert again.stdout.startswith(f"{letter_id}: closed already: ")
    assert await world.mails(order_id) == 1
    assert shown.stdout.count(f'retried by operator:sandbox "{FIXED}"') == 1
    assert (listed.returncode, listed.stdout) == (0, "No dead letter waits for a person.\n")


async def test_many_retries_at_once_have_one_effect_and_one_of_them_is_kept(world: World) -> None:
    order_id = new_id()
    event = OrderTransitioned(order_id=order_id, user_id=new_id(), to_status="PAID", currency="EUR", total=2500)
    headers = EventHeaders(
        id=f"order:{order_id}:3",
        type="order.paid",
        source="/ordersaga/order",
        subject=order_id,
        seq=3,
        traceparent="00-1-1-1",
        time=datetime.now(UTC),
    )
    refused = replace(letter(offset=3), value=MessageToJson(event).encode(), headers=tuple(headers.to_kafka()))
    await keep(world, refused)
    place = Place(topic=ORDER_EVENTS, partition=0, offset=3)

    done = await asyncio.gather(
        *(world.components.dead_letters.retry(place, actor=f"operator:{number}", note="") for number in range(8))
    )

    [actor] = [stored.actions[-1].actor for stored, acted in done if acted]
    assert {(stored.status, stored.actions[0].actor, len(stored.actions)) for stored, _ in done} == {
        (DeadLetterStatus.RETRIED, actor, 1)
    }
    assert await world.mails(order_id) == 1


async def test_what_is_resolved_is_no_longer_open_and_says_who_did_it_and_why(world: World) -> None:
    await world.publish(new_id(), value=b"theirs")
    [letter_id] = await world.refused()

    resolved = await world.dlq("resolve", letter_id, "--note", "another team's test")
    again = await world.dlq("resolve", letter_id)
    retried = await world.dlq("retry", letter_id)

    assert [done.returncode for done in (resolved, again, retried)] == [0, 0, 0]
    assert await world.letters() == []
    [letter] = await world.letters("--all")
    [action] = letter["actions"]
    assert (letter["id"], letter["state"]) == (letter_id, "RESOLVED")
    assert (action["action"], action["actor"], action["note"]) == ("RESOLVE", "operator:sandbox", "another team's test")


async def test_all_that_are_open_are_tried_whatever_becomes_of_each(world: World, defect: pytest.MonkeyPatch) -> None:
    order_id = new_id()
    await world.publish(order_id)
    await world.refused()
    await world.publish(new_id(), value=b"theirs")
    ids = await world.refused(at_least=2)
    defect.undo()

    done = await world.dlq("retry", "--all", "--note", FIXED)

    assert (done.returncode, len(done.stdout.splitlines())) == (1, 2)
    assert all(letter_id in done.stdout for letter_id in ids)
    assert await world.mails(order_id) == 1
    assert len(await world.refused()) == 1


async def test_more_letters_than_a_page_are_all_listed(world: World) -> None:
    await keep(world, *(letter(offset=number) for number in range(205)))

    listed = [letter["id"] for letter in await world.letters()]
    assert len(listed) == 205
    assert set(listed) == {f"{ORDER_EVENTS}/0/{number}" for number in range(205)}


async def test_a_record_that_is_refused_again_is_the_same_letter_and_stays_closed(world: World) -> None:
    await keep(world, first := letter(offset=7), first)
    await world.dlq("resolve", f"{ORDER_EVENTS}/0/7")
    await keep(world, first)

    assert await world.letters() == []
    assert len(await world.letters("--all")) == 1


async def test_a_place_that_a_rebuilt_topic_gives_away_again_stands_for_the_new_record(world: World) -> None:
    await keep(world, first := letter(offset=7))
    await world.dlq("resolve", f"{ORDER_EVENTS}/0/7")
    await keep(world, replace(first, recorded_at=first.recorded_at + timedelta(days=1), reason="another"))

    assert [listed["reason"] for listed in await world.letters()] == ["another"]
    assert '"reason":"another"' in (await world.dlq("show", f"{ORDER_EVENTS}/0/7", "--json")).stdout


@pytest.mark.parametrize(
    ("arguments", "changes", "code", "said"),
    [
        (["show", "order-events/0/999999"], {}, 1, "there is no dead letter order-events/0/999999"),
        (["retry", "order-events/0/999999"], {}, 1, "there is no dead letter order-events/0/999999"),
        (
            ["show", "999999"],
            {},
            2,
            "'999999' is no id of a dead letter: topic/partition/offset, such as order-events/0",
        ),
        (["retry"], {}, 2, "name the dead letters to be tried again, or say --all"),
        (["list"], {"tls_ca_file": None}, 2, "ORDERSAGA_TLS_CA_FILE is not set."),
        (["list"], {"notification_address": address(free_port())}, 3, "the notification service: UNAVAILABLE: "),
    ],
    ids=["show nothing", "retry nothing", "no id", "retry what", "no certificate", "nobody there"],
)
async def test_what_is_wrong_is_told_apart_by_the_exit_code(
    world: World, arguments: list[str], changes: Mapping[str, object], code: int, said: str
) -> None:
    done = await world.dlq(*arguments, **changes)

    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(said)


@pytest.mark.parametrize("part", [Part.GATEWAY, Part.ORDER, Part.NOTIFICATION])
async def test_no_part_may_touch_dead_letters_but_operators(world: World, part: Part) -> None:
    async with open_channel(Part.NOTIFICATION, world.settings.notification_address, credentials(part)) as channel:
        stub, place = NotificationServiceStub(channel), dl.RecordPlace(topic=ORDER_EVENTS)
        with pytest.raises(CallRefused, match="may not call"):
            await call(stub.RetryDeadLetter, dl.RetryDeadLetterRequest(place=place), caller=SERVICE, deadline=5)


async def test_how_many_wait_and_since_when_is_known_and_raised(world: World) -> None:
    letters = world.components.dead_letters
    nobody = await letters.count_open()
    await keep(world, first := letter(offset=1), letter(offset=2))

    waiting = await letters.count_open()
    concerns = await world.components.on_call.find_concerns(older_than=timedelta(seconds=60), most=10)
    [concern] = [concern for concern in concerns if concern.kind is ConcernKind.PART]

    assert (nobody.count, nobody.since) == (0, None)
    assert (waiting.count, waiting.since) == (2, first.refused_at)
    assert (concern.subject_id, concern.step, concern.since) == ("notification", "dead_letters", first.refused_at)
    assert concern.cause == "2 record(s) from Kafka were refused and wait for a person"


async def test_events_that_wait_for_their_consumer_are_raised(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def be_away(record: ConsumerRecord) -> None:
        raise DatabaseAway("the database does not answer")

    async def concerns() -> list[Concern]:
        found = await world.components.on_call.find_concerns(older_than=timedelta(0), most=10)
        return [concern for concern in found if concern.kind is ConcernKind.PART and concern.last_error]

    with monkeypatch.context() as planted:
        planted.setattr(intake, "to_order_event", be_away)
        await world.publish(new_id())
        [concern] = await until(concerns, lambda found: bool(found) and found[0].cause.endswith("1 record(s) wait"))

    assert (concern.subject_id, concern.step) == ("notification", "consumer")
    assert concern.cause == "the consumer notification does not move, and 1 record(s) wait"
    assert "DatabaseAway('the database does not answer')" in (concern.last_error or "")


def letter(*, offset: int) -> DeadLetter:
    return DeadLetter(
        topic=ORDER_EVENTS,
        partition=0,
        offset=offset,
        recorded_at=datetime(2026, 11, 30, 3, tzinfo=UTC),
        key=None,
        value=b"\x00",
        headers=(("\x00", b"\x00"), ("x", None)),
        consumer="notification",
        reason="theirs",
        error="",
        refused_at=datetime(2026, 11, 30, 3, 1, tzinfo=UTC),
    )


async def keep(world: World, *letters: DeadLetter) -> None:
    """As the consumer does."""
    for each in letters:
        await world.components.dead_letters.keep(each)
