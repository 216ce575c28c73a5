"""The browser that is installed. None is ever downloaded."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, async_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
MISSING = "no Chromium found; install it, or name it in CHROMIUM"
_ARGS = (
    "--no-sandbox",  # root has none
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find() -> str | None:
    """Finds the browser's program: `CHROMIUM`, or the first of its names on the path."""
    named = os.environ.get("CHROMIUM")
    return shutil.which(named) if named else next(filter(None, map(shutil.which, _NAMES)), None)


def require() -> str:
    """Finds the browser's program. Without it the test is skipped, or fails where one must be."""
    program = find()
    if program is None:
        if os.environ.get("CHALLENGE_DEMAND_BROWSER") == "1":
            pytest.fail(MISSING, pytrace=False)
        pytest.skip(MISSING)
    return program


@asynccontextmanager
async def running(program: str) -> AsyncIterator[Browser]:
    """Runs the browser, headless."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=_ARGS)
        try:
            yield browser
        finally:
            await browser.close()
