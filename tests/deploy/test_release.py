"""`make release`: what it builds, twice, of what is committed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.deploy.test_container import DOCKERFILE, PROJECT, pins
from tests.rest.edge import ROOT

VERSION = PROJECT["project"]["version"]
SERVICE = f"challenge-service-{VERSION}"


def release(
    clone: Path, to: Path, umask: int = 0o022, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, clone / "deploy/release.py", to], env={**os.environ, **environment},
        umask=umask, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def commit(clone: Path) -> None:
    whoever = ("-c", "user.name=a", "-c", "user.email=a@b.example")
    subprocess.run(["git", "add", "-A", "proto"], cwd=clone, check=True)
    command = ["git", *whoever, "commit", "-q", "--allow-empty", "-m", "Protos"]
    subprocess.run(command, cwd=clone, check=True)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is committed."""
    path = tmp_path_factory.mktemp("release") / "clone"
    subprocess.run(["git", "clone", "-q", ROOT, path], check=True)
    return path


@pytest.fixture(scope="module")
def dist(clone: Path) -> Path:
    """A release."""
    to = clone.parent / "dist"
    done = release(clone, to)
    assert done.returncode == 0, done.stderr
    return to


def clients() -> list[str]:
    """The names of those that are committed."""
    command = ["git", "ls-tree", "-d", "--name-only", "HEAD:clients"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.stdout.split()


def test_all_of_it_is_built(dist: Path) -> None:
    names = {path.name for path in dist.iterdir()}
    wheels = {f"challenge_service-{VERSION}{end}" for end in (".tar.gz", "-py3-none-any.whl")}
    assert names == wheels | {
        f"challenge-image-context-{VERSION}.tar.gz", f"challenge-{VERSION}.tgz",
        f"{SERVICE}.cdx.json", f"{SERVICE}.licences.txt", "SHA256SUMS",
        f"govifi_challenge_client-{VERSION}-py3-none-any.whl",
        *(f"challenge-client-{name}-{VERSION}.tar.gz" for name in clients() if name != "python"),
    }  # fmt: skip


def test_no_file_is_of_a_project_that_it_does_not_hold(dist: Path, tmp_path: Path) -> None:
    """Each sdist makes its wheel."""
    for sdist in dist.glob("*.tar.gz"):
        with tarfile.open(sdist) as archive:
            if not [name for name in archive.getnames() if name.endswith("/PKG-INFO")]:
                continue
        command = ["-m", "pip", "wheel", "-q", "--no-deps", "--no-index", "--no-build-isolation"]
        subprocess.run([sys.executable, *command, "-w", tmp_path, sdist], check=True)
    assert {wheel.name for wheel in tmp_path.iterdir()} <= {path.name for path in dist.iterdir()}


def test_it_is_refused_while_the_protos_of_another_are_kept(clone: Path, tmp_path: Path) -> None:
    other = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", clone, other], check=True)
    subprocess.run([sys.executable, other / "proto/released.py", "--write"], check=True)
    admin = other / "proto/govifi/challenge/v1/challenge_admin.proto"
    admin.write_text(admin.read_text("utf-8").replace("amount_minor", "amount_in_minor"), "utf-8")
    commit(other)
    done = release(other, tmp_path / "dist")
    assert done.returncode == 1
    assert "run: python proto/released.py --write" in done.stderr
    assert not (tmp_path / "dist").exists()


def test_built_again_it_is_the_same_bytes(clone: Path, dist: Path, tmp_path: Path) -> None:
    again = tmp_path / "another place"
    done = release(
        clone, again, 0o077, TZ="Pacific/Kiritimati", LC_ALL="C", HOME=str(tmp_path),
        PYTHONHASHSEED="7", SOURCE_DATE_EPOCH="1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {path.name: path.read_bytes() for path in dist.iterdir()} == {
        path.name: path.read_bytes() for path in again.iterdir()
    }


def test_its_sums_are_checked_as_the_page_says(dist: Path) -> None:
    page = (ROOT / "SECURITY.md").read_text("utf-8")
    [command] = re.findall(r"^\$ (sha256sum [^#]+?) +#", page, re.M)
    subprocess.run(command.split(), cwd=dist, check=True, stdout=subprocess.DEVNULL)
    listed = {line.split()[1] for line in (dist / "SHA256SUMS").read_text().splitlines()}
    assert listed == {path.name for path in dist.iterdir()} - {"SHA256SUMS"}


def test_the_components_are_those_of_the_lock_file(dist: Path) -> None:
    text = (dist / f"{SERVICE}.cdx.json").read_text("utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    components = json.loads(text)["components"]
    assert {one["name"]: one["version"] for one in components} == pins("requirements-full.lock")
    for one in components:
        assert [each["hashes"] for each in one["externalReferences"] if "hashes" in each], one


def test_every_licence_is_one_that_we_may_pass_on(dist: Path) -> None:
    lines = (dist / f"{SERVICE}.licences.txt").read_text("utf-8").splitlines()
    assert len(lines) == len(pins("requirements-full.lock"))
    free = r"Apache|MIT|BSD|ISC|PSF|Python Software|Unlicense|Public Domain|MPL|Mozilla"
    for line in lines:
        licence = line.partition(": ")[2]
        assert re.search(free, licence), line
        assert not re.search("GPL|unknown", licence), line


def test_the_image_can_be_built_of_its_context(dist: Path, tmp_path: Path) -> None:
    with tarfile.open(dist / f"challenge-image-context-{VERSION}.tar.gz") as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(tmp_path)
    [context] = tmp_path.iterdir()
    assert (context / "deploy/container/Dockerfile").read_text("utf-8") == DOCKERFILE
    for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.M):
        for path in line.replace("${LOCK}", "requirements*.lock").split():
            assert list(context.glob(path)), path
    assert not (context / "deploy/compose.yaml").exists()


def test_no_file_tells_who_built_it(dist: Path) -> None:
    for path in dist.glob("*.t*gz"):
        with tarfile.open(path) as archive:
            for entry in archive:
                assert (entry.uid, entry.uname, entry.gname) == (0, "", ""), (path, entry.name)
    with ZipFile(next(dist.glob("*.whl"))) as wheel:
        assert len({entry.date_time for entry in wheel.infolist()}) == 1
