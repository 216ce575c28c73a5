"""Who may call what: session credentials of browsers, tokens of internal services."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable
from typing import Any

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2
from govifi.challenge.v1 import challenge_admin_pb2_grpc as admin_grpc
from govifi.challenge.v1 import challenge_pb2

from service.settings import Settings
from tests.harness.marks import one_database
from tests.harness.providers import Provider
from tests.harness.refusals import Refusal, refused
from tests.harness.service import Service, Session, running
from tests.harness.tokens import Issuer

SHOP, DEV = "https://shop.example", "http://localhost:3000"
UNAUTHENTICATED = ("UNAUTHENTICATED", 401, "insufficient_scope", False)
NO_SCOPE = ("PERMISSION_DENIED", 403, "insufficient_scope", False)
BAD_ORIGIN = ("PERMISSION_DENIED", 403, "origin_not_allowed", False)
NOT_FOUND = ("NOT_FOUND", 404, "session_expired", False)
ON_ONE_SESSION = (
    admin_pb2.IssueChallengeRequest(sms=admin_pb2.Sms(phone_number="+14155550199")),
    admin_pb2.GetChallengeRequest(),
    admin_pb2.VerifyChallengeRequest(code="000000"),
    admin_pb2.WaiveChallengeRequest(),
    admin_pb2.CloseSessionRequest(outcome="OUTCOME_EXPIRED"),
    admin_pb2.ListAttemptsRequest(),
)


async def send(service: Service, session_id: str, *metadata: tuple[str, str]) -> Any:
    """Calls Send with exactly this metadata."""
    return await service.public.Send(
        challenge_pb2.SendRequest(session_id=session_id), metadata=metadata
    )


def a_session_that_does_not_exist() -> Session:
    session_id = f"cs_{secrets.token_hex(12)}"
    return Session(session_id, f"{session_id}_secret_{secrets.token_urlsafe(24)}")


# Session credentials


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic {secret}",
        "{secret}",
        "Bearer {secret} {secret}",
        "Bearer {secret},{secret}",
        "Bearer cs_1",
        "Bearer cs_1_secret_",
        "Bearer cs_1_secret_tooshortfor128bits",
        "Bearer {token}",
    ],
)
@one_database
async def test_what_is_no_session_credential_is_refused(
    service: Service, authorization: str
) -> None:
    session = await service.challenged()
    value = authorization.format(secret=session.secret, token=service.issuer.token())
    refusal = await refused(send(service, session.session_id, ("authorization", value)))
    assert refusal.brief == UNAUTHENTICATED
    assert service.provider.calls == []


async def test_a_call_without_a_bearer_is_refused(service: Service) -> None:
    session = await service.challenged()
    assert (await refused(send(service, session.session_id))).brief == UNAUTHENTICATED


async def test_a_repeated_bearer_is_refused(service: Service) -> None:
    session = await service.challenged()
    header = ("authorization", f"Bearer {session.secret}")
    refusal = await refused(send(service, session.session_id, header, header))
    assert refusal.brief == UNAUTHENTICATED


async def test_the_bearer_scheme_has_no_case(service: Service) -> None:
    session = await service.challenged()
    await send(service, session.session_id, ("authorization", f"bEARER {session.secret}"))


async def test_a_wallets_credential_does_not_cover_challenges(service: Service) -> None:
    session = await service.challenged(scope="SCOPE_WALLET")
    assert (await refused(service.send(session))).brief == NO_SCOPE
    assert service.provider.calls == []


async def test_an_unknown_session_is_not_found(service: Service) -> None:
    refusal = await refused(service.send(a_session_that_does_not_exist()))
    assert refusal.brief == NOT_FOUND


@pytest.mark.parametrize("account", ["acct_1", "acct_2"])
async def test_another_sessions_credential_learns_nothing(service: Service, account: str) -> None:
    other = await service.challenged(account_uid=account)
    unknown = await refused(service.send(a_session_that_does_not_exist(), secret=other.secret))
    session = await service.challenged(allowed_origins=[SHOP])
    foreign = await refused(service.send(session, secret=other.secret))
    assert unknown.brief == NOT_FOUND
    assert foreign.seen == unknown.seen
    assert service.provider.calls == []


@pytest.mark.parametrize("state", ["wallet", "completed", "expired", "past its time", "locked"])
async def test_no_state_of_a_session_shows_to_anothers_credential(
    service: Service, state: str
) -> None:
    other = await service.open()
    scope = "SCOPE_WALLET" if state == "wallet" else "SCOPE_PAYMENT"
    session = await service.challenged(scope=scope)
    match state:
        case "completed" | "expired":
            await service.close(session, state.upper())
        case "past its time":
            await service.later(1800)
        case "locked":
            await service.send(session)
            for _ in range(5):
                await refused(service.verify(session, service.provider.wrong()))
    unknown = await refused(service.send(a_session_that_does_not_exist()))
    foreign = await refused(service.send(session, secret=other.secret))
    assert foreign.seen == unknown.seen


async def test_a_credential_of_the_right_form_but_another_secret_learns_nothing(
    service: Service,
) -> None:
    session = await service.challenged()
    forged = f"{session.session_id}_secret_{secrets.token_urlsafe(24)}"
    unknown = await refused(service.send(a_session_that_does_not_exist()))
    assert (await refused(service.send(session, secret=forged))).seen == unknown.seen


@one_database
@pytest.mark.parametrize(
    "session_id", ["", "cs_", "cs_1/..", "cs_1 ", "xs_1", "cs_٣", "cs_３", "cs_" + "1" * 126]
)
async def test_a_malformed_session_id_is_named(service: Service, session_id: str) -> None:
    session = await service.challenged()
    header = ("authorization", f"Bearer {session.secret}")
    refusal = await refused(send(service, session_id, header))
    assert refusal.brief == ("INVALID_ARGUMENT", 422, "validation_error", False)
    assert refusal.fields == ["session_id"]


# Origins


async def test_what_is_no_browser_has_no_origin_and_passes(service: Service) -> None:
    await service.send(await service.challenged(allowed_origins=[SHOP]))
    await service.send(await service.challenged(allowed_origins=[]))


@pytest.mark.parametrize("origin", [SHOP, DEV])
async def test_an_allowed_origin_passes(service: Service, origin: str) -> None:
    session = await service.challenged(allowed_origins=[SHOP, DEV])
    assert (await service.send(session, origin=origin)).code_sent


@one_database
@pytest.mark.parametrize(
    "origin",
    [
        "",
        "null",
        "*",
        "https://evil.example",
        "https://Shop.example",
        "HTTPS://shop.example",
        "http://shop.example",
        "https://shop.example:8443",
        "http://shop.example:443",
        "https://shop.example/",
        "https://shop.example.",
        "https://shop.example.evil.example",
        "https://www.shop.example",
        "https://shop.exampl",
        "https://shop.example https://evil.example",
        f"{SHOP} {DEV}",
        "http://localhost",
        "http://localhost:30001",
    ],
)
async def test_another_origin_is_refused(service: Service, origin: str) -> None:
    session = await service.challenged(allowed_origins=[SHOP, DEV])
    assert (await refused(service.send(session, origin=origin))).brief == BAD_ORIGIN
    assert service.provider.calls == []


async def test_a_repeated_origin_is_refused(service: Service) -> None:
    session = await service.challenged(allowed_origins=[SHOP])
    refusal = await refused(
        send(
            service,
            session.session_id,
            ("authorization", f"Bearer {session.secret}"),
            ("origin", SHOP),
            ("origin", SHOP),
        )
    )
    assert refusal.brief == BAD_ORIGIN


async def test_no_origin_is_allowed_where_none_is_listed(service: Service) -> None:
    session = await service.challenged()
    assert (await refused(service.send(session, origin=SHOP))).brief == BAD_ORIGIN


async def test_an_origin_is_judged_only_for_the_sessions_own_credential(
    service: Service,
) -> None:
    session, other = await service.challenged(), await service.open()
    refusal = await refused(service.send(session, secret=other.secret, origin=SHOP))
    assert refusal.brief == NOT_FOUND


# Tokens of internal services


def encoded(part: bytes | dict[str, Any]) -> str:
    raw = json.dumps(part).encode() if isinstance(part, dict) else part
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def raw_token(header: bytes | dict[str, Any], claims: dict[str, Any], secret: bytes) -> str:
    """Signs with HMAC what no library would."""
    text = f"{encoded(header)}.{encoded(claims)}"
    return f"{text}.{encoded(hmac.digest(secret, text.encode(), hashlib.sha256))}"


def signed(issuer: Issuer, key: Any = None, **header: Any) -> str:
    headers = {"kid": "test", **header}
    return jwt.encode(issuer.claims(), key or issuer.key, algorithm="ES256", headers=headers)


def in_public(issuer: Issuer) -> bytes:
    return issuer.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def from_now(seconds: int) -> int:
    return int(time.time()) + seconds


BAD_TOKENS: dict[str, Callable[[Issuer], str]] = {
    "no token at all": lambda _: "",
    "not a token": lambda _: "abc",
    "not a token of three parts": lambda _: "a.b.c",
    "a session credential": lambda _: f"cs_1_secret_{'a' * 32}",
    "signed with another key": lambda issuer: signed(
        issuer, ec.generate_private_key(ec.SECP256R1())
    ),
    "claims changed": lambda issuer: ".".join(
        encoded(issuer.claims(sub="root")) if number == 1 else part
        for number, part in enumerate(issuer.token().split("."))
    ),
    "signature cut off": lambda issuer: issuer.token().rpartition(".")[0] + ".",
    "algorithm none": lambda issuer: jwt.encode(
        issuer.claims(), None, algorithm="none", headers={"kid": "test"}
    ),
    "HS256 with the public key": lambda issuer: raw_token(
        {"alg": "HS256", "kid": "test"}, issuer.claims(), in_public(issuer)
    ),
    "HS256 with no key": lambda issuer: raw_token(
        {"alg": "HS256", "kid": "test"}, issuer.claims(), b""
    ),
    "key in the header": lambda issuer: signed(
        issuer,
        stranger := ec.generate_private_key(ec.SECP256R1()),
        jwk=jwt.algorithms.ECAlgorithm.to_jwk(stranger.public_key(), as_dict=True),
    ),
    "no key id": lambda issuer: jwt.encode(issuer.claims(), issuer.key, algorithm="ES256"),
    "unknown key id": lambda issuer: signed(issuer, kid="other"),
    "key id that is no string": lambda issuer: raw_token(
        {"alg": "ES256", "kid": ["test"]}, issuer.claims(), b"k"
    ),
    "nested too deep": lambda _: f"{encoded(b'[' * 5000)}.e30.AA",
    "another issuer": lambda issuer: issuer.token(iss="https://evil.test"),
    "another audience": lambda issuer: issuer.token(aud="other-service"),
    "expired": lambda issuer: issuer.token(exp=from_now(-10)),
    "not valid yet": lambda issuer: issuer.token(nbf=from_now(60)),
    "without issuer": lambda issuer: issuer.token(iss=None),
    "without audience": lambda issuer: issuer.token(aud=None),
    "without expiry": lambda issuer: issuer.token(exp=None),
    "without subject": lambda issuer: issuer.token(sub=None),
}


async def get_with(service: Service, session: Session, *metadata: tuple[str, str]) -> Any:
    stub = admin_grpc.ChallengeAdminServiceStub(service.channel)
    request = admin_pb2.GetChallengeRequest(session_id=session.session_id)
    return await stub.GetChallenge(request, metadata=metadata)


@one_database
@pytest.mark.parametrize("flaw", BAD_TOKENS)
async def test_a_token_that_does_not_hold_is_refused(service: Service, flaw: str) -> None:
    session = await service.open()
    token = BAD_TOKENS[flaw](service.issuer)
    refusal = await refused(get_with(service, session, ("authorization", f"Bearer {token}")))
    assert refusal.brief == UNAUTHENTICATED


@one_database
async def test_a_call_without_a_token_is_refused(service: Service) -> None:
    assert (await refused(get_with(service, await service.open()))).brief == UNAUTHENTICATED


@one_database
async def test_every_flaw_of_a_token_is_told_alike(service: Service) -> None:
    session = await service.open()
    refusals = [
        await refused(get_with(service, session, ("authorization", f"Bearer {flawed}")))
        for flawed in (bad(service.issuer) for bad in BAD_TOKENS.values())
    ]
    assert all(refusal.seen == refusals[0].seen for refusal in refusals)


@one_database
@pytest.mark.parametrize(
    "scope", [None, "", "challenge", "challenge:administrator", "other", ["challenge"], [1], 1]
)
async def test_a_token_without_the_scope_is_refused(service: Service, scope: Any) -> None:
    session = await service.open()
    token = service.issuer.token(scope=scope)
    refusal = await refused(get_with(service, session, ("authorization", f"Bearer {token}")))
    assert refusal.brief == NO_SCOPE


@one_database
async def test_the_scope_may_stand_among_others(service: Service) -> None:
    request = admin_pb2.GetChallengeRequest(session_id=(await service.open()).session_id)
    token = service.issuer.token(scope="openid challenge:admin challenge:admin:all email")
    await service.admin("GetChallenge", request, token)


@one_database
@pytest.mark.parametrize("algorithm", ["EdDSA", "RS256"])
async def test_keys_of_other_kinds_are_accepted(
    make_settings: Callable[..., Settings],
    provider: Provider,
    clock: Any,
    issuer: Issuer,
    algorithm: str,
) -> None:
    key: Any = (
        ed25519.Ed25519PrivateKey.generate()
        if algorithm == "EdDSA"
        else rsa.generate_private_key(65537, 2048)
    )
    kind = jwt.algorithms.get_default_algorithms()[algorithm]
    issuer.publish({**kind.to_jwk(key.public_key(), as_dict=True), "kid": "k", "alg": algorithm})
    token = jwt.encode(issuer.claims(), key, algorithm=algorithm, headers={"kid": "k"})
    async with running(make_settings(), provider, clock, issuer) as service:
        refusal = await refused(
            service.admin("GetChallenge", admin_pb2.GetChallengeRequest(session_id="cs_1"), token)
        )
        assert refusal.brief == NOT_FOUND


# Tokens of one account


def named(request: Any, session_id: str) -> Any:
    """Copies a request for another session."""
    copy = type(request)()
    copy.CopyFrom(request)
    copy.session_id = session_id
    return copy


async def called_by(service: Service, account: str, request: Any, session_id: str) -> Refusal:
    """Makes a call with an account's token, which must be refused."""
    rpc = type(request).__name__.removesuffix("Request")
    token = service.issuer.token(account_uid=account)
    return await refused(service.admin(rpc, named(request, session_id), token))


