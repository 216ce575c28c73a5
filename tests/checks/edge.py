"""Has Envoy validate envoy.yaml with each combination of the overlays in deploy/."""

from __future__ import annotations

import subprocess
import sys
from itertools import combinations
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENVOY = Path(sys.executable).parent / "envoy"


def validate(files: tuple[Path, ...]) -> bool:
    """Tells whether Envoy takes the first file with the others laid onto it; it says why not."""
    merge = (sys.executable, "deploy/merge.py", *map(str, files))
    merged = subprocess.run(merge, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    done = subprocess.run(
        (ENVOY, "--mode", "validate", "-l", "error", "--config-yaml", merged),
        cwd=ROOT, stdout=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    names = " + ".join(str(file.relative_to(ROOT)) for file in files)
    print(f"{names}: {'valid' if done.returncode == 0 else 'NOT VALID'}", flush=True)
    return done.returncode == 0


def main() -> None:
    overlays = sorted(set((ROOT / "deploy").glob("*.yaml")) - {ROOT / "deploy/compose.yaml"})
    chosen = [
        some for count in range(1, len(overlays) + 1) for some in combinations(overlays, count)
    ]
    results = [validate((ROOT / "envoy.yaml", *some)) for some in chosen]
    sys.exit(not all(results))


main()
