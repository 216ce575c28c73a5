"""The rules on a session's row: what it allows now, each a function of row and request alone.

First what the row says of session, challenge and code; then what Send (`may_send_again`),
VerifyChallenge (`gate`), fallbacks (`leads_nowhere`) and UpdateSession (`require_changeable`) ask.
What must still be true when the row changes, the statement's WHERE says again.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple

from service.challenges.methods import Fallback, Response
from service.errors import (
    Because,
    ChallengeLocked,
    ChallengeRequired,
    CodeExpired,
    DestinationRefused,
    InvalidRequest,
    QuotaOutlastsSession,
    SendsSpent,
    SessionCompleted,
    SessionExpired,
)
from service.storage.rows import CODE_TYPES, Payment, SessionChanges, SessionRow


class WrongCaps(NamedTuple):
    """How many wrong answers lock the challenge, whichever the session has."""

    per_code: int
    per_session: int


WRONG_CAPS = WrongCaps(5, 10)
"""PSD2 RTS article 4: at most 5 in a row."""
ISSUES_PER_SESSION = 20
"""Challenges that one session may be given."""
SENDS_PER_SESSION = 5
"""Dispatches that one session may begin; one that surely sent nothing is given back."""
LONGEST_LIFE_MS = 24 * 3_600_000
"""Of a session, however often its end is moved."""
LAST_MINUTE_MS = 60_000
"""In a code's last minute a Send makes the next: nobody can be told that it is valid for less."""


def require_open(row: SessionRow) -> None:
    """Checks that the session lives.

    Raises:
        SessionCompleted: It is paid.
        SessionExpired: It is past its time, or was given up.
    """
    if row.state == "completed":
        raise SessionCompleted
    if row.state == "expired" or row.now >= row.expires_at:
        raise SessionExpired


def is_satisfied(row: SessionRow) -> bool:
    """Whether the payer has satisfied the challenge, and that still counts.

    It ends after a time and a number of payments, so that one does not pay for a list of cards.
    """
    return _is_in_time(row) and row.confirms_left != 0


def _is_in_time(row: SessionRow) -> bool:
    return row.challenge_state == "satisfied" and (
        row.satisfied_until is None or row.now < row.satisfied_until
    )


def needs_challenge(row: SessionRow) -> bool:
    """Whether the payer has to satisfy a challenge before the next payment."""
    pending = row.challenge_state in ("pending", "refused")
    return pending or (row.challenge_state == "satisfied" and not is_satisfied(row))


def is_code(row: SessionRow) -> bool:
    """Whether the challenge is a code that we send."""
    return row.challenge_type in CODE_TYPES


def is_locked(row: SessionRow) -> bool:
    """Whether too many answers were wrong; no other challenge of the session is a way out."""
    return row.wrong_code >= WRONG_CAPS.per_code or row.wrong_total >= WRONG_CAPS.per_session


def answers_left(wrong_code: int, wrong_total: int) -> int:
    """Counts the answers that may still be tried with the current code."""
    return max(0, min(WRONG_CAPS.per_code - wrong_code, WRONG_CAPS.per_session - wrong_total))


# Of a code before its end, by its dispatch:
#
#                                    has_sent_code  code_lives  may_have_arrived  may_be_on_its_way
#   queued                           no             no          no                yes
#   sending                          no             yes         yes               yes
#   sent                             yes            yes         yes               no
#   dead or expired, a try unknown   no             yes         yes               yes
#   dead or expired, none unknown    no             no          no                no
#
# What an earlier try of the same code has come to stays. After its end a code may still have
# arrived, and be on its way while it is queued or sending.


def has_sent_code(row: SessionRow) -> bool:
    """Whether a provider has accepted a code that can still be answered."""
    lives = row.state == "open" and row.now < min(row.code_expires_at, row.expires_at)
    asked_for = row.challenge_state != "waived" and not is_locked(row)
    return row.code_sent and lives and asked_for


def code_lives(row: SessionRow) -> bool:
    """Whether there is a code that can be answered, if it is the right one."""
    return may_have_arrived(row) and row.now < row.code_expires_at


def may_have_arrived(row: SessionRow) -> bool:
    """Whether the payer may have the current code; one that was surely not sent is void."""
    return row.code_sent or row.code_unknown or row.dispatch_state == "sending"


def may_be_on_its_way(row: SessionRow) -> bool:
    """Whether a message may still bring the code, although no provider has said that it has it."""
    owed = row.dispatch_state in ("queued", "sending")
    unknown = row.code_unknown and not row.code_sent and row.now < row.code_expires_at
    return owed or unknown


def previous_code_lives(row: SessionRow) -> bool:
    """Whether the code before, which a Send has replaced in its last minute, is still valid."""
    return row.now < row.previous_code_expires_at


def needs_next_code(row: SessionRow) -> bool:
    """Whether a Send makes a new code, instead of sending the current one again."""
    return row.now >= row.code_expires_at - LAST_MINUTE_MS


def follows_expired_code(row: SessionRow) -> bool:
    """Whether wrong answers to the next code are counted from 0.

    The count starts at 0 only after a code that has expired or was accepted. One that is voided
    hands it on, so that to reissue, or to change the payment, is no way to guess on.
    """
    return 0 < row.code_expires_at <= row.now


