"""Releases to come: this one in a copy, with one migration more."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from service.storage.schema import SCHEMA
from tests.faults.processes import ROOT

_MIGRATION = '''"""What an online migration may do."""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{before}"


def upgrade():
    column = sa.Column("novelty", sa.String(), nullable=False, server_default="none")
    op.add_column("hosted_session", column)
    op.create_table("novelty", sa.Column("name", sa.String(), primary_key=True))
    with op.get_context().autocommit_block():
        op.create_index(
            "hosted_session_novelty", "hosted_session", ["novelty"], postgresql_concurrently=True
        )
'''


class Release:
    """A tree with a release in it."""

    def __init__(self, tree: Path, revision: str) -> None:
        """Makes the one after this.

        Args:
            tree: Where; nothing is there yet.
            revision: Of the migration that it brings.
        """
        self.tree = tree
        self.revision = revision
        for name in ("service", "gen"):
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        versions = tree / "service/storage/migrations/versions"
        text = _MIGRATION.format(revision=revision, before=SCHEMA)
        (versions / f"{revision}.py").write_text(text, "utf-8")
        module = tree / "service/storage/schema.py"
        text = module.read_text("utf-8")
        needs = f'\nSCHEMA = "{SCHEMA}"\n'
        assert text.count(needs) == 1
        module.write_text(text.replace(needs, f'\nSCHEMA = "{revision}"\n'), "utf-8")


def migrate(tree: Path, url: str) -> subprocess.CompletedProcess[str]:
    """Runs a release's `challenge migrate`."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (tree, tree / "gen"))),
        "CHALLENGE_DATABASE_URL": url,
    }
    command = [sys.executable, "-m", "service", "migrate"]
    return subprocess.run(
        command, cwd=tree, env=environment, capture_output=True, text=True, timeout=60
    )
