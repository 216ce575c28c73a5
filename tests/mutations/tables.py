"""The mutations by what they protect, with the suites whose tests notice."""

from __future__ import annotations

from tests.mutations.captchas import CAPTCHAS
from tests.mutations.citus import CITUS
from tests.mutations.edge import EDGE
from tests.mutations.evidence import EVIDENCE
from tests.mutations.faults import FAULTS
from tests.mutations.mutation import Mutation
from tests.mutations.replacements import REPLACEMENTS
from tests.mutations.verification import VERIFICATION

TABLES: tuple[tuple[tuple[str, ...], tuple[Mutation, ...]], ...] = (
    (("tests/faults", "tests/serving", "tests/storage", "tests/delivery"), FAULTS),
    (("tests/challenges",), VERIFICATION + REPLACEMENTS),
    (("tests/captchas",), CAPTCHAS),
    (("tests/evidence", "tests/scaling/test_partitions.py"), EVIDENCE),
    (("tests/storage",), CITUS),
    (("tests/rest",), EDGE),
)
