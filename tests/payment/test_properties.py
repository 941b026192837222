"""Whatever callers, customers and Stripe do, in whatever order and at once: nobody pays twice, or for nothing.

Plans come from Hypothesis. A plan is a list of bundles; the acts of a bundle run in parallel, by two processes of the
service, and the next bundle follows when all are done. `pytest --hypothesis-profile=search` makes other plans at each
run, and more of them.
"""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.payment_harness import PaymentHarness
from tests.support.payment_scenarios import (
    Act,
    Authenticate,
    CarryOut,
    Close,
    Dashboard,
    Hear,
    LookAtDispute,
    MoveDispute,
    MoveRefund,
    Open,
    OpenDispute,
    Pay,
    Refresh,
    Request,
    Retry,
    Scene,
    Sweep,
    SweepFollowUps,
    Void,
)

ORDERS = 2
CARDS = ["pm_card_visa", "pm_card_chargeDeclined", "pm_card_authenticationRequired"]

orders = st.integers(0, ORDERS - 1)
acts = st.one_of(
    st.builds(Open, orders),
    st.builds(Pay, orders, st.sampled_from(CARDS)),
    st.builds(Authenticate, orders, st.booleans()),
    st.builds(Close, orders),
    st.builds(Void, orders),
    st.builds(Refresh, orders),
    st.builds(Hear, st.lists(st.integers(0, 9), min_size=1, max_size=4).map(tuple)),
    st.just(Sweep()),
)
amounts = st.sampled_from([1, 900, 1_300, 2_599])
refund_acts = st.one_of(
    st.builds(Request, orders, st.none() | amounts, st.integers(0, 2)),
    st.builds(CarryOut, orders),
    st.builds(Retry, orders, st.booleans()),
    st.builds(Dashboard, orders, amounts),
    st.builds(MoveRefund, orders, st.integers(0, 4), st.sampled_from(["succeeded", "failed", "canceled"])),
    st.builds(OpenDispute, orders, st.sampled_from(["needs_response", "warning_needs_response"])),
    st.builds(
        MoveDispute, orders, st.sampled_from(["under_review", "won", "lost", "warning_closed", "needs_response"])
    ),
    st.builds(LookAtDispute, orders),
    st.builds(Void, orders),
    st.builds(Hear, st.lists(st.integers(0, 30), min_size=1, max_size=6).map(tuple)),
    st.just(Sweep()),
    st.just(SweepFollowUps()),
)
refund_bundles = st.lists(
    st.lists(st.tuples(refund_acts, st.integers(0, 1)), min_size=1, max_size=4), min_size=2, max_size=9
)
refundable = st.lists(st.sampled_from(["pm_card_visa", "pm_card_pendingRefund"]), min_size=ORDERS, max_size=ORDERS)
bundles = st.lists(st.lists(st.tuples(acts, st.integers(0, 1)), min_size=1, max_size=4), min_size=1, max_size=7)
cards = st.lists(st.sampled_from([None, *CARDS]), min_size=ORDERS, max_size=ORDERS)


@given(cards=cards, plan=bundles)
@settings(max_examples=settings().max_examples // 2)
async def test_stripe_and_our_books_agree_whatever_happens_at_once(
    shared_harness: PaymentHarness, cards: list[str | None], plan: list[list[tuple[Act, int]]]
) -> None:
    scene = await Scene.of(shared_harness, cards)
    for bundle in plan:
        await asyncio.gather(*(scene.do(act, by) for act, by in bundle))
        await scene.check(settled=False)

    await scene.settle()
    await scene.check(settled=True)


@given(cards=refundable, plan=refund_bundles)
@settings(max_examples=settings().max_examples // 2)
async def test_no_more_goes_back_than_came_in_and_nothing_is_forgotten_whatever_happens_at_once(
    shared_harness: PaymentHarness, cards: list[str | None], plan: list[list[tuple[Act, int]]]
) -> None:
    scene = await Scene.of(shared_harness, cards)
    for order in range(ORDERS):
        await scene.do(Open(order), 0)
    for bundle in plan:
        await asyncio.gather(*(scene.do(act, by) for act, by in bundle))
        await scene.check(settled=False)

    await scene.settle()
    await scene.check(settled=True)
