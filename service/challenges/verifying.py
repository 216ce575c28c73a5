"""Verify: the gate before every payment; the payer's response is judged, counted, accepted once."""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from typing import NamedTuple

from service.challenges.fallbacks import Fallbacks
from service.challenges.judging import ResponseJudge, ResponseJudgement
from service.challenges.methods import Response
from service.challenges.quotas import refusal
from service.challenges.repeats import Repeats
from service.challenges.rules import (
    WRONG_CAPS,
    Gate,
    answers_left,
    gate,
    is_code,
    ok_still_holds,
    require_open,
)
from service.errors import (
    Because,
    CaptchaExpired,
    CaptchaRefused,
    CaptchaUnavailable,
    ChallengeLocked,
    ChallengeRequired,
    WrongAnswer,
)
from service.evidence.events import Events, FallbackReason
from service.storage.database import AlreadyHandled, QuotaSpent
from service.storage.rows import Handled, Payment, RequestKey, SessionRow
from service.storage.store import Store


class VerifyOutcome(Enum):
    """Why a payment may go on."""

    SATISFIED = auto()
    ALREADY_SATISFIED = auto()
    NOT_REQUIRED = auto()


class Verified(NamedTuple):
    """A payment may go on.

    Attributes:
        outcome: Why.
        satisfied_at: When the challenge was satisfied, milliseconds since the Unix epoch; None
            where none is required.
    """

    outcome: VerifyOutcome
    satisfied_at: int | None = None


class VerifyRequest(NamedTuple):
    """A VerifyChallenge as its caller asks.

    Attributes:
        response: The payer's, if there is one.
        payment: The payment about to be made, if it is named.
        request_id: By which a repeat is known; empty for none.
        remote_ip: The payer's address, if it is known: for a captcha's provider, and evidence.
    """

    response: Response | None = None
    payment: Payment | None = None
    request_id: str = ""
    remote_ip: str = ""


class VerifySettings(NamedTuple):
    """The settings that VerifyChallenge goes by.

    Attributes:
        satisfied_ms: How long a satisfaction lasts.
        payments: How many it lets go on; 0 for any number.
    """

    satisfied_ms: int
    payments: int


_WINNER_SECONDS = (0.0, 0.05, 0.15, 0.3)
"""Pauses before each look whether the call that had the same token judged has written that down.

It is of another request, or of another process."""
_About = tuple[str | None, int]
"""What a response was judged for: a challenge, and the number of its code or change of payment."""
_OUTCOMES = {"satisfied": VerifyOutcome.SATISFIED, "confirmed": VerifyOutcome.ALREADY_SATISFIED}


