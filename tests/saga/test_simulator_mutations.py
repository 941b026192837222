"""A workflow or service with one defect each is found out by the simulator, with the schedule that does.

`tests.saga.simulator.mutations` says where each is looked for. The sound code passes the very schedules that the defect
failed: so it is the defect that was found, and not a rule that nothing can keep.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import uvloop

from tests.saga.simulator.explore import describe
from tests.saga.simulator.mutations import MUTATIONS
from tests.saga.simulator.schedule import parse
from tests.saga.simulator.simulator import Simulator

# A workflow that closes with an activity under way makes the SDK cancel one which may have ended by then.
pytestmark = [
    pytest.mark.timeout(3_600),
    pytest.mark.filterwarnings("ignore:Cannot find activity to cancel:UserWarning"),
]


@pytest.fixture(autouse=True)
def what_hangs_is_given_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken workflows ask for steps and leave activities behind as ours never do, and nobody compares their traces."""
    monkeypatch.setattr("tests.saga.simulator.turns.LONGEST", 1.0)
    monkeypatch.setattr("tests.saga.simulator.simulator.SILENCE", 4)
    monkeypatch.setattr("tests.saga.simulator.simulator.LONGEST", 40)


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_defect_is_found_by_a_schedule(
    simulator: Simulator, name: str, record_property: Callable[[str, object], None]
) -> None:
    mutation = MUTATIONS[name]

    ran = uvloop.run(mutation.search(simulator))
    found = [outcome for outcome in ran if any(mutation.found_by in breach for breach in outcome.breaches)]
    assert found, f"none of {len(ran)} schedules broke the rule; broken: {[outcome.breaches for outcome in ran]}"
    shown = found[0]
    record_property("figure", f"defect found, {name}: by '{shown.schedule}': {mutation.found_by}")

    [alone] = uvloop.run(mutation.run(simulator, [parse(str(shown.schedule))]))
    assert any(mutation.found_by in breach for breach in alone.breaches)
    passed = uvloop.run(simulator.run([outcome.schedule for outcome in ran if outcome.breaches]))
    assert [describe(outcome) for outcome in passed if outcome.breaches] == []
