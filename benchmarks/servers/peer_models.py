"""The peer's tables: what its Send needs, and no more."""

from datetime import UTC, datetime

from sqlalchemy import DateTime
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel


def _now() -> datetime:
    return datetime.now(UTC)


class PeerModel(SQLModel, registry=registry()):
    """What the peer's tables are made of, apart from the service's."""


class PaymentSession(PeerModel, table=True):
    """A session with its challenge."""

    __tablename__ = "payment_session"

    id: str = Field(primary_key=True)
    secret_sha256: str
    allowed_origins: str
    expires_at: datetime = Field(sa_type=DateTime(timezone=True))
    destination: str
    delivery_hint: str
    wrong_answers: int = 0
    sends: int = 0
    code: str | None = None
    code_sent: bool = False
    window_ends_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    version: int = 0


class SendQuota(PeerModel, table=True):
    """Sends to one destination in one period."""

    __tablename__ = "send_quota"

    key: str = Field(primary_key=True)
    ends_at: datetime = Field(sa_type=DateTime(timezone=True))
    used: int


class Dispatch(PeerModel, table=True):
    """A code that is owed: written before the provider is called."""

    __tablename__ = "dispatch"

    id: int | None = Field(default=None, primary_key=True)
    session_id: str = Field(index=True)
    state: str = "queued"
    created_at: datetime = Field(default_factory=_now, sa_type=DateTime(timezone=True))


class DispatchAttempt(PeerModel, table=True):
    """One call of a provider."""

    __tablename__ = "dispatch_attempt"

    id: int | None = Field(default=None, primary_key=True)
    dispatch_id: int = Field(index=True)
    outcome: str
    ended_at: datetime = Field(default_factory=_now, sa_type=DateTime(timezone=True))