def may_send_again(row: SessionRow) -> bool:
    """Whether a Send starts a new dispatch, or repeats the answer of the last one.

    Raises:
        ChallengeLocked: Too many wrong answers.
        DestinationRefused: The provider refused the destination for good, or it was erased.
        SendsSpent, QuotaOutlastsSession: The session has had its sends.
    """
    if is_locked(row):
        raise ChallengeLocked
    if row.challenge_state == "refused" or row.destination is None:  # erased
        raise DestinationRefused
    if row.dispatch_state in ("queued", "sending"):
        return False  # still owed: it will be delivered, or expire
    if row.now < row.window_ends_at:
        return False
    if row.sends >= SENDS_PER_SESSION:
        raise spent(row, "session")
    return True


def spent(row: SessionRow, bound: str) -> SendsSpent | QuotaOutlastsSession:
    """Returns the error of a session that has had all that it may have.

    Args:
        row: The session.
        bound: Of what, as logs and metrics name it: `session` for sends, `issues` for challenges.
    """
    if code_lives(row) and not is_locked(row):
        return SendsSpent(bound, row.expires_at - row.now)
    return QuotaOutlastsSession(bound)


class Gate(Enum):
    """What VerifyChallenge has to do."""

    NOT_REQUIRED = auto()
    ALREADY_SATISFIED = auto()
    JUDGE = auto()
    """The response."""


def gate(row: SessionRow, response: Response | None, payment: Payment | None) -> Gate:
    """Decides what VerifyChallenge does, by the first rule that applies.

    Args:
        row: The session.
        response: The payer's, if there is one.
        payment: The payment about to be made, if the caller names one.

    Raises:
        SessionCompleted, SessionExpired: The session has ended.
        ChallengeRequired: There is no response, or one to another challenge; the challenge or its
            waiver is for another payment; or one is expected and none was issued.
        ChallengeLocked: Too many wrong answers.
        InvalidRequest: The challenge is bound to a payment and none is named.
        CodeExpired: No code is valid now.
    """
    require_open(row)
    if row.challenge_state == "none" and row.challenge_expected:
        raise ChallengeRequired(Because.NOT_ISSUED)
    if row.challenge_state == "none":
        return Gate.NOT_REQUIRED
    if row.challenge_state == "waived" and row.payment in (None, payment):
        return Gate.NOT_REQUIRED
    if is_satisfied(row) and row.payment in (None, payment):
        return Gate.ALREADY_SATISFIED
    if is_locked(row):
        raise ChallengeLocked
    if row.payment is not None and payment is None:
        raise InvalidRequest("payment", "is required: the challenge is bound to one")
    if row.payment not in (None, payment):
        raise ChallengeRequired(Because.OTHER_PAYMENT, row)
    if response is None or not _is_to(row, response):
        because = Because.NO_RESPONSE if response is None else Because.OTHER_TYPE
        raise ChallengeRequired(because, row)
    if is_code(row) and (row.challenge_state == "refused" or not code_lives(row)):
        raise CodeExpired
    return Gate.JUDGE


def _is_to(row: SessionRow, response: Response) -> bool:
    """Whether a response is to this challenge: a token is never judged as a code."""
    form = "code" if is_code(row) else "token"
    return response.form == form and response.challenge_type in (None, row.challenge_type)


def ok_still_holds(row: SessionRow, payment: Payment | None) -> bool:
    """Whether an OK that was given may be given again, to a repeat of its request."""
    return row.state == "open" and _is_in_time(row) and row.payment in (None, payment)


def leads_nowhere(row: SessionRow) -> bool:
    """Whether nobody can meet the challenge: its fallback takes its place without being asked for.

    The destination is refused, or no provider takes the message and none may have delivered it. A
    challenge that is locked stays: the lock would carry over.
    """
    refused = row.challenge_state == "refused"
    dead = row.challenge_state == "pending" and row.dispatch_state == "dead"
    nothing_delivered = not (row.code_sent or row.code_unknown)
    return (refused or (dead and nothing_delivered)) and not is_locked(row)


def may_fall_back(row: SessionRow, fallback: Fallback) -> bool:
    """Whether the challenge's fallback may take its place now.

    It proves enough, and no message may still bring the code before.
    """
    return fallback.fits(row.payment) and not may_be_on_its_way(row)


def require_changeable(row: SessionRow, changes: SessionChanges) -> None:
    """Checks that a session may be changed so.

    Raises:
        SessionCompleted, SessionExpired: It has ended; nothing revives it.
        InvalidRequest: The payment is of no challenge, or the session would end at no time that is
            allowed.
    """
    require_open(row)
    if changes.payment is not None and row.challenge_state == "none":
        raise InvalidRequest("payment", "is a challenge's, and none was issued")
    opened_at = row.expires_at - row.lifetime_ms
    end = new_end(row, changes)
    if end is not None and not row.now < end <= opened_at + LONGEST_LIFE_MS:
        field = "expire_time" if changes.expires_in_ms is None else "expires_in"
        problem = "must be to come, and at most 24 hours from the session's opening"
        raise InvalidRequest(field, problem)


def new_end(row: SessionRow, changes: SessionChanges) -> int | None:
    """Returns when a session is to end; None where that does not change."""
    if changes.expires_in_ms is not None:
        return row.now + changes.expires_in_ms
    return changes.expires_at


def voids_challenge(row: SessionRow, payment: Payment | None) -> bool:
    """Whether a change to this payment voids the code, the proof or the waiver for the one before.

    A session that needs no challenge for any payment goes on needing none.
    """
    waived_for_all = row.challenge_state == "waived" and row.payment is None
    return payment not in (None, row.payment) and not waived_for_all
