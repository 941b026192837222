"""The topics at Kafka: which there have to be and how they are laid out, whether they are, and how they are made."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    KafkaError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)

from domain.events import ALL_TOPICS, PARTITIONS
from runtime.health import NotSetUp
from runtime.kafka_connection import diagnose, explain, kafka_options
from runtime.kafka_replicas import find_lack_of_replicas
from runtime.refusal import Unavailable
from runtime.settings import Settings

_MIN_IN_SYNC: Final = "min.insync.replicas"
_RETENTION: Final = "retention.ms"
_FOR_EVER: Final = -1


class KafkaUnusable(Unavailable):
    """Kafka cannot be used, or does not do what it is asked; the message says why."""


async def find_missing(settings: Settings, *, topics: Collection[str]) -> str | None:
    """Why it cannot be used, in words: no broker can, it lacks topics, or they lack replicas."""
    # first, because a client repeats what it cannot do, and then only says so
    if problem := await diagnose(settings):
        return f"Kafka: {problem}"
    client = AIOKafkaClient(**kafka_options(settings))
    try:
        await client.bootstrap()
        cluster = await client.fetch_all_metadata()  # a bootstrap asks Apache Kafka for its brokers, and for no topic
        if missing := _missing(cluster, topics):
            return NotSetUp(missing)
        lack = await find_lack_of_replicas(client, cluster, topics)
    except KafkaError as error:
        return f"Kafka: {explain(error)}"
    finally:
        await client.close()
    return None if lack is None else f"Kafka: {lack}"


async def partitions_of(consumer: AIOKafkaConsumer, topics: Collection[str]) -> list[TopicPartition]:
    """All partitions of the topics, as the broker has them; a consumer knows by itself only those that it is assigned.

    Raises:
        KafkaUnusable: one of the topics is missing.
    """
    # of all topics: one that is asked for by name may be made when it is missing; private, but the public question for
    # all of them tells their names alone
    cluster = await consumer._client.fetch_all_metadata()
    if missing := _missing(cluster, topics):
        raise KafkaUnusable(missing)
    return [
        TopicPartition(topic, number)
        for topic in sorted(topics)
        for number in sorted(cluster.partitions_for_topic(topic))
    ]


def _missing(cluster: ClusterMetadata, topics: Collection[str]) -> str | None:
    missing = sorted(set(topics) - cluster.topics())
    return f"Kafka: topic {', '.join(missing)} is missing; run `ordersaga setup kafka`" if missing else None


async def find_faults(settings: Settings) -> str | None:
    """What is wrong with the layout of the topics that are there, in words.

    Raises:
        KafkaUnusable: that cannot be asked.
    """
    async with _admin(settings) as admin:
        # of all topics, since one that is asked for by name may be made when it is missing
        described = {topic["topic"]: topic for topic in await admin.describe_topics()}
        configs = await _describe_configs(admin, [name for name in ALL_TOPICS if name in described])
    topics: dict[str, list[str]] = {}
    for name, config in configs.items():
        for fault in _faults(settings, described[name], config):
            topics.setdefault(fault, []).append(name)
    return "; ".join(f"{', '.join(names)}: {fault}" for fault, names in topics.items()) or None


async def set_up(settings: Settings) -> Iterator[str]:
    """Make the topics that are missing, laid out as the settings say. Repeatable; leaves alone what is there.

    Returns:
        what was done, or has to be done by somebody who may, line by line.

    Raises:
        KafkaUnusable: no broker can be used, or it takes no part of it.
    """
    async with _admin(settings) as admin:
        wanted = {name: _layout(settings, name) for name in ALL_TOPICS}
        known = set(await admin.list_topics())
        missing = [topic for name, topic in wanted.items() if name not in known]
        if not missing:
            return iter(())
        answer = await admin.create_topics(missing)
    return filter(None, [_outcome(wanted[name], code, *said) for name, code, *said in answer.topic_errors])


@asynccontextmanager
async def _admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """An admin client as long as the context is open; what goes wrong there is `KafkaUnusable`."""
    client = AIOKafkaAdminClient(**kafka_options(settings))
    try:
        await client.start()
        yield client
    except KafkaError as error:
        raise KafkaUnusable(f"Kafka: {await diagnose(settings) or explain(error)}") from None
    finally:
        await client.close()


def _layout(settings: Settings, name: str) -> NewTopic:
    return NewTopic(
        name,
        num_partitions=PARTITIONS,
        replication_factor=settings.kafka_replication,
        topic_configs={
            "cleanup.policy": "delete",
            _RETENTION: str(int(settings.kafka_retention * 1_000)),
            _MIN_IN_SYNC: str(settings.kafka_min_in_sync),
        },
    )


def _outcome(topic: NewTopic, code: int, message: str | None = None) -> str | None:
    if code == 0:
        return f"topic {topic.name} made"
    error = for_code(code)
    if error is TopicAlreadyExistsError:  # somebody else was quicker
        return None
    if issubclass(error, (TopicAuthorizationFailedError, ClusterAuthorizationFailedError)):
        return f"have somebody who may make the topic: {_command(topic)}"
    raise KafkaUnusable(
        f"Kafka does not make topic {topic.name}: {message or error.description}; "
        "see ORDERSAGA_KAFKA_REPLICATION and ORDERSAGA_KAFKA_MIN_IN_SYNC"
    )


def _command(topic: NewTopic) -> str:
    configs = " ".join(f"--config {name}={value}" for name, value in topic.topic_configs.items())
    return (
        f"kafka-topics.sh --bootstrap-server … --create --topic {topic.name} --partitions {topic.num_partitions} "
        f"--replication-factor {topic.replication_factor} {configs}"
    )


async def _describe_configs(admin: AIOKafkaAdminClient, topics: Collection[str]) -> Mapping[str, Mapping[str, str]]:
    if not topics:
        return {}
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in topics])
    return {
        name: {entry[0]: entry[1] for entry in entries}
        for answer in answers
        for _, _, _, name, entries in answer.resources
    }


def _faults(settings: Settings, topic: Mapping[str, Any], config: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with one topic; what a broker does not say of it is not."""
    partitions = len(topic["partitions"])
    copies = min(len(partition["replicas"]) for partition in topic["partitions"])
    in_sync = int(config.get(_MIN_IN_SYNC) or 0)
    kept, keep = int(config.get(_RETENTION) or _FOR_EVER), int(settings.kafka_retention * 1_000)
    if partitions != PARTITIONS:
        yield f"{partitions} partitions, not {PARTITIONS}: make it anew while it is empty"
    if copies < settings.kafka_replication:
        yield f"kept by {copies} brokers, not {settings.kafka_replication}; see ORDERSAGA_KAFKA_REPLICATION"
    if 0 < in_sync < settings.kafka_min_in_sync:
        yield f"an event counts as published once {in_sync} have it: set {_MIN_IN_SYNC} to {settings.kafka_min_in_sync}"
    if copies < in_sync:
        yield f"nothing can be published: it wants {in_sync} replicas in sync, and is kept by {copies} brokers"
    if _FOR_EVER < kept < keep:
        yield f"events are forgotten after {kept / 3_600_000:g} h: set {_RETENTION} to {keep}"
    if "compact" in config.get("cleanup.policy", ""):
        yield "it is compacted, which loses events: set cleanup.policy to delete"
