"""What a database does for whoever runs statements: the protocol that all kinds follow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from service.storage.changes import Change


class QuotaSpent(Exception):
    """A quota would be exceeded; nothing was changed."""


class AlreadyHandled(Exception):
    """A request of this id was carried out meanwhile: its note broke the key of handled_request."""


def constraint_error(message: str) -> QuotaSpent | AlreadyHandled | None:
    """Returns the error that a violated constraint stands for; None for any other.

    Args:
        message: The driver's; it names the constraint, or on Citus that of a shard.
    """
    if "quota_spent" in message:
        return QuotaSpent()
    return AlreadyHandled() if "handled_request" in message else None


class NotMoved(Exception):
    """A statement refused a row that has not moved on: a rule lets through what it refuses."""


class Usage(NamedTuple):
    """How busy a database is, as this process sees it.

    Attributes:
        statements: Running, or waiting for a connection.
        connections: The limit.
    """

    statements: int
    connections: int


class Database(Protocol):
    """Runs the statements.

    Each method that runs one raises `StoreUnavailable` when the database does not answer in time;
    whether a write took place is then unknown.
    """

    async def row(self, sql: str, *args: object) -> Sequence[Any] | None:
        """Runs one statement; returns its first row."""

    async def rows(self, sql: str, *args: object) -> Sequence[Sequence[Any]]:
        """Runs one statement; returns its rows."""

    async def change(self, change: Change, *args: object) -> Sequence[Any] | None:
        """Makes a change, all of it or nothing; returns the first row of its statement.

        Raises:
            QuotaSpent: A quota would be exceeded.
            AlreadyHandled: It is a repeat of a request that was carried out.
        """

    async def reclaim_due(self, lease_ms: int, limit: int, but_not: str) -> Sequence[Sequence[Any]]:
        """Claims what is due, passing over rows that others are claiming; see RECLAIM_DUE."""

    def usage(self) -> Usage:
        """Returns how busy it is."""

    async def make_partitions(self) -> None:
        """Makes the ledger's partitions of the coming days, where it has any."""

    async def drop_partitions(self, age_ms: int) -> int:
        """Drops the ledger's partitions whose rows are all older; returns how many."""

    async def purge_attempts(self, *args: object) -> Sequence[Sequence[Any]]:
        """Runs PURGE_ATTEMPTS on the rows that no daily partition holds."""

    async def purge_quotas(self, limit: int) -> int:
        """Deletes quotas whose period is over, and waits for no change that has locked one."""

    async def scrub(self) -> None:
        """Overwrites in its files what was deleted, where a database can do so as it runs."""

    async def check_schema(self) -> None:
        """Checks that the migrations have been run.

        Raises:
            CannotProceed: They have not, or the database is of another version.
        """

    async def check_writable(self) -> None:
        """Writes something that changes nothing, whatever else is under way.

        Raises:
            StoreUnavailable: It cannot, or not in time.
        """

    async def close(self) -> None:
        """Closes the connections."""
