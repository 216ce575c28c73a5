"""PostgreSQL's planner keeps no samples of what is personal: they would outlast its erasure.

It needs none: what is searched for by these columns has an index. The lock lets calls go on.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009_from_0007"
down_revision = "0008_from_0007"
branch_labels = None
depends_on = None

_PERSONAL = {
    "hosted_session": ("destination", "delivery_hint", "fingerprint", "fallback_fingerprint"),
    "evidence": ("personal", "fingerprint"),
    "quota": ("key",),
}
_CITUS = sa.text("SELECT to_regclass('pg_dist_partition')")
_DISTRIBUTED = """
SELECT 1 FROM pg_class JOIN pg_dist_partition ON logicalrelid = oid WHERE relname = '{table}'
"""
# Citus does not pass the command on.
_HERE_ALONE = "SET LOCAL citus.enable_ddl_propagation TO off"
_ON_SHARDS = """
SELECT bool_and(success) FROM run_command_on_shards('{table}', 'ALTER TABLE %s {change}')
"""


def upgrade() -> None:
    _sample(0)


def downgrade() -> None:
    _sample(-1)


def _sample(target: int) -> None:
    context = op.get_context()
    if context.dialect.name != "postgresql":
        return
    on_citus = not context.as_sql and op.get_bind().scalar(_CITUS) is not None
    for table, columns in _PERSONAL.items():
        change = ", ".join(f"ALTER COLUMN {column} SET STATISTICS {target}" for column in columns)
        if on_citus and op.get_bind().scalar(sa.text(_DISTRIBUTED.format(table=table))):
            op.execute(_HERE_ALONE)
            shards = sa.text(_ON_SHARDS.format(table=table, change=change))
            if not op.get_bind().scalar(shards):
                raise sa.exc.SQLAlchemyError(f"not all shards of {table} can be altered")
        op.execute(f"ALTER TABLE {table} {change}")
