"""Builds what a release consists of, into a directory: `python deploy/release.py dist`.

It takes what is committed and nothing else. The same commit gives the same bytes, whoever builds it
and when. Nothing is published.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LOCK = "requirements-full.lock"
"""What the image holds, and so what the list of components says."""


def main(to: Path) -> None:
    """Builds everything anew; exits with 1 where the protos of another release are kept.

    Args:
        to: Where; what is there goes.
    """
    when = _git("log", "-1", "--format=%ct").decode().strip()
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name)
        with tarfile.open(fileobj=io.BytesIO(_git("archive", "HEAD"))) as archive:
            # An attribute, for Debian 12's Python 3.11.2 knows no such argument.
            archive.extraction_filter = getattr(tarfile, "data_filter", None)
            archive.extractall(tree)  # noqa: S202  (of this repository)
        if subprocess.run([sys.executable, tree / "proto/released.py", "--kept"]).returncode:
            sys.exit(1)
        shutil.rmtree(to, ignore_errors=True)
        to.mkdir(parents=True)
        version = tomllib.loads((tree / "pyproject.toml").read_text("utf-8"))["project"]["version"]
        pack = _Packer(to, version, int(when))
        _build(tree, to, when)
        pack.tarball("challenge-image-context", tree, _image_context(tree))
        pack.tarball(
            "challenge", tree / "deploy/chart", _chart(tree), root="challenge", ending="tgz"
        )
        for client in sorted((tree / "clients").glob("*/")):
            if (client / "pyproject.toml").exists():  # a wheel alone: the stubs are not beside it
                _build(client, to, when, "-t", "wheel")
            else:
                pack.tarball(f"challenge-client-{client.name}", client, _files(client))
        _list_components(tree, to / f"challenge-service-{version}", when)
    _sum(to)


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout


def _build(project: Path, to: Path, when: str, *options: str) -> None:
    """Builds wheel and sdist, or what the options say."""
    _run(project, when, "hatchling", "build", "-d", str(to.resolve()), *options)


def _run(where: Path, when: str, *command: str) -> bytes:
    """Runs a module as of a time; returns what it says."""
    environment = {**os.environ, "SOURCE_DATE_EPOCH": when}
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=where, env=environment, check=True,
        stdout=subprocess.PIPE,
    ).stdout  # fmt: skip


class _Packer:
    """Makes tarballs that tell nothing of who made them, or when."""

    def __init__(self, to: Path, version: str, when: int) -> None:
        self._to = to
        self._version = version
        self._when = when

    def tarball(
        self, name: str, base: Path, files: Iterable[Path], root: str = "", ending: str = "tar.gz"
    ) -> None:
        """Packs files, under a directory of its own: `root`, or name and version."""
        root = root or f"{name}-{self._version}"
        with (
            (self._to / f"{name}-{self._version}.{ending}").open("wb") as file,
            gzip.GzipFile("", "wb", fileobj=file, mtime=self._when) as zipped,
            tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            for path in sorted(files):
                entry = tarfile.TarInfo(f"{root}/{path.relative_to(base)}")
                entry.size, entry.mtime = path.stat().st_size, self._when
                entry.mode = 0o755 if os.access(path, os.X_OK) else 0o644
                with path.open("rb") as content:
                    archive.addfile(entry, content)


def _files(base: Path) -> Iterator[Path]:
    return (path for path in base.rglob("*") if path.is_file())


def _image_context(tree: Path) -> list[Path]:
    """What the Dockerfile is given, and itself."""
    container = Path("deploy/container")
    lines = (tree / container / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    given = {path for line in lines if line.startswith("!") for path in tree.glob(line[1:])}
    given -= {path for line in lines if line[0] not in "!#*" for path in tree.glob(line)}
    given |= {tree / container}
    return [path for path in _files(tree) if given & {path, *path.parents}]


def _chart(tree: Path) -> list[Path]:
    """The chart, as `helm package` would take it."""
    chart = tree / "deploy/chart"
    ignored = (chart / ".helmignore").read_text("utf-8").splitlines()
    return [path for path in _files(chart) if path.name not in (*ignored, ".helmignore")]


def _list_components(tree: Path, name: Path, when: str) -> None:
    """Writes what is in the image: as CycloneDX, and the licences for people to read."""
    command = ("cyclonedx_py", "requirements", LOCK, "--output-reproducible")
    told = _run(tree, when, *command, "--pyproject", "pyproject.toml", "-o", "-")
    components: dict[str, Any] = json.loads(told)
    lines = []
    for component in components["components"]:
        component.pop("description", None)  # the line of the lock file
        licence = _licence(component["name"])
        component["licenses"] = [{"license": {"name": licence}}]
        lines.append(f"{component['name']} {component['version']}: {licence}\n")
    text = json.dumps(components, indent=1, sort_keys=True)
    name.with_name(f"{name.name}.cdx.json").write_text(f"{text}\n", "utf-8")
    name.with_name(f"{name.name}.licences.txt").write_text("".join(sorted(lines)), "utf-8")


def _licence(package: str) -> str:
    """Returns what a package says of its licence, its best word first."""
    said = metadata.metadata(package)
    classes = [line.rpartition(" :: ")[2] for line in said.get_all("Classifier") or ()
               if line.startswith("License :: ")]  # fmt: skip
    words = (said.get("License-Expression"), " AND ".join(classes), said.get("License"))
    return next((word for word in words if word), "unknown")


def _sum(to: Path) -> None:
    """Writes SHA256SUMS, as sha256sum reads it."""
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
            for path in sorted(to.iterdir())]  # fmt: skip
    (to / "SHA256SUMS").write_text("".join(sums), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
