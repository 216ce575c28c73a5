"""How many headers, and how large: the same over HTTP/1.1 and HTTP/2.

Each test counts what it sends exactly: header fields beside the host (over HTTP/2: beside the
pseudo-headers), and the bytes of all names and values.
"""

from __future__ import annotations

import httpx
import pytest

from tests.rest.edge import HTTP_1, HTTP_2, Edge, brief, nobody
from tests.rest.requests import LET_THROUGH, PATH

pytestmark = pytest.mark.asyncio(loop_scope="module")

KIB = 1024
TOO_LARGE = (431, "validation_error", False)
Fields = list[tuple[str, str]]


def bearer() -> tuple[str, str]:
    return "authorization", f"Bearer {nobody().secret}"  # each has a rate of its own


def of_count(count: int) -> Fields:
    return [bearer(), *((f"a{n}", "b") for n in range(count - 1))]


def of_bytes(count: int, client: httpx.AsyncClient) -> Fields:
    """Adds up to `count` bytes with the pseudo-headers, which HTTP/1.1 has in other words."""
    own = {
        ":method": "POST",
        ":scheme": "http",
        ":path": PATH,
        ":authority": client.base_url.netloc,
    }
    fields = [bearer(), ("a", "")]
    names = [*own.items(), *fields, ("content-length", "0")]
    left = count - sum(len(name) + len(value) for name, value in names)
    return [fields[0], ("a", "b" * left)]


async def post(client: httpx.AsyncClient, fields: Fields, path: str = PATH) -> httpx.Response:
    """Posts with these fields, and with none of the client's own."""
    request = httpx.Request("POST", client.base_url.join(path), headers=fields)
    answer = await client.send(request)
    assert answer.http_version in (HTTP_1, HTTP_2)
    return answer


@pytest.mark.parametrize("count", [1, 70, 199])
async def test_200_fields_are_served(client: httpx.AsyncClient, count: int) -> None:
    """With the content-length."""
    assert brief(await post(client, of_count(count))) == LET_THROUGH


@pytest.mark.parametrize("count", [200, 300, 4000])
async def test_more_fields_are_answered(client: httpx.AsyncClient, count: int) -> None:
    answer = await post(client, [*of_count(count), ("origin", "https://shop.example")])
    assert brief(answer) == TOO_LARGE
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"


@pytest.mark.parametrize("kib", [8, 9, 31, 32])
async def test_32_kib_are_served(client: httpx.AsyncClient, kib: int) -> None:
    assert brief(await post(client, of_bytes(kib * KIB, client))) == LET_THROUGH


@pytest.mark.parametrize("kib", [33, 63, 65, 129, 255, 256])
async def test_up_to_256_kib_are_answered(client: httpx.AsyncClient, kib: int) -> None:
    answer = await post(client, of_bytes(kib * KIB, client))
    assert brief(answer) == TOO_LARGE
    assert (await post(client, [bearer()])).status_code == 503  # on the same connection


@pytest.mark.parametrize("each", [100, 1000, 20_000])
async def test_256_kib_in_pieces_are_answered(client: httpx.AsyncClient, each: int) -> None:
    count = 256 * KIB // (each + 6)
    fields = [bearer(), *((f"a{n:05}", "b" * each) for n in range(count - 1))]
    assert brief(await post(client, fields)) == TOO_LARGE


@pytest.mark.parametrize("count", [1, 70, 150])
async def test_cookies(client: httpx.AsyncClient, count: int) -> None:
    """Over HTTP/2 browsers send each as a header of its own."""
    fields = [bearer(), *(("cookie", f"a{n}=b") for n in range(count))]
    assert brief(await post(client, fields)) == LET_THROUGH


@pytest.mark.parametrize("name", ["x_a", "authorization_", "x_forwarded_for", "_"])
async def test_a_header_with_an_underscore_is_dropped(client: httpx.AsyncClient, name: str) -> None:
    assert brief(await post(client, [bearer(), (name, "a")])) == LET_THROUGH


async def test_cookies_of_a_browser_are_one_field(lone_edge: Edge) -> None:
    crumbs = [("cookie", "a=b")] * 1000
    async with lone_edge.client(HTTP_2) as client:
        assert brief(await post(client, [bearer(), *crumbs])) == LET_THROUGH
    async with lone_edge.client(HTTP_1) as client:
        assert (
            brief(await post(client, [bearer(), ("cookie", "; ".join(["a=b"] * 1000))]))
            == LET_THROUGH
        )
