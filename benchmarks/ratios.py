"""What the figures must be: the targets, held against a run's results."""

from __future__ import annotations

from typing import Any, NamedTuple


class Ratio(NamedTuple):
    """One target and what was measured.

    Attributes:
        name: What it is of.
        figure: What was measured.
        limit: What it must not pass.
        unit: Of both.
        at_least: Whether the limit is a floor.
    """

    name: str
    figure: float
    limit: float
    unit: str
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the figure is on the right side."""
        return self.figure >= self.limit if self.at_least else self.figure <= self.limit

    def line(self) -> str:
        """Gives one line of the table."""
        sign = "≥" if self.at_least else "≤"
        target = f"{sign} {self.limit:g}{self.unit}"
        off = abs(self.figure / self.limit - 1)
        return f"{self.name:58} {target:>10} {_round(self.figure):>8}{self.unit:4} " + (
            "met" if self.met else f"MISSED by {off:.1%}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Gives it for the results."""
        return {**self._asdict(), "figure": float(_round(self.figure)), "met": self.met}


def judge(results: dict[str, Any]) -> list[Ratio]:
    """Computes the ratios.

    Costs are CPU per request in the server's process, at the peak; those of REST and gRPC are
    compared at one rate. What Envoy adds to the median is the difference that callers see, each
    with a client of its own: HTTP/1.1 there, grpc.aio here.
    """
    lines, scale, start = results["lines"], results["scale"], results["start_s"]
    cpu = {key: line["cpu_us"] for key, line in lines.items()}
    paced = {key: line["paced_cpu_us"] for key, line in lines.items()}
    p50 = {key: line["p50_ms"] for key, line in lines.items()}
    small, large = (sum(scale["first_send_us"][size].values()) for size in ("small", "large"))
    early, late = scale["memory"]["rss_mb"]
    few, many = scale["memory"]["calls"]
    sizes = scale["sessions"]
    rss = max(lines[key]["rss_mb"] for key in ("postgres_first", "sqlite_first"))
    return [
        Ratio("replay, PostgreSQL: CPU vs bare echo",
              cpu["postgres_replay"] / cpu["echo"], 1.6, "×"),
        Ratio("first Send, PostgreSQL: CPU vs bare echo",
              cpu["postgres_first"] / cpu["echo"], 3, "×"),
        Ratio("first Send vs FastAPI peer, requests per CPU second",
              cpu["peer_first"] / cpu["postgres_first"], 5, "×", at_least=True),
        Ratio("replay vs FastAPI peer, requests per CPU second",
              cpu["peer_replay"] / cpu["postgres_replay"], 3, "×", at_least=True),
        Ratio("first Send as REST through Envoy: service CPU vs gRPC",
              paced["rest_first"] / paced["postgres_first"], 1.1, "×"),
        Ratio("replay as REST through Envoy: service CPU vs gRPC",
              paced["rest_replay"] / paced["postgres_replay"], 1.1, "×"),
        Ratio("first Send as REST through Envoy: p50 added",
              p50["rest_first"] - p50["postgres_first"], 1, " ms"),
        Ratio("replay as REST through Envoy: p50 added",
              p50["rest_replay"] - p50["postgres_replay"], 1, " ms"),
        Ratio("first Send, SQLite, one core, synchronous=FULL",
              lines["sqlite_first"]["requests_per_s"], 500, "/s", at_least=True),
        Ratio("start to serving, warm", max(start.values()), 1.5, " s"),
        Ratio("memory of a worker", rss, 120, " MB"),
        Ratio(f"first Send at {sizes['large']:,} vs {sizes['small']:,} sessions, CPU with database",
              large / small, 1.15, "×"),
        Ratio(f"memory after {many:,} vs {few:,} calls", late / early, 1.05, "×"),
    ]  # fmt: skip


def floor(results: dict[str, Any]) -> str:
    """Tells what of the distance to the targets is not the service's own."""
    cpu = {key: line["cpu_us"] for key, line in results["lines"].items()}
    flat = cpu["flat_replay"]
    return (
        f"A replay in one flat function of the same parts takes {flat / cpu['echo']:.2f}× the echo "
        f"and {cpu['peer_replay'] / flat:.2f}× less than the peer.\nWhat the rest consists of: "
        "docs/scaling.md, Against the floor."
    )


def count_errors(results: dict[str, Any]) -> int:
    """Counts the calls that failed; a run with any is invalid."""
    scale = results["scale"]
    several = [line["errors"] for line in results["lines"].values()]
    return sum(
        sum(each.values()) for each in (*several, scale["errors"], scale["memory"]["errors"])
    )


def _round(figure: float) -> str:
    return f"{figure:.0f}" if abs(figure) >= 100 else f"{figure:.2f}"
