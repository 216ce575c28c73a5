"""OpenTelemetry behind `tracing`; loaded only where it is used.

The standard variables, OTEL_…, set collector, sampler, queue and resource; exported over gRPC.
A span is sampled if its parent is, which is Envoy's where there is one. Names are those of the
stable conventions for RPC, of semconv 1.45.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from grpc import StatusCode
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status
from opentelemetry.trace import StatusCode as SpanStatus
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.errors import StoreUnavailable
from service.telemetry import logs
from service.telemetry.conventions import FAULTS, call_attributes
from service.telemetry.otel_metrics import MetricsExport

_STOP_SECONDS = 3.0
_CONTEXT = ("traceparent", "tracestate")


class Otel:
    """A tracer and its exporter, with a queue of 2048 spans unless OTEL_BSP_MAX_QUEUE_SIZE."""

    def __init__(self) -> None:
        """Connects to nothing yet.

        Raises:
            ValueError: A variable is malformed.
        """
        name = os.environ.get("OTEL_SERVICE_NAME") or "challenge-service"
        # Workers count apart, so each is an instance.
        own = {"service.name": name, "service.instance.id": str(uuid.uuid4())}
        resource = Resource.create(own)
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        if _is_wanted("TRACES"):
            self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._metrics = MetricsExport(resource) if _is_wanted("METRICS") else None
        self._tracer = self._provider.get_tracer("challenge-service")
        self._propagator = TraceContextTextMapPropagator()

    def stop(self) -> None:
        """Exports what remains, within three seconds."""
        # The provider itself would wait for as long as the collector is silent.
        stopping = threading.Thread(target=self._provider.shutdown, daemon=True)
        stopping.start()
        until = time.monotonic() + _STOP_SECONDS
        if self._metrics is not None:
            self._metrics.stop(_STOP_SECONDS)
        stopping.join(max(0.0, until - time.monotonic()))

    def provider_call(self, channel: str) -> AbstractContextManager[Span]:
        """Makes the span of a call to a provider; see `tracing.provider_call`."""
        return self._span(channel, SpanKind.CLIENT, {})

    def dispatch(
        self, challenge_type: str, traceparent: str | None
    ) -> AbstractContextManager[Span]:
        """Makes the span of a delivery; see `tracing.dispatch`."""
        links = []
        if traceparent and not trace.get_current_span().get_span_context().is_valid:
            sent = self._propagator.extract({"traceparent": traceparent})
            links = [Link(trace.get_current_span(sent).get_span_context())]
        attributes = {"challenge.type": challenge_type}
        return self._span("dispatch", SpanKind.INTERNAL, attributes, links=links)

    def headers(self) -> dict[str, str]:
        """Returns the trace context of the current span."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return carrier

    def traceparent(self) -> str | None:
        """Names the current span, if it is sampled; see `tracing.traceparent`."""
        sampled = trace.get_current_span().get_span_context().trace_flags.sampled
        return self.headers()["traceparent"] if sampled else None

    def exemplar(self) -> dict[str, str] | None:
        """Names the current span, if it is sampled; see `tracing.exemplar`."""
        context = trace.get_current_span().get_span_context()
        return _ids(context) if context.trace_flags.sampled else None

    def call(self, method: str, handler: Any) -> Any:
        """Wraps a handler; see `tracing.call`."""
        name = method[1:]
        attributes = {"rpc.system.name": "grpc", "rpc.method": name}

        async def traced(request: Any, context: Any) -> Any:
            metadata = context.invocation_metadata() or ()
            parent = self._propagator.extract(
                {key: value for key, value in metadata if key in _CONTEXT}
            )
            with self._span(name, SpanKind.SERVER, attributes, parent) as span:
                logs.bind(**_ids(span.get_span_context()))
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
                    span.set_attributes(call_attributes(name, code.name))
                    if code.name in FAULTS:
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
        self,
        name: str,
        kind: SpanKind,
        attributes: Mapping[str, str],
        parent: Any = None,
        links: Sequence[Link] = (),
    ) -> AbstractContextManager[Span]:
        return self._tracer.start_as_current_span(
            name, parent, kind, attributes, links,
            record_exception=False, set_status_on_exception=False,
        )  # fmt: skip


def _is_wanted(signal: str) -> bool:
    """Whether the standard variables name a collector for it, and do not leave it out."""
    named = any(
        os.environ.get(f"OTEL_EXPORTER_OTLP_{which}ENDPOINT") for which in ("", f"{signal}_")
    )
    return named and os.environ.get(f"OTEL_{signal}_EXPORTER") != "none"


def _ids(context: SpanContext) -> dict[str, str]:
    return {
        "trace_id": trace.format_trace_id(context.trace_id),
        "span_id": trace.format_span_id(context.span_id),
    }
