"""Marks that tests share."""

from __future__ import annotations

import pytest

one_database = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For what no database has a say in: one will do."""
on_postgres = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
"""For what takes two processes on one database, or is of PostgreSQL alone."""
