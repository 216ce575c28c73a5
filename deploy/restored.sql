-- After a restore that knows less than was done, before anything serves; PostgreSQL and SQLite:
--
--   psql "$CHALLENGE_DATABASE_URL" --single-transaction -v ON_ERROR_STOP=1 -f deploy/restored.sql
--   sqlite3 challenge.db < deploy/restored.sql
--
-- Nothing that was sent or proved before is relied on: nothing is sent until a payer asks, and then
-- with a code that nobody has had. Quotas, wrong answers and locks stay as they were restored.

UPDATE hosted_session SET
    fence = fence + 100,
    -- A Send raises it by one, and a session has five: none of those codes can come again.
    code_counter = code_counter + 100,
    code_expires_at = 0, previous_code_expires_at = 0, window_ends_at = 0,
    code_sent = FALSE, code_unknown = FALSE,
    -- What was owed then is not: a payer who asks need not wait for its lease to run out.
    dispatch_reason = CASE WHEN due_at IS NULL THEN dispatch_reason ELSE 'restored' END,
    dispatch_state = CASE WHEN due_at IS NULL THEN dispatch_state ELSE 'expired' END,
    due_at = NULL
WHERE challenge_type IN ('sms', 'email');

UPDATE hosted_session SET satisfied_until = 0 WHERE challenge_state = 'satisfied';
