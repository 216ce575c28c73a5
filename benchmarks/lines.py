"""The lines that are measured side by side, and the servers behind them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from benchmarks import sessions
from benchmarks.edge import proxying
from benchmarks.measuring import Bench, Line, Sample, median, summary
from benchmarks.plan import Plan
from benchmarks.processes import Server, apart, serving
from benchmarks.progress import say
from benchmarks.sessions import Row, Session
from benchmarks.world import World

WARM_CALLS = 100
_REST_AND_DIRECT = (("rest_first", "postgres_first"), ("rest_replay", "postgres_replay"))
_SHARED_ROUNDS = 3
_REPLAYED = 500
"""Sessions that replays go around."""


@contextmanager
def side_by_side(world: World, plan: Plan) -> Iterator[list[Line]]:
    """Starts every server, with all the sessions that a run of the plan uses up."""
    used = WARM_CALLS + (plan.rounds + _SHARED_ROUNDS + plan.paced_rounds) * plan.calls
    names = ("sqlite", "postgres", "rest", "http", "peer", "peer_http")
    supply = {name: _Supply(world, used) for name in names}
    path, url, http_url = world.sqlite_path(), world.postgres_url(), world.postgres_url()
    peer_url = world.postgres_url(migrated=False)
    sessions.write_sqlite(path, supply["sqlite"].rows())
    both = itertools.chain(supply["postgres"].rows(), supply["rest"].rows())
    asyncio.run(sessions.write_postgres(url, both))
    asyncio.run(sessions.write_postgres(http_url, supply["http"].rows()))
    calls_provider = {**world.settings(http_url), "CHALLENGE_SMS_CHANNELS": world.channel}
    peer_calls_provider = {"PEER_DATABASE_URL": peer_url, "PEER_CHANNEL": world.channel}
    with ExitStack() as stack:
        echo = stack.enter_context(serving("echo", {}))
        sqlite = stack.enter_context(serving("service", world.settings(f"sqlite:///{path}")))
        postgres = stack.enter_context(serving("service", world.settings(url)))
        http = stack.enter_context(serving("service", calls_provider))
        envoy = stack.enter_context(proxying(world.directory, postgres))
        peer = stack.enter_context(serving("peer", {"PEER_DATABASE_URL": peer_url}))
        peer_http = stack.enter_context(serving("peer", peer_calls_provider))
        theirs = (supply[name].all() for name in ("peer", "peer_http"))
        asyncio.run(sessions.write_peer(peer_url, itertools.chain.from_iterable(theirs)))
        yield [
            Line("echo", "bare grpc.aio echo", "send", echo, echo, supply["peer"].replayed(), 3,
                 repeats=True),
            Line("echo_each", "echo, called as first Sends are", "send", echo, echo,
                 supply["peer"].replayed(), 3),
            Line("sqlite_first", "first Send, SQLite", "send", sqlite, sqlite,
                 supply["sqlite"].first()),
            *_grpc("postgres", "PostgreSQL", postgres, supply["postgres"]),
            Line("http_first", "first Send, HTTP provider", "send", http, http,
                 supply["http"].first()),
            *_rest("rest", "REST through Envoy", envoy, postgres, supply["rest"]),
            *_rest("peer", "FastAPI peer", peer, peer, supply["peer"]),
            Line("peer_http_first", "first Send, peer, HTTP provider", "rest", peer_http,
                 peer_http, supply["peer_http"].first()),
        ]  # fmt: skip


def compare(bench: Bench, lines: list[Line], plan: Plan) -> dict[str, dict[str, object]]:
    """Measures every line in turn, back and forth, so that all meet the same disturbances.

    At the peak, for the costs, the servers have a core to themselves. For the latencies everything
    may run everywhere, and so for the peak that they are measured at half of; REST and gRPC are
    compared at one rate, for a call costs less the more of them there are.
    """
    warm = {line.key: bench.measure(line, WARM_CALLS) for line in lines}
    peak: dict[str, list[Sample]] = {line.key: [] for line in lines}
    paced: dict[str, list[Sample]] = {line.key: [] for line in lines}
    servers = {line.server.usage for line in lines}
    others = {line.called.usage for line in lines} - servers | bench.others
    with apart(servers, others):
        for turn in range(plan.rounds):
            for line in _in_turn(lines, turn):
                say(f"peak, round {turn + 1} of {plan.rounds}: {line.label}")
                peak[line.key].append(bench.measure(line, plan.calls * line.weight))
    shared: dict[str, list[Sample]] = {line.key: [] for line in lines}
    for turn in range(_SHARED_ROUNDS):
        for line in _in_turn(lines, turn):
            say(f"peak of everything together, round {turn + 1} of {_SHARED_ROUNDS}: {line.label}")
            # By the client that keeps the rate afterwards.
            calls = plan.calls * line.weight
            shared[line.key].append(bench.measure(line._replace(repeats=False), calls))
    half = {key: median(samples, "per_s") / 2 for key, samples in shared.items()}
    for rest, direct in _REST_AND_DIRECT:
        half[rest] = half[direct] = min(half[rest], half[direct])
    for turn in range(plan.paced_rounds):
        for line in _in_turn(lines, turn):
            say(f"half the peak, round {turn + 1} of {plan.paced_rounds}: {line.label}")
            paced[line.key].append(bench.measure(line, plan.calls * line.weight, half[line.key]))
    return {
        line.key: summary(
            line, peak[line.key], (warm[line.key], *shared[line.key]), paced[line.key]
        )
        for line in lines
    }


def _in_turn(lines: list[Line], turn: int) -> list[Line]:
    """Returns the order of a round: every other one backwards, should the machine get slower."""
    return lines[:: -1 if turn % 2 else 1]


class _Supply:
    """The sessions of one database."""

    def __init__(self, world: World, count: int) -> None:
        self._first = [sessions.make(world.ring, sent=False) for _ in range(count)]
        self._verified = [sessions.make(world.ring, sent=True) for _ in range(count)]
        self._replayed = [sessions.make(world.ring, sent=True) for _ in range(_REPLAYED)]

    def all(self) -> list[tuple[Session, Row]]:
        return [*self._first, *self._verified, *self._replayed]

    def rows(self) -> Iterator[Row]:
        return (row for _, row in self.all())

    def first(self) -> Iterator[Session]:
        return (session for session, _ in self._first)

    def verified(self) -> Iterator[Session]:
        return (session for session, _ in self._verified)

    def replayed(self) -> Iterator[Session]:
        return itertools.cycle([session for session, _ in self._replayed])


def _grpc(key: str, database: str, server: Server, supply: _Supply) -> list[Line]:
    return [
        Line(f"{key}_replay", f"replay, {database}", "send", server, server, supply.replayed(), 2,
             repeats=True),
        Line(f"{key}_first", f"first Send, {database}", "send", server, server, supply.first()),
        Line(f"{key}_verify", f"verify, {database}", "verify", server, server, supply.verified()),
    ]  # fmt: skip


def _rest(key: str, what: str, called: Server, server: Server, supply: _Supply) -> list[Line]:
    return [
        Line(f"{key}_replay", f"replay, {what}", "rest", called, server, supply.replayed(), 2,
             repeats=True),
        Line(f"{key}_first", f"first Send, {what}", "rest", called, server, supply.first()),
    ]  # fmt: skip
