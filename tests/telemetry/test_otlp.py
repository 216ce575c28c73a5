"""Metrics over OTLP, and the traces that stand beside them as examples."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.harness.refusals import refused
from tests.telemetry.collector import Collector, attributes, collecting
from tests.telemetry.process import Running, running, samples, scraped
from tests.telemetry.test_rules import metrics_defined

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
SEND = "govifi.challenge.v1.ChallengeService/Send"
SEEN = {"rpc.system.name": "grpc", "rpc.method": SEND}
PHONE = "+14155550142"


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    """A collector that the environment names, and that is often told."""
    async with collecting() as collector:
        monkeypatch.setenv(ENDPOINT, f"http://127.0.0.1:{collector.port}")
        monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "200")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        yield collector


@pytest.fixture
async def process(
    collector: Collector, tmp_path: Path, migrated_sqlite: Path
) -> AsyncIterator[Running]:
    """A service with that collector, after a Send that went well and one that did not."""
    async with running(tmp_path, migrated_sqlite, metrics_listen="127.0.0.1:0") as process:
        session = await process.service.challenged(PHONE)
        await process.service.send(session)
        await process.service.close(session, "COMPLETED")
        await refused(process.service.send(session))
        yield process


async def ended(collector: Collector, process: Running) -> None:
    """Stops the service, which exports once more."""
    await process.replica.stop()
    assert collector.metrics()


async def test_every_metric_is_exported_as_it_is_scraped(
    collector: Collector, process: Running
) -> None:
    shown = samples(await scraped(process.metrics_url()))
    await ended(collector, process)
    metrics = collector.metrics()
    ours = {name.removesuffix("_total") for name, *_ in metrics_defined()}
    assert metrics.keys() == ours - {"challenge_call_duration_seconds"} | {
        "rpc.server.call.duration"
    }
    assert metrics["challenge_dispatch_duration_seconds"].unit == "s"
    [sent] = [
        point
        for point in metrics["challenge_dispatch_duration_seconds"].histogram.data_points
        if point.count
    ]
    labels = frozenset(attributes(sent).items())
    name = "challenge_dispatch_duration_seconds"
    assert shown[f"{name}_count", labels] == sent.count == sum(sent.bucket_counts) == 1
    assert shown[f"{name}_sum", labels] == sent.sum
    assert len(sent.bucket_counts) == len(sent.explicit_bounds) + 1
    [refusals] = [
        point
        for point in metrics["challenge_call_errors"].sum.data_points
        if attributes(point) == {"rpc": "Send", "error": "SessionCompleted"}
    ]
    assert refusals.as_double == 1
    [idle] = metrics["challenge_database_connections"].gauge.data_points
    assert idle.as_double == 1


async def test_calls_are_named_by_the_conventions(collector: Collector, process: Running) -> None:
    await ended(collector, process)
    calls = collector.metrics()["rpc.server.call.duration"]
    assert calls.unit == "s"
    ends = {
        attributes(point)["rpc.response.status_code"]: attributes(point)
        for point in calls.histogram.data_points
        if attributes(point)["rpc.method"] == SEND
    }
    assert ends == {
        code: {**SEEN, "rpc.response.status_code": code} for code in ("OK", "FAILED_PRECONDITION")
    }


async def test_examples_are_the_traces_that_were_sampled(
    collector: Collector, process: Running
) -> None:
    await ended(collector, process)
    examples = {
        (one.trace_id.hex(), one.span_id.hex())
        for point in collector.metrics()["rpc.server.call.duration"].histogram.data_points
        if attributes(point)["rpc.method"] == SEND
        for one in point.exemplars
    }
    spans = {(span.trace_id, span.span_id) for span in collector.spans() if span.name == SEND}
    assert examples == spans
    assert len(spans) == 2


async def test_prometheus_sees_them_too(collector: Collector, process: Running) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        accept = {"accept": "application/openmetrics-text; version=1.0.0"}
        text = (await client.get(process.metrics_url(), headers=accept)).text
    example = r'duration_seconds_bucket\{.*rpc="Send"\} \S+ # \{.*trace_id="[0-9a-f]{32}"'
    assert re.search(example, text)
    assert "# {" not in await scraped(process.metrics_url())  # the older format has none


@pytest.mark.parametrize(("signal", "wanted"), [("TRACES", "metrics"), ("METRICS", "spans")])
async def test_a_signal_can_be_left_out(
    collector: Collector,
    tmp_path: Path,
    migrated_sqlite: Path,
    monkeypatch: pytest.MonkeyPatch,
    signal: str,
    wanted: str,
) -> None:
    monkeypatch.setenv(f"OTEL_{signal}_EXPORTER", "none")
    async with running(tmp_path, migrated_sqlite) as process:
        await process.service.open()
        await process.replica.stop()
    assert bool(collector.received) is (wanted == "spans")
    assert bool(collector.measured) is (wanted == "metrics")
