"""The peer: Send as it is usually written, with FastAPI, SQLModel and asyncpg.

Nothing slows it down on purpose: uvloop and httptools, no access log, no request ids, fewer columns
than ours, one compare-and-set in place of a lock. Without a provider, a delivery is written down
after the answer; with PEER_CHANNEL, a DSN, it goes out by the service's own channel and client.
"""

import hashlib
import os
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import uvicorn
from fastapi import BackgroundTasks, Depends, FastAPI, Header, HTTPException, Path, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel
from sqlalchemy import case, func, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlmodel.ext.asyncio.session import AsyncSession

from benchmarks.servers.peer_models import (
    Dispatch,
    DispatchAttempt,
    PaymentSession,
    PeerModel,
    SendQuota,
)
from service import channels

_WINDOW = timedelta(seconds=30)
_POOL_SIZE = 10
_QUOTAS = (("hour", timedelta(hours=1), 5), ("day", timedelta(days=1), 10))
_SENDS, _WRONG_ANSWERS = 5, 5
_QUOTA = SendQuota.__table__
_ADD = insert(_QUOTA)
_OVER = _QUOTA.c.ends_at <= func.now()
# Built once, and sent for all rows at once: a multi-row VALUES would be compiled at every call.
_SPEND = _ADD.on_conflict_do_update(
    index_elements=["key"],
    set_={
        "used": case((_OVER, 1), else_=_QUOTA.c.used + 1),
        "ends_at": case((_OVER, _ADD.excluded.ends_at), else_=_QUOTA.c.ends_at),
    },
).returning(_QUOTA.c.key, _QUOTA.c.used)


class Challenge(BaseModel):
    """The answer."""

    type: str = "sms"
    delivery_hint: str
    code_sent: bool


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    url = os.environ["PEER_DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://", 1)
    engine = create_async_engine(url, pool_size=_POOL_SIZE)
    async with engine.begin() as connection:
        await connection.run_sync(PeerModel.metadata.create_all)
    app.state.sessions = async_sessionmaker(engine, class_=AsyncSession, expire_on_commit=False)
    app.state.channels = channels.Channels().connect("sms", os.environ.get("PEER_CHANNEL", ""))
    print(app.state.port, flush=True)
    yield
    await engine.dispose()


app = FastAPI(lifespan=_lifespan)


async def _database(request: Request) -> AsyncIterator[AsyncSession]:
    async with request.app.state.sessions() as database:
        yield database


@app.post("/v1/hosted-sessions/{session_id}/challenge/send")
async def send(
    request: Request,
    session_id: Annotated[str, Path(pattern="^cs_[A-Za-z0-9]+$")],
    bearer: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())],
    database: Annotated[AsyncSession, Depends(_database)],
    background: BackgroundTasks,
    origin: Annotated[str | None, Header()] = None,
) -> Challenge:
    """Sends the code, once per window."""
    session = await database.get(PaymentSession, session_id)
    presented = hashlib.sha256(bearer.credentials.encode()).hexdigest()
    if session is None or not secrets.compare_digest(presented, session.secret_sha256):
        raise HTTPException(404)
    if origin is not None and origin not in session.allowed_origins.split():
        raise HTTPException(403)
    now = datetime.now(UTC)
    if session.expires_at <= now:
        raise HTTPException(410)
    if session.wrong_answers >= _WRONG_ANSWERS:
        raise HTTPException(403)
    answer = Challenge(delivery_hint=session.delivery_hint, code_sent=session.code_sent)
    if session.window_ends_at is not None and now < session.window_ends_at:
        return answer
    if session.sends >= _SENDS:
        raise HTTPException(429)
    await _spend(database, session.destination, now)
    code = f"{secrets.randbelow(10**6):06}"
    claimed = await database.exec(
        update(PaymentSession)
        .where(PaymentSession.id == session_id, PaymentSession.version == session.version)
        .values(
            sends=session.sends + 1, version=session.version + 1,
            code=code, window_ends_at=now + _WINDOW,
        )
        .execution_options(synchronize_session=False)
    )  # fmt: skip
    if claimed.rowcount == 0:  # someone else's Send was first, and sends
        await database.rollback()
        return answer
    dispatch = Dispatch(session_id=session_id)
    database.add(dispatch)
    await database.commit()
    message = channels.Message(str(dispatch.id), session.destination, f"Your code is {code}.")
    if not request.app.state.channels:
        background.add_task(_deliver, request.app.state, session_id, message)
        return answer
    # Before the answer, as the service does: else deliveries pile up, and the pool gives out.
    await _deliver(request.app.state, session_id, message)
    return answer.model_copy(update={"code_sent": True})


async def _spend(database: AsyncSession, destination: str, now: datetime) -> None:
    rows = [
        {"key": f"{period}:{destination}", "ends_at": now + length, "used": 1}
        for period, length, _ in _QUOTAS
    ]
    used = await database.execute(_SPEND, rows)
    allowed = {row["key"]: limit for row, (_, _, limit) in zip(rows, _QUOTAS, strict=True)}
    if any(row.used > allowed[row.key] for row in used):
        await database.rollback()
        raise HTTPException(429)


async def _deliver(state: Any, session_id: str, message: channels.Message) -> None:
    """Calls the provider, and writes it down."""
    dispatch_id = int(message.id)
    for channel in state.channels:
        result = await channel.deliver(message)
        assert result.outcome is channels.Outcome.ACCEPTED
    async with state.sessions() as database:
        database.add(DispatchAttempt(dispatch_id=dispatch_id, outcome="accepted"))
        await database.exec(update(Dispatch).where(Dispatch.id == dispatch_id).values(state="sent"))
        await database.exec(
            update(PaymentSession).where(PaymentSession.id == session_id).values(code_sent=True)
        )
        await database.commit()


def _serve() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    app.state.port = listener.getsockname()[1]
    config = uvicorn.Config(
        app, loop="uvloop", http="httptools", access_log=False, log_level="warning"
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    _serve()
