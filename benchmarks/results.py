"""What documents cite: the results of a full run, and their chart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks import chart

ROOT = Path(__file__).parents[1]


def publish(results: dict[str, Any], root: Path = ROOT) -> None:
    """Writes the results and the chart that documents cite."""
    (root / "benchmarks" / "results.json").write_text(_as_json(results), "utf-8")
    (root / "docs" / "images" / "benchmark.svg").write_text(chart.draw(results), "utf-8")


def _as_json(results: dict[str, Any]) -> str:
    """Writes a line of text for each part, each line measured and each ratio."""

    def text(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False)

    parts = []
    for name, part in results.items():
        match part:
            case dict() if name == "lines":
                inner = ",\n".join(f"  {text(key)}: {text(line)}" for key, line in part.items())
                parts.append(f" {text(name)}: {{\n{inner}\n }}")
            case list():
                inner = ",\n".join(f"  {text(one)}" for one in part)
                parts.append(f" {text(name)}: [\n{inner}\n ]")
            case _:
                parts.append(f" {text(name)}: {text(part)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"
