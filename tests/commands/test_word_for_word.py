"""What README.md and docs/calling.md show is typed as it stands, and answers what they show."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright._impl._driver import compute_driver_executable

from tests.harness.ports import free_pair, free_port

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
README = (ROOT / "README.md").read_text("utf-8")
CALLING = (ROOT / "docs/calling.md").read_text("utf-8")
CREDENTIAL = re.compile(r"cs_[0-9a-f]+_secret_[\w-]+")


class Stack(NamedTuple):
    """What `make run` runs, and the environment of who types beside it."""

    environment: dict[str, str]
    data: Path
    rest_port: int
    grpc_port: int

    def type(self, command: str) -> str:
        """Types a command of a document."""
        command = command.replace(".venv/bin/", f"{BIN}/").replace(":8080", f":{self.rest_port}")
        done = subprocess.run(
            shlex.split(command), cwd=ROOT, env=self.environment,
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def code(self) -> str:
        """Reads the newest code in the inbox."""
        newest = max((self.data / "inbox").iterdir(), key=lambda path: path.stat().st_mtime_ns)
        found = re.search(r"\b\d{6}\b", json.loads(newest.read_text("utf-8"))["text"])
        assert found
        return found[0]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """`make run`, with the ports as the README changes them."""
    data, ready = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("venv") / "ready"
    ready.touch()  # newer than the lock file: make installs nothing
    rest_port, grpc_port = free_port(), free_pair()
    environment = {
        **os.environ, "CHALLENGE_DATA_DIR": str(data),
        "REST_PORT": str(rest_port), "GRPC_PORT": str(grpc_port),
    }  # fmt: skip
    process = subprocess.Popen(
        ("make", "--no-print-directory", "run", f"READY={ready}", f"BIN={BIN}"),
        cwd=ROOT, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("Ready."):
            break
    else:
        pytest.fail("".join(lines))
    yield Stack(environment, data, rest_port, grpc_port)
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
    process.communicate(timeout=30)
    assert process.returncode in (0, 2, -signal.SIGINT)  # make's own word for an interrupt


def shown(document: str, beginning: str) -> str:
    """Finds the line of a console block that begins so."""
    found = re.search(rf"^(?:\$ )?({re.escape(beginning)}.*)$", document, re.MULTILINE)
    assert found, beginning
    return found[1]


def block(language: str) -> str:
    """Finds the one block of that language in docs/calling.md."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", CALLING, re.DOTALL)
    return str(found)


def opened(stack: Stack) -> tuple[str, str]:
    """Opens a session as the README does; returns its id and its credential."""
    printed = stack.type(shown(README, ".venv/bin/challenge open-session"))
    credential = CREDENTIAL.search(printed)
    assert credential
    return credential[0].partition("_secret_")[0], credential[0]


def with_session(command: str, session_id: str, credential: str) -> str:
    return command.replace("cs_…_secret_…", credential).replace("cs_…", session_id)


def test_the_readme_word_for_word(stack: Stack) -> None:
    session_id, credential = opened(stack)
    send = with_session(shown(README, "curl "), session_id, credential)
    assert stack.type(send) == shown(README, '{"type":"sms"')
    verify = with_session(shown(README, ".venv/bin/challenge verify"), session_id, credential)
    said = stack.type(verify.replace("123456", stack.code()))
    assert said == f"{shown(README, 'satisfied')}\n"


def test_the_printed_curl_is_that_of_the_page(stack: Stack) -> None:
    printed = stack.type(shown(README, ".venv/bin/challenge open-session")).splitlines()[-1]
    credential = CREDENTIAL.search(printed)
    assert credential
    session_id = credential[0].partition("_secret_")[0]
    command = with_session(shown(CALLING, "curl "), session_id, credential[0])
    assert printed == command.replace(":8080", f":{stack.rest_port}")


def test_the_script_of_a_page(stack: Stack) -> None:
    session_id, credential = opened(stack)
    values = {"restUrl": f"http://127.0.0.1:{stack.rest_port}", "sessionId": session_id}
    for secret, said in (
        (credential, 'show {"type":"sms","delivery_hint":"--0123","code_sent":true}'),
        (f"{credential}x", "askForNewSession"),
    ):
        constants = [f"const {name} = {json.dumps(value)};" for name, value in values.items()]
        script = "\n".join((
            *constants, f"const credential = {json.dumps(secret)};",
            "const show = (answer) => console.log('show', JSON.stringify(answer));",
            "const tryAgain = () => console.log('tryAgain');",
            "const askForNewSession = () => console.log('askForNewSession');",
            block("js"),
        ))  # fmt: skip
        node = compute_driver_executable()[0]
        done = subprocess.run(
            (node, "--input-type=module", "-"), input=script,
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert (done.stdout.strip(), done.stderr) == (said, "")


@pytest.mark.parametrize(
    ("right", "said"),
    [(True, "the payment may go on"), (False, "challenge_failed True That code is not")],
)
def test_the_script_of_a_backend(stack: Stack, right: bool, said: str) -> None:
    token = stack.type(".venv/bin/challenge token").strip()
    script = block("python").replace(":50051", f":{stack.grpc_port}")
    process = subprocess.Popen(
        (sys.executable, "-c", script), env={**stack.environment, "CHALLENGE_TOKEN": token},
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    credential = process.stdout.readline().strip()
    session_id = credential.partition("_secret_")[0]
    stack.type(with_session(shown(README, "curl "), session_id, credential))
    code = stack.code()
    answer = code if right else f"{(int(code) + 1) % 1_000_000:06}"
    output, _ = process.communicate(f"{answer}\n", timeout=30)
    assert output.startswith(said)
