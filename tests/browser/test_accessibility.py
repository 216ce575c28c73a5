"""The checkout for people who do not see it, or not well, or who want less motion."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Literal

import pytest
from playwright.async_api import expect

from tests.browser.checkout import Checkout, wrong

pytestmark = pytest.mark.asyncio(loop_scope="package")

AUDIT = Path(__file__).with_name("audit.js").read_text("utf-8")


async def landing(checkout: Checkout) -> None:
    await checkout.visit()


async def start(checkout: Checkout) -> None:
    await checkout.choose("sms")


async def code_entry(checkout: Checkout) -> None:
    await checkout.choose_and_send("sms")
    await expect(checkout.messages).to_have_count(1)


async def wrong_code(checkout: Checkout) -> None:
    await checkout.choose_and_send("email")
    await checkout.confirm(wrong(await checkout.read_code()))
    await expect(checkout.page.locator("#code-problem")).to_be_visible()


async def rate_limited(checkout: Checkout) -> None:
    await checkout.choose_and_send("exhausted")
    await expect(checkout.notice).to_be_visible()


async def over(checkout: Checkout) -> None:
    await checkout.choose_and_send("expired")
    await expect(checkout.heading).to_have_text("Session expired")


async def captcha(checkout: Checkout) -> None:
    await checkout.choose("hcaptcha")


async def other_way(checkout: Checkout) -> None:
    await checkout.choose("fallback")
    await expect(checkout.button("Send a text message instead")).to_be_visible()


async def card(checkout: Checkout) -> None:
    await checkout.choose("none")


async def declined(checkout: Checkout) -> None:
    await card(checkout)
    await checkout.pay_with("4000 0000 0000 0002")
    await expect(checkout.page.locator("#card-problem")).to_be_visible()


async def done(checkout: Checkout) -> None:
    await checkout.choose_and_send("sms")
    await checkout.confirm(await checkout.read_code())
    await expect(checkout.heading).to_have_text("Payment complete")


STATES = (
    landing,
    start,
    code_entry,
    wrong_code,
    rate_limited,
    over,
    captcha,
    other_way,
    card,
    declined,
    done,
)


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
async def test_every_state_can_be_read_and_used(
    checkout: Checkout, state: Callable[[Checkout], Awaitable[None]]
) -> None:
    await checkout.page.emulate_media(reduced_motion="reduce")
    await state(checkout)
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme in schemes:
        await checkout.page.emulate_media(color_scheme=scheme)
        assert await checkout.page.evaluate(AUDIT) == [], scheme
    await checkout.page.set_viewport_size({"width": 320, "height": 640})
    assert await checkout.page.evaluate(AUDIT) == [], "narrow"


async def test_the_page_of_evidence_can_be_read(checkout: Checkout) -> None:
    await done(checkout)
    async with checkout.page.expect_popup() as opening:
        await checkout.evidence.click()
    page = await opening.value
    await expect(page.locator("h1")).to_have_count(1)
    await page.set_viewport_size({"width": 320, "height": 640})
    problems = await page.evaluate(AUDIT)
    # Nothing of it changes: it needs no regions that are read out.
    assert [problem for problem in problems if "live region" not in problem] == []


async def test_the_audit_finds_what_is_wrong(checkout: Checkout) -> None:
    await code_entry(checkout)
    await checkout.page.evaluate(
        """() => {
          document.querySelector("label[for=code]").remove();
          document.querySelector("#code-lead").style.color = "#bbb";
          document.querySelector("#alert").remove();
        }"""
    )
    found = " ".join(await checkout.page.evaluate(AUDIT))
    for problem in ("input#code: has no name", "p#code-lead: text contrast", "urgent live region"):
        assert problem in found


async def test_what_changes_is_said(checkout: Checkout) -> None:
    polite, urgent = checkout.page.get_by_role("status"), checkout.page.locator("#alert")
    await checkout.choose_and_send("sms")
    await expect(polite).to_contain_text("We sent it to the phone ending in")
    await checkout.confirm(wrong(await checkout.read_code()))
    await expect(urgent).to_contain_text("That code is not right.")
    await expect(urgent).to_contain_text("4 tries left.")
    await expect(checkout.code).to_have_accessible_description(
        "That code is not right. Check it and try again. 4 tries left."
    )
    await checkout.leave()
    await declined(checkout)
    await expect(urgent).to_contain_text("The bank declined this card.")
    await expect(checkout.page.get_by_label("Card number")).to_have_accessible_description(
        re.compile("^The bank declined this card. Use another one.")
    )
    await checkout.leave()
    await rate_limited(checkout)
    await expect(urgent).to_contain_text("Please wait.")
    await checkout.leave()
    await over(checkout)
    await expect(urgent).to_contain_text("Session expired.")


async def test_phones_are_offered_digits_and_the_code(checkout: Checkout) -> None:
    await code_entry(checkout)
    await expect(checkout.code).to_have_attribute("autocomplete", "one-time-code")
    await expect(checkout.code).to_have_attribute("inputmode", "numeric")


async def test_a_countdown_is_not_read_out_every_second(checkout: Checkout) -> None:
    await rate_limited(checkout)
    live = "#notice-in, :is([aria-live], [role=status], [role=alert], [role=log]) #notice-in"
    await expect(checkout.page.locator(live)).to_have_count(1)
    await expect(checkout.page.locator("#notice-in")).to_have_attribute("role", "timer")


@pytest.mark.parametrize("wish", ["reduce", "no-preference"])
async def test_motion_is_as_wished(
    checkout: Checkout, wish: Literal["reduce", "no-preference"]
) -> None:
    await checkout.page.emulate_media(reduced_motion=wish)
    await code_entry(checkout)
    moves = await checkout.messages.first.evaluate("each => getComputedStyle(each).animationName")
    fades = await checkout.button("Confirm").evaluate(
        "each => getComputedStyle(each).transitionDuration"
    )
    assert (moves, fades) == (("none", "0s") if wish == "reduce" else ("arrive", "0.12s"))


async def test_on_a_phones_width_the_panel_stands_below(checkout: Checkout) -> None:
    await code_entry(checkout)
    card, phone = checkout.page.locator(".card"), checkout.page.locator("#phone")
    for width, is_below in ((1120, False), (390, True)):
        await checkout.page.set_viewport_size({"width": width, "height": 844})
        upper, lower = await card.bounding_box(), await phone.bounding_box()
        assert upper and lower
        assert (lower["y"] >= upper["y"] + upper["height"]) is is_below
        assert lower["x"] + lower["width"] <= width
