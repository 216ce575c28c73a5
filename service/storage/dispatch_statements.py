"""The statements on dispatches: claims, what becomes of them, and the ledger of attempts."""

from __future__ import annotations

from service.storage.changes import ALWAYS, NEVER, Change, Spend, append_event
from service.storage.session_statements import COLUMNS

# $1 session_id, $2 fence, $3 lease_ms, $4 window_ms, $5 counter and $6 end of the code, $7 and $8
# caps of wrong_code and wrong_total, $9 counts_anew, $10 page_origin, $11 traceparent, $12 seven
# quotas: key, period, limit each.
# The fence stands for all that was judged but wrong answers: they do not raise it, so the caps are
# checked here too. The last two quotas, those of wrong answers, are only looked at: a code that
# cannot be judged is not sent.
_CLAIM = f"""
UPDATE hosted_session SET
    challenge_state = 'pending', satisfied_at = NULL, satisfied_until = NULL, confirms_left = NULL,
    dispatch_state = 'sending', dispatch_reason = NULL, due_at = challenge_now() + $3,
    tries = 1, unknowns = 0, sends = sends + 1, fence = fence + 1,
    claimed_at = challenge_now(), window_ends_at = challenge_now() + $4,
    wrong_code = CASE WHEN $9 THEN 0 ELSE wrong_code END,
    code_sent = code_sent AND code_counter = $5,
    code_unknown = code_unknown AND code_counter = $5,
    previous_code_expires_at = CASE WHEN code_counter = $5
        THEN previous_code_expires_at ELSE code_expires_at END,
    code_counter = $5, code_expires_at = $6, page_origin = $10, traceparent = $11
WHERE session_id = $1 AND fence = $2 AND challenge_now() < expires_at
    AND wrong_code < $7 AND wrong_total < $8
RETURNING {COLUMNS}, claimed_at AS now
"""
CLAIM = Change("CLAIM", _CLAIM, spend=Spend(12, (ALWAYS,) * 5 + (NEVER,) * 2))

# Whether a provider was called in the dispatch that was claimed at $2.
PROVIDER_CALLED = """-- PROVIDER_CALLED
SELECT 1 FROM attempt WHERE session_id = $1 AND claimed_at = $2 LIMIT 1
"""

# Only what this dispatch took: not from a period that began after its claim. One quota per
# statement: one that locks two does so in no fixed order, and may deadlock with CLAIM.
HAND_BACK = """-- HAND_BACK
UPDATE quota SET used = used - 1
WHERE key = $1 AND started_at <= $2 AND ends_at > challenge_now() AND used > 0
"""

HAND_BACK_SEND = """-- HAND_BACK_SEND
UPDATE hosted_session SET sends = sends - 1 WHERE session_id = $1 AND sends > 0
"""

# A row that is due while sending has lost its process: the lease ran out, and it may have sent.
_RECLAIM = f"""
UPDATE hosted_session SET
    unknowns = unknowns + CASE WHEN dispatch_state = 'sending' THEN 1 ELSE 0 END,
    code_unknown = code_unknown OR dispatch_state = 'sending',
    dispatch_state = 'sending', tries = tries + 1, fence = fence + 1,
    due_at = challenge_now() + $1
WHERE {{which}}
RETURNING {COLUMNS}, due_at - $1 AS now
"""

# $3 names the sessions that the asking process delivers to. It does not claim them again: after a
# stall or an outage their leases may have run out, but it must settle those tries first.
FIND_DUE = """-- FIND_DUE
SELECT session_id FROM hosted_session WHERE due_at <= challenge_now()
    AND CAST($3 AS text) NOT LIKE '%,' || session_id || ',%'
ORDER BY due_at LIMIT $2
"""
RECLAIM_DUE = (
    f"-- RECLAIM_DUE\nWITH due AS MATERIALIZED ({FIND_DUE} {{skip_locked}})"
    + _RECLAIM.format(which="session_id IN (SELECT session_id FROM due)")
)
# What is done with each that was found where rows of several shards cannot be locked at once. Its
# lease may have been extended meanwhile, or another sweep have claimed it.
RECLAIM_FOUND = "-- RECLAIM_FOUND" + _RECLAIM.format(
    which="""session_id = $2 AND due_at <= challenge_now() AND session_id IN (
    SELECT session_id FROM hosted_session WHERE session_id = $2 {skip_locked}
)"""
)

