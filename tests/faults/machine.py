"""Row 22: the use cases against a plain model of them, on any database, by Hypothesis.

Time stands still but for the rule that moves it; a jitter is always its longest.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Any

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from service.challenges.codes import code_for
from service.challenges.methods import Fallback, Method, Response
from service.challenges.rules import needs_challenge
from service.challenges.verifying import VerifyRequest
from service.delivery import retrying
from service.errors import ChallengeError
from service.storage.rows import NewSession, Payment, SessionChanges, SessionRow
from service.telemetry import logs
from tests.faults import model
from tests.faults.model import LEASE, LIFE, Model, Plain
from tests.faults.parts import RESULTS, Longest, Parts, Time, open_parts

_COMPARED = (
    "state", "expires_at", "challenge_expected", "issues", "sends", "wrong_code", "wrong_total",
    "challenge_type", "challenge_state", "amount_minor", "code_counter", "code_expires_at",
    "previous_code_expires_at", "code_sent", "code_unknown", "dispatch_state", "due_at",
    "unknowns", "window_ends_at",
)  # fmt: skip

_numbers = itertools.count()
_trouble = st.sampled_from(["retry", "retry", "later", "unknown", "death", *sorted(RESULTS)])
_outcomes = st.one_of(st.just([]), st.lists(_trouble, min_size=1, max_size=5))
_which = st.integers(0, 9)
_seldom = st.sampled_from([False] * 9 + [True])
_kinds = st.sampled_from(["sms", "sms", "email", "turnstile"])
_amount = st.sampled_from([None, None, 100, 200])
_another = st.one_of(st.none(), st.tuples(_kinds, st.integers(0, 1), st.booleans()))
_THE_ROWS = -1


class Machine(RuleBasedStateMachine):
    """Does the same to both, and compares."""

    loop: asyncio.AbstractEventLoop
    parts: Parts
    time: Time
    examples = 0

    def run(self, work: Awaitable[Any]) -> Any:
        return self.loop.run_until_complete(work)

    def attempt(self, work: Awaitable[Any]) -> Any:
        """Returns what a use case gives, or the name of its error."""
        try:
            return self.run(work)
        except ChallengeError as error:
            return type(error).__name__

    @initialize()
    def begin(self) -> None:
        type(self).examples += 1
        self.plain: dict[str, Plain] = {}
        self.model = Model({})
        self.parts.script.outcomes.clear()
        self.parts.script.accepted.clear()
        self.parts.script.calls = 0
        self.parts.script.asked.clear()
        self.open(expected=False)
        self.issue(0, "sms", 0, None, None)

    def teardown(self) -> None:
        for session_id in self.plain:  # raises if it was not told in order, or told twice
            self.run(self.parts.exporter.export(session_id, None))
        self.run(self.parts.clear())

    @property
    def alive(self) -> list[str]:
        return [key for key, plain in self.plain.items() if not plain.ended(self.time.ms)]

    @rule(expected=st.booleans())
    @precondition(lambda self: len(self.alive) < 2)
    def open(self, expected: bool) -> None:
        session_id = f"cs_{next(_numbers)}"
        new = NewSession(session_id, "acct", bytes(32), "payment", "", "en", "Acme", LIFE, expected)
        self.run(self.parts.sessions.open(new))
        self.plain[session_id] = Plain(self.time.ms, expected=expected)

    @rule(which=_which, kind=_kinds, number=st.integers(0, 1), amount=_amount, another=_another)
    def issue(
        self,
        which: int,
        kind: str,
        number: int,
        amount: int | None,
        another: tuple[str, int, bool] | None,
    ) -> None:
        plain, row = self.pick(which)
        amount = amount if kind != "turnstile" else None
        fallback = wanted = None
        if another is not None and another[0] != kind:
            method = _method(*another[:2])
            fallback = Fallback(method, another[2])
            wanted = model.Fallback(method.challenge_type, self._identity(method), another[2])
        method = _method(kind, number)
        challenge = (kind, self._identity(method))
        said = self.model.issue(plain, self.time.ms, challenge, amount, wanted)
        issuing = self.parts.issuing.issue(row, method, _payment(amount), fallback)
        answer = self.attempt(issuing)
        assert answer == said if said else isinstance(answer, SessionRow)

    def _identity(self, method: Method) -> str:
        return (
            "" if method.challenge_type == "turnstile" else self.parts.fingerprints.of(method.value)
        )

    @rule(which=_which, amount=st.sampled_from([100, 200]))
    def pay(self, which: int, amount: int) -> None:
        plain, row = self.pick(which)
        said = self.model.pay(plain, self.time.ms, amount)
        self._update(row, SessionChanges(payment=_payment(amount)), said, plain)

    @rule(which=_which, hours=st.sampled_from([1, 4, 22, 24]))
    def move_end(self, which: int, hours: int) -> None:
        plain, row = self.pick(which)
        said = self.model.move_end(plain, self.time.ms, hours * 3_600_000)
        self._update(row, SessionChanges(expires_in_ms=hours * 3_600_000), said, plain)

    def _update(self, row: SessionRow, changes: SessionChanges, said: str, plain: Plain) -> None:
        answer = self.attempt(self.parts.sessions.update(row, changes))
        assert answer == (said or plain.expires_at)

    @rule(which=_which)
    def use_fallback(self, which: int) -> None:
        plain, row = self.pick(which)
        said = self.model.use_fallback(plain, self.time.ms)
        answer = self.attempt(self.parts.fallbacks.use(row, ""))
        assert answer == said if said else answer.challenge_type == plain.challenge_type

    @rule(which=_which)
    def get(self, which: int) -> None:
        plain, row = self.pick(which)
        self.model.settle(plain, self.time.ms)
        self.run(self.parts.fallbacks.replace_dead_end(row))

    @rule()
    def rotate(self) -> None:
        self.parts.rotate()

    @rule(which=_which, outcomes=_outcomes)
    def send(self, which: int, outcomes: list[str]) -> None:
        plain, row = self.pick(which)
        self.parts.script.outcomes = list(outcomes)
        wanted = self.model.send(plain, self.time.ms, list(outcomes))
        answer = self.run(self._send(row))
        if plain.dispatch_state == "sending" and answer == "hung up":
            self.advance(LEASE // 1000)  # nobody waits for a dead worker meanwhile
            return
        if isinstance(answer, SessionRow):
            shown = (answer.challenge_type, bool(answer.code_sent))
            answer = shown if needs_challenge(answer) else None
        assert answer == wanted

    async def _send(self, row: SessionRow) -> Any:
        self.parts.script.died.clear()
        call = asyncio.create_task(self.parts.sender.send(row))
        death = asyncio.create_task(self.parts.script.died.wait())
        await asyncio.wait((call, death), return_when=asyncio.FIRST_COMPLETED)
        death.cancel()
        if not call.done():
            call.cancel()
        try:
            answer = await call
        except ChallengeError as error:
            answer = type(error).__name__
        except asyncio.CancelledError:
            answer = "hung up"
        await self.parts.delivered()
        # Whoever waited at a process that has ended hears nothing.
        return "hung up" if self.parts.script.died.is_set() else answer

    @rule(
        which=_which,
        answer=st.sampled_from(["right", "wrong", "before"]),
        amount=st.sampled_from([_THE_ROWS] * 5 + [None, 100, 200]),
    )
    def verify(self, which: int, answer: str, amount: int | None) -> None:
        plain, row = self.pick(which)
        amount = row.amount_minor if amount == _THE_ROWS else amount
        verify_request = VerifyRequest(self._response(plain, row, answer), _payment(amount))
        wanted = self.model.verify(plain, self.time.ms, answer, amount)
        said = self.attempt(self.parts.verifier.verify(row, verify_request))
        assert (said if isinstance(said, str) else said.outcome.name) == wanted

    def _response(self, plain: Plain, row: SessionRow, answer: str) -> Response:
        if not plain.is_code:
            return Response("token", f"{answer}-{next(_numbers)}")
        assert row.challenge_id is not None and row.key_id is not None
        counter = row.code_counter - (answer == "before" and row.code_counter > 0)
        code = code_for(self.parts.ring, row.key_id, row.challenge_id, row.payment, counter, 6)
        if answer == "wrong":
            code = f"{(int(code) + 1) % 1_000_000:06}"
        return Response("code", code)

    @rule(which=_which, times=st.integers(1, 6))
    def guess(self, which: int, times: int) -> None:
        for _ in range(times):
            self.verify(which, "wrong", _THE_ROWS)

    @rule(which=_which, outcomes=_outcomes)
    def send_again(self, which: int, outcomes: list[str]) -> None:
        self.advance(31)
        self.send(which, outcomes)

    @rule(outcomes=_outcomes)
    @precondition(lambda self: any(plain.due_at for plain in self.plain.values()))
    def sweep_when_due(self, outcomes: list[str]) -> None:
        due = min(plain.due_at for plain in self.plain.values() if plain.due_at)
        self.advance(max(0, -(-(due - self.time.ms) // 1000)))
        self.sweep(outcomes)

    @rule(which=_which, amount=_amount, really=_seldom)
    def waive(self, which: int, amount: int | None, really: bool) -> None:
        if not really:
            return
        plain, row = self.pick(which)
        said = self.model.waive(plain, self.time.ms, amount)
        waived = self.parts.sessions.waive(row, _payment(amount), None, "machine")
        assert (self.attempt(waived) or "") == said

    @rule(which=_which, outcome=st.sampled_from(["completed", "expired"]), really=_seldom)
    def close(self, which: int, outcome: str, really: bool) -> None:
        if not really:
            return
        plain, row = self.pick(which)
        answer = self.attempt(self.parts.sessions.close(row, outcome))
        if plain.state == "open":
            assert answer is None
            plain.state = outcome
            plain.drop_dispatch()
        elif plain.state == outcome:
            assert answer is None
        else:
            assert answer == f"Session{plain.state.title()}"

    @rule(seconds=st.sampled_from([31] * 8 + [1, 11, 21, 61, 61, 301, 520, 601, 601, 3601, 14_401]))
    def advance(self, seconds: int) -> None:
        self.time.ms += seconds * 1000
        self.run(self.parts.set_time(self.time.ms))

    @rule(outcomes=_outcomes)
    def sweep(self, outcomes: list[str]) -> None:
        due = [p for p in self.plain.values() if p.due_at is not None and p.due_at <= self.time.ms]
        for _ in due:  # one after the other: each gets the same outcomes
            self.run(self._sweep_one(list(outcomes)))
        for plain in due:
            self.model.sweep(plain, self.time.ms, list(outcomes))

    async def _sweep_one(self, outcomes: list[str]) -> None:
        self.parts.script.outcomes = outcomes
        for row in await self.parts.dispatches.reclaim_due(LEASE, 1):
            self.parts.dispatcher.deliver(row, asyncio.get_running_loop().time())
        await self.parts.delivered()

    @rule()
    def wipe(self) -> None:
        self.run(self.parts.archive.wipe(100))
        for plain in self.plain.values():
            if plain.state == "open" and self.time.ms >= plain.expires_at and plain.kind:
                plain.drop_dispatch()

    @invariant()
    def same(self) -> None:
        rows = self.run(
            self.parts.database.rows(
                f"SELECT session_id, {', '.join(_COMPARED)} FROM hosted_session"
            )
        )
        states = {row[0]: dict(zip(_COMPARED, row[1:], strict=True)) for row in rows}
        for session_id, plain in self.plain.items():
            wanted = {name: getattr(plain, name) for name in _COMPARED}
            assert states[session_id] == wanted
        assert len(self.parts.script.accepted) == sum(p.messages for p in self.plain.values())
        assert self.parts.script.calls == sum(p.calls for p in self.plain.values())
        asked = [name for plain in self.plain.values() for name in plain.whom]
        assert sorted(self.parts.script.asked) == sorted(asked)
        kept = self.run(self.parts.database.rows("SELECT key, used FROM quota"))
        found = {key: used for key, used in kept if not key.startswith("token:")}
        assert found == {key: u.used for key, u in self.model.quotas.items()}

    def pick(self, which: int) -> tuple[Plain, SessionRow]:
        among = self.alive if which and self.alive else sorted(self.plain)
        session_id = among[which % len(among)]
        row = self.run(self.parts.store.read(session_id))
        return self.plain[session_id], row


def _method(kind: str, number: int) -> Method:
    values = {"sms": f"+1202555010{number}", "email": f"payer{number}@shop.example"}
    return Method(kind, values.get(kind, f"key-{number}"))


def _payment(amount: int | None) -> Payment | None:
    return None if amount is None else Payment(amount, "EUR", "Acme")


def explore(kind: str, url: str, examples: int, seed: int) -> int:
    """Compares the two on a database of its own; gives how many histories were tried."""
    with _machine(kind, url) as machine:
        settings = hypothesis.settings(
            max_examples=examples, stateful_step_count=40, deadline=None, database=None,
            suppress_health_check=list(hypothesis.HealthCheck), print_blob=True,
        )  # fmt: skip
        run_machine(hypothesis.seed(seed)(machine), settings=settings)
        return machine.examples


@contextmanager
def _machine(kind: str, url: str) -> Iterator[type[Machine]]:
    loop = asyncio.new_event_loop()
    time = Time()
    parts = loop.run_until_complete(open_parts(kind, url, time))
    write, logs._write = logs._write, lambda *_: None
    chance, retrying.random = retrying.random, Longest
    try:
        yield type("Machine", (Machine,), {"loop": loop, "parts": parts, "time": time})
    finally:
        logs._write = write
        retrying.random = chance
        loop.run_until_complete(parts.database.close())
        loop.close()
