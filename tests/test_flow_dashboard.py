"""The dashboard: who may see it, what it is sent, and each control of the page in a browser."""

import asyncio
import json
import re
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect
from tornado.httpclient import AsyncHTTPClient, HTTPClientError

from gtower_realtime.application import Application
from gtower_realtime.http1.server import HttpServer
from gtower_realtime.monitor import Node, Nodes
from tests.browser import windows
from tests.conftest import PATIENCE_SECONDS, ConnectClient
from tests.silent_nodes import let_receipts_be_partial
from tests.socketio_wire import Wire, open_wire

ADMIN = "admin-key-0123456789abcdef"
READER = "reader-key-0123456789abcdef"
SALES = "sales-key-0123456789abcdef"
KEYS = f"boss:admin:{ADMIN},eye:read:{READER},sales:admin:{SALES}:sales-"

MARKUP = "<img src=x onerror=\"document.title='it ran'\">"
METRIC = re.compile(rb"gtower_[a-z_]+")
ENDINGS = {"counter": "_total"}

with_keys = pytest.mark.parametrize("environ", [{"GTOWER_API_KEYS": KEYS}])

pytestmark = pytest.mark.usefixtures("http_server")


def open_viewer(base_url: str, **headers: str) -> AbstractAsyncContextManager[Wire]:
    """Open a connection to the dashboard's own Socket.IO, before any CONNECT."""
    return open_wire(base_url, path="/dashboard/socket.io/", **headers)


async def refusal_of(viewer: Wire, auth: dict[str, Any]) -> Any:
    """Sign in and return the refusal."""
    await viewer.say("40" + json.dumps(auth))
    answer = await viewer.hear()
    assert answer is not None
    return json.loads(answer.removeprefix("44"))


async def next_events(viewer: Wire) -> Any:
    """Return the events that the viewer is shown next."""
    while (shown := await viewer.next_event())[0] != "events":
        pass
    return shown[1]["events"]


async def post(base_url: str, path: str, body: Any, **headers: str) -> Any:
    """Send JSON as a back end would, and return the answer."""
    answer = await AsyncHTTPClient().fetch(
        base_url + path,
        method="POST",
        body=json.dumps(body),
        headers={"Content-Type": "application/json", **headers},
    )
    return json.loads(answer.body)


async def get(base_url: str, path: str) -> Any:
    """Return the answer to a read."""
    return json.loads((await AsyncHTTPClient().fetch(base_url + path)).body)


@pytest.mark.gen_test
async def test_a_viewer_is_shown_numbers_and_events(base_url: str) -> None:
    async with open_viewer(base_url) as viewer:
        name, numbers = await viewer.join(payload={})
        assert name == "numbers"
        assert numbers["status"] == "active"
        assert numbers["samples"]["gtower_clients"] == 0
        await post(base_url, "/websocket/event/room/sales/dealWon", {"deal": 7})
        (event,) = await next_events(viewer)
        assert (event["event"], event["target"]) == ("dealWon", {"rooms": ["sales"]})


@pytest.mark.gen_test
async def test_who_watches_is_no_client(base_url: str, connect_client: ConnectClient) -> None:
    async with open_viewer(base_url) as viewer:
        await viewer.join(payload={})
        client = await connect_client()
        receipt = await post(base_url, "/websocket/event/broadcast/hello", {})
        assert receipt["recipients"] == 1
        assert (await get(base_url, "/websocket/status"))["connectedClients"] == 1
        assert [one["id"] for one in await get(base_url, "/websocket/clients")] == [client.id]


