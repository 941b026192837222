"""Apache Kafka as it is run in production: three brokers, KRaft, TLS, a login; each can be killed by itself."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import astuple, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from runtime import kafka_topics
from runtime.kafka_connection import kafka_options
from runtime.kafka_topics import KafkaUnusable
from runtime.settings import Settings
from sandbox.certificates import CertificateAuthority
from sandbox.child import Child, Command, run_to_completion
from sandbox.external import External
from sandbox.ports import HOST, Ports, address
from tests.support.programs import cached, needed, run

Answer = TypeVar("Answer")

VERSION: Final = "4.1.1"
USER: Final = "ordersaga"
REPLICAS: Final = 3
MIN_IN_SYNC: Final = 2
_CLUSTER_ID: Final = base64.urlsafe_b64encode(b"ordersaga-kafka-").decode().rstrip("=")
_JARS: Final = Path(__file__).with_name("kafka_jars")
_SMALL: Final = ("-Xmx320m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
_READY_SECONDS: Final = 120.0
_EXISTS: Final = 36
"""TOPIC_ALREADY_EXISTS: an attempt before this one got through."""
_FORMAT_SECONDS: Final = 60.0


def _download(folder: Path) -> None:
    """Have Maven fetch the jars, and see that they are those that were looked at when the version was chosen."""
    needed("java")
    target: list[str | Path] = ["-f", _JARS / "pom.xml", f"-DoutputDirectory={folder}"]
    run([needed("mvn"), "-q", "-B", *target, f"-Dkafka.version={VERSION}", "dependency:copy-dependencies"])
    expected = dict(line.split()[::-1] for line in (_JARS / "jars.sha256").read_text().splitlines())
    found = {jar.name: hashlib.sha256(jar.read_bytes()).hexdigest() for jar in folder.glob("*.jar")}
    if found != expected:
        wrong = sorted(name for name in expected | found if expected.get(name) != found.get(name))
        pytest.fail(f"Maven's jars are not those of {_JARS / 'jars.sha256'}: {', '.join(wrong)}", pytrace=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    """A broker that is a controller as well, and its three listeners."""

    id: int
    client: int
    replication: int
    controller: int
    folder: Path

    @classmethod
    def on(cls, ports: Iterator[int], number: int, folder: Path) -> _Node:
        client, replication, controller = next(ports), next(ports), next(ports)
        return cls(id=number, client=client, replication=replication, controller=controller, folder=folder)

    @property
    def config(self) -> Path:
        return self.folder / "server.properties"


class KafkaCluster:
    """Three brokers on loopback with all our topics, as long as the context is open.

    Attributes:
        external: what of the embedded stack it stands for.
        environment: what a deployment sets to use it.
        plain: address of a listener without TLS and login, for replication between the brokers.
    """

    external: Final = External.KAFKA

    def __init__(self, folder: Path, *, authority: CertificateAuthority) -> None:
        """Describe the cluster; nothing runs yet.

        Args:
            folder: private and empty.
            authority: whom the clients trust.
        """
        ports = iter(astuple(Ports.free()))
        self._nodes = {number: _Node.on(ports, number, folder / str(number)) for number in range(1, REPLICAS + 1)}
        self._children: dict[int, Child] = {}
        self._folder = folder
        self._password = secrets.token_urlsafe(18)
        (folder / "ca.pem").write_bytes(authority.pem)
        (folder / "broker.pem").write_bytes(b"".join(authority.issue_for_host("localhost")))
        self.plain = address(self._nodes[1].replication)
        self.environment: Mapping[str, str] = {
            "ORDERSAGA_KAFKA_BOOTSTRAP": ",".join(address(node.client) for node in self._nodes.values()),
            "ORDERSAGA_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "ORDERSAGA_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
            "ORDERSAGA_KAFKA_USERNAME": USER,
            "ORDERSAGA_KAFKA_PASSWORD": self._password,
            "ORDERSAGA_KAFKA_CA_FILE": str(folder / "ca.pem"),
        }

    def settings(self, **changes: Any) -> Settings:
        """The settings of a part that knows of nothing but Kafka."""
        values = {name.removeprefix("ORDERSAGA_").lower(): value for name, value in self.environment.items()}
        return Settings.model_validate({**values, **changes})

    @property
    def down(self) -> Sequence[int]:
        """The brokers that do not run."""
        return [number for number, child in self._children.items() if child.stopping]

    @property
    def nodes(self) -> Sequence[int]:
        """The ids of the brokers."""
        return list(self._nodes)

    def data(self, node: int) -> Path:
        """Where a broker keeps its partitions, a folder ``<topic>-<partition>`` each."""
        return self._nodes[node].folder / "data"

    async def __aenter__(self) -> Self:
        """Start it; return when every topic has all its replicas."""
        jars = await asyncio.to_thread(cached, f"kafka-{VERSION}", _download)
        self._java = [str(needed("java")), *_SMALL, "-cp", f"{jars}/*"]
        await asyncio.gather(*(self._format(node) for node in self._nodes.values()))
        try:
            await self.start(*self._nodes)
            await self._create_topics()
            await self.until_in_sync()
        except BaseException:
            await self.kill(*self._children)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill(*self._children)

    # -- Brokers ----------------------------------------------------------------------------------------------------

    async def start(self, *nodes: int) -> None:
        """Start brokers; return when each of them answers."""
        for number in nodes:
            node = self._nodes[number]
            self._children[number] = await Child.start(self._command(node, "kafka", "kafka.Kafka", str(node.config)))
        for number in nodes:
            await self._children[number].wait_for(self._answers(self._nodes[number]), within=_READY_SECONDS)

    async def kill(self, *nodes: int) -> None:
        """SIGKILL brokers."""
        await asyncio.gather(*(self._children[number].kill() for number in nodes))

    async def leader(self, topic: str, partition: int) -> int:
        """The broker that takes a partition's records."""
        return int((await self._partition(topic, partition))["leader"])

    async def coordinator(self, group: str) -> int:
        """The broker that keeps a consumer group's offsets."""

        async def ask(admin: AIOKafkaAdminClient) -> int:
            return int(await admin.find_coordinator(group))

        return await self._ask(ask)

    async def until_in_sync(self, replicas: int = REPLICAS) -> None:
        """Return once every partition of every topic has so many replicas in sync, its leader among them."""
        async with asyncio.timeout(_READY_SECONDS):
            while True:
                topics = await self._describe()
                partitions = [partition for topic in topics for partition in topic["partitions"]]
                if all(len(each["isr"]) == replicas and each["leader"] in each["isr"] for each in partitions):
                    return
                await asyncio.sleep(0.2)

    # -- Topics -----------------------------------------------------------------------------------------------------

    async def topics(self) -> set[str]:
        """The names of all topics."""
        return {topic["topic"] for topic in await self._describe()}

    async def create_topic(self, name: str, *, min_in_sync: int) -> None:
        """Create a topic with one partition on every broker."""

        async def create(admin: AIOKafkaAdminClient) -> None:
            configs = {"min.insync.replicas": str(min_in_sync)}
            topic = NewTopic(name, num_partitions=1, replication_factor=REPLICAS, topic_configs=configs)
            await _create(admin, [topic])

        await self._ask(create)

    async def delete_topic(self, name: str) -> None:
        """Delete a topic; return when it is gone."""

        async def delete(admin: AIOKafkaAdminClient) -> None:
            await admin.delete_topics([name])

        await self._ask(delete)
        async with asyncio.timeout(_READY_SECONDS):
            while name in await self.topics():  # noqa: ASYNC110 - what is waited for happens in other processes
                await asyncio.sleep(0.1)

    async def _create_topics(self) -> None:
        """Once the cluster has made up its mind who leads it."""
        async with asyncio.timeout(_READY_SECONDS):
            while True:
                try:
                    await kafka_topics.set_up(self.settings())
                except KafkaUnusable:
                    await asyncio.sleep(0.2)
                else:
                    return

    async def _partition(self, topic: str, partition: int) -> Mapping[str, Any]:
        [described] = [each for each in await self._describe() if each["topic"] == topic]
        [found] = [each for each in described["partitions"] if each["partition"] == partition]
        answer: Mapping[str, Any] = found
        return answer

    async def _describe(self) -> Sequence[Mapping[str, Any]]:
        async def describe(admin: AIOKafkaAdminClient) -> Sequence[Mapping[str, Any]]:
            # all topics: one that is asked for by name is created when it is missing
            answer: Sequence[Mapping[str, Any]] = await admin.describe_topics()
            return answer

        return await self._ask(describe)

    async def _ask(self, call: Callable[[AIOKafkaAdminClient], Awaitable[Answer]]) -> Answer:
        """What an administrator is told, asked again while the cluster is busy with a change of its members."""
        async with asyncio.timeout(_READY_SECONDS):
            while True:
                admin = AIOKafkaAdminClient(**kafka_options(self.settings()))
                try:
                    async with AsyncExitStack() as opened:
                        opened.push_async_callback(admin.close)
                        await admin.start()
                        return await call(admin)
                except KafkaError:
                    await asyncio.sleep(0.2)

    async def _answers(self, node: _Node) -> None:
        """Return once the broker itself takes a login and knows the cluster."""
        options = {**kafka_options(self.settings()), "bootstrap_servers": address(node.client)}
        while True:
            admin = AIOKafkaAdminClient(**options)
            try:
                await admin.start()
            except KafkaError:
                await asyncio.sleep(0.2)
            else:
                return
            finally:
                await admin.close()

    # -- Processes --------------------------------------------------------------------------------------------------

    def _command(self, node: _Node, name: str, *arguments: str) -> Command:
        return Command(
            name=f"{name}-{node.id}",
            arguments=[*self._java, *arguments],
            log=self._folder / f"{name}-{node.id}.log",
            environment=os.environ,
            folder=self._folder,
        )

    async def _format(self, node: _Node) -> None:
        """Make the broker's folder, with the account of the clients in it."""
        node.folder.mkdir()
        node.config.write_text(self._properties(node))
        account = f"SCRAM-SHA-512=[name={USER},password={self._password}]"
        options = ["--config", str(node.config), "--cluster-id", _CLUSTER_ID, "--add-scram", account]
        command = self._command(node, "format", "kafka.tools.StorageTool", "format", *options)
        await run_to_completion(command, within=_FORMAT_SECONDS)

    def _properties(self, node: _Node) -> str:
        voters = ",".join(f"{each.id}@{address(each.controller)}" for each in self._nodes.values())
        properties = {
            "process.roles": "broker,controller",
            "node.id": node.id,
            "controller.quorum.voters": voters,
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "REPLICATION",
            "listeners": (
                f"CLIENT://{address(node.client)},REPLICATION://{address(node.replication)},"
                f"CONTROLLER://{address(node.controller)}"
            ),
            "advertised.listeners": f"CLIENT://{address(node.client)},REPLICATION://{address(node.replication)}",
            "listener.security.protocol.map": "CLIENT:SASL_SSL,REPLICATION:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.client.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": self._folder / "broker.pem",
            "log.dirs": self.data(node.id),
            "default.replication.factor": REPLICAS,
            "min.insync.replicas": MIN_IN_SYNC,
            "offsets.topic.replication.factor": REPLICAS,
            "offsets.topic.num.partitions": 6,
            "share.coordinator.state.topic.replication.factor": REPLICAS,
            "group.initial.rebalance.delay.ms": 0,
            # a killed broker is out after this, not after nine seconds
            "broker.session.timeout.ms": 6_000,
            "broker.heartbeat.interval.ms": 1_000,
            # auto.create.topics.enable stays on, as it is by default: nothing of ours may cause it
        }
        return "".join(f"{name}={value}\n" for name, value in properties.items())


async def _create(admin: AIOKafkaAdminClient, topics: Sequence[NewTopic]) -> None:
    answer = await admin.create_topics(list(topics))
    refused = [(name, code, message) for name, code, message, *_ in answer.topic_errors if code not in (0, _EXISTS)]
    if refused:
        raise KafkaError(f"{HOST}: topics were refused: {refused}")
