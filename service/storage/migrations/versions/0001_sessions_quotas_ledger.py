"""Sessions, quotas, ledger."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


# The one clock of every statement, in ms since the epoch. STABLE, so that indexes can be searched
# with it; a statement's own time, so that it moves on within a transaction.
_CLOCK = """
CREATE FUNCTION challenge_now() RETURNS bigint LANGUAGE sql STABLE AS
$$ SELECT (extract(epoch FROM statement_timestamp()) * 1000)::bigint $$
"""


def upgrade() -> None:
    on_postgres = op.get_context().dialect.name == "postgresql"
    if on_postgres:
        op.execute(_CLOCK)
    op.create_table(
        "attempt",
        sa.Column("session_id", sa.String(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("claimed_at", sa.BigInteger(), nullable=False),
        sa.Column("challenge_id", sa.String(), nullable=False),
        sa.Column("dispatch_try", sa.Integer(), nullable=False),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("provider_message_id", sa.String(), nullable=True),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("session_id", "fence", "claimed_at"),
        postgresql_partition_by="RANGE (claimed_at)",
    )
    if on_postgres:
        op.execute("CREATE TABLE attempt_default PARTITION OF attempt DEFAULT")
    else:
        op.create_index("attempt_claimed_at", "attempt", ["claimed_at"], unique=False)
    op.create_table(
        "hosted_session",
        sa.Column("session_id", sa.String(), nullable=False),
        sa.Column("account_uid", sa.String(), nullable=False),
        sa.Column("secret_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("allowed_origins", sa.String(), nullable=False),
        sa.Column("locale", sa.String(), nullable=False),
        sa.Column("merchant_name", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("lifetime_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("sends", sa.Integer(), nullable=False),
        sa.Column("wrong_code", sa.Integer(), nullable=False),
        sa.Column("wrong_total", sa.Integer(), nullable=False),
        sa.Column("challenge_id", sa.String(), nullable=True),
        sa.Column("challenge_type", sa.String(), nullable=True),
        sa.Column("challenge_state", sa.String(), nullable=False),
        sa.Column("satisfied_at", sa.BigInteger(), nullable=True),
        sa.Column("site_key", sa.String(), nullable=True),
        sa.Column("destination", sa.LargeBinary(), nullable=True),
        sa.Column("fingerprint", sa.String(), nullable=True),
        sa.Column("delivery_hint", sa.String(), nullable=True),
        sa.Column("key_id", sa.String(), nullable=True),
        sa.Column("amount_minor", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.String(), nullable=True),
        sa.Column("payee", sa.String(), nullable=True),
        sa.Column("code_counter", sa.Integer(), nullable=False),
        sa.Column("code_expires_at", sa.BigInteger(), nullable=False),
        sa.Column("code_sent", sa.Boolean(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("dispatch_state", sa.String(), nullable=False),
        sa.Column("dispatch_reason", sa.String(), nullable=True),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("unknowns", sa.Integer(), nullable=False),
        sa.Column("claimed_at", sa.BigInteger(), nullable=False),
        sa.Column("window_ends_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "challenge_state IN ('none', 'pending', 'refused', 'satisfied', 'waived')",
            name="challenge_state",
        ),
        sa.CheckConstraint(
            "dispatch_state IN ('idle', 'queued', 'sending', 'sent', 'dead', 'expired')",
            name="dispatch_state",
        ),
        sa.CheckConstraint("state IN ('open', 'completed', 'expired')", name="session_state"),
        sa.PrimaryKeyConstraint("session_id"),
        postgresql_with={"fillfactor": 70},
    )
    op.create_index(
        "hosted_session_due",
        "hosted_session",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("due_at IS NOT NULL"),
        sqlite_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index(
        "hosted_session_to_purge",
        "hosted_session",
        ["expires_at"],
        unique=False,
        postgresql_where=sa.text("destination IS NULL"),
        sqlite_where=sa.text("destination IS NULL"),
    )
    op.create_index(
        "hosted_session_to_wipe",
        "hosted_session",
        ["expires_at"],
        unique=False,
        postgresql_where=sa.text("destination IS NOT NULL"),
        sqlite_where=sa.text("destination IS NOT NULL"),
    )
    op.create_table(
        "quota",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("ends_at", sa.BigInteger(), nullable=False),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.Column("allowed", sa.Integer(), nullable=False),
        sa.CheckConstraint("used <= allowed", name="quota_spent"),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index("quota_ends_at", "quota", ["ends_at"], unique=False)


def downgrade() -> None:
    op.drop_table("quota")
    op.drop_table("hosted_session")
    op.drop_table("attempt")
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP FUNCTION challenge_now()")
