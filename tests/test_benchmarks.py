"""The benchmark: what documents cite is what a full run wrote down, and no other run writes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks import chart, ratios
from benchmarks.plan import FULL, QUICK, USUAL
from benchmarks.results import publish

ROOT = Path(__file__).parents[1]
RESULTS: dict[str, Any] = json.loads((ROOT / "benchmarks/results.json").read_text("utf-8"))
AGAINST_THE_FLOOR = (
    (ROOT / "docs/scaling.md").read_text("utf-8").partition("\n## Against the floor\n")[2]
).partition("\n## ")[0]


def test_only_a_full_run_writes_what_documents_cite() -> None:
    assert [plan.name for plan in (QUICK, USUAL, FULL) if plan.cited] == ["full"]
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


def test_the_chart_has_a_bar_for_each_line() -> None:
    drawn = chart.draw(RESULTS)
    assert all(line["label"] in drawn for line in RESULTS["lines"].values())
