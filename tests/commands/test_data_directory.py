"""The directory of `challenge dev`: what it may be, and what becomes of what is corrupt in it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from service.commands.directory import prepare
from service.errors import BadSetting
from tests.commands.stack import ROOT, challenge, running
from tests.harness.ports import free_pair, free_port


def complaint(data: Path | str, command: str = "dev", **environment: str) -> str:
    """What a command says of a directory that does not do."""
    ports = {"REST_PORT": str(free_port()), "GRPC_PORT": str(free_pair())}
    done = challenge(command, "--data-dir", str(data), **{**ports, **environment})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("challenge: --data-dir")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_a_copied_example_of_settings_runs(tmp_path: Path) -> None:
    shutil.copy(ROOT / ".env.example", tmp_path / ".env")
    with running(tmp_path / ".data", cwd=tmp_path) as stack:
        assert stack.process.poll() is None


def test_a_file_of_settings_names_it(tmp_path: Path) -> None:
    prepare(tmp_path / "here")
    (tmp_path / ".env").write_text("CHALLENGE_DATA_DIR=here\n")
    token = challenge("token", cwd=tmp_path)
    assert (token.returncode, token.stderr) == (0, "")
    elsewhere = challenge("token", cwd=tmp_path, CHALLENGE_DATA_DIR="elsewhere")
    assert "elsewhere/signing-key.pem cannot be read" in elsewhere.stderr


@pytest.mark.parametrize("data", [".", ROOT, "/"])
def test_a_directory_of_others_is_left_alone(data: Path | str) -> None:
    before = (ROOT / "envoy.yaml").read_bytes()
    assert "which is not ours; name an empty directory" in complaint(data)
    assert (ROOT / "envoy.yaml").read_bytes() == before
    assert not (ROOT / "keys").exists()


def test_git_takes_nothing_of_it(tmp_path: Path) -> None:
    prepare(tmp_path)
    assert (tmp_path / ".gitignore").read_text() == "*\n"


def test_it_may_be_used_again(tmp_path: Path) -> None:
    first = prepare(tmp_path)
    for name in ("challenge.db", "challenge.db-wal", "envoy.yaml", "running.json"):
        (tmp_path / name).touch()
    assert prepare(tmp_path) == first


@pytest.mark.parametrize(
    "data", ["", "/dev/null", "/dev/null/data", "/proc/data", "a,b", "a\nb", "x" * 300, "y/" * 60]
)
def test_what_is_no_directory_is_refused_in_one_line(data: str) -> None:
    complaint(data)


@pytest.mark.parametrize("content", [b"", b"\xff", b"null", b"dev1:AAAA", b"\x00" * 9])
def test_corrupt_keys_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "keys").write_bytes(content)
    with pytest.raises(BadSetting, match=r"^--data-dir: .*/keys is corrupt"):
        prepare(tmp_path)


@pytest.mark.parametrize("content", ["", "no key", "-----BEGIN PRIVATE KEY-----\n"])
def test_a_corrupt_signing_key_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "signing-key.pem").write_text(content)
    assert "signing-key.pem is corrupt" in complaint(tmp_path, "token")


@pytest.mark.parametrize("content", [b"", b"[]", b"5", b"null", b'{"grpc_target": 5}', b"\xff"])
def test_a_corrupt_note_of_what_runs_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "running.json").write_bytes(content)
    assert "running.json is corrupt; remove it" in complaint(
        tmp_path, "open-session", CHALLENGE_TOKEN="t"
    )
