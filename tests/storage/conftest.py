"""Leaves out what takes a cluster, where there is none."""

from __future__ import annotations

from tests.harness import citus

collect_ignore = [] if citus.URL else ["test_citus.py"]
