"""The steps of the sagas are measured where they run."""

from __future__ import annotations

from tests.saga.test_outcomes import VISA
from tests.support.saga_shop import Shop
from tests.support.series import Samples, grew, samples


def attempts(before: Samples, step: str, outcome: str) -> float:
    return grew(before, samples(), "ordersaga_step_duration_seconds_count", step=step, outcome=outcome)


async def test_steps_that_succeed_fail_or_are_refused_are_told_apart_and_so_is_what_was_undone(shop: Shop) -> None:
    before = samples()
    product = await shop.product(units=1)
    failures = iter([ConnectionError("away")])

    async def fail_once() -> None:
        for error in failures:
            raise error

    shop.hooks.before["quote"] = fail_once
    run = await shop.place((product, 2), payment_method=VISA)
    assert (await shop.result(run)).reason == "OUT_OF_STOCK"

    assert attempts(before, "quote", "failed") == 1
    assert attempts(before, "quote", "succeeded") == 1
    assert attempts(before, "reserve", "refused") == 1
    assert grew(before, samples(), "ordersaga_compensations_total", step="release") == 1
