"""Faults that the service must survive: real processes, real signals, an oracle that counts.

`pytest tests/faults` runs every row in small; `python -m tests.faults` runs the full counts and
prints a line per row.
"""

import os

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # processes are started while calls are made
