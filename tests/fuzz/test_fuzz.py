"""A bounded run of what `python -m tests.fuzz` does at length."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENGINES = {"atheris": 20_000, "hypothesis": 480}
"""How many inputs each tries. Where Atheris has no wheel, Hypothesis stands in for it."""


@pytest.mark.parametrize("wanted", ENGINES)
def test_only_errors_of_the_domain_come_out(wanted: str) -> None:
    engine = wanted if importlib.util.find_spec(wanted) else "hypothesis"
    done = subprocess.run(
        (sys.executable, "-m", "tests.fuzz", "--engine", engine, "--seconds", "5",
         "--runs", str(ENGINES[engine]), "--seed", str(len(wanted))),
        cwd=ROOT, env={"PYTHONPATH": "gen"}, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(engine)
