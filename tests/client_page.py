"""The test client as a person sees it: its parts by name, in a tab of a browser."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Locator, Page, expect
from tornado.httpclient import AsyncHTTPClient, HTTPResponse

from tests.browser import OpenWindow

STATIC = Path(__file__).parent.parent / "static"
CLIENT_PAGE = "websocket-client-example.html"
MARKUP = "<img src=x onerror=\"document.title='it ran'\">"


class ClientPage:
    """The test client in one tab, by what a person would call its parts."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.state = page.get_by_role("banner").get_by_role("status")
        self.event = page.get_by_role("combobox", name="Event", exact=True)
        self.argument = page.get_by_role("textbox", name="Argument")
        self.acknowledgement = page.get_by_label("Acknowledgement", exact=True)
        self.request = page.get_by_role("combobox", name="Request", exact=True)
        self.body = page.get_by_role("textbox", name="JSON body")
        self.http_answer = page.get_by_label("HTTP answer", exact=True)
        self.rooms = page.get_by_role("list", name="In these rooms")
        self.log = page.get_by_role("list", name="Live log")
        self.filter = page.get_by_role("searchbox", name="Filter the log")

    def button(self, name: str) -> Locator:
        """Return the button of exactly this name."""
        return self.page.get_by_role("button", name=name, exact=True)

    def field(self, name: str) -> Locator:
        """Return the one-line field of exactly this name."""
        return self.page.get_by_label(name, exact=True)

    def entry(self, direction: str, name: str, text: str = "") -> Locator:
        """Return the log's entries of this direction and event that contain ``text``."""
        headed = self.log.get_by_role("listitem").filter(
            has_text=re.compile(rf"\d{re.escape(direction)}{re.escape(name)}")
        )
        return headed.filter(has_text=text)

    async def connect(self) -> None:
        """Press Connect and wait until the server has said hello."""
        await self.button("Connect").click()
        await expect(self.state).to_have_text("Connected")
        await expect(self.entry("in", "connected")).to_be_visible()

    async def client_id(self) -> str:
        """Return the id of this page's connection."""
        return await self.page.locator("#client-id").inner_text()

    async def join(self, room: str) -> None:
        """Join ``room`` and wait until the server has said so."""
        await self.field("Room").fill(room)
        await self.button("Join").click()
        await expect(self.rooms.get_by_text(room, exact=True)).to_be_visible()

    async def send(self, event: str, kind: str, argument: str) -> None:
        """Send a client event with an argument of this ``kind``, Text or JSON."""
        await self.event.select_option(event)
        await self.field(kind).check()
        await self.argument.fill(argument)
        await self.button("Send event").click()


async def open_client(open_window: OpenWindow, base_url: str) -> ClientPage:
    """Open the test client of the server at ``base_url``."""
    return ClientPage(await open_window(f"{base_url}/{CLIENT_PAGE}"))


async def two_connected(open_window: OpenWindow, base_url: str) -> tuple[ClientPage, ClientPage]:
    """Open the test client twice and connect both."""
    ana = await open_client(open_window, base_url)
    ben = await open_client(open_window, base_url)
    await ana.connect()
    await ben.connect()
    return ana, ben


async def post(url: str, body: dict[str, Any]) -> HTTPResponse:
    """Send ``body`` as a back end would."""
    return await AsyncHTTPClient().fetch(
        url,
        method="POST",
        headers={"Content-Type": "application/json"},
        body=json.dumps(body),
    )


async def tab_to(page: Page, target: Locator) -> None:
    """Press Tab until ``target`` has the focus, at most once for every control of the page."""
    for _ in range(await page.locator("a, button, input, select, textarea, summary, ol").count()):
        await page.keyboard.press("Tab")
        if await target.evaluate("(node) => node === document.activeElement"):
            return
    pytest.fail("Tab does not lead there")
