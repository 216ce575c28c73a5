"""A payer goes through the example checkout."""

from __future__ import annotations

import json
import re
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Route, expect

from tests.browser.checkout import Checkout, wrong
from tests.rest.edge import nobody

pytestmark = pytest.mark.asyncio(loop_scope="package")

SEND = re.compile(r".*/v1/hosted-sessions/cs_\w+/challenge/send")


@pytest.mark.parametrize("kind", ["sms", "email"])
async def test_the_payer_reads_the_code_enters_it_and_is_verified(
    checkout: Checkout, kind: str
) -> None:
    await checkout.choose(kind)
    await expect(checkout.heading).to_have_text("Confirm it’s you")
    await checkout.button("Send code").click()
    await expect(checkout.heading).to_have_text("Enter the code")
    await expect(checkout.code).to_be_focused()
    await checkout.confirm(await checkout.read_code())
    await expect(checkout.heading).to_have_text("Payment complete")
    assert checkout.complaints == []
    # It was sent across origins, and the credential went nowhere but into a header.
    assert checkout.sends() == 1
    sent = next(each for each in checkout.requests if SEND.fullmatch(each.url))
    headers, api = await sent.all_headers(), urlsplit(sent.url).netloc
    assert headers["origin"] == checkout.stack.shop.url != f"http://{api}"
    assert "_secret_" in headers["authorization"]
    assert not [each.url for each in checkout.requests if "_secret_" in each.url]
    assert "_secret_" not in checkout.page.url + await checkout.page.content()
    hosts = {urlsplit(each.url).netloc for each in checkout.requests}
    assert hosts == {urlsplit(checkout.stack.shop.url).netloc, api}


async def test_the_message_names_the_payment_and_the_checkout_does_not_name_the_phone(
    checkout: Checkout,
) -> None:
    await checkout.choose_and_send("sms")
    await expect(checkout.messages).to_contain_text("to pay €84.00 to Example Shop")
    phone = await checkout.page.locator("#phone-address").inner_text()
    card = await checkout.page.get_by_role("region", name="Payment").inner_text()
    assert f"ending in {phone[-4:]}" in card
    assert phone.removeprefix("To ") not in card


async def test_the_phone_shows_messages_as_they_come(checkout: Checkout) -> None:
    await checkout.choose("sms")
    await expect(checkout.page.get_by_text("No messages yet")).to_be_visible()
    await checkout.stack.send(await checkout.page.evaluate("history.state.credential"))
    await expect(checkout.messages).to_have_count(1)
    await expect(checkout.page.get_by_text("No messages yet")).to_be_hidden()


async def test_what_happened_is_told_call_by_call(checkout: Checkout) -> None:
    await checkout.choose_and_send("sms")
    await checkout.confirm(await checkout.read_code())
    calls = ["GetChallenge", "/challenge/send", "VerifyChallenge", "charge", "CloseSession"]
    await expect(checkout.calls).to_contain_text(["OpenSession, IssueChallenge", *calls])
    await expect(checkout.calls.nth(2)).to_contain_text(re.compile(r'200.*"code_sent": true'))


async def test_the_keyboard_alone_is_enough(checkout: Checkout) -> None:
    keyboard = checkout.page.keyboard
    await checkout.visit()
    await keyboard.press("Tab")
    await keyboard.press("Tab")
    await expect(
        checkout.page.get_by_role("button", name=re.compile("^Code by text message"))
    ).to_be_focused()
    await keyboard.press("Enter")
    await expect(checkout.heading).to_be_focused()
    await keyboard.press("Tab")
    await expect(checkout.button("Send code")).to_be_focused()
    await keyboard.press("Enter")
    await expect(checkout.code).to_be_focused()
    code = await checkout.read_code()
    await keyboard.type(wrong(code))
    await keyboard.press("Enter")
    await expect(checkout.code).to_have_attribute("aria-invalid", "true")
    await expect(checkout.code).to_be_focused()
    await keyboard.type(code)  # over the wrong one, which is selected
    await keyboard.press("Enter")
    await expect(checkout.heading).to_have_text("Payment complete")
    await expect(checkout.heading).to_be_focused()
    await keyboard.press("Tab")
    await keyboard.press("Enter")
    await expect(checkout.heading).to_have_text("Try a payment challenge")
    await expect(checkout.heading).to_be_focused()


