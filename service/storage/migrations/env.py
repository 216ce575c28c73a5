"""What Alembic runs: the migrations over one connection that the caller opened."""

from __future__ import annotations

from alembic import context
from sqlmodel import SQLModel

from service.storage import tables  # noqa: F401  (registers the tables)

context.configure(
    connection=context.config.attributes["connection"], target_metadata=SQLModel.metadata
)
with context.begin_transaction():
    context.run_migrations()
