"""The two gRPC services: parse, call, build. No SQL, no rules."""

from __future__ import annotations

from typing import Any, cast

from google.protobuf.timestamp_pb2 import Timestamp
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2
from govifi.challenge.v1 import challenge_admin_pb2_grpc as admin_grpc
from govifi.challenge.v1 import challenge_pb2, challenge_pb2_grpc
from grpc.aio import ServicerContext

from service.api import error_table, requests
from service.api.credentials import Caller, Gate, Metadata, TokenVerifier
from service.challenges.rules import is_code, needs_challenge
from service.challenges.sessions import Sessions
from service.challenges.verifying import Verifier
from service.delivery.sending import Sender
from service.errors import CaptchaUnsupported, InvalidRequest, SessionNotFound
from service.storage.rows import Attempt, SessionRow
from service.storage.store import Store
from service.telemetry import logs

Context = ServicerContext[Any, Any]
_TYPES = dict(challenge_pb2.Challenge.Type.items())
_OUTCOMES = {
    admin_pb2.CloseSessionRequest.OUTCOME_COMPLETED: "completed",
    admin_pb2.CloseSessionRequest.OUTCOME_EXPIRED: "expired",
}


class PublicServicer(challenge_pb2_grpc.ChallengeServiceServicer):
    """What browsers call."""

    def __init__(self, gate: Gate, sender: Sender) -> None:
        self._gate = gate
        self._sender = sender

    async def Send(
        self, request: challenge_pb2.SendRequest, context: Context
    ) -> challenge_pb2.Challenge:
        session_id = requests.session_id(request.session_id)
        row = await self._gate.admit(session_id, _metadata(context))
        row = await self._sender.send(row)
        if not needs_challenge(row):
            await context.send_initial_metadata(((error_table.REST_BODY, "null"),))
        return _challenge(row)


class AdminServicer(admin_grpc.ChallengeAdminServiceServicer):
    """What internal services call."""

    def __init__(
        self, tokens: TokenVerifier, store: Store, sessions: Sessions, verifier: Verifier
    ) -> None:
        self._tokens = tokens
        self._store = store
        self._sessions = sessions
        self._verifier = verifier

    async def OpenSession(
        self, request: admin_pb2.OpenSessionRequest, context: Context
    ) -> admin_pb2.OpenSessionResponse:
        caller = await self._caller(context)
        new = requests.new_session(request)
        if caller.account_uid not in (None, new.account_uid):
            raise InvalidRequest("account_uid", "is not the account of your token")
        row = await self._sessions.open(new)
        return admin_pb2.OpenSessionResponse(expire_time=_timestamp(row.expires_at))

    async def IssueChallenge(
        self, request: admin_pb2.IssueChallengeRequest, context: Context
    ) -> admin_pb2.IssueChallengeResponse:
        row = await self._session(request.session_id, context)
        payment = requests.payment(request)
        match request.WhichOneof("method"):
            case "hcaptcha" | "turnstile" as kind:
                if payment is not None:
                    raise InvalidRequest("payment", "binds codes only: issue sms or email")
                site_key = requests.site_key(getattr(request, kind), kind)
                row = await self._sessions.issue_captcha(row, kind, site_key)
            case "sms":
                row = await self._sessions.issue_code(row, "sms", request.sms.phone_number, payment)
            case "email":
                row = await self._sessions.issue_code(row, "email", request.email.address, payment)
            case _:
                raise InvalidRequest("method", "must be hcaptcha, turnstile, sms or email")
        return admin_pb2.IssueChallengeResponse(challenge=_challenge(row))

    async def GetChallenge(
        self, request: admin_pb2.GetChallengeRequest, context: Context
    ) -> admin_pb2.GetChallengeResponse:
        row = await self._session(request.session_id, context)
        return admin_pb2.GetChallengeResponse(
            challenge=_challenge(row) if needs_challenge(row) else None
        )

    async def VerifyChallenge(
        self, request: admin_pb2.VerifyChallengeRequest, context: Context
    ) -> admin_pb2.VerifyChallengeResponse:
        row = await self._session(request.session_id, context)
        payment = requests.payment(request)
        match request.WhichOneof("response"):
            case "code":
                at = await self._verifier.verify(row, requests.answer(request.code), payment)
            case "token":
                raise CaptchaUnsupported
            case _:
                raise InvalidRequest("response", "must be a code or a token")
        return admin_pb2.VerifyChallengeResponse(satisfy_time=_timestamp(at))

    async def WaiveChallenge(
        self, request: admin_pb2.WaiveChallengeRequest, context: Context
    ) -> admin_pb2.WaiveChallengeResponse:
        row = await self._session(request.session_id, context)
        await self._sessions.waive(row)
        return admin_pb2.WaiveChallengeResponse()

    async def CloseSession(
        self, request: admin_pb2.CloseSessionRequest, context: Context
    ) -> admin_pb2.CloseSessionResponse:
        row = await self._session(request.session_id, context)
        if request.outcome not in _OUTCOMES:
            raise InvalidRequest("outcome", "must be OUTCOME_COMPLETED or OUTCOME_EXPIRED")
        await self._sessions.close(row, _OUTCOMES[request.outcome])
        return admin_pb2.CloseSessionResponse()

    async def ListAttempts(
        self, request: admin_pb2.ListAttemptsRequest, context: Context
    ) -> admin_pb2.ListAttemptsResponse:
        row = await self._session(request.session_id, context)
        after, size = requests.page(request)
        attempts = await self._store.attempts(row, after, size + 1)
        more = len(attempts) > size
        return admin_pb2.ListAttemptsResponse(
            attempts=[_attempt(attempt) for attempt in attempts[:size]],
            next_page_token=requests.page_token(attempts[size - 1].fence) if more else "",
        )

    async def _caller(self, context: Context) -> Caller:
        caller = await self._tokens.verify(_metadata(context))
        logs.bind(caller=caller.subject[:128])
        return caller

    async def _session(self, session_id: str, context: Context) -> SessionRow:
        """Reads a session that the caller's token reaches."""
        caller = await self._caller(context)
        row = await self._store.read(requests.session_id(session_id))
        if row is None or caller.account_uid not in (None, row.account_uid):
            raise SessionNotFound
        return row


def _challenge(row: SessionRow) -> challenge_pb2.Challenge:
    if not needs_challenge(row):
        return challenge_pb2.Challenge()
    kind = _TYPES[str(row.challenge_type)]
    if is_code(row):
        return challenge_pb2.Challenge(
            type=kind, delivery_hint=row.delivery_hint, code_sent=bool(row.code_sent)
        )
    return challenge_pb2.Challenge(type=kind, site_key=row.site_key)


def _attempt(attempt: Attempt) -> admin_pb2.Attempt:
    return admin_pb2.Attempt(
        challenge_id=attempt.challenge_id,
        dispatch_try=attempt.dispatch_try,
        channel=attempt.channel,
        provider_message_id=attempt.provider_message_id or "",
        outcome=admin_pb2.Attempt.Outcome.Value(f"OUTCOME_{attempt.outcome.upper()}"),
        reason=attempt.reason or "",
        start_time=_timestamp(attempt.started_at),
        end_time=_timestamp(attempt.ended_at),
    )


def _timestamp(ms: int) -> Timestamp:
    return Timestamp(seconds=ms // 1000, nanos=ms % 1000 * 1_000_000)


def _metadata(context: Context) -> Metadata:
    return cast(Metadata, context.invocation_metadata() or ())
