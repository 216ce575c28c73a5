"""Delivery of claimed codes: one try after the other, until a dispatch is over or has to wait.

A dispatch is one code that is owed. A try is one claim of it by a process; an attempt is a try in
which a provider was called, and has a row in the ledger.

A claimed row belongs to one process until its lease, on the database's clock, runs out. The fence
in the row is the fencing token: whatever outdates the claim raises it, and nothing that is written
under an old fence takes effect.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Collection, Mapping, Sequence
from enum import Enum, auto

from service.aio.backoff import backoff
from service.aio.tasks import Tasks
from service.challenges.quotas import sends_of
from service.delivery.leases import Leases
from service.delivery.messages import Composer
from service.delivery.providers import Provider
from service.delivery.settling import Settling
from service.delivery.trying import Trying
from service.errors import StoreUnavailable
from service.storage.dispatches import Dispatches
from service.storage.rows import Attempt, NewAttempt, SessionRow, Settlement
from service.telemetry import logs, metrics, tracing

_LONGEST_SETTLE_PAUSE_SECONDS = 0.5
_MAX_DISPATCHES = 512
"""Dispatches that one process holds at once; the sweep takes no more than there is room for."""


_Owed = tuple[str, str | None]
"""Key of a delivery. It holds the challenge, so that a Send after a reissue does not wait for the
old code."""


class Progress(Enum):
    """What a Send learns of its dispatch."""

    SENT = auto()
    DEAD = auto()
    PENDING = auto()
    """Neither, as far as is known: tried again later, expired, or another process's by now."""


class Delivery:
    """A delivery under way, as those see it who wait for its progress."""

    def __init__(self) -> None:
        self._progress = Progress.PENDING
        self._reported = asyncio.Event()

    async def progress(self) -> Progress:
        """Waits for what is reported first."""
        await self._reported.wait()
        return self._progress

    def report(self, progress: Progress) -> None:
        """Reports to whoever waits; only the first report counts."""
        if not self._reported.is_set():
            self._progress = progress
            self._reported.set()


