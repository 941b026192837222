"""What becomes of a record that the consumer refused: kept, tried again, or dealt with by a person."""

from __future__ import annotations

import structlog

from runtime.database import Database
from runtime.dead_letters import DeadLetter, locate
from runtime.kafka_consumer import Handler, Unprocessable
from runtime.refusal import Unavailable
from services.notification.dead_letters.model import OpenLetters, Page, Place, StoredLetter
from services.notification.dead_letters.repository import DeadLetterRepository
from services.notification.errors import DeadLetterNotFound
from services.notification.model import DeadLetterStatus, LetterAction

log = structlog.stdlib.get_logger(__name__)


class DeadLetters:
    """The dead letters of one consumer, whose `handle` a retry calls: nobody else gets the record a second time."""

    def __init__(self, database: Database, *, handle: Handler) -> None:
        self._database = database
        self._handle = handle

    async def keep(self, letter: DeadLetter) -> None:
        """Store it, once however often it is refused."""
        async with self._database.autocommit() as connection:
            await DeadLetterRepository(connection).keep(letter)

    async def count_open(self) -> OpenLetters:
        """How many wait for a person, and since when."""
        async with self._database.autocommit() as connection:
            return await DeadLetterRepository(connection).count_open()

    async def list(self, *, closed_too: bool, after: str | None, page_size: int) -> Page:
        """Those that follow the one with the id `after`, in the order of their refusal, to the millisecond."""
        async with self._database.autocommit() as connection:
            repository = DeadLetterRepository(connection)
            letters = await repository.list(closed_too=closed_too, after=after, limit=page_size + 1)
            waiting = await repository.count_open()
        return Page(letters=letters[:page_size], has_more=len(letters) > page_size, open=waiting.count)

    async def get(self, place: Place) -> StoredLetter:
        """The dead letter of this place.

        Raises:
            DeadLetterNotFound: there is none.
        """
        async with self._database.autocommit() as connection:
            letter = await DeadLetterRepository(connection).find(place)
        if letter is None:
            raise DeadLetterNotFound(str(place))
        return letter

    async def retry(self, place: Place, *, actor: str, note: str) -> tuple[StoredLetter, bool]:
        """Handle an open one again, and keep who wanted that and what came of it. Repeatable: handling it is.

        Returns:
            the dead letter as it is now, and whether it was open.

        Raises:
            DeadLetterNotFound: there is none.
            Unavailable: it could not be handled now for a cause that passes; nothing was kept.
        """
        stored = await self.get(place)
        if stored.status is not DeadLetterStatus.OPEN:
            return stored, False
        refusal = await self._try(stored)
        status = DeadLetterStatus.OPEN if refusal else DeadLetterStatus.RETRIED
        return await self._act(stored, LetterAction.RETRY, status, actor=actor, note=note, refusal=refusal)

    async def resolve(self, place: Place, *, actor: str, note: str) -> tuple[StoredLetter, bool]:
        """Keep that an open one needs nothing any more, and who says so.

        Returns:
            the dead letter as it is now, and whether it was open.

        Raises:
            DeadLetterNotFound: there is none.
        """
        stored = await self.get(place)
        return await self._act(stored, LetterAction.RESOLVE, DeadLetterStatus.RESOLVED, actor=actor, note=note)

    async def _try(self, stored: StoredLetter) -> str:
        """Why the consumer refuses it again, in words that quote no data; empty if it does not."""
        try:
            await self._handle(stored.letter.to_record())
        except Unprocessable as error:
            return str(error)
        except Unavailable:
            raise
        except Exception as defect:  # as the consumer does: whatever it is, it is the outcome
            log.exception("dead_letter.failed_again", place=str(stored.place))
            return locate(defect)
        return ""

    async def _act(
        self,
        stored: StoredLetter,
        action: LetterAction,
        status: DeadLetterStatus,
        *,
        actor: str,
        note: str,
        refusal: str = "",
    ) -> tuple[StoredLetter, bool]:
        async with self._database.autocommit() as connection:
            acted = await DeadLetterRepository(connection).act(
                stored.id, action, status=status, actor=actor, note=note, refusal=refusal
            )
        if acted:
            log.info("dead_letter.acted", place=str(stored.place), action=action.value, actor=actor, refusal=refusal)
        return await self.get(stored.place), acted
