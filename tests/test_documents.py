"""The documents say only what is so: each table is that of the code, and what is named exists."""

from __future__ import annotations

import inspect
import re
import tomllib
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from service.api.error_table import BUG, TABLE
from service.challenges.rules import gate
from service.channels import SCHEMES
from service.commands.cli import main
from service.errors import Because
from service.settings import Settings
from tests.harness.statements import CHANGES, TEXTS

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/**/*.md")])
REQUIRED = ("keys", "fingerprint_key", "jwks", "jwt_issuer")
INTERNAL = {
    "SessionConflict", "ChallengeRequired", "NoFallback", "MalformedResponse", "WrongAnswer",
    "CodeExpired", "CodeReplaced", "CaptchaRefused", "CaptchaExpired", "CaptchaUnavailable",
    "TokenInvalid", "TokenScopeMissing",
}  # fmt: skip
"""Errors that no browser meets."""


def text(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def cells(page: str, heading: str) -> list[list[str]]:
    """Returns the rows of the table whose head begins so."""
    lines = text(page).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("| "):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def bounds(field: Any) -> str:
    """Writes down what a setting may be."""
    kind = field.annotation
    if get_origin(kind) is tuple:  # of as many as one likes
        kind = get_args(kind)[0]
    if get_origin(kind) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(kind))
    limits = {
        name: getattr(limit, name)
        for limit in field.metadata
        for name in ("ge", "le")
        if hasattr(limit, name)
    }
    match limits:
        case {"ge": low, "le": high}:
            return f"{low} to {high}"
        case {"ge": low}:
            return f"{low} or more"
        case _:
            return ""


def setting(name: str) -> str:
    """Writes a setting's line, as docs/settings.md must have it."""
    field = Settings.model_fields[name]
    default = field.default
    shown = default.get_secret_value() if isinstance(default, SecretStr) else default
    shown = ",".join(shown) if isinstance(shown, tuple) else shown
    empty = "required" if name in REQUIRED else "none"
    value = empty if shown in ("", PydanticUndefined, None) else f"`{shown}`"
    line = ("", f"`CHALLENGE_{name.upper()}`", value, bounds(field), f"{field.description}", "")
    return " | ".join(line).strip()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_a_setting_has_its_line(name: str) -> None:
    assert setting(name) in text("docs/settings.md").splitlines()


def test_no_other_setting_is_listed() -> None:
    listed = [row[0] for row in cells("docs/settings.md", "variable")]
    assert listed == [f"`CHALLENGE_{name.upper()}`" for name in Settings.model_fields]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_setting_that_is_named_exists(page: Path) -> None:
    elsewhere = {"CHALLENGE_TOKEN", "CHALLENGE_DATA_DIR"}  # of the command line
    named = set(re.findall(r"\bCHALLENGE_[A-Z_]+", page.read_text("utf-8")))
    demands = {name for name in named if name.startswith("CHALLENGE_DEMAND_")}  # of the tests
    known = {f"CHALLENGE_{name.upper()}" for name in Settings.model_fields}
    assert named - elsewhere - demands <= known


@pytest.mark.parametrize("because", Because)
def test_why_a_challenge_is_required_is_listed(because: Because) -> None:
    assert f"`{because}`" in text("docs/calling.md")


def test_every_error_that_a_browser_meets_is_listed() -> None:
    listed = {
        (int(status), code.strip("`"))
        for statuses, code, *_ in cells("docs/calling.md", "status")
        for status in statuses.split(",")
    }
    rows = [row for error, row in TABLE.items() if error.__name__ not in INTERNAL]
    assert {(row.http, row.code) for row in (*rows, BUG)} <= listed


def test_the_errors_of_grpc_are_those_of_the_code() -> None:
    rows = cells("docs/calling.md", "error")
    listed = [tuple(cell.strip("`") for cell in row[:4]) for row in rows]
    assert listed == [
        (error.__name__, row.status.name, row.code, "yes" if row.recoverable else "no")
        for error, row in TABLE.items()
    ]
    assert all(row[4] for row in rows)


def test_the_refusals_of_a_payment_are_those_of_the_code() -> None:
    rows = {error.__name__: row for error, row in TABLE.items()}
    refusals = [row for row in cells("docs/verification.md", "the session") if "OK" not in row[2]]
    for _, code, status, recoverable, error, follows in refusals:
        row = rows[error.strip("`")]
        said = (code.strip("`"), status.strip("`"), recoverable)
        assert said == (row.code, row.status.name, "yes" if row.recoverable else "no"), error
        assert follows
    told = {row[4].strip("`") for row in refusals}
    own = [r for r in cells("docs/calling.md", "error") if r[4].startswith("VerifyChallenge:")]
    assert {row[0].strip("`") for row in own} <= told


