"""Programs that no lock file brings, for tests of what is written for them. None is downloaded.

Where one is missing, the modules that need it are not collected, and a line at the end says so.
With CHALLENGE_DEMAND_HELM=1 (or PROMTOOL, …) they are, and fail.
"""

from __future__ import annotations

import os
import shutil

NEEDS = {
    "clients/test_go.py": ("go",),
    "clients/test_types.py": ("tsc", "npm"),
    "commands/test_wheel.py": ("sh", "curl"),
    "commands/test_word_for_word.py": ("curl", "node"),
    "deploy/test_compose.py": ("sh",),
    "deploy/test_release.py": ("git", "sha256sum"),
    "deploy/test_chart_rendered.py": ("helm",),
    "deploy/test_systemd_analyze.py": ("systemd-analyze",),
    "protos/test_java.py": ("mvn", "java"),
    "protos/test_node.py": ("node", "npm"),
    "protos/test_tools.py": ("grpcurl", "ghz"),
    "telemetry/test_alerts.py": ("promtool",),
    "telemetry/test_runbooks.py": ("sh", "curl", "grep", "sort", "uniq", "tail", "head", "cat"),
}
"""Modules by their paths in tests/, and the programs that each needs."""


def find(name: str) -> str:
    """Finds a program: what the variable of its name says (`HELM`), or that name on the path."""
    return os.environ.get(_variable(name), name)


def missing(module: str) -> list[str]:
    """The programs that a module lacks, but for those that are demanded."""
    return [
        name
        for name in NEEDS[module]
        if shutil.which(find(name)) is None
        and os.environ.get(f"CHALLENGE_DEMAND_{_variable(name)}") != "1"
    ]


def left_out(folder: str) -> list[str]:
    """The modules of a folder of tests/ that are not to be collected, for its `collect_ignore`."""
    return [
        module.removeprefix(f"{folder}/")
        for module in NEEDS
        if module.startswith(f"{folder}/") and missing(module)
    ]


def _variable(name: str) -> str:
    return name.upper().replace("-", "_")
