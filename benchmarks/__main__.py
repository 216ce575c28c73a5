"""`python -m benchmarks`: measures and prints; a full run writes down what documents cite."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import warnings
from typing import Any

import asyncpg
import click

from benchmarks import ratios
from benchmarks.lines import compare, side_by_side
from benchmarks.machine import Company, describe
from benchmarks.measuring import Bench
from benchmarks.plan import FULL, QUICK, Plan
from benchmarks.processes import Usage
from benchmarks.progress import say
from benchmarks.results import publish
from benchmarks.scale import grow
from benchmarks.starting import start_times
from benchmarks.world import World, world


@click.command()
@click.option(
    "--full",
    is_flag=True,
    help="1,000,000 sessions, 100,000 calls: ten minutes. Writes what documents cite.",
)
def main(*, full: bool) -> None:
    """Measures the service beside a bare echo and a FastAPI peer, on this machine."""
    warnings.simplefilter("ignore", RuntimeWarning)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and so ends what it has started
    plan = FULL if full else QUICK
    with world() as here:
        results = _measure(here, plan)
    judged = ratios.judge(results)
    _print(results)
    for ratio in judged:
        click.echo(ratio.line())
    if failed := ratios.errors_of(results):
        click.echo(f"\nINVALID: calls failed, by line: {failed}")
        sys.exit(1)
    if plan.cited:
        publish({**results, "ratios": [ratio.as_dict() for ratio in judged]})


def _measure(here: World, plan: Plan) -> dict[str, Any]:
    bench = Bench(
        here.loader, here.database_usage, here.provider.usage, here.token, plan.concurrency
    )
    version = asyncio.run(_postgres_version(here.postgres_url(migrated=False)))
    machine = describe(here.directory, version)
    say("preparing sessions")
    with side_by_side(here, plan) as lines:
        company = Company(Usage(os.getpid()), here.database_usage)
        compared = compare(bench, lines, plan)
        others = company.share()
    return {
        "run": plan.name,
        "concurrency": plan.concurrency,
        "rounds": plan.rounds,
        "paced_rounds": plan.paced_rounds,
        "machine": machine,
        "others_cpu_share": others,
        "lines": compared,
        "start_s": start_times(here, plan),
        "scale": grow(here, bench, plan),
    }


async def _postgres_version(url: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        return str(await connection.fetchval("SHOW server_version"))
    finally:
        await connection.close()


def _print(results: dict[str, Any]) -> None:
    machine = results["machine"]
    click.echo(
        f"\n{machine['cores']} cores, {machine['cpu']}, fsync {machine['fsync_ms']} ms; Python "
        f"{machine['python']}, grpcio {machine['grpcio']}, PostgreSQL {machine['postgresql']}; "
        f"{results['run']} run, {results['concurrency']} calls at once, medians of "
        f"{results['rounds']} rounds; latencies: half the peak, {results['paced_rounds']} rounds; "
        f"calls that repeat are made by {machine['repeats_by']} at the peak\n"
    )
    click.echo(
        f"{'':30} {'requests/s':>10} {'CPU µs':>7} {'database':>9} {'Envoy':>6} "
        f"{'p50 ms':>7} {'p99 ms':>7} {'RSS MB':>7} {'errors':>7}"
    )
    for line in results["lines"].values():
        click.echo(
            f"{line['label']:30} {line['requests_per_s']:10.0f} {line['cpu_us']:7.0f} "
            f"{line['database_cpu_us']:9.0f} {line['proxy_cpu_us']:6.0f} {line['p50_ms']:7.2f} "
            f"{line['p99_ms']:7.2f} {line['rss_mb']:7.0f} {sum(line['errors'].values()):7}"
        )
    click.echo(f"\n{Company.warning(results['others_cpu_share'])}".rstrip(" ") + "\n")


if __name__ == "__main__":
    main()