@pytest.mark.parametrize("request_", ON_ONE_SESSION, ids=lambda request: type(request).__name__)
async def test_another_accounts_token_learns_nothing(service: Service, request_: Any) -> None:
    session = await service.challenged(account_uid="acct_1")
    unknown = await called_by(service, "acct_2", request_, "cs_unknown")
    foreign = await called_by(service, "acct_2", request_, session.session_id)
    assert unknown.brief == NOT_FOUND
    assert foreign.seen == unknown.seen
    assert (await service.get(session)).delivery_hint == "--0123"


async def test_an_accounts_own_token_reaches_its_sessions(service: Service) -> None:
    session = await service.challenged(account_uid="acct_1")
    token = service.issuer.token(account_uid="acct_1")
    request = admin_pb2.GetChallengeRequest(session_id=session.session_id)
    assert (await service.admin("GetChallenge", request, token)).HasField("challenge")


@one_database
@pytest.mark.parametrize("claim", [None, 1, ["acct_1"], {"acct_1": True}])
async def test_an_account_that_is_no_string_makes_the_token_invalid(
    service: Service, claim: Any
) -> None:
    session = await service.challenged()
    claims = {**service.issuer.claims(), "account_uid": claim}
    token = jwt.encode(claims, service.issuer.key, algorithm="ES256", headers={"kid": "test"})
    request = admin_pb2.GetChallengeRequest(session_id=session.session_id)
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await service.admin("GetChallenge", request, token=token)
    assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("claim", ["", "acct_1 ", "ACCT_1"])
