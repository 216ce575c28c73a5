"""The targets, held against a run's results."""

from __future__ import annotations

import statistics
from typing import Any, NamedTuple


class Ratio(NamedTuple):
    """One target and what was measured.

    Attributes:
        name: What it is of.
        figure: What was measured.
        limit: What it must not pass.
        unit: Of both.
        at_least: Whether the limit is a floor.
        quartiles: Between which half of the rounds were, where `figure` is their median.
    """

    name: str
    figure: float
    limit: float
    unit: str
    at_least: bool = False
    quartiles: tuple[float, float] | None = None

    @property
    def met(self) -> bool:
        """Whether the figure is on the right side."""
        return self.figure >= self.limit if self.at_least else self.figure <= self.limit

    def line(self) -> str:
        """Returns one line of the table."""
        sign = "≥" if self.at_least else "≤"
        target = f"{sign} {self.limit:g}{self.unit}"
        off = abs(self.figure / self.limit - 1)
        among = "" if self.quartiles is None else "{}–{}".format(*map(_round, self.quartiles))
        return f"{self.name:58} {target:>10} {_round(self.figure):>8}{self.unit:4} {among:12} " + (
            "met" if self.met else f"MISSED by {off:.1%}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Returns it for the results."""
        quartiles = [float(_round(quartile)) for quartile in self.quartiles or ()]
        return {
            **self._asdict(), "figure": float(_round(self.figure)), "quartiles": quartiles or None,
            "met": self.met,
        }  # fmt: skip


def judge(results: dict[str, Any]) -> list[Ratio]:
    """Computes the ratios.

    Costs are CPU per request in the server's process, at the peak; those of REST and gRPC are
    compared at one rate. Two lines are compared round by round, for the machine may be twice as
    fast in one minute as in the next. What Envoy adds to the median is the difference that callers
    see, each with a client of its own: HTTP/1.1 there, grpc.aio here. A first Send is held against
    an echo that the same client calls, whatever calls those that repeat.
    """
    lines, scale, start = results["lines"], results["scale"], results["start_s"]

    def times(
        name: str, one: str, other: str, limit: float, rounds: str = "rounds", least: bool = False
    ) -> Ratio:
        found = _times(lines[one], lines[other], rounds)
        return _judged(name, found, limit, "×", at_least=least)

    def added(name: str, one: str, other: str, limit: float) -> Ratio:
        pairs = zip(lines[one]["paced_rounds"], lines[other]["paced_rounds"], strict=True)
        found = [ours["p50_ms"] - theirs["p50_ms"] for ours, theirs in pairs]
        return _judged(name, found, limit, " ms")

    early, late = scale["memory"]["rss_mb"]
    few, many = scale["memory"]["calls"]
    small, large = scale["sessions"]["small"], scale["sessions"]["large"]
    rss = max(lines[key]["rss_mb"] for key in ("postgres_first", "sqlite_first"))
    return [
        times("replay, PostgreSQL: CPU vs bare echo", "postgres_replay", "echo", 1.5),
        times("first Send, PostgreSQL: CPU vs bare echo", "postgres_first", "echo_each", 2.8),
        times("first Send to an HTTP provider: CPU vs bare echo", "http_first", "echo_each", 4),
        times("first Send vs FastAPI peer, requests per CPU second",
              "peer_first", "postgres_first", 5, least=True),
        times("first Send to an HTTP provider vs FastAPI peer",
              "peer_http_first", "http_first", 5, least=True),
        times("replay vs FastAPI peer, requests per CPU second",
              "peer_replay", "postgres_replay", 3, least=True),
        times("first Send as REST through Envoy: service CPU vs gRPC",
              "rest_first", "postgres_first", 1.1, "paced_rounds"),
        times("replay as REST through Envoy: service CPU vs gRPC",
              "rest_replay", "postgres_replay", 1.1, "paced_rounds"),
        added("first Send as REST through Envoy: p50 added", "rest_first", "postgres_first", 1),
        added("replay as REST through Envoy: p50 added", "rest_replay", "postgres_replay", 1),
        Ratio("first Send, SQLite, one core, synchronous=FULL",
              lines["sqlite_first"]["requests_per_s"], 500, "/s", at_least=True),
        Ratio("start to serving, warm", max(start.values()), 1.5, " s"),
        Ratio("memory of a worker", rss, 120, " MB"),
        _judged(f"first Send at {large:,} vs {small:,} sessions, CPU with database",
                [turn["large"] / turn["small"] for turn in scale["rounds"]], 1.15, "×"),
        Ratio(f"memory after {many:,} vs {few:,} calls", late / early, 1.05, "×"),
    ]  # fmt: skip


def _times(one: dict[str, Any], other: dict[str, Any], rounds: str = "rounds") -> list[float]:
    """Divides the costs of two lines, round by round."""
    pairs = zip(one[rounds], other[rounds], strict=True)
    return [ours["cpu_us"] / theirs["cpu_us"] for ours, theirs in pairs]


def _judged(
    name: str, found: list[float], limit: float, unit: str, *, at_least: bool = False
) -> Ratio:
    low, middle, high = statistics.quantiles(found, n=4, method="inclusive")
    return Ratio(name, middle, limit, unit, at_least, (low, high))


def errors_of(results: dict[str, Any]) -> dict[str, dict[str, int]]:
    """Returns the calls that failed, by line and kind; a run with any is invalid."""
    scale = results["scale"]
    errors = {key: line["errors"] for key, line in results["lines"].items()}
    errors |= {"scale": scale["errors"], "memory": scale["memory"]["errors"]}
    return {key: kinds for key, kinds in errors.items() if kinds}


def _round(figure: float) -> str:
    return f"{figure:.0f}" if abs(figure) >= 100 else f"{figure:.2f}"
