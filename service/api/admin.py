"""The internal API: each method reads the request, has it done, and answers."""

from __future__ import annotations

from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2
from govifi.challenge.v1 import challenge_admin_pb2_grpc as admin_grpc

from service.api import requests
from service.api.answers import attempt_of, challenge, timestamp
from service.api.bad_fields import BadFields
from service.api.credentials import Context, InternalGate, metadata_of
from service.challenges.numbers import NumberRules
from service.challenges.rules import needs_challenge
from service.challenges.sessions import Sessions
from service.challenges.verifying import Verifier
from service.errors import CaptchaUnsupported
from service.storage.store import Store

_OUTCOMES = {
    admin_pb2.CloseSessionRequest.OUTCOME_COMPLETED: "completed",
    admin_pb2.CloseSessionRequest.OUTCOME_EXPIRED: "expired",
}


class AdminServicer(admin_grpc.ChallengeAdminServiceServicer):
    """The rpcs that internal services call."""

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
        bad = BadFields()
        new = bad.read(requests.new_session, request)
        own = caller.account_uid in (None, request.account_uid)
        bad.require(own, "account_uid", "is not the account of your token")
        bad.refuse()
        row = await self._sessions.open(new)
        return admin_pb2.OpenSessionResponse(expire_time=timestamp(row.expires_at))

    async def IssueChallenge(
        self, request: admin_pb2.IssueChallengeRequest, context: Context
    ) -> admin_pb2.IssueChallengeResponse:
        bad = BadFields()
        method = bad.read(requests.method, request, self._numbers)
        payment = bad.read(requests.payment, request)
        row = await self._gate.admit(request.session_id, metadata_of(context), bad)
        if method.kind in requests.CAPTCHAS:
            row = await self._sessions.issue_captcha(row, method.kind, method.value)
        else:
            row = await self._sessions.issue_code(row, method.kind, method.value, payment)
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
        bad = BadFields()
        code = bad.read(requests.answer, request)
        payment = bad.read(requests.payment, request)
        row = await self._gate.admit(request.session_id, metadata_of(context), bad)
        if code is None:
            raise CaptchaUnsupported
        at = await self._verifier.verify(row, code, payment)
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
        bad = BadFields()
        known = request.outcome in _OUTCOMES
        bad.require(known, "outcome", "must be OUTCOME_COMPLETED or OUTCOME_EXPIRED")
        row = await self._gate.admit(request.session_id, metadata_of(context), bad)
        await self._sessions.close(row, _OUTCOMES[request.outcome])
        return admin_pb2.CloseSessionResponse()

    async def ListAttempts(
        self, request: admin_pb2.ListAttemptsRequest, context: Context
    ) -> admin_pb2.ListAttemptsResponse:
        bad = BadFields()
        page = bad.read(requests.page, request)
        row = await self._gate.admit(request.session_id, metadata_of(context), bad)
        after, size = page
        attempts = await self._store.attempts(row, after, size + 1)
        more = len(attempts) > size
        return admin_pb2.ListAttemptsResponse(
            attempts=[attempt_of(attempt) for attempt in attempts[:size]],
            next_page_token=requests.page_token(attempts[size - 1].fence) if more else "",
        )
