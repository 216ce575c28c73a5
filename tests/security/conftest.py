"""Fixtures of the security suite: the service and the edge as the REST suite has them."""

from __future__ import annotations

from tests.rest.conftest import database_url, edge  # noqa: F401