async def test_a_claim_that_is_no_account_reaches_nothing(service: Service, claim: Any) -> None:
    session = await service.challenged(account_uid="acct_1")
    request = admin_pb2.GetChallengeRequest()
    assert (await called_by(service, claim, request, session.session_id)).brief == NOT_FOUND


async def test_an_accounts_token_opens_sessions_of_its_own_only(service: Service) -> None:
    session_id = f"cs_{secrets.token_hex(12)}"
    request = admin_pb2.OpenSessionRequest(
        session_id=session_id, account_uid="acct_1", client_secret_sha256=bytes(32),
        merchant_display_name="Acme",
    )  # fmt: skip
    refusal = await called_by(service, "acct_2", request, session_id)
    assert (refusal.status, refusal.fields) == ("INVALID_ARGUMENT", ["account_uid"])
    await service.admin("OpenSession", request, service.issuer.token(account_uid="acct_1"))


@one_database
@pytest.mark.parametrize(
    ("registered", "sent"),
    [
        ("https://shop.example:443", "https://shop.example"),
        ("https://shop.example", "https://shop.example:443"),
        ("http://localhost:80", "http://localhost"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("capacitor://localhost", "capacitor://localhost"),
    ],
)
async def test_a_default_port_is_the_same_origin_as_none(
    service: Service, registered: str, sent: str
) -> None:
    session = await service.challenged(allowed_origins=[registered])
    assert (await service.send(session, origin=sent)).code_sent


@one_database
async def test_a_token_without_an_account_reaches_none_but_with_the_scope_for_all(
    service: Service,
) -> None:
    session = await service.challenged()
    request = admin_pb2.GetChallengeRequest(session_id=session.session_id)
    for scope in ("challenge:admin", ["challenge:admin"], "challenge:admin:all"):
        token = service.issuer.token(scope=scope)
        assert (await refused(service.admin("GetChallenge", request, token))).brief == NO_SCOPE
        token = service.issuer.token(scope=scope, accountUid=session.session_id)  # misspelt
        assert (await refused(service.admin("GetChallenge", request, token))).brief == NO_SCOPE


@one_database
@pytest.mark.parametrize(
    "claims",
    [
        {"scope": ["challenge:admin", "challenge:admin:all"]},
        {"scope": None, "scp": ["challenge:admin", "challenge:admin:all"]},
        {"scope": None, "scp": "challenge:admin challenge:admin:all"},
    ],
)
async def test_scopes_may_be_a_list_and_are_called_scp_too(
    service: Service, claims: dict[str, Any]
) -> None:
    session = await service.challenged()
    request = admin_pb2.GetChallengeRequest(session_id=session.session_id)
    await service.admin("GetChallenge", request, service.issuer.token(**claims))


@one_database
@pytest.mark.parametrize(
    "claims", [{"iss": ["https://issuer.example"]}, {"sub": "\ud800"}, {"sub": 7}, {"aud": 1}]
)
async def test_a_claim_of_another_form_is_refused_cleanly(
    service: Service, claims: dict[str, Any]
) -> None:
    session = await service.challenged()
    request = admin_pb2.GetChallengeRequest(session_id=session.session_id)
    payload = json.dumps({**service.issuer.claims(), **claims}).encode()
    token = jwt.PyJWS().encode(payload, service.issuer.key, "ES256", headers={"kid": "test"})
    refusal = await refused(service.admin("GetChallenge", request, token))
    assert refusal.brief == UNAUTHENTICATED
