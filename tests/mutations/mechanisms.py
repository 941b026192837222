"""Mutations of what services share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tests.support.mutation import Mutation

MECHANISMS: Final[Sequence[Mutation]] = (
    Mutation(
        breaks="who lost a claim records its end all the same",
        file="runtime/due_work.py",
        source='f"{key} = %(claimed_key)s AND {pending} AND next_attempt_at = %(claimed_until)s"',
        mutated='f"{key} = %(claimed_key)s AND {pending} AND %(claimed_until)s IS NOT NULL"',
        tests=["tests/runtime/test_due_worker.py"],
    ),
    Mutation(
        breaks="an item is claimed before those that it waits for are done",
        file="runtime/due_work.py",
        source="AND next_attempt_at <= now() AND {ready}",
        mutated="AND next_attempt_at <= now()",
        tests=["tests/runtime/test_due_worker.py"],
    ),
    Mutation(
        breaks="a released claim counts as an attempt",
        file="runtime/due_work.py",
        source="SET next_attempt_at = now(), attempts = attempts - 1",
        mutated="SET next_attempt_at = now()",
        tests=["tests/runtime/test_due_worker.py"],
    ),
    Mutation(
        breaks="an attempt outlives its lease",
        file="runtime/due_worker.py",
        source="_ATTEMPT_SHARE: Final = 5 / 6",
        mutated="_ATTEMPT_SHARE: Final = 1_000",
        tests=["tests/runtime/test_due_worker.py"],
    ),
    Mutation(
        breaks="what took effect is not recorded when the database was away for a moment",
        file="runtime/due_worker.py",
        source="if asyncio.get_running_loop().time() >= lease_ends_at:",
        mutated="if lease_ends_at:",
        tests=["tests/runtime/test_due_worker.py"],
    ),
    Mutation(
        breaks="what is due beyond the first few waits for the next look",
        file="runtime/due_worker.py",
        source="self._more_due = len(claimed) == room",
        mutated="self._more_due = False",
        tests=["tests/runtime/test_due_worker.py"],
    ),
    Mutation(
        breaks="what became due by an item's end waits for the next look",
        file="runtime/due_worker.py",
        source="if record is not None and await self._until_recorded(",
        mutated="if record is not None and not await self._until_recorded(",
        tests=["tests/runtime/test_due_worker.py"],
    ),
    Mutation(
        breaks="a defect in the claim ends the worker",
        file="runtime/due_worker.py",
        source='                    log.exception("due.failed", work=self.name)',
        mutated="                    raise",
        tests=["tests/runtime/test_due_worker.py"],
    ),
    Mutation(
        breaks="a key stands for whatever comes with it",
        file="runtime/idempotency.py",
        source='if found.pop("request_hash") != request.request_hash:',
        mutated='if not found.pop("request_hash"):',
        tests=["tests/runtime/test_idempotency.py"],
    ),
    Mutation(
        breaks="a backend that stands still is never noticed",
        file="runtime/listener.py",
        source="await asyncio.wait({probe}, timeout=PROBE_TIMEOUT)",
        mutated="await asyncio.wait({probe})",
        tests=["tests/runtime/test_listener.py"],
    ),
    Mutation(
        breaks="whoever waits is not woken when notifications may have been missed",
        file="runtime/listener.py",
        source='{self._channel}"\')\n            self._on_wake("")',
        mutated="{self._channel}\"')",
        tests=["tests/runtime/test_listener.py"],
    ),
    Mutation(
        breaks="several that store work at once all take the last room",
        file="runtime/due_worker.py",
        source="        self._kept_free += room\n",
        mutated="",
        tests=["tests/runtime/test_due_worker.py"],
    ),
    Mutation(
        breaks="what a stopped worker has stored stays claimed until its lease ends",
        file="runtime/due_worker.py",
        source="            for claimed in stored.claimed:\n                await self._release(claimed)\n",
        mutated="            pass\n",
        tests=["tests/runtime/test_due_worker.py"],
    ),
    Mutation(
        breaks="statements are prepared behind a pooler in transaction mode",
        file="runtime/database.py",
        source='{"prepare_threshold": None}',
        mutated='{"prepare_threshold": 5}',
        tests=["tests/runtime/test_pooler.py"],
    ),
    Mutation(
        breaks="a pooler that the settings do not mention is taken for PostgreSQL",
        file="runtime/database.py",
        source="return await cursor.fetchone() != connection.info.backend_pid",
        mutated="return await cursor.fetchone() is None",
        tests=["tests/runtime/test_pooler.py"],
    ),
    Mutation(
        breaks="any number of callers may wait",
        file="runtime/turns.py",
        source="self._waiting >= self._most_waiting",
        mutated="self._waiting > self._most_waiting",
        tests=["tests/unit/test_passwords.py"],
    ),
    Mutation(
        breaks="nobody learns that a caller has hung up",
        file="runtime/rpc_server.py",
        source="                set_caller_gone()",
        mutated="                pass",
        tests=["tests/runtime/test_rpc.py"],
    ),
    Mutation(
        breaks="trouble ends what is done again and again",
        file="runtime/periodic.py",
        source='            log.exception("periodic.failed", work=name)',
        mutated="            raise",
        tests=["tests/unit/test_periodic.py"],
    ),
    Mutation(
        breaks="a head may be of any size",
        file="runtime/http_protocol.py",
        source="        if self._unparsed_bytes > self._limits.head_bytes:",
        mutated="        if False:",
        tests=["tests/gateway/test_http_limits.py"],
    ),
    Mutation(
        breaks="half a head is waited for without end",
        file="runtime/http_server.py",
        source="            self._room.end_overdue(",
        mutated="            str(",
        tests=["tests/gateway/test_http_limits.py"],
    ),
    Mutation(
        breaks="a new connection takes the place of one that is being answered",
        file="runtime/http_room.py",
        source="Phase.IDLE, Phase.BODY)",
        mutated="Phase.IDLE, Phase.BODY, Phase.ANSWER)",
        tests=["tests/gateway/test_http_connections.py"],
    ),
    Mutation(
        breaks="a name that stands for nobody who stays is not looked up again before these have gone",
        file="runtime/rpc_client.py",
        source="            self._channel.look_up()\n",
        mutated="",
        tests=["tests/runtime/test_addresses.py"],
    ),
    Mutation(
        breaks="a server stops without a farewell",
        file="runtime/rpc_server.py",
        source="        await self._health.enter_graceful_shutdown()",
        mutated="",
        tests=["tests/runtime/test_addresses.py"],
    ),
)
