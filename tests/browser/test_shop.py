"""The example shop's own backend, as its page meets it. Needs no browser."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import httpx
import pytest
import pytest_asyncio
from govifi.challenge.client import ChallengeError

import examples.checkout
from examples.checkout import acquirer
from examples.checkout.captchas import Captchas
from examples.checkout.demonstration import Demonstration
from examples.checkout.merchant import Merchant
from examples.checkout.refusals import Refused
from examples.siteverify import StandIn
from service.captchas import CaptchaToken, Verdict
from tests.browser.checkout import wrong
from tests.browser.shop import Stack
from tests.harness.ports import free_port
from tests.harness.refusals import CODES
from tests.rest.edge import nobody

pytestmark = pytest.mark.asyncio(loop_scope="package")

PAGE = Path(examples.checkout.__file__).parent / "page"
SCENARIOS = re.findall(r'data-scenario="(\w+)"', (PAGE / "index.html").read_text("utf-8"))


@pytest_asyncio.fixture(loop_scope="package")
async def http(stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=stack.shop.url, trust_env=False) as client:
        yield client


async def opened(http: httpx.AsyncClient, scenario: str = "sms") -> dict[str, str]:
    """Opens a session; gives the header that its page sends."""
    answer = await http.post("/sessions", json={"scenario": scenario})
    assert answer.status_code == 201, answer.text
    return {"authorization": f"Bearer {answer.json()['credential']}"}


def refusal(answer: httpx.Response) -> tuple[int, str, bool]:
    body: dict[str, Any] = answer.json()
    assert {"code", "message", "recoverable", "request_id"} <= body.keys()
    assert body["code"] in CODES
    return answer.status_code, body["code"], body["recoverable"]


async def test_the_page_may_use_nothing_but_its_own_files_and_the_two_apis(
    http: httpx.AsyncClient, stack: Stack
) -> None:
    for path in ("/", "/challenge.js", *(f"/{file.name}" for file in PAGE.iterdir())):
        answer = await http.get(path)
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert f"connect-src 'self' {stack.shop.config['rest_url']};" in policy
        assert "unsafe" not in policy
        assert "://" not in answer.text.replace("http://www.w3.org/2000/svg", "")
    html = (PAGE / "index.html").read_text("utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", html)


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_every_session_that_the_page_offers_can_be_had(
    http: httpx.AsyncClient, scenario: str
) -> None:
    bearer = await opened(http, scenario)
    answer = await http.get("/sale", headers=bearer)
    assert answer.status_code == 200
    challenge = answer.json()["challenge"]
    assert (challenge is None) == (scenario == "none")


async def sent(http: httpx.AsyncClient, stack: Stack) -> tuple[dict[str, str], str]:
    """Opens a session and has its code sent; gives the code, too."""
    bearer = await opened(http)
    await stack.send(bearer["authorization"].removeprefix("Bearer "))
    inbox = (await http.get("/messages/sms", headers=bearer)).json()
    found = re.search(r"\d{6}", inbox["messages"][-1]["text"])
    assert found
    return bearer, found[0]


@pytest.fixture
def charged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The cards that were charged."""
    cards: list[str] = []
    monkeypatch.setattr(acquirer, "charge", cards.append)
    return cards


async def test_a_wrong_code_is_passed_on_with_the_tries_that_are_left(
    http: httpx.AsyncClient, stack: Stack
) -> None:
    bearer, code = await sent(http, stack)
    answer = await http.post("/pay", headers=bearer, json={"code": wrong(code)})
    assert refusal(answer) == (409, "challenge_failed", True)
    assert answer.json()["attempts_remaining"] == 4
    answer = await http.post("/pay", headers=bearer, json={"code": code})
    assert answer.json() == {"outcome": "OUTCOME_SATISFIED"}


