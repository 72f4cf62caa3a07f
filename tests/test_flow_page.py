"""The test client and the start page in a real browser, against a real server."""

import json
import re
from urllib.parse import urljoin

import pytest
from playwright.async_api import Route, expect
from tornado.httpclient import AsyncHTTPClient

from gtower_realtime.application import Application
from gtower_realtime.events.client import CLIENT_EVENTS
from handlers import control, publish, reads, rooms, triggers
from tests.browser import windows
from tests.client_page import (
    CLIENT_PAGE,
    MARKUP,
    STATIC,
    ClientPage,
    open_client,
    post,
    tab_to,
    two_connected,
)
from tests.silent_nodes import let_receipts_be_partial

pytestmark = pytest.mark.usefixtures("http_server")


@pytest.mark.gen_test
async def test_a_message_from_one_page_is_seen_by_the_other(browser: str, base_url: str) -> None:
    async with windows(browser) as open_window:
        ana, ben = await two_connected(open_window, base_url)
        await ana.send("message", "Text", "Good morning, Ben")
        await expect(ana.acknowledgement).to_contain_text("message accepted")
        await expect(ana.acknowledgement).to_contain_text('"recipients": 1')
        await expect(ana.entry("ack", "message", '"ok": true')).to_be_visible()
        await expect(ana.entry("in", "messageReceived", "Good morning, Ben")).to_be_visible()
        await expect(ben.entry("in", "messageBroadcast", "Good morning, Ben")).to_be_visible()
        await expect(ana.entry("in", "messageBroadcast")).to_have_count(0)


@pytest.mark.gen_test
async def test_a_room_message_reaches_the_page_that_has_joined(browser: str, base_url: str) -> None:
    async with windows(browser) as open_window:
        ana, ben = await two_connected(open_window, base_url)
        await ana.join("sales")
        await ben.field("Message to this room").fill("Anybody here?")
        await ben.field("Message to this room").press("Enter")
        await expect(ana.entry("in", "roomMessage", "Anybody here?")).to_be_visible()
        await expect(ben.entry("ack", "roomMessage", '"ok": true')).to_be_visible()
        await expect(ben.entry("in", "roomMessage")).to_have_count(0)


@pytest.mark.gen_test
async def test_the_page_shows_which_rooms_it_is_in(browser: str, base_url: str) -> None:
    async with windows(browser) as open_window:
        ana = await open_client(open_window, base_url)
        await ana.connect()
        await ana.join("sales")
        await ana.button("Join WhatsApp general").click()
        await ana.field("WhatsApp customer").fill("c42")
        await ana.button("Join the customer room").click()
        rooms = ana.rooms.get_by_role("listitem")
        await expect(rooms).to_contain_text(["sales", "whatsapp:general", "whatsapp:customer:c42"])
        await ana.button("Leave the customer room").click()
        await ana.button("Leave WhatsApp general").click()
        await expect(rooms).to_contain_text(["sales"])
        await ana.button("Leave sales").click()
        await expect(rooms).to_have_count(0)
        await ana.join("sales")
        await ana.button("Disconnect").click()
        await expect(rooms).to_have_count(0)


@pytest.mark.gen_test
async def test_a_trigger_from_a_back_end_appears_in_every_page(browser: str, base_url: str) -> None:
    async with windows(browser) as open_window:
        ana, ben = await two_connected(open_window, base_url)
        notice = {"type": "info", "title": "Lunch", "message": "Back at two"}
        response = await post(f"{base_url}/websocket/notify/broadcast", notice)
        assert (response.code, json.loads(response.body)["recipients"]) == (201, 2)
        await expect(ana.entry("in", "notification", "Back at two")).to_be_visible()
        await expect(ben.entry("in", "notification", "Back at two")).to_be_visible()


