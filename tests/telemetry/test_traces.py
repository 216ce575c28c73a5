"""One call, one trace: from Envoy through the service to database and provider."""

from __future__ import annotations

import asyncio
import base64
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2

from service.errors import CannotProceed, StoreUnavailable
from service.storage import dispatch_statements, session_statements
from service.storage import traced as storage
from service.storage.sqlite.database import SQLite
from service.telemetry import tracing
from tests.channels.http_provider import Answer, Break
from tests.harness.refusals import refused
from tests.harness.timing import eventually
from tests.rest.edge import ROOT, Edge
from tests.rest.edge import running as edge_running
from tests.telemetry.collector import Collector, Span, collecting
from tests.telemetry.process import Running, running

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
EDGE, SERVICE = "challenge-edge", "challenge-service"
SEND = "govifi.challenge.v1.ChallengeService/Send"
ONE, OTHER = "0af7651916cd43dd8448eb211c80319c", "4bf92f3577b34da6a3ce929d0e0e4736"
PHONE = "+14155550142"


def started(trace_id: str) -> str:
    """The header of a caller who wants to be traced."""
    return f"00-{trace_id}-b7ad6b7169203331-01"


class Traced(NamedTuple):
    """Envoy with the overlay, a service, and their collector."""

    edge: Edge
    running: Running
    collector: Collector

    async def collected(self, condition: Callable[[list[Span]], bool]) -> list[Span]:
        """Waits for spans; Envoy sends its own every five seconds."""

        async def arrived() -> bool:
            return condition(self.collector.spans())

        await eventually(arrived, 30)
        return self.collector.spans()


def overlaid(path: Path, port: int, percent: int) -> tuple[str, str]:
    """Envoy's configuration, and what takes its place."""
    text = (ROOT / "deploy/tracing.yaml").read_text("utf-8")
    for old, new in (
        ("port_value: 4317", f"port_value: {port}"),
        ("{numerator: 1}", f"{{numerator: {percent}}}"),
    ):
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, "utf-8")
    command = [sys.executable, "deploy/merge.py", "envoy.yaml", str(path)]
    merged = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return (ROOT / "envoy.yaml").read_text("utf-8"), merged.stdout


@pytest.fixture(params=[100])
async def traced(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    migrated_sqlite: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Traced]:
    """All of it, with so many per cent of what is public sampled."""
    async with collecting() as collector:
        monkeypatch.setenv(ENDPOINT, f"http://127.0.0.1:{collector.port}")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        async with running(tmp_path, migrated_sqlite) as process:
            whole = overlaid(tmp_path / "tracing.yaml", collector.port, request.param)
            async with edge_running(tmp_path, process.service.server.port, whole) as edge:
                yield Traced(edge, process, collector)


def shown(spans: list[Span]) -> set[tuple[str, str]]:
    return {(span.service, span.name) for span in spans}


async def test_a_send_is_one_trace(traced: Traced) -> None:
    session = await traced.running.service.challenged()
    answer = await traced.edge.send(session, traceparent=started(ONE), tracestate="a=b")
    assert answer.json()["code_sent"] is True
    every = await traced.collected(
        lambda spans: {(EDGE, "ingress"), (SERVICE, SEND), (SERVICE, "dispatch")} <= shown(spans)
    )
    (trace_id,) = [span.trace_id for span in every if span.name == SEND]
    spans = {span.name: span for span in every if span.trace_id == trace_id}
    provider = f"webhook://{traced.running.provider.address}"
    send, dispatch = spans[SEND].span_id, spans["dispatch"].span_id
    assert {name: span.parent_id for name, span in spans.items()} == {
        "ingress": "", SEND: spans["ingress"].span_id,
        "READ": send, "CLAIM": send, "dispatch": send,
        provider: dispatch, "SETTLE_ATTEMPT": dispatch,
    }  # fmt: skip
    assert spans[provider].attributes == {"challenge.outcome": "accepted"}
    assert spans[SEND].attributes == {
        "rpc.system.name": "grpc", "rpc.method": SEND, "rpc.response.status_code": "OK",
    }  # fmt: skip
    (request,) = traced.running.provider.requests
    assert request.headers["traceparent"] == f"00-{trace_id}-{spans[provider].span_id}-01"
    (line,) = [one for one in traced.running.replica.events("call") if one["rpc"] == "Send"]
    assert line["trace_id"] == trace_id != ONE


