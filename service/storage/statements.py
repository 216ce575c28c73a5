"""The statements: one text for SQLite, PostgreSQL and Citus, parameters numbered.

The first line of each is its name, for spans and for whoever looks at what a database runs. What
differs is filled in: `{done}` and `{main}` by `changes`, `{skip_locked}` by the databases.

`challenge_now()` is the database's clock in milliseconds: a function that the migrations create on
PostgreSQL and the connection on SQLite. It stands still within a transaction. Citus refuses it in
RETURNING, in ON CONFLICT DO UPDATE and inside CASE. Every change of state is one conditional
UPDATE; what must still be true stands in its WHERE. What evidence tells of compares and sets the
row's chain, too.
"""

from __future__ import annotations

from service.storage.changes import ALWAYS, NEVER, Change, Spend, append, note, unless
from service.storage.rows import SessionRow

COLUMNS = ", ".join(SessionRow._fields[:-1])
ROW = f"{COLUMNS}, challenge_now() AS now"

READ = f"-- READ\nSELECT {ROW} FROM hosted_session WHERE session_id = $1"
NOW = "-- NOW\nSELECT challenge_now()"

_OPEN = f"""
INSERT INTO hosted_session (
    session_id, account_uid, secret_sha256, scope, allowed_origins, locale, merchant_name,
    lifetime_ms, challenge_expected, expires_at, state,
    issues, sends, wrong_code, wrong_total, challenge_state,
    code_counter, code_expires_at, previous_code_expires_at, code_sent, code_unknown,
    fence, dispatch_state, tries, unknowns, claimed_at, window_ends_at, opening, chain
) VALUES (
    $1, $2, $3, $4, $5, $6, $7,
    $8, $9, challenge_now() + $8, 'open', 0, 0, 0, 0, 'none',
    0, 0, 0, FALSE, FALSE,
    0, 'idle', 0, 0, 0, 0, $10, CAST($14 AS text)
) ON CONFLICT (session_id) DO NOTHING RETURNING {COLUMNS}, expires_at - lifetime_ms AS now
"""
OPEN = Change("OPEN", _OPEN, (append(15),), Spend(11, (ALWAYS,)))
OPENING = "-- OPENING\nSELECT opening FROM hosted_session WHERE session_id = $1"
WAIVER = "-- WAIVER\nSELECT waiver FROM hosted_session WHERE session_id = $1"

# A new challenge has a code of its own, so its first Send need not wait out the old one's window.
_ISSUE = """
UPDATE hosted_session SET
    challenge_id = $2, challenge_type = $3, challenge_state = 'pending',
    satisfied_at = NULL, satisfied_until = NULL, confirms_left = NULL, issues = issues + 1,
    site_key = $4, destination = $5, fingerprint = $6, delivery_hint = $7, key_id = $8,
    amount_minor = $9, currency = $10, payee = $11, fallback_fingerprint = $12,
    code_counter = 0, code_expires_at = 0, previous_code_expires_at = 0,
    code_sent = FALSE, code_unknown = FALSE,
    dispatch_state = 'idle', dispatch_reason = NULL, due_at = NULL, window_ends_at = 0,
    fence = fence + 1, chain = $17
WHERE session_id = $1 AND state = 'open' AND challenge_now() < expires_at AND issues < $13
    AND chain = $16
RETURNING session_id, wrong_code, wrong_total
"""
ISSUE = Change("ISSUE", _ISSUE, (note("issue", 14, "'issued'"), append(18)))

HANDLED = """-- HANDLED
SELECT content, outcome, wrong_code, wrong_total FROM handled_request
WHERE session_id = $1 AND rpc = $2 AND request_id = $3
"""

# The fence covers everything that was judged but wrong answers, which do not raise it; so their
# caps are checked here. $9: wrong answers to this code are counted from 0. The last two quotas,
# those of wrong answers, are only looked at: a code that cannot be judged is not sent.
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
    code_counter = $5, code_expires_at = $6, page_origin = $10
