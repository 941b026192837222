"""Dead letters at the notification service, as an operator asks it about them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import grpc.aio

from cli.on_call.operator import DEADLINE, open_operator
from domain.limits import MAX_PAGE_SIZE
from domain.refusals import Refusal
from ordersaga.notification.v1 import dead_letters_pb2 as pb
from ordersaga.notification.v1.notification_pb2_grpc import NotificationServiceStub
from runtime.caller import SERVICE
from runtime.refusal import CallRefused
from runtime.rpc_client import call
from runtime.settings import Settings, SettingsError

Request = TypeVar("Request")
Answer = TypeVar("Answer")

_ID: Final = re.compile(r"([A-Za-z0-9._-]{1,249})/([0-9]{1,9})/([0-9]{1,18})")


class NoSuchLetter(Exception):
    """There is no dead letter of this id."""


def parse_id(text: str) -> pb.RecordPlace:
    """The place that an id names.

    Raises:
        SettingsError: it is no id.
    """
    parts = _ID.fullmatch(text)
    if parts is None:
        raise SettingsError(f"{text!r} is no id of a dead letter: topic/partition/offset, such as order-events/0/12")
    return pb.RecordPlace(topic=parts[1], partition=int(parts[2]), offset=int(parts[3]))


def to_id(place: pb.RecordPlace) -> str:
    """The id of the dead letter of this place."""
    return f"{place.topic}/{place.partition}/{place.offset}"


class DeadLetterClient:
    """What the notification service is asked.

    Every method raises `Unavailable` if it does not answer, `NoSuchLetter` for one that there is not, and
    `SettingsError` if it does not let us.
    """

    def __init__(self, stub: NotificationServiceStub) -> None:
        self._stub = stub

    async def pages(self, *, closed_too: bool) -> AsyncIterator[pb.ListDeadLettersResponse]:
        """All of them, page by page; at least one page."""
        request = pb.ListDeadLettersRequest(closed_too=closed_too, page_size=MAX_PAGE_SIZE)
        while True:
            page = await self._ask(self._stub.ListDeadLetters, request)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def get(self, place: pb.RecordPlace) -> pb.DeadLetter:
        """One of them, in full."""
        return (await self._ask(self._stub.GetDeadLetter, pb.GetDeadLetterRequest(place=place))).dead_letter

    async def retry(self, place: pb.RecordPlace, *, note: str) -> pb.RetryDeadLetterResponse:
        """Have it handled again."""
        return await self._ask(self._stub.RetryDeadLetter, pb.RetryDeadLetterRequest(place=place, note=note))

    async def resolve(self, place: pb.RecordPlace, *, note: str) -> pb.ResolveDeadLetterResponse:
        """Close it."""
        return await self._ask(self._stub.ResolveDeadLetter, pb.ResolveDeadLetterRequest(place=place, note=note))

    async def _ask(self, method: grpc.aio.UnaryUnaryMultiCallable[Request, Answer], request: Request) -> Answer:
        try:
            return await call(method, request, caller=SERVICE, deadline=DEADLINE)
        except CallRefused as refused:
            if refused.refusal is Refusal.DEAD_LETTER_NOT_FOUND:
                raise NoSuchLetter(refused.message) from None
            raise SettingsError(f"the notification service refuses: {_in_words(refused)}") from None


@asynccontextmanager
async def open_client(settings: Settings) -> AsyncIterator[DeadLetterClient]:
    """The notification service that the settings name, as long as the context is open.

    Raises:
        SettingsError: the operator's certificate is missing, or does not fit.
    """
    async with open_operator(settings) as operator:
        yield DeadLetterClient(operator.notifications)


def _in_words(refused: CallRefused) -> str:
    """A refusal, with what is wrong with each field."""
    return "; ".join([refused.message, *(f"{field} {violation}" for field, violation in refused.details.items())])
