"""From the challenge to the payment: captchas that are down, other ways, declined cards."""

from __future__ import annotations

import asyncio
import re
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Route, expect

from tests.browser.checkout import Checkout, wrong

pytestmark = pytest.mark.asyncio(loop_scope="package")

PAID = "Payment complete"
ACCEPTED, DECLINED = "4242 4242 4242 4242", "4000 0000 0000 0002"
BY_EMAIL = "Send an email instead"


async def declined(checkout: Checkout) -> None:
    """Has the payer confirmed, and the card declined."""
    await checkout.choose_and_send("declined")
    await checkout.confirm(await checkout.read_code())
    await expect(checkout.page.locator("#card-problem")).to_contain_text("declined this card")


async def lose_answer(route: Route) -> None:
    """Has the shop carry a request out, and its answer lost."""
    await route.fetch()
    await route.abort()


# A captcha that is down


async def test_a_captcha_that_is_down_turns_into_a_code(checkout: Checkout) -> None:
    await checkout.choose("fallback")
    await expect(checkout.heading).to_have_text("Confirm you’re human")
    await checkout.human.check()
    await checkout.button("Continue").click()
    lead = checkout.page.locator("#send-lead")
    await expect(lead).to_contain_text("That way did not work. Instead, we send a code to")
    await expect(checkout.heading).to_be_focused()
    await expect(checkout.calls.last).to_contain_text("challenge_required")
    await expect(checkout.messages).to_have_count(0)
    await checkout.button("Send code").click()
    await expect(checkout.messages).to_contain_text("to pay €84.00 to Example Shop")
    await checkout.confirm(await checkout.read_code())
    await expect(checkout.heading).to_have_text(PAID)
    # The refusal of the captcha is all that the browser complains of.
    assert [line for line in checkout.complaints if "409" not in line] == []


async def test_a_captcha_that_works_needs_no_fallback(checkout: Checkout) -> None:
    await checkout.choose("fallback")
    await checkout.prove("human")
    await expect(checkout.heading).to_have_text(PAID)
    await expect(checkout.page.locator("#phone")).to_be_hidden()
    await expect(checkout.page.locator("#other-way")).to_be_hidden()


async def test_without_a_fallback_the_payer_tries_again_once_it_is_back(checkout: Checkout) -> None:
    await checkout.choose("hcaptcha")
    await expect(checkout.page.locator("#other-way")).to_be_hidden()
    await checkout.prove("down")
    await expect(checkout.notice).to_contain_text("network_error")
    await checkout.prove("human")
    await expect(checkout.heading).to_have_text(PAID)


# Another way


@pytest.mark.parametrize("is_sent", [False, True], ids=["before", "after"])
async def test_a_code_comes_by_email_where_the_payer_asks_for_it(
    checkout: Checkout, is_sent: bool
) -> None:
    await checkout.choose("sms")
    if is_sent:
        await checkout.button("Send code").click()
        await expect(checkout.messages).to_have_count(1)
    await checkout.button(BY_EMAIL).click()
    await expect(checkout.page.locator("#send-lead")).to_contain_text("j--@example.com")
    await expect(checkout.button(BY_EMAIL)).to_be_hidden()
    await expect(checkout.messages).to_have_count(0)
    await checkout.button("Send code").click()
    await expect(checkout.page.get_by_role("log", name="Mail")).to_contain_text("€84.00")
    await checkout.confirm(await checkout.read_code())
    await expect(checkout.heading).to_have_text(PAID)


async def test_the_code_of_the_way_before_is_void(checkout: Checkout) -> None:
    await checkout.choose_and_send("sms")
    old = await checkout.read_code()
    await checkout.button(BY_EMAIL).click()
    await checkout.button("Send code").click()
    assert await checkout.read_code() != old
    await checkout.confirm(old)
    await expect(checkout.page.locator("#code-problem")).to_contain_text("That code is not right.")


