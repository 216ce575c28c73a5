"""The table of rows: what each is called, where it applies, how often it runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple

from tests.harness import citus

if TYPE_CHECKING:
    from tests.faults.lab import Lab
    from tests.faults.oracle import Figures

BOTH = ("sqlite", "postgresql")
SQLITE = ("sqlite",)
POSTGRES = ("postgresql",)
CITUS = ("citus",) if citus.URL else ()
_ON_CITUS = (1, 2, 3, 4, 5, 13, 14)
"""The rows that Citus is tried on too, where CITUS_URL names a cluster: not those that break the
server, nor those in which it has no part."""


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

    more = CITUS if number in _ON_CITUS and "postgresql" in kinds else ()

    def enter(run: Run) -> Run:
        quick_kinds = (quick or kinds) + more
        ROWS.append(Row(number, what, kinds + more, fast, full, quick_kinds, slow, run))
        return run

    return enter
