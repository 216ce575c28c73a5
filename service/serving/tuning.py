"""The threads of a serving process: few that work, and none that interrupts another.

docs/scaling.md has the figures.
"""

from __future__ import annotations

import contextlib
import os

GRPC_EXPERIMENTS = "-event_engine_listener"
"""Makes the thread that waits for gRPC's events read the network too, instead of a pool.

gRPC's own name for it; a version that does not know it says so on standard error and goes on.
"""


def tune() -> None:
    """Sets gRPC's experiment and the scheduling policy, which threads inherit.

    Call it before gRPC is imported and before any thread starts.
    """
    os.environ.setdefault("GRPC_EXPERIMENTS", GRPC_EXPERIMENTS)
    if hasattr(os, "SCHED_BATCH"):  # a thread that wakes interrupts none that runs
        with contextlib.suppress(OSError):  # a sandbox may forbid it
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
