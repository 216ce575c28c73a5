"""The client of channels over HTTP: what it bounds, whom it trusts, and by which proxy it goes."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import re
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from service.channels import BadDSN, Blame, Outcome, Result
from service.channels.dsn import DSN
from service.channels.http import Client, Reply
from tests.channels.certificates import server_tls
from tests.channels.http_provider import Answer, Break, http_provider
from tests.harness.timing import eventually, holds

_PROVIDER = "api.example.com"


def _client(address: str, scheme: str = "http", timeout: float = 5) -> Client:
    dsn = DSN(f"twilio://{address}?scheme={scheme}", takes=("scheme",))
    return Client(dsn, "/", timeout)


async def _post(client: Client) -> Reply | Result:
    result = await client.post(b"x" * 10, {})
    await client.close()
    return result


async def test_a_handshake_that_never_ends_sent_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
        result = await _post(_client(f"127.0.0.1:{port}", "https", timeout=0.15))
    assert result == _not_connected("timed out")


async def test_a_closed_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    result = await _post(_client(f"127.0.0.1:{port}"))
    assert result == _not_connected("connection refused")


async def test_no_more_is_read_than_is_needed() -> None:
    async with http_provider(Break.ENDLESS_BODY) as provider:
        reply = await _post(_client(provider.address))
    assert isinstance(reply, Reply)
    assert len(reply.body) == 64 * 1024


async def test_the_status_counts_though_the_body_never_ends() -> None:
    async with http_provider(Break.STALLED_BODY) as provider:
        reply = await _post(_client(provider.address))
    assert reply == Reply(201, b'{"sid"', None)


async def test_what_is_compressed_stays_so() -> None:
    bomb = gzip.compress(b"0" * 2**20)
    answer = Answer(200, bomb, (("content-encoding", "gzip"),))
    async with http_provider(answer) as provider:
        reply = await _post(_client(provider.address))
    assert reply == Reply(200, bomb, None)
    assert provider.requests[0].headers["accept-encoding"] == "identity"


async def test_no_cookie_is_kept_and_the_connection_is() -> None:
    answer = Answer(200, b"", (("set-cookie", "a=b; Path=/"),))
    async with http_provider(answer) as provider:
        client = _client(provider.address)
        await client.post(b"", {})
        await _post(client)
    assert "cookie" not in provider.requests[1].headers
    assert provider.connections == 1


async def test_connections_are_bounded() -> None:
    async with http_provider(Break.HELD) as provider:
        client = _client(provider.address)
        calls = [asyncio.create_task(client.post(b"", {})) for _ in range(80)]
        await eventually(holds(lambda: provider.connections == 64))
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        await client.close()
    assert provider.connections == 64


async def test_a_call_that_is_cancelled_closes_its_connection() -> None:
    async with http_provider(Break.HELD) as provider:
        client = _client(provider.address)
        call = asyncio.create_task(client.post(b"", {}))
        await eventually(holds(lambda: bool(provider.requests)))
        call.cancel()
        await provider.left.wait()
        with pytest.raises(asyncio.CancelledError):
            await call
        await client.close()


async def test_an_authority_in_ssl_cert_file_is_trusted(
    tmp_path: Path, trust: Callable[[], None]
) -> None:
    async with http_provider(Answer(201), server_tls(tmp_path)) as provider:
        untrusted = await _post(_client(provider.address, "https"))
        trust()
        trusted = await _post(_client(provider.address, "https"))
    assert untrusted == _not_connected("certificate: self-signed certificate")
    assert trusted == Reply(201, b"", None)


async def test_a_certificate_of_another_host_is_named(
    tmp_path: Path, trust: Callable[[], None]
) -> None:
    tls = server_tls(tmp_path, "elsewhere.example")
    trust()
    async with http_provider(Answer(201), tls) as provider:
        result = await _post(_client(provider.address, "https"))
    assert isinstance(result, Result)
    assert result.outcome is Outcome.RETRY
    assert result.reason and "certificate: IP address mismatch" in result.reason


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "ALL_PROXY"])
async def test_a_proxy_of_the_environment_leads_there(
    variable: str, tmp_path: Path, trust: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = server_tls(tmp_path, _PROVIDER)
    trust()
    async with http_provider(Answer(201), tls) as provider, _proxy(provider.address) as proxy:
        monkeypatch.setenv(variable, f"http://us%40er:word@{proxy.address}")
        reply = await _post(_client(_PROVIDER, "https"))
    assert reply == Reply(201, b"", None)
    assert f"CONNECT {_PROVIDER}:443 HTTP/1.1" in proxy.asked
    assert "Proxy-Authorization: Basic dXNAZXI6d29yZA==" in proxy.asked
    assert "proxy-authorization" not in provider.requests[0].headers


async def test_a_proxy_that_refuses_sent_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with _proxy(None) as proxy:
        monkeypatch.setenv("https_proxy", proxy.address)
        result = await _post(_client(_PROVIDER, "https"))
    assert isinstance(result, Result)
    assert (result.outcome, bool(proxy.asked)) == (Outcome.RETRY, True)


def test_a_proxy_that_speaks_no_http_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1080")
    with pytest.raises(BadDSN, match="ALL_PROXY"):
        _client(_PROVIDER, "https")
    monkeypatch.setenv("NO_PROXY", "example.com")
    _client(_PROVIDER, "https")


async def test_no_proxy_leads_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    async with http_provider(Answer(201)) as provider:
        assert await _post(_client(provider.address)) == Reply(201, b"", None)


def _not_connected(why: str) -> Result:
    reason = f"not connected: {why}"
    return Result(Outcome.RETRY, reason=reason, blames=Blame.PROVIDER)


class _Proxy:
    """What a proxy was asked for."""

    address = ""
    asked = ""


@contextlib.asynccontextmanager
async def _proxy(to: str | None) -> AsyncIterator[_Proxy]:
    """Serves CONNECT, whatever the host, by a tunnel to one address; by 403 to none."""
    proxy = _Proxy()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        proxy.asked = (await reader.readuntil(b"\r\n\r\n")).decode()
        if to is None:
            writer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
            writer.close()
            return
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        host, port = re.fullmatch(r"(.*):(\d+)", to).groups()  # type: ignore[union-attr]
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        await asyncio.gather(_pipe(reader, far_writer), _pipe(far_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    proxy.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield proxy
    server.close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()
