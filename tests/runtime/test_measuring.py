"""Gauges that somebody is asked for: seldom, within a limit, and gone rather than wrong."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import httpx
import pytest
from prometheus_client import REGISTRY, Gauge

from runtime import measuring, sdk_metrics
from runtime.health import Health
from runtime.measuring import Measurement, Measurements, Reading
from runtime.probes import probe_server
from runtime.refusal import Unavailable
from runtime.settings import Settings
from sandbox.ports import free_port
from tests.support.series import parse, value


@pytest.fixture
def gauge() -> Iterator[Gauge]:
    gauge = Gauge("tests_waiting", "Of these tests.", ["queue"])
    yield gauge
    REGISTRY.unregister(gauge)


class Somebody:
    """Who is asked; answers what the tests say, in the end."""

    def __init__(self, gauge: Gauge) -> None:
        self.gauge = gauge
        self.waiting: dict[str, int] = {"a": 1}
        self.error: Exception | None = None
        self.hangs = False
        self.asked = 0

    async def ask(self) -> list[Reading]:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        return [Reading(self.gauge, waiting, (queue,)) for queue, waiting in self.waiting.items()]


def asking(*somebodies: Somebody) -> Measurements:
    measurements = Measurements()
    measurements.watch(Measurement(f"tests {number}", one.ask) for number, one in enumerate(somebodies))
    return measurements


def is_up(number: int = 0) -> float | None:
    return value("ordersaga_measurement_up", measurement=f"tests {number}")


@pytest.fixture
def somebody(gauge: Gauge) -> Somebody:
    return Somebody(gauge)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every scrape asks."""
    monkeypatch.setattr(measuring, "INTERVAL", 0)


async def test_however_many_scrape_it_is_asked_once_in_a_while(somebody: Somebody) -> None:
    measurements = asking(somebody)

    await asyncio.gather(*(measurements.refresh() for _ in range(10)))
    await measurements.refresh()

    assert somebody.asked == 1
    assert value("tests_waiting", queue="a") == 1
    assert is_up() == 1


@pytest.mark.usefixtures("at_once")
async def test_what_is_not_there_any_more_is_not_shown_any_more(somebody: Somebody) -> None:
    measurements = asking(somebody)
    await measurements.refresh()
    somebody.waiting = {"b": 2}

    await measurements.refresh()

    assert value("tests_waiting", queue="a") is None
    assert value("tests_waiting", queue="b") == 2


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("error", [Unavailable("away"), ValueError("a defect")], ids=["away", "defect"])
async def test_who_cannot_be_asked_leaves_no_value_of_old(somebody: Somebody, error: Exception) -> None:
    measurements = asking(somebody)
    await measurements.refresh()

    somebody.error = error
    await measurements.refresh()
    assert value("tests_waiting", queue="a") is None
    assert is_up() == 0

    somebody.error = None
    await measurements.refresh()
    assert value("tests_waiting", queue="a") == 1
    assert is_up() == 1


@pytest.mark.usefixtures("at_once")
async def test_one_that_does_not_answer_holds_up_no_other(
    somebody: Somebody, monkeypatch: pytest.MonkeyPatch, gauge: Gauge
) -> None:
    monkeypatch.setattr(measuring, "LIMIT", 0.01)
    other = Somebody(gauge)
    other.waiting = {"other": 3}
    somebody.hangs = True

    await asking(somebody, other).refresh()

    assert (is_up(0), is_up(1)) == (0, 1)
    assert value("tests_waiting", queue="other") == 3


async def test_a_process_shows_its_metrics_whatever_is_away(
    somebody: Somebody, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sdk_metrics, "_ports", [free_port()])  # nobody listens there
    somebody.error = Unavailable("the database does not answer")
    port = free_port()
    async with (
        probe_server(Settings(probe_port=port), {"order": Health()}, [asking(somebody)]),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http,
    ):
        answer = await http.get("/metrics")

    shown = parse(answer.text)
    assert answer.status_code == 200
    assert shown["ordersaga_measurement_up", frozenset({("measurement", "tests 0")})] == 0
    assert shown["ordersaga_part_ready", frozenset({("part", "order")})] == 0  # it has not started


async def test_a_port_that_somebody_else_took_is_not_the_end_of_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = iter([taken.getsockname()[1], free_port()])
        monkeypatch.setattr(sdk_metrics, "_free_port", lambda: next(ports))
        monkeypatch.setattr(sdk_metrics, "_ports", [])

        sdk_metrics.measured_runtime.__wrapped__()

        assert len(sdk_metrics._ports) == 1
        assert await sdk_metrics.read_sdk_metrics() == b""  # nobody has counted anything
