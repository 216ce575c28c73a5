"""A protection taken out, and what a test makes of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
_LEFT_BEHIND = shutil.ignore_patterns(".venv", ".git", ".data", "__pycache__", ".*_cache")
_SECONDS = 300.0


class Mutation(NamedTuple):
    """One protection taken out.

    Attributes:
        protection: What it is called.
        file: Where it is.
        piece: The text that makes it, which must be there once.
        instead: The text without it.
        test: The test that must fail, as pytest's -k selects it.
    """

    protection: str
    file: str
    piece: str
    instead: str
    test: str

    def stands_once(self) -> bool:
        """Whether the piece is where it was."""
        return (ROOT / self.file).read_text("utf-8").count(self.piece) == 1

    def verdict(self, suites: tuple[str, ...]) -> str:
        """Tries it in a copy of the tree; returns how the test ended."""
        assert self.stands_once(), self.protection
        with tempfile.TemporaryDirectory(prefix="mutation-") as name:
            copy = Path(name) / "copy"
            shutil.copytree(ROOT, copy, ignore=_LEFT_BEHIND)
            file = copy / self.file
            file.write_text(file.read_text("utf-8").replace(self.piece, self.instead), "utf-8")
            command = [
                sys.executable,
                "-m",
                "pytest",
                "-p",
                "no:cacheprovider",
                *suites,
                "-k",
                self.test,
            ]
            environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
            try:
                done = subprocess.run(
                    command, cwd=copy, env=environment, capture_output=True, text=True,
                    timeout=_SECONDS,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                return "NOT NOTICED: it hangs"
        closing = done.stdout.strip().splitlines()[-1]
        errors = re.findall(
            r"^E +(AssertionError: .*|assert .*|\w*Error.*)$", done.stdout, re.MULTILINE
        )
        if done.returncode == 1:
            return f"fails: {errors[0][:110] if errors else closing}"
        return f"NOT NOTICED: {closing}"
