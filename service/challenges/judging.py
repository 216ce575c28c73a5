"""Whether a payer's response is right: a code against ours, a token by the captcha's provider."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable
from typing import NamedTuple, Protocol

from service.captchas import CaptchaToken, Judgement, Verdict
from service.challenges.codes import code_for, matches
from service.challenges.methods import Response
from service.challenges.quotas import answers_of
from service.challenges.rules import is_code, previous_code_lives
from service.errors import (
    CaptchaExpired,
    CaptchaUnavailable,
    CodeExpired,
    CodeReplaced,
    MalformedResponse,
)
from service.keyring import Fingerprints, KeyRetired, KeyRing
from service.storage.rows import Payment, Quotas, SessionRow
from service.telemetry import logs


class ResponseJudgement(NamedTuple):
    """What a response is judged to be.

    Attributes:
        right: Whether it is right.
        quotas: What it counts against; see `quotas.answers_of`.
        reason: A captcha provider's; None for codes.
    """

    right: bool
    quotas: Quotas
    reason: str | None = None


class TokenJudge(Protocol):
    """Whoever judges captchas' tokens; see `captchas.by_type.Captchas`."""

    def judge(self, challenge_type: str, token: CaptchaToken) -> Awaitable[Judgement]:
        """Judges a token."""


class ResponseJudge:
    """Judges payers' responses, and changes nothing."""

    def __init__(
        self, ring: KeyRing, fingerprints: Fingerprints, code_digits: int, token_judge: TokenJudge
    ) -> None:
        self._ring = ring
        self._fingerprints = fingerprints
        self._digits = code_digits
        self._token_judge = token_judge

    async def judge(
        self,
        row: SessionRow,
        response: Response,
        payment: Payment | None,
        remote_ip: str,
        request_id: str,
    ) -> ResponseJudgement:
        """Judges a response to a challenge that is pending.

        Args:
            row: The session.
            response: The payer's.
            payment: The payment about to be made, which a bound code is for; None for none.
            remote_ip: The payer's address, for a captcha's provider; empty if it is not known.
            request_id: By which the provider knows a repeat; empty for none.

        Raises:
            MalformedResponse: It has not the form of a code or a token.
            CodeExpired: The code's key has left the ring.
            CodeReplaced: It is the code before, which a Send has replaced in its last minute.
            CaptchaExpired: The token is too old, or was judged before.
            CaptchaUnavailable: Nobody can judge the token now.
        """
        if is_code(row):
            right = self._is_right(row, response.text, payment)
            return ResponseJudgement(right, answers_of(row, None))
        judgement = await self._token_judge.judge(
            str(row.challenge_type),
            CaptchaToken(
                site_key=str(row.site_key),
                text=response.text,
                session_id=row.session_id,
                origins=row.allowed_origins.split(),
                idempotency_key=_idempotency_key(row, request_id),
                remote_ip=remote_ip,
            ),
        )
        quotas = answers_of(row, self._fingerprints.of(response.text))
        return ResponseJudgement(_is_proof(judgement), quotas, judgement.reason)

    def _is_right(self, row: SessionRow, answer: str, payment: Payment | None) -> bool:
        if not (answer.isascii() and answer.isdigit() and len(answer) == self._digits):
            raise MalformedResponse("code", f"must be the {self._digits} digits of the code")
        if previous_code_lives(row) and matches(
            answer, self._code(row, payment, row.code_counter - 1)
        ):
            raise CodeReplaced
        return matches(answer, self._code(row, payment, row.code_counter))

    def _code(self, row: SessionRow, payment: Payment | None, counter: int) -> str:
        assert row.key_id is not None and row.challenge_id is not None  # every code has them
        bound = payment if row.payment is not None else None
        try:
            return code_for(self._ring, row.key_id, row.challenge_id, bound, counter, self._digits)
        except KeyRetired:
            logs.error("key_retired", session_id=row.session_id, key_id=row.key_id)
            raise CodeExpired from None


def _is_proof(judgement: Judgement) -> bool:
    match judgement.verdict:
        case Verdict.PASSED | Verdict.REFUSED:
            return judgement.verdict is Verdict.PASSED
        case Verdict.EXPIRED_OR_DUPLICATE:
            raise CaptchaExpired
        case Verdict.MALFORMED:
            raise MalformedResponse("token", "must be the token of the widget")
        case _:
            outage = judgement.verdict is Verdict.UNREACHABLE
            raise CaptchaUnavailable(is_outage=outage)


def _idempotency_key(row: SessionRow, request_id: str) -> uuid.UUID:
    """Makes the key of one VerifyChallenge, the same for a repeat of it by another process."""
    if not request_id:
        return uuid.uuid4()
    return uuid.uuid5(uuid.NAMESPACE_OID, f"{row.session_id}\0{request_id}")
