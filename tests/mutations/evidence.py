"""Protections of evidence: its chain, its export, what is written with each change, erasure."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_CHAIN, _DOCUMENTS = "service/evidence/chain.py", "service/evidence/documents.py"
_OF_SESSIONS = "service/storage/session_statements.py"
_OF_DISPATCHES = "service/storage/dispatch_statements.py"
_ARCHIVE = "service/storage/archive_statements.py"
_CHANGED_ROW = "test_a_changed_row_is_found"
_CHANGED_EXPORT = "test_a_changed_export_is_found"

EVIDENCE = (
    Mutation(
        "chain: the MAC is compared", "service/evidence/exporting.py",
        "if not hmac.compare_digest(str(chain), found.chain):", "if False:",
        "test_whoever_lacks_the_key",
    ),
    Mutation(
        "chain: the MAC is over the one before", _CHAIN,
        'f"{self.mac}{head}".encode()', "head.encode()",
        "test_what_is_appended_later",
    ),
    Mutation(
        "chain: each event names the one before", _CHAIN,
        'if event.get("previous") != head:', "if False:",
        _CHANGED_EXPORT,
    ),
    Mutation(
        "chain: the first event names the session", _CHAIN,
        "return cls(0, digest(session_id), \"\")", "return cls(0, digest(\"\"), \"\")",
        "test_a_session_from_its_opening",
    ),
    Mutation(
        "export: only what holds is signed", "service/evidence/exporting.py",
        "documents.verify(orjson.loads(document))", "pass",
        _CHANGED_ROW,
    ),
    Mutation(
        "export: the signed head is that of the events", _DOCUMENTS,
        '_require_same("the signed head", claims["head"], head)', "pass",
        "test_an_export_that_was_rewritten",
    ),
    Mutation(
        "export: personal values are committed to", _DOCUMENTS,
        "if found != commitment(salted[\"salt\"], salted[\"value\"]):", "if False:",
        _CHANGED_EXPORT,
    ),
    Mutation(
        "export: the thumbprint is the key's", _DOCUMENTS,
        '_require_same("the thumbprint", document["thumbprint"], thumbprint(jwk))', "pass",
        _CHANGED_EXPORT,
    ),
    Mutation(
        "export: personal values are signed", _DOCUMENTS,
        '_require_same("what is personal", claims["personal"], signed_personal)', "pass",
        _CHANGED_EXPORT,
    ),
    Mutation(
        "export: no key that is not known", "service/evidence/forms.py",
        'extra="forbid"', 'extra="ignore"',
        "test_a_key_more_is_refused",
    ),
    Mutation(
        "export: no key twice, and none for null", "service/evidence/forms.py",
        "if len(made) < len(pairs) or None in made.values():", "if False:",
        "test_what_readers_would_see or test_garbage",
    ),
    Mutation(
        "export: times are times", "service/evidence/forms.py",
        'datetime.fromisoformat(text.removesuffix("Z"))', "pass",
        "test_garbage",
    ),
    Mutation(
        "export: what is erased is named", _DOCUMENTS,
        "if name not in personal.get(seq, ())", "if False",
        "test_what_was_erased",
    ),
    Mutation(
        "page of fifty lines: nothing that is not signed", "examples/check_evidence.py",
        "{**document, **rest} == document and len(document) == 8", "True",
        _CHANGED_EXPORT,
    ),
    Mutation(
        "page of fifty lines: personal values are signed", "examples/check_evidence.py",
        "[session, len(events), head, sha256(personal)]",
        "[session, len(events), head, claims[\"personal\"]]",
        _CHANGED_EXPORT,
    ),
    Mutation(
        "record: a wrong answer compares the chain", _OF_SESSIONS,
        "AND wrong_code < $5 AND wrong_total < $6 AND chain = $20",
        "AND wrong_code < $5 AND wrong_total < $6 AND CAST($20 AS text) IS NOT NULL",
        "test_wrong_answers_at_once",
    ),
    Mutation(
        "record: a settlement compares the chain", _OF_DISPATCHES,
        "dispatch_state = 'sending' AND chain = $3\n",
        "dispatch_state = 'sending' AND CAST($3 AS text) IS NOT NULL\n",
        "test_a_wrong_answer_during_a_send",
    ),
    Mutation(
        "record: a settlement whose chain moved is repeated", "service/delivery/settling.py",
        "if _is_ours(row, claimed):", "if row is claimed:",
        "test_a_wrong_answer_during_a_send",
    ),
    Mutation(
        "record: a send that was outdated is told of", "service/delivery/settling.py",
        "elif attempt is None or await", "elif True or await",
        "test_a_send_that_ends_after_the_right_answer",
    ),
    Mutation(
        "record: and once", _OF_DISPATCHES,
        "WHERE session_id = $1 AND chain = $3 AND NOT EXISTS (",
        "WHERE session_id = $1 AND chain = $3 AND TRUE OR NOT EXISTS (",
        "test_a_settlement_that_is_repeated",
    ),
    Mutation(
        "record: a token is judged once, however the row moves", "service/challenges/verifying.py",
        "if not is_code(row) and about in judgements:", "if False:",
        "test_a_token_is_judged_once",
    ),
    Mutation(
        "erasure: salts and values go", _ARCHIVE,
        "UPDATE evidence SET personal = NULL, fingerprint = NULL",
        "UPDATE evidence SET fingerprint = NULL",
        "test_evidence_holds_without",
    ),
    Mutation(
        "erasure: an open challenge is refused", _ARCHIVE,
        "CASE WHEN challenge_state = 'pending' THEN 'refused'", "CASE WHEN FALSE THEN 'refused'",
        "test_a_code_that_was_sent_there",
    ),
    Mutation(
        "erasure: in the accounts of the token", _ARCHIVE,
        "OR account_uid = $2)\n)\nUNION ALL", "OR TRUE)\n)\nUNION ALL",
        "test_a_token_erases_in_its_own",
    ),
    Mutation(
        "erasure: SQLite overwrites", "service/storage/sqlite/transactions.py",
        "PRAGMA secure_delete = ON", "PRAGMA secure_delete = OFF",
        "test_nothing_is_left and sqlite",
    ),
    Mutation(
        "erasure: SQLite empties its log", "service/storage/sqlite/database.py",
        "await self._transactions.checkpoint()", "pass",
        "test_nothing_is_left and sqlite",
    ),
    Mutation(
        "retention: evidence outlives the session's row", _ARCHIVE,
        "SELECT chain FROM hosted_session WHERE hosted_session.session_id = evidence.session_id",
        "SELECT '' FROM hosted_session WHERE hosted_session.session_id = evidence.session_id",
        "test_evidence_outlives",
    ),
    Mutation(
        "page: names are no markup", "service/commands/timeline.py",
        'f"<li>{escape(line)}</li>"', 'f"<li>{line}</li>"',
        "test_every_text_that_callers_choose",
    ),
)  # fmt: skip
