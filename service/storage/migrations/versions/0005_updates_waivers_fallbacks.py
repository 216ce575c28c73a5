"""What was registered, apart from what was changed since; fallbacks; why a challenge was waived.

New columns may be null, so that nothing is rewritten.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_COLUMNS = ("opening", "fallback_fingerprint", "waiver")


def upgrade() -> None:
    for name in _COLUMNS:
        op.add_column("hosted_session", sa.Column(name, sa.String(), nullable=True))


def downgrade() -> None:
    for name in reversed(_COLUMNS):
        op.drop_column("hosted_session", name)
