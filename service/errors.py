"""What can go wrong, in the words of the domain. `api.error_table` says what callers see."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Self


class ChallengeError(Exception):
    """Base of every error that callers are told about.

    Its text is for whoever reads a log or a traceback: it never reaches a caller, and never holds a
    code, a credential or a destination.
    """


class InvalidRequest(ChallengeError):
    """A field is malformed, or several are.

    Args:
        field: Name of the field as in the proto, `session_id`.
        problem: What is wrong with it, without repeating its value; callers see it.

    Attributes:
        violations: Each bad field, and its problem.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.violations: Sequence[tuple[str, str]] = ((field, problem),)

    @classmethod
    def of(cls, violations: Sequence[tuple[str, str]]) -> Self:
        """Makes one that names several fields, at least one."""
        error = cls(*violations[0])
        error.violations = tuple(violations)
        return error


class UnreadableRequest(ChallengeError):
    """The message is none of this rpc's."""


class RequestTooLarge(ChallengeError):
    """The message is larger than any request need be."""


class UnknownRpc(ChallengeError):
    """There is no such rpc."""


class MissingCredential(ChallengeError):
    """No bearer, or one that is not a session credential."""


class InsufficientScope(ChallengeError):
    """The credential is this session's, but not for challenges."""


class OriginNotAllowed(ChallengeError):
    """The page's origin is not on the session's list."""


class SessionNotFound(ChallengeError):
    """No such session, or the caller has no right to know of it."""


class SessionCompleted(ChallengeError):
    """The payment was made."""


class SessionExpired(ChallengeError):
    """The session is past its time, or was given up by its owner."""


class SessionConflict(ChallengeError):
    """The session id is taken, with other values."""


class ChallengeLocked(ChallengeError):
    """Too many wrong answers."""


class Because(StrEnum):
    """Why the payer must satisfy a challenge first; callers see it."""

    NOT_ISSUED = "not_issued"
    NO_RESPONSE = "no_response"
    OTHER_TYPE = "other_type"
    """The response is to another challenge."""
    OTHER_PAYMENT = "other_payment"
    """The challenge, or its waiver, is for another payment."""
    FALLBACK_TAKEN = "fallback_taken"
    """The captcha's provider is down: the challenge is its fallback from now on."""
    NO_FALLBACK = "no_fallback"


class ChallengeRequired(ChallengeError):
    """The payer must satisfy the challenge first.

    Args:
        because: Why.
        session: Its row, as the answer is to show the challenge; None where none was issued.
    """

    def __init__(self, because: Because, session: Any = None) -> None:
        super().__init__(because)
        self.because = because
        self.session = session


class NoFallback(ChallengeRequired):
    """There is no other way, or none while a message may be on its way."""


class WrongAnswer(ChallengeError):
    """The answer is not the code.

    Args:
        answers_left: Answers that may still be tried with this code.
    """

    def __init__(self, answers_left: int) -> None:
        super().__init__(f"{answers_left} answers are left")
        self.answers_left = answers_left


class CodeExpired(ChallengeError):
    """No code is valid now: none sent yet, or past its life."""


class CodeReplaced(ChallengeError):
    """The answer is the code before, which was valid when a newer one was made."""


class RateLimited(ChallengeError):
    """A quota is spent.

    Args:
        quota: Which one, as logs and metrics name it.
        wait_ms: How long it is.

    Attributes:
        retry_after: Whole seconds until it may work again, at least 1.
    """

    def __init__(self, quota: str, wait_ms: int) -> None:
        super().__init__(f"quota {quota} is spent for {wait_ms} ms")
        self.quota = quota
        self.retry_after = max(1, -(-wait_ms // 1000))


class SendsSpent(RateLimited):
    """The session gets no other code before its end, but the last can still be answered."""


class QuotaOutlastsSession(ChallengeError):
    """A quota is spent, and the session ends before it is not.

    Args:
        quota: Which one, as logs and metrics name it.
    """

    def __init__(self, quota: str) -> None:
        super().__init__(f"quota {quota} is spent for as long as the session lives")
        self.quota = quota


class DestinationRefused(ChallengeError):
    """The destination is refused for good, as invalid, unroutable or barred, or it was erased."""


class MalformedResponse(InvalidRequest):
    """The payer's response has not the form of a code or a token; it was not counted."""


class CaptchaRefused(ChallengeError):
    """The token is no proof.

    Args:
        answers_left: Tokens that may still be tried.
    """

    def __init__(self, answers_left: int) -> None:
        super().__init__(f"{answers_left} answers are left")
        self.answers_left = answers_left


class CaptchaExpired(ChallengeError):
    """The token is too old, or was judged before; it was not counted."""


class CaptchaUnavailable(ChallengeError):
    """Nobody can judge the token now: the provider is down, or our settings are wrong.

    Args:
        is_outage: Whether the provider is down, for which no token is to blame.
    """

    def __init__(self, *, is_outage: bool = False) -> None:
        super().__init__()
        self.is_outage = is_outage


class TokenInvalid(ChallengeError):
    """The internal caller has no valid token."""


class TokenScopeMissing(ChallengeError):
    """The internal caller's token lacks the scope."""


class StoreUnavailable(ChallengeError):
    """The database does not answer; whether a write took place is unknown."""


class DeadlinePassed(ChallengeError):
    """The call's time is over."""


class EvidenceBroken(ChallengeError):
    """A session's evidence was changed.

    Args:
        problem: Where and how, without what it says; internal callers see it.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


class CannotProceed(Exception):
    """A command cannot go on; the text says why and what to do, in one line.

    Args:
        said: The problem; before it the setting to blame, by the name that the operator knows it
            by, `CHALLENGE_KEYS` or `--data-dir`. Neither holds the value, which may be a secret.
    """

    def __init__(self, *said: str) -> None:
        super().__init__(": ".join(said))


class BadSetting(CannotProceed):
    """A setting or an argument is missing or malformed: starting again will not help."""

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(setting, problem)


def text_of(error: BaseException) -> str:
    """Returns what an error says, or its class where it says nothing, as a timeout does."""
    return str(error) or type(error).__name__