class Verifier:
    """Decides whether a payment may go on."""

    def __init__(
        self,
        store: Store,
        response_judge: ResponseJudge,
        fallbacks: Fallbacks,
        repeats: Repeats,
        events: Events,
        settings: VerifySettings,
    ) -> None:
        self._store = store
        self._response_judge = response_judge
        self._fallbacks = fallbacks
        self._repeats = repeats
        self._events = events
        self._settings = settings

    async def verify(self, row: SessionRow, request: VerifyRequest) -> Verified:
        """Lets a payment go on, or raises.

        Args:
            row: The session as just read.
            request: What the caller asks.

        Raises:
            ChallengeError: It may not; see `rules.gate` and `ResponseJudge.judge`.
            ChallengeRequired: The captcha's provider was down, and the fallback is taken.
            WrongAnswer, CaptchaRefused: The response is wrong; it was counted.
            ChallengeLocked: It is wrong, and was the last answer allowed.
            RateLimited, QuotaOutlastsSession: Too many answers for this destination were wrong.
            InvalidRequest: A request of this id asked for something else.
        """
        async with self._repeats.in_turn(row.session_id, request.request_id):
            return await self._verify(row, request)

    async def _verify(self, row: SessionRow, request: VerifyRequest) -> Verified:
        key = self._key(request)
        judgements: dict[_About, ResponseJudgement] = {}
        while True:
            require_open(row)
            row = await self._fallbacks.replace_dead_end(row)
            response = request.response
            if handled := await self._repeats.find(row, key):
                row = await self._store.read_again(row)  # as read it may be older
                if repeated := _repeat(row, handled, request):
                    return repeated
                response = None  # it has been judged
            try:
                match gate(row, response, request.payment):
                    case Gate.NOT_REQUIRED:
                        return Verified(VerifyOutcome.NOT_REQUIRED)
                    case Gate.ALREADY_SATISFIED:
                        if await self._confirm(row, request, key):
                            return Verified(VerifyOutcome.ALREADY_SATISFIED, row.satisfied_at)
                    case Gate.JUDGE:
                        judgement = await self._judge(row, request, judgements)
                        at = await self._answer(row, request, judgement, key)
                        if at is not None:
                            return Verified(VerifyOutcome.SATISFIED, at)
                row = await self._store.read_moved(row)
            except AlreadyHandled:  # by a request that this one overlapped
                if handled is not None:
                    raise  # `ok_still_holds` refused what `gate` lets go on
                row = await self._store.read_again(row)
            except CaptchaExpired:
                await self._let_the_winner_write(row, key)
                row = await self._store.read_again(row)

    async def _let_the_winner_write(self, row: SessionRow, key: RequestKey) -> None:
        """Returns once another call has answered right, or this request has been carried out.

        Raises:
            CaptchaExpired: None has, for as long as that takes.
        """
        for pause in _WINNER_SECONDS:
            await asyncio.sleep(pause)
            fresh = await self._store.read_again(row)
            if fresh.fence != row.fence or await self._repeats.find(row, key):
                return
        raise CaptchaExpired

    async def _confirm(self, row: SessionRow, request: VerifyRequest, key: RequestKey) -> bool:
        if row.confirms_left is None:
            return True  # nothing to be counted, and so nothing to be remembered
        event = self._events.confirmed(row, request.payment, request.remote_ip)
        return await self._store.confirm(row, key, event)

    async def _answer(
        self, row: SessionRow, request: VerifyRequest, judgement: ResponseJudgement, key: RequestKey
    ) -> int | None:
        """Writes down what the response was.

        Returns:
            When the challenge was satisfied, milliseconds since the Unix epoch; None when the row
            has moved on.
        """
        satisfied_ms, payments = self._settings
        confirms_left = payments - 1 if payments else None
        wrong = row.wrong_code + 1, row.wrong_total + 1
        event = self._events.answered(
            row,
            right=judgement.right,
            reason=judgement.reason,
            payment=request.payment,
            remote_ip=request.remote_ip,
            answers_left=None if judgement.right else answers_left(*wrong),
            satisfied_ms=satisfied_ms,
            confirms_left=confirms_left,
        )
        try:
            answered = await self._store.answer(
                row,
                right=judgement.right,
                wrong_caps=WRONG_CAPS,
                quotas=judgement.quotas,
                request=key,
                satisfied_ms=satisfied_ms,
                confirms_left=confirms_left,
                event=event,
            )
        except QuotaSpent:
            if not is_code(row):  # the token's own
                raise CaptchaExpired from None
            raise refusal(row, await self._store.spent_quotas(judgement.quotas)) from None
        if answered is None or answered.satisfied_at is not None:
            return answered and answered.satisfied_at
        raise _wrong(row, answered.wrong_code, answered.wrong_total)

    async def _judge(
        self, row: SessionRow, request: VerifyRequest, judgements: dict[_About, ResponseJudgement]
    ) -> ResponseJudgement:
        """Judges the response; a token, which that spends, once however often the row moves on."""
        assert request.response is not None  # as the gate demands
        about = row.challenge_id, row.code_counter
        if not is_code(row) and about in judgements:
            return judgements[about]
        try:
            judgements[about] = await self._response_judge.judge(
                row, request.response, request.payment, request.remote_ip, request.request_id
            )
        except CaptchaUnavailable as error:
            if error.is_outage:
                instead = await self._fallbacks.take(row, FallbackReason.OUTAGE)
                if instead.challenge_id != row.challenge_id:
                    raise ChallengeRequired(Because.FALLBACK_TAKEN, instead) from None
            raise
        return judgements[about]

    def _key(self, request: VerifyRequest) -> RequestKey:
        response = request.response or Response("", "")
        return self._repeats.key(request.request_id, *response, *(request.payment or ()))


def _repeat(row: SessionRow, handled: Handled, request: VerifyRequest) -> Verified | None:
    """Answers as the first time; None where an OK no longer holds."""
    if handled.outcome == "wrong":
        raise _wrong(row, handled.wrong_code, handled.wrong_total)
    if not ok_still_holds(row, request.payment):
        return None
    return Verified(_OUTCOMES[handled.outcome], row.satisfied_at)


def _wrong(
    row: SessionRow, wrong_code: int, wrong_total: int
) -> WrongAnswer | CaptchaRefused | ChallengeLocked:
    left = answers_left(wrong_code, wrong_total)
    if not left:
        return ChallengeLocked()
    return WrongAnswer(left) if is_code(row) else CaptchaRefused(left)
