"""The schema that this release needs, and those that it may run on."""

from __future__ import annotations

from service.errors import CannotProceed

SCHEMA = "0009_from_0007"
"""The migration that the statements need."""


def is_newer(found: str | None) -> bool:
    """Whether a database has been migrated further than this release knows.

    Args:
        found: Its last migration; None when none has been run.
    """
    return found is not None and found[:4] > SCHEMA[:4]


def require_schema(found: str | None) -> None:
    """Checks that this release may run on the schema of a database.

    A migration on which older releases may still run says so in its revision: `0009_from_0007` is
    for those that need 0007 or later, `0009` for its own alone.

    Args:
        found: Its last migration; None when none has been run.

    Raises:
        CannotProceed: It is older, or newer and not for this release.
    """
    where = f"the schema is at {found or 'nothing'}, this release needs {SCHEMA}"
    if not is_newer(found):
        if found != SCHEMA:
            raise CannotProceed("CHALLENGE_DATABASE_URL", f"{where}; run: challenge migrate")
        return
    assert found is not None
    oldest = found.partition("_from_")[2] or found
    if SCHEMA[:4] < oldest:
        raise CannotProceed(
            "CHALLENGE_DATABASE_URL", f"{where}; start one that needs {oldest} or later"
        )