def test_the_rules_of_a_payment_stand_in_the_order_of_the_gate() -> None:
    rows = cells("docs/verification.md", "the session")
    listed = [row[4].strip("`") or row[1].split(",")[0] for row in rows]
    ended = ["SessionCompleted", "SessionExpired"]  # `require_open`
    repeat = ["InvalidRequest"]  # before the gate, `Repeats.find`
    words = r"raise (\w+)|return Gate\.(\w+)"
    rules = ["".join(found) for found in re.findall(words, inspect.getsource(gate))]
    assert rules.pop() == "JUDGE"
    assert listed[: len(rules) + 3] == ended + repeat + rules
    judged = ["MalformedResponse", "CodeReplaced", "RateLimited", "SATISFIED", "WrongAnswer"]
    places = [listed.index(name) for name in judged]
    assert places == sorted(places) and places[0] == len(rules) + 3


def test_the_channels_are_those_of_the_code() -> None:
    listed = {scheme for row in cells("docs/settings.md", "DSN") for scheme in _schemes(row[0])}
    assert listed == set(SCHEMES)


def _schemes(cell: str) -> list[str]:
    return [re.sub(r"\+SCHEME$", "+", scheme) for scheme in re.findall(r"([\w+]+)://", cell)]


def test_the_commands_are_those_of_the_program() -> None:
    rows = cells("docs/settings.md", "command")
    listed = {name.strip("`").split()[1]: about for name, about in rows}
    assert listed == {
        name: command.get_short_help_str(200).rstrip(".") for name, command in main.commands.items()
    }


@pytest.mark.parametrize("name", main.commands)
def test_a_command_stands_in_the_changelog(name: str) -> None:
    assert re.search(rf"`(?:challenge )?{name}`", text("CHANGELOG.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_link_leads_somewhere(page: Path) -> None:
    found = page.read_text("utf-8")
    links = re.findall(r"\]\(([^)\s]+)\)", found) + re.findall(
        r"(?:src|srcset)=\"([^\"]+)\"", found
    )
    for link in links:
        target, _, anchor = link.partition("#")
        if "://" in target:
            continue
        there = (page.parent / target).resolve() if target else page
        assert there.exists(), link
        if anchor:
            assert anchor in _anchors(there.read_text("utf-8")), link


def _anchors(found: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", found, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_is_named_exists(page: Path) -> None:
    found = page.read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", text("Makefile"), re.MULTILINE))
    assert set(re.findall(r"`(?:\w+=\S+ )*make ([a-z-]+)", found)) <= targets
    assert set(re.findall(r"^\$? ?make ([a-z-]+)", found, re.MULTILINE)) <= targets
    commands = set(re.findall(r"[`/]challenge ([a-z-]+)", found))
    assert commands <= set(main.commands)
    folders = "service|tests|deploy|docs|proto|examples|benchmarks"
    for path in re.findall(rf"`((?:{folders})/[\w./-]+)`", found):
        assert "NAME" in path or (ROOT / path).exists(), path


def test_the_rooms_are_those_of_the_code() -> None:
    rooms = {path.parent.name for path in ROOT.glob("service/*/__init__.py")}
    listed = [row[0].strip("`/") for row in cells("docs/architecture.md", "room")]
    assert set(listed) - {"app.py"} == rooms
    order = [room.strip() for layer in _layers() for room in layer.split("|")]
    places = [order.index(room.removesuffix(".py")) for room in listed]
    assert places == sorted(places), "from the top to the bottom, as in pyproject.toml"


def _layers() -> list[str]:
    contracts = tomllib.loads(text("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    return [str(layer) for layer in contracts[0]["layers"]]


def test_each_decision_lives_where_the_architecture_says() -> None:
    rows = cells("docs/architecture.md", "question")
    named = re.findall(r"`([\w.]+)` in `([\w/]+\.py)`", " ".join(answer for _, answer in rows))
    assert len(named) >= 5
    for name, file in named:
        found = text(f"service/{file}")
        assert re.search(
            rf"^ *(?:class|async def|def) {name.rpartition('.')[2]}\b", found, re.M
        ) or (re.search(rf"^{name} = ", found, re.M)), name


def test_the_states_are_changed_by_the_statements_that_are_drawn() -> None:
    drawn = text("docs/architecture.md").partition("stateDiagram")[2].partition("```")[0]
    statements = TEXTS | {name: change.statement for name, change in CHANGES.items()}
    changing = {
        re.sub("_(?:DUE|FOUND|ONE|ATTEMPT)$", "", name)
        for name, sql in statements.items()
        for sets in re.findall(r"UPDATE hosted_session SET(.*?)\nWHERE", sql, re.S)
        if re.search(r"\b(?:state|challenge_state|dispatch_state) = ", sets)
    }
    assert changing | {"OPEN", "CONFIRM"} == set(re.findall(r"\b[A-Z]{3,}(?:_[A-Z]+)?\b", drawn))


def test_every_page_is_in_the_list_of_what_to_read() -> None:
    listed = {
        (ROOT / "docs" / link).resolve()
        for link in re.findall(r"\]\(([^)#]+)\)", text("docs/README.md"))
    }
    assert {page for page in PAGES if page.parent == ROOT / "docs"} - listed == {
        ROOT / "docs/README.md"
    }


def test_the_readme_stays_short() -> None:
    assert len(text("README.md").splitlines()) <= 130
