"""What is known of a code's arrival, and of the one before it.

Adding columns with a constant default rewrites nothing and locks for a moment only.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for column in (
        sa.Column("code_unknown", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column(
            "previous_code_expires_at", sa.BigInteger(), nullable=False, server_default=sa.text("0")
        ),
    ):
        op.add_column("hosted_session", column)


def downgrade() -> None:
    op.drop_column("hosted_session", "previous_code_expires_at")
    op.drop_column("hosted_session", "code_unknown")
