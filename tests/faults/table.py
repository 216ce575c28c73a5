"""The table of rows: what each is called, where it applies, how often it runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tests.faults.lab import Lab
    from tests.faults.oracle import Figures

BOTH = ("sqlite", "postgresql")
SQLITE = ("sqlite",)
POSTGRES = ("postgresql",)


class Row(NamedTuple):
    """One fault.

    Attributes:
        number: Of the row in docs/reliability.md.
        what: The fault, in a few words.
        kinds: Databases that it is tried on.
        fast: How often in pytest.
        full: How often in `python -m tests.faults`.
        quick_kinds: Databases that pytest tries it on.
        slow: It waits for long: what has time limits of the service's own.
        run: Injects it so often, and accounts for it.
    """

    number: int
    what: str
    kinds: tuple[str, ...]
    fast: int
    full: int
    quick_kinds: tuple[str, ...]
    slow: bool
    run: Callable[[Lab, int], Awaitable[Figures]]


ROWS: list[Row] = []

Run = Callable[["Lab", int], Awaitable["Figures"]]


def row(
    number: int,
    what: str,
    kinds: tuple[str, ...],
    fast: int,
    full: int,
    quick: tuple[str, ...] | None = None,
    slow: bool = False,
) -> Callable[[Run], Run]:
    """Enters a function in the table."""

    def enter(run: Run) -> Run:
        ROWS.append(Row(number, what, kinds, fast, full, quick or kinds, slow, run))
        return run

    return enter