async def test_a_code_may_be_typed_as_people_write_it(checkout: Checkout) -> None:
    await checkout.choose_and_send("sms")
    code = await checkout.read_code()
    await checkout.confirm(f" {code[:3]} - {code[3:]}")
    await expect(checkout.heading).to_have_text("Payment complete")


async def test_what_is_no_code_is_not_even_asked_about(checkout: Checkout) -> None:
    await checkout.choose_and_send("sms")
    await expect(checkout.code).to_be_focused()
    await checkout.confirm("12345")
    await expect(checkout.page.get_by_text("Enter the digits of the code.").first).to_be_visible()
    assert not [each for each in checkout.requests if each.url.endswith("/pay")]


async def test_wrong_codes_are_counted_down_to_the_lock(checkout: Checkout) -> None:
    await checkout.choose_and_send("sms")
    mistaken = wrong(await checkout.read_code())
    problem = checkout.page.locator("#code-problem")
    for left in ("4 tries left", "3 tries left", "2 tries left", "1 try left"):
        await checkout.confirm(mistaken)
        await expect(problem).to_contain_text(left)
        await expect(checkout.code).to_be_focused()
    await expect(checkout.page.locator("#code-details")).to_contain_text("challenge_failed")
    await checkout.confirm(mistaken)
    await expect(checkout.heading).to_have_text("Too many wrong codes")
    await expect(checkout.page.locator("#over-details")).to_contain_text("not recoverable")
    await checkout.button("Start again").click()
    await expect(checkout.heading).to_have_text("Try a payment challenge")


async def test_a_wrong_code_does_not_stand_in_the_way_of_the_right_one(checkout: Checkout) -> None:
    await checkout.choose_and_send("sms")
    code = await checkout.read_code()
    await checkout.confirm(wrong(code))
    await expect(checkout.page.locator("#code-problem")).to_contain_text("4 tries left")
    await checkout.confirm(code)
    await expect(checkout.heading).to_have_text("Payment complete")


async def test_a_new_message_can_be_had_once_the_window_is_over(checkout: Checkout) -> None:
    await checkout.page.clock.install()
    await checkout.choose_and_send("sms")
    first = await checkout.read_code()
    again = checkout.button("Send a new message")
    await expect(again).to_be_disabled()
    await expect(checkout.page.locator("#resend-wait")).to_have_text(re.compile(r"in 0:(30|2\d)"))
    await again.click(force=True)
    assert checkout.sends() == 1
    await checkout.pass_time(31)
    await expect(again).to_be_enabled()
    await expect(checkout.page.get_by_role("status")).to_have_text(
        "You can send a new message now."
    )
    await again.click()
    await expect(checkout.messages).to_have_count(2)
    assert await checkout.read_code() == first
    await expect(again).to_be_disabled()
    assert checkout.sends() == 2


async def test_a_spent_quota_is_counted_down_and_then_the_payer_goes_on(
    checkout: Checkout,
) -> None:
    await checkout.page.clock.install()
    await checkout.choose_and_send("exhausted")
    await expect(checkout.notice).to_contain_text("rate_limited")
    await expect(checkout.notice).not_to_contain_text("not recoverable")
    left = checkout.page.locator("#notice-in")
    await expect(left).to_have_text(re.compile(r"1:00:00|59:5\d"))
    await checkout.page.clock.fast_forward(60_000)
    await expect(left).to_have_text(re.compile(r"59:00|58:5\d"))
    send = checkout.button("Send code")
    await expect(send).to_be_disabled()
    await send.click(force=True)
    assert checkout.sends() == 1
    await expect(checkout.messages).to_have_count(5)
    await checkout.pass_time(3600)
    await expect(checkout.notice).to_be_hidden()
    await expect(send).to_be_enabled()
    await send.click()
    await expect(checkout.heading).to_have_text("Enter the code")
    await expect(checkout.messages).to_have_count(6)
    assert checkout.sends() == 2


