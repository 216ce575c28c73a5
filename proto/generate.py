"""Generates gen/ from proto/, or checks that it has not drifted and that buf finds no fault.

python proto/generate.py            check
python proto/generate.py --write    generate
"""

from __future__ import annotations

import filecmp
import os
import subprocess
import sys
import tempfile
from importlib import resources
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROTOS = sorted(path.relative_to(ROOT / "proto") for path in ROOT.glob("proto/**/*.proto"))
GOOGLE = str(resources.files("google.api")._paths[0].parents[1])  # type: ignore[attr-defined]
BIN = Path(sys.executable).parent


def protoc(*options: str) -> None:
    """Runs protoc over our protos."""
    path = os.pathsep.join((str(BIN), os.environ.get("PATH", "")))
    subprocess.run(
        (sys.executable, "-m", "grpc_tools.protoc", "-Iproto", f"-I{GOOGLE}", *options,
         *map(str, PROTOS)),
        cwd=ROOT, check=True, env={**os.environ, "PATH": path},
    )  # fmt: skip


def generate(out: Path) -> None:
    """Writes the Python stubs, their types, and the descriptors that Envoy transcodes by."""
    protoc(
        f"--python_out={out}", f"--grpc_python_out={out}",
        f"--mypy_out=quiet:{out}", f"--mypy_grpc_out=quiet:{out}",
        "--include_imports", f"--descriptor_set_out={out}/descriptors.binpb",
    )  # fmt: skip


def lint() -> None:
    """Runs `buf lint` over an image, so that no module need be fetched for google/api."""
    with tempfile.TemporaryDirectory() as scratch:
        image = f"{scratch}/image.binpb"
        protoc("--include_imports", "--include_source_info", f"--descriptor_set_out={image}")
        subprocess.run((str(BIN / "buf"), "lint", image, "--config", "proto/buf.yaml"),
                       cwd=ROOT, check=True)  # fmt: skip


def drifted(generated: Path) -> list[str]:
    """Lists the files that differ between gen/ and what would be generated now."""
    names = {
        path.relative_to(root)
        for root in (generated, ROOT / "gen")
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    return sorted(
        str(name)
        for name in names
        if not (generated / name).exists()
        or not (ROOT / "gen" / name).exists()
        or not filecmp.cmp(generated / name, ROOT / "gen" / name, shallow=False)
    )


def main() -> None:
    """Writes gen/ with `--write`; otherwise exits with 1 when it has drifted."""
    if "--write" in sys.argv:
        generate(ROOT / "gen")
        return
    lint()
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        if files := "\n  ".join(drifted(Path(scratch))):
            sys.exit(f"gen/ has drifted from proto/; run: make proto\n  {files}")


if __name__ == "__main__":
    main()
