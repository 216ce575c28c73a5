"""How much is measured."""

from __future__ import annotations

from typing import NamedTuple


class Plan(NamedTuple):
    """The size of a run.

    Attributes:
        name: Its name in the results.
        rounds: Times that every line is measured at its peak, interleaved.
        paced_rounds: The same at half the peak that everything reaches together.
        calls: Calls in a round of a first Send; cheaper lines make more.
        concurrency: Calls at once at the peak.
        starts: Times that the service is started.
        sessions: Rows of the large table.
        scale_rounds: Rounds on the large and the small table.
        memory_calls: Calls before the two readings of memory.
        cited: Whether documents cite its results, which it then writes down.
    """

    name: str
    rounds: int
    paced_rounds: int
    calls: int
    concurrency: int
    starts: int
    sessions: int
    scale_rounds: int
    memory_calls: tuple[int, int]
    cited: bool = False


# Many short rounds rather than a few long ones: lines that are compared run seconds apart.
QUICK = Plan("quick", 8, 6, 150, 32, 3, 200_000, 3, (4_000, 20_000))
FULL = Plan("full", 12, 8, 200, 32, 7, 1_000_000, 6, (10_000, 100_000), cited=True)
