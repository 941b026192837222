"""All beginnings of cases, by the names that schedules have for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tests.saga.simulator.case import Beginning
from tests.saga.simulator.order_beginnings import ORDERS
from tests.saga.simulator.refund_beginnings import REFUNDS

BEGINNINGS: Final[Mapping[str, Beginning]] = {**ORDERS, **REFUNDS}
