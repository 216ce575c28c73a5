"""BadRequest names every bad field of a request, not the first."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2
from hypothesis import given
from hypothesis import strategies as st

from service.api.bad_fields import BadFields
from service.errors import InvalidRequest
from tests.harness.marks import one_database
from tests.harness.refusals import refused
from tests.harness.service import Service

SERVICE = admin_pb2.DESCRIPTOR.services_by_name["ChallengeAdminService"]
PAYMENT = {"amount_minor": -1, "currency": "eur", "payee": ""}
OF_PAYMENT = {"payment.amount_minor", "payment.currency", "payment.payee"}
OPENING = {
    "session_id": "xs_1", "account_uid": "acct 1", "client_secret_sha256": bytes(31),
    "scope": 99, "allowed_origins": ["shop.example"], "expires_in": Duration(seconds=-1),
    "locale": "english!", "merchant_display_name": "Acme\n",
}  # fmt: skip
"""Every field bad."""
GOOD = {
    "session_id": "cs_1", "account_uid": "acct_1", "client_secret_sha256": bytes(32),
    "scope": 1, "allowed_origins": ["https://shop.example"], "expires_in": Duration(seconds=1),
    "locale": "en", "merchant_display_name": "Acme",
}  # fmt: skip


ROWS: list[tuple[str, dict[str, Any], set[str]]] = [
    ("OpenSession", OPENING, set(OPENING)),
    ("IssueChallenge", {"session_id": "cs_", "payment": PAYMENT}, {"method", *OF_PAYMENT}),
    ("IssueChallenge", {"sms": {"phone_number": "+1"}, "payment": PAYMENT},
     {"sms.phone_number", *OF_PAYMENT}),
    ("IssueChallenge", {"email": {"address": "jane"}, "payment": PAYMENT},
     {"email.address", *OF_PAYMENT}),
    ("IssueChallenge", {"hcaptcha": {}, "payment": PAYMENT},
     {"hcaptcha.site_key", "payment", *OF_PAYMENT}),
    ("IssueChallenge", {"turnstile": {"site_key": "a b"}, "payment": PAYMENT},
     {"turnstile.site_key", "payment", *OF_PAYMENT}),
    ("IssueChallenge", {"hcaptcha": {"site_key": "a"}, "fallback": {"email": {"address": "jane"}}},
     {"fallback.email.address"}),
    ("IssueChallenge", {"hcaptcha": {"site_key": "a"}, "fallback": {}}, {"fallback.method"}),
    ("IssueChallenge",
     {"hcaptcha": {"site_key": "a"}, "fallback": {"hcaptcha": {"site_key": "b"}}},
     {"fallback.method"}),
    ("UpdateSession", {}, {"update_mask"}),
    ("UpdateSession", {"update_mask": {"paths": ["locale", "scope"]}}, {"update_mask"}),
    ("UpdateSession", {"update_mask": {"paths": ["*"]}}, {"update_mask"}),
    (
        "UpdateSession",
        {
            "allowed_origins": ["shop.example"], "locale": "english!", "payment": PAYMENT,
            "expires_in": Duration(seconds=86_401),
            "update_mask": {"paths": [
                "allowed_origins", "locale", "merchant_display_name", "expires_in", "expire_time",
                "payment",
            ]},
        },
        {"allowed_origins", "locale", "merchant_display_name", "expires_in", "expire_time",
         *OF_PAYMENT},
    ),
    ("UpdateSession", {"update_mask": {"paths": ["payment", "expires_in"]}},
     {"payment", "expires_in"}),
    ("UseFallback", {"request_id": "a b"}, {"request_id"}),
    ("GetChallenge", {}, set()),
    ("VerifyChallenge", {"payment": PAYMENT}, OF_PAYMENT),
    (
        "VerifyChallenge",
        {"payment": PAYMENT, "type": 9, "remote_ip": "x", "request_id": "x" * 65},
        {"type", "remote_ip", "request_id", *OF_PAYMENT},
    ),
    ("WaiveChallenge", {"payment": PAYMENT, "proof_kind": "3 DS", "proof_reference": "\n"},
     {"proof_kind", "proof_reference", *OF_PAYMENT}),
    ("WaiveChallenge", {"proof_reference": "ref-1"}, {"proof_kind"}),
    ("CloseSession", {"outcome": 99}, {"outcome"}),
    ("ListAttempts", {"page_size": -1, "page_token": "x"}, {"page_size", "page_token"}),
    ("ExportEvidence", {}, set()),
    ("EraseDestination", {}, {"destination"}),
]  # fmt: skip
"""An rpc, the fields of a request, and which of them are bad beside the session id."""


@one_database
@pytest.mark.parametrize(("rpc", "fields", "bad"), ROWS)
async def test_all_bad_fields_are_named(
    service: Service, rpc: str, fields: dict[str, Any], bad: set[str]
) -> None:
    request = SERVICE.methods_by_name[rpc].input_type._concrete_class
    named = {"session_id"} & set(request.DESCRIPTOR.fields_by_name)
    session = dict.fromkeys(named, "cs_1/2")
    refusal = await refused(service.admin(rpc, request(**{**session, **fields})))
    assert refusal.brief == ("INVALID_ARGUMENT", 422, "validation_error", False)
    assert sorted(refusal.fields) == sorted({*named, *bad})
    assert all(problem for _, problem in refusal.violations)


def test_every_rpc_is_walked() -> None:
    assert {row[0] for row in ROWS} == set(SERVICE.methods_by_name)


@one_database
async def test_another_account_is_named_beside_what_is_malformed(service: Service) -> None:
    token = service.issuer.token(account_uid="acct_2")
    request = admin_pb2.OpenSessionRequest(**{**GOOD, "locale": "english!"})
    refusal = await refused(service.admin("OpenSession", request, token))
    assert sorted(refusal.fields) == ["account_uid", "locale"]


@one_database
async def test_who_may_not_call_is_told_of_no_field(service: Service) -> None:
    request = admin_pb2.VerifyChallengeRequest(session_id="", payment=PAYMENT)
    refusal = await refused(service.admin("VerifyChallenge", request, "no-token"))
    assert refusal.brief == ("UNAUTHENTICATED", 401, "insufficient_scope", False)


@given(bad=st.sets(st.sampled_from(sorted(OPENING)), min_size=1))
def test_exactly_the_bad_fields_of_an_opening_are_named(bad: set[str]) -> None:
    values = {**GOOD, **{name: OPENING[name] for name in bad}}
    with pytest.raises(InvalidRequest) as raised:
        BadFields.of(admin_pb2.OpenSessionRequest(**values)).refuse()
    assert sorted(field for field, _ in raised.value.violations) == sorted(bad)
