"""What the proxy refuses by itself: there is nothing behind it, so that a slip is a 503."""

from __future__ import annotations

import pytest
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2

from tests.rest.edge import Edge, brief, path_of
from tests.rest.requests import (
    INVALID,
    JSON,
    LET_THROUGH,
    MALFORMED,
    PATH,
    SESSION,
    TOO_LARGE,
    UNKNOWN,
    WRONG_METHOD,
    WRONG_TYPE,
    request,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADMIN = admin_pb2.DESCRIPTOR.services_by_name["ChallengeAdminService"]


async def test_a_good_request_is_let_through(lone_edge: Edge) -> None:
    answer = await lone_edge.raw(request(PATH, JSON, body=b"{}"))
    assert brief(answer) == LET_THROUGH


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("/", id="root"),
        pytest.param(PATH + "/", id="trailing-slash"),
        pytest.param("/" + PATH, id="leading-slashes"),
        pytest.param(PATH.replace("/challenge", "//challenge"), id="double-slash"),
        pytest.param("/v1/hosted-sessions//challenge/send", id="no-session-id"),
        pytest.param(PATH.upper(), id="upper-case"),
        pytest.param(PATH + ";a=b", id="path-parameter"),
        pytest.param(PATH + ":verb", id="custom-verb"),
        pytest.param("/govifi.challenge.v1.ChallengeService/Send", id="grpc-path"),
        pytest.param("/govifi.challenge.v1.ChallengeAdminService/GetChallenge", id="admin-path"),
        pytest.param("/grpc.health.v1.Health/Check", id="health-path"),
        pytest.param("/stats", id="envoy-admin-path"),
    ],
)
async def test_unknown_path(lone_edge: Edge, target: str) -> None:
    answer = await lone_edge.raw(request(target, JSON, body=b"{}"))
    assert brief(answer) == UNKNOWN


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        pytest.param("/v1/a/.." + PATH.removeprefix("/v1"), LET_THROUGH, id="into-the-path"),
        pytest.param("/v1/hosted-sessions/../challenge/send", UNKNOWN, id="out-of-the-path"),
    ],
)
async def test_dot_segments_are_resolved_first(
    lone_edge: Edge, target: str, expected: tuple[int, str, bool]
) -> None:
    assert brief(await lone_edge.raw(request(target))) == expected


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
async def test_wrong_method(lone_edge: Edge, method: str) -> None:
    answer = await lone_edge.raw(
        request(
            PATH, "x-http-method-override: POST", "x-envoy-original-method: POST", method=method
        )
    )
    assert brief(answer) == WRONG_METHOD
    assert answer.headers["allow"] == "POST"


async def test_wrong_method_head(lone_edge: Edge) -> None:
    answer = await lone_edge.http.head(PATH)
    assert (answer.status_code, answer.content) == (405, b"")


@pytest.mark.parametrize(
    "size", [pytest.param(8193, id="one-byte"), pytest.param(10 * 2**20, id="10-MiB")]
)
async def test_body_too_large(lone_edge: Edge, size: int) -> None:
    answer = await lone_edge.raw(request(PATH, JSON, body=b" " * size))
    assert brief(answer) == TOO_LARGE


async def test_body_too_large_chunked(lone_edge: Edge) -> None:
    head = request(PATH, JSON, "transfer-encoding: chunked")
    chunk = b"1000\r\n" + b" " * 4096 + b"\r\n"
    answer = await lone_edge.raw(head.replace(b"content-length: 0\r\n", b"") + 4 * chunk)
    assert brief(answer) == TOO_LARGE


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        pytest.param(["content-type: text/plain"], b"{}", id="text-plain"),
        pytest.param(["content-type: application/x-www-form-urlencoded"], b"a=b", id="form"),
        pytest.param(["content-type: multipart/form-data; boundary=x"], b"--x--", id="multipart"),
        pytest.param(["content-type: application/jsonp"], b"{}", id="almost-json"),
        pytest.param(["content-type: application/json; charset=utf-16"], b"{}", id="utf-16"),
        pytest.param([JSON, "content-type: text/plain"], b"{}", id="two-types"),
        pytest.param([], b"{}", id="body-without-type"),
        pytest.param(["content-type:"], b"{}", id="body-with-empty-type"),
        pytest.param(["content-type: application/grpc"], b"\0\0\0\0\0", id="grpc"),
        pytest.param(["content-type: application/grpc+json"], b"\0\0\0\0\2{}", id="grpc-json"),
        pytest.param(["content-type: application/grpc-web"], b"\0\0\0\0\0", id="grpc-web"),
        pytest.param(["content-type: Application/GRPC"], b"\0\0\0\0\0", id="grpc-upper-case"),
    ],
)
async def test_wrong_media_type(lone_edge: Edge, headers: list[str], body: bytes) -> None:
    answer = await lone_edge.raw(request(PATH, *headers, body=body))
    assert brief(answer) == WRONG_TYPE
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(PATH + "?a=b", id="unknown-query"),
        pytest.param(PATH + "?session_id=cs_other", id="query-session_id"),
        pytest.param(PATH + "?sessionId=cs_other", id="query-sessionId"),
        pytest.param(PATH.replace("/challenge", "%252F/challenge"), id="double-encoding"),
        pytest.param(PATH.replace("/challenge", "%0d%0aa:b/challenge"), id="escaped-crlf"),
        pytest.param(PATH.replace("/challenge", "%e2%82/challenge"), id="escaped-bad-utf-8"),
        pytest.param(PATH.replace("/challenge", "%/challenge"), id="bare-percent"),
        pytest.param(path_of("cs_%D9%A3"), id="escaped-arabic-digit"),
    ],
)
async def test_a_target_that_is_not_valid(lone_edge: Edge, target: str) -> None:
    assert brief(await lone_edge.raw(request(target))) == INVALID


