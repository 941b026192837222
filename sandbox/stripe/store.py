"""What an account has: objects, events, answers under idempotency keys, planned changes, webhooks not delivered yet.

It is kept by SQLite, in memory or in one file in WAL mode: what was committed there outlives a killed process. Calls
take well under a millisecond and run on the event loop, so that each transaction is alone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

import msgspec

from sandbox.stripe.endpoints import CONFIGURED_ENDPOINT
from sandbox.stripe.objects import RefundFailure, RefundStatus
from sandbox.stripe.resources import AnyResource, Resource

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    noun TEXT NOT NULL,
    list_key TEXT,
    created INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS objects_by_noun ON objects (noun, seq);
CREATE INDEX IF NOT EXISTS objects_by_list_key ON objects (list_key, seq) WHERE list_key IS NOT NULL;
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    request_id TEXT NOT NULL,
    status INTEGER NOT NULL,
    body BLOB NOT NULL,
    at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS deliveries (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL,
    endpoint_id TEXT NOT NULL,
    since REAL NOT NULL,
    due_at REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS planned_changes (
    subject_id TEXT PRIMARY KEY,
    change BLOB NOT NULL,
    due_at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS deliveries_by_due_at ON deliveries (due_at);
CREATE INDEX IF NOT EXISTS deliveries_by_event ON deliveries (event_id);
"""
_DELIVERY = ("seq", "event_id", "endpoint_id", "since", "due_at", "attempts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What was answered to the first call under an idempotency key."""

    fingerprint: str
    request_id: str
    status: int
    body: bytes
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event that is outstanding for one endpoint; `since` and `due_at` are unix seconds."""

    seq: int
    event_id: str
    endpoint_id: str
    since: float
    due_at: float
    attempts: int


class RefundChange(msgspec.Struct, frozen=True, kw_only=True, tag="refund"):
    """A refund moves on."""

    status: RefundStatus
    failure: RefundFailure | None


class DebitEnd(msgspec.Struct, frozen=True, kw_only=True, tag="debit"):
    """The money of an intent that is processing arrives, or does not, as its payment method says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What becomes of a refund or an intent by itself at `due_at`, unix seconds."""

    subject_id: str
    change: RefundChange | DebitEnd
    due_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[AnyResource]):
    """One page of a list, newest first."""

    items: list[AnyResource]
    has_more: bool


class Store:
    """Opens the file in `folder`, made with the folder where it does not exist, or is empty and in memory for None."""

    def __init__(self, folder: Path | None = None) -> None:
        if folder is None:
            self._db = sqlite3.connect(":memory:", isolation_level=None)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(folder / "stripe.sqlite3", isolation_level=None)
            self._db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA busy_timeout=5000;")
        self._db.executescript(_SCHEMA)
        self._upgrade()

    def close(self) -> None:
        """Close the file, or forget what was in memory."""
        self._db.close()

    def clear(self) -> None:
        """Forget everything."""
        with self.transaction():
            for table in ("objects", "answers", "deliveries", "planned_changes"):
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608  # constants

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written inside is kept, or nothing when an exception leaves it."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _upgrade(self) -> None:
        """Take over what version 0.1 kept otherwise."""
        columns = {name for (name,) in self._db.execute("SELECT name FROM pragma_table_info('deliveries')")}
        if "endpoint_id" not in columns:  # there was one endpoint alone
            self._db.execute(f"ALTER TABLE deliveries ADD endpoint_id TEXT NOT NULL DEFAULT '{CONFIGURED_ENDPOINT}'")
        if self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'plans'").fetchone() is not None:
            self._take_over_plans()

    def _take_over_plans(self) -> None:
        """Refunds alone were planned to change."""
        with self.transaction():
            for subject_id, status, failure, due_at in self._db.execute(
                "SELECT refund_id, status, failure, due_at FROM plans"
            ).fetchall():
                reason = None if failure is None else RefundFailure(failure)
                change = RefundChange(status=RefundStatus(status), failure=reason)
                self.plan(Plan(subject_id=subject_id, change=change, due_at=due_at))
            self._db.execute("DROP TABLE plans")

    # Objects

    def save(self, resource: Resource) -> None:
        """Write an object, new or changed."""
        self._db.execute(
            "INSERT INTO objects (id, noun, list_key, created, body) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET body = excluded.body",
            (resource.id, resource.noun, resource.list_key, resource.created, msgspec.json.encode(resource)),
        )

    def find(self, kind: type[AnyResource], object_id: str) -> AnyResource | None:
        """The object of this kind and id, if there is one."""
        row = self._db.execute("SELECT body FROM objects WHERE id = ? AND noun = ?", (object_id, kind.noun)).fetchone()
        return None if row is None else msgspec.json.decode(row[0], type=kind)

    def remove(self, object_id: str) -> None:
        """Forget an object."""
        self._db.execute("DELETE FROM objects WHERE id = ?", (object_id,))

    def raw(self, object_id: str) -> bytes | None:
        """The JSON of the object with this id, of whatever kind."""
        row = self._db.execute("SELECT body FROM objects WHERE id = ?", (object_id,)).fetchone()
        return None if row is None else bytes(row[0])

    def page(
        self,
        kind: type[AnyResource],
        *,
        limit: int,
        list_keys: Collection[str] = (),
        created_from: int | None = None,
        created_to: int | None = None,
        after: str | None = None,
        before: str | None = None,
    ) -> Page[AnyResource]:
        """Objects newest first: those older than the object `after`, or the ones just newer than `before`.

        A list key may hold ``*`` for any text.
        """
        where, values = ["noun = ?"], [kind.noun]
        if list_keys:
            where.append(f"({' OR '.join(['list_key GLOB ?' if '*' in key else 'list_key = ?' for key in list_keys])})")
            values += list_keys
        conditions: tuple[tuple[str, int | str | None], ...] = (
            ("created >= ?", created_from),
            ("created <= ?", created_to),
            ("seq < (SELECT seq FROM objects WHERE id = ?)", after),
            ("seq > (SELECT seq FROM objects WHERE id = ?)", before),
        )
        where += [text for text, value in conditions if value is not None]
        bound = [*values, *(value for _, value in conditions if value is not None), limit + 1]
        order = "DESC" if before is None else "ASC"
        query = f"SELECT body FROM objects WHERE {' AND '.join(where)} ORDER BY seq {order} LIMIT ?"  # noqa: S608  # constants
        rows = self._db.execute(query, bound).fetchall()
        items = [msgspec.json.decode(body, type=kind) for (body,) in rows[:limit]]
        return Page(items=items if before is None else items[::-1], has_more=len(rows) > limit)

    # Answers under idempotency keys

    def answer(self, key: str) -> Answer | None:
        """The answer stored under a key."""
        row = self._db.execute(
            "SELECT fingerprint, request_id, status, body, at FROM answers WHERE key = ?", (key,)
        ).fetchone()
        if row is None:
            return None
        return Answer(fingerprint=row[0], request_id=row[1], status=row[2], body=row[3], at=row[4])

    def save_answer(self, key: str, answer: Answer) -> None:
        """Store an answer in place of an expired one."""
        self._db.execute(
            "REPLACE INTO answers (key, fingerprint, request_id, status, body, at) VALUES (?, ?, ?, ?, ?, ?)",
            (key, answer.fingerprint, answer.request_id, answer.status, answer.body, answer.at),
        )

    def forget_answers(self, *, before: float | None = None) -> None:
        """Drop the answers stored before a moment, or all."""
        if before is None:
            self._db.execute("DELETE FROM answers")
        else:
            self._db.execute("DELETE FROM answers WHERE at < ?", (before,))

    # What changes by itself

    def plan(self, plan: Plan) -> None:
        """Note what is to become of an object, in place of an earlier plan."""
        self._db.execute(
            "REPLACE INTO planned_changes (subject_id, change, due_at) VALUES (?, ?, ?)",
            (plan.subject_id, msgspec.json.encode(plan.change), plan.due_at),
        )

    def next_plan(self) -> Plan | None:
        """The plan that is due first."""
        row = self._db.execute(
            "SELECT subject_id, change, due_at FROM planned_changes ORDER BY due_at, rowid LIMIT 1"
        ).fetchone()
        if row is None:
            return None
        return Plan(subject_id=row[0], change=msgspec.json.decode(row[1], type=RefundChange | DebitEnd), due_at=row[2])

    def drop_plan(self, subject_id: str) -> None:
        """Leave an object as it is."""
        self._db.execute("DELETE FROM planned_changes WHERE subject_id = ?", (subject_id,))

    # Webhooks that are outstanding

    def add_delivery(self, event_id: str, *, endpoint_id: str, since: float, due_at: float) -> None:
        """Note that an event is to be delivered to an endpoint, not before `due_at`."""
        self._db.execute(
            "INSERT INTO deliveries (event_id, endpoint_id, since, due_at) VALUES (?, ?, ?, ?)",
            (event_id, endpoint_id, since, due_at),
        )

    def deliveries(self, *, due_by: float | None = None, limit: int) -> list[Delivery]:
        """The deliveries that are due first, of those that are due by a moment or of all."""
        where, values = ("", []) if due_by is None else ("WHERE due_at <= ? ", [due_by])
        rows = self._db.execute(
            f"SELECT {', '.join(_DELIVERY)} FROM deliveries {where}ORDER BY due_at, seq LIMIT ?",  # noqa: S608  # constants
            [*values, limit],
        )
        return [Delivery(**dict(zip(_DELIVERY, row, strict=True))) for row in rows]

    def count_deliveries(self, event_id: str) -> int:
        """How many deliveries of an event are outstanding."""
        row = self._db.execute("SELECT count(*) FROM deliveries WHERE event_id = ?", (event_id,)).fetchone()
        return int(row[0])

    def postpone_delivery(self, delivery: Delivery, *, due_at: float) -> None:
        """Note a failed attempt and when the next one is due."""
        self._db.execute(
            "UPDATE deliveries SET attempts = attempts + 1, due_at = ? WHERE seq = ?", (due_at, delivery.seq)
        )

    def drop_delivery(self, delivery: Delivery) -> None:
        """Note that a delivery is not outstanding any more."""
        self._db.execute("DELETE FROM deliveries WHERE seq = ?", (delivery.seq,))
