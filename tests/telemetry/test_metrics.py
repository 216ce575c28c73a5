"""The metrics of real processes, scraped over HTTP."""

from __future__ import annotations

import socket
from pathlib import Path

import psutil
import pytest
from prometheus_client import REGISTRY

from service.challenges.quotas import sends_of, sessions_of, wrong_answers_of
from service.errors import CannotProceed
from service.storage.dispatches import Dispatches
from service.storage.rows import SessionRow
from service.storage.store import Store
from service.telemetry import exposition, metrics
from tests.harness.marks import one_database
from tests.harness.refusals import refused
from tests.harness.service import Service
from tests.harness.timing import eventually
from tests.telemetry.conftest import Played
from tests.telemetry.process import running, scraped, value

_ROW = SessionRow(*[None] * len(SessionRow._fields))
QUOTAS = {"session", "issues"} | {
    quota.key.partition(":")[0]
    for kind in ("sms", "email")
    for quota in (
        *sends_of(_ROW._replace(challenge_type=kind), 1),
        *wrong_answers_of(_ROW),
        sessions_of("acct_1", 1),
    )
}


def test_values_after_a_known_sequence(played: Played) -> None:
    found = played.samples

    def calls(rpc: str, code: str) -> float | None:
        return value(found, "challenge_call_duration_seconds_count", rpc=rpc, code=code)

    assert calls("OpenSession", "OK") == calls("IssueChallenge", "OK") == 4
    assert calls("Send", "OK") == 3
    assert calls("Send", "FAILED_PRECONDITION") == calls("Send", "RESOURCE_EXHAUSTED") == 1
    assert calls("VerifyChallenge", "OK") == calls("VerifyChallenge", "FAILED_PRECONDITION") == 1
    for rpc, error in (
        ("VerifyChallenge", "WrongAnswer"), ("Send", "DestinationRefused"),
        ("Send", "QuotaOutlastsSession"),
    ):  # fmt: skip
        assert value(found, "challenge_call_errors_total", rpc=rpc, error=error) == 1
    assert value(found, "challenge_quota_refusals_total", quota="account-hour") == 1
    assert value(found, "challenge_quota_refusals_total", quota="sms-hour") == 0
    (channel,) = {
        dict(labels)["channel"] for name, labels in found if name == "challenge_provider_calls"
    }
    ended = {
        (dict(labels)["channel"], dict(labels)["outcome"]): count
        for (name, labels), count in found.items()
        if name == "challenge_dispatch_duration_seconds_count" and ("type", "sms") in labels
    }
    assert ended == {  # and one that is still owed
        (channel, "sent"): 1, (channel, "dead"): 1, (channel, "expired"): 0,
        ("none", "sent"): 0, ("none", "dead"): 0, ("none", "expired"): 0,
    }  # fmt: skip
    handed_over = 0.0
    for outcome, least, most in (("accepted", 1, 1), ("undeliverable", 1, 1), ("retry", 2, 9)):
        name = "challenge_provider_call_duration_seconds_count"
        count = value(found, name, channel=channel, outcome=outcome)
        assert count is not None
        assert least <= count <= most
        handed_over += count
    for name, gsm7 in (("count", handed_over), ("sum", handed_over)):  # one segment each
        assert value(found, f"challenge_sms_segments_{name}", alphabet="gsm7") == gsm7
        assert value(found, f"challenge_sms_segments_{name}", alphabet="ucs2") == 0
    assert value(found, "challenge_provider_calls", channel=channel) is not None
    assert value(found, "challenge_database_connections") == 1
    assert value(found, "process_cpu_seconds_total")
    assert value(found, "process_resident_memory_bytes")


def test_no_session_or_secret_is_in_them(played: Played) -> None:
    assert "challenge_call_duration_seconds_bucket" in played.text
    assert not [secret for secret in played.secrets if secret in played.text]
    assert "cs_" not in played.text


def test_every_quota_is_counted_from_the_start() -> None:
    ((*counters,),) = [metric.samples for metric in metrics.QUOTA_REFUSALS.collect()]
    assert {sample.labels["quota"] for sample in counters} == QUOTAS


@one_database
async def test_a_repeat_looks_no_series_up(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await service.challenged()
    await service.send(session)
    looked_up: list[str] = []
    original = metrics.Histogram.labels

    def labels(self: metrics.Histogram, *values: str) -> metrics.Histogram:
        looked_up.append(self._name)
        return original(self, *values)

    await eventually(service.settled)
    monkeypatch.setattr(metrics.Histogram, "labels", labels)
    for _ in range(3):
        await service.send(session)
    assert looked_up == []


@one_database
async def test_a_bug_is_counted_but_not_by_name(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(self: Store, *args: object, **kwargs: object) -> None:
        raise RuntimeError

    def bugs() -> float:
        labels = {"rpc": "Send", "error": "Bug"}
        return REGISTRY.get_sample_value("challenge_call_errors_total", labels) or 0

    session = await service.challenged()
    before = bugs()
    monkeypatch.setattr(Dispatches, "claim", broken)
    await refused(service.send(session))
    assert bugs() == before + 1


async def test_off_by_default(tmp_path: Path, migrated_sqlite: Path) -> None:
    async with running(tmp_path, migrated_sqlite) as process:
        own = psutil.Process(process.replica.pid)
        listening = {
            connection.laddr.port
            for connection in own.net_connections(kind="inet")
            if connection.status == psutil.CONN_LISTEN
        }
    assert listening == {process.service.server.port}


async def test_a_taken_port_is_named(tmp_path: Path, migrated_sqlite: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(AssertionError) as raised:
            async with running(tmp_path, migrated_sqlite, metrics_listen=listen):
                pass
    assert f"challenge: CHALLENGE_METRICS_LISTEN: cannot listen on {listen}: " in str(raised.value)


@pytest.mark.parametrize(
    "listen", ["9464", ":9464", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:99999", "[::"]
)
def test_a_malformed_address_is_named(listen: str) -> None:
    with pytest.raises(CannotProceed, match="CHALLENGE_METRICS_LISTEN"):
        exposition.serve(listen)


async def test_a_client_that_says_nothing_does_not_keep_others_waiting_for_long() -> None:
    server = exposition.serve("127.0.0.1:0")
    try:
        with socket.create_connection(("127.0.0.1", server.server_port)):
            text = await scraped(f"http://127.0.0.1:{server.server_port}/metrics")
    finally:
        server.shutdown()
        server.server_close()
    assert "challenge_queue_dispatches" in text
