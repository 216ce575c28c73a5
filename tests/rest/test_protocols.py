"""The same answers over HTTP/1.1 and HTTP/2. There is nothing behind, so that a slip is a 503."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.rest.edge import Edge, brief, nobody
from tests.rest.requests import (
    INVALID,
    LET_THROUGH,
    PATH,
    TOO_LARGE,
    UNKNOWN,
    WRONG_METHOD,
    WRONG_TYPE,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHOP = "https://shop.example"
JSON = {"content-type": "application/json"}
EMPTY = {
    "axios.post(url, null)": {"content-type": "application/x-www-form-urlencoded"},
    "fetch(url, {method: 'POST', body: ''})": {"content-type": "text/plain;charset=UTF-8"},
    "curl -d ''": {"content-type": "application/x-www-form-urlencoded", "content-length": "0"},
    "fetch(url, {method: 'POST', body: new FormData()})": {
        "content-type": "multipart/form-data; boundary=x"
    },
    "curl -X POST": {},
    "of JSON": JSON,
    "of nothing": {"content-type": ""},
}


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def ask(
    client: httpx.AsyncClient, method: str = "POST", target: str = PATH, **more: object
) -> httpx.Response:
    own = {"authorization": f"Bearer {nobody().secret}", "origin": SHOP}
    headers = {**own, **more.pop("headers", {})}  # type: ignore[dict-item]
    return await client.request(method, target, headers=headers, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO", "QUERY"]
)
async def test_wrong_method(client: httpx.AsyncClient, method: str) -> None:
    answer = await ask(client, method, headers=JSON)  # QUERY needs a type
    if method == "HEAD":
        assert (answer.status_code, answer.content) == (405, b"")
    else:
        assert brief(answer) == WRONG_METHOD
    assert answer.headers["allow"] == "POST"
    assert answer.headers["access-control-allow-origin"] == SHOP


@pytest.mark.parametrize("missing", ["origin", "access-control-request-method"])
async def test_options_of_no_page(client: httpx.AsyncClient, missing: str) -> None:
    headers = {"origin": SHOP, "access-control-request-method": "POST"}
    del headers[missing]
    answer = await client.options(PATH, headers=headers)
    assert brief(answer) == WRONG_METHOD
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "target",
    [PATH, PATH + "?a=b", PATH + "/", "/", "/v1/hosted-sessions/é/x", "/a%20b", "/a?b=%"],
    ids=lambda target: target.replace(PATH, "PATH"),
)
@pytest.mark.parametrize("origin", [SHOP, "null", "capacitor://localhost"])
async def test_a_preflight_of_any_path(client: httpx.AsyncClient, target: str, origin: str) -> None:
    headers = {"origin": origin, "access-control-request-method": "POST"}
    answer = await client.options(target, headers=headers)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers["access-control-allow-methods"] == "POST"


@pytest.mark.parametrize("method", ["POST", "GET", "FOO"])
async def test_unknown_path(client: httpx.AsyncClient, method: str) -> None:
    assert brief(await ask(client, method, PATH + "/")) == UNKNOWN


@pytest.mark.parametrize(
    ("query", "expected"),
    [("?", LET_THROUGH), ("?a", INVALID), ("??", INVALID)],
)
async def test_a_query(
    client: httpx.AsyncClient, query: str, expected: tuple[int, str, bool]
) -> None:
    url = client.base_url.copy_with(raw_path=(PATH + query).encode())
    assert brief(await ask(client, target=str(url))) == expected


@pytest.mark.parametrize("what", EMPTY)
async def test_an_empty_body(client: httpx.AsyncClient, what: str) -> None:
    assert brief(await ask(client, headers=EMPTY[what])) == LET_THROUGH


@pytest.mark.parametrize("headers", EMPTY.values(), ids=EMPTY)
async def test_an_empty_body_of_unknown_length(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    headers = {name: text for name, text in headers.items() if name != "content-length"}
    assert brief(await ask(client, headers=headers, content=chunks())) == LET_THROUGH


@pytest.mark.parametrize("content", [b"{}", b"null", b" "])
async def test_json_that_says_nothing(client: httpx.AsyncClient, content: bytes) -> None:
    assert brief(await ask(client, headers=JSON, content=content)) == LET_THROUGH
    assert brief(await ask(client, headers=JSON, content=chunks(content))) == LET_THROUGH


@pytest.mark.parametrize("content", [b'{"a":1}', b"[]", b"{", b"0"])
async def test_json_that_says_something(client: httpx.AsyncClient, content: bytes) -> None:
    assert brief(await ask(client, headers=JSON, content=content)) == INVALID
    assert brief(await ask(client, headers=JSON, content=chunks(content))) == INVALID


@pytest.mark.parametrize(
    "headers", [{}, {"content-type": "text/plain"}, {"content-type": "application/grpc"}], ids=str
)
async def test_a_body_of_another_type(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    assert brief(await ask(client, headers=headers, content=b"{}")) == WRONG_TYPE
    assert brief(await ask(client, headers=headers, content=chunks(b"{", b"}"))) == WRONG_TYPE


@pytest.mark.parametrize(
    "types",
    [
        ["application/grpc"],
        ["application/grpc", "application/json"],
        ["application/json", "application/grpc"],
        ["text/plain", "", "Application/GRPC+proto"],
        ["application/json ,\tapplication/grpc-web"],
    ],
    ids=str,
)
async def test_native_grpc_without_a_body(client: httpx.AsyncClient, types: list[str]) -> None:
    headers = [("authorization", f"Bearer {nobody().secret}")]
    headers += [("content-type", media_type) for media_type in types]
    assert brief(await client.post(PATH, headers=headers)) == WRONG_TYPE


@pytest.mark.parametrize("media_type", ['text/plain; a="application/grpc"', "a/application/grpc"])
async def test_what_names_grpc_elsewhere_is_not_native(
    client: httpx.AsyncClient, media_type: str
) -> None:
    assert brief(await ask(client, headers={"content-type": media_type})) == LET_THROUGH


@pytest.mark.parametrize(
    ("size", "expected"),
    [(8192, LET_THROUGH), (8193, TOO_LARGE), (60_000, TOO_LARGE)],
)
async def test_the_longest_body(
    client: httpx.AsyncClient, size: int, expected: tuple[int, str, bool]
) -> None:
    assert brief(await ask(client, headers=JSON, content=b" " * size)) == expected


async def test_a_long_body_of_unknown_length(client: httpx.AsyncClient) -> None:
    content = chunks(*[b" " * 4096] * 3)
    assert brief(await ask(client, headers=JSON, content=content)) == TOO_LARGE


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("coding", ["gzip", "identity", "foo", "gzip, chunked", "chunked, gzip"])
async def test_an_unknown_transfer_encoding(lone_edge: Edge, version: str, coding: str) -> None:
    """HTTP/2 has none; HTTP/1.0 neither, not even chunked."""
    head = f"POST {PATH} HTTP/{version}\r\nhost: edge\r\ntransfer-encoding: {coding}\r\n\r\n"
    answer = await lone_edge.raw(head.encode() + b"0\r\n\r\n")
    assert brief(answer) == (400, "validation_error", False)


async def test_http_1_0_has_no_transfer_encoding(lone_edge: Edge) -> None:
    fields = "host: edge\r\na: b\r\ntransfer-encoding: chunked"
    head = f"POST {PATH} HTTP/1.0\r\n{fields}\r\n\r\n"
    answer = await lone_edge.raw(head.encode() + b"0\r\n\r\n")
    assert brief(answer) == (400, "validation_error", False)