@pytest.mark.gen_test
async def test_nothing_is_watched_once_the_last_viewer_has_gone(
    base_url: str, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monitor = application.service.monitor
    stopped = asyncio.Event()
    stop = monitor.stop

    def note_stop() -> None:
        stop()
        stopped.set()

    monkeypatch.setattr(monitor, "stop", note_stop)
    assert not monitor.is_watching
    async with open_viewer(base_url) as first:
        await first.join(payload={})
        async with open_viewer(base_url) as second:
            await second.join(payload={})
            first.close()
            await first.closing()
            await second.next_event()
            assert monitor.is_watching
    await asyncio.wait_for(stopped.wait(), PATIENCE_SECONDS)
    assert not monitor.is_watching


@with_keys
@pytest.mark.parametrize(
    ("auth", "code", "message"),
    [
        ({}, "unauthorized", "An API key is needed; send it as X-API-Key."),
        ({"key": "wrong"}, "unauthorized", "This API key is not known."),
        ({"key": 5}, "unauthorized", "An API key is needed; send it as X-API-Key."),
        ({"key": READER}, "forbidden", "The key 'eye' does not have the scope 'admin'."),
        ({"key": SALES}, "forbidden", "The key 'sales' may address its rooms only."),
    ],
)
@pytest.mark.gen_test
async def test_a_key_must_allow_everything(
    base_url: str, auth: dict[str, Any], code: str, message: str
) -> None:
    async with open_viewer(base_url) as viewer:
        assert await refusal_of(viewer, auth) == {
            "message": message,
            "data": {"code": code, "retryable": False},
        }


@with_keys
@pytest.mark.gen_test
async def test_who_was_refused_is_shown_nothing(base_url: str) -> None:
    async with open_viewer(base_url) as stranger, open_viewer(base_url) as boss:
        await refusal_of(stranger, {"key": READER})
        await boss.join(payload={"key": ADMIN})
        await post(base_url, "/websocket/event/broadcast/secret", {}, **{"X-API-Key": ADMIN})
        await next_events(boss)
        # A packet of a namespace that is not connected closes: what was sent before it is here.
        await stranger.say('42["hello"]')
        assert await stranger.hear() is None


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost:1"},
        {"Origin": "null"},
        {"Host": "rebound.example"},
        {"Host": "rebound.example", "Origin": "http://rebound.example"},
    ],
)
@pytest.mark.gen_test
async def test_pages_of_others_cannot_watch(base_url: str, headers: dict[str, str]) -> None:
    with pytest.raises(HTTPClientError, match="403"):
        async with open_viewer(base_url, **headers):
            pass


@pytest.mark.parametrize("environ", [{"GTOWER_TRUSTED_PROXIES": "127.0.0.1"}])
@pytest.mark.gen_test
async def test_without_keys_it_is_for_this_machine_only(base_url: str) -> None:
    async with open_viewer(base_url, **{"X-Forwarded-For": "203.0.113.9"}) as viewer:
        refusal = await refusal_of(viewer, {})
    assert refusal["message"] == "Without API keys the dashboard is for this machine only."


@pytest.mark.gen_test
async def test_a_viewer_can_say_nothing(base_url: str) -> None:
    async with open_viewer(base_url) as viewer:
        await viewer.join(payload={})
        (answer,) = await viewer.ask("joinRoom", "sales")
    assert answer["error"]["code"] == "unknown_event"


# The page


async def open_dashboard(open_window: Any, base_url: str) -> Page:
    """Open the page and wait until it shows the state of the server."""
    page: Page = await open_window(f"{base_url}/dashboard")
    await expect(page.get_by_role("banner").get_by_role("status")).to_have_text("active")
    return page


@pytest.mark.gen_test
async def test_figures_follow_what_happens(
    browser: str, base_url: str, connect_client: ConnectClient
) -> None:
    async with windows(browser) as open_window:
        page = await open_dashboard(open_window, base_url)
        clients = page.get_by_role("article", name="Clients", exact=True)
        await expect(clients).to_contain_text("0 websocket")
        await connect_client()
        await connect_client("polling")
        await expect(clients).to_contain_text("1 websocket · 1 polling")
        await expect(page.locator(".u-wrap canvas").first).to_be_visible()
        nodes = page.get_by_role("region", name="Nodes")
        await expect(nodes.get_by_role("row").nth(1)).to_contain_text("active")


