"""Fixtures of a browser and of the shop that it visits: one of each for this package."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.browser import chromium, shop
from tests.browser.checkout import Checkout
from tests.browser.shop import Stack

expect.set_options(timeout=15_000)  # it never waits longer than it must


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def browser() -> AsyncIterator[Browser]:
    """A real browser."""
    async with chromium.running(chromium.require()) as browser:
        yield browser


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """The shop and all that stands behind it. Tests share it: each opens sessions of its own."""
    async with shop.running(tmp_path_factory.mktemp("shop")) as stack:
        yield stack


@pytest_asyncio.fixture(loop_scope="package")
async def checkout(browser: Browser, stack: Stack) -> AsyncIterator[Checkout]:
    """A tab of this test's own."""
    context = await browser.new_context(viewport={"width": 1120, "height": 860})
    yield Checkout(await context.new_page(), stack)
    await context.close()