async def test_a_code_instead_of_a_captcha_is_there_for_who_cannot_solve_it(
    checkout: Checkout,
) -> None:
    await checkout.choose("fallback")
    await checkout.button("Send a text message instead").click()
    await checkout.button("Send code").click()
    await checkout.confirm(await checkout.read_code())
    await expect(checkout.heading).to_have_text(PAID)


async def test_an_answer_for_the_way_before_is_not_judged(checkout: Checkout) -> None:
    """Another tab of the payer has asked for the other way."""
    await checkout.choose_and_send("sms")
    code = await checkout.read_code()
    credential = await checkout.page.evaluate("history.state.credential")
    merchant = checkout.stack.shop.merchant
    await asyncio.to_thread(merchant.use_fallback, merchant.sale_of(credential))
    await checkout.confirm(code)
    await expect(checkout.page.locator("#send-lead")).to_contain_text("j--@example.com")
    await expect(checkout.calls.last).to_contain_text("challenge_required")


async def test_no_other_way_is_offered_where_there_is_none(checkout: Checkout) -> None:
    await checkout.choose("email")
    await expect(checkout.page.locator("#other-way")).to_be_hidden()


async def test_a_way_that_is_not_open_now_leaves_the_payer_where_they_are(
    checkout: Checkout,
) -> None:
    async def refuse(route: Route) -> None:
        error = {"code": "challenge_required", "message": "There is no other way now."}
        challenge = {"type": "sms", "delivery_hint": "--0123", "code_sent": False}
        body = {**error, "recoverable": True, "request_id": "r", "challenge": challenge}
        await route.fulfill(status=409, json=body)

    await checkout.page.route("**/other-way", refuse)
    await checkout.choose_and_send("sms")
    await expect(checkout.heading).to_have_text("Enter the code")
    await checkout.button(BY_EMAIL).click()
    await expect(checkout.notice).to_contain_text("There is no other way now.")
    await checkout.confirm(await checkout.read_code())
    await expect(checkout.heading).to_have_text(PAID)


# The card


async def test_a_declined_card_is_followed_by_another_in_the_same_session(
    checkout: Checkout,
) -> None:
    await declined(checkout)
    await expect(checkout.page.get_by_label("Card number")).to_be_focused()
    await expect(checkout.page.locator("#card-details")).to_contain_text("card_declined")
    await expect(checkout.page.locator("#card-end")).to_have_text("0002")
    await checkout.pay_with(ACCEPTED)
    await expect(checkout.heading).to_have_text(PAID)
    told = [
        re.compile(r"VerifyChallenge.*OUTCOME_SATISFIED"), re.compile("charge.*card_declined"),
        re.compile(r"VerifyChallenge.*OUTCOME_ALREADY_SATISFIED"), "charge", "CloseSession",
    ]  # fmt: skip
    await expect(checkout.calls).to_contain_text(told)
    assert checkout.sends() == 1
    for _ in range(2):  # as the page has it, then as the shop does
        await expect(checkout.page.locator("#done-lead")).to_contain_text("ending in 4242")
        await checkout.page.reload()


async def test_what_is_paid_cannot_be_confirmed_once_more(checkout: Checkout) -> None:
    await checkout.choose("none")
    await checkout.pay_with(ACCEPTED)
    await checkout.button("Confirm it once more").click()
    await expect(checkout.heading).to_have_text("Already paid")
    await expect(checkout.page.locator("#over-details")).to_contain_text("already_confirmed")


async def test_a_card_may_be_declined_again(checkout: Checkout) -> None:
    await declined(checkout)
    await checkout.pay_with(DECLINED)
    await expect(checkout.calls.last).to_contain_text("card_declined")
    await checkout.page.reload()
    await checkout.pay_with(ACCEPTED)
    await expect(checkout.heading).to_have_text(PAID)


