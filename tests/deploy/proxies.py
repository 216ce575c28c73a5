"""Proxies in front of Envoy, as deploy/README.md configures them. None is ever downloaded."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.harness.ports import free_port
from tests.harness.timing import eventually
from tests.rest.edge import ROOT


def find(name: str) -> str | None:
    """Finds a program, also where Debian keeps those of its administrators."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def block(language: str) -> str:
    """Reads the configuration that deploy/README.md shows in this language."""
    text = (ROOT / "deploy/README.md").read_text("utf-8")
    [found] = re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)
    return str(found)


@asynccontextmanager
async def nginx(directory: Path, servers: str, edge_port: int) -> AsyncIterator[int]:
    """Runs nginx with these servers before an Envoy; gives its port.

    `pay.crt` and `pay.key` are in its directory.
    """
    port, config = free_port(), directory / "nginx.conf"
    temporary = "".join(
        f"{kind}_temp_path {directory}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;" if os.geteuid() == 0 else ""
    servers = _moved(servers, ("/etc/ssl/pay", f"{directory}/pay"),
                     ("listen 443", f"listen 127.0.0.1:{port}"),
                     ("127.0.0.1:8080", f"127.0.0.1:{edge_port}"))  # fmt: skip
    config.write_text(
        f"{user} daemon off; pid {directory}/nginx.pid;\n"
        f"events {{}}\nhttp {{ access_log off;\n{temporary}\n{servers}\n}}\n",
        "utf-8",
    )
    log = str(directory / "nginx.log")
    async with _running(port, "nginx", "-p", str(directory), "-c", str(config), "-e", log):
        yield port


@asynccontextmanager
async def haproxy(directory: Path, text: str, edge_port: int) -> AsyncIterator[int]:
    """Runs HAProxy with this configuration before an Envoy; gives its port.

    `pay.pem` is in its directory.
    """
    port, config = free_port(), directory / "haproxy.cfg"
    text = _moved(text, ("/etc/haproxy/pay", f"{directory}/pay"),
                  ("bind :443", f"bind 127.0.0.1:{port}"),
                  ("127.0.0.1:8080", f"127.0.0.1:{edge_port}"))  # fmt: skip
    config.write_text(f"{text}\n", "utf-8")
    async with _running(port, "haproxy", "-db", "-f", str(config)):
        yield port


def _moved(text: str, *changes: tuple[str, str]) -> str:
    for old, new in changes:
        text = text.replace(old, new)
    return text


@asynccontextmanager
async def _running(port: int, name: str, *arguments: str) -> AsyncIterator[None]:
    program = find(name)
    assert program is not None
    process = await asyncio.create_subprocess_exec(program, *arguments)

    async def serves() -> bool:
        assert process.returncode is None
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            return False
        writer.close()
        return True

    try:
        await eventually(serves, seconds=20)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
