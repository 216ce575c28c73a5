"""What breaks a caller of the last release is found before it lands."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ADMIN = "govifi/challenge/v1/challenge_admin.proto"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of `proto/`, of which nothing has been released."""
    proto = shutil.copytree(ROOT / "proto", tmp_path / "proto")
    (proto / "released.binpb").unlink(missing_ok=True)
    return proto


def run(proto: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, str(proto / "released.py"), *options)
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def edit(proto: Path, old: str, new: str) -> None:
    file = proto / ADMIN
    text, count = re.subn(old, new, file.read_text("utf-8"), count=1, flags=re.DOTALL)
    assert count == 1
    file.write_text(text, "utf-8")


def test_before_the_first_release_it_says_that_there_is_none(copy: Path) -> None:
    done = run(copy)
    assert (done.returncode, done.stderr) == (0, "")
    assert "nothing has been released" in done.stdout


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (r"int64 amount_minor = 1", "int64 amount_minor = 9", "amount_minor"),
        (r"bool challenge_expected", "string challenge_expected", "challenge_expected"),
        (r"  // Lists the attempts.*?\n  }\n", "", "ListAttempts"),
        (r"OUTCOME_NOT_REQUIRED = 3", "OUTCOME_NOT_REQUIRED = 4", "Outcome"),
        (r'go_package = "[^"]*"', 'go_package = "elsewhere/v1;v1"', "go_package"),
    ],
)
def test_a_break_is_found(copy: Path, old: str, new: str, said: str) -> None:
    assert run(copy, "--write").returncode == 0
    edit(copy, old, new)
    done = run(copy)
    assert done.returncode != 0
    assert said in done.stdout


def test_what_is_kept_is_told_from_what_is_not(copy: Path) -> None:
    first = run(copy, "--kept")
    assert first.returncode == 0
    assert "proto/released.py --write" in first.stderr
    assert run(copy, "--write").returncode == 0
    assert run(copy, "--kept").returncode == 0
    edit(copy, r"(int64 amount_minor = 1)", r"string reference = 99;\n\1")
    assert run(copy, "--kept").returncode == 1


def test_what_is_added_breaks_nothing(copy: Path) -> None:
    assert run(copy, "--write").returncode == 0
    edit(copy, r"(int64 amount_minor = 1)", r"string reference = 99;\n\1")
    edit(
        copy,
        r"(  // Lists the attempts)",
        r"  rpc Ping(GetChallengeRequest) returns (Payment);\n\1",
    )
    assert run(copy).returncode == 0


def test_this_release_breaks_nothing_of_the_last() -> None:
    assert run(ROOT / "proto").returncode == 0
