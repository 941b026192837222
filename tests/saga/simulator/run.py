"""One case from its beginning to its end, and what is looked at then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import grpc.aio
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import CancelledError

from tests.saga.simulator import oracle
from tests.saga.simulator.case import Case
from tests.saga.simulator.events import Where
from tests.saga.simulator.world import World, read_world

if TYPE_CHECKING:
    from tests.saga.simulator.simulator import Outcome

ROUNDS: Final = 8
"""How often a case may come to its end and go on: more only if it never ends."""
LONGEST: Final = timedelta(days=2)
"""Of the server's time, for an order whose customer has 15 minutes."""
LATE_STEPS: Final = ("reserve", "open_payment", "mark_pending")


async def run_case(case: Case) -> Outcome:
    """Run it, and say what it breaks."""
    from tests.saga.simulator.simulator import Outcome

    async with case.turns.outside():
        await case.beginning.begin(case)
    await _run_to_the_end(case)
    results = _results(case)
    world = await read_world(case.slot.installation, case.slot.databases)
    found = await oracle.breaches_at_the_end(case, world, results)
    if case.is_of_an_order:
        found += await _breaches_of_late_requests(case, world, found)
    case.breaches += [*found, *_breaches_of_time(case)]
    case.trace.append(
        f"ends {world.order.status} {world.order.reason or ''} {[row.status.value for row in world.refunds]}"
    )
    breaches = list(dict.fromkeys(case.breaches))
    return Outcome(case.schedule, case.fingerprint, case.trace, case.seen, breaches, case.turns.stalls)


async def _run_to_the_end(case: Case) -> None:
    """Let everything run until nothing is under way any more, and nothing else comes of what Stripe has to say."""
    for _ in range(ROUNDS):
        await case.all_closed()
        if case.cancellation is not None:
            with suppress(grpc.aio.AioRpcError):  # the order was not to be cancelled any more
                await case.cancellation
        if not case.is_of_an_order:
            await case.arrive("end", Where.END, None)
        before = len(case.runs)
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
    """What goes wrong when each request of a forward step arrives once more, as if it had been under way until now."""
    before = oracle.state(world)
    for step in LATE_STEPS:
        if step in case.requests:
            await case.repeat(step)
    await _run_to_the_end(case)
    after = await read_world(case.slot.installation, case.slot.databases)
    breaches = []
    if oracle.state(after) != before:
        breaches.append(f"something late changed {before} to {oracle.state(after)}")
    late = await oracle.breaches_at_the_end(case, after, _results(case))
    return breaches + [f"after everything late: {what}" for what in late if what not in found]


def _breaches_of_time(case: Case) -> Iterator[str]:
    if case.took > LONGEST:
        yield f"took {case.took} of the server's time"
