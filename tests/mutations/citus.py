"""What lets one text of statements run on Citus too, and what is refused at start."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_CHANGES = "service/storage/changes.py"
_CITUS = "service/storage/postgres/citus.py"
_ENGINES = "service/storage/postgres/engines.py"
_OF_SESSIONS = "service/storage/session_statements.py"
_OF_DISPATCHES = "service/storage/dispatch_statements.py"

CITUS = (
    Mutation(
        "citus: no function in RETURNING", _OF_DISPATCHES,
        "RETURNING {COLUMNS}, claimed_at AS now", "RETURNING {COLUMNS}, challenge_now() AS now",
        "test_citus_takes_the_statement",
    ),
    Mutation(
        "citus: none in ON CONFLICT DO UPDATE", _CHANGES,
        "THEN excluded.started_at ELSE quota", "THEN challenge_now() ELSE quota",
        "test_citus_takes_the_statement",
    ),
    Mutation(
        "citus: none inside CASE", _OF_SESSIONS,
        "code_expires_at = CASE WHEN $4 THEN 1 ELSE",
        "code_expires_at = CASE WHEN $4 THEN challenge_now() ELSE",
        "test_citus_takes_the_statement",
    ),
    Mutation(
        "citus: rows of several shards are not locked", _OF_DISPATCHES,
        'ORDER BY due_at LIMIT $2\n"""', 'ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED\n"""',
        "test_citus_takes_the_statement",
    ),
    Mutation(
        "citus: a statement has a key", _OF_DISPATCHES,
        "WHERE key = $1 AND started_at <= $2", "WHERE key IN ($1) AND started_at <= $2",
        "test_citus_takes_the_statement",
    ),
    Mutation(
        "citus: every table is distributed", _CITUS,
        '    "handled_request": "session_id",\n', "",
        "test_every_table_is_distributed",
    ),
    Mutation(
        "in turn: a repeat is known before it counts again", _CHANGES,
        "    for other in change.others:  # a repeat", "    for other in ():  # a repeat",
        "test_a_repeat_is_known_as_one and sqlite",
    ),
    Mutation(
        "in turn: what is looked at and full refuses", _CHANGES,
        "UPDATE quota SET used = used + 1, allowed", "UPDATE quota SET used = used, allowed",
        "test_a_claim_looks_at_quotas and sqlite",
    ),
    Mutation(
        "engines: others are refused by name", _ENGINES,
        "if part in version:", "if part in number:",
        "test_what_will_not_do_is_refused_by_name",
    ),
    Mutation(
        "engines: an old PostgreSQL is refused", _ENGINES,
        "OLDEST_POSTGRES * 10_000", "OLDEST_POSTGRES * 1_000",
        "test_what_will_not_do_is_refused_by_name",
    ),
    Mutation(
        "engines: an old Citus is refused", _ENGINES,
        "< OLDEST_CITUS:", "< (1,):",
        "test_what_will_not_do_is_refused_by_name",
    ),
    Mutation(
        "engines: only the coordinator will do", _ENGINES,
        '"SELECT citus_is_coordinator()"', '"SELECT TRUE"',
        "test_what_will_not_do_is_refused_by_name",
    ),
)  # fmt: skip
