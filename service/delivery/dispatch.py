"""Delivery of claimed codes: leases, tries, failover, and the sweep that finds what was left.

A dispatch is one code that is owed. A try is one claim of it by a process; an attempt is a try in
which a provider was called, and has a row in the ledger.

A claimed row belongs to one process until its lease, on the database's clock, runs out. The fence
in the row is the fencing token: whatever outdates the claim raises it, and nothing that is written
under an old fence takes effect.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from typing import Any

from service.aio.backoff import backoff
from service.challenges.quotas import Limits, quotas_of
from service.delivery.delivery import Delivery, Progress
from service.delivery.leases import Leases
from service.delivery.messages import Composer
from service.delivery.providers import Lane, next_lane
from service.delivery.retrying import UNKNOWNS_ALLOWED, next_step, outlived, put_back
from service.errors import ChallengeError, StoreUnavailable
from service.storage.rows import AttemptRecord, SessionRow, Settlement
from service.storage.store import Store
from service.telemetry import logs, metrics, tracing

_SWEEP_SECONDS = (0.5, 1.5)
_AFTER_OUTAGE_SECONDS = (4.0, 6.0)
"""Much longer than the pauses of `_settle`: what processes know of their tries is written first,
also by one that is busy reconnecting."""
_LONGEST_SETTLE_PAUSE_SECONDS = 0.5
_MAX_DISPATCHES = 512
"""Dispatches that one process holds at once; the sweep takes no more than there is room for."""
_SWEEP_BATCH = 100
_FRESH_SECONDS = 1.0
"""Older than this, a claim is confirmed with the database before the provider is called."""


Claimed = tuple[SessionRow, Delivery]
"""A row that was claimed for a Send, and its delivery."""


class Dispatcher:
    """Delivers what was claimed, here or by a process that died."""

    def __init__(
        self,
        store: Store,
        composer: Composer,
        lanes: Mapping[str, Sequence[Lane]],
        limits: Limits,
        lease_ms: int,
    ) -> None:
        """Makes one that is idle.

        Args:
            store: Where the rows are.
            composer: Makes messages of rows.
            lanes: Providers by challenge type, in order of failover.
            limits: The quotas that claims spend.
            lease_ms: How long a claim lasts without a heartbeat.
        """
        self.lease_ms = lease_ms
        self._store = store
        self._composer = composer
        self._lanes = lanes
        self._limits = limits
        self._leases = Leases(store, lease_ms)
        self._tasks: set[asyncio.Task[None]] = set()
        self._under_way: dict[str, Delivery] = {}
        self._stopping = asyncio.Event()
        self._quiet_until = 0.0
        self._sweep_ended = asyncio.Event()
        self._sweep_ended.set()
        for kind, several in lanes.items():
            metrics.begin_dispatches(kind, (lane.name for lane in several))

    async def claim(self, claim: Awaitable[SessionRow | None]) -> Claimed | None:
        """Claims a row and begins to deliver it; a caller who hangs up cancels neither.

        Args:
            claim: Gives the claimed row, or None when it has moved on.

        Raises:
            ChallengeError: What `claim` raises.
        """
        told: asyncio.Future[Claimed | None] = asyncio.get_running_loop().create_future()
        self._start(self._claim_and_deliver(claim, told))
        return await asyncio.shield(told)

    def deliver(self, claimed: SessionRow, asked_monotonic: float) -> None:
        """Begins to deliver a row that was just claimed.

        Args:
            claimed: The row.
            asked_monotonic: When the claim was asked for, by time.monotonic: from then on its
                lease may run, however long the answer took.
        """
        self._start(self._deliver(claimed, asked_monotonic, Delivery()))

    def under_way(self, session_id: str) -> Delivery | None:
        """Finds the delivery of a session's code, if this process has it in hand."""
        return self._under_way.get(session_id)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logs.error("delivery_failed", exc_info=error)  # its lease runs out, and it is retried

    async def keep_leases(self) -> None:
        """Keeps what is being delivered claimed, until cancelled."""
        await self._leases.keep()

    async def sweep(self) -> None:
        """Delivers what is due, until drained: retries, and tries whose lease ran out."""
        self._sweep_ended.clear()
        try:
            while not self._stopping.is_set():
                pause = await self._sweep_once()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._stopping.wait()
        finally:
            self._sweep_ended.set()

    async def _sweep_once(self) -> float:
        """Begins to deliver a batch of what is due; gives the seconds until the next."""
        room = min(_SWEEP_BATCH, _MAX_DISPATCHES - len(self._under_way))
        asked_monotonic = time.monotonic()
        try:
            if asked_monotonic < self._quiet_until:
                await self._store.read("")  # a new outage must not pass unseen
                return random.uniform(*_SWEEP_SECONDS)
            due = await self._store.reclaim_due(self.lease_ms, max(0, room), self._under_way)
        except StoreUnavailable as error:
            logs.warning("sweep_failed", error=str(error))
            self._quiet_until = time.monotonic() + random.uniform(*_AFTER_OUTAGE_SECONDS)
            return random.uniform(*_SWEEP_SECONDS)
        except Exception:  # whatever it is, what is due stays due
            logs.exception("sweep_failed")
            return random.uniform(*_AFTER_OUTAGE_SECONDS)
        for row in due:
            self.deliver(row, asked_monotonic)
        return 0.0 if len(due) == _SWEEP_BATCH else random.uniform(*_SWEEP_SECONDS)

    async def drain(self, seconds: float) -> None:
        """Ends the sweep and waits for deliveries; what remains is left to the next process."""
        self._stopping.set()
        await self._sweep_ended.wait()  # it may have just claimed some
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for task in self._tasks:
            task.cancel()

    async def _claim_and_deliver(
        self, claim: Awaitable[SessionRow | None], told: asyncio.Future[Claimed | None]
    ) -> None:
        asked_monotonic = time.monotonic()
        try:
            row = await claim
        except asyncio.CancelledError:
            told.cancel()
            raise
        except Exception as error:
            told.set_exception(error)
            if isinstance(error, ChallengeError):
                told.exception()  # asyncio need not report it when the caller has hung up
            return
        if row is None:
            told.set_result(None)
            return
        delivery = Delivery()
        told.set_result((row, delivery))
        await self._deliver(row, asked_monotonic, delivery)

    async def _deliver(self, row: SessionRow, asked_monotonic: float, delivery: Delivery) -> None:
        self._under_way[row.session_id] = delivery
        try:
            with tracing.dispatch(str(row.challenge_type)):
                await self._try_until_over(row, asked_monotonic, delivery)
        finally:
            if self._under_way.get(row.session_id) is delivery:
                del self._under_way[row.session_id]

    async def _try_until_over(
        self, row: SessionRow, asked_monotonic: float, delivery: Delivery
    ) -> None:
        claimed: SessionRow | None = row
        while claimed is not None:
            settlement, attempt = await self._try(claimed, asked_monotonic)
            if settlement.state == "sent":
                delivery.report(Progress.SENT)
            took = _seconds_since_send(claimed, asked_monotonic)
            kept = await self._settle(claimed, settlement, attempt)
            if kept and settlement.state != "queued":
                kind = str(claimed.challenge_type)
                channel = metrics.NO_CHANNEL if attempt is None else attempt.channel
                metrics.dispatch_duration(kind, channel, settlement.state).observe(took)
            if settlement.refused:
                delivery.report(Progress.REFUSED)
            at_once = kept and settlement.state == "queued" and settlement.retry_in_ms == 0
            asked_monotonic = time.monotonic()
            claimed = await self._reclaim(claimed) if at_once else None
        delivery.report(Progress.PENDING)

    async def _try(
        self, claimed: SessionRow, asked_monotonic: float
    ) -> tuple[Settlement, AttemptRecord | None]:
        lanes = self._lanes.get(str(claimed.challenge_type), ())
        if claimed.unknowns > UNKNOWNS_ALLOWED:
            return Settlement("dead", "outcome unknown twice"), None
        if over := outlived(claimed, time.monotonic() - asked_monotonic):
            return over, None
        try:
            message = self._composer.compose(claimed)
        except Exception as error:  # a poison row must not stop the others
            logs.exception("message_not_composed", session_id=claimed.session_id)
            return Settlement("dead", f"cannot compose: {type(error).__name__}"), None
        lane = next_lane(lanes, claimed.tries)
        if lane is None:
            return put_back(lanes), None
        with self._leases.hold(claimed):
            if not await lane.enter():
                return put_back(lanes), None
            try:
                if instead := await self._outdated(claimed, time.monotonic() - asked_monotonic):
                    return instead, None
                outcome, took = await lane.deliver(message)
            finally:
                lane.leave()
        record = AttemptRecord(
            str(claimed.challenge_id), claimed.tries, lane.name,
            outcome.message_id, outcome.verdict, outcome.reason, int(took * 1000),
        )  # fmt: skip
        logs.info("dispatch_attempt", session_id=claimed.session_id, **record._asdict())
        return next_step(claimed, outcome, len(lanes)), record

    async def _outdated(self, claimed: SessionRow, elapsed: float) -> Settlement | None:
        """Looks, just before sending, whether code, session and claim still live."""
        if over := outlived(claimed, elapsed):
            return over
        if elapsed <= _FRESH_SECONDS:
            return None
        try:
            kept = await self._store.extend(claimed, self.lease_ms)
        except StoreUnavailable:
            return Settlement("queued", "claim not confirmed", retry_in_ms=1000)
        return None if kept else Settlement("expired", "lease lost")

    async def _settle(
        self, claimed: SessionRow, settlement: Settlement, attempt: AttemptRecord | None
    ) -> bool:
        """Writes down how a try ended, however long the database takes to come back.

        Returns:
            False when the lease was lost and another worker decides.
        """
        pauses = backoff(0.1, _LONGEST_SETTLE_PAUSE_SECONDS)
        while True:
            try:
                unknowns = await self._store.settle(claimed, settlement, attempt)
                break
            except StoreUnavailable as error:
                logs.warning("settle_delayed", session_id=claimed.session_id, error=str(error))
                await asyncio.sleep(next(pauses))
        if unknowns is None:
            logs.warning("dispatch_fenced_off", session_id=claimed.session_id)
        elif settlement.state in ("dead", "expired") and unknowns == 0:
            with contextlib.suppress(StoreUnavailable):  # then it stays spent
                await self._store.hand_back(claimed, quotas_of(claimed, self._limits))
        return unknowns is not None

    async def _reclaim(self, queued: SessionRow) -> SessionRow | None:
        try:
            return await self._store.reclaim(queued, self.lease_ms)
        except StoreUnavailable:
            return None  # it is queued: the sweep will find it


def _seconds_since_send(claimed: SessionRow, asked_monotonic: float) -> float:
    """Adds the time up to this claim, by the database's clock, and since then, by ours."""
    return (claimed.now - claimed.claimed_at) / 1000 + time.monotonic() - asked_monotonic
