"""VerifyChallenge's table once more, over the internal proxy."""

from __future__ import annotations

from typing import Any

import pytest
from govifi.challenge.v1 import challenge_admin_pb2_grpc as admin_grpc

from tests.challenges.test_gate import IDS, TABLE, State, ask, known
from tests.harness.service import Service
from tests.rest.edge import Edge


@pytest.mark.parametrize(("state", "response", "fields", "wanted"), TABLE, ids=IDS)
async def test_a_row_of_the_gate_is_the_same_over_the_internal_proxy(
    service: Service, edge: Edge, state: State, response: str, fields: dict[str, Any],
    wanted: object,
) -> None:  # fmt: skip
    session = await state(service)
    service.stub = admin_grpc.ChallengeAdminServiceStub(edge.grpc)
    response = known(service, response)
    for _ in range(2):
        assert await ask(service, session, response, {**fields, "request_id": "r-1"}) == wanted
