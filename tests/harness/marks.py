"""Marks that tests share."""

from __future__ import annotations

import pytest

one_database = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For what no database has a say in: one will do."""
