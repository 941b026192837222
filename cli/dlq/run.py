"""`ordersaga dlq list|show|retry|resolve`: each asks, says what the answer is, and returns the exit code."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final

from rich.console import Console
from rich.progress import track

from cli.dlq.client import DeadLetterClient, NoSuchLetter, open_client, parse_id, to_id
from cli.dlq.report import describe_action, print_letter, print_list, to_json
from cli.exiting import ExitCode
from cli.printable import printable_json
from ordersaga.notification.v1 import dead_letters_pb2 as pb
from runtime.logs import configure_logging
from runtime.refusal import Unavailable
from runtime.rpc_client import ServiceUnavailable
from runtime.settings import Settings, SettingsError

_QUIET: Final = "critical"

Act = Callable[[pb.RecordPlace], Awaitable[tuple[pb.DeadLetter, bool]]]
"""Does something about a dead letter; as it is then, and whether it was open before."""


def list_letters(settings: Settings, *, closed_too: bool, as_json: bool) -> int:
    """Those that are open, or all; a finding if some are open."""

    async def ask(client: DeadLetterClient) -> int:
        pages = [page async for page in client.pages(closed_too=closed_too)]
        letters = [letter for page in pages for letter in page.dead_letters]
        if as_json:
            print(printable_json([to_json(letter) for letter in letters]))
        else:
            print_list(letters, open_ones=pages[-1].open, closed_too=closed_too)
        return ExitCode.FINDING if pages[-1].open else ExitCode.WELL

    return _run(settings, ask)


def show_letter(settings: Settings, letter_id: str, *, as_json: bool) -> int:
    """One of them; a finding if it is open, or if there is no such one."""
    place = parse_id(letter_id)

    async def ask(client: DeadLetterClient) -> int:
        try:
            letter = await client.get(place)
        except NoSuchLetter as error:
            print(error, file=sys.stderr)
            return ExitCode.FINDING
        if as_json:
            print(printable_json(to_json(letter)))
        else:
            print_letter(letter)
        return ExitCode.FINDING if letter.status == pb.DEAD_LETTER_STATUS_OPEN else ExitCode.WELL

    return _run(settings, ask)


def retry_letters(settings: Settings, letter_ids: Sequence[str], *, everything: bool, note: str, dry_run: bool) -> int:
    """Have these handled again, or all that are open; a finding if one was refused."""
    if bool(letter_ids) == everything:
        raise SettingsError("name the dead letters to be tried again, or say --all")
    places = [parse_id(each) for each in letter_ids]

    async def ask(client: DeadLetterClient) -> int:
        chosen = await _open_places(client) if everything else places
        if dry_run:
            for place in chosen:
                print(f"{to_id(place)}: would be tried again")
            return ExitCode.WELL
        if not chosen:
            print("No dead letter waits for a person.")

        async def retry(place: pb.RecordPlace) -> tuple[pb.DeadLetter, bool]:
            answer = await client.retry(place, note=note)
            return answer.dead_letter, answer.acted

        return await _act(chosen, retry)

    return _run(settings, ask)


def resolve_letters(settings: Settings, letter_ids: Sequence[str], *, note: str) -> int:
    """Close these; a finding if there is no such one."""
    places = [parse_id(each) for each in letter_ids]

    async def ask(client: DeadLetterClient) -> int:
        async def resolve(place: pb.RecordPlace) -> tuple[pb.DeadLetter, bool]:
            answer = await client.resolve(place, note=note)
            return answer.dead_letter, answer.acted

        return await _act(places, resolve)

    return _run(settings, ask)


async def _open_places(client: DeadLetterClient) -> list[pb.RecordPlace]:
    return [letter.place async for page in client.pages(closed_too=False) for letter in page.dead_letters]


async def _act(places: Sequence[pb.RecordPlace], act: Act) -> int:
    """Do it to one after the other, and say what came of each."""
    console = Console(stderr=True)
    code = ExitCode.WELL
    for place in track(places, console=console, disable=len(places) < 2 or not console.is_terminal, transient=True):
        try:
            letter, acted = await act(place)
        except NoSuchLetter as error:
            print(error, file=sys.stderr)
            code = ExitCode.FINDING
            continue
        done = describe_action(letter.actions[-1]) if letter.actions else "nobody has touched it"
        print(f"{to_id(place)}: {'' if acted else 'closed already: '}{done}", flush=True)
        if letter.status == pb.DEAD_LETTER_STATUS_OPEN:
            code = ExitCode.FINDING
    return code


def _run(settings: Settings, ask: Callable[[DeadLetterClient], Coroutine[Any, Any, int]]) -> int:
    async def run() -> int:
        async with open_client(settings) as client:
            try:
                return await ask(client)
            except ServiceUnavailable as error:
                where = f"asked at {settings.notification_address}; see ORDERSAGA_NOTIFICATION_ADDRESS"
                raise Unavailable(f"{error} ({where})") from None

    configure_logging(_QUIET)  # what keeps it from its work is said in words
    return asyncio.run(run())
