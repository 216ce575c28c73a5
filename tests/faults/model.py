"""Row 22: the use cases against a plain model of them, on any database, by Hypothesis.

Time stands still but for the rule that moves it; a jitter is always its longest.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from service.challenges.codes import code_for
from service.challenges.sessions import Sessions
from service.challenges.verifying import Verifier
from service.channels import Message, Outcome, Verdict
from service.delivery import retrying
from service.delivery.dispatch import Dispatcher
from service.delivery.messages import Composer
from service.delivery.providers import Breaker, Provider
from service.delivery.sending import Sender, SendRules
from service.errors import ChallengeError
from service.keyring import Fingerprints, KeyRing
from service.storage.database import Database
from service.storage.rows import NewSession, SessionRow
from service.storage.store import Store
from service.telemetry import logs

TTL, WINDOW, LEASE, LIFE = 600_000, 30_000, 10_000, 14_400_000
PROVIDERS = {"sms": 1, "email": 2}
ACCOUNT_SENDS = 12
HOUR, DAY = 3_600_000, 86_400_000
ALLOWED = {"account-hour": ACCOUNT_SENDS, "all-hour": 15, "all-day": 30, "hour": 5, "day": 10}
WRONG_ALLOWED = {"wrong-all-day": 100, "wrong-day": 20}
OUTCOMES = {
    "accepted": Outcome(Verdict.ACCEPTED, "m1"),
    "retry": Outcome(Verdict.RETRY, reason="busy"),
    "later": Outcome(Verdict.RETRY, reason="throttled", retry_after=20),
    "refused": Outcome(Verdict.REFUSED, reason="refused"),
    "undeliverable": Outcome(Verdict.UNDELIVERABLE, reason="nobody there"),
    "unknown": Outcome(Verdict.UNKNOWN, reason="timed out"),
    "death": None,
}
_REFUSALS = ("refused", "undeliverable")
_COMPARED = (
    "state", "sends", "wrong_code", "wrong_total", "challenge_state", "code_counter",
    "code_expires_at", "previous_code_expires_at", "code_sent", "code_unknown",
    "dispatch_state", "due_at", "unknowns", "window_ends_at",
)  # fmt: skip


class Time:
    """The one clock."""

    def __init__(self) -> None:
        self.ms = 1_700_000_000_000

    def now_ms(self) -> int:
        return self.ms


class Longest:
    """Stands for `random` in pauses."""

    @staticmethod
    def uniform(_: float, longest: float) -> float:
        return longest


class NoBreaker(Breaker):
    """Never opens: what it does depends on real time."""

    def open_for(self, failed_before: bool = False) -> float:
        return 0.0


class Script:
    """A channel that ends its calls as it was told to, then accepts."""

    name = "test://script"

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.outcomes: list[str] = []
        self.accepted: list[Message] = []
        self.calls = 0
        self.died = asyncio.Event()

    async def deliver(self, message: Message) -> Outcome:
        self.calls += 1
        outcome = OUTCOMES[self.outcomes.pop(0) if self.outcomes else "accepted"]
        if outcome is None:
            self.died.set()
            raise asyncio.CancelledError  # as when the process ends here
        if outcome.verdict is Verdict.ACCEPTED:
            self.accepted.append(message)
        return outcome

    async def close(self) -> None:
        pass


class Named:
    """One of several channels that share a script."""

    def __init__(self, script: Script, name: str) -> None:
        self.name = name
        self._script = script

    async def deliver(self, message: Message) -> Outcome:
        self._script.asked.append(self.name)
        return await self._script.deliver(message)

    async def close(self) -> None:
        pass


class Plain:
    """A session as the model sees it: what a payer and an owner would say of it."""

    def __init__(self, now: int) -> None:
        self.expires_at = now + LIFE
        self.state = "open"
        self.kind = ""
        self.destination = ""
        self.challenge_state = "none"
        self.sends = self.wrong_code = self.wrong_total = 0
        self.code_counter = self.code_expires_at = self.window_ends_at = 0
        self.whom: list[str] = []
        self.previous_code_expires_at = 0
        self.code_sent = self.code_unknown = self.asked = False
        self.dispatch_state = "idle"
        self.due_at: int | None = None
        self.tries = self.unknowns = self.claimed_at = 0
        self.messages = self.calls = 0
        self.attempts: list[tuple[int, str]] = []
        """Of the dispatch: which provider was asked, and what it came to."""

    @property
    def locked(self) -> bool:
        return self.wrong_code >= 5 or self.wrong_total >= 10

    def ended(self, now: int) -> str:
        if self.state == "completed":
            return "SessionCompleted"
        return "SessionExpired" if self.state == "expired" or now >= self.expires_at else ""

    def drop_dispatch(self) -> None:
        if self.due_at is not None:
            self.dispatch_state, self.due_at = "expired", None


class Used(NamedTuple):
    began: int
    ends: int
    used: int


class Model:
    """The rules, in the plainest words."""

    def __init__(self, quotas: dict[str, Used]) -> None:
        self.quotas = quotas

    def send(self, plain: Plain, now: int, outcomes: list[str]) -> str | bool | None:
        if ended := plain.ended(now):
            return ended
        if plain.challenge_state not in ("pending", "refused"):
            return None
        if plain.locked:
            return "ChallengeLocked"
        if plain.challenge_state == "refused":
            return "DestinationRefused"
        if plain.dispatch_state in ("queued", "sending") or now < plain.window_ends_at:
            return plain.code_sent
        if plain.sends >= 5:
            return "RateLimited" if self._lives(plain, now) else "QuotaOutlastsSession"
        if refused := self._spend(plain, now):
            return refused
        if now >= plain.code_expires_at - 60_000:
            if plain.code_counter and now >= plain.code_expires_at:
                plain.wrong_code = 0
            plain.code_counter += 1
            plain.previous_code_expires_at = plain.code_expires_at
            plain.code_expires_at = now + TTL
            plain.code_sent = plain.code_unknown = False
        plain.sends += 1
        plain.attempts = []
        plain.tries, plain.unknowns, plain.claimed_at, plain.asked = 1, 0, now, False
        plain.window_ends_at = now + min(WINDOW, plain.code_expires_at - now)
        self.deliver(plain, now, outcomes)
        return "DestinationRefused" if plain.challenge_state == "refused" else plain.code_sent

    def sweep(self, plain: Plain, now: int, outcomes: list[str]) -> None:
        if plain.due_at is None or plain.due_at > now:
            return
        plain.unknowns += plain.dispatch_state == "sending"
        plain.code_unknown |= plain.dispatch_state == "sending"
        plain.tries += 1
        self.deliver(plain, now, outcomes)

    def deliver(self, plain: Plain, now: int, outcomes: list[str]) -> None:
        providers = PROVIDERS[plain.kind]
        while True:
            if plain.unknowns > 1:
                return self._end(plain, now, "dead")
            if now >= min(plain.code_expires_at, plain.expires_at) or plain.locked:
                return self._end(plain, now, "expired")
            refusals = [which for which, what in plain.attempts if what in _REFUSALS]
            asked = [which for which, _ in plain.attempts]
            left = [which for which in range(providers) if which not in refusals]
            provider = min(left, key=asked.count)
            plain.calls += 1
            plain.whom.append(f"test://{plain.kind}-{provider}")
            plain.asked = True
            outcome = outcomes.pop(0) if outcomes else "accepted"
            if outcome == "death":
                plain.dispatch_state, plain.due_at = "sending", now + LEASE
                return None
            if outcome == "accepted":
                plain.messages += 1
                plain.code_sent = True
                return self._end(plain, now, "sent")
            plain.attempts.append((provider, outcome))
            asked.append(provider)
            if outcome == "unknown":
                plain.unknowns += 1
                plain.code_unknown = True
                if plain.unknowns > 1:
                    return self._end(plain, now, "dead")
            if outcome in _REFUSALS:
                left.remove(provider)
                if not left:
                    if "undeliverable" in [what for _, what in plain.attempts]:
                        plain.challenge_state = "refused"
                    return self._end(plain, now, "dead")
            another = any(which not in asked for which in left)
            if another or (plain.tries == 1 and outcome in ("retry", "unknown")):
                plain.tries += 1
                continue
            pause = 1000 * min(30, 2 * 2 ** min(plain.tries, 10))
            pause = max(pause, 20_000 if outcome == "later" else 0)
            if now + pause >= min(plain.code_expires_at, plain.expires_at):
                return self._end(plain, now, "expired")
            plain.dispatch_state, plain.due_at = "queued", now + pause
            return None

    def verify(self, plain: Plain, now: int, answer: str) -> str:
        if ended := plain.ended(now):
            return ended
        if plain.challenge_state not in ("pending", "refused"):
            return "ChallengeClosed"
        if plain.locked:
            return "ChallengeLocked"
        if plain.challenge_state == "refused" or not self._lives(plain, now):
            return "CodeExpired"
        if answer == "before" and now < plain.previous_code_expires_at:
            return "CodeReplaced"
        if refused := self._spend_answer(plain, now, right=answer == "right"):
            return refused
        if answer == "right":
            plain.challenge_state = "satisfied"
            plain.drop_dispatch()
            return ""
        plain.wrong_code += 1
        plain.wrong_total += 1
        return "ChallengeLocked" if plain.locked else "WrongAnswer"

    def _lives(self, plain: Plain, now: int) -> bool:
        arrived = plain.code_sent or plain.code_unknown or plain.dispatch_state == "sending"
        return arrived and now < plain.code_expires_at

    def _end(self, plain: Plain, now: int, state: str) -> None:
        plain.dispatch_state, plain.due_at = state, None
        if state == "sent" or plain.unknowns:
            return
        plain.sends -= 1  # it is certain that nothing was sent
        for key in () if plain.asked else self._keys(plain):
            kept = self.quotas.get(key)
            if kept and kept.began <= plain.claimed_at and kept.ends > now and kept.used:
                self.quotas[key] = kept._replace(used=kept.used - 1)

    def _spend(self, plain: Plain, now: int) -> str:
        """Takes one of each, or none of any; returns the refusal."""
        wrong = [key for key in self._wrong_keys(plain) if self._spent(key, now)]
        spent = [key for key in self._keys(plain) if self._spent(key, now)] + wrong
        if not spent:
            for key in self._keys(plain):
                self._take(key, now)
            return ""
        return self._refusal(plain, now, spent, answerable=self._lives(plain, now) and not wrong)

    def _spend_answer(self, plain: Plain, now: int, *, right: bool) -> str:
        keys = self._wrong_keys(plain)
        if spent := [key for key in keys if self._spent(key, now)]:
            return self._refusal(plain, now, spent, answerable=False)
        for key in keys:
            if not right:
                self._take(key, now)
            elif key in self.quotas:
                self.quotas[key] = self.quotas[key]._replace(used=0)
        return ""

    def _refusal(self, plain: Plain, now: int, spent: list[str], *, answerable: bool) -> str:
        def wait(key: str) -> int:
            step = 900_000 if "all-" in key else 1000
            return -(-(self.quotas[key].ends - now) // step) * step

        helps = answerable or now + max(map(wait, spent)) < plain.expires_at
        return "RateLimited" if helps else "QuotaOutlastsSession"

    def _spent(self, key: str, now: int) -> bool:
        kept = self.quotas.get(key)
        return kept is not None and kept.ends > now and kept.used >= self._allowed(key)

    def _take(self, key: str, now: int) -> None:
        kept = self.quotas.get(key)
        if kept is None or kept.ends <= now:
            kept = Used(now, now + (DAY if "-day:" in key else HOUR), 0)
        self.quotas[key] = kept._replace(used=kept.used + 1)

    def _allowed(self, key: str) -> int:
        name = key.partition(":")[0]
        return (ALLOWED | WRONG_ALLOWED)[name.removeprefix("sms-").removeprefix("email-")]

    def _keys(self, plain: Plain) -> list[str]:
        kind, to = plain.kind, plain.destination
        return [
            "account-hour:acct",
            f"{kind}-all-hour:{to}", f"{kind}-all-day:{to}",
            f"{kind}-hour:acct:{to}", f"{kind}-day:acct:{to}",
        ]  # fmt: skip

    def _wrong_keys(self, plain: Plain) -> list[str]:
        return [f"wrong-all-day:{plain.destination}", f"wrong-day:acct:{plain.destination}"]


class Parts:
    """The service's own classes, on a real database."""

    def __init__(self, database: Database, set_time: Callable[[int], Awaitable[None]]) -> None:
        self.database = database
        self.set_time = set_time
        self.store = Store(database)
        self.ring = KeyRing({"k1": bytes(range(32))})
        self.script = Script()
        providers = {
            kind: [
                Provider(Named(self.script, f"test://{kind}-{which}"), NoBreaker())
                for which in range(several)
            ]
            for kind, several in PROVIDERS.items()
        }
        composer = Composer(self.ring, 6)
        self.dispatcher = Dispatcher(self.store, composer, providers, ACCOUNT_SENDS, LEASE)
        rules = SendRules(WINDOW, LEASE, TTL, LEASE, ACCOUNT_SENDS)
        self.sender = Sender(self.store, self.dispatcher, rules)
        self.verifier = Verifier(self.store, self.ring, 6)
        self.fingerprints = Fingerprints(bytes(32))
        self.sessions = Sessions(self.store, self.ring, self.fingerprints, set(PROVIDERS), 0)

    async def delivered(self) -> None:
        """Waits until no delivery is under way."""
        while tasks := {t for t in asyncio.all_tasks() if "_deliver" in repr(t.get_coro())}:
            await asyncio.wait(tasks)

    async def clear(self) -> None:
        for table in ("hosted_session", "quota", "attempt"):
            await self.database.rows(f"DELETE FROM {table}")


