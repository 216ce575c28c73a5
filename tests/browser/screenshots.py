"""Takes the pictures of the README anew: `python -m tests.browser.screenshots`."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from pathlib import Path
from typing import Literal

from playwright.async_api import Browser, expect

from tests.browser import chromium, shop
from tests.browser.checkout import Checkout, wrong
from tests.browser.shop import Stack

IMAGES = Path(__file__).parents[2] / "docs" / "images"


async def tab(
    browser: Browser,
    stack: Stack,
    scheme: Literal["light", "dark"],
    width: int,
    height: int,
) -> Checkout:
    page = await browser.new_page(
        viewport={"width": width, "height": height},
        device_scale_factor=2,
        color_scheme=scheme,
        reduced_motion="reduce",
        timezone_id="Europe/Berlin",
    )
    return Checkout(page, stack)


async def keep(checkout: Checkout, name: str) -> None:
    # Without the caret, which may or may not be blinking.
    await checkout.page.screenshot(path=IMAGES / f"{name}.png", caret="hide")
    await checkout.page.close()


async def keep_card(checkout: Checkout, name: str) -> None:
    """Keeps the payer's part of the page only."""
    await checkout.page.evaluate("getSelection().empty()")
    await checkout.page.locator(".card").screenshot(path=IMAGES / f"{name}.png", caret="hide")
    await checkout.page.close()


async def main() -> None:
    program = chromium.find()
    if program is None:
        sys.exit(chromium.MISSING)
    IMAGES.mkdir(parents=True, exist_ok=True)
    # From within, so that no picture shows a path of this machine.
    with tempfile.TemporaryDirectory() as directory, contextlib.chdir(directory):
        async with (
            shop.running(Path(directory), Path("inbox")) as stack,
            chromium.running(program) as browser,
        ):
            schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
            for scheme in schemes:
                checkout = await tab(browser, stack, scheme, 1040, 670)
                await checkout.choose_and_send("sms")
                await checkout.code.fill(await checkout.read_code())
                await keep(checkout, f"checkout-{scheme}")

            checkout = await tab(browser, stack, "light", 1040, 670)
            await checkout.choose_and_send("sms")
            await checkout.confirm(wrong(await checkout.read_code()))
            await expect(checkout.page.locator("#code-problem")).to_be_visible()
            await checkout.page.evaluate("getSelection().empty()")
            await keep(checkout, "checkout-wrong-code")

            checkout = await tab(browser, stack, "light", 1040, 670)
            await checkout.choose("fallback")
            await checkout.human.check()
            await checkout.button("Continue").click()
            await expect(checkout.page.locator("#send-lead")).to_contain_text("Instead")
            await keep_card(checkout, "checkout-fallback")

            checkout = await tab(browser, stack, "light", 1040, 670)
            await checkout.choose_and_send("declined")
            await checkout.confirm(await checkout.read_code())
            await expect(checkout.page.locator("#card-problem")).to_be_visible()
            await keep_card(checkout, "checkout-declined")

            checkout = await tab(browser, stack, "light", 820, 670)
            await checkout.choose_and_send("sms")
            code = await checkout.read_code()
            await checkout.confirm(wrong(code))
            await expect(checkout.page.locator("#code-problem")).to_be_visible()
            await checkout.confirm(code)
            async with checkout.page.expect_popup() as opening:
                await checkout.evidence.click()
            page = await opening.value
            await page.screenshot(path=IMAGES / "evidence.png", full_page=True)
            await checkout.page.close()

            checkout = await tab(browser, stack, "light", 390, 945)
            await checkout.choose_and_send("email")
            await checkout.read_code()
            await keep(checkout, "checkout-narrow")


asyncio.run(main())
