"""Every page at the width of a desk and of a phone, with 500 clients connected.

``--screenshots docs/images`` keeps the pictures, for the documents.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from gtower_realtime.application import Application
from gtower_realtime.ports import Target
from tests.browser import windows
from tests.socketio_wire import open_wire

CLIENTS = 500
DESK = {"width": 1280, "height": 800}
PHONE = {"width": 375, "height": 800}

pytestmark = pytest.mark.usefixtures("http_server")

Prepare = Callable[[Page], Awaitable[None]]


async def nothing(_page: Page) -> None:
    """Show the page as it is when it opens."""


async def connected(page: Page) -> None:
    """Show the test client in a room, after a notification and a message."""
    await page.get_by_role("button", name="Connect", exact=True).click()
    await expect(page.get_by_role("banner").get_by_role("status")).to_have_text("Connected")
    await page.get_by_role("button", name="Join", exact=True).click()
    await page.get_by_role("button", name="Send request", exact=True).click()
    await page.get_by_role("button", name="Send event", exact=True).click()
    log = page.get_by_role("list", name="Live log")
    await expect(log.get_by_text("notification").first).to_be_visible()


async def watched(page: Page) -> None:
    """Show the dashboard once it knows of all clients, with the test client one more."""
    clients = page.get_by_role("article", name="Clients", exact=True)
    await expect(clients).to_contain_text(f"{CLIENTS + 1} websocket")
    await expect(page.get_by_text(f"{CLIENTS + 1} connected")).to_be_visible()
    latency = page.get_by_role("article", name="Publish latency")
    await expect(latency).to_contain_text(re.compile(r"p99 \d"))
    await expect(page.get_by_role("list", name="Events", exact=True)).to_contain_text("dealWon")


async def listed(page: Page) -> None:
    """Show the HTTP API once its operations are there."""
    await expect(page.get_by_text("/websocket/notify/broadcast")).to_be_visible()


PAGES: dict[str, tuple[str, Prepare]] = {
    "start": ("/", nothing),
    "test-client": ("/websocket-client-example.html", connected),
    "dashboard": ("/dashboard", watched),
    "api": ("/docs", listed),
}


@pytest.fixture
def pictures(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Give the directory that pictures are kept in."""
    directory = request.config.getoption("--screenshots")
    return tmp_path if directory is None else Path(directory)


@asynccontextmanager
async def crowd(base_url: str) -> AsyncIterator[None]:
    """Have 500 clients connected, each in one of ten rooms."""
    async with AsyncExitStack() as stack:
        for number in range(CLIENTS):
            wire = await stack.enter_async_context(open_wire(base_url))
            await wire.join()
            await wire.ask("joinRoom", f"team-{number % 10}")
        yield


async def _publish(application: Application) -> None:
    number = 0
    while True:
        number += 1
        await application.service.send("dealWon", {"deal": number}, Target.room("team-1"))
        await asyncio.sleep(0.05)  # the pace of a busy office


@pytest.mark.parametrize("environ", [{"GTOWER_RATE_CONNECTS": "0", "GTOWER_ANNOUNCE_CLIENTS": "0"}])
@pytest.mark.gen_test(timeout=60)
async def test_pages_fit_desks_and_phones(
    browser: str, base_url: str, application: Application, pictures: Path
) -> None:
    async with crowd(base_url), windows(browser) as open_window:
        publishing = asyncio.create_task(_publish(application))
        for name, (path, prepare) in PAGES.items():
            page = await open_window(base_url + path)
            await prepare(page)
            for size_name, size in (("desk", DESK), ("phone", PHONE)):
                await page.set_viewport_size(size)
                width = await page.evaluate("document.documentElement.scrollWidth")
                assert width <= size["width"], f"{name} is cut off on a {size_name}"
                picture = pictures / f"{name}-{size_name}.png"
                await page.screenshot(path=picture)
                assert picture.stat().st_size > 10_000
        publishing.cancel()
