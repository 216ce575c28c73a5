"""What Alembic runs: the migrations over one connection that the caller opened."""

from __future__ import annotations

from alembic import context
from sqlmodel import SQLModel

from service.storage import tables  # noqa: F401  (registers the tables)

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    transaction_per_migration=True,  # locks are held for one; `autocommit_block` is possible
)
with context.begin_transaction():
    context.run_migrations()
