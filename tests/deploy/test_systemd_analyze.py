"""The units of `deploy/systemd/` as systemd reads them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.units import FOLDER, UNITS
from tests.harness import programs

_EXPOSURE = 15
"""Tenths of a point, of systemd's hundred; what is left is the network."""


def analyze(*args: object) -> str:
    done = subprocess.run(
        [programs.find("systemd-analyze"), *map(str, args)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_nothing_to_complain_of(name: str, tmp_path: Path) -> None:
    text = (FOLDER / name).read_text("utf-8")
    text = text.replace("/opt/challenge/.venv/bin", str(Path(sys.executable).parent))
    (tmp_path / name).write_text(text, "utf-8")
    assert analyze("verify", "--man=no", tmp_path / name) == ""


@pytest.mark.parametrize("name", UNITS)
def test_it_may_hardly_more_than_it_must(name: str) -> None:
    analyze("security", "--offline=true", f"--threshold={_EXPOSURE}", FOLDER / name)
