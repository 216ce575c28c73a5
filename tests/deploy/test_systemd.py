"""What can be said of `deploy/systemd/` without systemd; test_systemd_analyze.py says the rest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from service.commands import cli
from service.settings import Settings
from tests.deploy.conftest import Overlaid
from tests.deploy.units import FOLDER, UNITS, directives
from tests.rest.edge import ROOT

# Directives that restrain a unit and depend on nothing that it does.
_HARDENING = ("Protect", "Private", "Restrict", "NoNew", "Capability", "Lock", "SystemCallArch")


def seconds(name: str) -> float:
    [value] = directives(name)["TimeoutStopSec"]
    return float(value.removesuffix("s"))


def test_each_has_the_time_to_drain() -> None:
    drain: float = Settings.model_fields["drain_seconds"].default
    assert seconds("challenge.service") == 2 * drain + 15
    [notice] = [one for one in cli.edge.params if one.name == "notice_seconds"]
    assert seconds("challenge-edge.service") == notice.default + 13


def test_each_runs_a_command_that_there_is() -> None:
    for name in UNITS:
        [command] = directives(name)["ExecStart"]
        program, verb, *_ = command.split()
        assert program == "/opt/challenge/.venv/bin/challenge"
        assert verb in cli.main.commands


def test_both_are_restrained_alike() -> None:
    one, other = (
        {key: value for key, value in directives(name).items() if key.startswith(_HARDENING)}
        for name in UNITS
    )
    assert one == other
    assert len(one) > 15


def test_envoy_writes_only_where_its_unit_lets_it(overlaid: Overlaid, tmp_path: Path) -> None:
    config = tmp_path / "envoy.yaml"
    config.write_text(overlaid(FOLDER / "edge.yaml"), "utf-8")
    path = yaml.safe_load(config.read_text("utf-8"))["admin"]["address"]["pipe"]["path"]
    [runtime] = directives("challenge-edge.service")["RuntimeDirectory"]
    assert Path(path).parent == Path("/run") / runtime
    envoy = Path(sys.executable).parent / "envoy"
    subprocess.run([envoy, "--mode", "validate", "-l", "error", "-c", config], cwd=ROOT, check=True)


@pytest.mark.parametrize("name", UNITS)
def test_no_secret_stands_in_a_unit(name: str) -> None:
    assert "Environment" not in directives(name)
