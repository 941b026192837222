"""Gauges whose values somebody has to be asked for: asked when somebody scrapes, and not more often than that.

Who cannot be asked leaves no value behind that looks like today's: its gauges are gone, and
``ordersaga_measurement_up`` says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Final

import structlog
from prometheus_client import Gauge

from runtime.metrics import MEASUREMENT_UP
from runtime.refusal import Unavailable

log = structlog.stdlib.get_logger(__name__)

INTERVAL: Final = 5.0
"""Seconds for which an answer is shown again: several who scrape cost no more than one."""
LIMIT: Final = 2.0
"""Seconds that an answer may take: a scrape has 10 for all of them."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a gauge is to show.

    Attributes:
        labels: the values of the gauge's labels, in their order; it has some, for one without is always there.
    """

    gauge: Gauge
    value: float
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Measurement:
    """Something that is asked.

    Attributes:
        name: says what it is; the value of a label.
        ask: answers with what its gauges are to show; what it raises is no defect of the process.
    """

    name: str
    ask: Callable[[], Awaitable[Iterable[Reading]]]


class Measurements:
    """What one part has to ask for."""

    def __init__(self) -> None:
        self._each: Sequence[_Watched] = ()

    def watch(self, measurements: Iterable[Measurement]) -> None:
        """Ask for these from now on."""
        self._each = [_Watched(measurement) for measurement in measurements]

    async def refresh(self) -> None:
        """Have the gauges show values that are `INTERVAL` old at most, or none."""
        await asyncio.gather(*(each.refresh() for each in self._each))


class _Watched:
    """A measurement, and what its gauges show."""

    def __init__(self, measurement: Measurement) -> None:
        self._measurement = measurement
        self._asked_at: float | None = None
        self._asking = asyncio.Lock()
        self._shown: set[tuple[Gauge, tuple[str, ...]]] = set()

    async def refresh(self) -> None:
        async with self._asking:
            if self._asked_at is None or monotonic() - self._asked_at >= INTERVAL:
                readings = await self._ask()
                self._asked_at = monotonic()
                self._show(readings or ())
                MEASUREMENT_UP.labels(self._measurement.name).set(readings is not None)

    async def _ask(self) -> Iterable[Reading] | None:
        try:
            async with asyncio.timeout(LIMIT):
                return await self._measurement.ask()
        except (Unavailable, TimeoutError) as problem:
            log.info("measurement.unavailable", measurement=self._measurement.name, problem=str(problem))
        except Exception:  # whatever is wrong with one, the others are shown
            log.exception("measurement.failed", measurement=self._measurement.name)
        return None

    def _show(self, readings: Iterable[Reading]) -> None:
        before, self._shown = self._shown, set()
        for reading in readings:
            reading.gauge.labels(*reading.labels).set(reading.value)
            self._shown.add((reading.gauge, reading.labels))
        for gauge, labels in before - self._shown:
            gauge.remove(*labels)