RECLAIM_ONE = "-- RECLAIM_ONE" + _RECLAIM.format(which="session_id = $2 AND fence = $3")

# A bounded walk along the index of what is due, however many sessions there are.
QUEUE = """-- QUEUE
SELECT count(*) FILTER (WHERE due_at <= challenge_now()),
    count(*) FILTER (WHERE due_at > challenge_now()),
    challenge_now() - min(due_at)
FROM (
    SELECT due_at FROM hosted_session WHERE due_at IS NOT NULL ORDER BY due_at LIMIT 10000
) AS owed
"""

EXTEND = """-- EXTEND
UPDATE hosted_session SET due_at = challenge_now() + $3
WHERE session_id = $1 AND fence = $2 AND dispatch_state = 'sending'
RETURNING 1
"""

# $1 session_id, $2 fence, $3 event, $11 state, $12 reason, $13 retry_in_ms, $14 unknown (0 or 1),
# $15 refused; $16 attempt and its claimed_at, if a provider was called.
_SETTLE = """
UPDATE hosted_session SET
    dispatch_state = CAST($11 AS text), dispatch_reason = $12,
    due_at = challenge_now() + CAST($13 AS bigint),
    unknowns = unknowns + $14,
    code_sent = code_sent OR CAST($11 AS text) = 'sent',
    code_unknown = code_unknown OR $14 > 0,
    challenge_state = CASE WHEN $15 THEN 'refused' ELSE challenge_state END,
    chain = $4
WHERE session_id = $1 AND fence = $2 AND dispatch_state = 'sending' AND chain = $3
RETURNING unknowns
"""


def _append_attempt(first: int) -> str:
    """Makes the statement that appends a row to the ledger. All of its key is the claim's."""
    challenge, number, channel, message, outcome, reason, took, claimed = range(first, first + 8)
    return f"""
INSERT INTO attempt (
    session_id, fence, challenge_id, dispatch_try, channel, provider_message_id, outcome, reason,
    claimed_at, started_at, ended_at
) SELECT $1, $2, CAST(${challenge} AS text), CAST(${number} AS integer), CAST(${channel} AS text),
    CAST(${message} AS text), CAST(${outcome} AS text), CAST(${reason} AS text),
    CAST(${claimed} AS bigint), challenge_now() - CAST(${took} AS bigint), challenge_now()
WHERE {{done}}
"""


SETTLE = Change("SETTLE", _SETTLE, (append_event(5),))
SETTLE_ATTEMPT = Change("SETTLE_ATTEMPT", _SETTLE, (_append_attempt(16), append_event(5)))

# $1 session_id, $2 fence, $3 event, $11 attempt, $18 its claimed_at.
# What a provider was asked under a claim that had been outdated by then. Once: a settlement is
# written again when the answer to the first has been lost.
_ATTEMPT_ONLY = """
UPDATE hosted_session SET chain = $4
WHERE session_id = $1 AND chain = $3 AND NOT EXISTS (
    SELECT 1 FROM attempt WHERE session_id = $1 AND fence = $2 AND claimed_at = $18
)
RETURNING 1
"""
ATTEMPT_ONLY = Change("ATTEMPT_ONLY", _ATTEMPT_ONLY, (_append_attempt(11), append_event(5)))

# The session's life, from $3 to $4, says which partitions to look into; an hour more, for a clock
# that a failover has set back.
ATTEMPTS = """-- ATTEMPTS
SELECT fence, challenge_id, dispatch_try, channel, provider_message_id, outcome, reason,
    started_at, ended_at
FROM attempt WHERE session_id = $1 AND fence > $2
    AND claimed_at >= CAST($3 AS bigint) - 3600000 AND claimed_at <= $4
ORDER BY fence LIMIT $5
"""
