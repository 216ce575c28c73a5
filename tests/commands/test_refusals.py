"""What a user is told whom the server refuses, or who types nonsense."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from service.commands.cli import main
from tests.commands.stack import Stack, challenge
from tests.harness.ports import free_port

NOWHERE = f"127.0.0.1:{free_port()}"
GARBAGE = (
    "", " ", "-1", "nan", "1e999", "9" * 400, "x" * 5000, "\x1b[31m", "a\nb", "\udcff\udcfe",
    "\N{RIGHT-TO-LEFT OVERRIDE}abc", "\N{FULLWIDTH DIGIT SIX}",
)  # fmt: skip


Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command that must fail, in one line; returns its status and that line."""
    monkeypatch.setenv("CHALLENGE_TOKEN", "t")
    monkeypatch.setenv("CHALLENGE_DATA_DIR", str(tmp_path))

    def run(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        output, said = capsys.readouterr()
        assert (ended.value.code in (1, 2), output) == (True, ""), arguments
        assert said.startswith("challenge: ")
        assert said.count("\n") == 1
        assert said[:-1].isprintable()
        return int(ended.value.code or 0), said

    return run


def test_a_bad_field_is_named_and_why(stack: Stack) -> None:
    data = ("--data-dir", str(stack.data))
    done = challenge("open-session", "--merchant", "https://evil.example/", *data)
    assert done.returncode == 1
    assert done.stderr == (
        "challenge: OpenSession: INVALID_ARGUMENT (validation_error): The request is malformed. "
        "merchant_display_name: must not hold a web or email address.\n"
    )
    unknown = challenge("verify", "cs_1", "123456", *data)
    assert unknown.stderr.startswith("challenge: VerifyChallenge: NOT_FOUND (session_expired): ")


@pytest.mark.parametrize("account", ["", "  \n", "a" * 65])
def test_no_token_is_made_for_what_is_no_account(stack: Stack, account: str) -> None:
    done = challenge("token", "--account", account, "--data-dir", str(stack.data))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "challenge: --account: must be 1 to 64 printable characters\n"


NUMBERS = {
    ("dev", "--rest-port"): "a whole number from 1 to 65535",
    ("dev", "--grpc-port"): "a whole number from 1 to 65534",
    ("serve", "--workers"): "a whole number from 1 to 256",
    ("token", "--expires-in"): "a whole number from 1 to 31536000",
    ("open-session", "--expires-in"): "a whole number from 1 to 86400",
    ("edge", "--notice-seconds"): "a number from 0.0 to 300.0",
}
TEXTS = (
    "--sms", "--email", "--hcaptcha", "--turnstile", "--origin", "--merchant", "--account",
    "--locale", "--rest-url", "--target",
)  # fmt: skip


@pytest.mark.parametrize(("command", "option"), NUMBERS)
def test_a_number_is_told_its_bounds(run: Run, command: str, option: str) -> None:
    config = ("envoy.yaml",) if command == "edge" else ()
    for value in ("", "x", "-1", "nan", "9" * 400):
        status, said = run(command, f"{option}={value}", *config)
        assert status == 2, value
        assert said.startswith(f"challenge: {option}")
        assert said.endswith(f": must be {NUMBERS[command, option]}\n")


@pytest.mark.parametrize("value", GARBAGE, ids=lambda value: ascii(value)[:20])
def test_nonsense_in_any_argument_is_one_line(run: Run, value: str) -> None:
    """Whatever it is, it gets no further than the server, which is not there."""
    for option in TEXTS:
        target = () if option == "--target" else ("--target", NOWHERE)
        run("open-session", f"{option}={value}", *target)
    run("verify", "--target", NOWHERE, "--", value, "123456")
    run("verify", "--target", NOWHERE, "--", "cs_1", value)
    run("attempts", "--target", NOWHERE, "--", value)
    run("edge", "--", value)
    run(value)


@pytest.mark.parametrize("value", GARBAGE[1:], ids=lambda value: ascii(value)[:20])
def test_nonsense_in_a_variable_is_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("CHALLENGE_GRPC_LISTEN", value)
    run("attempts", "cs_1")
    monkeypatch.setenv("CHALLENGE_TOKEN", value)
    run("attempts", "--target", NOWHERE, "cs_1")
    monkeypatch.setenv("CHALLENGE_DATA_DIR", value)
    run("token")
