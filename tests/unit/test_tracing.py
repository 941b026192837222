"""In which trace something happens, and what of it is recorded."""

from __future__ import annotations

import re
import socket

import pytest
from opentelemetry.trace import SpanKind, StatusCode
from structlog.testing import capture_logs

from domain.ids import new_id
from runtime import tracing
from runtime.settings import Settings, SettingsError
from runtime.tracing import current_traceparent, event_traceparent, exported, span
from tests.support.recorded_spans import id_of, parent_of, recording, trace_of

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_all_events_of_an_order_are_in_the_trace_that_has_its_id_while_traces_are_off() -> None:
    order_id = new_id()

    first, second = (event_traceparent(cause_id=order_id, event_id=f"order:{order_id}:{seq}") for seq in (1, 2))

    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", first)
    assert first.split("-")[1] == second.split("-")[1] == order_id.replace("-", "")
    assert first != second


def test_an_event_told_twice_is_one_span() -> None:
    order_id = new_id()

    assert event_traceparent(cause_id=order_id, event_id="a") == event_traceparent(cause_id=order_id, event_id="a")


def test_an_event_is_in_the_span_in_which_it_happens() -> None:
    with recording() as spans, span("work"):
        traceparent = event_traceparent(cause_id=new_id(), event_id="a")

    work = spans.named("work")
    assert traceparent.split("-")[:3] == ["00", trace_of(work), id_of(work)]


def test_nothing_is_recorded_or_passed_on_while_traces_are_off() -> None:
    with span("work", parent={"traceparent": PARENT}) as work:
        assert not work.is_recording()
        assert (current_traceparent(), tracing.carrier()) == (None, {})


def test_a_span_goes_on_where_its_carrier_comes_from_and_not_in_the_span_around() -> None:
    with recording() as spans, span("around"):
        with span("joined", parent={"traceparent": PARENT}):
            pass
        with span("root", parent={}):
            pass

    assert (trace_of(spans.named("joined")), parent_of(spans.named("joined"))) == tuple(PARENT.split("-")[1:3])
    assert parent_of(spans.named("root")) == ""
    assert len({trace_of(each) for each in spans.all()}) == 3


def test_what_is_not_to_be_recorded_is_not_though_its_context_goes_on() -> None:
    unwanted = PARENT.removesuffix("01") + "00"

    with recording() as spans, span("work", parent={"traceparent": unwanted}):
        traceparent = current_traceparent()

    assert spans.all() == []
    assert traceparent is not None
    assert (traceparent.split("-")[1], traceparent.split("-")[3]) == (PARENT.split("-")[1], "00")


def test_a_span_says_which_error_ended_it_and_not_what_that_said() -> None:
    with recording() as spans, pytest.raises(ValueError, match="ada@example"), span("work", SpanKind.CLIENT):
        raise ValueError("ada@example.test is no number")

    work = spans.named("work")
    assert (work.status.status_code, work.attributes) == (StatusCode.ERROR, {"error.type": "ValueError"})
    assert "ada@" not in work.to_json()


def test_a_protocol_that_is_not_spoken_ends_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")

    with (
        pytest.raises(SettingsError, match=r"OTEL_EXPORTER_OTLP_PROTOCOL: .*not by grpc"),
        exported(Settings(tracing=True)),
    ):
        pass


async def test_a_collector_that_does_not_answer_holds_no_stop_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
        with capture_logs() as lines, exported(Settings(tracing=True, shutdown_grace=0.1)), span("work"):
            pass

    assert [line["event"] for line in lines] == ["tracing.not_flushed"]
