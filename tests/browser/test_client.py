"""`clients/browser` in a real browser, on a page of the shop, with the service behind Envoy."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Route

from tests.browser.checkout import Checkout
from tests.rest.edge import nobody

pytestmark = pytest.mark.asyncio(loop_scope="package")

CLIENT = Path(__file__).parents[2] / "clients/browser"
SEND = re.compile(r".*/v1/hosted-sessions/cs_\w+/challenge/send")
CALL = """
async ([url, credential, options, abort]) => {
  const { ChallengeError, Session, send } = await import("/challenge.js");
  const controller = new AbortController();
  if (abort) { options.signal = controller.signal; controller.abort(new Error("left the page")); }
  try {
    return { answer: await send(url, Session.from(credential), options) };
  } catch (error) {
    if (!(error instanceof ChallengeError)) return { thrown: error.message };
    const { code, recoverable, requestId, status, retryAfter, message } = error;
    return { code, recoverable, requestId, status, retryAfter, message };
  }
}
"""
CORS = {"access-control-allow-origin": "*"}


async def send(
    checkout: Checkout, credential: str, *, abort: bool = False, **options: Any
) -> dict[str, Any]:
    """Calls `send` on the page; gives its answer, or all of its error."""
    if checkout.page.url == "about:blank":
        await checkout.visit()
    url = checkout.stack.shop.config["rest_url"]
    result: dict[str, Any] = await checkout.page.evaluate(CALL, [url, credential, options, abort])
    return result


async def opened(checkout: Checkout, scenario: str) -> str:
    stack = checkout.stack
    sale = await asyncio.to_thread(stack.demonstration.open, scenario, stack.shop.url)
    return str(sale.credential)


@pytest.mark.parametrize(
    ("scenario", "answer"),
    [
        ("sms", {"type": "sms", "code_sent": True}),
        ("email", {"type": "email", "delivery_hint": "j--@example.com", "code_sent": True}),
        ("hcaptcha", {"type": "hcaptcha"}),
        ("none", None),
    ],
)
async def test_a_call_is_answered(
    checkout: Checkout, scenario: str, answer: dict[str, Any] | None
) -> None:
    told = (await send(checkout, await opened(checkout, scenario)))["answer"]
    assert told is None if answer is None else answer.items() <= told.items()
    assert checkout.complaints == []


@pytest.mark.parametrize(
    ("scenario", "code", "status", "recoverable"),
    [
        ("completed", "already_confirmed", 409, False),
        ("expired", "session_expired", 410, False),
        ("wallet", "insufficient_scope", 403, False),
        ("elsewhere", "origin_not_allowed", 403, False),
        ("exhausted", "rate_limited", 429, True),
    ],
)
async def test_an_error_says_what_the_service_says(
    checkout: Checkout, scenario: str, code: str, status: int, recoverable: bool
) -> None:
    told = await send(checkout, await opened(checkout, scenario))
    assert (told["code"], told["status"], told["recoverable"]) == (code, status, recoverable)
    assert len(told["requestId"]) == 36
    assert told["message"].endswith(".")
    assert (told["retryAfter"] is not None) is (code == "rate_limited")
    assert checkout.sends() == 1


async def test_an_unknown_session_is_not_asked_for_again(checkout: Checkout) -> None:
    told = await send(checkout, nobody().secret)
    assert (told["code"], told["status"]) == ("session_expired", 404)
    assert checkout.sends() == 1


async def test_a_call_that_reaches_nobody_is_repeated_twice(checkout: Checkout) -> None:
    await checkout.page.route(SEND, lambda route: route.abort())
    told = await send(checkout, await opened(checkout, "sms"))
    assert (told["code"], told["status"], told["recoverable"]) == ("network_error", 0, True)
    assert checkout.sends() == 3


async def test_a_repeat_that_reaches_the_service_is_the_answer(checkout: Checkout) -> None:
    answers = [503]

    async def first_503(route: Route) -> None:
        if not answers:
            return await route.continue_()
        body = {"code": "network_error", "message": "m", "recoverable": True, "request_id": "r"}
        return await route.fulfill(status=answers.pop(), json=body, headers=CORS)

    await checkout.page.route(SEND, first_503)
    told = await send(checkout, await opened(checkout, "sms"))
    assert told["answer"]["code_sent"] is True


async def test_what_is_no_answer_of_the_service_is_none(checkout: Checkout) -> None:
    async def bad_gateway(route: Route) -> None:
        await route.fulfill(status=502, body="<h1>Bad gateway</h1>", headers=CORS)

    await checkout.page.route(SEND, bad_gateway)
    told = await send(checkout, await opened(checkout, "sms"))
    assert (told["code"], told["status"], told["requestId"]) == ("network_error", 0, "")


async def test_a_call_ends_by_its_deadline(checkout: Checkout) -> None:
    held: list[Route] = []
    await checkout.page.route(SEND, lambda route: held.append(route))  # never answered
    told = await send(checkout, await opened(checkout, "sms"), deadlineMs=300)
    assert (told["code"], told["status"]) == ("network_error", 0)
    assert len(held) == 1


async def test_a_page_ends_its_call(checkout: Checkout) -> None:
    assert await send(checkout, nobody().secret, abort=True) == {"thrown": "left the page"}
    assert checkout.sends() == 0


async def test_what_is_no_credential_is_no_session(checkout: Checkout) -> None:
    await checkout.visit()
    texts = ["", "cs_1", "cs_1_secret_short", f" {nobody().secret}", f"{nobody().secret}\n"]
    found = await checkout.page.evaluate(
        """async (texts) => {
          const { Session } = await import("/challenge.js");
          return texts.map((text) => Session.from(text));
        }""",
        texts,
    )
    assert found == [None] * len(texts)


@pytest.mark.parametrize(
    ("scenario", "said"),
    [
        ("sms", ["askForCode", "--", True]),
        ("turnstile", ["showWidget", "turnstile"]),
        ("none", ["pay"]),
        ("exhausted", ["tryAgain", "Too many"]),
        ("expired", ["askForNewSession", "This payment session has expired."]),
    ],
)
async def test_the_example_of_the_readme(
    checkout: Checkout, scenario: str, said: list[object]
) -> None:
    readme = (CLIENT / "README.md").read_text("utf-8")
    (script,) = re.findall(r"```js\n(.*?)```", readme, re.DOTALL)
    imported, rest = script.split("\n", 1)
    found = re.fullmatch(r'import (\{.*\}) from "challenge-browser-client";', imported)
    assert found
    await checkout.visit()
    credential = json.dumps(await opened(checkout, scenario))
    names = ("pay", "showWidget", "askForCode", "tryAgain", "askForNewSession")
    told = "".join(f"const {name} = (...a) => told.push('{name}', ...a);\n" for name in names)
    url = json.dumps(checkout.stack.shop.config["rest_url"])
    calls: list[Any] = await checkout.page.evaluate(
        f"""async () => {{
          const told = [], restUrl = {url};
          const credential = {credential};
          const {found[1]} = await import("/challenge.js");
          {told}
          {rest}
          return told;
        }}"""
    )
    assert calls[0] == said[0]
    for expected, shown in zip(said[1:], calls[1:], strict=False):
        assert shown.startswith(expected) if isinstance(expected, str) else shown == expected


async def test_the_package_has_no_dependency_and_no_registry_takes_it() -> None:
    package = json.loads((CLIENT / "package.json").read_text("utf-8"))
    assert package["private"] is True
    assert not [name for name in package if "ependencies" in name]
    assert all((CLIENT / name).is_file() for name in package["files"])