@pytest.mark.parametrize(
    ("scenario", "code", "heading"),
    [
        ("expired", "session_expired", "Session expired"),
        ("elsewhere", "origin_not_allowed", "Not this shop’s session"),
        ("wallet", "insufficient_scope", "Not a payment session"),
        ("completed", "already_confirmed", "Already paid"),
    ],
)
async def test_what_cannot_be_put_right_needs_a_new_session(
    checkout: Checkout, scenario: str, code: str, heading: str
) -> None:
    await checkout.choose_and_send(scenario)
    await expect(checkout.heading).to_have_text(heading)
    error = json.loads(await checkout.page.locator("#call-list .answer").last.inner_text())
    assert (error["code"], error["recoverable"]) == (code, False)
    await expect(checkout.heading).to_be_focused()
    card = checkout.page.get_by_role("region", name="Payment")
    for shown in (error["message"], code, "not recoverable", error["request_id"]):
        await expect(card).to_contain_text(shown)
    await expect(card).to_contain_text("Start again with a new one.")
    await expect(checkout.messages).to_have_count(0)
    await checkout.button("Start again").click()
    await expect(checkout.heading).to_have_text("Try a payment challenge")
    await expect(checkout.heading).to_be_focused()


async def test_a_session_may_expire_before_the_payer_has_sent(checkout: Checkout) -> None:
    await checkout.choose("sms")
    await checkout.stack.service.clock.advance(30 * 60)
    await checkout.button("Send code").click()
    await expect(checkout.heading).to_have_text("Session expired")


async def test_a_session_may_expire_before_the_payer_has_answered(checkout: Checkout) -> None:
    await checkout.choose_and_send("sms")
    code = await checkout.read_code()
    await checkout.stack.service.clock.advance(30 * 60)
    await checkout.confirm(code)
    await expect(checkout.heading).to_have_text("Session expired")


async def test_a_code_past_its_life_is_the_payers_to_renew(checkout: Checkout) -> None:
    await checkout.page.clock.install()
    await checkout.choose_and_send("sms")
    old = await checkout.read_code()
    await checkout.pass_time(10 * 60)
    await checkout.confirm(old)
    await expect(checkout.page.locator("#code-problem")).to_contain_text("Request a new one.")
    await checkout.button("Send a new message").click()
    await expect(checkout.messages).to_have_count(2)
    await checkout.confirm(await checkout.read_code())
    await expect(checkout.heading).to_have_text("Payment complete")


@pytest.mark.parametrize(
    ("kind", "provider"), [("hcaptcha", "hCaptcha"), ("turnstile", "Turnstile")]
)
async def test_a_captcha_is_met_in_the_place_for_its_widget(
    checkout: Checkout, kind: str, provider: str
) -> None:
    await checkout.choose(kind)
    widget = checkout.page.get_by_role("group", name=f"Stand-in for {provider}")
    await expect(widget).to_contain_text(f"site_key demo-{kind}")
    await expect(checkout.page.locator("#phone")).to_be_hidden()
    await checkout.button("Continue").click()
    await expect(checkout.human).to_be_focused()
    await checkout.human.press("Space")
    await checkout.button("Continue").click()
    await expect(checkout.heading).to_have_text("Payment complete")
    assert checkout.complaints == []


@pytest.mark.parametrize("solved", ["machine", "late"])
async def test_a_captcha_that_is_no_proof_can_be_tried_again(
    checkout: Checkout, solved: str
) -> None:
    await checkout.choose("turnstile")
    await checkout.prove(solved)
    await expect(checkout.notice).to_contain_text("Not confirmed.")
    await expect(checkout.human).not_to_be_checked()
    await checkout.prove("human")
    await expect(checkout.heading).to_have_text("Payment complete")


