"""Empty bodies as real clients send them. Collected where curl and Node are installed."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.harness.service import Service
from tests.rest.edge import Edge, path_of

FETCH = """
const [url, authorization, init] = process.argv.slice(1);
const options = {method: "POST", headers: {authorization}, ...eval(`(${init})`)};
const answer = await fetch(url, options);
console.log(JSON.stringify([answer.status, await answer.text()]));
"""
AXIOS = """
const http = require("node:http");
const [url, authorization] = process.argv.slice(1);
const headers = {authorization, "content-type": "application/x-www-form-urlencoded"};
const request = http.request(url, {method: "POST", headers}, async (answer) => {
  let text = "";
  for await (const chunk of answer) text += chunk;
  console.log(JSON.stringify([answer.statusCode, text]));
});
request.end();
"""
"""What axios.post(url, null) sends, without axios."""
ANSWER = '{"type":"sms","delivery_hint":"--0123","code_sent":true}'


async def output(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(30):
        out, _ = await process.communicate()
    return out.decode()


@pytest.mark.parametrize("version", ["--http1.0", "--http1.1", "--http2-prior-knowledge"])
@pytest.mark.parametrize(
    "body",
    [
        ["-X", "POST"], ["-d", ""], ["--data-raw", ""],
        ["-d", "{}", "-H", "content-type: application/json"],
        ["-X", "POST", "-H", "content-type: application/json"],
    ],
    ids=" ".join,
)  # fmt: skip
async def test_curl(service: Service, edge: Edge, version: str, body: list[str]) -> None:
    session = await service.challenged()
    url = f"http://127.0.0.1:{edge.port}{path_of(session.session_id)}"
    authorization = f"authorization: Bearer {session.secret}"
    shown = await output("curl", "-s", "--noproxy", "*", version, *body,
                         "-H", authorization, "-w", " %{http_code}", url)  # fmt: skip
    assert shown == f"{ANSWER} 200"


@pytest.mark.parametrize(
    "init",
    [
        "{}", "{body: ''}", "{body: null}", "{body: new URLSearchParams()}",
        "{body: new Blob([])}", "{body: new Uint8Array()}",
        "{body: new ReadableStream({start: (c) => c.close()}), duplex: 'half'}",
        "{body: '{}', headers: {authorization, 'content-type': 'application/json'}}",
        "{body: 'null', headers: {authorization, 'content-type': 'application/json'}}",
    ],
)  # fmt: skip
async def test_fetch(service: Service, edge: Edge, init: str) -> None:
    session = await service.challenged()
    url = f"http://127.0.0.1:{edge.port}{path_of(session.session_id)}"
    shown = await output(
        "node", "--input-type=module", "-e", FETCH, url, f"Bearer {session.secret}", init
    )
    assert json.loads(shown) == [200, ANSWER]


async def test_axios_without_data(service: Service, edge: Edge) -> None:
    session = await service.challenged()
    url = f"http://127.0.0.1:{edge.port}{path_of(session.session_id)}"
    shown = await output("node", "-e", AXIOS, url, f"Bearer {session.secret}")
    assert json.loads(shown) == [200, ANSWER]
