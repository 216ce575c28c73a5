"""What a Send learns of a delivery, whatever happens to it."""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

from service.delivery.dispatch import Dispatcher, Progress
from service.delivery.settling import Settling
from service.storage.rows import SessionRow

_ROW = SessionRow(*[None] * len(SessionRow._fields))._replace(  # type: ignore[arg-type]
    session_id="cs_1", challenge_id="c1", challenge_type="sms", tries=1, unknowns=2,
    now=0, claimed_at=0,
)  # fmt: skip


class Buggy:
    """Settling as a bug leaves it."""

    async def settle(self, *_: object) -> int | None:
        raise ZeroDivisionError


async def test_a_bug_ends_the_wait_for_a_delivery() -> None:
    nothing = cast(Any, None)
    settling = cast(Settling, Buggy())
    dispatcher = Dispatcher(nothing, nothing, {}, settling, 0, lease_ms=10_000)
    dispatcher.start()
    delivery = dispatcher.deliver(_ROW, time.monotonic())
    await dispatcher.stop(60)
    progress = asyncio.ensure_future(delivery.progress())
    await asyncio.sleep(0)
    assert progress.done()
    assert progress.result() is Progress.PENDING
