"""Fuzzes the parsers: `python -m tests.fuzz [--runs N] [--seconds S] [--seed N] [target …]`.

Atheris goes where coverage leads; where it has no wheel, Hypothesis searches instead. The first
exception that is none of the domain's ends it, with the input that caused it.
"""

from __future__ import annotations

import argparse
import atexit
import importlib
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.fuzz.targets import Target

_LONGEST_INPUT = 8192
"""As long as headers may be."""
_HANGS_SECONDS = 5
_INSTRUMENTED = ("service", "jwt", "email_validator")


def with_atheris(options: argparse.Namespace) -> None:
    """Runs all targets in one process; the first byte of an input chooses its target."""
    import atheris

    with atheris.instrument_imports(include=list(_INSTRUMENTED), enable_loader_override=False):
        targets = chosen(options)
    names = list(targets)

    def run(data: bytes) -> None:
        if data:
            targets[names[data[0] % len(names)]].run(data[1:])

    corpus = tempfile.mkdtemp()
    for index, target in enumerate(targets.values()):
        for number, seed in enumerate(target.seeds):
            data = bytes((index,)) + seed.encode()
            Path(corpus, f"{index}-{number}").write_bytes(data)
            run(data)
    flags = [
        f"-atheris_runs={options.runs}", f"-max_total_time={options.seconds}",
        f"-seed={options.seed}", f"-max_len={_LONGEST_INPUT}", f"-timeout={_HANGS_SECONDS}",
        "-print_final_stats=1", "-verbosity=0", f"-artifact_prefix={tempfile.gettempdir()}/",
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *flags, corpus], run)
    # The end takes libFuzzer's handler of SIGALRM away and leaves its timer, every 3 s, running.
    atexit.register(signal.setitimer, signal.ITIMER_REAL, 0)
    atheris.Fuzz()  # ends the process


def with_hypothesis(options: argparse.Namespace) -> None:
    """Runs target after target, on seeds, on pieces of them put together, and on any bytes."""
    targets = chosen(options)
    end = time.monotonic() + options.seconds
    for target in targets.values():
        for text in target.seeds:
            target.run(text.encode())
        _search(target, max(1, options.runs // len(targets)), options.seed, end)


def _search(target: Target, runs: int, seed: int, end: float) -> None:
    import hypothesis
    from hypothesis import strategies as st

    def piece_of(seed: bytes) -> st.SearchStrategy[bytes]:
        ends = st.tuples(*[st.integers(0, len(seed))] * 2)
        return ends.map(lambda ends: seed[min(ends) : max(ends)])

    pieces = st.sampled_from([text.encode() for text in target.seeds]).flatmap(piece_of)
    inputs = st.lists(pieces | st.binary(max_size=64), max_size=6).map(b"".join)

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=runs, database=None, deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    @hypothesis.given(inputs)
    def run(data: bytes) -> None:
        if time.monotonic() < end:
            target.run(data[:_LONGEST_INPUT])

    run()


def chosen(options: argparse.Namespace) -> dict[str, Target]:
    """Loads the targets that are asked for; all when none is."""
    every: dict[str, Target] = importlib.import_module("tests.fuzz.targets").TARGETS
    return {name: every[name] for name in options.targets or every}


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.fuzz")
    parser.add_argument("--runs", type=int, default=2_000_000)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--engine", choices=("atheris", "hypothesis"))
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("targets", nargs="*")
    options = parser.parse_args()
    found = "atheris" if importlib.util.find_spec("atheris") else "hypothesis"
    engine = options.engine or found
    if not options.inside:
        print(f"{engine}, seed {options.seed}", flush=True)
        # Atheris ends its process on the spot: whoever waits for it tidies up.
        with tempfile.TemporaryDirectory(prefix="challenge-fuzz-") as directory:
            command = (sys.executable, "-m", "tests.fuzz", "--inside", *sys.argv[1:])
            return subprocess.run(
                command, env={**os.environ, "TMPDIR": directory}, check=False
            ).returncode
    {"atheris": with_atheris, "hypothesis": with_hypothesis}[engine](options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
