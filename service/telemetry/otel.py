"""OpenTelemetry behind `tracing`; loaded only where it is used.

The standard variables, OTEL_…, set collector, sampler, queue and resource; spans are exported over
gRPC. A span is sampled if its parent is, which is Envoy's where there is one.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from grpc import StatusCode
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status
from opentelemetry.trace import StatusCode as SpanStatus
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.errors import StoreUnavailable
from service.telemetry import logs

_STOP_SECONDS = 3.0
_CONTEXT = ("traceparent", "tracestate")
_FAULTS = {
    StatusCode.UNKNOWN, StatusCode.DEADLINE_EXCEEDED, StatusCode.UNIMPLEMENTED,
    StatusCode.INTERNAL, StatusCode.UNAVAILABLE, StatusCode.DATA_LOSS,
}  # fmt: skip
"""What OpenTelemetry's conventions for gRPC count as errors of the server."""


class Otel:
    """A tracer and its exporter, with a queue of 2048 spans unless OTEL_BSP_MAX_QUEUE_SIZE."""

    def __init__(self) -> None:
        """Connects to nothing yet.

        Raises:
            ValueError: A variable is malformed.
        """
        name = os.environ.get("OTEL_SERVICE_NAME") or "challenge-service"
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": name}), shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("challenge-service")
        self._propagator = TraceContextTextMapPropagator()

    def stop(self) -> None:
        """Exports the remaining spans, within three seconds."""
        # The provider itself would wait for as long as the collector is silent.
        stopping = threading.Thread(target=self._provider.shutdown, daemon=True)
        stopping.start()
        stopping.join(_STOP_SECONDS)

    def provider_call(self, channel: str) -> AbstractContextManager[Span]:
        """Makes the span of a call to a provider; see `tracing.provider_call`."""
        return self._span(channel, SpanKind.CLIENT, {})

    def dispatch(self, kind: str) -> AbstractContextManager[Span]:
        """Makes the span of a delivery; see `tracing.dispatch`."""
        return self._span("dispatch", SpanKind.INTERNAL, {"challenge.type": kind})

    def headers(self) -> dict[str, str]:
        """Returns the trace context of the current span."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return carrier

    def call(self, method: str, handler: Any) -> Any:
        """Wraps a handler; see `tracing.call`."""
        service, _, rpc = method[1:].partition("/")
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": rpc}

        async def traced(request: Any, context: Any) -> Any:
            metadata = context.invocation_metadata() or ()
            parent = self._propagator.extract(
                {key: value for key, value in metadata if key in _CONTEXT}
            )
            with self._span(method[1:], SpanKind.SERVER, attributes, parent) as span:
                trace_id = trace.format_trace_id(span.get_span_context().trace_id)
                logs.bind(trace_id=trace_id)
                code = StatusCode.CANCELLED
                try:
                    answer = await handler(request, context)
                    code = StatusCode.OK
                    return answer
                except asyncio.CancelledError:
                    raise
                except BaseException:  # what context.abort ends the call with
                    code = context.code()
                    raise
                finally:
                    span.set_attribute("rpc.grpc.status_code", code.value[0])
                    if code in _FAULTS:
                        span.set_status(Status(SpanStatus.ERROR))

        return traced

    @contextmanager
    def statement(self, name: str) -> Iterator[None]:
        """Makes the span of a statement; see `tracing.statement`."""
        if not trace.get_current_span().get_span_context().is_valid:
            yield
            return
        with self._span(name, SpanKind.CLIENT, {"db.query.summary": name}) as span:
            try:
                yield
            except StoreUnavailable:
                span.set_status(Status(SpanStatus.ERROR))
                raise

    def _span(
        self, name: str, kind: SpanKind, attributes: Mapping[str, str], parent: Any = None
    ) -> AbstractContextManager[Span]:
        return self._tracer.start_as_current_span(
            name, parent, kind, attributes, record_exception=False, set_status_on_exception=False
        )
