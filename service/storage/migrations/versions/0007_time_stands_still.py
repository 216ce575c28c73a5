"""The time stands still within a transaction, as it does on SQLite.

On Citus a change is a transaction of several statements, and its quotas have the time of its claim.
Elsewhere each statement is a transaction, and nothing changes.
"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_CLOCK = """
CREATE OR REPLACE FUNCTION challenge_now() RETURNS bigint LANGUAGE sql STABLE AS
$$ SELECT (extract(epoch FROM {time}()) * 1000)::bigint $$
"""


def upgrade() -> None:
    _tell("transaction_timestamp")


def downgrade() -> None:
    _tell("statement_timestamp")


def _tell(time: str) -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute(_CLOCK.format(time=time))
