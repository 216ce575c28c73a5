"""The commands as a user runs them: real processes, real signals."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

import httpx
import pytest

from service.keyring import Fingerprints, KeyRing
from tests.commands.stack import Stack, challenge, start
from tests.harness.ports import free_pair, free_port
from tests.harness.tokens import Issuer


def inbox_code(data: Path) -> str:
    newest = max((data / "inbox").iterdir())
    found = re.search(r"\b\d{6}\b", json.loads(newest.read_text("utf-8"))["text"])
    assert found
    return found[0]


def test_a_new_user_gets_a_code_and_verifies_it_once(stack: Stack) -> None:
    data = ("--data-dir", str(stack.data))
    opened = challenge("open-session", "--sms", "+14155550123", "--json", *data)
    session = json.loads(opened.stdout)
    url = f"http://127.0.0.1:{stack.rest_port}/v1/hosted-sessions/{session['session_id']}"
    bearer = {"authorization": f"Bearer {session['client_secret']}"}
    answer = httpx.post(f"{url}/challenge/send", headers=bearer)
    assert answer.text == '{"type":"sms","delivery_hint":"--0123","code_sent":true}'
    code = inbox_code(stack.data)
    first = challenge("verify", session["session_id"], code, *data)
    assert (first.returncode, first.stdout) == (0, "satisfied\n")
    second = challenge("verify", session["session_id"], code, *data)
    assert (second.returncode, second.stdout) == (0, "already satisfied\n")
    attempts = challenge("attempts", session["session_id"], *data).stdout
    assert "try 1  ACCEPTED" in attempts
    assert httpx.post(f"{url}/challenge/send", headers=bearer).text == "null"


def test_what_happened_is_exported_checked_shown_explained_and_erased(
    stack: Stack, tmp_path: Path
) -> None:
    data = ("--data-dir", str(stack.data))
    opened = challenge("open-session", "--sms", "+14155550123", "--json", *data)
    session = json.loads(opened.stdout)
    session_id = session["session_id"]
    url = f"http://127.0.0.1:{stack.rest_port}/v1/hosted-sessions/{session_id}/challenge/send"
    httpx.post(url, headers={"authorization": f"Bearer {session['client_secret']}"})
    assert "took the message at" in challenge("explain", session_id, *data).stdout

    file = tmp_path / "evidence.json"
    file.write_text(challenge("evidence", session_id, *data).stdout, "utf-8")
    thumbprint = json.loads(file.read_text("utf-8"))["thumbprint"]
    held = challenge("evidence", "--check", str(file), "--thumbprint", thumbprint)
    assert (held.returncode, held.stderr) == (0, "")
    assert held.stdout.startswith(f"it holds: 3 events of {session_id}, nothing erased, signed at ")
    other = challenge("evidence", "--check", str(file), "--thumbprint", "another")
    assert other.returncode == 1
    assert "signed by another key" in other.stderr
    for arguments in ((session_id, *data), ("--check", str(file))):
        page = challenge("evidence", *arguments, "--html", "--time-zone", "Europe/Paris")
        assert page.stdout.startswith("<!doctype html>")
        assert "Times are in Europe/Paris" in page.stdout
    file.write_text(file.read_text("utf-8").replace("+14155", "").replace("accepted", "refused"))
    changed = challenge("evidence", "--check", str(file))
    assert (changed.returncode, changed.stdout) == (1, "")
    assert changed.stderr.startswith("challenge: the evidence does not hold: ")

    erased = challenge("erase", *data, stdin="+14155550123\n")
    assert erased.stdout == "sessions 1\nevents 1\n"
    assert "The destination was erased" in challenge("explain", session_id, *data).stdout
    assert challenge("erase", *data, "jo@example.com").stdout == "sessions 0\nevents 0\n"


@pytest.mark.parametrize(
    "arguments",
    [("evidence",), ("evidence", "cs_1", "--check", "pyproject.toml"), ("erase",)],
)
def test_what_is_missing_is_told(arguments: tuple[str, ...], tmp_path: Path) -> None:
    told = challenge(*arguments, "--data-dir", str(tmp_path))
    assert told.returncode == 2
    assert told.stderr.startswith("challenge: name a ")


def test_the_printed_curl_sends(stack: Stack) -> None:
    printed = challenge(
        "open-session", "--email", "jo@example.com", "--data-dir", str(stack.data)
    ).stdout
    command = printed.splitlines()[-1]
    bearer = re.search(r"'authorization: (Bearer \S+)'", command)
    assert bearer
    assert command.startswith("curl -i -X POST ")
    answer = httpx.post(command.split()[-1], headers={"authorization": bearer[1]})
    assert answer.json() == {"type": "email", "delivery_hint": "j--@example.com", "code_sent": True}


def test_it_starts_without_a_warning(stack: Stack) -> None:
    [serving] = filter(str.strip, stack.starting)
    assert " serving " in serving


@pytest.mark.parametrize(
    ("arguments", "url"),
    [((), "https://HOST"), (("--rest-url", "https://pay.example/"), "https://pay.example")],
)
def test_the_curl_for_another_server_names_its_edge(
    stack: Stack, arguments: tuple[str, ...], url: str
) -> None:
    target = ("--target", f"127.0.0.1:{stack.grpc_port}", "--data-dir", str(stack.data))
    command = challenge("open-session", *target, *arguments).stdout.splitlines()[-1]
    assert command.split()[-1].startswith(f"{url}/v1/hosted-sessions/cs_")


def test_a_file_of_settings_says_which_server_and_with_which_token(
    stack: Stack, tmp_path: Path
) -> None:
    token = challenge("token", "--data-dir", str(stack.data)).stdout.strip()
    (tmp_path / ".env").write_text(
        f"CHALLENGE_GRPC_LISTEN=127.0.0.1:{stack.grpc_port}\nCHALLENGE_TOKEN={token}\n"
    )
    assert challenge("health", cwd=tmp_path).stdout == "serving\n"
    opened = challenge("open-session", "--json", cwd=tmp_path)
    assert json.loads(opened.stdout)["session_id"].startswith("cs_")


def test_a_token_for_the_internal_api_is_printed(stack: Stack) -> None:
    token = challenge("token", "--data-dir", str(stack.data)).stdout.strip()
    opened = challenge(
        "open-session", "--json", "--target", f"127.0.0.1:{stack.grpc_port + 1}",
        CHALLENGE_TOKEN=token,
    )  # fmt: skip
    assert json.loads(opened.stdout)["session_id"].startswith("cs_")


def test_a_taken_port_gives_one_clear_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = start(tmp_path, port, free_pair())
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert output == f"challenge: port {port} (REST_PORT) is taken; choose another\n"


SETTINGS = {
    "CHALLENGE_KEYS": "k1:" + "A" * 43 + "=",
    "CHALLENGE_FINGERPRINT_KEY": "A" * 43 + "=",
    "CHALLENGE_JWKS": "jwks.json",
    "CHALLENGE_JWT_ISSUER": "https://issuer.test",
}


@pytest.mark.parametrize("missing", SETTINGS)
def test_a_missing_setting_gives_one_line_that_names_it(missing: str) -> None:
    done = challenge("serve", **{k: v for k, v in SETTINGS.items() if k != missing})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"challenge: {missing}: must be set\n"


def test_new_keys_are_printed_as_settings() -> None:
    printed = [challenge("keys").stdout for _ in range(2)]
    lines = [line.partition("=") for output in printed for line in output.splitlines()]
    names = ["CHALLENGE_KEYS", "CHALLENGE_FINGERPRINT_KEY"]
    assert [name for name, _, _ in lines] == names * 2
    ring = ",".join(value for name, _, value in lines if name == "CHALLENGE_KEYS")
    KeyRing.parse(ring)  # the ids differ, so that one can be put in front of the other
    prints = {Fingerprints.parse(value).of("x") for name, _, value in lines if name == names[1]}
    assert len(prints) == 2


def test_an_unreachable_database_gives_one_line(tmp_path: Path) -> None:
    jwks = Issuer(tmp_path).jwks
    url = f"postgresql://user:hunter2@127.0.0.1:{free_port()}/challenge"
    settings = {**SETTINGS, "CHALLENGE_JWKS": str(jwks), "CHALLENGE_DATABASE_URL": url}
    for command in ("serve", "migrate", "purge"):
        done = challenge(command, **settings)
        assert done.returncode == 1
        assert done.stderr.startswith("challenge: CHALLENGE_DATABASE_URL: cannot ")
        assert done.stderr.count("\n") == 1
        assert "hunter2" not in done.stderr


def test_no_server_gives_one_line(tmp_path: Path) -> None:
    target = f"127.0.0.1:{free_port()}"
    done = challenge("verify", "cs_1", "123456", "--target", target, CHALLENGE_TOKEN="t")
    assert done.returncode == 1
    assert done.stderr == f"challenge: no server answers at {target}; start one with: make run\n"


def test_purge_says_what_it_forgot(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/challenge.db"
    assert challenge("migrate", CHALLENGE_DATABASE_URL=url).returncode == 0
    done = challenge("purge", CHALLENGE_DATABASE_URL=url)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("value", ["", "x", "-1", "9999999999999999999999", "9999"])
def test_a_lifeline_of_nobody_gives_one_line(value: str) -> None:
    done = challenge("serve", **SETTINGS, CHALLENGE_WORKER_LIFELINE=value)
    assert done.returncode == 2
    assert done.stderr == "challenge: CHALLENGE_WORKER_LIFELINE: must be left to the supervisor\n"