_numbers = itertools.count()
_trouble = st.sampled_from(["retry", "retry", "later", "unknown", "death", *sorted(OUTCOMES)])
_outcomes = st.one_of(st.just([]), st.lists(_trouble, min_size=1, max_size=5))
_which = st.integers(0, 9)
_seldom = st.sampled_from([False] * 9 + [True])


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
        self.open()
        self.issue(0, "sms", 0)

    def teardown(self) -> None:
        self.run(self.parts.clear())

    @property
    def alive(self) -> list[str]:
        return [key for key, plain in self.plain.items() if not plain.ended(self.time.ms)]

    @rule()
    @precondition(lambda self: len(self.alive) < 2)
    def open(self) -> None:
        session_id = f"cs_{next(_numbers)}"
        new = NewSession(session_id, "acct", bytes(32), "payment", "", "en", "Acme", LIFE)
        self.run(self.parts.sessions.open(new))
        self.plain[session_id] = Plain(self.time.ms)

    @rule(which=_which, kind=st.sampled_from(["sms", "email"]), number=st.integers(0, 1))
    def issue(self, which: int, kind: str, number: int) -> None:
        plain, row = self.pick(which)
        to = {"sms": f"+1202555010{number}", "email": f"payer{number}@shop.example"}[kind]
        answer = self.attempt(self.parts.sessions.issue_code(row, kind, to, None))
        ended = plain.ended(self.time.ms)
        assert answer == ended if ended else isinstance(answer, SessionRow)
        if not ended:
            plain.kind, plain.destination = kind, self.parts.fingerprints.of(to)
            plain.challenge_state = "pending"
            plain.code_sent = plain.code_unknown = False
            plain.code_counter = plain.code_expires_at = plain.window_ends_at = 0
            plain.previous_code_expires_at = 0
            plain.dispatch_state, plain.due_at = "idle", None

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
            answer = None if wanted is None else bool(answer.code_sent)
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
        return answer

    @rule(which=_which, answer=st.sampled_from(["right", "wrong", "before"]))
    def verify(self, which: int, answer: str) -> None:
        plain, row = self.pick(which)
        wanted = self.model.verify(plain, self.time.ms, answer)
        code = "000000"
        if row.challenge_id is not None and row.key_id is not None:
            counter = row.code_counter - (answer == "before" and row.code_counter > 0)
            code = code_for(self.parts.ring, row.key_id, row.challenge_id, None, counter, 6)
        if answer == "wrong":
            code = f"{(int(code) + 1) % 1_000_000:06}"
        said = self.attempt(self.parts.verifier.verify(row, code, None))
        assert (said if isinstance(said, str) else "") == wanted

    @rule(which=_which, times=st.integers(1, 6))
    def guess(self, which: int, times: int) -> None:
        for _ in range(times):
            self.verify(which, "wrong")

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

    @rule(which=_which, really=_seldom)
    def waive(self, which: int, really: bool) -> None:
        if not really:
            return
        plain, row = self.pick(which)
        ended = plain.ended(self.time.ms)
        assert (self.attempt(self.parts.sessions.waive(row)) or "") == ended
        if not ended:
            plain.challenge_state = "waived"
            plain.drop_dispatch()

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
        for row in await self.parts.store.reclaim_due(LEASE, 1):
            self.parts.dispatcher.deliver(row, asyncio.get_running_loop().time())
        await self.parts.delivered()

    @rule()
    def wipe(self) -> None:
        self.run(self.parts.store.wipe(100))
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
        found = {row[0]: dict(zip(_COMPARED, row[1:], strict=True)) for row in rows}
        for session_id, plain in self.plain.items():
            wanted = {name: getattr(plain, name) for name in _COMPARED}
            assert found[session_id] == wanted
        assert len(self.parts.script.accepted) == sum(p.messages for p in self.plain.values())
        assert self.parts.script.calls == sum(p.calls for p in self.plain.values())
        asked = [name for plain in self.plain.values() for name in plain.whom]
        assert sorted(self.parts.script.asked) == sorted(asked)
        kept = self.run(self.parts.database.rows("SELECT key, used FROM quota"))
        assert dict(map(tuple, kept)) == {key: u.used for key, u in self.model.quotas.items()}

    def pick(self, which: int) -> tuple[Plain, SessionRow]:
        among = self.alive if which and self.alive else sorted(self.plain)
        session_id = among[which % len(among)]
        row = self.run(self.parts.store.read(session_id))
        return self.plain[session_id], row


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
    database, set_time = loop.run_until_complete(_open(kind, url, time))
    write, logs._write = logs._write, lambda *_: None
    chance, retrying.random = retrying.random, Longest
    parts = loop.run_until_complete(_parts(database, set_time))
    try:
        yield type("Machine", (Machine,), {"loop": loop, "parts": parts, "time": time})
    finally:
        logs._write = write
        retrying.random = chance
        loop.run_until_complete(database.close())
        loop.close()


async def _parts(database: Database, set_time: Callable[[int], Awaitable[None]]) -> Parts:
    return Parts(database, set_time)


async def _open(
    kind: str, url: str, time: Time
) -> tuple[Database, Callable[[int], Awaitable[None]]]:
    if kind == "sqlite":
        from service.storage.sqlite.database import SQLite

        async def nothing(_: int) -> None:
            pass

        return await SQLite.open(Path(url.removeprefix("sqlite:///")), time.now_ms), nothing
    from service.storage.postgres.database import Postgres

    connection = await asyncpg.connect(url)
    await connection.execute(
        f"CREATE TABLE model_time AS SELECT {time.ms}::bigint AS ms; "
        "CREATE OR REPLACE FUNCTION challenge_now() RETURNS bigint LANGUAGE sql STABLE AS "
        "$$ SELECT ms FROM model_time $$"
    )
    await connection.close()
    database = await Postgres.connect(url, 4)

    async def set_time(ms: int) -> None:
        await database.rows("UPDATE model_time SET ms = $1", ms)

    return database, set_time
