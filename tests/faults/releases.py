"""Releases to come: the one before in a copy, with one migration more."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from service.storage.schema import SCHEMA
from tests.faults.processes import ROOT

_EXPANDS = '''"""What an online migration may do."""

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
_CONTRACTS = '''"""Takes away what no release since the one before uses."""

from alembic import op

revision = "{revision}"
down_revision = "{before}"


def upgrade():
    op.drop_column("hosted_session", "novelty")
    op.drop_table("novelty")
'''


class Release:
    """A tree with a release in it."""

    def __init__(self, tree: Path, revision: str, before: Release | None = None) -> None:
        """Makes one.

        Args:
            tree: Where; nothing is there yet.
            revision: Of the migration that it brings. It adds something if it lets releases before
                go on, and takes that away if it does not.
            before: The one that it follows; None for this.
        """
        self.tree = tree
        self.revision = revision
        root, needed = (before.tree, before.revision) if before else (ROOT, SCHEMA)
        for name in ("service", "gen"):
            shutil.copytree(root / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        versions = tree / "service/storage/migrations/versions"
        migration = _EXPANDS if "_from_" in revision else _CONTRACTS
        text = migration.format(revision=revision, before=needed)
        (versions / f"{revision}.py").write_text(text, "utf-8")
        module = tree / "service/storage/schema.py"
        text = module.read_text("utf-8")
        needs = f'\nSCHEMA = "{needed}"\n'
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
