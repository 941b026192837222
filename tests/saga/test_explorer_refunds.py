"""Every single fault and event of a refund and a dispute, and many pairs: money, stock, order and attention agree.

`tests.explorer.refund_explore` says what is enumerated, `tests.explorer.refund_oracle` what is checked. How many
distinct traces are met at least is asked for; seconds are only printed. The shares of the space are part of
`make test-more`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import pytest

from tests.explorer.refund_explore import describe, explore
from tests.explorer.refund_lab import Lab
from tests.explorer.refund_mutants import HUNTS

TRACES: Final = 250
"""In each share; `make explore` runs more of the space."""

# A workflow that closes with an activity under way makes the SDK cancel one which may have ended by then.
pytestmark = pytest.mark.filterwarnings("ignore:Cannot find activity to cancel:UserWarning")

Record = Callable[[str, object], None]


async def explore_share(record: Record, shapes: Sequence[str], *, traces: int, **options: Any) -> None:
    report = await explore(shapes, **options)

    record("figure", f"{', '.join([*shapes, *options.get('only_faults_of', ())])}: {report}")
    breaches = "\n".join(describe(outcome) for outcome in report.breaches)
    assert not breaches, breaches
    assert len(report.traces) >= traces


@pytest.mark.more
@pytest.mark.timeout(900)
class TestRefundsOfASale:
    async def test_no_schedule_breaks_a_rule(self, record_property: Record) -> None:
        await explore_share(
            record_property,
            ["all", "part", "owed", "dashboard"],
            only_faults_of=["failed", "resolved"],
            traces=TRACES,
            pairs=10,
        )


@pytest.mark.more
@pytest.mark.timeout(900)
class TestRefundsThatTakeTime:
    async def test_no_schedule_breaks_a_rule(self, record_property: Record) -> None:
        await explore_share(record_property, ["pending"], only_faults_of=["two", "disputed"], traces=TRACES, pairs=10)


@pytest.mark.parametrize("mutant", HUNTS)
async def test_a_broken_refund_is_caught_by_a_schedule(mutant: str, record_property: Record) -> None:
    hunt = HUNTS[mutant]

    ran = await hunt.run(hunt.lab())
    caught = [outcome for outcome in ran if any(hunt.breaks in breach for breach in outcome.breaches)]
    assert caught, f"none of {len(ran)} schedules broke the rule; broken: {[outcome.breaches for outcome in ran]}"
    record_property("figure", f"mutant of refunds caught, {mutant}: by '{caught[0].schedule}': {hunt.breaks}")

    passed = await Lab().run([outcome.schedule for outcome in ran])
    assert [describe(outcome) for outcome in passed if outcome.breaches] == []