@pytest.mark.gen_test
async def test_all_nodes_are_listed_and_the_head_says_when_redis_is_away(
    browser: str, base_url: str, application: Application
) -> None:
    started = datetime.now(UTC) - timedelta(hours=2)
    ant = Node("ant:3001", "0.1.0", started, 3, is_here=True, last_seen_ms=0)
    bee = Node("bee:3002", "0.1.1", started, 4, is_here=False, last_seen_ms=900)
    cow = Node("cow:3003", "0.1.1", started, 5, is_here=False, last_seen_ms=7200)
    application.service.monitor.nodes = lambda: Nodes("together", (bee, cow, ant))
    async with windows(browser) as open_window:
        page = await open_dashboard(open_window, base_url)
        state = page.get_by_role("banner").get_by_role("status")
        rows = page.get_by_role("region", name="Nodes").get_by_role("row")
        await expect(rows).to_have_text(
            [
                "NodeVersionStateClientsRunning for",
                "ant:3001 shown here0.1.0active32 h",
                "bee:30020.1.1connected42 h",
                "cow:30030.1.1silent for 7 s52 h",
            ]
        )
        await expect(page.get_by_text("Of ant:3001, one of 3 nodes.")).to_be_visible()
        application.service.monitor.nodes = lambda: Nodes("alone", (ant,))
        await expect(state).to_have_text("active · Redis is away")
        await expect(state).to_have_attribute("data-state", "connecting")
        await expect(rows).to_have_count(2)
        application.service.monitor.nodes = lambda: Nodes("together", (ant, bee))
        await expect(state).to_have_text("active")
        await expect(state).to_have_attribute("data-state", "connected")
        await expect(rows).to_have_count(3)


