"""A saga or a shop that is broken in one way each is caught by the explorer, with the schedule that catches it.

`tests.explorer.hunt` says where each is looked for. The sound saga and shop pass the very schedules that were run until
the broken one was caught: so it is the break that was found, and not a rule that nothing can keep.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.explorer.explore import describe
from tests.explorer.hunt import HUNTS
from tests.explorer.lab import Lab
from tests.explorer.schedule import parse

# A workflow that closes with an activity under way makes the SDK cancel one which may have ended by then.
pytestmark = pytest.mark.filterwarnings("ignore:Cannot find activity to cancel:UserWarning")


@pytest.mark.parametrize("mutant", HUNTS)
async def test_a_broken_saga_or_shop_is_caught_by_a_schedule(
    mutant: str, record_property: Callable[[str, object], None]
) -> None:
    hunt = HUNTS[mutant]
    broken, sound = Lab(saga=hunt.saga, make_shop=hunt.shop), Lab()

    ran = await hunt.run(broken)
    caught = [outcome for outcome in ran if any(hunt.breaks in breach for breach in outcome.breaches)]
    assert caught, f"none of {len(ran)} schedules broke the rule; broken: {[outcome.breaches for outcome in ran]}"
    shown = caught[0]
    record_property("figure", f"mutant caught, {mutant}: by '{shown.schedule}': {hunt.breaks}")

    [alone] = await broken.run([parse(str(shown.schedule))])
    assert any(hunt.breaks in breach for breach in alone.breaches)
    passed = await sound.run([outcome.schedule for outcome in ran])
    assert [describe(outcome) for outcome in passed if outcome.breaches] == []
