"""The internal API: each method reads the request, has it done, and answers."""

from __future__ import annotations

from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2
from govifi.challenge.v1 import challenge_admin_pb2_grpc as admin_grpc

from service.api import challenge_requests, fields, session_requests
from service.api.bad_fields import BadFields
from service.api.credentials import InternalAccess
from service.api.metadata import Context, metadata_of
from service.api.replies import attempt_of, open_challenge, timestamp
from service.challenges.erasing import Eraser
from service.challenges.fallbacks import Fallbacks
from service.challenges.issuing import Issuing
from service.challenges.numbers import NumberRules
from service.challenges.sessions import Sessions
from service.challenges.verifying import Verifier, VerifyOutcome
from service.evidence.exporting import Exporter
from service.storage.dispatches import Dispatches

_OUTCOMES = {
    VerifyOutcome.SATISFIED: admin_pb2.VerifyChallengeResponse.OUTCOME_SATISFIED,
    VerifyOutcome.ALREADY_SATISFIED: admin_pb2.VerifyChallengeResponse.OUTCOME_ALREADY_SATISFIED,
    VerifyOutcome.NOT_REQUIRED: admin_pb2.VerifyChallengeResponse.OUTCOME_NOT_REQUIRED,
}
_ENDS = {
    admin_pb2.CloseSessionRequest.OUTCOME_COMPLETED: "completed",
    admin_pb2.CloseSessionRequest.OUTCOME_EXPIRED: "expired",
}


class AdminServicer(admin_grpc.ChallengeAdminServiceServicer):
    """The rpcs that internal services call."""

    def __init__(
        self,
        access: InternalAccess,
        dispatches: Dispatches,
        sessions: Sessions,
        issuing: Issuing,
        fallbacks: Fallbacks,
        verifier: Verifier,
        numbers: NumberRules,
        exporter: Exporter,
        eraser: Eraser,
    ) -> None:
        self._access = access
        self._dispatches = dispatches
        self._sessions = sessions
        self._issuing = issuing
        self._fallbacks = fallbacks
        self._verifier = verifier
        self._numbers = numbers
        self._exporter = exporter
        self._eraser = eraser

    async def OpenSession(
        self, request: admin_pb2.OpenSessionRequest, context: Context
    ) -> admin_pb2.OpenSessionResponse:
        caller = await self._access.caller(metadata_of(context))
        bad = BadFields.of(request)
        new = bad.read(session_requests.new_session, request)
        own = caller.account_uid in (None, request.account_uid)
        bad.require(own, "account_uid", "is not the account of your token")
        bad.refuse()
        row = await self._sessions.open(new)
        return admin_pb2.OpenSessionResponse(expire_time=timestamp(row.expires_at))

    async def UpdateSession(
        self, request: admin_pb2.UpdateSessionRequest, context: Context
    ) -> admin_pb2.UpdateSessionResponse:
        request = session_requests.only_masked(request)
        bad = BadFields.of(request)
        changes = bad.read(session_requests.changes, request)
        row = await self._access.admit(request.session_id, metadata_of(context), bad)
        ends = await self._sessions.update(row, changes)
        return admin_pb2.UpdateSessionResponse(expire_time=timestamp(ends))

    async def IssueChallenge(
        self, request: admin_pb2.IssueChallengeRequest, context: Context
    ) -> admin_pb2.IssueChallengeResponse:
        bad = BadFields.of(request)
        method = bad.read(challenge_requests.method, request, self._numbers)
        payment = bad.read(challenge_requests.payment, request)
        fallback = bad.read(challenge_requests.fallback, request, self._numbers)
        row = await self._access.admit(request.session_id, metadata_of(context), bad)
        row = await self._issuing.issue(row, method, payment, fallback, request.request_id)
        return admin_pb2.IssueChallengeResponse(challenge=open_challenge(row))

    async def UseFallback(
        self, request: admin_pb2.UseFallbackRequest, context: Context
    ) -> admin_pb2.UseFallbackResponse:
        bad = BadFields.of(request)
        row = await self._access.admit(request.session_id, metadata_of(context), bad)
        row = await self._fallbacks.use(row, request.request_id)
        return admin_pb2.UseFallbackResponse(challenge=open_challenge(row))

    async def GetChallenge(
        self, request: admin_pb2.GetChallengeRequest, context: Context
    ) -> admin_pb2.GetChallengeResponse:
        row = await self._access.admit(
            request.session_id, metadata_of(context), BadFields.of(request)
        )
        row = await self._fallbacks.replace_dead_end(row)
        return admin_pb2.GetChallengeResponse(challenge=open_challenge(row))

    async def VerifyChallenge(
        self, request: admin_pb2.VerifyChallengeRequest, context: Context
    ) -> admin_pb2.VerifyChallengeResponse:
        bad = BadFields.of(request)
        verify_request = bad.read(challenge_requests.verify_request, request)
        row = await self._access.admit(request.session_id, metadata_of(context), bad)
        verified = await self._verifier.verify(row, verify_request)
        at = verified.satisfied_at
        return admin_pb2.VerifyChallengeResponse(
            outcome=_OUTCOMES[verified.outcome],
            satisfy_time=None if at is None else timestamp(at),
        )

    async def WaiveChallenge(
        self, request: admin_pb2.WaiveChallengeRequest, context: Context
    ) -> admin_pb2.WaiveChallengeResponse:
        caller = await self._access.caller(metadata_of(context))
        bad = BadFields.of(request)
        payment = bad.read(challenge_requests.payment, request)
        row = await self._access.session(request.session_id, caller, bad)
        proof = challenge_requests.proof(request)
        await self._sessions.waive(row, payment, proof, caller.subject)
        return admin_pb2.WaiveChallengeResponse()

    async def CloseSession(
        self, request: admin_pb2.CloseSessionRequest, context: Context
    ) -> admin_pb2.CloseSessionResponse:
        bad = BadFields.of(request)
        row = await self._access.admit(request.session_id, metadata_of(context), bad)
        await self._sessions.close(row, _ENDS[request.outcome])
        return admin_pb2.CloseSessionResponse()

    async def ListAttempts(
        self, request: admin_pb2.ListAttemptsRequest, context: Context
    ) -> admin_pb2.ListAttemptsResponse:
        bad = BadFields.of(request)
        row = await self._access.admit(request.session_id, metadata_of(context), bad)
        after, size = fields.page(request)
        attempts = await self._dispatches.attempts(row, after, size + 1)
        more = len(attempts) > size
        return admin_pb2.ListAttemptsResponse(
            attempts=[attempt_of(attempt) for attempt in attempts[:size]],
            next_page_token=fields.page_token(attempts[size - 1].fence) if more else "",
        )

    async def ExportEvidence(
        self, request: admin_pb2.ExportEvidenceRequest, context: Context
    ) -> admin_pb2.ExportEvidenceResponse:
        caller = await self._access.caller(metadata_of(context))
        BadFields.of(request).refuse()
        document = await self._exporter.export(request.session_id, caller.account_uid)
        return admin_pb2.ExportEvidenceResponse(document=document)

    async def EraseDestination(
        self, request: admin_pb2.EraseDestinationRequest, context: Context
    ) -> admin_pb2.EraseDestinationResponse:
        caller = await self._access.caller(metadata_of(context))
        BadFields.of(request).refuse()
        method = challenge_requests.destination(request)
        erased = await self._eraser.erase(method, caller.account_uid)
        return admin_pb2.EraseDestinationResponse(sessions=erased.sessions, events=erased.events)
