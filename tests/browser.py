"""Headless Chromium for the tests of pages, driven through Playwright.

Knows how to start a browser and what no page may ever do; knows nothing of what pages are for.
"""

import subprocess
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from playwright.async_api import ConsoleMessage, Page, async_playwright, expect

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--remote-debugging-port=0",
)
_ADDRESS_FOLLOWS = "DevTools listening on "

# Less than a test may take in all, so that a failure says what was waited for.
_PATIENCE_MS = 20_000

OpenWindow = Callable[[str], Awaitable[Page]]


@contextmanager
def running_browser(executable: str) -> Iterator[str]:
    """Run the Chromium at ``executable`` and give the address at which it is driven.

    It starts in about a second, so one serves all tests; each test has windows of its own.
    """
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
        subprocess.Popen(
            [executable, *_FLAGS, f"--user-data-dir={profile}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        assert process.stderr is not None
        said = next((line for line in process.stderr if line.startswith(_ADDRESS_FOLLOWS)), None)
        assert said is not None, f"{executable} ended with status {process.wait()}"
        # A full pipe would hold the browser up.
        drain = threading.Thread(target=process.stderr.read)
        drain.start()
        yield said.removeprefix(_ADDRESS_FOLLOWS).strip()
        process.terminate()
        drain.join()


@asynccontextmanager
async def windows(browser: str) -> AsyncIterator[OpenWindow]:
    """Give a function that opens a window at a URL in the browser at this address.

    Each window is 1280 by 800 pixels and a profile of its own: two are two people. (Tabs of one
    profile would not do: Chromium draws one that has lost the focus once in a second.) All are
    closed on leaving.

    Raises:
        AssertionError: on leaving, if a script of a page has failed, or a page has tried what
            its Content-Security-Policy forbids.
    """
    faults: list[str] = []

    def watch(message: ConsoleMessage) -> None:
        # A refusal that a test provokes shows on the console as well; that is no fault of the page.
        if "Content Security Policy" in message.text:
            faults.append(message.text)

    expect.set_options(timeout=_PATIENCE_MS)
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.connect_over_cdp(browser)

        async def open_window(url: str) -> Page:
            profile = await chromium.new_context(viewport={"width": 1280, "height": 800})
            profile.set_default_timeout(_PATIENCE_MS)
            page = await profile.new_page()
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.on("console", watch)
            await page.goto(url)
            return page

        yield open_window
        await chromium.close()
    assert not faults