@pytest.mark.parametrize("query", ["?", ""])
async def test_an_empty_query_is_none(lone_edge: Edge, query: str) -> None:
    assert brief(await lone_edge.raw(request(PATH + query))) == LET_THROUGH


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(PATH.replace("/challenge", "%2Fchallenge"), id="escaped-slash"),
        pytest.param(PATH.replace("/challenge", "%2fchallenge"), id="escaped-slash-lower"),
        pytest.param(PATH.replace("/challenge", "%5Cchallenge"), id="escaped-backslash"),
        pytest.param(PATH.replace("cs_", "..%2fcs_"), id="escaped-dots"),
        pytest.param(PATH.replace("/challenge", "%00/challenge"), id="escaped-nul"),
        pytest.param(PATH + "#fragment", id="fragment"),
        pytest.param(PATH.replace("/challenge", "\u00e9/challenge"), id="bare-latin-1"),
        pytest.param(path_of("cs_\u0663".encode().decode("latin-1")), id="bare-arabic-digit"),
        pytest.param(path_of("cs_\uff13".encode().decode("latin-1")), id="bare-full-width-digit"),
    ],
)
async def test_malformed_target(lone_edge: Edge, target: str) -> None:
    answer = await lone_edge.raw(request(target))
    assert brief(answer) == MALFORMED


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"{", id="cut-off"),
        pytest.param(b"{}x", id="trailing"),
        pytest.param(b"{} {}", id="two-objects"),
        pytest.param(b"[]", id="array"),
        pytest.param(b'"text"', id="string"),
        pytest.param(b"0", id="number"),
        pytest.param(b"\0", id="nul"),
        pytest.param(b"\xef\xbb\xbf{}", id="byte-order-mark"),
        pytest.param(b'{"a":"\xff\xfe"}', id="invalid-utf-8"),
        pytest.param(b"[" * 8000, id="deep-array"),
        pytest.param(b'{"a":' * 1600, id="deep-object"),
        pytest.param(b'{"unknown":1}', id="unknown-key"),
        pytest.param(b'{"session_id":"cs_a","session_id":"cs_b"}', id="duplicate-key"),
        pytest.param(b'{"session_id":"cs_other"}', id="another-session_id"),
        pytest.param(b'{"sessionId":"cs_other"}', id="another-sessionId"),
        pytest.param(
            b'{"session_id":"%s"}' % SESSION.session_id.encode(), id="the-same-session_id"
        ),
    ],
)
async def test_malformed_body(lone_edge: Edge, body: bytes) -> None:
    answer = await lone_edge.raw(request(PATH, JSON, body=body))
    assert brief(answer) == INVALID


@pytest.mark.parametrize("body", [b"null", b" null\r\n", b" ", b"\t\n", b"{}", b" { } "])
async def test_json_that_says_nothing_is_no_body(lone_edge: Edge, body: bytes) -> None:
    assert brief(await lone_edge.raw(request(PATH, JSON, body=body))) == LET_THROUGH


@pytest.mark.parametrize("body", [b"\v", b"\f{}", b"nul", b"NULL", b"null null"])
async def test_what_json_does_not_call_white_space_or_null(lone_edge: Edge, body: bytes) -> None:
    assert brief(await lone_edge.raw(request(PATH, JSON, body=body))) == INVALID


@pytest.mark.parametrize(
    "media_type",
    ["text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "multipart/form-data", ""],
)
@pytest.mark.parametrize("length", ["content-length: 0", ""])
async def test_an_empty_body_passes_whatever_its_media_type(
    lone_edge: Edge, media_type: str, length: str
) -> None:
    lines = [f"POST {PATH} HTTP/1.1", "host: edge", f"content-type: {media_type}", length]
    head = "\r\n".join(line for line in lines if line)
    assert brief(await lone_edge.raw(head.encode() + b"\r\n\r\n")) == LET_THROUGH


async def test_a_chunked_body_needs_a_media_type(lone_edge: Edge) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nhost: edge\r\ntransfer-encoding: chunked\r\n\r\n"
    answer = await lone_edge.raw(head.encode() + b"2\r\n{}\r\n0\r\n\r\n")
    assert brief(answer) == WRONG_TYPE


async def test_http_1_0_is_served(lone_edge: Edge) -> None:
    """Nginx speaks it by default."""
    head = f"POST {PATH} HTTP/1.0\r\nhost: edge\r\nconnection: close\r\n\r\n"
    assert brief(await lone_edge.raw(head.encode())) == LET_THROUGH


@pytest.mark.parametrize("name", ["x_underscore", "authorization_", "x_forwarded_for"])
async def test_a_header_with_an_underscore_is_dropped(lone_edge: Edge, name: str) -> None:
    assert brief(await lone_edge.raw(request(PATH, f"{name}: a"))) == LET_THROUGH


async def test_a_body_100_000_deep(lone_edge: Edge) -> None:
    answer = await lone_edge.raw(request(PATH, JSON, body=b"[" * 100_000))
    assert brief(answer) == TOO_LARGE


@pytest.mark.parametrize("rpc", [method.name for method in ADMIN.methods])
async def test_the_internal_api_is_not_there(lone_edge: Edge, rpc: str) -> None:
    path = f"/{ADMIN.full_name}/{rpc}"
    for target in (path, path + "/", path + "?a=b", "/" + path, path.replace("/", "//")):
        assert brief(await lone_edge.raw(request(target, JSON, body=b"{}"))) == UNKNOWN
        for kind in ("grpc", "grpc+proto", "grpc-web+proto"):
            native = f"content-type: application/{kind}"
            answer = await lone_edge.raw(request(target, native, body=b"\0\0\0\0\0"))
            assert brief(answer) == WRONG_TYPE