@pytest.mark.gen_test
async def test_an_older_server_tells_of_itself_alone(
    browser: str, base_url: str, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = application.service.monitor.numbers

    def as_before_there_were_clusters() -> dict[str, Any]:
        told = numbers()
        del told["nodes"], told["redis"]
        told["node"] = {"name": "ant:17", "version": "0.1.0", "startedAt": told["timestamp"]}
        return told

    monkeypatch.setattr(application.service.monitor, "numbers", as_before_there_were_clusters)
    async with windows(browser) as open_window:
        page = await open_dashboard(open_window, base_url)
        rows = page.get_by_role("region", name="Nodes").get_by_role("row")
        await expect(rows).to_have_count(2)
        await expect(rows.nth(1)).to_contain_text("0.1.0active0")


@pytest.mark.gen_test
async def test_answers_without_some_nodes_are_shown_as_such(
    browser: str,
    base_url: str,
    connect_client: ConnectClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sentence = "partial: node ant:3001 did not answer"
    let_receipts_be_partial(monkeypatch, "ant:3001")
    client = await connect_client()
    await client.ask("joinRoom", "sales")

    async def without_a_node(route: Route) -> None:
        answer = await route.fetch()
        said = await answer.json()
        told = {"X-Partial": "true", "X-Nodes-Missing": "ant:3001"}
        if isinstance(said, dict):
            told, said = {}, {**said, "partial": True, "nodesMissing": ["ant:3001"]}
        await route.fulfill(response=answer, headers={**answer.headers, **told}, json=said)

    async with windows(browser) as open_window:
        page = await open_window("about:blank")
        for path in ("clients?**", "rooms?**", "rooms/*/presence", "analytics?**"):
            await page.route(f"**/websocket/{path}", without_a_node)
        await page.goto(f"{base_url}/dashboard")
        await expect(page.locator("#clients-note")).to_have_text(f"1 connected · {sentence}")
        await expect(page.locator("#rooms-note")).to_have_text(sentence)
        await expect(page.locator("#days-problem")).to_have_text(sentence)
        await page.get_by_role("button", name="Open sales").click()
        dialog = page.get_by_role("dialog")
        await expect(dialog.get_by_role("listitem").nth(1)).to_have_text(sentence)
        await dialog.get_by_role("button", name="Publish").click()
        await expect(dialog.get_by_role("status")).to_have_text(
            f"Handed to 1, 0 are away; {sentence}."
        )
        await dialog.get_by_role("button", name="Close").click()
        feed = page.get_by_role("list", name="Events", exact=True)
        await expect(feed.get_by_role("listitem").first).to_contain_text("to 1, partial")


@pytest.mark.gen_test
async def test_clients_are_found_sorted_and_sent_away(
    browser: str, base_url: str, connect_client: ConnectClient
) -> None:
    ana, ben = await connect_client(), await connect_client()
    await ana.ask("joinRoom", "sales")
    async with windows(browser) as open_window:
        page = await open_dashboard(open_window, base_url)
        table = page.get_by_role("region", name="Clients")
        rows = table.get_by_role("row")
        await expect(rows).to_have_count(3)
        await expect(rows.nth(1)).to_contain_text(ana.id)
        await table.get_by_role("button", name="Rooms").click()
        await expect(rows.nth(1)).to_contain_text(ben.id)
        await page.get_by_label("Search").fill("SALES")
        await expect(rows).to_have_count(2)
        await expect(rows.nth(1)).to_contain_text(ana.id)
        await rows.nth(1).get_by_role("button", name="Disconnect").click()
        await rows.nth(1).get_by_role("button", name="Really?").click()
        await expect(table.get_by_text("Nobody is connected.")).to_be_visible()
        await expect(page.get_by_text("0 of 1 connected")).to_be_visible()
    assert [one["id"] for one in await get(base_url, "/websocket/clients")] == [ben.id]


@pytest.mark.gen_test
async def test_many_clients_are_turned_over(
    browser: str, base_url: str, connect_client: ConnectClient
) -> None:
    for _ in range(26):
        await connect_client()
    async with windows(browser) as open_window:
        page = await open_dashboard(open_window, base_url)
        await expect(page.get_by_text("1 to 25 of 26")).to_be_visible()
        pager = page.locator("#clients-pager")
        await pager.get_by_role("button", name="Next").click()
        await expect(page.get_by_text("26 to 26 of 26")).to_be_visible()
        await pager.get_by_role("button", name="Previous").click()
        await expect(page.get_by_text("1 to 25 of 26")).to_be_visible()


@pytest.mark.gen_test
async def test_a_room_is_opened_and_gets_a_test_event(
    browser: str, base_url: str, connect_client: ConnectClient
) -> None:
    ana = await connect_client()
    await ana.ask("joinRoom", "sales")
    await ana.ask("joinRoom", "support")
    await post(base_url, "/websocket/event/room/sales/dealWon", {"deal": 7})
    async with windows(browser) as open_window:
        page = await open_dashboard(open_window, base_url)
        await page.get_by_label("Begins with").fill("sal")
        rows = page.get_by_role("region", name="Rooms").get_by_role("row")
        await expect(rows).to_have_count(2)
        await page.get_by_role("button", name="Open sales").click()
        dialog = page.get_by_role("dialog")
        await expect(dialog.get_by_text(ana.id)).to_be_visible()
        history = dialog.get_by_role("list", name="History")
        await expect(history).to_contain_text("dealWon")
        await dialog.get_by_label("JSON").fill("{")
        await dialog.get_by_role("button", name="Publish").click()
        await expect(dialog.get_by_role("alert")).to_contain_text("JSON")
        await dialog.get_by_label("JSON").fill('{"deal": 8}')
        await dialog.get_by_label("Event", exact=True).fill("dealLost")
        await dialog.get_by_role("button", name="Publish").click()
        await expect(dialog.get_by_role("status")).to_have_text("Handed to 1, 0 are away.")
        await expect(history.get_by_role("listitem").first).to_contain_text("dealLost")
        await dialog.get_by_role("button", name="Close").click()
        await expect(dialog).to_be_hidden()
    assert (await ana.next_event("dealLost"))["deal"] == 8


@pytest.mark.gen_test
async def test_the_feed_is_filtered_paused_and_cleared(browser: str, base_url: str) -> None:
    async with windows(browser) as open_window:
        page = await open_dashboard(open_window, base_url)
        feed = page.get_by_role("list", name="Events", exact=True)
        await post(base_url, "/websocket/event/room/sales/dealWon", {"deal": 7})
        await post(base_url, "/websocket/event/user/u1/hello", {})
        await expect(feed.get_by_role("listitem")).to_have_count(2)
        await expect(feed.get_by_role("listitem").first).to_contain_text("user u1to 0")
        await page.get_by_label("Filter").fill("deal")
        await expect(feed.get_by_role("listitem")).to_have_count(1)
        await feed.get_by_text("dealWon").click()
        await expect(feed.get_by_text('{"deal":7,')).to_be_visible()
        await page.get_by_label("Filter").fill("")
        await page.get_by_role("button", name="Pause").click()
        await post(base_url, "/websocket/event/broadcast/unseen", {})
        await page.get_by_role("button", name="Go on").click()
        await post(base_url, "/websocket/event/broadcast/seen", {})
        await expect(feed.get_by_text("seen", exact=True)).to_be_visible()
        await page.get_by_role("button", name="Clear").click()
        await expect(feed).to_have_text("Nothing yet.")


@pytest.mark.gen_test
async def test_what_others_have_named_is_shown_as_text(
    browser: str, base_url: str, connect_client: ConnectClient
) -> None:
    client = await connect_client()
    await client.ask("joinRoom", MARKUP)
    async with windows(browser) as open_window:
        page = await open_dashboard(open_window, base_url)
        await client.ask("roomMessage", {"room": MARKUP, "message": MARKUP})
        feed = page.get_by_role("list", name="Events", exact=True)
        await expect(feed).to_contain_text(f"room {MARKUP}")
        await page.get_by_role("region", name="Rooms").get_by_role("button").last.click()
        dialog = page.get_by_role("dialog")
        await expect(dialog.get_by_role("heading", level=2)).to_have_text(MARKUP)
        await expect(dialog.get_by_role("list", name="History")).to_contain_text("roomMessage")
        await expect(page).to_have_title(re.compile("^Dashboard"))


@pytest.mark.gen_test
async def test_refusals_are_shown_by_their_reason(
    browser: str, base_url: str, connect_client: ConnectClient
) -> None:
    client = await connect_client()
    async with windows(browser) as open_window:
        page = await open_dashboard(open_window, base_url)
        refused = page.get_by_role("table", name="Refused")
        await expect(refused).to_contain_text("Nothing was refused.")
        await client.ask("nonsense")
        await expect(refused).to_contain_text("unknown_event (event)")
        await client.socket.disconnect()
        gone = page.get_by_role("table", name="Disconnected")
        await expect(gone).not_to_contain_text("Nobody was disconnected.")


@pytest.mark.gen_test
async def test_days_are_chosen(browser: str, base_url: str) -> None:
    async with windows(browser) as open_window:
        page = await open_dashboard(open_window, base_url)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        async with page.expect_response(lambda answer: "/websocket/analytics" in answer.url):
            await page.get_by_label("Show").select_option("a week")
        reads = [url for url in asked if "/websocket/analytics" in url]
        assert len(reads) == 7
        await expect(page.locator("#days-problem")).to_have_text("")


@with_keys
@pytest.mark.gen_test
async def test_somebody_signs_in_and_stays_so_in_this_tab(browser: str, base_url: str) -> None:
    async with windows(browser) as open_window:
        page: Page = await open_window(f"{base_url}/dashboard")
        state = page.get_by_role("banner").get_by_role("status")
        await expect(state).to_have_text("Not signed in")
        await page.get_by_label("API key").fill("wrong-key-0123456789abcdef")
        await page.get_by_role("button", name="Sign in").click()
        alert = page.get_by_role("form", name="Sign in").get_by_role("alert")
        await expect(alert).to_have_text("This API key is not known.")
        await page.get_by_label("API key").fill(ADMIN)
        await page.get_by_role("button", name="Sign in").click()
        await expect(state).to_have_text("active")
        await expect(page.get_by_text("0 connected")).to_be_visible()
        await page.reload()
        await expect(state).to_have_text("active")


@pytest.mark.gen_test
async def test_the_page_says_when_the_server_is_gone(
    browser: str, base_url: str, application: Application, http_server: HttpServer
) -> None:
    async with windows(browser) as open_window:
        page = await open_dashboard(open_window, base_url)
        http_server.stop()
        await application.dashboard.stop()
        await expect(page.get_by_role("banner").get_by_role("status")).to_have_text(
            "The server does not answer"
        )


@pytest.mark.gen_test
async def test_nothing_is_cut_off_on_a_phone(browser: str, base_url: str) -> None:
    async with windows(browser) as open_window:
        page = await open_dashboard(open_window, base_url)
        await page.set_viewport_size({"width": 375, "height": 800})
        assert await page.evaluate("document.documentElement.scrollWidth") <= 375


@pytest.mark.gen_test
async def test_every_metric_on_the_page_exists(base_url: str, application: Application) -> None:
    scripts = ("overview", "trouble", "main")
    client = AsyncHTTPClient()
    pages = [(await client.fetch(f"{base_url}/dashboard/{name}.js")).body for name in scripts]
    shown = {word.decode() for page in pages for word in METRIC.findall(page)}
    families = list(application.metrics.registry.collect())
    existing = {f"{family.name}{ENDINGS.get(family.type, '')}" for family in families}
    assert len(shown) > 15
    assert shown <= existing
