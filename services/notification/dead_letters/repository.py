"""All SQL about dead letters. Every method is one statement, on the caller's connection."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, LiteralString

import msgspec

from domain.ids import LEAST_ID, new_id
from runtime.database import Connection
from runtime.dead_letters import DeadLetter, RawHeaders
from runtime.rows import columns, parameters
from services.notification.dead_letters.model import Action, OpenLetters, Place, StoredLetter
from services.notification.model import DeadLetterStatus, LetterAction
from services.notification.tables import DeadLetterColumns

_KEEP: Final = f"""
    INSERT INTO dead_letters ({columns(DeadLetterColumns)}) VALUES ({parameters(DeadLetterColumns)})
    ON CONFLICT (topic, partition, record_offset, recorded_at) DO NOTHING
"""  # noqa: S608 - put together from constants
_LETTERS: Final[LiteralString] = f"""
    SELECT {columns(DeadLetterColumns, without=["closed_at"])},
           (SELECT json_agg(json_build_object('action', action, 'actor', actor, 'note', note, 'refusal', refusal,
                                              'at', at) ORDER BY id)
              FROM dead_letter_actions WHERE dead_letter_id = dead_letters.id) AS actions
      FROM dead_letters
"""  # noqa: S608 - as above
_FIND: Final = f"""
    {_LETTERS}
     WHERE topic = %(topic)s AND partition = %(partition)s AND record_offset = %(record_offset)s
     ORDER BY id DESC LIMIT 1
"""
_LIST_OPEN: Final = f"{_LETTERS} WHERE status = 'OPEN' AND id > %(after)s ORDER BY id LIMIT %(limit)s"
_LIST_ALL: Final = f"{_LETTERS} WHERE id > %(after)s ORDER BY id LIMIT %(limit)s"
_ACT: Final = """
    WITH changed AS (
        UPDATE dead_letters
           SET status = %(status)s, closed_at = CASE WHEN %(status)s = 'OPEN' THEN NULL ELSE now() END
         WHERE id = %(letter_id)s AND status = 'OPEN'
        RETURNING id
    )
    INSERT INTO dead_letter_actions (id, dead_letter_id, action, actor, note, refusal, at)
    SELECT %(action_id)s, id, %(action)s, %(actor)s, %(note)s, %(refusal)s, now() FROM changed
"""


class DeadLetterRepository:
    """Dead letters and what was done about them, on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def keep(self, letter: DeadLetter) -> bool:
        """Store it; false when it is there."""
        added = await self._connection.execute(
            _KEEP,
            id=new_id(),
            topic=letter.topic,
            partition=letter.partition,
            record_offset=letter.offset,
            recorded_at=letter.recorded_at,
            key=letter.key,
            value=letter.value,
            headers=_encode_headers(letter.headers),
            consumer=letter.consumer,
            reason=letter.reason,
            error=letter.error,
            refused_at=letter.refused_at,
            status=DeadLetterStatus.OPEN,
            closed_at=None,
        )
        return added == 1

    async def find(self, place: Place) -> StoredLetter | None:
        """The one of this place; the last one, where a broker has forgotten its topics and given it away again."""
        return await self._connection.fetch_one(
            _to_letter, _FIND, topic=place.topic, partition=place.partition, record_offset=place.offset
        )

    async def list(self, *, closed_too: bool, after: str | None, limit: int) -> Sequence[StoredLetter]:
        """Those that come after this one, in the order in which they were refused."""
        statement = _LIST_ALL if closed_too else _LIST_OPEN
        return await self._connection.fetch_all(_to_letter, statement, after=after or LEAST_ID, limit=limit)

    async def count_open(self) -> OpenLetters:
        """How many wait for a person."""
        found = await self._connection.fetch_one(
            OpenLetters, "SELECT count(*) AS count, min(refused_at) AS since FROM dead_letters WHERE status = 'OPEN'"
        )
        return found or OpenLetters(count=0, since=None)

    async def act(
        self, letter_id: str, action: LetterAction, *, status: DeadLetterStatus, actor: str, note: str, refusal: str
    ) -> bool:
        """Note what a person did about an open one, and where it stands now; false, and nothing, if it is closed."""
        acted = await self._connection.execute(
            _ACT,
            letter_id=letter_id,
            action_id=new_id(),
            action=action,
            status=status,
            actor=actor,
            note=note,
            refusal=refusal,
        )
        return acted == 1


def _to_letter(
    *,
    id: str,  # noqa: A002 - the column's name
    record_offset: int,
    headers: str,
    status: str,
    actions: Sequence[Mapping[str, Any]] | None,
    **others: Any,
) -> StoredLetter:
    letter = DeadLetter(offset=record_offset, headers=_decode_headers(headers), **others)
    done = [_to_action(**action) for action in actions or ()]
    return StoredLetter(id=id, letter=letter, status=DeadLetterStatus(status), actions=done)


def _to_action(*, action: str, actor: str, note: str, refusal: str, at: str) -> Action:
    when = datetime.fromisoformat(at)
    return Action(action=LetterAction(action), actor=actor, note=note, refusal=refusal, at=when)


def _encode_headers(headers: RawHeaders) -> str:
    pairs = [(name, None if value is None else b64encode(value).decode()) for name, value in headers]
    return msgspec.json.encode(pairs).decode()


def _decode_headers(text: str) -> RawHeaders:
    pairs = msgspec.json.decode(text, type=list[tuple[str, str | None]])
    return tuple((name, None if value is None else b64decode(value)) for name, value in pairs)
