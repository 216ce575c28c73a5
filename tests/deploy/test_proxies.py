"""Behind a proxy, as deploy/README.md says: who the payer is, and that nothing is lost on the way.

Collected where the proxy is installed (Debian: nginx-light, haproxy).
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.deploy import proxies
from tests.deploy.authority import Authority
from tests.deploy.conftest import Overlaid
from tests.harness.service import Service
from tests.rest.edge import HTTP_1, HTTP_2, ROOT, Edge, brief, check, nobody, path_of, running

START = {"nginx": proxies.nginx, "haproxy": proxies.haproxy}
INSTALLED = [name for name in START if proxies.find(name)]
BARE = {
    "nginx": """server {
        listen 443 ssl; ssl_certificate /etc/ssl/pay.crt; ssl_certificate_key /etc/ssl/pay.key;
        location / { proxy_pass http://127.0.0.1:8080; }
    }""",
    "haproxy": """
    defaults
        mode http
        timeout connect 1s
        timeout client 30s
        timeout server 30s
    listen payers
        bind :443 ssl crt /etc/haproxy/pay.pem
        server edge1 127.0.0.1:8080
    """,
}
"""Nothing but the way; by its defaults nginx speaks HTTP/1.0."""
BUCKET = "max_tokens: {}\n{indent}tokens_per_fill: {}\n{indent}fill_interval: {}"
PER_ADDRESS, THREE = (
    BUCKET.format(*values, indent=" " * 18) for values in ((600, 10, "1s"), (3, 1, "600s"))
)
"""As the merged file writes them."""
RATE_LIMITED = (429, "rate_limited", True)
ENVOY = (ROOT / "envoy.yaml").read_text("utf-8")


async def check_behind(answer: httpx.Response) -> None:
    """Asserts what holds of every answer; nginx says its name."""
    answer.headers.pop("server", None)
    await check(answer)


class Proxied(NamedTuple):
    """A proxy in front of an Envoy.

    Attributes:
        edge: The Envoy.
        port: The proxy's.
        authority: Who signed the proxy's certificate.
    """

    edge: Edge
    port: int
    authority: Authority

    def client(self, address: str = "127.0.0.1", version: str = HTTP_2) -> httpx.AsyncClient:
        """A client that calls from an address."""
        trusted = ssl.create_default_context(cadata=self.authority.certificate.decode())
        transport = httpx.AsyncHTTPTransport(
            verify=trusted, local_address=address, http2=version == HTTP_2
        )
        return httpx.AsyncClient(
            base_url=f"https://127.0.0.1:{self.port}",
            transport=transport,
            event_hooks={"response": [check_behind]},
            timeout=30,
        )


Behind = Callable[..., Awaitable[Proxied]]


@pytest.fixture(params=INSTALLED)
def name(request: pytest.FixtureRequest) -> str:
    """Each proxy that is installed."""
    return str(request.param)


@pytest.fixture
async def behind(service: Service, tmp_path: Path, overlaid: Overlaid) -> AsyncIterator[Behind]:
    """Starts Envoy and, in front of it, a proxy; takes pieces of envoy.yaml to replace."""
    authority, stack = Authority("public"), AsyncExitStack()
    pair = authority.server()
    for suffix, content in (
        ("crt", pair.certificate), ("key", pair.key), ("pem", pair.certificate + pair.key),
    ):  # fmt: skip
        (tmp_path / f"pay.{suffix}").write_bytes(content)

    async def begin(
        name: str,
        *changes: tuple[str, str],
        overlay: str = "deploy/proxied.yaml",
        configuration: str = "",
    ) -> Proxied:
        merged = (ENVOY, overlaid(*filter(None, [overlay and Path(overlay)])))
        edge = await stack.enter_async_context(
            running(tmp_path, service.server.port, merged, *changes)
        )
        text = configuration or proxies.block(name)
        port = await stack.enter_async_context(START[name](tmp_path, text, edge.port))
        return Proxied(edge, port, authority)

    async with stack:
        yield begin


async def ask(client: httpx.AsyncClient, **headers: str) -> httpx.Response:
    own = {"authorization": f"Bearer {nobody().secret}"}
    more = {key.replace("_", "-"): value for key, value in headers.items()}
    return await client.post(path_of(nobody().session_id), headers={**own, **more})


@pytest.mark.parametrize("version", [HTTP_1, HTTP_2])
async def test_a_payer_is_served(service: Service, behind: Behind, name: str, version: str) -> None:
    proxied = await behind(name)
    session = await service.challenged(allowed_origins=["https://shop.example"])
    bearer = {"authorization": f"Bearer {session.secret}", "origin": "https://shop.example"}
    path = path_of(session.session_id)
    cookies = "; ".join(f"name{n}=value{n}" for n in range(1500))  # 26 kB
    async with proxied.client(version=version) as client:
        answers = [
            await client.post(path, headers=bearer),
            await client.post(path, headers={**bearer, "cookie": cookies}),
            await client.post(path, headers=bearer, json={}),
            await client.post(path, headers=bearer, json={"a": 1}),
            await client.post(path, headers=bearer, json={"a": "b" * 9000}),
            await client.post(path + "?a=b", headers=bearer),
            await client.get(path, headers=bearer),
        ]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 422, 413, 422, 405]
    for answer in answers:
        assert answer.http_version == version
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    assert len(service.provider.calls) == 1


async def test_each_payer_has_an_address_of_its_own(behind: Behind, name: str) -> None:
    """Whatever a client says of itself."""
    proxied = await behind(name, (PER_ADDRESS, THREE))
    async with proxied.client("127.0.0.2") as one, proxied.client("127.0.0.3") as other:
        answers = [
            await ask(one, x_forwarded_for=f"203.0.113.{number}", x_real_ip=f"203.0.113.{number}")
            for number in range(4)
        ]
        assert [answer.status_code for answer in answers] == [404] * 3 + [429]
        assert brief(answers[-1]) == RATE_LIMITED
        assert (await ask(other)).status_code == 404
        assert (await ask(one, x_forwarded_for="127.0.0.3")).status_code == 429


async def test_without_the_overlay_all_payers_are_one_address(behind: Behind, name: str) -> None:
    proxied = await behind(name, (PER_ADDRESS, THREE), overlay="")
    statuses = []
    for number in range(2, 6):
        async with proxied.client(f"127.0.0.{number}") as client:
            statuses.append((await ask(client)).status_code)
    assert statuses == [404] * 3 + [429]


async def test_a_proxy_by_its_defaults(service: Service, behind: Behind, name: str) -> None:
    proxied = await behind(name, configuration=BARE[name])
    session = await service.challenged()
    async with proxied.client() as client:
        for more in ({}, {"json": {}}, {"content": b""}):
            answer = await client.post(
                path_of(session.session_id),
                headers={"authorization": f"Bearer {session.secret}"},
                **more,  # type: ignore[arg-type]
            )
            assert answer.status_code == 200
