"""An OpenTelemetry collector that keeps what it is sent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as trace_grpc


class Span(NamedTuple):
    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Any]
    failed: bool
    events: int
    links: list[str]


class Collector(trace_grpc.TraceServiceServicer):
    def __init__(self) -> None:
        self.received: list[trace_pb2.ExportTraceServiceRequest] = []
        self.measured: list[metrics_pb2.ExportMetricsServiceRequest] = []
        self.port = 0

    async def Export(self, request: Any, context: Any) -> Any:
        if isinstance(request, metrics_pb2.ExportMetricsServiceRequest):
            self.measured.append(request)
            return metrics_pb2.ExportMetricsServiceResponse()
        self.received.append(request)
        return trace_pb2.ExportTraceServiceResponse()

    def metrics(self) -> dict[str, Any]:
        """The metrics of the last export, by name."""
        if not self.measured:
            return {}
        [group] = self.measured[-1].resource_metrics
        return {metric.name: metric for scope in group.scope_metrics for metric in scope.metrics}

    def spans(self) -> list[Span]:
        return [
            Span(
                attributes(group.resource)["service.name"], span.name,
                span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(),
                attributes(span), span.status.code == span.status.STATUS_CODE_ERROR,
                len(span.events), [link.trace_id.hex() for link in span.links],
            )
            for request in self.received
            for group in request.resource_spans
            for scope in group.scope_spans
            for span in scope.spans
        ]  # fmt: skip


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    collector = Collector()
    server = grpc.aio.server()
    trace_grpc.add_TraceServiceServicer_to_server(collector, server)
    metrics_grpc.add_MetricsServiceServicer_to_server(collector, server)
    collector.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield collector
    finally:
        await server.stop(None)


def attributes(of: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in of.attributes}
