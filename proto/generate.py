"""Generates from proto/ what stands in GENERATED, or checks that it has not drifted.

It checks with buf, too; proto/ is all that any compiler needs. The Go client's code takes Go: where
there is none, that is said, and nothing of it is checked.

python proto/generate.py            check
python proto/generate.py --write    generate
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from browser_types import declarations
from reference import page

ROOT = Path(__file__).parents[1]
OURS = sorted(path.relative_to(ROOT / "proto") for path in ROOT.glob("proto/govifi/**/*.proto"))
RULES = Path("buf/validate/validate.proto")
"""What no library has the stubs of."""
GENERATED = ("gen", "clients/go/challenge", "clients/browser/types.d.ts", "docs/reference.md")
"""Files and folders that hold nothing else."""
GO = ROOT / "clients/go"
GO_MODULE = "challenge-service/clients/go"
BIN = Path(sys.executable).parent


def protoc(*arguments: str | Path) -> None:
    """Runs protoc."""
    path = os.pathsep.join((str(BIN), os.environ.get("PATH", "")))
    subprocess.run(
        (sys.executable, "-m", "grpc_tools.protoc", "-Iproto", *map(str, arguments)),
        cwd=ROOT, check=True, env={**os.environ, "PATH": path},
    )  # fmt: skip


def generate(root: Path) -> None:
    """Writes everything below `root`, where it stands in the repository."""
    gen, go = root / "gen", root / "clients/go"
    for folder in (gen, go, root / "docs", root / "clients/browser"):
        folder.mkdir(parents=True, exist_ok=True)
    protoc(
        f"--python_out={gen}", f"--grpc_python_out={gen}",
        f"--mypy_out=quiet:{gen}", f"--mypy_grpc_out=quiet:{gen}",
        "--include_imports", f"--descriptor_set_out={gen}/descriptors.binpb", *OURS,
    )  # fmt: skip
    protoc(f"--python_out={gen}", RULES)
    (root / "docs/reference.md").write_text(reference(), "utf-8")
    document = (ROOT / "docs/openapi.yaml").read_text("utf-8")
    (root / "clients/browser/types.d.ts").write_text(declarations(document), "utf-8")
    if shutil.which("go"):
        with_go(go)
    else:
        print("clients/go is neither generated nor checked: there is no go")


def with_go(out: Path) -> None:
    """Writes the Go client's code, by the plugins that its go.mod names."""
    with tempfile.TemporaryDirectory() as plugins:
        subprocess.run(
            ("go", "install", "tool"), cwd=GO, check=True, env={**os.environ, "GOBIN": plugins}
        )
        options = [f"--{name}_opt=module={GO_MODULE}" for name in ("go", "go-grpc")]
        paths = [f"--plugin={path}" for path in Path(plugins).iterdir()]
        protoc(*paths, f"--go_out={out}", f"--go-grpc_out={out}", *options, *OURS)


def reference() -> str:
    """Returns the reference page, made of the protos' comments and rules."""
    with tempfile.TemporaryDirectory() as scratch:
        described = Path(scratch, "described.binpb")
        protoc("--include_source_info", f"--descriptor_set_out={described}", *OURS)
        return page(described.read_bytes())


def files(root: Path) -> dict[Path, bytes]:
    """Reads what is generated, below `root`."""
    found = (path for name in GENERATED for path in (root / name, *(root / name).rglob("*")))
    return {
        path.relative_to(root): path.read_bytes()
        for path in found
        if path.is_file() and "__pycache__" not in path.parts
    }


def drifted(generated: Path) -> list[str]:
    """Lists the files that differ between the repository and what would be generated now."""
    ours, new = files(ROOT), files(generated)
    if not shutil.which("go"):
        ours = {name: text for name, text in ours.items() if name.parts[:2] != ("clients", "go")}
    return sorted(str(name) for name in {*ours, *new} if ours.get(name) != new.get(name))


def main() -> None:
    """Generates with `--write`; otherwise exits with 1 when anything has drifted."""
    if "--write" in sys.argv:
        generate(ROOT)
        return
    subprocess.run((str(BIN / "buf"), "lint", "proto"), cwd=ROOT, check=True)
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        if names := drifted(Path(scratch)):
            sys.exit("not what proto/ says any more; run: make proto\n  " + "\n  ".join(names))


if __name__ == "__main__":
    main()
