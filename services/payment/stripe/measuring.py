"""What is measured of the gate to Stripe: who is in, and who waits."""

from __future__ import annotations

from runtime.measuring import Measurement, Reading
from runtime.metrics import STRIPE_CALLS
from services.payment.stripe.gate import Lane, StripeGate


def stripe_measurement(gate: StripeGate) -> Measurement:
    """How many calls of Stripe are under way and wait, by lane."""

    async def ask() -> list[Reading]:
        readings = []
        for lane in (Lane.CALLS, Lane.EVENTS):
            under_way, waiting = gate.standing(lane)
            readings += [
                Reading(STRIPE_CALLS, under_way, (lane.value, "under way")),
                Reading(STRIPE_CALLS, waiting, (lane.value, "waiting")),
            ]
        return readings

    return Measurement("stripe", ask)
