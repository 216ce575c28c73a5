"""Row 22: the service's own classes on a real database, with a clock and a provider to command."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from service.captchas import CaptchaToken, Judgement, Verdict
from service.challenges.fallbacks import Fallbacks
from service.challenges.issuing import Issuing
from service.challenges.judging import ResponseJudge
from service.challenges.repeats import Repeats
from service.challenges.sealing import Sealing
from service.challenges.sessions import Sessions
from service.challenges.verifying import Verifier, VerifySettings
from service.channels import Message, Outcome, Result
from service.delivery.dispatch import Dispatcher
from service.delivery.messages import Composer
from service.delivery.providers import Breaker, Provider
from service.delivery.sending import Sender, SendSettings
from service.delivery.settling import Settling
from service.evidence.events import Events
from service.evidence.exporting import Exporter
from service.keyring import EvidenceKeys, Fingerprints, KeyRing
from service.storage.archive import Archive
from service.storage.database import Database
from service.storage.dispatches import Dispatches
from service.storage.rows import Rpc
from service.storage.store import Store
from tests.faults.model import ACCOUNT_SENDS, LEASE, PAYMENTS, PROVIDERS, SATISFIED, TTL, WINDOW

RESULTS = {
    "accepted": Result(Outcome.ACCEPTED, "m1"),
    "retry": Result(Outcome.RETRY, reason="busy"),
    "later": Result(Outcome.RETRY, reason="throttled", retry_after=20),
    "refused": Result(Outcome.REFUSED, reason="refused"),
    "undeliverable": Result(Outcome.UNDELIVERABLE, reason="nobody there"),
    "unknown": Result(Outcome.UNKNOWN, reason="timed out"),
    "death": None,
}


_CLOCK = """
CREATE OR REPLACE FUNCTION challenge_now() RETURNS bigint LANGUAGE sql STABLE AS $$ {} $$
"""
_FIRST_KEY = {"k1": bytes(range(32))}


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

    def unavailable_for(self, failed_before: bool = False) -> float:
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

    async def deliver(self, message: Message) -> Result:
        self.calls += 1
        result = RESULTS[self.outcomes.pop(0) if self.outcomes else "accepted"]
        if result is None:
            self.died.set()
            raise asyncio.CancelledError  # as when the process ends here
        if result.outcome is Outcome.ACCEPTED:
            self.accepted.append(message)
        return result

    async def close(self) -> None:
        pass


class Named:
    """One of several channels that share a script."""

    def __init__(self, script: Script, name: str) -> None:
        self.name = name
        self._script = script

    async def deliver(self, message: Message) -> Result:
        self._script.asked.append(self.name)
        return await self._script.deliver(message)

    async def close(self) -> None:
        pass


class Widgets:
    """Stands for the captchas' providers: a token says itself what becomes of it."""

    async def judge(self, _: str, token: CaptchaToken) -> Judgement:
        what = token.text.partition("-")[0]
        verdicts = {"right": Verdict.PASSED, "wrong": Verdict.REFUSED}
        return Judgement(verdicts.get(what, Verdict.UNREACHABLE), what)


class Parts:
    """The service's own classes, on a real database."""

    def __init__(self, database: Database, set_time: Callable[[int], Awaitable[None]]) -> None:
        self.database = database
        self.set_time = set_time
        self.store, self.archive = Store(database), Archive(database)
        self.dispatches = Dispatches(database)
        keys = EvidenceKeys(bytes(32))
        events = Events(keys)
        self.exporter = Exporter(self.archive, keys)
        self._keys = _FIRST_KEY
        self.ring = KeyRing(self._keys)
        self.script = Script()
        providers = {
            kind: [
                Provider(Named(self.script, f"test://{kind}-{which}"), NoBreaker())
                for which in range(several)
            ]
            for kind, several in PROVIDERS.items()
        }
        composer = Composer(self.ring, 6)
        self.dispatcher = Dispatcher(
            self.dispatches,
            composer,
            providers,
            Settling(self.store, self.dispatches, events),
            ACCOUNT_SENDS,
            LEASE,
        )
        send_settings = SendSettings(WINDOW, LEASE, TTL, LEASE, ACCOUNT_SENDS)
        self.fingerprints = Fingerprints(bytes(32))
        sealing = Sealing(self.ring, self.fingerprints)
        self.fallbacks = Fallbacks(self.store, sealing, self._repeats(Rpc.FALL_BACK), events)
        self.sender = Sender(
            self.store, self.dispatches, self.dispatcher, self.fallbacks, send_settings
        )
        response_judge = ResponseJudge(self.ring, self.fingerprints, 6, Widgets())
        self.verifier = Verifier(
            self.store, response_judge, self.fallbacks, self._repeats(Rpc.VERIFY), events,
            VerifySettings(SATISFIED, PAYMENTS),
        )  # fmt: skip
        self.sessions = Sessions(self.store, self.fingerprints, events, 0)
        self.issuing = Issuing(
            self.store, sealing, self._repeats(Rpc.ISSUE), events, set(PROVIDERS)
        )

    def _repeats(self, rpc: Rpc) -> Repeats:
        return Repeats(self.store, self.fingerprints, rpc)

    def rotate(self) -> None:
        """Puts a new key in front of the ring, as a restart with another setting does."""
        count = len(self._keys)
        self._hold({f"k{count + 1}": bytes([count]) * 32, **self._keys})

    def _hold(self, keys: Mapping[str, bytes]) -> None:
        """Has all parts hold these keys: they share the ring."""
        self._keys = keys
        vars(self.ring).update(vars(KeyRing(keys)))

    async def delivered(self) -> None:
        """Waits until no delivery is under way."""
        while tasks := {t for t in asyncio.all_tasks() if "_deliver" in repr(t.get_coro())}:
            await asyncio.wait(tasks)

    async def clear(self) -> None:
        """Begins anew: empty, with one key."""
        self._hold(_FIRST_KEY)
        for table in ("hosted_session", "quota", "attempt", "handled_request", "evidence"):
            await self.database.rows(f"DELETE FROM {table}")


async def open_parts(kind: str, url: str, time: Time) -> Parts:
    """Opens a database, with `time` as its clock."""
    if kind == "sqlite":
        from service.storage.sqlite.database import SQLite

        async def nothing(_: int) -> None:
            pass

        path = Path(url.removeprefix("sqlite:///"))
        return Parts(await SQLite.open(path, time.now_ms), nothing)
    from service.storage.postgres import engines

    database = await engines.connect(url, 4)

    async def set_time(ms: int) -> None:
        if kind == "citus":  # whose workers cannot read a table of the coordinator's
            await database.rows(_CLOCK.format(f"SELECT {ms}::bigint"))
        else:
            await database.rows("UPDATE model_time SET ms = $1", ms)

    if kind == "citus":
        await set_time(time.ms)
    else:
        await database.rows(f"CREATE TABLE model_time AS SELECT {time.ms}::bigint AS ms")
        await database.rows(_CLOCK.format("SELECT ms FROM model_time"))
    return Parts(database, set_time)
