"""deploy/README.md names only what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from service.commands import cli
from tests.rest.edge import ROOT

PAGES = [ROOT / name for name in ("deploy/README.md", "deploy/chart/README.md", "proto/README.md")]
TEXT = PAGES[0].read_text("utf-8")
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)


@each_page
def test_every_link_leads_to_a_file(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text("utf-8")):
        assert "://" in target or (page.parent / target).exists(), target


@each_page
def test_every_command_is_one(page: Path) -> None:
    text = page.read_text("utf-8")
    named = set(re.findall(r"(?:`|bin/|\$\(|[… ])challenge ([a-z-]+)(?=[ `)\n])", text))
    assert named - {"deploy", "challenge-edge"} <= set(cli.main.commands)


def test_every_file_that_a_command_reads_is_there() -> None:
    for path in re.findall(r"(?<![-/\w])(?:deploy|systemd|requirements)[\w/.-]*\.\w+", TEXT):
        found = (ROOT / path).exists() or (ROOT / "deploy" / path).exists()
        assert found or list(ROOT.glob(path)), path
