"""The audit without one of its sources: what the others show is checked, and nothing that is not known is claimed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cli.audit.facts import Facts, IntentFact, OrderFact, PaymentFact, ReservationFact, Source, TransitionFact
from cli.audit.invariants import find_breaches
from cli.audit.report import Result, list_verdicts, to_data
from domain.ids import new_id
from tests.support.audit_facts import facts

ORDER = new_id()
LONG_AGO = datetime.now(UTC) - timedelta(hours=1)


def transition(seq: int, before: str | None, after: str) -> TransitionFact:
    return TransitionFact(
        order_id=ORDER,
        seq=seq,
        from_status=before,
        to_status=after,
        at=LONG_AGO,
        has_outbox_row=True,
        is_published=True,
    )


def paid_order() -> Facts:
    """A shop with one order, where everything agrees."""
    lines = {"mug": 2}
    order = OrderFact(
        id=ORDER,
        status="PAID",
        seq=3,
        total=2_500,
        refunded=0,
        currency="EUR",
        created_at=LONG_AGO,
        updated_at=LONG_AGO,
        lines=lines,
        price=2_500,
    )
    payment = PaymentFact(
        id="payment",
        order_id=ORDER,
        status="SUCCEEDED",
        amount=2_500,
        currency="EUR",
        amount_received=2_500,
        currency_received="EUR",
        intent_id="pi_1",
        seq=2,
        refunded=0,
    )
    intent = IntentFact(
        id="pi_1",
        payment_id="payment",
        order_id=ORDER,
        status="succeeded",
        amount_received=2_500,
        refunded=0,
        refunds={},
        disputes={},
    )
    return facts(
        orders={ORDER: order},
        transitions=[
            transition(1, None, "RECEIVED"),
            transition(2, "RECEIVED", "PENDING"),
            transition(3, "PENDING", "PAID"),
        ],
        reservations={ORDER: ReservationFact(order_id=ORDER, status="COMMITTED", lines=lines)},
        payments={ORDER: payment},
        intents={"pi_1": intent},
        published={ORDER: [1, 2, 3]},
    )


NOTHING_OF: Mapping[Source, Mapping[str, Any]] = {
    Source.TEMPORAL: {"runs": {}},
    Source.STRIPE: {"intents": {}},
    Source.INVENTORY: {"reservations": {}, "stock": [], "restocks": []},
    Source.PAYMENT: {"payments": {}, "refunds": [], "disputes": [], "waiting_events": []},
    Source.ORDER: {"orders": {}, "transitions": []},
    Source.KAFKA: {"published": {}},
}
"""What each source gives when it cannot be read."""


def without(known: Facts, *sources: Source) -> Facts:
    nothing = {name: value for source in sources for name, value in NOTHING_OF[source].items()}
    return replace(known, unread={source: f"{source} is away" for source in sources}, **nothing)


def results(known: Facts) -> dict[int, Result]:
    return {verdict.number: verdict.result for verdict in list_verdicts(known, find_breaches(known))}


def test_all_invariants_hold_where_everything_was_read() -> None:
    assert set(results(paid_order()).values()) == {Result.HOLDS}


@pytest.mark.parametrize(
    ("source", "not_checked", "in_part"),
    [
        (Source.TEMPORAL, {6}, {1}),
        (Source.STRIPE, {7}, {2}),
        (Source.INVENTORY, {1, 2, 3}, set()),
        (Source.PAYMENT, {1, 6, 7, 8}, {2}),
        (Source.ORDER, {1, 2, 4, 5, 6, 9}, set()),
        (Source.KAFKA, set(), {5}),
    ],
)
def test_a_source_that_is_away_breaks_nothing_and_what_needs_it_is_not_said_to_hold(
    source: Source, not_checked: set[int], in_part: set[int]
) -> None:
    found = results(without(paid_order(), source))

    assert {number for number, result in found.items() if result is Result.BROKEN} == set()
    assert {number for number, result in found.items() if result is Result.NOT_CHECKED} == not_checked
    assert {number for number, result in found.items() if result is Result.IN_PART} == in_part


def test_with_nothing_read_nothing_is_said() -> None:
    assert set(results(without(paid_order(), *Source)).values()) == {Result.NOT_CHECKED}


def test_what_is_broken_is_found_without_a_source_that_has_no_part_in_it() -> None:
    known = paid_order()
    stolen = replace(known, payments={ORDER: replace(known.payments[ORDER], amount_received=1)})

    assert results(without(stolen, Source.TEMPORAL, Source.KAFKA, Source.STRIPE))[1] is Result.BROKEN


def test_an_unpaid_order_whose_units_may_be_about_to_be_sold_is_no_breach_while_temporal_is_away() -> None:
    known = paid_order()
    pending = replace(known, orders={ORDER: replace(known.orders[ORDER], status="PENDING")})

    assert 1 in {breach.invariant for breach in find_breaches(pending)}
    assert 1 not in {breach.invariant for breach in find_breaches(without(pending, Source.TEMPORAL))}


def test_scripts_read_what_was_checked_and_why_the_rest_was_not() -> None:
    known = without(paid_order(), Source.KAFKA)

    data = to_data(known, find_breaches(known))

    assert data["unread"] == {"kafka": "kafka is away"}
    assert [invariant["result"] for invariant in data["invariants"]] == [*["holds"] * 4, "in part", *["holds"] * 4]
    assert data["invariants"][4]["lacking"] == ["kafka"]
