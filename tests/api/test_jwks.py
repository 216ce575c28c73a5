"""The keys of internal tokens: from a file or a URL, rotated, missing, hostile."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2

from service.api.jwks import KeySet
from service.settings import Settings
from tests.harness.marks import one_database
from tests.harness.providers import Provider
from tests.harness.refusals import refused
from tests.harness.service import running
from tests.harness.tokens import Issuer

GET = admin_pb2.GetChallengeRequest(session_id="cs_1")
NO_KEY_SETS = ["", "{", "null", "[]", "5", "{}", '{"keys": 5}', '{"keys": {}}', '{"keys": [5]}',
               '{"keys": [{"kty": "EC", "kid": "b"}]}', "[" * 100_000, " " * 300_000]  # fmt: skip


def key_set(*key_ids: str) -> str:
    """A JWKS of fresh keys."""
    keys = []
    for key_id in key_ids:
        public = ec.generate_private_key(ec.SECP256R1()).public_key()
        keys.append({**jwt.algorithms.ECAlgorithm.to_jwk(public, as_dict=True), "kid": key_id})
    return json.dumps({"keys": keys})


async def has(keys: KeySet, key_id: str | None) -> bool:
    try:
        return (await keys.find(key_id)).key_id == key_id
    except jwt.PyJWKSetError:
        return False


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the source be asked again at once, whatever the age of what is known."""
    monkeypatch.setattr("service.api.jwks._MIN_AGE_SECONDS", 0.0)
    monkeypatch.setattr("service.api.jwks._MAX_AGE_SECONDS", 0.0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with the key `a`."""
    path = tmp_path / "keys.json"
    path.write_text(key_set("a"))
    return path


def hold(file: Path, text: str | None) -> None:
    """Has the file hold this, or no longer be there."""
    if text is None:
        file.unlink()
    else:
        file.write_text(text)


class Web:
    """A web server that answers as it is told to."""

    def __init__(self) -> None:
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body = key_set("a").encode()
        self.paths: list[str] = []
        self.credentials: list[str | None] = []
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.paths.append(self.path)
                web.credentials.append(self.headers["authorization"])
                self.send_response(web.status)
                for name, value in web.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(web.body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/jwks"


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A running web server, not to be reached by way of any proxy."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    web = Web()
    thread = threading.Thread(target=web.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield web
    web.server.shutdown()
    web.server.server_close()
    thread.join()


async def test_a_key_of_a_file_is_found(file: Path) -> None:
    keys = KeySet(str(file))
    await keys.load()
    assert await has(keys, "a")


@pytest.mark.parametrize("key_id", [None, "", "b", "A"])
async def test_no_other_key_is_found(file: Path, key_id: str | None) -> None:
    keys = KeySet(str(file))
    await keys.load()
    assert not await has(keys, key_id)


async def test_a_key_without_an_id_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(key_set("", "a").replace(', "kid": ""', ""))
    keys = KeySet(str(path))
    await keys.load()
    assert not await has(keys, None)
    assert not await has(keys, "None")


@pytest.mark.usefixtures("impatient")
async def test_a_key_that_was_added_is_found(file: Path) -> None:
    keys = KeySet(str(file))
    await keys.load()
    hold(file, key_set("b"))
    assert await has(keys, "b")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("left", [["b"], []])
async def test_a_key_that_was_removed_is_found_no_more(file: Path, left: list[str]) -> None:
    keys = KeySet(str(file))
    await keys.load()
    hold(file, key_set(*left))
    assert not await has(keys, "a")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("text", [None, *NO_KEY_SETS], ids=lambda text: str(text)[:20])
async def test_keys_end_when_their_source_has_been_unreadable_for_an_hour(
    file: Path, text: str | None
) -> None:
    now = 0.0
    keys = KeySet(str(file), lambda: now)
    await keys.load()
    hold(file, text)
    now = 3600.0
    assert await has(keys, "a")
    now = 3601.0
    assert not await has(keys, "a")
    hold(file, key_set("c"))
    now = 3602.0
    assert await has(keys, "c")


@one_database
@pytest.mark.usefixtures("impatient")
async def test_a_token_is_accepted_after_its_key_was_published(
    make_settings: Callable[..., Settings],
    provider: Provider,
    clock: Any,
    issuer: Issuer,
    tmp_path: Path,
) -> None:
    async with running(make_settings(), provider, clock, issuer) as service:
        (tmp_path / "next").mkdir()
        successor = Issuer(tmp_path / "next")
        token = successor.token()
        assert (await refused(service.admin("GetChallenge", GET, token))).status == (
            "UNAUTHENTICATED"
        )
        issuer.jwks.write_text(successor.jwks.read_text())
        assert (await refused(service.admin("GetChallenge", GET, token))).status == "NOT_FOUND"


async def test_a_source_is_not_asked_at_every_unknown_key(web: Web) -> None:
    keys = KeySet(web.url)
    await keys.load()
    assert not any([await has(keys, f"b{number}") for number in range(10)])
    assert len(web.paths) == 1


async def test_many_who_miss_a_key_ask_once(web: Web) -> None:
    keys = KeySet(web.url)  # as old as can be: never read
    assert all(await asyncio.gather(*(has(keys, "a") for _ in range(20))))
    assert len(web.paths) == 1


@pytest.mark.usefixtures("impatient")
async def test_known_keys_outlive_a_source_that_is_gone(file: Path) -> None:
    keys = KeySet(str(file))
    await keys.load()
    hold(file, None)
    assert await has(keys, "a")
    assert not await has(keys, "b")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("text", NO_KEY_SETS, ids=lambda text: text[:20])
async def test_known_keys_outlive_a_source_that_makes_no_sense(file: Path, text: str) -> None:
    keys = KeySet(str(file))
    await keys.load()
    hold(file, text)
    assert await has(keys, "a")
    assert not await has(keys, "b")


async def test_a_key_of_a_url_is_found(web: Web) -> None:
    keys = KeySet(web.url)
    await keys.load()
    assert await has(keys, "a")


async def test_a_password_of_the_netrc_file_is_not_sent(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login operator password hunter2")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    await KeySet(web.url).load()
    assert web.credentials == [None]


@pytest.mark.parametrize("status", [301, 307])
async def test_a_redirect_is_not_followed(web: Web, status: int) -> None:
    web.status, web.headers = status, {"location": f"{web.url}/elsewhere"}
    with pytest.raises(ValueError, match="cannot be read"):
        await KeySet(web.url).load()
    assert web.paths == ["/jwks"]


@pytest.mark.parametrize("status", [404, 503])
async def test_an_error_holds_no_keys(web: Web, status: int) -> None:
    web.status = status
    with pytest.raises(ValueError, match="cannot be read"):
        await KeySet(web.url).load()


async def test_a_key_set_that_is_too_large_is_refused(web: Web) -> None:
    web.body += b" " * 300_000
    with pytest.raises(ValueError, match="too large"):
        await KeySet(web.url).load()


async def test_a_url_where_nothing_answers_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    nowhere = KeySet("http://127.0.0.1:1/jwks")
    with pytest.raises(ValueError, match="cannot be read"):
        await nowhere.load()


@pytest.mark.parametrize("url", ["http://issuer.test/jwks", "ftp://127.0.0.1/jwks", "https://[",
                                 "https://u:p@issuer.test/jwks", "file:///etc/passwd"])  # fmt: skip
async def test_an_address_that_cannot_be_trusted_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="cannot be read") as raised:
        await KeySet(url).load()
    assert "u:p" not in str(raised.value)
