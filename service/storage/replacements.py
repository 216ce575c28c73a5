"""The statements by which another payment or another way takes the place of a challenge's."""

from __future__ import annotations

from service.storage.changes import Change, append, note

# What outdates a code, whatever becomes of its message. The next one is sent at once: it need not
# wait out the old one's window.
_VOID = """
    satisfied_at = NULL, satisfied_until = NULL, confirms_left = NULL,
    code_expires_at = 0, previous_code_expires_at = 0, code_sent = FALSE, code_unknown = FALSE,
    dispatch_state = 'idle', dispatch_reason = NULL, due_at = NULL, window_ends_at = 0,
    fence = fence + 1
"""

# $6 moves the end, not the opening. What does not change is NULL.
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
UPDATE = Change("UPDATE", _UPDATE.format(void=""), (append(12),))
# The counter rises, a captcha's too: what was judged before the change satisfies nothing.
_VOIDS = f""",
    challenge_state = CASE WHEN challenge_state = 'refused' THEN 'refused'
        WHEN challenge_type IS NULL THEN 'none' ELSE 'pending' END,
    code_counter = code_counter + 1,{_VOID}"""
UPDATE_PAYMENT = Change("UPDATE_PAYMENT", _UPDATE.format(void=_VOIDS), (append(12),))

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
FALL_BACK = Change("FALL_BACK", _FALL_BACK, (note("fallback", 10, "'taken'"), append(14)))
