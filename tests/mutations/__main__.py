"""Takes each protection out and shows that its test notices: `python -m tests.mutations [word]`."""

from __future__ import annotations

import sys

from tests.mutations.tables import TABLES


def main(wanted: list[str]) -> int:
    missed = 0
    for suites, mutations in TABLES:
        for mutation in mutations:
            if wanted and not any(word in mutation.protection for word in wanted):
                continue
            verdict = mutation.verdict(suites)
            missed += not verdict.startswith("fails")
            print(f"{mutation.protection:55}  {mutation.test:50}  {verdict}", flush=True)
    return missed


if __name__ == "__main__":
    sys.exit(min(1, main(sys.argv[1:])))
