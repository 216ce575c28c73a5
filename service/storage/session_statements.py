"""The statements on sessions; what is said here holds for the other statements, too.

One text for SQLite, PostgreSQL and Citus, parameters numbered.

The first line of each is its name, for spans and for whoever looks at what a database runs. What
differs is filled in: `{done}` and `{main}` by `changes`, `{skip_locked}` and `{ledger}` by the
databases.

`challenge_now()` is the database's clock in milliseconds: a function that the migrations create on
PostgreSQL and the connection on SQLite. It stands still within a transaction. Citus refuses it in
RETURNING, in ON CONFLICT DO UPDATE and inside CASE. Every change of state is one conditional
UPDATE; what must still be true stands in its WHERE. What evidence tells of compares and sets the
row's chain, too.
"""

from __future__ import annotations

from service.storage.changes import ALWAYS, Change, Spend, append_event, note_request, unless
from service.storage.rows import CAPTCHA_TYPES, Rpc, SessionRow

COLUMNS = ", ".join(SessionRow._fields[:-1])
ROW = f"{COLUMNS}, challenge_now() AS now"

READ = f"-- READ\nSELECT {ROW} FROM hosted_session WHERE session_id = $1"
NOW = "-- NOW\nSELECT challenge_now()"

# $1 to $9 as in NewSession, $10 opening; $11 quota: key, period, limit; $14 event, from its chain
# on.
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
OPEN = Change("OPEN", _OPEN, (append_event(15),), Spend(11, (ALWAYS,)))
OPENING = "-- OPENING\nSELECT opening FROM hosted_session WHERE session_id = $1"
WAIVER = "-- WAIVER\nSELECT waiver FROM hosted_session WHERE session_id = $1"

# A new challenge has a code of its own, so its first Send need not wait out the old one's window.
# $1 session_id, $2 to $12 as in NewChallenge, $13 most issues; $14 request: id, content; $16 event.
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
ISSUE = Change("ISSUE", _ISSUE, (note_request(Rpc.ISSUE, 14, "'issued'"), append_event(18)))

HANDLED = """-- HANDLED
SELECT content, outcome, wrong_code, wrong_total FROM handled_request
WHERE session_id = $1 AND rpc = $2 AND request_id = $3
"""

# What outdates a code, whatever becomes of its message. A Send may make the next at once: no window
# is left.
_VOID = """
    satisfied_at = NULL, satisfied_until = NULL, confirms_left = NULL,
    code_expires_at = 0, previous_code_expires_at = 0, code_sent = FALSE, code_unknown = FALSE,
    dispatch_state = 'idle', dispatch_reason = NULL, due_at = NULL, window_ends_at = 0,
    fence = fence + 1
"""

# $1 session_id, $2 fence, $3 allowed_origins, $4 locale, $5 merchant_name, $6 expires_at, $7
# payment: amount_minor, currency, payee; $10 event. $6 moves the end, not the opening. What does
# not change is NULL.
_UPDATE = """
UPDATE hosted_session SET
    allowed_origins = COALESCE($3, allowed_origins), locale = COALESCE($4, locale),
    merchant_name = COALESCE($5, merchant_name),
    lifetime_ms = lifetime_ms + COALESCE(CAST($6 AS bigint) - expires_at, 0),
    expires_at = COALESCE(CAST($6 AS bigint), expires_at),
    amount_minor = COALESCE($7, amount_minor), currency = COALESCE($8, currency),
    payee = COALESCE($9, payee), chain = $11{void}
WHERE session_id = $1 AND fence = $2 AND chain = $10
    AND state = 'open' AND challenge_now() < expires_at
RETURNING expires_at
"""
UPDATE = Change("UPDATE", _UPDATE.format(void=""), (append_event(12),))
# The counter rises, a captcha's too: what was judged before the change satisfies nothing.
_VOIDS = f""",
    challenge_state = CASE WHEN challenge_state = 'refused' THEN 'refused'
        WHEN challenge_type IS NULL THEN 'none' ELSE 'pending' END,
    code_counter = code_counter + 1,{_VOID}"""
UPDATE_PAYMENT = Change("UPDATE_PAYMENT", _UPDATE.format(void=_VOIDS), (append_event(12),))

