"""docs/observing.md lists what there is."""

from __future__ import annotations

from pathlib import Path

from tests.telemetry.test_rules import metrics_defined

DOCUMENT = (Path(__file__).parents[2] / "docs/observing.md").read_text("utf-8")


def table() -> str:
    return "\n".join(
        f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {text} |"
        for name, kind, labels, text in metrics_defined()
    )


def test_the_table_of_metrics_is_that_of_the_code() -> None:
    assert f"|---|---|---|---|\n{table()}\n\n" in DOCUMENT
