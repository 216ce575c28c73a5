"""deploy/tls.yaml: TLS in public, mutual TLS inside, certificates that change while it runs."""

from __future__ import annotations

import asyncio
import ssl
import warnings
from collections.abc import Awaitable, Callable

import grpc
import httpx
import pytest
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2
from govifi.challenge.v1 import challenge_admin_pb2_grpc as admin_grpc

from tests.deploy.authority import Authority, Pair
from tests.deploy.secured import Secured, TLSEdge
from tests.harness.service import Service, Session
from tests.harness.timing import eventually
from tests.rest.edge import brief, path_of

OLD, NEW, NEWEST = ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


async def get(edge: TLSEdge, service: Service, session: Session, client: Pair | None) -> str:
    """Gets a challenge through the internal listener; gives its hint, or the status."""
    request = admin_pb2.GetChallengeRequest(session_id=session.session_id)
    token = (("authorization", f"Bearer {service.issuer.token()}"),)
    async with edge.channel(client) as channel:
        try:
            call = admin_grpc.ChallengeAdminServiceStub(channel).GetChallenge
            return (await call(request, metadata=token, timeout=60)).challenge.delivery_hint
        except grpc.aio.AioRpcError as error:
            return error.code().name


async def test_versions_that_are_accepted(edge: TLSEdge) -> None:
    for version, name in ((NEW, "TLSv1.2"), (NEWEST, "TLSv1.3")):
        context = edge.context(minimum=version, maximum=version)
        met, protocol, _ = await edge.handshake(context)
        assert (met, protocol) == (name, "h2")


async def test_tls_1_1_is_refused(edge: TLSEdge) -> None:
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        context = edge.context(minimum=OLD, maximum=OLD)
    context.set_ciphers("ALL:@SECLEVEL=0")  # or the client itself would refuse
    with pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"):
        await edge.handshake(context)


async def test_weak_ciphers_are_refused(edge: TLSEdge) -> None:
    """No forward secrecy, or not authenticated."""
    for cipher in ("AES256-SHA", "AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA"):
        context = edge.context(maximum=NEW)
        context.set_ciphers(f"{cipher}:@SECLEVEL=0")
        with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
            await edge.handshake(context)


async def test_who_knows_no_http_2_gets_http_1_1(edge: TLSEdge) -> None:
    context = edge.context()
    context.set_alpn_protocols(["http/1.1"])
    assert (await edge.handshake(context))[1] == "http/1.1"


async def test_the_rest_contract_holds_over_tls(edge: TLSEdge, service: Service) -> None:
    session = await service.challenged(allowed_origins=["https://shop.example"])
    headers = {"authorization": f"Bearer {session.secret}", "origin": "https://shop.example"}
    path = path_of(session.session_id)
    answer = await edge.http.post(path, headers=headers)
    assert answer.text == '{"type":"sms","delivery_hint":"--0123","code_sent":true}'
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    assert brief(await edge.http.post(path))[0] == 401
    assert brief(await edge.http.get(path))[0] == 405
    assert brief(await edge.http.post(path, content=b"x", headers=headers))[0] == 415
    body = b"{" + b" " * 20_000 + b"}"
    headers["content-type"] = "application/json"
    assert brief(await edge.http.post(path, content=body, headers=headers))[0] == 413


def with_filter(change: str) -> tuple[str, str]:
    """Changes a filter of the public listener; for `start`."""
    http = f"{{name: http, typed_config: {{http_filters: [{change}]}}}}"
    timeout = "transport_socket_connect_timeout: 5s  #"
    return f"- {timeout}", f"- filters: [{http}]\n      {timeout}"


