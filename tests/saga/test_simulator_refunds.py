"""What goes wrong with a refund or a dispute, and what happens beside it: money, stock, order and attention agree.

`tests.saga.simulator` says what is enumerated and what is checked. Every single fault that leaves a trace of its own is
part of `make test`; the others, every single event and many pairs are part of `make test-more`. How many distinct
traces are met at least is asked for; seconds are only printed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import pytest
import uvloop

from tests.saga.simulator.explore import Report, describe, explore
from tests.saga.simulator.refund_beginnings import REFUNDS
from tests.saga.simulator.simulator import Simulator

FAULTS: Final = 350
"""Distinct traces of single faults."""
SHARES: Final[Sequence[tuple[Sequence[str], int]]] = (
    (("all", "part", "undone"), 600),
    (("dashboard", "pending", "undone-pending"), 600),
    (("two",), 400),
    (("failed", "resolved", "back"), 400),
    (("disputed", "charged-back"), 600),
)
"""Beginnings, and the distinct traces that are met at least."""

# A workflow that closes with an activity under way makes the SDK cancel one which may have ended by then.
pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(3_600),
    pytest.mark.filterwarnings("ignore:Cannot find activity to cancel:UserWarning"),
]

Record = Callable[[str, object], None]


def check(report: Report, *, of: str, traces: int, record: Record) -> None:
    record("figure", f"{of}: {report}")
    breaches = "\n".join(describe(outcome) for outcome in report.breaches)
    assert not breaches, breaches
    assert len(report.traces) >= traces


def test_no_single_fault_breaks_a_rule(simulator: Simulator, record_property: Record) -> None:
    report = uvloop.run(explore(simulator, [], only_faults_of=list(REFUNDS), traces=0))

    check(report, of="single faults of refunds and disputes", traces=FAULTS, record=record_property)


@pytest.mark.more
@pytest.mark.parametrize(("beginnings", "traces"), SHARES, ids=[", ".join(beginnings) for beginnings, _ in SHARES])
def test_no_event_and_no_pair_of_moves_breaks_a_rule(
    simulator: Simulator, beginnings: Sequence[str], traces: int, record_property: Record
) -> None:
    report = uvloop.run(explore(simulator, beginnings, traces=traces))

    check(report, of=", ".join(beginnings), traces=traces, record=record_property)
