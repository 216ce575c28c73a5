"""Protections of what changes: updates, waivers for one payment, fallbacks."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_RULES, _SESSIONS = "service/challenges/rules.py", "service/challenges/sessions.py"
_FALLBACKS, _ISSUING = "service/challenges/fallbacks.py", "service/challenges/issuing.py"
_OF_SESSIONS = "service/storage/session_statements.py"
REPLACEMENTS = (
    Mutation(
        "update: an opening is compared with what was registered", _SESSIONS,
        "await self._store.opening(new.session_id) != opening", "False",
        "test_an_opening_is_compared",
    ),
    Mutation(
        "update: a day from the opening at most", _RULES,
        "<= opened_at + LONGEST_LIFE_MS", "<= row.now + LONGEST_LIFE_MS",
        "test_the_end_is_at_most_a_day",
    ),
    Mutation(
        "update: nothing revives", _OF_SESSIONS,
        "AND state = 'open' AND challenge_now() < expires_at\nRETURNING expires_at",
        "AND state = 'open'\nRETURNING expires_at",
        "not_revived_either",
    ),
    Mutation(
        "update: the opening stays where the end moves", _OF_SESSIONS,
        "lifetime_ms + COALESCE(", "lifetime_ms + 0 * COALESCE(",
        "test_the_end_is_at_most_a_day",
    ),
    Mutation(
        "payment: what was judged before satisfies nothing", _OF_SESSIONS,
        "code_counter = code_counter + 1,", "code_counter = code_counter + 0,",
        "test_a_token_that_was_judged_before",
    ),
    Mutation(
        "payment: wrong answers carry over", _RULES,
        "return 0 < row.code_expires_at <= row.now",
        "return row.code_counter > 0 and row.now >= row.code_expires_at",
        "test_a_changed_payment_voids_the_code_without_costing_a_try",
    ),
    Mutation(
        "payment: a Send that was judged before claims nothing", _OF_SESSIONS,
        '    fence = fence + 1\n"""', '    fence = fence + 0\n"""',
        "test_a_send_that_was_judged_before",
    ),
    Mutation(
        "waiver: for one payment", _RULES,
        'row.challenge_state == "waived" and row.payment in (None, payment)',
        'row.challenge_state == "waived"',
        "test_a_row_of_the_table and waived_for_one",
    ),
    Mutation(
        "waiver: the other payments need a challenge", _OF_SESSIONS,
        "challenge_expected OR CAST($2 AS bigint) IS NOT NULL",
        "challenge_expected OR FALSE AND CAST($2 AS bigint) IS NOT NULL",
        "test_where_nothing_was_issued",
    ),
    Mutation(
        "fallback: never while a message is queued or under way", _RULES,
        'owed = row.dispatch_state in ("queued", "sending")', "owed = False",
        "test_never_while_a_message",
    ),
    Mutation(
        "fallback: never while a message may have been delivered", _RULES,
        "unknown = row.code_unknown and", "unknown = False and",
        "test_never_while_a_message_may",
    ),
    Mutation(
        "fallback: not where something may have been delivered", _RULES,
        "nothing_delivered = not (row.code_sent or row.code_unknown)",
        "nothing_delivered = not row.code_sent",
        "test_what_may_have_been_delivered",
    ),
    Mutation(
        "fallback: never weaker, also where the payment comes later", _RULES,
        "return fallback.fits(row.payment) and not", "return not",
        "test_a_payment_that_comes_later",
    ),
    Mutation(
        "fallback: never weaker, when issued", _ISSUING,
        "if not fallback.fits(payment):", "if False:",
        "test_a_bound_code_falls_back",
    ),
    Mutation(
        "fallback: a lock carries over", _FALLBACKS,
        "if is_locked(row):", "if False:",
        "test_a_lock_carries_over",
    ),
    Mutation(
        "fallback: one of many switches", _OF_SESSIONS,
        "AND fence = $2 AND chain = $12\n",
        "AND fence >= CAST($2 AS bigint) AND CAST($12 AS text) IS NOT NULL\n",
        "test_of_many_that_ask_one_switches",
    ),
    Mutation(
        "fallback: an outage alone", "service/challenges/verifying.py",
        "if error.is_outage:", "if True:",
        "test_nothing_that_a_token_can_cause or test_a_mistake_of_ours_takes_no_fallback",
    ),
    Mutation(
        "fallback: one failure of a captcha's provider is no outage", "service/captchas/judge.py",
        "return said.judgement.verdict is Verdict.UNREACHABLE",
        "return self._vendor.repeatable and said.judgement.verdict is Verdict.UNREACHABLE",
        "test_nothing_that_a_token_can_cause",
    ),
    Mutation(
        "fallback: the Send that meets the refusal", "service/delivery/dispatch.py",
        'if settlement.state == "dead":', "if False:",
        "test_the_send_that_meets_a_refusal",
    ),
)  # fmt: skip
