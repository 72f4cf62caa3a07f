"""The page of the HTTP API in a real browser: read, tried out, and small enough for a phone."""

from collections.abc import Iterator

import pytest
from playwright.async_api import Locator, Page, expect
from tornado.httpclient import AsyncHTTPClient

from tests.browser import running_browser, windows
from tests.javascript_client import ROOT

KEY = "an-admin-key-of-20-letters"

pytestmark = [pytest.mark.usefixtures("http_server"), pytest.mark.gen_test]


@pytest.fixture
def environ() -> dict[str, str]:
    return {"GTOWER_API_KEYS": f"ops:admin:{KEY}"}


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[str]:
    """Run one browser for all tests, and give its address."""
    bundle = ROOT / "static" / "vendor" / "swagger-ui-bundle.js"
    assert bundle.is_file(), "Swagger UI is missing: run `make install`"
    with running_browser(chromium) as address:
        yield address


def status_of(page: Page) -> Locator:
    """Return the operation that tells the server's status."""
    return page.locator("[id='operations-reads-get_websocket_status']")


async def open_status(page: Page) -> Locator:
    """Open the operation with the keyboard, and return it."""
    status = status_of(page)
    await status.locator(".opblock-summary-control").focus()
    await page.keyboard.press("Enter")
    await expect(status.get_by_role("button", name="Execute")).to_be_visible()
    return status


async def test_an_operation_is_tried_out_with_a_key_that_is_typed_in(
    browser: str, base_url: str
) -> None:
    async with windows(browser) as open_window:
        page = await open_window(f"{base_url}/docs")
        status = await open_status(page)
        answer = status.locator(".live-responses-table tbody .response-col_status").first
        await status.get_by_role("button", name="Execute").click()
        await expect(answer).to_contain_text("401")
        await page.get_by_role("button", name="Authorize", exact=True).click()
        dialog = page.locator(".modal-ux")
        await dialog.get_by_label("Value:").first.fill(KEY)
        await dialog.get_by_role("button", name="Apply credentials").first.click()
        await dialog.get_by_role("button", name="Close").first.click()
        await status.get_by_role("button", name="Execute").click()
        await expect(answer).to_contain_text("200")
        await expect(status).to_contain_text('"connectedClients": 0')


async def test_the_page_asks_no_other_server_and_leads_to_the_other_documents(
    browser: str, base_url: str
) -> None:
    asked: list[str] = []
    async with windows(browser) as open_window:
        page = await open_window(f"{base_url}/")
        page.on("request", lambda request: asked.append(request.url))
        await page.get_by_role("link", name="API", exact=True).click()
        await expect(status_of(page)).to_be_visible()
        documents = page.get_by_role("navigation", name="Documents")
        for name, path in (
            ("OpenAPI", "/openapi.json"),
            ("AsyncAPI", "/asyncapi.json"),
            ("TypeScript", "/events.d.ts"),
        ):
            link = documents.get_by_role("link", name=name)
            await expect(link).to_have_attribute("href", path)
            answer = await AsyncHTTPClient().fetch(f"{base_url}{path}")
            assert answer.code == 200
    assert f"{base_url}/openapi.json" in asked
    assert [url for url in asked if not url.startswith((base_url, "data:"))] == []


async def test_the_page_fits_a_phone_with_an_operation_open(browser: str, base_url: str) -> None:
    async with windows(browser) as open_window:
        page = await open_window(f"{base_url}/docs")
        await page.set_viewport_size({"width": 390, "height": 844})
        status = await open_status(page)
        await expect(status.locator(".responses-table").first).to_be_visible()
        widest = await page.evaluate(
            "Math.max(...[...document.querySelectorAll('body *')]"
            ".map((one) => one.getBoundingClientRect().right))"
        )
        assert widest <= 390
