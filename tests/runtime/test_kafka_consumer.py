"""A consumer whose records do not get through: what it says of that, and what it does with them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import pytest
import pytest_asyncio
from aiokafka import ConsumerRecord

from domain.events import ORDER_EVENTS
from domain.ids import new_id
from runtime.database import DatabaseAway
from runtime.dead_letters import DeadLetter
from runtime.kafka import Publisher
from runtime.kafka_consumer import Consumer, Subscription, Unprocessable
from runtime.kafka_standing import Standing
from runtime.settings import Settings
from sandbox.ports import address, free_port
from tests.support.background import running
from tests.support.brokers import EmbeddedBroker
from tests.support.client import until


@pytest_asyncio.fixture(scope="module")
async def broker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedBroker]:
    broker = EmbeddedBroker(tmp_path_factory.mktemp("kafka") / "kafka.log")
    await broker.start()
    yield broker
    await broker.stop()


class Group:
    """A consumer of its own group, whose handler does as it is told to."""

    def __init__(self, settings: Settings) -> None:
        self.outcome: Exception | None = None
        self.keeps: Exception | None = None
        self.handled: list[bytes] = []
        self.letters: list[DeadLetter] = []
        self._settings = settings
        subscription = Subscription(
            group=f"group-{new_id()}",
            topics=(ORDER_EVENTS,),
            handle=self._handle,
            refused=self._keep,
            transient=(DatabaseAway,),
        )
        self.consumer = Consumer(settings.model_copy(update={"kafka_session_timeout_ms": 2_000}), subscription)

    async def _handle(self, record: ConsumerRecord) -> None:
        if self.outcome is not None:
            raise self.outcome
        self.handled.append(record.value)

    async def _keep(self, letter: DeadLetter) -> None:
        if self.keeps is not None:
            raise self.keeps
        self.letters.append(letter)

    async def publish(self, *values: bytes) -> None:
        publisher = Publisher(self._settings)
        for value in values:
            await publisher.send_one(topic=ORDER_EVENTS, key=b"1", value=value, headers=[])
        await publisher.close()

    async def until_it(self, is_so: Callable[[Standing], bool]) -> Standing:
        return await until(self.consumer.standing, is_so)


@pytest_asyncio.fixture
async def group(broker: EmbeddedBroker) -> AsyncIterator[Group]:
    """Running, and with all that others have published behind it."""
    group = Group(Settings(**broker.settings))
    async with running(group.consumer.run):
        await group.until_it(lambda standing: standing.waiting == 0)
        yield group


async def test_a_group_that_has_nothing_to_do_does_not_stand_still(group: Group) -> None:
    standing = await group.consumer.standing()

    assert (standing.waiting, standing.stands_since, standing.problem, standing.error) == (0, None, "", "")


async def test_what_waits_is_counted_with_since_when_and_why_and_forgotten_once_it_is_done(group: Group) -> None:
    group.outcome = DatabaseAway("the database does not answer")
    began = datetime.now(UTC)
    await group.publish(b"1", b"2", b"3")
    waiting = await group.until_it(lambda standing: standing.waiting == 3 and standing.error != "")
    later = await group.consumer.standing()
    group.outcome = None
    done = await group.until_it(lambda standing: standing.waiting == 0)

    assert waiting.stands_since is not None
    assert began <= waiting.stands_since <= datetime.now(UTC)
    assert later.stands_since == waiting.stands_since
    assert waiting.error.startswith(f"{ORDER_EVENTS}/")
    assert waiting.error.endswith("DatabaseAway('the database does not answer')")
    assert done.stands_since is None
    assert group.handled[-3:] == [b"1", b"2", b"3"]


async def test_a_group_that_moves_does_not_stand_still_however_much_waits(group: Group) -> None:
    group.outcome = DatabaseAway("away")
    await group.publish(b"1")
    first = await group.until_it(lambda standing: standing.waiting == 1)
    group.outcome = None
    await group.until_it(lambda standing: standing.waiting == 0)
    group.outcome = DatabaseAway("away")
    await group.publish(b"2")
    second = await group.until_it(lambda standing: standing.waiting == 1)

    assert first.stands_since is not None
    assert second.stands_since is not None
    assert second.stands_since > first.stands_since


async def test_every_member_knows_what_waits_for_another(group: Group, broker: EmbeddedBroker) -> None:
    group.outcome = DatabaseAway("away")
    await group.publish(b"1", b"2")
    await group.until_it(lambda standing: standing.waiting == 2)
    other = Consumer(Settings(**broker.settings), group.consumer._subscription)

    async with running(other.run):
        standing = await until(other.standing, lambda standing: standing.waiting is not None)

    assert standing.waiting == 2


async def test_a_record_that_cannot_be_put_aside_waits_until_it_can(group: Group) -> None:
    group.outcome, group.keeps = Unprocessable("no event"), ValueError("no room")
    await group.publish(b"bad")
    waiting = await group.until_it(lambda standing: "not put to the dead letters" in standing.error)
    group.keeps = None
    await group.until_it(lambda standing: standing.waiting == 0)

    assert waiting.waiting == 1
    assert {(letter.value, letter.reason) for letter in group.letters} == {(b"bad", "no event")}


async def test_a_defect_is_named_by_where_it_is_and_quotes_no_data(group: Group) -> None:
    group.outcome = KeyError("secret")
    await group.publish(b"good")
    standing = await group.until_it(lambda standing: bool(group.letters) and standing.waiting == 0)

    [letter] = group.letters
    assert letter.reason == f"5 attempts failed, the last with {letter.error}"
    assert letter.error.startswith("KeyError in test_kafka_consumer.py:")
    assert "secret" not in f"{letter.reason} {letter.error} {standing.error}"


async def test_a_broker_that_is_away_is_a_standstill_that_is_named(broker: EmbeddedBroker, group: Group) -> None:
    await broker.stop()
    away = await group.until_it(lambda standing: standing.waiting is None and standing.stands_since is not None)
    still = await group.until_it(lambda standing: "nobody listens there" in standing.problem)
    await broker.start()
    back = await group.until_it(lambda standing: standing.waiting == 0)

    assert away.stands_since == still.stands_since
    assert (back.problem, back.stands_since) == ("", None)


async def test_one_that_never_reached_a_broker_says_so() -> None:
    group = Group(Settings(kafka_bootstrap=address(free_port())))
    fresh = await group.consumer.standing()
    async with running(group.consumer.run):
        away = await group.until_it(lambda standing: "nobody listens there" in standing.problem)

    assert (fresh.waiting, fresh.problem) == (None, "it has not joined its group yet")
    assert away.stands_since == fresh.stands_since
