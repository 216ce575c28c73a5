"""The benchmark: what documents cite is what a full run wrote down, and no other run writes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import grpc
import pytest
from govifi.challenge.v1 import challenge_pb2, challenge_pb2_grpc

from benchmarks import chart, ratios, sessions
from benchmarks.plan import FULL, QUICK
from benchmarks.processes import serving
from benchmarks.results import publish
from service.challenges.rules import may_send_again
from service.channels import Channels, Message, Outcome
from service.commands.development import prepare
from service.keyring import KeyRing, random_key
from service.storage.opening import wall_clock_ms
from service.storage.sqlite.database import SQLite
from service.storage.store import Store

ROOT = Path(__file__).parents[1]
RESULTS: dict[str, Any] = json.loads((ROOT / "benchmarks/results.json").read_text("utf-8"))
AGAINST_THE_FLOOR = (
    (ROOT / "docs/scaling.md").read_text("utf-8").partition("\n## Against the floor\n")[2]
).partition("\n## ")[0]


def test_only_a_full_run_writes_what_documents_cite() -> None:
    assert [plan.name for plan in (QUICK, FULL) if plan.cited] == ["full"]
    assert RESULTS["run"] == "full"


def test_what_is_written_is_what_was_measured(tmp_path: Path) -> None:
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "docs/images").mkdir(parents=True)
    publish(RESULTS, tmp_path)
    for name in ("benchmarks/results.json", "docs/images/benchmark.svg"):
        assert (tmp_path / name).read_text("utf-8") == (ROOT / name).read_text("utf-8")


def test_no_call_of_the_cited_run_failed() -> None:
    assert not ratios.errors_of(RESULTS)


@pytest.mark.parametrize("ratio", RESULTS["ratios"], ids=lambda ratio: ratio["name"])
def test_a_ratio_of_the_cited_run_stands_in_the_document(ratio: dict[str, Any]) -> None:
    figures = {f"{ratio['figure']:{form}}" for form in (".0f", ".1f", ".2f", ".3f")}
    assert figures & set(re.findall(r"[\d.]+", AGAINST_THE_FLOOR))


@pytest.mark.parametrize("sent", [False, True])
async def test_a_session_of_the_benchmark_may_be_sent_to_once(sqlite_url: str, sent: bool) -> None:
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    session, row = sessions.make(KeyRing.parse(f"k1:{random_key()}"), sent=sent)
    sessions.write_sqlite(path, [row])
    database = await SQLite.open(path, wall_clock_ms)
    read = await Store(database).read(session.session_id)
    await database.close()
    assert read is not None
    assert may_send_again(read) is not sent


@pytest.mark.programs
async def test_the_service_of_the_benchmark_sends(sqlite_url: str, tmp_path: Path) -> None:
    settings = {**prepare(tmp_path / "data"), "CHALLENGE_DATABASE_URL": sqlite_url}
    settings |= {"CHALLENGE_GRPC_LISTEN": "127.0.0.1:0", "CHALLENGE_SMS_CHANNELS": "null://"}
    session, row = sessions.make(KeyRing.parse(settings["CHALLENGE_KEYS"]), sent=False)
    sessions.write_sqlite(Path(sqlite_url.removeprefix("sqlite:///")), [row])
    with serving("service", settings) as server:
        async with grpc.aio.insecure_channel(server.target) as channel:
            answer = await challenge_pb2_grpc.ChallengeServiceStub(channel).Send(
                challenge_pb2.SendRequest(session_id=session.session_id),
                metadata=(("authorization", f"Bearer {session.secret}"),), timeout=60,
            )  # fmt: skip
    assert answer.code_sent


@pytest.mark.programs
async def test_the_provider_of_the_benchmark_takes_a_message() -> None:
    with serving("provider", {}) as provider:
        dsn = f"twilio://AC1:token@{provider.target}?from=%2B15005550006&scheme=http"
        (channel,) = Channels().connect("sms", dsn)
        result = await channel.deliver(Message("1", "+14155550123", "Your code is 123456."))
        await channel.close()
    assert result.outcome is Outcome.ACCEPTED


def test_the_chart_has_a_bar_for_each_line() -> None:
    drawn = chart.draw(RESULTS)
    assert all(line["label"] in drawn for line in RESULTS["lines"].values())
