"""Changes of several statements: all or nothing, and the same on every database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest

from service.settings import Settings
from service.storage.archive import Archive
from service.storage.database import AlreadyHandled, Database, QuotaSpent
from service.storage.dispatches import Dispatches
from service.storage.opening import open_database, wall_clock_ms
from service.storage.postgres import engines
from service.storage.rows import Event, NewChallenge, NewSession, Quota, RequestKey, Rpc, SessionRow
from service.storage.store import Store

HOUR_MS = 3_600_000
UNTOLD = Event("", "", "acct_1", 1, None, None, None, 0)
"""No event."""
REQUEST = RequestKey("r-1", "content")


@pytest.fixture
async def database(make_settings: Callable[..., Settings]) -> AsyncIterator[Database]:
    database = await open_database(make_settings(), wall_clock_ms)
    yield database
    await database.close()


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database)


async def challenged(store: Store, session_id: str, account: str = "acct_1") -> SessionRow:
    """Opens a session with a captcha, which may be answered at once."""
    new = NewSession(session_id, account, bytes(32), "payment", "", "en", "Acme", HOUR_MS)
    await store.open_session(new, "", Quota(f"sessions-hour:{account}", HOUR_MS, 1000), UNTOLD)
    challenge = NewChallenge(f"challenge of {session_id}", "turnstile", "site")
    assert await store.issue(session_id, challenge, most=20, request=RequestKey(), event=UNTOLD)
    row = await store.read(session_id)
    assert row is not None
    return row


async def answer(
    store: Store,
    seen: SessionRow,
    *,
    right: bool,
    request: RequestKey,
    token: int = 1,
    wrong: int = 20,
) -> bool:
    """Answers; whether it satisfied."""
    answered = await store.answer(
        seen,
        right=right,
        wrong_caps=(5, 10),
        quotas=(
            Quota("wrong-all-day:x", HOUR_MS, 100),
            Quota("wrong-day:acct_1:x", HOUR_MS, wrong),
            Quota("token:t", HOUR_MS, token),
        ),
        request=request,
        satisfied_ms=HOUR_MS,
        confirms_left=None,
        event=UNTOLD,
    )
    assert answered is not None
    return answered.satisfied_at is not None


async def claim(database: Database, seen: SessionRow, *quotas: Quota) -> SessionRow | None:
    """Claims a first send; five of its quotas are taken from, two looked at."""
    return await Dispatches(database).claim(
        seen, counter=1, code_expires_at=seen.now + HOUR_MS, lease_ms=10_000, window_ms=1,
        wrong_caps=(5, 10), counts_anew=True, page_origin=None, traceparent=None,
        quotas=quotas,
    )  # fmt: skip


async def used(database: Database) -> dict[str, int]:
    return {key: count for key, count in await database.rows("SELECT key, used FROM quota")}


async def test_a_repeat_is_known_as_one_though_its_token_is_spent(
    store: Store, database: Database
) -> None:
    row = await challenged(store, "cs_1")
    assert not await answer(store, row, right=False, request=REQUEST)
    before = await used(database)
    with pytest.raises(AlreadyHandled):
        await answer(store, row, right=False, request=REQUEST)
    with pytest.raises(QuotaSpent):
        await answer(store, row, right=False, request=RequestKey("r-2", "content"))
    after = await store.read("cs_1")
    assert after is not None
    assert after.wrong_total == 1
    assert await used(database) == before
    assert await store.handled("cs_1", Rpc.VERIFY, "r-2") is None


async def test_a_right_answer_clears_what_wrong_ones_took(store: Store, database: Database) -> None:
    row = await challenged(store, "cs_1")
    for number in range(3):
        assert not await answer(store, row, right=False, request=RequestKey(f"{number}"), token=0)
    assert (await used(database))["wrong-day:acct_1:x"] == 3
    assert await answer(store, row, right=True, request=REQUEST, token=0)
    kept = await used(database)
    assert (kept["wrong-day:acct_1:x"], kept["wrong-all-day:x"]) == (0, 0)


async def test_a_right_answer_is_none_where_wrong_ones_have_spent_a_quota(
    store: Store, database: Database
) -> None:
    row = await challenged(store, "cs_1")
    for number in range(2):
        await answer(store, row, right=False, request=RequestKey(f"{number}"), token=0, wrong=2)
    with pytest.raises(QuotaSpent):
        await answer(store, row, right=True, request=REQUEST, token=0, wrong=2)
    after = await store.read("cs_1")
    assert after is not None
    assert after.challenge_state == "pending"
    assert (await used(database))["wrong-day:acct_1:x"] == 2


async def test_many_changes_at_once_that_share_quotas_all_take_effect(
    store: Store, database: Database
) -> None:
    rows = [await challenged(store, f"cs_{number}", f"acct_{number % 3}") for number in range(24)]
    shared = ("all-hour:x", "all-day:x")

    async def one(row: SessionRow) -> SessionRow | None:
        keys = (f"hour:{row.account_uid}", *shared, f"day:{row.account_uid}", "z", "w-1", "w-2")
        return await claim(database, row, *(Quota(key, HOUR_MS, 1000) for key in keys))

    claimed = await asyncio.gather(*map(one, rows))
    assert all(claimed)
    counts = await used(database)
    assert [counts[key] for key in (*shared, "z")] == [24, 24, 24]
    assert "w-1" not in counts, "what is looked at is not taken"


async def test_a_claim_looks_at_quotas_that_it_does_not_take(
    store: Store, database: Database
) -> None:
    row = await challenged(store, "cs_1")
    full = Quota("wrong-day:acct_1:x", HOUR_MS, 1)
    await answer(store, row, right=False, request=REQUEST, token=0)
    before = await used(database)
    with pytest.raises(QuotaSpent):
        await claim(database, row, *(Quota(name, HOUR_MS, 9) for name in "abcdef"), full)
    assert await used(database) == before
    after = await store.read("cs_1")
    assert after is not None
    assert after.sends == 0


async def test_what_a_claim_took_can_be_handed_back(store: Store, database: Database) -> None:
    row = await challenged(store, "cs_1")
    quotas = tuple(Quota(f"{name}:x", HOUR_MS, 9) for name in "abcdefg")
    claimed = await claim(database, row, *quotas)
    assert claimed is not None
    assert claimed.now == claimed.claimed_at
    await Dispatches(database).hand_back(claimed, quotas[:5])
    assert {key: count for key, count in (await used(database)).items() if key[1] == ":"} == {
        f"{name}:x": 0 for name in "abcde"
    }


async def test_claims_and_a_purge_of_the_same_quotas_do_not_wait_for_each_other(
    store: Store, database: Database
) -> None:
    rows = [await challenged(store, f"cs_{number}") for number in range(12)]
    archive = Archive(database)
    over = [Quota(key, 1, 1000) for key in ("all-hour", "all-day", "hour", "day", "z", "w1", "w2")]

    async def claims(row: SessionRow) -> None:
        seen: SessionRow | None = row
        for _ in range(10):
            assert seen is not None
            seen = await claim(database, seen, *over)

    claiming = asyncio.gather(*map(claims, rows))
    purged = 0
    while not claiming.done():
        purged += await archive.purge_quotas(100)
    await claiming
    purged += await archive.purge_quotas(100)  # whoever claims may have held them all the time
    assert purged


async def test_a_purge_passes_over_a_quota_that_is_locked(postgres_url: str) -> None:
    database = await engines.connect(postgres_url, 2)
    claiming = await asyncpg.connect(postgres_url)
    add = "INSERT INTO quota (key, started_at, ends_at, used, allowed) VALUES ($1, 0, 1, 1, 9)"
    lock = "UPDATE quota SET used = used + 1 WHERE key = $1"
    try:
        for key in ("second", "first"):  # so that a purge would come to what it can have before
            await claiming.execute(add, key)
        async with claiming.transaction():
            await claiming.execute(lock, "first")
            async with asyncio.timeout(4):
                assert await Archive(database).purge_quotas(100) == 1
            await claiming.execute(lock, "second")
    finally:
        await claiming.close()
        await database.close()
