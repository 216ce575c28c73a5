"""What is no HTTP, or a part of HTTP that nobody needs here."""

from __future__ import annotations

import pytest

from tests.rest.edge import Edge, brief, path_of
from tests.rest.http2 import HTTP2
from tests.rest.requests import LET_THROUGH, MALFORMED, PATH, request

pytestmark = pytest.mark.asyncio(loop_scope="module")

READ = ("authorization", "origin", "x-request-id", "content-type", "content-length", "host")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(b"\x16\x03\x01garbage\r\n\r\n", 400, id="not-http"),
        pytest.param(request(first="{method} {target}"), 400, id="no-version"),
        pytest.param(request(first="GET {target}"), 400, id="http-0.9"),
        pytest.param(request(first="POST v1 HTTP/1.1"), 400, id="no-slash"),
        pytest.param(request(host=""), 400, id="no-host"),
        pytest.param(request(PATH, "host: edge"), 400, id="two-hosts"),
        pytest.param(request(PATH, "host: other"), 400, id="two-different-hosts"),
        pytest.param(request(method="OPTIONS", host="host: a, b"), 400, id="two-hosts-in-a-line"),
        pytest.param(request(PATH, "bad header: a"), 400, id="space-in-name"),
        pytest.param(request(PATH, "a: \x01"), 400, id="control-character"),
        pytest.param(request(PATH, "transfer-encoding: chunked"), 400, id="two-lengths"),
        pytest.param(request(PATH, "content-length: 7"), 400, id="two-content-lengths"),
        pytest.param(request(PATH, "a: " + "b" * 300_000), 431, id="headers-of-300-kB"),
        pytest.param(request(PATH, *(f"a{n}:" for n in range(9000))), 431, id="9000-headers"),
        pytest.param(request(path_of("a" * 300_000)), 431, id="path-of-300-kB"),
        pytest.param(request(first="OPTIONS * HTTP/1.1"), 404, id="asterisk"),
        pytest.param(request(first="CONNECT edge:1 HTTP/1.1"), 404, id="connect"),
        pytest.param(
            request(PATH, "connection: upgrade", "upgrade: websocket"), 400, id="websocket"
        ),
    ],
)
async def test_malformed_http(lone_edge: Edge, data: bytes, status: int) -> None:
    """The client's own request id must not be taken over even where ours is not yet made."""
    head, _, rest = data.partition(b"\r\n")
    answer = await lone_edge.raw(head + b"\r\nx-request-id: mine\r\n" + rest)
    assert brief(answer) == (status, "validation_error", False)
    # Page code may read it, also where the request could not be read.
    assert answer.headers["access-control-allow-origin"] in ("*", "https://shop.example")


async def test_http_1_0_needs_no_host(lone_edge: Edge) -> None:
    answer = await lone_edge.raw(request(PATH, first="{method} {target} HTTP/1.0", host=""))
    assert brief(answer) == LET_THROUGH


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("character", "\0\n", ids=["NUL", "LF"])
async def test_what_ends_a_line_or_a_text_in_a_header(
    lone_edge: Edge, name: str, character: str
) -> None:
    lines = (f"POST {PATH} HTTP/1.1", "host: edge", f"{name}: 0{character}0")
    answer = await lone_edge.raw("\r\n".join(lines).encode() + b"\r\n\r\n")
    assert brief(answer) == MALFORMED


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("character", "\0\r\n", ids=["NUL", "CR", "LF"])
async def test_what_ends_a_line_or_a_text_in_a_header_of_http_2(
    lone_edge: Edge, name: str, character: str
) -> None:
    """RFC 9113, 8.2.1."""
    async with lone_edge.connection() as (reader, writer):
        client = HTTP2(reader, writer)
        await client.post(1, PATH, {name: f"0{character}0"})
        frames = await client.frames_until_end()
    assert "HEADERS" not in [kind for kind, _ in frames]


async def test_http_2_has_no_upgrade_either(lone_edge: Edge) -> None:
    """RFC 8441: a CONNECT of a protocol, which this server does not offer."""
    async with lone_edge.connection() as (reader, writer):
        client = HTTP2(reader, writer)
        await client.post(1, PATH, {":method": "CONNECT", ":protocol": "websocket"})
        frames = await client.frames_until_end()
    assert frames[-1][0] in ("RST_STREAM", "GOAWAY", "EOF")
    assert "HEADERS" not in [kind for kind, _ in frames]


async def test_an_offer_of_http_2_in_the_clear_is_not_taken_up(lone_edge: Edge) -> None:
    """RFC 9113, 3.1: it is obsolete, and the request goes on as HTTP/1.1."""
    offer = ("connection: upgrade, http2-settings", "upgrade: h2c", "http2-settings: AAMAAABk")
    answer = await lone_edge.raw(request(PATH, *offer))
    assert brief(answer) == LET_THROUGH
    assert "upgrade" not in answer.headers