# $1 session_id, $2 fence, $3 to $9 the challenge, $10 request: id, content; $12 event.
# The payment stays. The fence stands for all that was judged: no message is on its way.
_FALL_BACK = f"""
UPDATE hosted_session SET
    challenge_id = $3, challenge_type = $4, challenge_state = 'pending',
    site_key = $5, destination = $6, fingerprint = $7, delivery_hint = $8, key_id = $9,
    fallback_fingerprint = NULL, code_counter = 0, chain = $13,{_VOID}
WHERE session_id = $1 AND fence = $2 AND chain = $12
    AND state = 'open' AND challenge_now() < expires_at
RETURNING session_id, wrong_code, wrong_total
"""
FALL_BACK = Change(
    "FALL_BACK", _FALL_BACK, (note_request(Rpc.FALL_BACK, 10, "'taken'"), append_event(14))
)

# A change counts against no more; each has its key and its limit.
QUOTAS_AT_ONCE = 7
SPENT_QUOTAS = (
    """-- SPENT_QUOTAS
SELECT key, ends_at - challenge_now() AS left_ms FROM quota
WHERE ends_at > challenge_now() AND (
    """
    + " OR ".join(f"(key = ${n} AND used >= ${n + 1})" for n in range(1, 2 * QUOTAS_AT_ONCE, 2))
    + """
)
"""
)

# Whether a satisfaction still holds; `rules.is_satisfied` is the same.
_HOLDS = """(satisfied_until IS NULL OR challenge_now() < satisfied_until)
    AND (confirms_left IS NULL OR confirms_left > 0)"""

# $1 session_id, $2 challenge_id, $3 code_counter, $4 whether it is right, $5 and $6 caps of
# wrong_code and wrong_total, $7 three quotas: key, period, limit each; $16 request: id, content;
# $18 for how long it satisfies, $19 for how many payments, $20 event.
# The comparison's result is used nowhere but here, where a wrong one is counted: no answer leaves
# before the count has risen, and none counts past the caps. A wrong answer does not raise the
# fence, so the caps are checked here too. A code that was surely not sent satisfies nothing. A
# right answer clears the two quotas of wrong ones.
_ANSWER = f"""
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
    AND (challenge_state = 'pending' OR challenge_state = 'satisfied' AND NOT ({_HOLDS}))
    AND (challenge_type IN {CAPTCHA_TYPES} OR challenge_now() < code_expires_at
        AND (code_sent OR code_unknown OR dispatch_state = 'sending'))
    AND wrong_code < $5 AND wrong_total < $6 AND chain = $20
RETURNING session_id, wrong_code, wrong_total, satisfied_at
"""
# The third quota is a captcha token's: it is spent by the first answer, right or wrong.
ANSWER = Change(
    "ANSWER",
    _ANSWER,
    (
        note_request(Rpc.VERIFY, 16, "CASE WHEN $4 THEN 'satisfied' ELSE 'wrong' END"),
        append_event(22),
    ),
    Spend(7, (unless(4), unless(4), ALWAYS)),
)

_CONFIRM = f"""
UPDATE hosted_session SET confirms_left = confirms_left - 1, chain = $6
WHERE session_id = $1 AND fence = $2 AND chain = $5
    AND state = 'open' AND challenge_now() < expires_at AND challenge_state = 'satisfied'
    AND {_HOLDS}
RETURNING session_id, wrong_code, wrong_total
"""
CONFIRM = Change("CONFIRM", _CONFIRM, (note_request(Rpc.VERIFY, 3, "'confirmed'"), append_event(7)))

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
WAIVE = Change("WAIVE", _WAIVE, (append_event(8),))

_CLOSE = """
UPDATE hosted_session SET state = $2, destination = NULL, fence = fence + 1,
    dispatch_state = CASE WHEN due_at IS NULL THEN dispatch_state ELSE 'expired' END,
    due_at = NULL, chain = $4
WHERE session_id = $1 AND state = 'open' AND chain = $3
RETURNING 1
"""
CLOSE = Change("CLOSE", _CLOSE, (append_event(5),))

SCHEMA_VERSION = "-- SCHEMA_VERSION\nSELECT version_num FROM alembic_version"