WHERE session_id = $1 AND fence = $2 AND challenge_now() < expires_at
    AND wrong_code < $7 AND wrong_total < $8
RETURNING {COLUMNS}, claimed_at AS now
"""
CLAIM = Change("CLAIM", _CLAIM, spend=Spend(11, (ALWAYS,) * 5 + (NEVER,) * 2))

SPENT_QUOTAS = (
    """-- SPENT_QUOTAS
SELECT key, ends_at - challenge_now() AS left_ms FROM quota
WHERE ends_at > challenge_now() AND (
    """
    + " OR ".join(f"(key = ${n} AND used >= ${n + 1})" for n in range(1, 15, 2))
    + """
)
"""
)

# Whether a provider was called in the dispatch that was claimed at $2.
PROVIDER_CALLED = """-- PROVIDER_CALLED
SELECT 1 FROM attempt WHERE session_id = $1 AND claimed_at = $2 LIMIT 1
"""

# Only what this dispatch took: not from a period that began after its claim. One quota at a time,
# for two that are locked at once, in an order of the database's choosing, may deadlock with CLAIM.
HAND_BACK = """-- HAND_BACK
UPDATE quota SET used = used - 1
WHERE key = $1 AND started_at <= $2 AND ends_at > challenge_now() AND used > 0
"""

HAND_BACK_SEND = """-- HAND_BACK_SEND
UPDATE hosted_session SET sends = sends - 1 WHERE session_id = $1 AND sends > 0
"""

# A row that is due while sending has lost its worker: the lease ran out, and it may have sent.
_RECLAIM = f"""
UPDATE hosted_session SET
    unknowns = unknowns + CASE WHEN dispatch_state = 'sending' THEN 1 ELSE 0 END,
    code_unknown = code_unknown OR dispatch_state = 'sending',
    dispatch_state = 'sending', tries = tries + 1, fence = fence + 1,
    due_at = challenge_now() + $1
WHERE {{which}}
RETURNING {COLUMNS}, due_at - $1 AS now
"""

# $3 names the dispatches that the asking process has in hand. It does not take them over: after a
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
# What is done with each that was found where rows of several shards cannot be locked at once. A
# heartbeat, or another sweep, may have come between.
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


SETTLE = Change("SETTLE", _SETTLE, (append(5),))
SETTLE_ATTEMPT = Change("SETTLE_ATTEMPT", _SETTLE, (_append_attempt(16), append(5)))

# What a provider was asked under a claim that had been outdated by then. Once: a settlement is
# written again when the answer to the first has been lost.
_ATTEMPT_ONLY = """
UPDATE hosted_session SET chain = $4
WHERE session_id = $1 AND chain = $3 AND NOT EXISTS (
    SELECT 1 FROM attempt WHERE session_id = $1 AND fence = $2 AND claimed_at = $18
)
RETURNING 1
"""
ATTEMPT_ONLY = Change("ATTEMPT_ONLY", _ATTEMPT_ONLY, (_append_attempt(11), append(5)))

# The comparison's result is used nowhere but here, where a wrong one is counted: no answer leaves
# before the count has risen, and none counts past the caps. A code that was surely not sent
# satisfies nothing. A right answer clears the two quotas of wrong ones.
_ANSWER = """
UPDATE hosted_session SET
    wrong_code = wrong_code + CASE WHEN $4 THEN 0 ELSE 1 END,
    wrong_total = wrong_total + CASE WHEN $4 THEN 0 ELSE 1 END,
    challenge_state = CASE WHEN $4 THEN 'satisfied' ELSE 'pending' END,
    satisfied_at = challenge_now() + CASE WHEN $4 THEN 0 ELSE NULL END,
    satisfied_until = challenge_now() + CASE WHEN $4 THEN CAST($18 AS bigint) ELSE NULL END,
    confirms_left = CASE WHEN $4 THEN CAST($19 AS integer) ELSE NULL END,
    code_expires_at = CASE WHEN $4 THEN 1 ELSE code_expires_at END,
    window_ends_at = CASE WHEN $4 THEN 0 ELSE window_ends_at END,
    dispatch_state = CASE WHEN $4 AND due_at IS NOT NULL THEN 'expired' ELSE dispatch_state END,
    due_at = CASE WHEN $4 THEN NULL ELSE due_at END,
    fence = fence + CASE WHEN $4 THEN 1 ELSE 0 END, chain = $21
