"""The test client's panel that shows who is in a room, in a real browser."""

import re
import time

import jwt
import pytest
from playwright.async_api import Locator, expect

from tests.browser import OpenWindow, windows
from tests.client_page import ClientPage, open_client
from tests.conftest import ConnectClient

SECRET = "a-secret-of-at-least-32-bytes-for-tests"
CAPS = [{"rooms": ["*"], "allow": ["join", "presence"]}]

pytestmark = [pytest.mark.gen_test, pytest.mark.usefixtures("http_server")]

with_tokens = pytest.mark.parametrize(
    "environ", [{"GTOWER_PRESENCE_ROOMS": "desk:", "GTOWER_JWT_SECRET": SECRET}]
)


@pytest.fixture
def environ() -> dict[str, str]:
    return {"GTOWER_PRESENCE_ROOMS": "desk:"}


def token(sub: str, **claims: object) -> str:
    body = {"sub": sub, "exp": time.time() + 600, "caps": CAPS, **claims}
    return jwt.encode(body, SECRET, algorithm="HS256")


def present(client: ClientPage) -> Locator:
    """Return the lines of those who are shown to be there."""
    return client.page.get_by_role("list", name="Who is there").get_by_role("listitem")


def state(client: ClientPage) -> Locator:
    """Return what the panel says of its list."""
    return client.page.get_by_role("region", name="Presence").get_by_role("status")


def problem(client: ClientPage) -> Locator:
    """Return why there is no list."""
    return client.page.locator("#presence-problem")


async def show(client: ClientPage, room: str) -> None:
    """Ask who is in ``room``."""
    await client.field("Room with presence").fill(room)
    await client.field("Room with presence").press("Enter")


async def connected_in(open_window: OpenWindow, base_url: str, room: str) -> ClientPage:
    """Open the test client, connect it, and join ``room``."""
    client = await open_client(open_window, base_url)
    await client.connect()
    await client.join(room)
    return client


@with_tokens
async def test_who_is_there_is_shown_with_user_and_info_and_kept_up_to_date(
    browser: str, base_url: str, connect_client: ConnectClient
) -> None:
    async with windows(browser) as open_window:
        ann = await open_client(open_window, base_url)
        await ann.field("Client token").fill(token("ann", info={"name": "Ann", "desk": 7}))
        await ann.connect()
        await ann.join("desk:1")
        await show(ann, "desk:1")
        await expect(state(ann)).to_have_text("1 in desk:1, kept up to date.")
        (me,) = await present(ann).all()
        for text in ("ann", await ann.client_id(), "this page", '"name": "Ann"', '"desk": 7'):
            await expect(me).to_contain_text(text)
        ben = await connect_client(auth={"token": token("ben")})
        await ben.ask("joinRoom", "desk:1")
        await expect(state(ann)).to_have_text("2 in desk:1, kept up to date.")
        await expect(present(ann)).to_contain_text(["ann", f"ben{ben.id}"])
        await ben.ask("leaveRoom", "desk:1")
        await expect(state(ann)).to_have_text("1 in desk:1, kept up to date.")
        await expect(present(ann)).to_contain_text(["ann"])


async def test_a_room_without_presence_is_told_in_words(browser: str, base_url: str) -> None:
    async with windows(browser) as open_window:
        ann = await connected_in(open_window, base_url, "sales")
        await show(ann, "sales")
        await expect(problem(ann)).to_contain_text("No presence in sales")
        await expect(problem(ann)).to_contain_text("GTOWER_PRESENCE_ROOMS")
        await expect(state(ann)).to_be_empty()
        await expect(present(ann)).to_have_count(0)
        await show(ann, "desk:1")
        await expect(state(ann)).to_contain_text("Nobody is in desk:1")
        await expect(problem(ann)).to_be_empty()


async def test_the_list_says_whether_it_is_kept_up_to_date(browser: str, base_url: str) -> None:
    async with windows(browser) as open_window:
        ann = await open_client(open_window, base_url)
        await expect(state(ann)).to_contain_text("shows who is there")
        await show(ann, "desk:1")
        await expect(problem(ann)).to_have_text("No list of desk:1: Not connected. Connect first.")
        await ann.connect()
        await expect(state(ann)).to_have_text(
            re.compile(r"^Nobody is in desk:1 when asked at .+ Join the room to be told")
        )
        await ann.join("desk:1")
        await expect(state(ann)).to_have_text("1 in desk:1, kept up to date.")
        await expect(ann.page.locator("#joined-rooms option")).to_have_attribute("value", "desk:1")
        await ann.button("Leave desk:1").click()
        await expect(state(ann)).to_contain_text("Nobody is in desk:1 when asked at")
        await ann.button("Disconnect").click()
        await expect(state(ann)).to_contain_text("Asked again once connected.")


async def test_who_came_while_the_line_was_broken_is_there_once_it_is_back(
    browser: str, base_url: str, connect_client: ConnectClient
) -> None:
    async with windows(browser) as open_window:
        ann = await connected_in(open_window, base_url, "desk:1")
        await show(ann, "desk:1")
        await expect(present(ann)).to_have_count(1)
        await ann.page.context.set_offline(True)
        await ann.button("Break the line").click()
        await expect(state(ann)).to_contain_text("Asked again once connected.")
        ben = await connect_client()
        await ben.ask("joinRoom", "desk:1")
        await ann.page.context.set_offline(False)
        await expect(state(ann)).to_have_text("2 in desk:1, kept up to date.")
        await expect(present(ann).filter(has_text=ben.id)).to_be_visible()
