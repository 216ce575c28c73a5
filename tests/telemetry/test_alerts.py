"""The alerts as Prometheus itself evaluates them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.harness import programs
from tests.telemetry.test_rules import DEPLOY

HERE = Path(__file__).parent


def promtool(*args: object) -> None:
    done = subprocess.run(
        [programs.find("promtool"), *map(str, args)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_fires_when_it_should_and_not_before() -> None:
    promtool("test", "rules", HERE / "alerts.yaml")


def test_prometheus_takes_the_configuration_of_the_compose_file(tmp_path: Path) -> None:
    # Where the Compose file mounts them.
    config = shutil.copy(DEPLOY / "compose/prometheus.yaml", tmp_path / "prometheus.yml")
    shutil.copy(DEPLOY / "prometheus/alerts.yaml", tmp_path)
    promtool("check", "config", config)
