"""What internal services call: read the request, call, answer."""

from __future__ import annotations

from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2
from govifi.challenge.v1 import challenge_admin_pb2_grpc as admin_grpc

from service.api import requests
from service.api.answers import attempt_of, challenge, timestamp
from service.api.credentials import Context, InternalGate, metadata_of
from service.challenges.destinations import normal_address, normal_phone
from service.challenges.numbers import NumberRules
from service.challenges.rules import needs_challenge
from service.challenges.sessions import Sessions
from service.challenges.verifying import Verifier
from service.errors import CaptchaUnsupported, InvalidRequest
from service.storage.store import Store

_OUTCOMES = {
    admin_pb2.CloseSessionRequest.OUTCOME_COMPLETED: "completed",
    admin_pb2.CloseSessionRequest.OUTCOME_EXPIRED: "expired",
}


class AdminServicer(admin_grpc.ChallengeAdminServiceServicer):
    """What internal services call."""

    def __init__(
        self,
        gate: InternalGate,
        store: Store,
        sessions: Sessions,
        verifier: Verifier,
        numbers: NumberRules,
    ) -> None:
        self._gate = gate
        self._store = store
        self._sessions = sessions
        self._verifier = verifier
        self._numbers = numbers

    async def OpenSession(
        self, request: admin_pb2.OpenSessionRequest, context: Context
    ) -> admin_pb2.OpenSessionResponse:
        caller = await self._gate.caller(metadata_of(context))
        new = requests.new_session(request)
        if caller.account_uid not in (None, new.account_uid):
            raise InvalidRequest("account_uid", "is not the account of your token")
        row = await self._sessions.open(new)
        return admin_pb2.OpenSessionResponse(expire_time=timestamp(row.expires_at))

    async def IssueChallenge(
        self, request: admin_pb2.IssueChallengeRequest, context: Context
    ) -> admin_pb2.IssueChallengeResponse:
        row = await self._gate.admit(request.session_id, metadata_of(context))
        payment = requests.payment(request)
        match request.WhichOneof("method"):
            case "hcaptcha" | "turnstile" as kind:
                if payment is not None:
                    raise InvalidRequest("payment", "binds codes only: issue sms or email")
                site_key = requests.site_key(getattr(request, kind), kind)
                row = await self._sessions.issue_captcha(row, kind, site_key)
            case "sms":
                number = normal_phone(request.sms.phone_number, self._numbers)
                row = await self._sessions.issue_code(row, "sms", number, payment)
            case "email":
                address = normal_address(request.email.address)
                row = await self._sessions.issue_code(row, "email", address, payment)
            case _:
                raise InvalidRequest("method", "must be hcaptcha, turnstile, sms or email")
        return admin_pb2.IssueChallengeResponse(challenge=challenge(row))

    async def GetChallenge(
        self, request: admin_pb2.GetChallengeRequest, context: Context
    ) -> admin_pb2.GetChallengeResponse:
        row = await self._gate.admit(request.session_id, metadata_of(context))
        return admin_pb2.GetChallengeResponse(
            challenge=challenge(row) if needs_challenge(row) else None
        )

    async def VerifyChallenge(
        self, request: admin_pb2.VerifyChallengeRequest, context: Context
    ) -> admin_pb2.VerifyChallengeResponse:
        row = await self._gate.admit(request.session_id, metadata_of(context))
        payment = requests.payment(request)
        match request.WhichOneof("response"):
            case "code":
                at = await self._verifier.verify(row, requests.answer(request.code), payment)
            case "token":
                raise CaptchaUnsupported
            case _:
                raise InvalidRequest("response", "must be a code or a token")
        return admin_pb2.VerifyChallengeResponse(satisfy_time=timestamp(at))

    async def WaiveChallenge(
        self, request: admin_pb2.WaiveChallengeRequest, context: Context
    ) -> admin_pb2.WaiveChallengeResponse:
        row = await self._gate.admit(request.session_id, metadata_of(context))
        await self._sessions.waive(row)
        return admin_pb2.WaiveChallengeResponse()

    async def CloseSession(
        self, request: admin_pb2.CloseSessionRequest, context: Context
    ) -> admin_pb2.CloseSessionResponse:
        row = await self._gate.admit(request.session_id, metadata_of(context))
        if request.outcome not in _OUTCOMES:
            raise InvalidRequest("outcome", "must be OUTCOME_COMPLETED or OUTCOME_EXPIRED")
        await self._sessions.close(row, _OUTCOMES[request.outcome])
        return admin_pb2.CloseSessionResponse()

    async def ListAttempts(
        self, request: admin_pb2.ListAttemptsRequest, context: Context
    ) -> admin_pb2.ListAttemptsResponse:
        row = await self._gate.admit(request.session_id, metadata_of(context))
        after, size = requests.page(request)
        attempts = await self._store.attempts(row, after, size + 1)
        more = len(attempts) > size
        return admin_pb2.ListAttemptsResponse(
            attempts=[attempt_of(attempt) for attempt in attempts[:size]],
            next_page_token=requests.page_token(attempts[size - 1].fence) if more else "",
        )
