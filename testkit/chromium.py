"""A real Chromium, where there is one: Playwright drives it, none is downloaded."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DESKTOP, PHONE = {"width": 1280, "height": 860}, {"width": 390, "height": 844}


def executable() -> str | None:
    """Where it is: ANOMALYLLM_CHROMIUM, or on the path; None: nowhere."""
    given = os.environ.get("ANOMALYLLM_CHROMIUM")
    return given or next(filter(None, map(shutil.which, NAMES)), None)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Started, without a window."""
    path = executable()
    assert path is not None, "no Chromium: install one, or name it in ANOMALYLLM_CHROMIUM"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage", "--font-render-hinting=none"]
        )
        try:
            yield browser
        finally:
            await browser.close()


class Errors(list[str]):
    """What a page complains about: errors on its console, and exceptions nobody caught."""

    def watch(self, page: Page) -> None:
        """From now on."""

        def log_line(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                self.append(f"{message.type}: {message.text} ({message.location.get('url', '')})")

        page.on("console", log_line)
        page.on("pageerror", lambda error: self.append(f"exception: {error}"))


async def opened(browser: Browser, address: str, errors: Errors, **context: Any) -> Page:
    """A page of its own, ready to be looked at."""
    made = await browser.new_context(**{"viewport": DESKTOP, "locale": "en-GB", **context})
    page = await made.new_page()
    errors.watch(page)
    await page.goto(address)
    await page.wait_for_selector("html[data-ready]", state="attached")
    return page
