"""Each protection that a mutation takes out is still where the mutation looks for it."""

from __future__ import annotations

import pytest

from tests.mutations.mutation import Mutation
from tests.mutations.tables import TABLES

ALL = [mutation for _, mutations in TABLES for mutation in mutations]


@pytest.mark.parametrize("mutation", ALL, ids=lambda mutation: mutation.protection)
def test_the_piece_stands_once(mutation: Mutation) -> None:
    assert mutation.stands_once()
    assert mutation.piece != mutation.instead
