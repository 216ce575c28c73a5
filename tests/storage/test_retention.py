"""Forgetting: destinations when their session is over, rows some time after."""

from __future__ import annotations

import pytest

from service.challenges.rules import LONGEST_LIFE_MS
from service.storage.archive import Archive
from service.storage.retention import Forgotten, Retention
from tests.harness.service import Service

DAY = 24 * 3600


def retention(service: Service, days: int = 30) -> Retention:
    return Retention(Archive(service.database), days, 540, LONGEST_LIFE_MS)


async def test_the_destination_is_wiped_once_the_sessions_time_is_over(service: Service) -> None:
    session = await service.challenged()
    assert (await retention(service).purge()).destinations == 0
    await service.clock.advance(30 * 60)
    assert (await retention(service).purge()).destinations == 1
    assert await service.column(session, "destination") is None
    assert (await retention(service).purge()).destinations == 0


@pytest.mark.slow
async def test_a_dispatch_that_is_owed_ends_with_its_destination(service: Service) -> None:
    service.provider.gate.clear()
    session = await service.challenged()
    await service.send(session)
    await service.clock.advance(30 * 60)
    await retention(service).purge()
    assert await service.column(session, "dispatch_state") == "expired"
    service.provider.gate.set()


async def test_rows_are_deleted_only_past_their_time(service: Service) -> None:
    session = await service.challenged()
    await service.send(session)
    await service.settled()
    await service.clock.advance(29 * DAY)
    early = await retention(service).purge()
    assert (early.sessions, early.partitions, early.attempts) == (0, 0, 0)
    await service.clock.advance(2 * DAY)
    late = await retention(service).purge()
    assert (late.sessions, bool(late.partitions or late.attempts)) == (1, True)
    assert await service.database.row("SELECT 1 FROM attempt") is None
    assert await service.database.row("SELECT 1 FROM hosted_session") is None


async def test_a_quota_is_deleted_once_its_period_is_over(service: Service) -> None:
    await service.send(await service.challenged())
    assert (await retention(service).purge()).quotas == 0
    await service.clock.advance(DAY)
    # The account's sessions and sends; the number's hour and day, for the account and for all.
    assert (await retention(service).purge()).quotas == 6


async def test_more_than_a_batch_goes_in_batches_with_progress(service: Service) -> None:
    await service.database.rows(  # at once, before the service's own purge
        "INSERT INTO quota (key, started_at, ends_at, used, allowed) "
        "WITH RECURSIVE turns(turn) AS "
        "(SELECT 1 UNION ALL SELECT turn + 1 FROM turns WHERE turn < 1203) "
        "SELECT 'account-hour:' || turn, 0, 0, 1, 1 FROM turns"
    )
    seen: list[tuple[str, int]] = []
    forgotten = await retention(service).purge(lambda what, count: seen.append((what, count)))
    assert forgotten == Forgotten(0, 0, 0, 0, 0, 1203, 0)
    assert seen == [("quotas", 500), ("quotas", 1000), ("quotas", 1203)]