async def test_a_session_without_a_challenge_has_nothing_to_prove(checkout: Checkout) -> None:
    await checkout.choose("none")
    await expect(checkout.page.locator("#card-lead")).to_contain_text("nothing to prove")
    await checkout.pay_with("4242 4242 4242 4242")
    await expect(checkout.heading).to_have_text("Payment complete")
    await expect(checkout.calls).to_contain_text(["NOT_REQUIRED", "charge", "CloseSession"])
    assert checkout.complaints == []


async def test_a_code_that_is_still_queued_is_said_to_be_on_its_way(checkout: Checkout) -> None:
    async def queue(route: Route) -> None:
        answer = {"type": "sms", "delivery_hint": "--0123", "code_sent": False}
        await route.fulfill(json=answer, headers={"access-control-allow-origin": "*"})

    await checkout.choose("sms")
    await checkout.page.route(SEND, queue)
    await checkout.button("Send code").click()
    await expect(checkout.page.locator("#code-lead")).to_contain_text("It is on its way")
    await expect(checkout.page.locator("#resend-in")).to_have_text(re.compile("0:0[1-5]"))


async def test_a_broken_connection_can_be_tried_again(checkout: Checkout) -> None:
    await checkout.choose("sms")
    await checkout.page.route(SEND, lambda route: route.abort())
    await checkout.button("Send code").click()
    await expect(checkout.notice).to_contain_text("No connection.")
    await expect(checkout.notice).to_contain_text("network_error")
    await checkout.page.unroute(SEND)
    await checkout.button("Send code").click()
    await expect(checkout.heading).to_have_text("Enter the code")
    await expect(checkout.notice).to_be_hidden()


async def test_a_shop_that_does_not_answer_can_be_tried_again(checkout: Checkout) -> None:
    await checkout.visit()
    await checkout.page.route("**/sale", lambda route: route.abort())
    await checkout.page.locator("[data-scenario=sms]").click()
    await expect(checkout.notice).to_contain_text("No connection.")
    await checkout.page.unroute("**/sale")
    await checkout.button("Try again").click()
    await expect(checkout.heading).to_have_text("Confirm it’s you")


async def test_a_session_that_cannot_be_opened_is_said_in_the_menu(checkout: Checkout) -> None:
    await checkout.visit()
    await checkout.page.route("**/sessions", lambda route: route.abort())
    await checkout.page.locator("[data-scenario=sms]").click()
    await expect(checkout.page.locator("#landing-problem")).to_contain_text("No answer came.")
    await checkout.page.unroute("**/sessions")
    await checkout.choose("sms")
    await expect(checkout.heading).to_have_text("Confirm it’s you")


async def test_a_reload_keeps_the_session_and_back_leaves_it(checkout: Checkout) -> None:
    await checkout.choose_and_send("sms")
    await expect(checkout.heading).to_have_text("Enter the code")
    await checkout.page.reload()
    await expect(checkout.heading).to_have_text("Enter the code")
    await checkout.confirm(await checkout.read_code())
    await expect(checkout.heading).to_have_text("Payment complete")
    await checkout.page.reload()
    await expect(checkout.heading).to_have_text("Payment complete")
    await checkout.page.go_back()
    await expect(checkout.heading).to_have_text("Try a payment challenge")


@pytest.mark.parametrize(
    ("credential", "code"),
    [("nonsense", "validation_error"), (nobody().secret, "session_expired")],
    ids=["malformed", "unknown"],
)
async def test_an_address_without_a_session_says_so(
    checkout: Checkout, credential: str, code: str
) -> None:
    await checkout.visit(f"#cs={credential}")
    await expect(checkout.page.locator("#over-details")).to_contain_text(code)
    await expect(checkout.button("Start again")).to_be_visible()
