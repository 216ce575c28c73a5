"""The hosts that the URL names: connections go to the last good one, and to the next when it fails.

A good host takes writes. Each new connection is asked whether it does: `target_session_attrs` would
believe the parameters that came with the connection, and a pooler hands on those of the server that
it reached first, which may be another one by now.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit
from weakref import WeakSet

import asyncpg

from service.errors import text_of
from service.telemetry import logs

CONNECT_SECONDS = 4.0
"""Below the deadline of a statement, which may have to wait for it."""

_FAILED = (
    OSError,  # TimeoutError among them
    asyncpg.PostgresConnectionError,  # from a pooler: it has no server
    asyncpg.OperatorInterventionError,  # shutting down, or not up yet
    asyncpg.ReadOnlySQLTransactionError,
)
"""Errors after which the next host is tried; a wrong password or too many connections are not."""


class Host(NamedTuple):
    """A host of the URL; `address` is a name, an IP address or a directory of sockets."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


class Hosts:
    """Opens connections, and knows which of them lead to the last good host."""

    def __init__(self, url: str) -> None:
        """Opens none yet.

        Args:
            url: `postgresql://user:password@host:port,host:port/database`.

        Raises:
            ValueError: It is malformed.
        """
        self._url = url
        self._order: deque[Host | None] = deque(hosts_of(url)) or deque([None])
        # The one that took the last connection; `_order[0]` is the one that is tried next.
        self._good = self._order[0]
        # Connections to `_good`: what others answer may be old.
        self._current: WeakSet[asyncpg.Connection] = WeakSet()
        # Those opened since a host was last found to be no good: only they are used again.
        self._trusted: WeakSet[asyncpg.Connection] = WeakSet()

    async def open(self, *, cache: int, seconds: float | None = None) -> asyncpg.Connection:
        """Opens a connection to the first host that can be written to.

        Args:
            cache: How many statements stay prepared over it.
            seconds: For all hosts together, each an equal share; None for `CONNECT_SECONDS`.

        Raises:
            OSError, asyncpg.PostgresError, asyncpg.InterfaceError: There is none.
            ValueError: The URL is malformed.
        """
        share = (seconds or CONNECT_SECONDS) / len(self._order)
        failures: list[tuple[Host | None, Exception]] = []
        while len(failures) < len(self._order):
            host = self._order[0]
            try:
                connection = await self._connect(host, cache, share)
            except _FAILED as error:
                failures.append((host, error))
                self._pass_over(host)
                continue
            if host is self._order[0]:
                self._accept(host, connection)
                return connection
            connection.terminate()  # others have found it to be no good meanwhile
        if len(failures) == 1:
            raise failures[0][1]
        raise ConnectionError("; ".join(f"{host}: {text_of(error)}" for host, error in failures))

    def trusts(self, connection: asyncpg.Connection) -> bool:
        """Whether a connection leads to the last good host, as far as is known."""
        return connection in self._trusted

    def is_on_replaced_host(self, connection: asyncpg.Connection) -> bool:
        """Whether a connection leads to a host that another has replaced."""
        return connection not in self._current

    def distrust(self, connection: asyncpg.Connection) -> None:
        """If this one was trusted, trusts no open one any more and tries the next host first."""
        if connection in self._trusted:
            self._pass_over(self._order[0])

    def _pass_over(self, host: Host | None) -> None:
        if host is self._order[0]:  # others may have done so meanwhile
            self._order.rotate(-1)
            self._trusted.clear()

    def _accept(self, host: Host | None, connection: asyncpg.Connection) -> None:
        if host is not self._good:
            self._good = host
            self._current.clear()
            logs.warning("database_moved", host=str(host))
        self._current.add(connection)
        self._trusted.add(connection)

    async def _connect(self, host: Host | None, cache: int, seconds: float) -> asyncpg.Connection:
        """Connects to a host, within its share of the time.

        Raises:
            asyncpg.ReadOnlySQLTransactionError: It is read-only: a standby, or told to be.
        """
        where = {} if host is None else {"host": host.address, "port": host.port}
        connection = None
        try:
            async with asyncio.timeout(seconds):
                connection = await asyncpg.connect(
                    self._url,
                    statement_cache_size=cache,
                    target_session_attrs="any",
                    server_settings={"application_name": "challenge-service"},
                    **where,
                )
                if await connection.fetchval("SHOW transaction_read_only") == "on":
                    raise asyncpg.ReadOnlySQLTransactionError("is read-only")
        except BaseException:
            if connection is not None:
                connection.terminate()
            raise
        return connection


def hosts_of(url: str) -> list[Host]:
    """Finds the hosts in a URL where asyncpg would; empty when they are not in it.

    Raises:
        ValueError: They are malformed.
    """
    parts = urlsplit(url)
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    before, at, after = parts.netloc.partition("@")
    named = unquote(after if at else before) or query.get("host", "")
    if not named:
        return []
    hosts = [_split(host) for host in named.split(",")]
    ports = query.get("port", "").split(",")
    if len(ports) not in (1, len(hosts)):
        raise ValueError("as many ports as hosts, or one for all")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    return [
        Host(address, int(port or default or 5432))
        for (address, port), default in zip(hosts, ports, strict=True)
    ]


def _split(host: str) -> tuple[str, str]:
    """Splits what stands for one host into its address and its port, which may be empty."""
    if host.startswith("/"):
        return host, ""
    if host.startswith("["):
        address, _, port = host[1:].partition("]")
        return address, port.removeprefix(":")
    address, _, port = host.partition(":")
    if not address:
        raise ValueError("a host has no name")
    return address, port
