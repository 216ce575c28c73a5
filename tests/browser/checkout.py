"""The page as a payer uses it: by what it shows, not by how it is made."""

from __future__ import annotations

import re

from playwright.async_api import Locator, Page, Request, expect

from tests.browser.shop import Stack


class Checkout:
    """One payer's tab, and what its browser noted."""

    def __init__(self, page: Page, stack: Stack) -> None:
        self.page = page
        self.stack = stack
        self.complaints: list[str] = []
        """Errors and warnings of the console, and exceptions of the page."""
        self.requests: list[Request] = []
        page.on("console", lambda line: self._complain(line.type, line.text))
        page.on("pageerror", lambda error: self._complain("error", str(error)))
        page.on("request", lambda request: self.requests.append(request))

    async def visit(self, fragment: str = "") -> None:
        await self.page.goto(f"{self.stack.shop.url}/{fragment}")
        await expect(self.heading).to_have_count(1)

    async def choose(self, scenario: str) -> None:
        """Chooses a session from the menu, and waits until its checkout is there."""
        if not await self.page.locator("#landing").is_visible():
            await self.visit()
        await self.page.locator(f"[data-scenario={scenario}]").click()
        await expect(self.page.locator("#checkout h1:visible")).to_have_count(1)

    async def choose_and_send(self, scenario: str) -> None:
        await self.choose(scenario)
        await self.button("Send code").click()

    async def read_code(self) -> str:
        """Reads the code off the newest message on the phone."""
        await expect(self.messages).not_to_have_count(0)
        found = re.search(r"\b\d{6}\b", await self.messages.last.inner_text())
        assert found
        return found[0]

    async def confirm(self, code: str) -> None:
        await self.code.fill(code)
        await self.button("Confirm").click()

    async def prove(self, solved: str) -> None:
        """Ticks the widget's box; its provider makes of that what is said."""
        await self.page.get_by_label("The provider").select_option(solved)
        await self.human.check()
        await self.button("Continue").click()

    async def pay_with(self, card: str) -> None:
        await self.page.get_by_label("Card number").fill(card)
        await self.button("Pay").click()

    async def pass_time(self, seconds: int) -> None:
        """Moves the service's clock and the page's, which must be a moved one."""
        await self.stack.service.clock.advance(seconds)
        await self.page.clock.fast_forward(seconds * 1000)

    def sends(self) -> int:
        """Counts the calls of the REST API, without their preflights."""
        calls = [each for each in self.requests if each.url.endswith("/challenge/send")]
        return len([each for each in calls if each.method == "POST"])

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    async def leave(self) -> None:
        """Goes back to the menu."""
        await self.page.get_by_role("link", name="Example Shop").click()
        await expect(self.heading).to_have_text("Try a payment challenge")

    @property
    def heading(self) -> Locator:
        return self.page.locator("h1:visible")

    @property
    def code(self) -> Locator:
        return self.page.get_by_label("Six-digit code")

    @property
    def human(self) -> Locator:
        return self.page.get_by_role("checkbox", name="I am human")

    @property
    def evidence(self) -> Locator:
        return self.page.get_by_role("link", name="What happened")

    @property
    def calls(self) -> Locator:
        """What is listed as having been called, and answered."""
        return self.page.locator("#call-list li")

    @property
    def messages(self) -> Locator:
        return self.page.get_by_role("log").get_by_role("listitem")

    @property
    def notice(self) -> Locator:
        return self.page.locator("#notice")

    def _complain(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)


def wrong(code: str) -> str:
    """Returns a code that is not this one."""
    return str((int(code) + 1) % 10**6).zfill(6)
