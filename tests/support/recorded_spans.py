"""The spans of this process, as an exporter in memory gets them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from runtime import tracing
from runtime.trace_export import TraceExport


class RecordedSpans:
    """Every span that has ended."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    def all(self) -> list[ReadableSpan]:
        """The spans, by their end."""
        return list(self._exporter.get_finished_spans())

    async def until_ended(self, name: str, kind: SpanKind) -> None:
        """Wait for the span: that of a server may end after the client has its answer."""
        async with asyncio.timeout(60):
            while not any((span.name, span.kind) == (name, kind) for span in self.all()):  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.01)

    def named(self, name: str) -> ReadableSpan:
        """The one span of that name."""
        [found] = [span for span in self.all() if span.name == name]
        return found


@contextmanager
def recording() -> Iterator[RecordedSpans]:
    """Traces are on as long as the context is open."""
    exporter = InMemorySpanExporter()
    with tracing.recorded_by(TraceExport(SimpleSpanProcessor(exporter)).tracer_of):
        yield RecordedSpans(exporter)


def parent_of(span: ReadableSpan) -> str:
    """The id of a span's parent; empty for a root."""
    return "" if span.parent is None else f"{span.parent.span_id:016x}"


def id_of(span: ReadableSpan) -> str:
    """The id of a span."""
    assert span.context is not None
    return f"{span.context.span_id:016x}"


def trace_of(span: ReadableSpan) -> str:
    """The id of a span's trace."""
    assert span.context is not None
    return f"{span.context.trace_id:032x}"