async def test_nothing_is_charged_before_the_challenge_is_met(
    http: httpx.AsyncClient, charged: list[str]
) -> None:
    for scenario in ("sms", "hcaptcha", "fallback", "expired", "completed"):
        bearer = await opened(http, scenario)
        assert (await http.post("/pay", headers=bearer, json={})).status_code == 409
    assert charged == []


async def test_two_confirms_at_once_charge_once(
    http: httpx.AsyncClient, stack: Stack, charged: list[str]
) -> None:
    bearer, code = await sent(http, stack)
    confirms = (http.post("/pay", headers=bearer, json={"code": code}) for _ in range(5))
    answers = await asyncio.gather(*confirms)
    assert sorted(answer.status_code for answer in answers) == [200, *[409] * 4]
    codes = {answer.json()["code"] for answer in answers if answer.status_code == 409}
    assert codes == {"already_confirmed"}
    assert charged == [acquirer.ACCEPTED]


async def test_a_payment_whose_end_was_lost_is_ended_by_its_repeat(
    http: httpx.AsyncClient, stack: Stack, charged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = Refused.because(503, "network_error", "Please try again.", recoverable=True)
    bearer, code = await sent(http, stack)
    confirm = {"code": code, "request_id": uuid.uuid4().hex}
    with monkeypatch.context() as broken:
        broken.setattr(Merchant, "end", Mock(side_effect=lost))
        answer = await http.post("/pay", headers=bearer, json=confirm)
    assert refusal(answer) == (503, "network_error", True)
    for _ in range(2):
        answer = await http.post("/pay", headers=bearer, json=confirm)
        assert answer.json() == {"outcome": "OUTCOME_SATISFIED"}
    assert charged == [acquirer.ACCEPTED]
    answer = await http.post("/pay", headers=bearer, json={})
    assert refusal(answer) == (409, "already_confirmed", False)


@pytest.mark.parametrize(
    "body",
    [
        {"card": "4242"},
        {"card": "４２４２４２４２４２４２４２４２"},
        {"code": "\ud800"},
        {"type": "fax"},
    ],
)
async def test_a_confirm_that_is_malformed_is_refused(
    http: httpx.AsyncClient, charged: list[str], body: dict[str, str]
) -> None:
    bearer = await opened(http, "none")
    content = json.dumps(body).encode()
    headers = {**bearer, "content-type": "application/json"}
    answer = await http.post("/pay", headers=headers, content=content)
    assert answer.status_code == 422
    assert answer.json()["code"] == "validation_error"
    assert charged == []


@pytest.mark.parametrize("kind", ["hcaptcha", "turnstile"])
async def test_a_widgets_token_is_what_the_service_judges(
    http: httpx.AsyncClient, stack: Stack, kind: str
) -> None:
    bearer = await opened(http, kind)
    session_id = bearer["authorization"].removeprefix("Bearer ").partition("_secret_")[0]
    site_key = (await http.get("/sale", headers=bearer)).json()["challenge"]["site_key"]

    async def judged(solved: str) -> Verdict:
        answer = await http.post("/widget", headers=bearer, json={"solved": solved})
        token = CaptchaToken(
            site_key, answer.json()["token"], session_id, [stack.shop.url], uuid.uuid4()
        )
        return (await stack.service.app.captchas.judge(kind, token)).verdict

    assert await judged("human") is Verdict.PASSED
    assert await judged("machine") is Verdict.REFUSED
    assert await judged("late") is Verdict.EXPIRED_OR_DUPLICATE


async def test_there_is_no_other_widget(http: httpx.AsyncClient) -> None:
    for scenario, solved in (("sms", "human"), ("hcaptcha", "bribed")):
        bearer = await opened(http, scenario)
        answer = await http.post("/widget", headers=bearer, json={"solved": solved})
        assert refusal(answer) == (400, "validation_error", False)


async def test_no_two_sessions_share_a_phone(stack: Stack) -> None:
    opening = (
        asyncio.to_thread(stack.demonstration.open, "sms", stack.shop.url) for _ in range(20)
    )
    sales = await asyncio.gather(*opening)
    assert len({sale.destinations["sms"] for sale in sales}) == 20


async def test_messages_are_shown_to_their_own_session_only(http: httpx.AsyncClient) -> None:
    one, other = await opened(http, "exhausted"), await opened(http)
    assert len((await http.get("/messages/sms", headers=one)).json()["messages"]) == 5
    assert (await http.get("/messages/sms", headers=other)).json()["messages"] == []


@pytest.mark.parametrize("path", ["/sale", "/messages/sms"])
async def test_without_a_sessions_credential_nothing_is_told(
    http: httpx.AsyncClient, path: str
) -> None:
    mine = (await opened(http))["authorization"]
    for bearer in ("", nobody().secret, mine[:-1], f"{mine}x", "Bearer ü"):
        answer = await http.get(path, headers=[(b"authorization", bearer.encode())])
        assert refusal(answer) == (404, "session_expired", False)


async def test_evidence_is_shown_to_who_has_its_address_only(http: httpx.AsyncClient) -> None:
    bearer = await opened(http)
    address = (await http.get("/sale", headers=bearer)).json()["evidence"]
    answer = await http.get(address, params={"zone": "Asia/Tokyo"})
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "JST" in answer.text
    assert "UTC" in (await http.get(address)).text
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "script-src" not in policy
    for wrong_address in (address[:-1], f"{address}x", "/evidence/", f"{address}ü"):
        assert refusal(await http.get(wrong_address)) == (404, "validation_error", False)
    nowhere = await http.get(address, params={"zone": "../../etc/passwd"})
    assert refusal(nowhere) == (400, "validation_error", False)


async def test_what_is_malformed_is_refused_in_the_same_form(http: httpx.AsyncClient) -> None:
    as_json = {"content-type": "application/json"}
    for content, headers in (
        (b"{", as_json),
        (b"[]", as_json),
        (b'{"scenario": "free money"}', as_json),
        (b"{" + b" " * 5000 + b"}", as_json),
        (b"scenario=sms", {"content-type": "application/x-www-form-urlencoded"}),
    ):
        answer = await http.post("/sessions", content=content, headers=headers)
        assert refusal(answer) == (400, "validation_error", False)
    assert refusal(await http.get("/merchant.py")) == (404, "validation_error", False)
    assert refusal(await http.get("/../web.py")) == (404, "validation_error", False)


@pytest.mark.parametrize("length", ["content-length: 100000", "transfer-encoding: chunked"])
async def test_a_connection_that_ends_is_said_to(stack: Stack, length: str) -> None:
    """As where a body is not read: a client that was not told would ask the next there."""
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.shop.server_port)
    lines = ("POST /sessions HTTP/1.1", "content-type: application/json", length)
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
    async with asyncio.timeout(30):
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"\r\nconnection: close\r\n" in answer


async def test_a_refusal_does_not_end_the_connection(http: httpx.AsyncClient) -> None:
    for content in (b"{", b"[]", b" " * 5000):
        answer = await http.post("/sessions", content=content)
        assert refusal(answer) == (400, "validation_error", False)
        assert "connection" not in answer.headers


async def test_another_name_for_this_address_is_refused(http: httpx.AsyncClient) -> None:
    answer = await http.get("/", headers={"host": "rebound.example"})
    assert refusal(answer) == (404, "validation_error", False)


async def test_a_service_that_is_away_is_a_network_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("examples.checkout.merchant._SECONDS", 0.3)  # it tries again in that time
    merchant = Merchant(f"127.0.0.1:{free_port()}", lambda: "token")
    demonstration = Demonstration(merchant, Captchas(StandIn({}), {}), tmp_path)
    with pytest.raises(ChallengeError) as raised:
        demonstration.open("sms", "http://127.0.0.1:1")
    merchant.close()
    refused = Refused.by_service(raised.value)
    assert (refused.status, refused.body["code"]) == (503, "network_error")
    assert refused.body["recoverable"] is True