async def test_whatever_changes_a_session_has_a_span(traced: Traced) -> None:
    service = traced.running.service
    session = await service.open()
    other_way = admin_pb2.Fallback(sms=admin_pb2.Sms(phone_number=PHONE))
    captcha = admin_pb2.IssueChallengeRequest(
        session_id=session.session_id, hcaptcha=admin_pb2.Captcha(site_key="k"), fallback=other_way
    )
    await service.admin("IssueChallenge", captcha)
    await service.use_fallback(session)
    await service.update(session, merchant_display_name="Other")
    payment = admin_pb2.Payment(amount_minor=1, currency="EUR", payee="Acme")
    await service.update(session, payment=payment)
    wanted = {"OPEN", "ISSUE", "FALL_BACK", "UPDATE", "UPDATE_PAYMENT"}
    await traced.collected(lambda spans: wanted <= {span.name for span in spans})


async def test_what_another_process_delivers_is_linked_to_its_send(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = base64.b64encode(bytes(32)).decode()
    settings = {"keys": f"k1:{key}", "fingerprint_key": key, "lease_seconds": "1"}
    async with collecting() as collector:
        monkeypatch.setenv(ENDPOINT, f"http://127.0.0.1:{collector.port}")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        (tmp_path / "one").mkdir()
        async with running(tmp_path / "one", database_url, **settings) as one:
            one.provider.answer = Break.HELD
            session = await one.service.challenged()
            sending = asyncio.ensure_future(one.service.send(session, traceparent=started(ONE)))
            await eventually(lambda: answered(one))
            await one.replica.kill()
            with pytest.raises(grpc.aio.AioRpcError):
                await sending
        (tmp_path / "other").mkdir()
        async with running(tmp_path / "other", database_url, **settings):

            async def delivered() -> bool:
                return any(span.name == "dispatch" for span in collector.spans())

            await eventually(delivered, 20)
        (dispatch,) = [span for span in collector.spans() if span.name == "dispatch"]
    assert dispatch.links == [ONE]
    assert dispatch.trace_id != ONE


async def answered(process: Running) -> bool:
    """Tells whether the provider has been called."""
    return bool(process.provider.requests)


@pytest.mark.parametrize("traced", [0], indirect=True)
async def test_who_is_internal_may_ask_to_be_traced_and_a_stranger_may_not(traced: Traced) -> None:
    session = await traced.running.service.challenged()
    bearer = f"Bearer {session.secret}"
    assert (await traced.edge.send(session, traceparent=started(ONE))).status_code == 200
    own = {"traceparent": started(OTHER), "x-request-id": "8c1f6d2e-0b0a-4d3c-9f5e-1a2b3c4d5e6f"}
    await traced.edge.send_natively(session.session_id, authorization=bearer, **own)
    wanted = {(EDGE, "ingress"), (SERVICE, SEND)}
    spans = await traced.collected(lambda spans: wanted <= shown(spans))
    calls = [span for span in spans if span.name in ("ingress", SEND)]
    assert {span.trace_id for span in calls} == {OTHER}
    lines = [one for one in traced.running.replica.events("call") if one["rpc"] == "Send"]
    assert lines[-1]["request_id"] == own["x-request-id"]


async def test_spans_hold_no_secret(traced: Traced) -> None:
    service, provider = traced.running.service, traced.running.provider
    session = await service.challenged(PHONE)
    assert (await traced.edge.send(session)).status_code == 200
    code = traced.running.code()
    await refused(service.verify(session, "00000000"))
    await service.verify(session, code)
    await service.close(session, "COMPLETED")
    await refused(service.send(session))
    provider.answer = Answer(422, b'{"undeliverable": true}')
    await refused(service.send(unreachable := await service.challenged(PHONE)))
    wanted = {(EDGE, "ingress"), (SERVICE, "ANSWER"), (SERVICE, "HAND_BACK_SEND")}
    spans = await traced.collected(lambda spans: wanted <= shown(spans))
    assert len(spans) > 20
    raw = b"".join(request.SerializeToString() for request in traced.collector.received)
    assert f"webhook://{provider.address}".encode() in raw
    for one in (session, unreachable):
        for secret in (code, one.secret.partition("_secret_")[2], one.session_id, PHONE[1:]):
            assert secret.encode() not in raw
    # An exception would be an event, with its text.
    assert not any(span.events for span in spans)


async def test_a_fault_of_ours_is_marked_and_a_refusal_is_not(traced: Traced) -> None:
    service = traced.running.service
    session = await service.open()
    await service.issue(session, hcaptcha=admin_pb2.Captcha(site_key="k"))
    await refused(service.verify(session, "1"))
    token = admin_pb2.VerifyChallengeRequest(session_id=session.session_id, token="t")
    await refused(service.admin("VerifyChallenge", token))
    spans = await traced.collected(
        lambda spans: sum(span.name.endswith("VerifyChallenge") for span in spans) == 2
    )
    ends = [
        (span.attributes["rpc.response.status_code"], span.attributes.get("error.type"))
        for span in spans
        if span.name.endswith("VerifyChallenge")
    ]
    assert ends == [("FAILED_PRECONDITION", None), ("UNAVAILABLE", "UNAVAILABLE")]
    assert [span.failed for span in spans if span.name.endswith("VerifyChallenge")] == [False, True]


async def test_a_statement_that_fails_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(SQLite):
        def __init__(self) -> None:
            pass

        async def row(self, sql: str, *args: object) -> None:
            raise StoreUnavailable("connection to 10.0.0.1 lost")

    async with collecting() as collector:
        monkeypatch.setenv(ENDPOINT, f"http://127.0.0.1:{collector.port}")
        tracing.start()
        try:
            with tracing.dispatch("sms", None), pytest.raises(StoreUnavailable):
                await storage.traced(Gone()).row(session_statements.READ, "cs_1")
            with pytest.raises(StoreUnavailable):  # of no trace, as those of loops
                await storage.traced(Gone()).row(dispatch_statements.QUEUE)
        finally:
            await asyncio.to_thread(tracing.stop)
        spans = {span.name: span.failed for span in collector.spans()}
    assert spans == {"READ": True, "dispatch": False}


def test_without_a_collector_nothing_is_loaded_or_wrapped() -> None:
    program = (
        "import sys\n"
        "from service.serving import process\n"
        "from service.storage.traced import traced\n"
        "from service.telemetry import tracing\n"
        "tracing.start()\n"
        "assert tracing.call('/a/b', len) is len\n"
        "assert traced(tracing) is tracing\n"
        "assert tracing.dispatch('sms', None) is tracing.provider_call('x')\n"
        "assert tracing.traceparent() is None\n"
        "assert not tracing.headers()\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
    )
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT}/gen"}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=60)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:4317")
    monkeypatch.delitem(sys.modules, "service.telemetry.otel", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(CannotProceed, match=rf"{ENDPOINT}: needs .*pip install '\.\[otel\]'"):
        tracing.start()


def test_variables_that_contradict_each_other_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:4317")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "1")
    with pytest.raises(CannotProceed, match=r"OTEL_ variables: .*max_queue_size"):
        tracing.start()


async def test_a_silent_collector_does_not_keep_the_service_from_stopping(
    tmp_path: Path, migrated_sqlite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv(ENDPOINT, f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "600")
        async with running(tmp_path, migrated_sqlite) as process:
            await process.service.open()
            await process.replica.stop(25)  # by itself the exporter would wait for longer