@pytest.mark.gen_test
async def test_every_request_of_the_form_succeeds_with_its_sample(
    browser: str, base_url: str
) -> None:
    async with windows(browser) as open_window:
        ana = await open_client(open_window, base_url)
        await ana.connect()
        calls = await ana.page.evaluate("HTTP_CALLS")
        for call in calls:
            await ana.request.select_option(label=call["label"])
            await expect(ana.http_answer).to_be_empty()
            await ana.button("Send request").click()
            sends = call["method"] == "POST" and call["group"] != "Control"
            verdict = "201 Created" if sends else "200 OK"
            await expect(ana.http_answer).to_contain_text(verdict)
        for event in (
            "notification",
            "chatMessage",
            "orderUpdated",
            "whatsappStatusUpdate",
            "whatsappMessageUpdate",
            "conversationUpdate",
        ):
            await expect(ana.entry("in", event).first).to_be_visible()


@pytest.mark.gen_test
async def test_the_page_offers_exactly_what_the_server_has(browser: str, base_url: str) -> None:
    async with windows(browser) as open_window:
        ana = await open_client(open_window, base_url)
        offered_events = await ana.page.evaluate("CLIENT_EVENTS.map((row) => row.event)")
        offered_paths = await ana.page.evaluate("HTTP_CALLS.map((call) => call.path)")
        offered_samples = await ana.page.evaluate("Object.keys(PATH_SAMPLES)")
    assert sorted(offered_events) == sorted(CLIENT_EVENTS)
    routes = [
        *triggers.routes(),
        *publish.routes(),
        *reads.routes(),
        *rooms.routes(),
        *control.routes(),
    ]
    assert sorted(map(_shape, offered_paths)) == sorted(_shape(route.path) for route in routes)
    assert set(offered_samples) == set(re.findall(r":(\w+)", " ".join(offered_paths)))


def _shape(path: str) -> str:
    return re.sub(r":\w+", ":", path)


@pytest.mark.gen_test
async def test_wrong_input_shows_the_refusal(browser: str, base_url: str) -> None:
    async with windows(browser) as open_window:
        ana = await open_client(open_window, base_url)
        await ana.send("message", "Text", "too early")
        await expect(ana.acknowledgement).to_contain_text("Not connected. Connect first.")
        await ana.connect()
        await ana.send("joinRoom", "JSON", '{"roomName": ""}')
        await expect(ana.acknowledgement).to_contain_text("joinRoom refused")
        await expect(ana.acknowledgement).to_contain_text('"code": "validation_error"')
        await ana.send("joinRoom", "JSON", '{"roomName": ')
        await expect(ana.acknowledgement).to_contain_text("The argument is not JSON")
        await expect(ana.entry("out", "joinRoom")).to_have_count(1)
        await ana.body.fill('{"type": "loud"}')
        await ana.button("Send request").click()
        await expect(ana.http_answer).to_contain_text("400 Bad Request")
        await expect(ana.http_answer).to_contain_text('"code": "validation_error"')
        await ana.body.fill('{"type": ')
        await ana.button("Send request").click()
        await expect(ana.http_answer).to_contain_text('"code": "invalid_json"')


