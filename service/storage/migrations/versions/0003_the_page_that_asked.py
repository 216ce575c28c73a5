"""The page that asked for a code: its SMS is bound to that page's host.

Adding a column that may be null rewrites nothing and locks for a moment only.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("hosted_session", sa.Column("page_origin", sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column("hosted_session", "page_origin")