WHERE session_id = $1 AND challenge_id = $2 AND code_counter = $3
    AND state = 'open' AND challenge_now() < expires_at
    AND (challenge_state = 'pending' OR challenge_state = 'satisfied'
        AND (satisfied_until <= challenge_now() OR confirms_left = 0))
    AND (challenge_type IN ('hcaptcha', 'turnstile') OR challenge_now() < code_expires_at
        AND (code_sent OR code_unknown OR dispatch_state = 'sending'))
    AND wrong_code < $5 AND wrong_total < $6 AND chain = $20
RETURNING wrong_code, wrong_total, satisfied_at, session_id
"""
# The third quota is a captcha token's: it is spent by the first answer, right or wrong.
ANSWER = Change(
    "ANSWER",
    _ANSWER,
    (note("verify", 16, "CASE WHEN $4 THEN 'satisfied' ELSE 'wrong' END"), append(22)),
    Spend(7, (unless(4), unless(4), ALWAYS)),
)

_CONFIRM = """
UPDATE hosted_session SET confirms_left = confirms_left - 1, chain = $6
WHERE session_id = $1 AND fence = $2 AND chain = $5
    AND state = 'open' AND challenge_now() < expires_at AND challenge_state = 'satisfied'
    AND (satisfied_until IS NULL OR challenge_now() < satisfied_until)
    AND (confirms_left IS NULL OR confirms_left > 0)
RETURNING session_id, wrong_code, wrong_total
"""
CONFIRM = Change("CONFIRM", _CONFIRM, (note("verify", 3, "'confirmed'"), append(7)))

# A waiver for one payment ($2 to $4) means that the others need a challenge.
_WAIVE = """
UPDATE hosted_session SET challenge_state = 'waived', fence = fence + 1,
    amount_minor = $2, currency = $3, payee = $4, waiver = $5,
    challenge_expected = challenge_expected OR CAST($2 AS bigint) IS NOT NULL,
    dispatch_state = CASE WHEN due_at IS NULL THEN dispatch_state ELSE 'expired' END,
    due_at = NULL, chain = $7
WHERE session_id = $1 AND state = 'open' AND challenge_now() < expires_at AND chain = $6
RETURNING 1
"""
WAIVE = Change("WAIVE", _WAIVE, (append(8),))

_CLOSE = """
UPDATE hosted_session SET state = $2, destination = NULL, fence = fence + 1,
    dispatch_state = CASE WHEN due_at IS NULL THEN dispatch_state ELSE 'expired' END,
    due_at = NULL, chain = $4
WHERE session_id = $1 AND state = 'open' AND chain = $3
RETURNING 1
"""
CLOSE = Change("CLOSE", _CLOSE, (append(5),))

SCHEMA_VERSION = "-- SCHEMA_VERSION\nSELECT version_num FROM alembic_version"

# The session's life, from $3 to $4, says which partitions to look into; an hour more, for a clock
# that a failover has set back.
ATTEMPTS = """-- ATTEMPTS
SELECT fence, challenge_id, dispatch_try, channel, provider_message_id, outcome, reason,
    started_at, ended_at
FROM attempt WHERE session_id = $1 AND fence > $2
    AND claimed_at >= CAST($3 AS bigint) - 3600000 AND claimed_at <= $4
ORDER BY fence LIMIT $5
"""
