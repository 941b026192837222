"""A collector of traces: takes what any process exports by OTLP over HTTP, and keeps it."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

_ERROR = trace_pb2.Status.STATUS_CODE_ERROR


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectedSpan:
    """A span as it arrived; ids are hex, times are Unix nanoseconds.

    Attributes:
        service: the component that made it.
        parent_id: empty for the root of a trace.
        links: trace id and span id of each.
    """

    service: str
    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    start: int
    end: int
    is_error: bool
    attributes: Mapping[str, Any]
    links: Sequence[tuple[str, str]]
    texts: Sequence[str]
    """What its status and its events say."""


class Collector:
    """Every span that arrived."""

    def __init__(self) -> None:
        self.spans: list[CollectedSpan] = []

    def take(self, body: bytes) -> None:
        """Take a request."""
        for resource_spans in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = str(_attributes(resource_spans.resource.attributes)["service.name"])
            for scope_spans in resource_spans.scope_spans:
                self.spans += [_collected(service, span) for span in scope_spans.spans]

    def trace(self, trace_id: str) -> list[CollectedSpan]:
        """The spans of one trace, by their start."""
        return sorted((span for span in self.spans if span.trace_id == trace_id), key=lambda span: span.start)


@contextmanager
def collecting(port: int) -> Iterator[Collector]:
    """A collector that listens on this port of the loopback interface."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.path != "/v1/traces":
                self.send_error(404)
                return
            collector.take(gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the standard library's
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _collected(service: str, span: trace_pb2.Span) -> CollectedSpan:
    events = [f"{event.name} {value}" for event in span.events for value in _attributes(event.attributes).values()]
    return CollectedSpan(
        service=service,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        name=span.name,
        kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        is_error=span.status.code == _ERROR,
        attributes=_attributes(span.attributes),
        links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        texts=[text for text in (span.status.message, *events) if text],
    )


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "string_value") for pair in pairs}
