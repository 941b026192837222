"""Traces by OpenTelemetry (https://opentelemetry.io/docs/specs/otel/trace/), and the W3C context in which they travel.

All that happens because of one request belongs to one trace: it goes with calls, workflows and events, and through rows
that wait for their turn. What happens because of a webhook is a trace of its own, linked with the order's.

While traces are off nothing is recorded. Events have a context then as well: the trace whose id is the order's own.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final, LiteralString

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.trace import INVALID_SPAN, Link, Span, SpanKind, StatusCode, Tracer, use_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from runtime import work_context
from runtime.settings import Settings

log = structlog.stdlib.get_logger(__name__)

ORDER_ID: Final = "ordersaga.order.id"
"""Attribute of spans that are about one order."""
TRACEPARENT: Final = "traceparent"
SpanAround = AbstractContextManager[Span]
Attributes = Mapping[str, AttributeValue]
Carrier = Mapping[str, str]
"""Headers or metadata that a context came in, by lower-case name."""

_VERSION: Final = "00"
_SAMPLED: Final = "01"
_W3C: Final = TraceContextTextMapPropagator()
_OFF: Final = nullcontext(INVALID_SPAN)
_FLUSH_SECONDS: Final = 2.0
"""What the last spans of a process get to reach the collector, if the grace of its stop is not shorter."""

_tracer_of: Callable[[str], Tracer] | None = None
"""The tracer of a component; None while traces are off."""


@contextmanager
def recorded_by(tracer_of: Callable[[str], Tracer]) -> Iterator[None]:
    """Record spans as long as the context is open, by the tracer of the component that works."""
    global _tracer_of
    _tracer_of = tracer_of
    try:
        yield
    finally:
        _tracer_of = None


@contextmanager
def exported(settings: Settings) -> Iterator[None]:
    """Record and export spans as long as the context is open, if the settings say so; its end exports the last ones.

    Raises:
        SettingsError: OpenTelemetry's variables ask for what we do not have.
    """
    if not settings.tracing:
        yield
        return
    from runtime.trace_export import TraceExport  # its imports cost 0.1 s

    export = TraceExport()
    try:
        with recorded_by(export.tracer_of):
            yield
    finally:
        if not export.flush(min(settings.shutdown_grace, _FLUSH_SECONDS)):
            log.warning("tracing.not_flushed")


def is_on() -> bool:
    """Whether spans are recorded."""
    return _tracer_of is not None


def tracer() -> Tracer:
    """The tracer of the component that works; one that records nothing while traces are off."""
    return trace.NoOpTracer() if _tracer_of is None else _tracer_of(work_context.component.get())


def span(
    name: str,
    kind: SpanKind = SpanKind.INTERNAL,
    *,
    parent: Carrier | None = None,
    links: Sequence[str | None] = (),
    attributes: Attributes | None = None,
    errors: bool = True,
) -> SpanAround:
    """A span around a block. It costs a function call while traces are off.

    Args:
        name: by OpenTelemetry's semantic conventions, without anything that is unique.
        kind: likewise.
        parent: what it is caused by: a carrier, and the root of a new trace if that has no context. In place of the
            span that is around.
        links: further traceparents that have to do with it; None is none.
        attributes: likewise by the conventions. Nothing personal.
        errors: whether an exception that leaves the block makes it an error; its text is not recorded.
    """
    if _tracer_of is None:
        return _OFF
    return _recorded(begin(name, kind, parent=parent, links=links, attributes=attributes), errors=errors)


def begin(
    name: str,
    kind: SpanKind,
    *,
    parent: Carrier | None = None,
    links: Sequence[str | None] = (),
    attributes: Attributes | None = None,
) -> Span:
    """A span that its caller ends, and that is around nothing; see `span`."""
    begun = tracer().start_span(
        name,
        context=None if parent is None else _W3C.extract(parent, Context()),
        kind=kind,
        links=[Link(trace.get_current_span(_from(each)).get_span_context()) for each in links if each is not None],
        attributes=attributes,
    )
    if order_id := work_context.order_id.get():
        begun.set_attribute(ORDER_ID, order_id)
    return begun


@contextmanager
def _recorded(span: Span, *, errors: bool) -> Iterator[Span]:
    with use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield span
        except Exception as error:
            if errors:
                fail(span, type(error).__name__)
            raise


def fail(span: Span, error_type: str) -> None:
    """Let the span be an error of this type: a class of exceptions, or a status."""
    span.set_attribute(ERROR_TYPE, error_type)
    span.set_status(StatusCode.ERROR)


def note_order(named: object) -> None:
    """Note in the log, and in the span that is around, at which order is worked; see `work_context.set_order`."""
    if work_context.set_order(named) and _tracer_of is not None:
        trace.get_current_span().set_attribute(ORDER_ID, work_context.order_id.get())


def link(traceparent: str | None) -> None:
    """Link the span that is around with another one."""
    if _tracer_of is not None and traceparent is not None:
        trace.get_current_span().add_link(trace.get_current_span(_from(traceparent)).get_span_context())


def carrier() -> dict[str, str]:
    """The context of the span that is around, as headers; empty without one."""
    headers: dict[str, str] = {}
    if _tracer_of is not None:
        _W3C.inject(headers)
    return headers


def traceparent_of(span: Span) -> str | None:
    """The ``traceparent`` of a span; None of none."""
    context = span.get_span_context()
    if not context.is_valid:
        return None
    return f"{_VERSION}-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def current_traceparent() -> str | None:
    """The ``traceparent`` of the span that is around; None without one."""
    return None if _tracer_of is None else traceparent_of(trace.get_current_span())


def event_traceparent(*, cause_id: str, event_id: str) -> str:
    """The ``traceparent`` that an event is written with: that of the span in which it happens.

    Without one it stands in the trace whose id is that of the order, product or user that caused it: whoever knows one
    finds the other. A UUID is as long as a trace id, and UUIDv7 ends in the random bits that samplers look at. The same
    event has the same span id then.
    """
    current = current_traceparent()
    if current is not None:
        return current
    span_id = hashlib.sha256(event_id.encode()).hexdigest()[:16]
    return f"{_VERSION}-{uuid.UUID(cause_id).hex}-{span_id}-{_SAMPLED}"


def sql_traceparent(*, cause_id: LiteralString, event_id: LiteralString) -> LiteralString:
    """What `event_traceparent` makes without a span, as SQL over two expressions of type text."""
    span_id: LiteralString = f"left(encode(sha256(convert_to({event_id}, 'UTF8')), 'hex'), 16)"
    return f"'{_VERSION}-' || replace({cause_id}, '-', '') || '-' || {span_id} || '-{_SAMPLED}'"


def add_to_line(_logger: object, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Let a line of the log name the span that is around. A processor of structlog's."""
    if _tracer_of is not None:
        context = trace.get_current_span().get_span_context()
        if context.is_valid:
            line["trace_id"], line["span_id"] = f"{context.trace_id:032x}", f"{context.span_id:016x}"
    return line


def _from(traceparent: str) -> Context:
    return _W3C.extract({TRACEPARENT: traceparent}, Context())
