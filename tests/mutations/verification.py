"""Protections of verification: the gate, guesses, quotas, repeats."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_RULES, _QUOTAS = "service/challenges/rules.py", "service/challenges/quotas.py"
_OF_SESSIONS = "service/storage/session_statements.py"
_OF_DISPATCHES = "service/storage/dispatch_statements.py"
_TABLE = "test_a_row_of_the_table"

VERIFICATION = (
    Mutation(
        "gate: a session that is paid", _RULES,
        'if row.state == "completed":\n        raise SessionCompleted', "if False:\n        pass",
        _TABLE,
    ),
    Mutation(
        "gate: a session that has ended", _RULES,
        'if row.state == "expired" or row.now >= row.expires_at:', "if False:",
        _TABLE,
    ),
    Mutation(
        "gate: no challenge is needed where none was issued", _RULES,
        'if row.challenge_state == "none":\n', "if False:\n",
        _TABLE,
    ),
    Mutation(
        "gate: a lock", _RULES,
        "        return Gate.ALREADY_SATISFIED\n    if is_locked(row):",
        "        return Gate.ALREADY_SATISFIED\n    if False:",
        _TABLE,
    ),
    Mutation(
        "gate: no response is none", _RULES,
        "if response is None or not _is_to(row, response):",
        "if response is not None and not _is_to(row, response):",
        _TABLE,
    ),
    Mutation(
        "gate: the code of a destination that was refused or erased", _RULES,
        'if is_code(row) and (row.challenge_state == "refused" or not', "if is_code(row) and (not",
        _TABLE,
    ),
    Mutation(
        "gate: a captcha has no code that could end", _RULES,
        "if is_code(row) and (row.chal", "if (row.chal",
        _TABLE,
    ),
    Mutation(
        "gate: a challenge that was expected and never issued", _RULES,
        'if row.challenge_state == "none" and row.challenge_expected:', "if False:",
        _TABLE,
    ),
    Mutation(
        "gate: a satisfaction is for one payment", _RULES,
        "if is_satisfied(row) and row.payment in (None, payment):", "if is_satisfied(row):",
        _TABLE,
    ),
    Mutation(
        "gate: a bound challenge needs the payment named", _RULES,
        "if row.payment is not None and payment is None:", "if False:",
        _TABLE,
    ),
    Mutation(
        "gate: another payment is not judged", _RULES,
        "if row.payment not in (None, payment):\n        raise Ch",
        "if False:\n        raise Ch",
        _TABLE,
    ),
    Mutation(
        "gate: a response to another challenge is not judged", _RULES,
        "return response.form == form and response.challenge_type in (None, row.challenge_type)",
        "return True",
        _TABLE,
    ),
    Mutation(
        "gate: no code is valid after its life", _RULES,
        "return may_have_arrived(row) and row.now < row.code_expires_at",
        "return may_have_arrived(row)",
        _TABLE,
    ),
    Mutation(
        "gate: what its statement refuses ends at once", "service/storage/store.py",
        "if row._replace(now=seen.now) == seen and not", "if False and not",
        "test_a_disagreement",
    ),
    Mutation(
        "satisfaction: ends by time", _RULES,
        "row.satisfied_until is None or row.now < row.satisfied_until", "True",
        "test_a_satisfaction_ends_after_fifteen_minutes",
    ),
    Mutation(
        "satisfaction: ends by payments", _OF_SESSIONS,
        "SET confirms_left = confirms_left - 1", "SET confirms_left = confirms_left",
        "test_a_satisfaction_ends_after_ten_payments",
    ),
    Mutation(
        "guesses: twenty a day per account and destination", _QUOTAS,
        "_DAY_MS, 20),", "_DAY_MS, 2000),",
        "test_twenty_wrong_answers_a_day",
    ),
    Mutation(
        "guesses: a hundred a day over all accounts", _QUOTAS,
        "_DAY_MS, 100),", "_DAY_MS, 10000),",
        "test_a_hundred_wrong_answers_a_day",
    ),
    Mutation(
        "guesses: a right answer clears them", "service/storage/changes.py",
        "THEN 0 ELSE used + 1 END", "THEN used ELSE used + 1 END",
        "test_a_right_answer_clears_both",
    ),
    Mutation(
        "guesses: a code that surely left nobody is void", _RULES,
        "return row.code_sent or row.code_unknown or", "return True or",
        "test_a_code_that_surely_left_nobody_is_void",
    ),
    Mutation(
        "guesses: counted before a code is sent", _OF_DISPATCHES,
        "Spend(12, (ALWAYS,) * 5 + (NEVER,) * 2)", "Spend(12, (ALWAYS,) * 5)",
        "test_twenty_wrong_answers_a_day",
    ),
    Mutation(
        "quota: five an hour per account and destination", _QUOTAS,
        'Quota(f"{challenge_type}-hour:{ours}", _HOUR_MS, 5)',
        'Quota(f"{challenge_type}-hour:{ours}", _HOUR_MS, 500)',
        "test_a_phone_number_has_five_sends_an_hour",
    ),
    Mutation(
        "quota: ten a day per account and destination", _QUOTAS,
        'Quota(f"{challenge_type}-day:{ours}", _DAY_MS, 10)',
        'Quota(f"{challenge_type}-day:{ours}", _DAY_MS, 1000)',
        "test_a_phone_number_has_ten_sends_a_day",
    ),
    Mutation(
        "quota: fifteen an hour over all accounts", _QUOTAS,
        'Quota(f"{challenge_type}-all-hour:{to}", _HOUR_MS, 15)',
        'Quota(f"{challenge_type}-all-hour:{to}", _HOUR_MS, 1500)',
        "fifteen_sends_an_hour",
    ),
    Mutation(
        "quota: thirty a day over all accounts", _QUOTAS,
        'Quota(f"{challenge_type}-all-day:{to}", _DAY_MS, 30)',
        'Quota(f"{challenge_type}-all-day:{to}", _DAY_MS, 3000)',
        "thirty_sends_a_day",
    ),
    Mutation(
        "quota: the wait tells nothing of other accounts", _QUOTAS,
        "_COARSE_MS = 900_000", "_COARSE_MS = 1000",
        "fifteen_sends_an_hour",
    ),
    Mutation(
        "quota: sessions per account and hour", _OF_SESSIONS,
        'OPEN = Change("OPEN", _OPEN, (append_event(15),), Spend(11, (ALWAYS,)))',
        'OPEN = Change("OPEN", _OPEN, (append_event(15),))',
        "test_an_account_opens_the_sessions_that_the_settings_allow",
    ),
    Mutation(
        "quota: what a provider was asked for stays spent", "service/storage/dispatches.py",
        "claimed.session_id, at) is None:", "claimed.session_id, at) is None or True:",
        "test_only_the_sessions_send_comes_back",
    ),
    Mutation(
        "quota: five sends a session", _RULES,
        "SENDS_PER_SESSION = 5", "SENDS_PER_SESSION = 500",
        "test_the_last_send_of_a_session_is_the_last",
    ),
    Mutation(
        "quota: twenty challenges a session", _RULES,
        "ISSUES_PER_SESSION = 20", "ISSUES_PER_SESSION = 2000",
        "test_a_session_is_given_twenty_challenges",
    ),
    Mutation(
        "last minute: a Send makes the next code", _RULES,
        "LAST_MINUTE_MS = 60_000", "LAST_MINUTE_MS = 0",
        "test_a_send_makes_the_next_code",
    ),
    Mutation(
        "last minute: the code before is not counted", "service/challenges/judging.py",
        "if previous_code_lives(row) and matches(", "if False and matches(",
        "test_the_code_before_is_refused_and_not_counted",
    ),
    Mutation(
        "repeat: of a verify is answered as the first time", _OF_SESSIONS,
        """note_request(Rpc.VERIFY, 16, "CASE WHEN $4 THEN 'satisfied' ELSE 'wrong' END"),""", "",
        "test_a_repeat_is_answered_alike",
    ),
    Mutation(
        "repeat: of an issue changes nothing", _OF_SESSIONS,
        """ISSUE = Change("ISSUE", _ISSUE, (note_request(Rpc.ISSUE, 14, "'issued'"), """,
        'ISSUE = Change("ISSUE", _ISSUE, (',
        "test_a_repeated_issue_leaves_the_code_as_it_is",
    ),
    Mutation(
        "codes: each as likely as another", "service/challenges/codes.py",
        "return HOTP(key, digits, SHA1()).generate(counter).decode()",
        "return f\"{int(HOTP(key, 8, SHA1()).generate(counter)) % 999_000:0{digits}}\"",
        "test_codes_are_uniform",
    ),
    Mutation(
        "codes: leading zeros are kept", "service/challenges/codes.py",
        "return HOTP(key, digits, SHA1()).generate(counter).decode()",
        "return str(int(HOTP(key, digits, SHA1()).generate(counter)))",
        "test_codes_are_uniform",
    ),
    Mutation(
        "captcha: a token is spent once", _QUOTAS,
        'Quota(f"token:{token}", _HOUR_MS, 1)', 'Quota(f"token:{token}", _HOUR_MS, 0)',
        "test_a_token_is_spent_once_here_too",
    ),
)  # fmt: skip
