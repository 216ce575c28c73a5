"""What the image is made of: the lock files and the Dockerfile agree with the project.

deploy/README.md says how the image is built and run for real.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from zipfile import ZipFile

from tests.rest.edge import ROOT

DOCKERFILE = (ROOT / "deploy/container/Dockerfile").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def pins(lock: str) -> dict[str, str]:
    """Reads which version of what a lock file holds."""
    text = (ROOT / lock).read_text("utf-8")
    return dict(re.findall(r"^([a-z0-9.-]+)(?:\[[^]]*\])?==(\S+)", text, re.M))


def copied() -> set[str]:
    """The paths that COPY takes from the repository."""
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.M)
    return {
        path.replace("${LOCK}", "requirements-full.lock") for line in lines for path in line.split()
    }


def test_every_lock_file_has_the_versions_that_the_tests_run_with() -> None:
    tested = pins("requirements-dev.lock")
    for lock in ("requirements.lock", "requirements-full.lock", "requirements-build.lock"):
        assert pins(lock)
        for name, version in pins(lock).items():
            assert tested.get(name, version) == version, f"{name} in {lock}; run: make lock"


def test_the_full_lock_has_every_extra_but_development() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = [line for name, lines in extras.items() if name != "dev" for line in lines]
    names = {re.match(r"[a-z0-9-]+", line)[0] for line in wanted}  # type: ignore[index]
    assert names <= pins("requirements-full.lock").keys()
    assert pins("requirements.lock").items() <= pins("requirements-full.lock").items()


def test_the_wheel_is_built_by_what_the_project_says() -> None:
    assert PROJECT["dependency-groups"]["build"] == PROJECT["build-system"]["requires"]


def test_what_is_copied_is_there_and_not_ignored() -> None:
    ignore = (ROOT / "deploy/container/Dockerfile.dockerignore").read_text("utf-8")
    let_through = [line[1:] for line in ignore.splitlines() if line.startswith("!")]
    for path in copied():
        assert list(ROOT.glob(path)), path
        assert any(
            fnmatch(path, pattern) or path.startswith(f"{pattern}/") or path == pattern
            for pattern in let_through
        ), f"{path} is ignored"


def test_the_wheel_can_be_built_of_what_is_copied_before(tmp_path: Path) -> None:
    stage = DOCKERFILE.partition("pip wheel")[0]
    for line in re.findall(r"^COPY (.+) \S+$", stage, re.M):
        for name in line.split():
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, tmp_path / name)
            elif "$" not in name:
                shutil.copy(ROOT / name, tmp_path / name)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-index",
               "--no-build-isolation", "-w", "wheels", "."]  # fmt: skip
    subprocess.run(command, cwd=tmp_path, check=True, timeout=120)
    [wheel] = (tmp_path / "wheels").glob("*.whl")
    assert "service/commands/packed/envoy.yaml" in ZipFile(wheel).namelist()


def test_it_runs_as_nobody_in_particular_and_asks_its_own_health() -> None:
    final = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"^USER [1-9]\d+:[1-9]\d+$", final, re.M)
    assert 'CMD ["challenge", "health"]' in final
    assert "\nRUN" not in final, "what runs needs no shell"


def test_bases_are_arguments() -> None:
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.M)) == {
        "${BUILD_IMAGE}", "${RUNTIME_IMAGE}",
    }  # fmt: skip
