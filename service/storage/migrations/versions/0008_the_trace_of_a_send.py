"""The trace of the Send that a dispatch is for: what retries it later is linked to that.

A column that may be null rewrites nothing, and releases before go on without it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008_from_0007"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("hosted_session", sa.Column("traceparent", sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column("hosted_session", "traceparent")
