"""The metrics over OTLP: what Prometheus would scrape, pushed once a minute.

Nothing is counted a second time: what `metrics` holds is put into OpenTelemetry's form. Calls have
the name and the attributes of its conventions for RPC; everything else keeps its own.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

from govifi.challenge.v1 import challenge_admin_pb2, challenge_pb2
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import REGISTRY
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.samples import Sample

from service.telemetry.conventions import call_attributes

_CALLS = "challenge_call_duration_seconds"
_METHODS = {
    method.name: f"{service.full_name}/{method.name}"
    for file in (challenge_pb2, challenge_admin_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
_SCOPE = InstrumentationScope("challenge-service")
_CUMULATIVE = AggregationTemporality.CUMULATIVE


class MetricsExport:
    """Exports in a thread of its own, every OTEL_METRIC_EXPORT_INTERVAL milliseconds."""

    def __init__(self, resource: Resource) -> None:
        """Starts it.

        Raises:
            ValueError: A variable is malformed.
        """
        self._seconds = int(os.environ.get("OTEL_METRIC_EXPORT_INTERVAL") or 60_000) / 1000
        self._resource = resource
        self._began = time.time_ns()
        self._exporter = OTLPMetricExporter()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics-export", daemon=True)
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Exports once more, within so many seconds."""
        self._stopping.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        stopping = False
        while not stopping:
            stopping = self._stopping.wait(self._seconds)
            self._exporter.export(self._collected())

    def _collected(self) -> MetricsData:
        now = time.time_ns()
        ours = (one for one in REGISTRY.collect() if one.name.startswith("challenge_"))
        metrics = [_metric(family, self._began, now) for family in ours]
        scope = ScopeMetrics(_SCOPE, metrics, "")
        return MetricsData([ResourceMetrics(self._resource, [scope], "")])


def _metric(family: Family, began: int, now: int) -> Metric:
    name, unit = family.name, "s" if family.name.endswith("_seconds") else "1"
    data: Gauge | Histogram | Sum
    if family.type == "histogram":
        of_calls = name == _CALLS
        points = [*_histograms(family.samples, began, now, of_calls)]
        data = Histogram(points, _CUMULATIVE)
        name = "rpc.server.call.duration" if of_calls else name
    else:
        numbers = [
            NumberDataPoint(sample.labels, began, now, sample.value) for sample in family.samples
        ]
        data = Gauge(numbers) if family.type == "gauge" else Sum(numbers, _CUMULATIVE, True)
    return Metric(name, family.documentation, unit, data)


def _histograms(
    samples: Iterable[Sample], began: int, now: int, of_calls: bool
) -> Iterator[HistogramDataPoint]:
    """Puts together what the exposition tells line by line, its buckets cumulative."""
    bounds: list[float] = []
    below: list[int] = []
    exemplars: list[Exemplar] = []
    count = 0
    for sample in samples:
        if sample.name.endswith("_bucket"):
            bounds.append(float(sample.labels["le"]))
            below.append(int(sample.value))
            exemplars += _exemplars(sample, now)
        elif sample.name.endswith("_count"):
            count = int(sample.value)
        elif sample.name.endswith("_sum"):
            counts = [upper - lower for lower, upper in zip([0, *below], below, strict=False)]
            labels = sample.labels
            if of_calls:
                method = _METHODS.get(labels["rpc"], "_OTHER")
                labels = call_attributes(method, labels["code"])
            unknown: Any = None  # the least and the most are optional in OTLP
            yield HistogramDataPoint(
                labels, began, now, count, sample.value, counts, bounds[:-1], unknown, unknown,
                exemplars,
            )  # fmt: skip
            bounds, below, exemplars = [], [], []


def _exemplars(sample: Sample, now: int) -> Iterator[Exemplar]:
    if (found := sample.exemplar) is not None:
        at = now if found.timestamp is None else int(float(found.timestamp) * 1e9)
        ids = (int(found.labels[name], 16) for name in ("span_id", "trace_id"))
        yield Exemplar({}, found.value, at, *ids)
