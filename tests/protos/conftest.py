"""Tests of tools that are not installed are left out."""

from __future__ import annotations

from tests.harness import programs

collect_ignore = programs.left_out("protos")
