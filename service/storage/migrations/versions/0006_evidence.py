"""Evidence, and the end of each session's chain of it.

The new column has a constant default, so that nothing is rewritten; no row is in the new index of
sessions until one is given a fallback.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "hosted_session",
        sa.Column("chain", sa.String(), nullable=False, server_default=sa.text("''")),
    )
    op.create_index(
        "hosted_session_fallback",
        "hosted_session",
        ["fallback_fingerprint"],
        unique=False,
        postgresql_where=sa.text("fallback_fingerprint IS NOT NULL"),
        sqlite_where=sa.text("fallback_fingerprint IS NOT NULL"),
    )
    op.create_table(
        "evidence",
        sa.Column("session_id", sa.String(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("account_uid", sa.String(), nullable=False),
        sa.Column("event", sa.String(), nullable=False),
        sa.Column("personal", sa.String(), nullable=True),
        sa.Column("fingerprint", sa.String(), nullable=True),
        sa.Column("chain", sa.String(), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("session_id", "seq"),
    )
    op.create_index(
        "evidence_opened",
        "evidence",
        ["at"],
        unique=False,
        postgresql_where=sa.text("seq = 1"),
        sqlite_where=sa.text("seq = 1"),
    )
    op.create_index(
        "evidence_personal",
        "evidence",
        ["fingerprint"],
        unique=False,
        postgresql_where=sa.text("fingerprint IS NOT NULL"),
        sqlite_where=sa.text("fingerprint IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_table("evidence")
    op.drop_index("hosted_session_fallback", "hosted_session")
    op.drop_column("hosted_session", "chain")
