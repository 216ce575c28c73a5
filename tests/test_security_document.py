"""docs/security.md says only what is so."""

from __future__ import annotations

import ast
import re
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT.joinpath("docs/security.md").read_text("utf-8")
TESTS = sorted(set(re.findall(r"`(tests/[a-z_/0-9]+\.py)::(\w+)`", DOCUMENT)))
NUMBERS = re.findall(r"\| `(service[.\w]*)\.(\w+)` \| ([\d.]+) \|", DOCUMENT)
ASVS = """
    1.3.11 2.3.3 3.4.2 4.1.3 4.1.4 6.3.8 6.5.1 6.5.3 6.5.4 6.5.5 6.6.2 6.6.3 7.2.3 8.2.1 8.2.2 8.2.3
    8.3.1 8.4.1 9.1.1 9.1.2 9.1.3 9.2.1 9.2.2 9.2.3 9.2.4 11.2.4 11.3.2 11.5.1 12.1.3 13.1 13.2
    13.4.2 14.2.1 14.3.2 15.3.2 15.3.4 15.4.2 16.2.5 16.3 16.4.1 16.5.1 16.5.3
"""


@cache
def functions(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in tree.body if isinstance(node, kinds)}


@pytest.mark.parametrize(("file", "name"), TESTS)
def test_a_test_that_is_named_exists(file: str, name: str) -> None:
    assert name in functions(file)


@pytest.mark.parametrize(("module", "name", "value"), NUMBERS)
def test_a_number_is_that_of_the_code(module: str, name: str, value: str) -> None:
    assert str(getattr(import_module(module), name)) == value


def test_every_test_that_is_named_was_found() -> None:
    assert DOCUMENT.count("::") == len(re.findall(r"`(tests/[a-z_/0-9]+\.py)::(\w+)`", DOCUMENT))
    assert len(NUMBERS) > 10


def test_every_rule_of_asvs_that_applies_has_a_row() -> None:
    rows = re.findall(r"^\| (\d+(?:\.\d+)+) .+ \| .+ \|$", DOCUMENT, re.MULTILINE)
    assert rows == ASVS.split()


def test_every_rule_says_what_holds_it() -> None:
    rows = [line for line in DOCUMENT.splitlines() if line.startswith("| ")]
    assert all(cell.strip() for row in rows for cell in row.strip("|").split("|"))
