"""Checks that proto/ breaks nothing that the last release had, or keeps it as what a release has.

python proto/released.py            check
python proto/released.py --write    keep, before a release is made
python proto/released.py --kept     exit with 1 if what is kept is not what proto/ has now
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
RELEASED = ROOT / "proto/released.binpb"
BUF = str(Path(sys.executable).parent / "buf")


def main() -> None:
    """Exits with what buf finds broken; says so where there was no release yet."""
    if "--write" in sys.argv:
        build(RELEASED)
    elif "--kept" in sys.argv:
        require_kept()
    elif RELEASED.exists():
        buf("breaking", "proto", "--against", str(RELEASED))
    else:
        print("proto/: nothing has been released, so nothing can be broken")


def require_kept() -> None:
    """Exits with 1 where the next release would be compared with another than this one.

    Before the first one there is none to compare with, which is only said.
    """
    keep = "run: python proto/released.py --write, and commit it"
    if not RELEASED.exists():
        print(f"proto/released.binpb is missing; before this is published {keep}", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as scratch:
        now = Path(scratch, "now.binpb")
        build(now)
        if RELEASED.read_bytes() != now.read_bytes():
            sys.exit(f"proto/released.binpb is not what this release has; {keep}")


def build(to: Path) -> None:
    """Writes what proto/ has now."""
    buf("build", "proto", "--exclude-source-info", "-o", str(to))


def buf(*arguments: str) -> None:
    """Runs buf; exits with its status if that is not 0."""
    done = subprocess.run((BUF, *arguments), cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    main()
