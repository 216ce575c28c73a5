"""Verify: the payer's answer against the code, at most so many times, accepted once."""

from __future__ import annotations

from service.challenges.codes import code_for, matches
from service.challenges.quotas import refusal, wrong_answers_of
from service.challenges.rules import WRONG_CAPS, attempts_remaining, require_answerable
from service.errors import ChallengeLocked, CodeExpired, CodeReplaced, InvalidRequest, WrongAnswer
from service.keyring import KeyRetired, KeyRing
from service.storage.database import QuotaSpent
from service.storage.rows import Payment, SessionRow
from service.storage.store import Store
from service.telemetry import logs


class Verifier:
    """Checks answers."""

    def __init__(self, store: Store, ring: KeyRing, code_digits: int) -> None:
        self._store = store
        self._ring = ring
        self._digits = code_digits

    async def verify(self, row: SessionRow, answer: str, payment: Payment | None) -> int:
        """Satisfies the challenge if `answer` is its code.

        Args:
            row: The session as just read.
            answer: What the payer typed.
            payment: The payment about to be made, if the caller names one.

        Returns:
            When it was satisfied, milliseconds since the Unix epoch.

        Raises:
            ChallengeError: It is not satisfied by this call; see `rules.require_answerable`.
            WrongAnswer: It is not the code; the answer was counted.
            ChallengeLocked: It is not the code, and was the last answer allowed.
            CodeReplaced: It is the code before, made less than a minute before its end.
            RateLimited, QuotaOutlastsSession: Too many answers for this destination were wrong.
            InvalidRequest: The code is bound to a payment and the caller named none.
        """
        while True:
            require_answerable(row)
            if row.payment is not None and payment is None:
                raise InvalidRequest("payment", "is required: the code is bound to a payment")
            code = self._code(row, payment, row.code_counter)
            quotas = wrong_answers_of(row)
            if row.now < row.previous_code_expires_at and matches(
                answer, self._code(row, payment, row.code_counter - 1)
            ):
                raise CodeReplaced
            try:
                answered = await self._store.answer(
                    row, right=matches(answer, code), wrong_caps=WRONG_CAPS, quotas=quotas
                )
            except QuotaSpent:
                raise refusal(row, await self._store.spent_quotas(quotas)) from None
            if answered is not None and answered.satisfied_at is not None:
                return answered.satisfied_at
            if answered is not None:
                remaining = attempts_remaining(answered.wrong_code, answered.wrong_total)
                raise WrongAnswer(remaining) if remaining else ChallengeLocked
            row = await self._store.read(row.session_id) or row

    def _code(self, row: SessionRow, payment: Payment | None, counter: int) -> str:
        assert row.key_id is not None and row.challenge_id is not None  # every code has them
        bound = payment if row.payment is not None else None
        try:
            return code_for(self._ring, row.key_id, row.challenge_id, bound, counter, self._digits)
        except KeyRetired:
            logs.error("key_retired", session_id=row.session_id, key_id=row.key_id)
            raise CodeExpired from None
