"""One case from its beginning to its end, and what is looked at then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

import grpc.aio
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import CancelledError

from tests.saga.simulator import background, oracle
from tests.saga.simulator.case import Case, Outcome
from tests.saga.simulator.events import Where
from tests.saga.simulator.world import World, read_world

ROUNDS: Final = 8
"""How often a case may come to its end and go on: more only if it never ends."""
LONGEST: Final = timedelta(days=2)
"""Of the server's time, for an order whose customer has 15 minutes."""
LATE_STEPS: Final = ("reserve", "open_payment", "mark_pending")


async def run_case(case: Case) -> Outcome:
    """Run it, and say what it breaks."""
    async with case.turns.outside():
        await case.beginning.begin(case)
    await _run_to_the_end(case)
    if case.is_of_an_order:
        # Events that are under way still must not be needed for anything to agree.
        world = await read_world(case.slot.installation, case.slot.databases)
        before = oracle.breaches_at_the_end(case, world, _results(case))
        case.breaches += before
        case.breaches += await _breaches_of_late_requests(case, world, before)
    else:
        world = await read_world(case.slot.installation, case.slot.databases)
        case.breaches += oracle.breaches_at_the_end(case, world, _results(case), are_events_processed=True)
    case.breaches += _breaches_of_time(case)
    refunds = [row.status.value for row in world.refunds]
    case.trace.append(f"ends {world.order.status} {world.order.reason or ''} {refunds}")
    breaches = list(dict.fromkeys(case.breaches))
    return Outcome(case.schedule, case.fingerprint, case.trace, case.seen, breaches, case.turns.stalls)


async def _run_to_the_end(case: Case) -> None:
    """Let everything run until nothing is under way any more."""
    for _ in range(ROUNDS):
        await case.all_closed()
        if case.cancellation is not None:
            with suppress(grpc.aio.AioRpcError):  # the order was not to be cancelled any more
                await case.cancellation
        before = len(case.runs)
        if not case.is_of_an_order:
            await case.arrive("end", Where.END, None)
            await case.deliver()
        if len(case.runs) == before and all(run.result.done() for run in case.runs.values()):
            return
    case.breaches.append("never ends")


def _results(case: Case) -> Mapping[str, Any]:
    """What the last run of each workflow answered, by its name; a cancelled one nothing."""
    results = dict[str, Any]()
    for run in case.runs.values():
        error = run.result.exception()
        results[run.flow.name] = None if error is not None else run.result.result()
        if error is not None and not (
            isinstance(error, WorkflowFailureError) and isinstance(error.cause, CancelledError)
        ):
            cause = error.cause if isinstance(error, WorkflowFailureError) else error
            case.breaches.append(f"the workflow {run.flow.name or 'of the order'} failed: {cause!r}")
    return results


async def _breaches_of_late_requests(case: Case, world: World, found: list[str]) -> list[str]:
    """What goes wrong when everything late arrives: each request of a forward step once more, and all events."""
    for step in LATE_STEPS:
        if step in case.requests:
            await case.repeat(step)
    await case.deliver()
    await background.follow_up_all(case.slot)
    await _run_to_the_end(case)
    after = await read_world(case.slot.installation, case.slot.databases)
    breaches = []
    if oracle.state(after) != oracle.state(world):
        breaches.append(f"something late changed {oracle.state(world)} to {oracle.state(after)}")
    late = oracle.breaches_at_the_end(case, after, _results(case), are_events_processed=True)
    return breaches + [f"after everything late: {what}" for what in late if what not in found]


def _breaches_of_time(case: Case) -> Iterator[str]:
    if case.took > LONGEST:
        yield f"took {case.took} of the server's time"