@pytest.mark.parametrize(
    ("nodes", "sentence"),
    [
        (["ant:3001"], "partial: node ant:3001 did not answer"),
        (["ant:3001", "bee:3002"], "partial: nodes ant:3001, bee:3002 did not answer"),
        ([], "partial: not all nodes have answered"),
    ],
)
@pytest.mark.gen_test
async def test_a_receipt_without_some_nodes_is_shown_as_such(
    nodes: list[str],
    sentence: str,
    browser: str,
    base_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with windows(browser) as open_window:
        ana = await open_client(open_window, base_url)
        await ana.connect()
        warnings = ana.page.get_by_text(re.compile("^partial:"))
        await ana.button("Send request").click()
        await expect(ana.http_answer).to_contain_text("201 Created")
        await ana.send("message", "Text", "to all nodes")
        await expect(ana.acknowledgement).to_contain_text("message accepted")
        await expect(warnings).to_have_count(0)
        let_receipts_be_partial(monkeypatch, *nodes)
        await ana.button("Send request").click()
        await expect(ana.http_answer.get_by_text(sentence, exact=True)).to_be_visible()
        await ana.send("message", "Text", "to some nodes")
        await expect(ana.acknowledgement.get_by_text(sentence, exact=True)).to_be_visible()
        await ana.request.select_option(label="Several events at once")
        await ana.button("Send request").click()
        await expect(ana.http_answer.get_by_text(sentence, exact=True)).to_be_visible()


@pytest.mark.gen_test
async def test_a_page_of_another_origin_reads_which_nodes_a_list_is_without(
    browser: str, base_url: str
) -> None:
    async def without_a_node(route: Route) -> None:
        answer = await route.fetch()
        told = {"X-Partial": "true", "X-Nodes-Missing": "ant:3001, bee:3002"}
        await route.fulfill(response=answer, headers={**answer.headers, **told})

    async with windows(browser) as open_window:
        ana = ClientPage(await open_window((STATIC / CLIENT_PAGE).as_uri()))
        await ana.page.route("**/websocket/clients?**", without_a_node)
        await ana.field("Server URL").fill(base_url)
        await ana.request.select_option(label="Clients")
        await ana.button("Send request").click()
        sentence = "partial: nodes ant:3001, bee:3002 did not answer"
        await expect(ana.http_answer.get_by_text(sentence, exact=True)).to_be_visible()


@pytest.mark.gen_test
async def test_a_server_url_that_is_none_is_refused_in_words(browser: str, base_url: str) -> None:
    async with windows(browser) as open_window:
        ana = await open_client(open_window, base_url)
        await ana.field("Server URL").fill("ftp://localhost")
        await ana.button("Connect").click()
        await expect(
            ana.page.get_by_role("alert").filter(has_text="must look like")
        ).to_be_visible()
        await expect(ana.state).to_have_text("Disconnected")


@pytest.mark.gen_test
async def test_a_refused_namespace_is_told_in_words(browser: str, base_url: str) -> None:
    async with windows(browser) as open_window:
        ana = await open_client(open_window, base_url)
        await ana.field("Namespace").fill("/nowhere")
        await ana.button("Connect").click()
        await expect(ana.state).to_have_text("Refused")
        await expect(ana.page.get_by_role("alert").filter(has_text="namespace")).to_be_visible()
        await ana.field("Namespace").fill("/")
        await ana.connect()


@pytest.mark.gen_test
async def test_markup_in_what_others_send_is_shown_as_text_and_runs_nothing(
    browser: str, base_url: str
) -> None:
    async with windows(browser) as open_window:
        ana, ben = await two_connected(open_window, base_url)
        title = await ana.page.title()
        await ana.join(MARKUP)
        await ben.send("message", "Text", MARKUP)
        await ben.send("message", "JSON", json.dumps({MARKUP: [MARKUP]}))
        await post(f"{base_url}/websocket/event/broadcast/%3Cimg%20src=x%3E", {MARKUP: MARKUP})
        await expect(ana.entry("in", "<img src=x>", "<img src=x onerror=")).to_be_visible()
        await expect(ana.entry("in", "messageBroadcast", "<img src=x onerror=")).to_have_count(2)
        await expect(ana.rooms).to_contain_text(MARKUP)
        await expect(ana.page.locator("img")).to_have_count(0)
        assert await ana.page.title() == title


@pytest.mark.gen_test
async def test_the_page_opened_from_disk_talks_to_a_server(browser: str, base_url: str) -> None:
    async with windows(browser) as open_window:
        ana = ClientPage(await open_window((STATIC / CLIENT_PAGE).as_uri()))
        await expect(ana.field("Server URL")).to_have_value("http://localhost:3000")
        await ana.field("Server URL").fill(base_url)
        await ana.connect()
        await ana.send("message", "Text", "from disk")
        await expect(ana.acknowledgement).to_contain_text("message accepted")
        await ana.button("Send request").click()
        await expect(ana.http_answer).to_contain_text("201 Created")
        await expect(ana.entry("in", "notification")).to_be_visible()


@pytest.mark.gen_test
async def test_the_keyboard_is_enough(browser: str, base_url: str) -> None:
    async with windows(browser) as open_window:
        ana = await open_client(open_window, base_url)
        await tab_to(ana.page, ana.field("Server URL"))
        await ana.page.keyboard.press("Enter")
        await expect(ana.state).to_have_text("Connected")
        await tab_to(ana.page, ana.argument)
        await ana.page.keyboard.press("Control+A")
        await ana.page.keyboard.type("by hand")
        await ana.page.keyboard.press("Control+Enter")
        await expect(ana.acknowledgement).to_contain_text("message accepted")
        await tab_to(ana.page, ana.filter)
        await ana.page.keyboard.type("no such thing")
        await expect(ana.log.get_by_role("listitem")).to_have_count(0)
        await ana.page.keyboard.press("Escape")
        await expect(ana.filter).to_have_value("")
        await expect(ana.entry("out", "message", "by hand")).to_be_visible()


@pytest.mark.gen_test
async def test_a_missing_bundle_is_told_with_what_to_do(browser: str, base_url: str) -> None:
    async def not_found(route: Route) -> None:
        await route.fulfill(status=404)

    async with windows(browser) as open_window:
        ana = ClientPage(await open_window("about:blank"))
        await ana.page.route("**/socket.io.min.js", not_found)
        await ana.page.goto(f"{base_url}/{CLIENT_PAGE}")
        await expect(ana.page.get_by_role("alert").filter(has_text="make install")).to_be_visible()
        await expect(ana.button("Connect")).to_be_disabled()


@pytest.mark.gen_test
async def test_secrets_are_sent_but_neither_shown_nor_kept_beyond_the_tab(
    browser: str, base_url: str
) -> None:
    async with windows(browser) as open_window:
        ana = await open_client(open_window, base_url)
        await ana.field("API key").fill("the-key")
        await ana.field("Client token").fill("the-token")
        await expect(ana.field("API key")).to_have_attribute("type", "password")
        await expect(ana.field("Client token")).to_have_attribute("type", "password")
        async with ana.page.expect_request("**/websocket/notify/broadcast") as sent:
            await ana.button("Send request").click()
        assert (await sent.value).headers["x-api-key"] == "the-key"
        await ana.page.get_by_text("The same with curl").click()
        await expect(ana.page.locator("#curl")).to_contain_text("X-API-Key: $GTOWER_API_KEY")
        await expect(ana.page.get_by_text(re.compile("the-key|the-token"))).to_have_count(0)
        await ana.page.reload()
        await expect(ana.field("API key")).to_have_value("the-key")
        other = ClientPage(await ana.page.context.new_page())
        await other.page.goto(ana.page.url)
        await expect(other.field("API key")).to_have_value("")
        await expect(other.field("Client token")).to_have_value("")


@pytest.mark.parametrize(
    ("choice", "transport"),
    [("Auto (upgrade)", "websocket"), ("WebSocket only", "websocket"), ("Polling only", "polling")],
)
@pytest.mark.gen_test
async def test_the_chosen_transport_is_used(
    choice: str, transport: str, browser: str, base_url: str
) -> None:
    async with windows(browser) as open_window:
        ana = await open_client(open_window, base_url)
        await ana.page.get_by_role("combobox", name="Transport").select_option(label=choice)
        await ana.connect()
        await expect(ana.page.locator("#client-transport")).to_have_text(transport)
        await ana.send("message", "Text", f"by {transport}")
        await expect(ana.acknowledgement).to_contain_text("message accepted")


@pytest.mark.gen_test
async def test_a_broken_line_comes_back_by_itself_with_what_was_missed(
    browser: str, base_url: str, application: Application
) -> None:
    async with windows(browser) as open_window:
        ana = await open_client(open_window, base_url)
        await ana.connect()
        await ana.page.context.set_offline(True)
        await ana.button("Break the line").click()
        await expect(ana.entry("state", "disconnect")).to_be_visible()
        missed = await application.service.broadcast_event("missed", {"n": 1})
        await ana.page.context.set_offline(False)
        await expect(ana.entry("in", "connected")).to_have_count(2)
        await expect(ana.state).to_have_text("Connected")
        await expect(ana.entry("in", "missed")).to_contain_text(f"replayed {missed.offset}")
        await expect(ana.page.locator("#client-recovered")).to_have_text("yes, 1 event replayed")
        live = await application.service.broadcast_event("live", {"n": 2})
        await expect(ana.entry("in", "live")).to_contain_text(str(live.offset))
        await expect(ana.log.get_by_text("replayed", exact=True)).to_have_count(1)
        await ana.filter.fill("replayed")
        await expect(ana.log.get_by_role("listitem")).to_contain_text(["missed"])


@pytest.mark.gen_test
async def test_the_log_can_be_filtered_paused_cleared_and_copied(
    browser: str, base_url: str
) -> None:
    async with windows(browser) as open_window:
        ana = await open_client(open_window, base_url)
        await ana.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        await ana.connect()
        await ana.send("message", "Text", "apples")
        await expect(ana.entry("ack", "message")).to_be_visible()
        await ana.filter.fill("APPLES")
        await expect(ana.entry("in", "messageReceived")).to_be_visible()
        await expect(ana.entry("in", "connected")).to_have_count(0)
        await ana.page.get_by_role("checkbox", name=re.compile("^out")).uncheck()
        await expect(ana.log.get_by_role("listitem")).to_have_count(1)
        await ana.button("Copy log").click()
        copied = json.loads(await ana.page.evaluate("navigator.clipboard.readText()"))
        assert (copied["direction"], copied["name"]) == ("in", "messageReceived")
        assert copied["payload"]["originalMessage"] == "apples"
        await ana.filter.press("Escape")
        await ana.button("Pause").click()
        await ana.send("message", "Text", "pears")
        await expect(ana.page.get_by_text("paused, 3 waiting")).to_be_visible()
        await expect(ana.entry("in", "messageReceived", "pears")).to_have_count(0)
        await ana.button("Pause").click()
        await expect(ana.entry("in", "messageReceived", "pears")).to_be_visible()
        await ana.button("Clear log").click()
        await expect(ana.log.get_by_role("listitem")).to_have_count(0)
        await expect(ana.page.get_by_text("0 shown of 0")).to_be_visible()


@pytest.mark.gen_test
async def test_the_log_keeps_the_latest_500_entries(browser: str, base_url: str) -> None:
    async with windows(browser) as open_window:
        ana = await open_client(open_window, base_url)
        await _add_to_log(ana, 1, 400)
        await expect(ana.entry("in", "event 400")).to_be_visible()
        await _add_to_log(ana, 401, 600)
        await expect(ana.entry("in", "event 600")).to_be_visible()
        await expect(ana.log.get_by_role("listitem")).to_have_count(500)
        await expect(ana.entry("in", "event 101")).to_have_count(1)
        await ana.button("Pause").click()
        await _add_to_log(ana, 601, 1200)
        await expect(
            ana.page.get_by_text("500 shown of 1200 · paused, 500 waiting")
        ).to_be_visible()


async def _add_to_log(client: ClientPage, first: int, last: int) -> None:
    await client.page.evaluate(
        """([first, last]) => {
            for (let number = first; number <= last; number += 1) log.add('in', `event ${number}`);
        }""",
        [first, last],
    )


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.gen_test
async def test_every_control_has_a_name_and_nothing_is_wider_than_the_window(
    width: int, browser: str, base_url: str
) -> None:
    async with windows(browser) as open_window:
        ana = await open_client(open_window, base_url)
        await ana.page.set_viewport_size({"width": width, "height": 800})
        await ana.connect()
        await ana.join("r" * 200)
        assert await ana.page.evaluate(
            "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        )
        controls = ana.page.locator("input, select, textarea, button")
        nameless = await controls.evaluate_all(
            """(nodes) => nodes.filter((node) =>
                !(node.labels?.length || node.textContent.trim())).map((node) => node.outerHTML)"""
        )
        assert nameless == []


@pytest.mark.gen_test
async def test_the_start_page_leads_to_pages_that_exist(browser: str, base_url: str) -> None:
    async with windows(browser) as open_window:
        page = await open_window(base_url)
        links = await page.locator("a").evaluate_all("(nodes) => nodes.map((node) => node.href)")
        assert urljoin(base_url, CLIENT_PAGE) in links
        for link in links:
            assert (await AsyncHTTPClient().fetch(link)).code == 200
        await expect(page.locator("#tell-everybody")).to_contain_text(
            f"curl -X POST '{base_url}/websocket/notify/broadcast'"
        )
