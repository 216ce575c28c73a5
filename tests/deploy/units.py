"""The units of `deploy/systemd/`."""

from __future__ import annotations

from tests.rest.edge import ROOT

FOLDER = ROOT / "deploy/systemd"
UNITS = ("challenge.service", "challenge-edge.service")


def directives(name: str) -> dict[str, list[str]]:
    """What a unit says, each directive with all its values."""
    found: dict[str, list[str]] = {}
    for line in (FOLDER / name).read_text("utf-8").splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found
