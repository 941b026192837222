"""Exports spans by OTLP over HTTP. Imported only where traces are on.

Where spans go, how many are kept, and how they are batched, OpenTelemetry's own variables say: OTEL_EXPORTER_OTLP_…,
OTEL_TRACES_SAMPLER, OTEL_BSP_…, OTEL_RESOURCE_ATTRIBUTES
(https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/).
"""

from __future__ import annotations

import os
import threading
from importlib.metadata import version
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.semconv.attributes.service_attributes import (
    SERVICE_INSTANCE_ID,
    SERVICE_NAME,
    SERVICE_NAMESPACE,
    SERVICE_VERSION,
)
from opentelemetry.trace import Tracer

from domain.ids import new_id
from runtime.settings import SettingsError

_PRODUCT: Final = "ordersaga"
_PROTOCOL: Final = "http/protobuf"
_PROTOCOL_VARIABLES: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


class TraceExport:
    """The spans of a process, on their way to a collector; each component has a resource of its own.

    Args:
        processor: takes the spans, in place of the OTLP exporter that the environment describes.

    Raises:
        SettingsError: the environment wants another protocol.
    """

    def __init__(self, processor: SpanProcessor | None = None) -> None:
        self._processor = processor or _otlp()
        self._instance = new_id()
        self._tracers: dict[str, Tracer] = {}

    def tracer_of(self, component: str) -> Tracer:
        """The tracer whose spans say that they are of this component."""
        tracer = self._tracers.get(component)
        if tracer is None:
            provider = TracerProvider(resource=self._resource(component or _PRODUCT), shutdown_on_exit=False)
            provider.add_span_processor(self._processor)
            tracer = self._tracers[component] = provider.get_tracer(_PRODUCT, version(_PRODUCT))
        return tracer

    def flush(self, seconds: float) -> bool:
        """Export what is still held; false if that took longer than these seconds, and goes on."""
        exporting = threading.Thread(target=self._processor.shutdown, daemon=True)
        exporting.start()
        exporting.join(seconds)
        return not exporting.is_alive()

    def _resource(self, component: str) -> Resource:
        """What the environment says of it comes first."""
        own = {
            SERVICE_NAMESPACE: _PRODUCT,
            SERVICE_NAME: component,
            SERVICE_VERSION: version(_PRODUCT),
            SERVICE_INSTANCE_ID: self._instance,
        }
        return Resource.create(own).merge(OTELResourceDetector().detect())


def _otlp() -> SpanProcessor:
    for variable in _PROTOCOL_VARIABLES:
        protocol = os.environ.get(variable) or _PROTOCOL
        if protocol != _PROTOCOL:
            raise SettingsError(
                f"{variable}: traces are exported by {_PROTOCOL} alone, not by {protocol}; collectors take it on port "
                "4318, or leave the variable out"
            )
    return BatchSpanProcessor(OTLPSpanExporter())
