"""Tokens whose claims and headers hold whatever JSON can: refused, never a bug."""

from __future__ import annotations

import base64
import json
from typing import Any

import jwt
import pytest
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2

from tests.harness.logs import Logs
from tests.harness.marks import one_database
from tests.harness.refusals import refused
from tests.harness.service import Service

GET = admin_pb2.GetChallengeRequest(session_id="cs_1")
GARBAGE = (
    "null", "true", "false", "0", "-1", "1e400", "-1e400", "NaN", "Infinity", "1" * 400, '""',
    '"x"', '"\\ud800"', '"\\u0000"', '"\\u202e"', "[]", "[null]", "[[]]", '["x"]', "[1]", "{}",
    '{"x": 1}', "[" * 900 + "]" * 900,
)  # fmt: skip
CLAIMS = ("iss", "aud", "sub", "exp", "nbf", "iat", "scope", "scp", "account_uid", "jti")
CHECKED = ("iss", "aud", "sub", "exp", "scope", "kid", "alg")
HOLDS = {("exp", "1" * 400), ("sub", '"x"')}
"""Odd values that such a claim may have all the same."""
HEADERS = ("kid", "alg", "typ", "crit", "jwk", "b64", "x5u")


def signed(service: Service, header: str, payload: str) -> str:
    """A token of these very texts."""
    parts = [base64.urlsafe_b64encode(text.encode()).rstrip(b"=") for text in (header, payload)]
    signing = b".".join(parts)
    algorithm = jwt.get_algorithm_by_name("ES256")
    signature = algorithm.sign(signing, service.issuer.key)
    return b".".join((signing, base64.urlsafe_b64encode(signature).rstrip(b"="))).decode()


def with_raw(known: dict[str, Any], name: str, raw: str) -> str:
    """JSON in which one value is this text."""
    return json.dumps({**known, name: "*"}).replace('"*"', raw)


@one_database
@pytest.mark.parametrize("place", [*CLAIMS, *(f"header {name}" for name in HEADERS)])
async def test_garbage_is_refused_and_is_no_bug(
    service: Service, monkeypatch: pytest.MonkeyPatch, make_settings: Any, place: str
) -> None:
    logged = Logs(monkeypatch, make_settings())
    header: dict[str, Any] = {"alg": "ES256", "kid": "test", "typ": "JWT"}
    claims = service.issuer.claims()
    for raw in GARBAGE:
        kind, _, name = place.rpartition(" ")
        if kind:
            token = signed(service, with_raw(header, name, raw), json.dumps(claims))
        else:
            token = signed(service, json.dumps(header), with_raw(claims, name, raw))
        refusal = await refused(service.admin("GetChallenge", GET, token))
        if refusal.status == "NOT_FOUND":  # the token holds: it is the session that lacks
            assert name not in CHECKED or (name, raw) in HOLDS, raw
        else:
            assert refusal.status in ("UNAUTHENTICATED", "PERMISSION_DENIED"), raw
    assert not logged.lines("bug")
    assert len(logged.lines("call")) == len(GARBAGE)


@one_database
async def test_what_is_no_json_is_refused(service: Service) -> None:
    for text in ("", "null", "[]", "5", "{", "[" * 5000, "\x00", '"sub"'):
        good = json.dumps(service.issuer.claims())
        for token in (
            signed(service, text, good),
            signed(service, '{"alg": "ES256", "kid": "test"}', text),
        ):
            assert (await refused(service.admin("GetChallenge", GET, token))).status == (
                "UNAUTHENTICATED"
            )