async def test_what_is_no_card_number_is_not_even_asked_about(checkout: Checkout) -> None:
    await checkout.choose("none")
    await checkout.pay_with("4242")
    await expect(checkout.page.locator("#card-problem")).to_have_text(
        "Enter the number of the card."
    )
    assert not [each for each in checkout.requests if each.url.endswith("/pay")]


async def test_a_proof_ends_and_is_asked_for_anew(checkout: Checkout) -> None:
    await declined(checkout)
    await checkout.stack.service.clock.advance(15 * 60)
    await checkout.pay_with(ACCEPTED)
    await expect(checkout.heading).to_have_text("Confirm it’s you")
    await checkout.button("Send code").click()
    await expect(checkout.messages).to_have_count(2)
    await checkout.confirm(await checkout.read_code())
    await expect(checkout.calls.last).to_contain_text("card_declined")


# What happened


async def test_what_happened_is_shown_at_the_end(checkout: Checkout) -> None:
    await checkout.choose("fallback")
    await expect(checkout.evidence).to_be_hidden()
    await checkout.prove("machine")
    await expect(checkout.notice).to_contain_text("Not confirmed.")
    await checkout.button("Send a text message instead").click()
    await checkout.button("Send code").click()
    code = await checkout.read_code()
    await checkout.confirm(code)
    await expect(checkout.heading).to_have_text(PAID)
    async with checkout.page.expect_popup() as opening:
        await checkout.evidence.click()
    page = await opening.value
    told = [
        "opened", "challenged with an hCaptcha", "response was wrong", "challenged with a code",
        "took the message", "response was right", "payment is complete",
    ]  # fmt: skip
    await expect(page.locator("h3")).to_contain_text(told)
    await expect(page.locator("h1")).to_have_text("Payment session at Example Shop")
    await expect(page.locator("footer")).to_have_css(
        "border-top-style", "solid"
    )  # it has its style
    text = await page.content()
    assert code not in text
    assert "_secret_" not in text
    assert [line for line in checkout.complaints if "409" not in line] == []


async def test_what_went_wrong_is_shown_too(checkout: Checkout) -> None:
    await checkout.choose_and_send("sms")
    mistaken = wrong(await checkout.read_code())
    for left in ("4 tries", "3 tries", "2 tries", "1 try"):
        await checkout.confirm(mistaken)
        await expect(checkout.page.locator("#code-problem")).to_contain_text(left)
    await checkout.confirm(mistaken)
    await expect(checkout.heading).to_have_text("Too many wrong codes")
    async with checkout.page.expect_popup() as opening:
        await checkout.evidence.click()
    page = await opening.value
    await expect(page.get_by_text("The payer did not meet the challenge.")).to_be_visible()


# Answers that are lost


async def test_a_payment_whose_answer_is_lost_is_confirmed_by_its_repeat(
    checkout: Checkout,
) -> None:
    await checkout.choose_and_send("sms")
    code = await checkout.read_code()
    await checkout.page.route("**/pay", lose_answer, times=1)
    await checkout.confirm(code)
    await expect(checkout.notice).to_contain_text("No connection.")
    await checkout.confirm(code)
    await expect(checkout.heading).to_have_text(PAID)
    asked = [each for each in checkout.requests if urlsplit(each.url).path == "/pay"]
    assert len(asked) == 2
    assert asked[0].post_data_json["request_id"] == asked[1].post_data_json["request_id"]


async def test_a_wrong_code_whose_answer_is_lost_counts_once(checkout: Checkout) -> None:
    await checkout.choose_and_send("sms")
    mistaken = wrong(await checkout.read_code())
    await checkout.page.route("**/pay", lose_answer, times=1)
    problem = checkout.page.locator("#code-problem")
    await checkout.confirm(mistaken)
    await expect(checkout.notice).to_contain_text("No connection.")
    await checkout.confirm(mistaken)
    await expect(problem).to_contain_text("4 tries left")
    await checkout.confirm(mistaken)
    await expect(problem).to_contain_text("3 tries left")
