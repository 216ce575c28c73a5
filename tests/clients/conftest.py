"""Clients whose toolchain is not installed are left out."""

from __future__ import annotations

from tests.harness import programs

collect_ignore = programs.left_out("clients")
