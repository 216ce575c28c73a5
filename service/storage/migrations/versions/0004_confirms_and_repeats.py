"""How long a satisfaction lasts, whether a challenge is expected, and what repeats are known by.

New columns have constant defaults or may be null, so that nothing is rewritten.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for column in (
        sa.Column("challenge_expected", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("issues", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("satisfied_until", sa.BigInteger(), nullable=True),
        sa.Column("confirms_left", sa.Integer(), nullable=True),
    ):
        op.add_column("hosted_session", column)
    op.create_table(
        "handled_request",
        sa.Column("session_id", sa.String(), nullable=False),
        sa.Column("rpc", sa.String(), nullable=False),
        sa.Column("request_id", sa.String(), nullable=False),
        sa.Column("content", sa.String(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("wrong_code", sa.Integer(), nullable=False),
        sa.Column("wrong_total", sa.Integer(), nullable=False),
        sa.Column("handled_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("session_id", "rpc", "request_id"),
    )
    op.create_index("handled_request_handled_at", "handled_request", ["handled_at"], unique=False)


def downgrade() -> None:
    op.drop_table("handled_request")
    for name in ("confirms_left", "satisfied_until", "issues", "challenge_expected"):
        op.drop_column("hosted_session", name)
