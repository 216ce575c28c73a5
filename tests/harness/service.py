"""The service as its callers meet it: a running grpc.aio server and the generated stubs."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import grpc
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2
from govifi.challenge.v1 import challenge_admin_pb2_grpc as admin_grpc
from govifi.challenge.v1 import challenge_pb2, challenge_pb2_grpc

from service.api.jwks import KeySet
from service.app import App
from service.captchas.by_type import Captchas
from service.serving.server import Server
from service.settings import Settings
from service.storage.database import Database
from service.storage.opening import open_database
from tests.harness.clock import Clock
from tests.harness.providers import Provider
from tests.harness.timing import eventually
from tests.harness.tokens import Issuer


class AsTranscoder(grpc.aio.UnaryUnaryClientInterceptor):
    """Says what Envoy says of a REST request, so that errors tell what REST is told, too."""

    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        metadata = grpc.aio.Metadata(*(details.metadata or ()), ("x-envoy-original-path", "/"))
        return await continuation(details._replace(metadata=metadata), request)


class Session(NamedTuple):
    """An open session and its credential."""

    session_id: str
    secret: str


class Service:
    """A running service with its stubs, its provider and its clock."""

    def __init__(
        self,
        server: Server,
        app: App,
        database: Database,
        provider: Provider,
        clock: Clock,
        issuer: Issuer,
    ) -> None:
        self.app = app
        self.database = database
        self.server = server
        self.provider = provider
        self.clock = clock
        self.issuer = issuer
        self.target = f"127.0.0.1:{server.port}"
        self.channel = grpc.aio.insecure_channel(self.target, interceptors=(AsTranscoder(),))
        self.public = challenge_pb2_grpc.ChallengeServiceStub(self.channel)
        self.stub = admin_grpc.ChallengeAdminServiceStub(self.channel)

    async def admin(self, rpc: str, request: Any, token: str | None = None) -> Any:
        """Calls an internal rpc."""
        bearer = f"Bearer {token or self.issuer.token()}"
        return await getattr(self.stub, rpc)(request, metadata=(("authorization", bearer),))

    async def open(self, **fields: Any) -> Session:
        """Registers a session."""
        session_id = f"cs_{secrets.token_hex(12)}"
        session = Session(session_id, f"{session_id}_secret_{secrets.token_urlsafe(24)}")
        await self.reopen(session, **fields)
        return session

    async def reopen(self, session: Session, **fields: Any) -> None:
        """Registers a session once more."""
        values = {
            "session_id": session.session_id, "account_uid": "acct_1",
            "client_secret_sha256": hashlib.sha256(session.secret.encode()).digest(),
            "merchant_display_name": "Acme",
        }  # fmt: skip
        await self.admin("OpenSession", admin_pb2.OpenSessionRequest(**{**values, **fields}))

    async def issue(self, session: Session, **method: Any) -> challenge_pb2.Challenge:
        """Issues a challenge, an SMS to +14155550123 unless told otherwise."""
        chosen = method or {"sms": admin_pb2.Sms(phone_number="+14155550123")}
        request = admin_pb2.IssueChallengeRequest(session_id=session.session_id, **chosen)
        answer = await self.admin("IssueChallenge", request)
        return answer.challenge

    async def challenged(self, phone: str = "+14155550123", **fields: Any) -> Session:
        """Opens a session with an SMS challenge."""
        session = await self.open(**fields)
        await self.issue(session, sms=admin_pb2.Sms(phone_number=phone))
        return session

    async def send(
        self,
        session: Session,
        secret: str | None = None,
        deadline: float | None = None,
        **metadata: str,
    ) -> challenge_pb2.Challenge:
        """Calls Send as the session's own page would."""
        headers = {"authorization": f"Bearer {secret or session.secret}", **metadata}
        return await self.public.Send(
            challenge_pb2.SendRequest(session_id=session.session_id),
            metadata=tuple(headers.items()),
            timeout=deadline,
        )

    async def verify(self, session: Session, code: str, **fields: Any) -> Any:
        """Verifies a code."""
        request = admin_pb2.VerifyChallengeRequest(
            session_id=session.session_id, code=code, **fields
        )
        return await self.admin("VerifyChallenge", request)

    async def get(self, session: Session) -> challenge_pb2.Challenge | None:
        """Gets the challenge as whoever renders the session would."""
        request = admin_pb2.GetChallengeRequest(session_id=session.session_id)
        answer = await self.admin("GetChallenge", request)
        return answer.challenge if answer.HasField("challenge") else None

    async def waive(self, session: Session, **fields: Any) -> None:
        """Lifts the challenge."""
        request = admin_pb2.WaiveChallengeRequest(session_id=session.session_id, **fields)
        await self.admin("WaiveChallenge", request)

    async def update(self, session: Session, *mask: str, **values: Any) -> Any:
        """Changes the fields that are given, or that `mask` names."""
        request = admin_pb2.UpdateSessionRequest(session_id=session.session_id, **values)
        request.update_mask.paths.extend(mask or values)
        return await self.admin("UpdateSession", request)

    async def use_fallback(self, session: Session, request_id: str = "") -> challenge_pb2.Challenge:
        """Switches to the fallback."""
        request = admin_pb2.UseFallbackRequest(session_id=session.session_id, request_id=request_id)
        return (await self.admin("UseFallback", request)).challenge

    async def close(self, session: Session, outcome: str) -> None:
        """Ends the session, `COMPLETED` or `EXPIRED`."""
        ended = admin_pb2.CloseSessionRequest.Outcome.Value(f"OUTCOME_{outcome}")
        request = admin_pb2.CloseSessionRequest(session_id=session.session_id, outcome=ended)
        await self.admin("CloseSession", request)

    async def settled(self) -> bool:
        """Tells whether how every delivery ended has been written down; for `eventually`.

        A Send answers as soon as the provider has, which is a moment before.
        """
        under_way = "SELECT count(*) FROM hosted_session WHERE dispatch_state = 'sending'"
        row = await self.database.row(under_way)
        return row is not None and row[0] == 0

    async def later(self, seconds: float) -> None:
        """Moves the clock on, once everything is settled."""
        await eventually(self.settled)
        await self.clock.advance(seconds)

    async def column(self, session: Session, name: str) -> Any:
        """Reads a column of the session's row."""
        row = await self.database.row(
            f"SELECT {name} FROM hosted_session WHERE session_id = $1", session.session_id
        )
        assert row is not None
        return row[0]


@asynccontextmanager
async def running(
    settings: Settings, provider: Provider, clock: Any, issuer: Issuer, **more: Any
) -> AsyncIterator[Service]:
    """Runs a service on a port that the system chooses."""
    keys = KeySet(settings.jwks)
    await keys.load()
    database = await open_database(settings, clock.now_ms)
    by_type = more.get("by_type") or {"sms": [provider], "email": [provider]}
    app = App(settings, database, keys, by_type, Captchas.connect(settings))
    server = Server(app, settings)
    await server.start()
    service = Service(server, app, database, provider, clock, issuer)
    try:
        yield service
    finally:
        await service.channel.close()
        await server.stop()