async def test_every_answer_tells_browsers_to_stay_with_tls(
    start: Callable[..., Awaitable[TLSEdge]], service: Service
) -> None:
    bucket = "{token_bucket: {max_tokens: 3, fill_interval: 600s}}"  # of a credential
    rate = f"{{name: rate-limit, typed_config: {{descriptors: [{bucket}]}}}}"
    edge = await start(with_filter(rate))
    session = await service.open()
    headers = {"authorization": f"Bearer {session.secret}"}
    path = path_of(session.session_id)
    preflight = {"origin": "https://shop.example", "access-control-request-method": "POST"}
    answers = [
        await edge.http.post(path, headers=headers),
        await edge.http.options(path, headers=preflight),
        await edge.http.post(path, headers=headers, json={"a": 1}),
        await edge.http.post(path, headers=headers, json={"a": "b" * 8192}),
        await edge.http.post(path),
        await edge.http.get("/"),
        await edge.http.get("/", headers={"a": "b" * 40_000}),
        await edge.http.get("/", headers={"a_b": "c"}),
        await edge.http.post(path, headers=headers),
    ]
    assert [answer.status_code for answer in answers] == [
        200, 204, 422, 413, 401, 404, 431, 404, 429,
    ]  # fmt: skip
    assert {answer.headers.get("strict-transport-security") for answer in answers} == {
        "max-age=31536000"
    }


async def test_a_bug_of_the_proxy_says_so_too(
    start: Callable[..., Awaitable[TLSEdge]], service: Service
) -> None:
    """It passes fewer of the proxy's filters."""
    transcoder = "{name: transcoder, typed_config: {max_response_body_size: 9}}"
    edge = await start(with_filter(transcoder))
    session = await service.challenged()
    headers = {"authorization": f"Bearer {session.secret}"}
    answer = await edge.http.post(path_of(session.session_id), headers=headers)
    assert brief(answer) == (500, "processing_error", True)
    assert answer.headers["strict-transport-security"] == "max-age=31536000"


async def test_plain_http_is_not_answered(edge: TLSEdge) -> None:
    with pytest.raises(httpx.TransportError):
        await edge.edge.http.get("/")


async def test_a_handshake_that_never_comes_is_cut_off(
    start: Callable[..., Awaitable[TLSEdge]],
) -> None:
    edge = await start(("transport_socket_connect_timeout: 5s",
                        "transport_socket_connect_timeout: 0.2s"))  # fmt: skip
    async with edge.edge.connection() as (reader, _), asyncio.timeout(60):
        assert await reader.read() == b""


async def test_internal_serves_who_has_a_certificate(
    edge: TLSEdge, service: Service, secured: Secured
) -> None:
    session = await service.challenged()
    assert await get(edge, service, session, secured.clients.client()) == "--0123"


async def test_internal_refuses_who_has_none_or_a_wrong_one(
    edge: TLSEdge, service: Service, secured: Secured
) -> None:
    session = await service.challenged()
    stranger = Authority("clients")  # of the same name, with a key of its own
    wrong = {
        "none": None,
        "foreign": stranger.client(),
        "of the public authority": secured.public.client(),
        "expired": secured.clients.client(days=-1),
        "for servers": secured.clients.server(),
    }
    for kind, client in wrong.items():
        assert await get(edge, service, session, client) == "UNAVAILABLE", kind


async def test_a_certificate_is_no_token(edge: TLSEdge, secured: Secured) -> None:
    async with edge.channel(secured.clients.client()) as channel:
        call = admin_grpc.ChallengeAdminServiceStub(channel).GetChallenge
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call(admin_pb2.GetChallengeRequest(session_id="cs_1"), timeout=60)
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_new_certificate_is_served_without_a_restart(
    edge: TLSEdge, secured: Secured
) -> None:
    _, _, before = await edge.handshake(edge.context())
    new = secured.public.server()
    assert new.serial != before
    new.write(secured.directory / "certificates/public")

    async def served() -> bool:
        return (await edge.handshake(edge.context()))[2] == new.serial

    await eventually(served)


async def test_whom_an_authority_signed_is_refused_once_it_is_replaced(
    edge: TLSEdge, service: Service, secured: Secured
) -> None:
    session = await service.challenged()
    old, successor = secured.clients.client(), Authority("clients, the next")
    assert await get(edge, service, session, old) == "--0123"
    secured.trust(successor)

    async def trusted() -> bool:
        return await get(edge, service, session, successor.client()) == "--0123"

    await eventually(trusted)
    assert await get(edge, service, session, old) == "UNAVAILABLE"
