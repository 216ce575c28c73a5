"""Generates gen/ and docs/reference.md from proto/, or checks that they have not drifted.

It checks with buf, too; proto/ is all that any compiler needs.

python proto/generate.py            check
python proto/generate.py --write    generate
"""

from __future__ import annotations

import filecmp
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from reference import page

ROOT = Path(__file__).parents[1]
OURS = sorted(path.relative_to(ROOT / "proto") for path in ROOT.glob("proto/govifi/**/*.proto"))
RULES = Path("buf/validate/validate.proto")
"""What no library has the stubs of."""
REFERENCE = ROOT / "docs/reference.md"
BIN = Path(sys.executable).parent


def protoc(*arguments: str | Path) -> None:
    """Runs protoc."""
    path = os.pathsep.join((str(BIN), os.environ.get("PATH", "")))
    subprocess.run(
        (sys.executable, "-m", "grpc_tools.protoc", "-Iproto", *map(str, arguments)),
        cwd=ROOT, check=True, env={**os.environ, "PATH": path},
    )  # fmt: skip


def generate(out: Path) -> None:
    """Writes the Python stubs, their types, and the descriptors that Envoy transcodes by."""
    protoc(
        f"--python_out={out}", f"--grpc_python_out={out}",
        f"--mypy_out=quiet:{out}", f"--mypy_grpc_out=quiet:{out}",
        "--include_imports", f"--descriptor_set_out={out}/descriptors.binpb", *OURS,
    )  # fmt: skip
    protoc(f"--python_out={out}", RULES)


def reference() -> str:
    """Returns the reference page, made of the protos' comments."""
    with tempfile.TemporaryDirectory() as scratch:
        described = Path(scratch, "described.binpb")
        protoc("--include_source_info", f"--descriptor_set_out={described}", *OURS)
        return page(described.read_bytes())


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
    """Writes gen/ and the page with `--write`; otherwise exits with 1 when they have drifted."""
    if "--write" in sys.argv:
        generate(ROOT / "gen")
        REFERENCE.write_text(reference(), "utf-8")
        return
    subprocess.run((str(BIN / "buf"), "lint", "proto"), cwd=ROOT, check=True)
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        names = [f"gen/{name}" for name in drifted(Path(scratch))]
    if REFERENCE.read_text("utf-8") != reference():
        names.append(str(REFERENCE.relative_to(ROOT)))
    if names:
        sys.exit("not what proto/ says any more; run: make proto\n  " + "\n  ".join(names))


if __name__ == "__main__":
    main()
