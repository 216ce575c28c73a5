"""The reconciliation: what was asked for, what providers accepted, what the database says."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from service.challenges.codes import code_for
from service.keyring import KeyRing
from service.storage.rows import Payment
from tests.faults.wire import Accepted

TERMINAL = ("sent", "dead", "expired")
CAP_PER_CODE, CAP_PER_SESSION = 5, 10


class Answer(NamedTuple):
    """How a call ended, as its caller saw it.

    Attributes:
        began: When it was made, seconds of time.monotonic.
        ended: When it had ended.
        status: `OK`, or the gRPC status of the refusal.
        code: `code` of the refusal; empty when it was not the service that answered.
        sent: What a Send answered in `code_sent`.
        text: All that the caller could read.
    """

    began: float
    ended: float
    status: str
    code: str = ""
    sent: bool | None = None
    text: str = ""

    @property
    def ok(self) -> bool:
        return self.status == "OK"

    @property
    def satisfied(self) -> bool:
        """Whether this call has satisfied the challenge."""
        return "OUTCOME_SATISFIED" in self.text

    @property
    def already(self) -> bool:
        """Whether the challenge was satisfied before."""
        return "OUTCOME_ALREADY_SATISFIED" in self.text


class Case:
    """One session and everything that was asked of it."""

    def __init__(self, session_id: str, secret: str, kind: str, destination: str) -> None:
        self.session_id = session_id
        self.secret = secret
        self.kind = kind
        self.destination = destination
        self.sends: list[Answer] = []
        self.asked: list[float] = []
        """When each Send was begun, answered or not."""
        self.verifies: list[Answer] = []
        self.ambiguities = 0
        """Faults that leave open whether a message had been accepted."""
        self.reissued = False
        self.forgotten = False
        """The database was restored to a point before it."""

    @property
    def satisfied(self) -> int:
        return sum(answer.satisfied for answer in self.verifies)


class Figures(NamedTuple):
    """What one row shows.

    Attributes:
        runs: Faults injected, as the row counts them.
        lost: Acknowledged sends that were forgotten (U1).
        unexpected: Messages that nobody asked for, or with a wrong code (U2).
        duplicated: Messages beyond one per Send (U3 bounds them).
        recovery: Seconds from the end of the fault to the end of the last dispatch, the worst.
    """

    runs: int = 0
    lost: int = 0
    unexpected: int = 0
    duplicated: int = 0
    recovery: float = 0.0

    def __add__(self, other: Figures) -> Figures:
        recovery = max(self.recovery, other.recovery)
        sums = (mine + its for mine, its in zip(self[:4], other[:4], strict=True))
        return Figures(*sums, recovery)


def reconcile(
    cases: Iterable[Case], log: Sequence[Accepted], rows: Iterable[dict[str, Any]], ring: KeyRing
) -> Figures:
    """Compares the three; asserts U3 and U5 on the way."""
    by_destination = defaultdict(list)
    for message in log:
        by_destination[message.to].append(message)
    row_of = {row["session_id"]: row for row in rows}
    total = Figures()
    for case in cases:
        messages = by_destination.pop(case.destination, [])
        total += _one(case, messages, row_of.get(case.session_id), ring)
    return total + Figures(unexpected=sum(map(len, by_destination.values())))


def _one(
    case: Case, messages: list[Accepted], row: dict[str, Any] | None, ring: KeyRing
) -> Figures:
    if case.forgotten:
        return Figures()
    acknowledged = [answer for answer in case.sends if answer.ok]
    lost = 0
    if acknowledged:
        forgotten = row is None or row["dispatch_state"] not in (*TERMINAL, "idle")
        untrue = not messages and (
            any(answer.sent for answer in acknowledged) or (row and row["dispatch_state"] == "sent")
        )
        lost = int(bool(forgotten or untrue))
    if row is None:
        return Figures(lost=lost, unexpected=len(messages))

    first_ask = min(case.asked, default=float("inf"))
    early = sum(message.at < first_ask for message in messages)
    wrong = 0 if case.reissued else sum(m.code not in _codes(row, ring) for m in messages)
    unasked = max(0, row["sends"] - len(case.asked))
    duplicated = max(0, len(messages) - row["sends"])
    assert duplicated <= case.ambiguities, (  # U3
        f"{case.session_id}: {len(messages)} messages for {row['sends']} sends "
        f"and {case.ambiguities} ambiguities"
    )
    if duplicated and not case.reissued:
        assert len({message.code for message in messages}) <= row["code_counter"]
    assert case.satisfied <= 1, f"{case.session_id}: satisfied {case.satisfied} times"  # U5
    assert row["wrong_total"] <= CAP_PER_SESSION and row["wrong_code"] <= CAP_PER_CODE
    return Figures(0, lost, early + wrong + unasked, duplicated)


def _codes(row: dict[str, Any], ring: KeyRing) -> set[str]:
    """Computes all codes that the challenge has had so far."""
    if row["key_id"] != "k1":
        return set()
    payment = None
    if row["payee"] is not None:
        payment = Payment(row["amount_minor"], row["currency"], row["payee"])
    return {
        code_for(ring, row["key_id"], row["challenge_id"], payment, counter, 6)
        for counter in range(1, row["code_counter"] + 1)
    }


_IDS = re.compile(rb"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""Random ids of service and proxy hold digits; what is looked for is none of them."""


class Secrets:
    """What must be found nowhere: codes, credentials, full destinations, keys (U4)."""

    def __init__(self, cases: Iterable[Case], log: Iterable[Accepted], *others: str) -> None:
        cases = list(cases)
        self._codes = {message.code.encode() for message in log}
        self._credentials = {case.secret[-32:].encode() for case in cases}
        self._phones = {case.destination[1:].encode() for case in cases if case.kind == "sms"}
        self._others = {other.encode() for other in others}
        self._others |= {case.destination.encode() for case in cases if case.kind == "email"}

    def look(self, where: str, data: bytes) -> None:
        """Asserts that none is in `data`."""
        data = _IDS.sub(b" ", data)
        # Every window of the right width, so that nothing hides within a longer run.
        found = self._codes & set(re.findall(rb"(?<![\d.])(\d{6})(?!\d)", data))
        found |= self._credentials & set(re.findall(rb"(?=([A-Za-z]{32}))", data))
        found |= self._phones & set(re.findall(rb"(?=(\d{11}))", data))
        found |= {other for other in self._others if other in data}
        assert not found, f"{where} holds {sorted(found)[:3]}"
