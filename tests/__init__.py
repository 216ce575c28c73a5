"""Tests of everything that is handed over."""

from __future__ import annotations

import os

# After a fork, gRPC starts its threads anew in the child, whose files are closed before its exec:
# now and then it ends there. Tests start programs beside a running server, some of them by fork.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
