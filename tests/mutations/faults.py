"""Protections of what was claimed: leases, fences, failover, readiness."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_OF_DISPATCHES = "service/storage/dispatch_statements.py"
FAULTS = (
    Mutation(
        "lease: a dead process's try is taken over", _OF_DISPATCHES,
        "SELECT session_id FROM hosted_session WHERE due_at <= challenge_now()",
        "SELECT session_id FROM hosted_session WHERE due_at <= challenge_now() "
        "AND dispatch_state = 'queued'",
        "1-kill_at_each_point-sqlite",
    ),
    Mutation(
        "lease: a living process's is not", "service/delivery/leases.py",
        "for hold in self._held - self._extending.keys():", "for hold in set[_Hold]():",
        "12-skewed_clock-postgresql",
    ),
    Mutation(
        "lease: an extension that hangs delays no other", "service/delivery/leases.py",
        "self._extending[hold] = asyncio.create_task(self._extend_held(hold))",
        "self._extending[hold] = asyncio.create_task(self._extend_held(hold)); "
        "await asyncio.wait(self._extending.values())",
        "7-one_connection_hangs-postgresql",
    ),
    Mutation(
        "lease: on the database's clock", "service/storage/postgres/database.py",
        "return await self.rows(RECLAIM_DUE, lease_ms, limit, but_not)",
        "now = str(__import__('time').time_ns() // 1_000_000); "
        "return await self.rows(RECLAIM_DUE.replace('<= challenge_now()', '<= ' + now), "
        "lease_ms, limit, but_not)",
        "12-skewed_clock-postgresql",
    ),
    Mutation(
        "fencing token: a stale worker's result does not count", _OF_DISPATCHES,
        "WHERE session_id = $1 AND fence = $2 AND dispatch_state = 'sending' AND chain = $3\n",
        "WHERE session_id = $1 AND fence >= CAST($2 AS bigint) AND "
        "dispatch_state = 'sending' AND chain = $3\n",
        "2-stale_result-postgresql",
    ),
    Mutation(
        "fencing token: one claim at a time", _OF_DISPATCHES,
        "WHERE session_id = $1 AND fence = $2 AND challenge_now() < expires_at",
        "WHERE session_id = $1 AND fence >= CAST($2 AS bigint) AND challenge_now() < expires_at",
        "5-fifty_sends-postgresql",
    ),
    Mutation(
        "re-check before sending: the claim", "service/delivery/trying.py",
        "if elapsed <= _FRESH_SECONDS:", "if elapsed >= 0:",
        "2-stop_before_call-postgresql",
    ),
    Mutation(
        "re-check before sending: counted from the asking", "service/delivery/trying.py",
        "if instead := await self._outdated(claimed, time.monotonic() - lease_start):",
        "if instead := await self._outdated(claimed, 0.0):",
        "2-stop_before_call-postgresql",
    ),
    Mutation(
        "re-check before sending: the code's life", "service/delivery/retrying.py",
        "if now >= claimed.code_expires_at:", "if now < 0:",
        "14-backlog-sqlite",
    ),
    Mutation(
        "count at claim: wrong answers", "service/storage/session_statements.py",
        "    AND wrong_code < $5 AND wrong_total < $6 AND chain = $20\nRETURNING",
        "    AND wrong_code < $5 + 1000 AND wrong_total < $6 + 1000 AND $20 = $20\nRETURNING",
        "4-wrong_answers_among_resends",
    ),
    Mutation(
        "count at claim: a code succeeds once", "service/storage/session_statements.py",
        "    AND (challenge_state = 'pending' OR challenge_state = 'satisfied' "
        "AND NOT ({_HOLDS}))\n"
        "    AND (challenge_type IN {CAPTCHA_TYPES} OR challenge_now() < code_expires_at\n"
        "        AND (code_sent OR code_unknown OR dispatch_state = 'sending'))\n"
        "    AND wrong_code < $5 AND wrong_total < $6 AND chain = $20\n",
        "    AND challenge_state IN ('pending', 'satisfied')\n"
        "    AND wrong_code < $5 AND wrong_total < $6 AND $20 = $20\n",
        "3-two_hundred_right_answers",
    ),
    Mutation(
        "count at claim: a worker's death counts as unknown", _OF_DISPATCHES,
        "unknowns = unknowns + CASE WHEN dispatch_state = 'sending' THEN 1 ELSE 0 END",
        "unknowns = unknowns",
        "a_try_that_died_with_its_worker and sqlite",
    ),
    Mutation(
        "unknown once: SMS", "service/delivery/retrying.py",
        "_UNKNOWNS_ALLOWED = 1", "_UNKNOWNS_ALLOWED = 9",
        "9-sms_troubles-postgresql",
    ),
    Mutation(
        "window: a repeat sends nothing", "service/challenges/rules.py",
        "if row.now < row.window_ends_at:", "if row.now < 0:",
        "5-fifty_sends-sqlite",
    ),
    Mutation(
        "SKIP LOCKED: two sweeps, one taker", "service/storage/postgres/database.py",
        'RECLAIM_DUE.format(skip_locked="FOR UPDATE SKIP LOCKED")',
        'RECLAIM_DUE.format(skip_locked="")',
        "14-two_sweeps-postgresql",
    ),
    Mutation(
        "SKIP LOCKED: a purge waits for no claim", "service/storage/postgres/database.py",
        'PURGE_QUOTAS.format(skip_locked="FOR UPDATE SKIP LOCKED")',
        'PURGE_QUOTAS.format(skip_locked="")',
        "test_a_purge_passes_over",
    ),
    Mutation(
        "due index", "service/storage/migrations/versions/0001_sessions_quotas_ledger.py",
        '        "hosted_session_due",\n        "hosted_session",\n        ["due_at"],\n',
        '        "hosted_session_other",\n        "hosted_session",\n        ["locale"],\n',
        "14-backlog",
    ),
    Mutation(
        "after an outage, what is known is written first", "service/delivery/sweep.py",
        "_AFTER_OUTAGE_SECONDS = (4.0, 6.0)", "_AFTER_OUTAGE_SECONDS = (0.0, 0.01)",
        "6-database_restarts-postgresql",
    ),
    Mutation(
        "ledger: a settlement that is written again counts once", _OF_DISPATCHES,
        "fence = $2 AND claimed_at = $18\n", "fence = $2 AND claimed_at = $18 + 1\n",
        "7-connection_cut-postgresql",
    ),
    Mutation(
        "failover: who has no slot is passed over", "service/delivery/providers.py",
        "key=lambda one: (one.is_full, asked.count(one.name))",
        "key=lambda one: asked.count(one.name)",
        "test_a_provider_without_a_slot_is_passed_over",
    ),
    Mutation(
        "throttle: those who wait for a slot see it too", "service/delivery/providers.py",
        "if self.unavailable_for() == 0:\n            return True",
        "if True:\n            return True",
        "9-sms_troubles-postgresql",
    ),
    Mutation(
        "deadline of statements", "service/storage/postgres/database.py",
        "_COMMAND_SECONDS = 5.0", "_COMMAND_SECONDS = 500.0",
        "7-blackhole-postgresql",
    ),
    Mutation(
        "stopping does not wait for a silent database", "service/storage/postgres/connections.py",
        "connection.close(timeout=_CLOSE_SECONDS)", "connection.close()",
        "test_closing_does_not_wait_for_a_silent_server",
    ),
    Mutation(
        "after a stall, what is delivered here is not taken over", "service/delivery/sweep.py",
        "room, but_not=self._dispatcher.delivering", "room",
        "2-stall_alone-postgresql",
    ),
    Mutation(
        "drain: deliveries end first", "service/aio/tasks.py",
        "await asyncio.wait(self._running, timeout=seconds)",
        "await asyncio.wait(self._running, timeout=0)",
        "15-sigterm-sqlite",
    ),
    Mutation(
        "drain: calls end first", "service/serving/server.py",
        "await self._server.stop(self._drain_seconds)", "await self._server.stop(0)",
        "15-sigterm-sqlite",
    ),
    Mutation(
        "redirects are not followed", "service/channels/http.py",
        "allow_redirects=False", "allow_redirects=True",
        "9-sms_troubles-postgresql",
    ),
    Mutation(
        "failover: a host that is read-only is passed over", "service/storage/postgres/hosts.py",
        '"SHOW transaction_read_only") == "on"', '"SHOW transaction_read_only") == ""',
        "test_a_standby_is_passed_over",
    ),
    Mutation(
        "failover: each host has a time of its own", "service/storage/postgres/hosts.py",
        "CONNECT_SECONDS) / len(self._order)", "CONNECT_SECONDS) * 10",
        "test_a_silent_host_is_given_its_share",
    ),
    Mutation(
        "restore: no code is made that may have been sent", "deploy/restored.sql",
        "code_counter = code_counter + 100,", "code_counter = code_counter,",
        "26-restored_to_a_point-postgresql",
    ),
    Mutation(
        "restore: what was sent or owed is void", "deploy/restored.sql",
        "code_expires_at = 0, previous", "previous",
        "26-restored_to_a_point-postgresql",
    ),
    Mutation(
        "upgrade: an older release goes on on a schema that allows it",
        "service/storage/schema.py", "if SCHEMA[:4] < oldest:", "if True:",
        "15-rolling_upgrade-postgresql",
    ),
    Mutation(
        "upgrade: a migration waits briefly", "service/storage/migrating.py",
        "SET LOCAL lock_timeout = '2s'", "SELECT 1",
        "test_a_lock_that_stays_taken",
    ),
    Mutation(
        "failover: the last good host goes first", "service/storage/postgres/hosts.py",
        "self._order.rotate(-1)", "self._order.rotate(0)",
        "24-primary_killed-postgresql",
    ),
    Mutation(
        "failover: what is read-only is closed", "service/storage/postgres/database.py",
        "self._connections.distrust(connection)", "pass",
        "test_open_connections_that_turn_read_only",
    ),
    Mutation(
        "failover: and all that are free with it", "service/storage/postgres/connections.py",
        "self._hosts.distrust(connection)\n        self._close_distrusted()",
        "self._hosts.distrust(connection)",
        "test_one_that_is_not_trusted_is_closed",
    ),
    Mutation(
        "failover: an old primary that goes on is not believed",
        "service/storage/postgres/database.py",
        "if self._connections.is_on_replaced_host(connection):", "if False:",
        "test_what_an_old_primary_says",
    ),
    Mutation(
        "readiness: commits that hang are seen", "service/storage/postgres/connections.py",
        " FOR KEY SHARE SKIP LOCKED", "",
        "test_a_primary_whose_commits_hang",
    ),
    Mutation(
        "readiness: liveness does not ask the database", "service/serving/readiness.py",
        "for name in self._services:", "for name in (*self._services, LIVENESS):",
        "24-reconnected_too_early-postgresql",
    ),
    Mutation(
        "SQLite: a checkpoint is over before the next transaction",
        "service/storage/sqlite/transactions.py",
        'self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()',
        'return self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")',
        "test_the_log_is_emptied_between_transactions",
    ),
)  # fmt: skip
