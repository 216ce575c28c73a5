"""What is installed from the wheel, far from any checkout."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.commands.stack import BARE, ROOT, running


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """An environment with the wheel; what the wheel depends on is lent by the one that tests."""
    run = {"check": True, "env": BARE, "timeout": 120}
    build = (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path))
    subprocess.run(build, cwd=ROOT, capture_output=True, **run)  # type: ignore[call-overload]
    (wheel,) = tmp_path.glob("*.whl")
    home = tmp_path / "venv"
    venv.create(home, with_pip=False)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    lent = home / "lib" / version / "site-packages" / "lent.pth"
    lent.write_text(sysconfig.get_path("purelib"))  # its own .pth files are not read
    pip = (sys.executable, "-m", "pip", "--python", str(home / "bin" / "python"))
    install = (*pip, "install", "-q", "--no-deps", "--no-index", str(wheel))
    subprocess.run(install, **run)  # type: ignore[call-overload]
    (home / "bin" / "envoy").symlink_to(Path(sys.executable).with_name("envoy"))
    return home / "bin"


def test_it_runs_service_and_envoy(installed: Path, tmp_path: Path) -> None:
    where = (str(installed / "python"), "-c", "import service; print(service.__file__)")
    found = subprocess.run(where, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert found.startswith(str(installed.parent))
    program = str(installed / "challenge")
    with running(tmp_path / "data", program=program, cwd=tmp_path) as stack:
        opened = subprocess.run(
            (program, "open-session", "--sms", "+14155550123", "--data-dir", str(stack.data)),
            cwd=tmp_path, env=BARE, capture_output=True, text=True, timeout=30, check=True,
        ).stdout  # fmt: skip
        sent = subprocess.run(
            ("sh", "-c", opened.splitlines()[-1]), capture_output=True, text=True, check=True
        )
        assert sent.stdout.endswith('{"type":"sms","delivery_hint":"--0123","code_sent":true}')
