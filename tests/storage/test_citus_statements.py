"""What Citus refuses, looked for in the text of every statement; a cluster is not needed.

Seen on 13.2. tests/storage/test_citus.py runs them, where CITUS_URL names a cluster.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pglast import ast, parse_sql
from pglast.enums import A_Expr_Kind, BoolExprType
from sqlmodel import SQLModel

from service.storage.postgres import citus
from service.storage.postgres.database import PURGE_ATTEMPTS
from tests.storage.test_schema import IN_TURN, PLAIN

STATEMENTS = {
    **PLAIN,
    **IN_TURN,
    "RECLAIM_FOUND": citus.RECLAIM_FOUND,
    "PURGE_ATTEMPTS": PURGE_ATTEMPTS,
}
OF_ALL_SHARDS = {
    "FIND_DUE": "the sweep's: what is due lies anywhere, and is locked one by one",
    "QUEUE": "counts what is due, for metrics alone",
    "SPENT_QUOTAS": "the keys of one call's quotas, read once it has been refused",
    "WIPE": "retention's, as all below: a session past its time lies anywhere",
    "PURGE_SESSIONS": "",
    "PURGE_ATTEMPTS": "",
    "PURGE_REQUESTS": "",
    "FIND_ENDED_QUOTAS": "",
    "KEEP_CHAINS": "",
    "PURGE_EVIDENCE": "",
    "HOLDERS": "an erasure's, as the next: whoever has, or has had, a destination",
    "ERASE_EVIDENCE": "",
}
"""The statements that name no key, and why they may."""
KEYS = {**citus.KEYS, "attempt_default": "session_id"}


def within(node: Any) -> Iterator[ast.Node]:
    """Lists a node and all below it."""
    if isinstance(node, tuple):
        for part in node:
            yield from within(part)
    elif isinstance(node, ast.Node):
        yield node
        for name in node:
            yield from within(getattr(node, name))


def calls(node: Any) -> bool:
    return any(isinstance(each, ast.FuncCall) for each in within(node))


def refusals(sql: str, *, of_all_shards: bool = False) -> set[str]:
    """Says what Citus refuses of a statement, or sends to more shards than it must."""
    found = set()
    for node in within(parse_sql(sql)[0].stmt):
        if isinstance(node, ast.ReturningClause) and calls(node):
            found.add("a function in RETURNING")
        if isinstance(node, ast.OnConflictClause) and calls(node):
            found.add("a function in ON CONFLICT DO UPDATE")
        if isinstance(node, ast.CaseExpr | ast.CoalesceExpr) and calls(node):
            found.add("a function inside CASE or COALESCE")
        if table := _table(node):
            one = _finds_one(node, KEYS[table])
            if not one and not of_all_shards:
                found.add(f"{table} without its {KEYS[table]}")
            if not one and isinstance(node, ast.SelectStmt) and node.lockingClause:
                found.add("FOR UPDATE over several shards")
    return found


def _table(node: ast.Node) -> str:
    """Names the table of ours that a statement, or a part of one, is about."""
    if isinstance(node, ast.InsertStmt | ast.UpdateStmt | ast.DeleteStmt):
        name = node.relation.relname
    elif isinstance(node, ast.SelectStmt) and node.fromClause:
        source = node.fromClause[0]
        name = source.relname if isinstance(source, ast.RangeVar) else ""
    else:
        return ""
    return name if name in KEYS else ""


def _finds_one(node: Any, key: str) -> bool:
    """Tells whether a statement says in which shard its rows are."""
    if isinstance(node, ast.InsertStmt):
        place = [column.name for column in node.cols].index(key)
        select = node.selectStmt
        if select.valuesLists:
            return all(isinstance(row[place], ast.ParamRef) for row in select.valuesLists)
        value = select.targetList[place].val
        return isinstance(value, ast.ParamRef) or _column(value) == key  # what it selects has one
    return any(_is_key(part, key) for part in _all_of(node.whereClause))


def _all_of(condition: Any) -> tuple[Any, ...]:
    """The conditions that must all hold."""
    if isinstance(condition, ast.BoolExpr) and condition.boolop == BoolExprType.AND_EXPR:
        return tuple(condition.args)
    return (condition,)


def _is_key(condition: Any, key: str) -> bool:
    return (
        isinstance(condition, ast.A_Expr)
        and condition.kind == A_Expr_Kind.AEXPR_OP
        and condition.name[0].sval == "="
        and _column(condition.lexpr) == key
        and isinstance(condition.rexpr, ast.ParamRef)
    )


def _column(node: Any) -> str:
    return str(node.fields[-1].sval) if isinstance(node, ast.ColumnRef) else ""


@pytest.mark.parametrize("name", STATEMENTS)
def test_citus_takes_the_statement(name: str) -> None:
    assert refusals(STATEMENTS[name], of_all_shards=name in OF_ALL_SHARDS) == set()


def test_no_more_statements_than_those_named_are_asked_of_all_shards() -> None:
    assert {name for name, sql in STATEMENTS.items() if refusals(sql)} == set(OF_ALL_SHARDS)


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("UPDATE quota SET used = 1 WHERE key = $1 RETURNING challenge_now() AS now",
         "a function in RETURNING"),
        ("INSERT INTO quota (key) VALUES ($1) ON CONFLICT (key) DO UPDATE SET used = f()",
         "a function in ON CONFLICT DO UPDATE"),
        ("UPDATE quota SET used = CASE WHEN $2 THEN f() ELSE 0 END WHERE key = $1",
         "a function inside CASE or COALESCE"),
        ("UPDATE quota SET used = COALESCE(f(), 0) WHERE key = $1",
         "a function inside CASE or COALESCE"),
        ("UPDATE quota SET used = 1 WHERE key = $1 OR used = 2", "quota without its key"),
        ("UPDATE quota SET used = 1 WHERE key IN ($1, $2)", "quota without its key"),
        ("INSERT INTO quota (key) VALUES ('a')", "quota without its key"),
        ("INSERT INTO handled_request (session_id) SELECT 'a' FROM hosted_session "
         "WHERE session_id = $1", "handled_request without its session_id"),
        ("SELECT 1 FROM hosted_session WHERE session_id IN (SELECT session_id FROM attempt)",
         "attempt without its session_id"),
    ],
)  # fmt: skip
def test_what_citus_refuses_is_seen(sql: str, why: str) -> None:
    assert why in refusals(sql)


def test_rows_of_several_shards_are_not_to_be_locked() -> None:
    several = "SELECT 1 FROM hosted_session WHERE due_at < 1 FOR UPDATE SKIP LOCKED"
    assert refusals(several, of_all_shards=True) == {"FOR UPDATE over several shards"}


def test_every_table_is_distributed_by_the_first_column_of_its_key() -> None:
    made = SQLModel.metadata.tables.values()
    assert {table.name: next(iter(table.primary_key)).name for table in made} == citus.KEYS
