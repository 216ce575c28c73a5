"""Checks that proto/ breaks nothing that the last release had, or keeps it as what a release has.

python proto/released.py            check
python proto/released.py --write    keep, when a release is made
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
RELEASED = ROOT / "proto/released.binpb"
BUF = str(Path(sys.executable).parent / "buf")


def main() -> None:
    """Exits with what buf finds broken; says so where there was no release yet."""
    if "--write" in sys.argv:
        buf("build", "proto", "--exclude-source-info", "-o", str(RELEASED))
    elif RELEASED.exists():
        buf("breaking", "proto", "--against", str(RELEASED))
    else:
        print("proto/: nothing has been released, so nothing can be broken")


def buf(*arguments: str) -> None:
    """Runs buf; exits with its status if that is not 0."""
    done = subprocess.run((BUF, *arguments), cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    main()