class Dispatcher:
    """Delivers what was claimed, by a Send here or by the sweep."""

    def __init__(
        self,
        dispatches: Dispatches,
        composer: Composer,
        providers: Mapping[str, Sequence[Provider]],
        settling: Settling,
        account_sends_per_hour: int,
        lease_ms: int,
    ) -> None:
        """Starts nothing.

        Args:
            dispatches: Where the rows are.
            composer: Makes messages of rows.
            providers: Providers by challenge type, in order of failover.
            settling: Writes down how tries end.
            account_sends_per_hour: What an account has; 0 for any number.
            lease_ms: How long a claim lasts unless it is extended.
        """
        self._dispatches = dispatches
        self._settling = settling
        self._account_sends_per_hour = account_sends_per_hour
        self._lease_ms = lease_ms
        self._leases = Leases(dispatches, lease_ms)
        self._trying = Trying(composer, providers, self._leases)
        # When its lease has run out, the sweep takes up a delivery that has failed.
        self._tasks = Tasks(lambda error: logs.error("delivery_failed", exc_info=error))
        self._deliveries: dict[_Owed, Delivery] = {}
        for challenge_type, several in providers.items():
            metrics.begin_dispatches(challenge_type, (provider.name for provider in several))

    @property
    def delivering(self) -> Collection[str]:
        """Sessions whose code is being delivered here."""
        return [session_id for session_id, _ in self._deliveries]

    @property
    def room(self) -> int:
        """How many more dispatches this process may hold."""
        return max(0, _MAX_DISPATCHES - len(self._deliveries))

    def start(self) -> None:
        """Begins to extend the leases of what is delivered."""
        self._leases.start()

    async def stop(self, seconds: float) -> None:
        """Waits for deliveries; what remains is left to the next process."""
        await self._tasks.stop(seconds)
        await self._leases.stop()

    def deliver(self, claimed: SessionRow, lease_start: float) -> Delivery:
        """Begins to deliver a row that was just claimed.

        Args:
            claimed: The row.
            lease_start: `time.monotonic()` before the claim was sent: its lease may run from then.
        """
        delivery = Delivery()
        self._deliveries[_owed(claimed)] = delivery  # before the task: a second Send looks here
        self._tasks.start(self._deliver(claimed, lease_start, delivery))
        return delivery

    def delivery_of(self, row: SessionRow) -> Delivery | None:
        """Finds the delivery of a session's code; None where this process has none."""
        return self._deliveries.get(_owed(row))

    async def _deliver(self, claimed: SessionRow, lease_start: float, delivery: Delivery) -> None:
        try:
            with tracing.dispatch(str(claimed.challenge_type), claimed.traceparent):
                await self._try_until_over(claimed, lease_start, delivery)
        finally:
            delivery.report(Progress.PENDING)  # after a bug, too: nobody waits for what has ended
            if self._deliveries.get(_owed(claimed)) is delivery:
                del self._deliveries[_owed(claimed)]

    async def _try_until_over(
        self, row: SessionRow, lease_start: float, delivery: Delivery
    ) -> None:
        claimed: SessionRow | None = row
        attempts = await self._attempts(row)
        while claimed is not None:
            settlement, attempt = await self._trying.once(claimed, lease_start, attempts)
            if settlement.state == "sent":
                delivery.report(Progress.SENT)
            took = _seconds_since_send(claimed, lease_start)
            ended_at = claimed.now + int((time.monotonic() - lease_start) * 1000)
            ours = await self._settle(claimed, settlement, attempt, ended_at)
            if ours and settlement.state != "queued":
                challenge_type = str(claimed.challenge_type)
                channel = metrics.NO_CHANNEL if attempt is None else attempt.channel
                metrics.dispatch_duration(challenge_type, channel, settlement.state).observe(took)
            if settlement.state == "dead":
                delivery.report(Progress.DEAD)
            at_once = ours and settlement.state == "queued" and settlement.retry_in_ms == 0
            lease_start = time.monotonic()
            claimed = await self._reclaim(claimed) if at_once else None

    async def _attempts(self, claimed: SessionRow) -> list[Attempt | NewAttempt]:
        """Reads the attempts of other processes, and those before a pause here."""
        if claimed.tries > 1:
            with contextlib.suppress(StoreUnavailable):
                return list(await self._dispatches.attempts_of(claimed))
        return []

    async def _settle(
        self,
        claimed: SessionRow,
        settlement: Settlement,
        attempt: NewAttempt | None,
        ended_at: int,
    ) -> bool:
        """Writes down how a try ended, however long the database takes to come back.

        Returns:
            False when the lease was lost and another process decides.
        """
        pauses = backoff(0.1, _LONGEST_SETTLE_PAUSE_SECONDS)
        while True:
            try:
                unknowns = await self._settling.settle(claimed, settlement, attempt, ended_at)
                break
            except StoreUnavailable as error:
                logs.warning("settle_delayed", session_id=claimed.session_id, error=str(error))
                await asyncio.sleep(next(pauses))
        if unknowns is None:
            logs.warning("dispatch_fenced_off", session_id=claimed.session_id)
        elif settlement.state in ("dead", "expired") and unknowns == 0:
            quotas = sends_of(claimed, self._account_sends_per_hour)
            with contextlib.suppress(StoreUnavailable):  # the quota then stays spent
                await self._dispatches.hand_back(claimed, quotas)
        return unknowns is not None

    async def _reclaim(self, queued: SessionRow) -> SessionRow | None:
        try:
            return await self._dispatches.reclaim(queued, self._lease_ms)
        except StoreUnavailable:
            return None  # it is queued: the sweep will find it


def _owed(row: SessionRow) -> _Owed:
    return row.session_id, row.challenge_id


def _seconds_since_send(claimed: SessionRow, lease_start: float) -> float:
    """Adds the time up to this claim, by the database's clock, and since then, by ours."""
    return (claimed.now - claimed.claimed_at) / 1000 + time.monotonic() - lease_start
