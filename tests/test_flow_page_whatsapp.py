"""The test client's WhatsApp panel: conversations, and the simulated webhook, in a real browser."""

import hmac
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from playwright.async_api import Locator, Request, Route, expect

from tests import whatsapp_webhooks
from tests.browser import OpenWindow, windows
from tests.client_page import CLIENT_PAGE, MARKUP, STATIC, ClientPage, open_client, post, tab_to

SECRET = "the app secret, ü"
NUMBER = "16505551234"

pytestmark = [pytest.mark.gen_test, pytest.mark.usefixtures("http_server")]


def message(message_id: str, content: Any, **details: Any) -> dict[str, Any]:
    """Return the body of a `whatsappMessage` of Sheena Nelson, who is customer c42."""
    return {
        "conversationId": f"wa:106540352242922:{NUMBER}",
        "customerId": "c42",
        "whatsappNumber": NUMBER,
        "whatsappMessageId": message_id,
        "senderType": "customer",
        "messageType": "text",
        "content": content,
        "status": "delivered",
        "metadata": {"customerData": {"profile": {"name": "Sheena Nelson"}, "wa_id": NUMBER}},
        "isTemplate": False,
        "templateName": "",
        **details,
    }


def status(message_id: str, word: str, **details: Any) -> dict[str, Any]:
    """Return the body of a `whatsappMessageStatus` of a message to customer c42."""
    return {"messageId": message_id, "status": word, "customerId": "c42", **details}


async def publish(base_url: str, event: str, data: dict[str, Any]) -> None:
    """Publish as the webhook does: to both rooms, one copy each."""
    rooms = ["whatsapp:general", "whatsapp:customer:c42"]
    await post(f"{base_url}/websocket/publish", {"event": event, "data": data, "rooms": rooms})


def bubbles(client: ClientPage) -> Locator:
    """Return the messages of the conversation on screen."""
    return client.page.get_by_role("list", name="Conversation with").get_by_role("listitem")


async def connected(open_window: OpenWindow, base_url: str) -> ClientPage:
    """Open the test client, connect it, and join WhatsApp general."""
    client = await open_client(open_window, base_url)
    await client.connect()
    await client.button("Join WhatsApp general").click()
    await expect(client.rooms).to_contain_text("whatsapp:general")
    return client


@asynccontextmanager
async def posted_webhook(client: ClientPage) -> AsyncIterator[list[Request]]:
    """Stand in for the server's webhook; the list has the one request once this is left."""
    requests: list[Request] = []

    async def accept(route: Route) -> None:
        await route.fulfill(status=200, body="")

    await client.page.route("**/whatsapp/webhook", accept)
    async with client.page.expect_request("**/whatsapp/webhook") as posted:
        yield requests
    requests.append(await posted.value)


def signed_body(request: Request) -> Any:
    """Check a request's method, signature and type, and return its body."""
    raw = request.post_data_buffer
    assert raw is not None
    digest = hmac.new(SECRET.encode(), raw, "sha256").hexdigest()
    assert request.method == "POST"
    assert request.headers["x-hub-signature-256"] == f"sha256={digest}"
    assert request.headers["content-type"] == "application/json"
    assert raw.isascii()
    return json.loads(raw)


# Conversations


async def test_messages_and_statuses_of_a_customer_make_a_conversation(
    browser: str, base_url: str
) -> None:
    async with windows(browser) as open_window:
        ana = await connected(open_window, base_url)
        await expect(ana.page.get_by_text("No conversation yet.")).to_be_visible()
        await ana.button("Join the customer room").click()
        await expect(ana.rooms).to_contain_text("whatsapp:customer:c42")
        await publish(base_url, "whatsappMessage", message("in-1", "Any other color?"))
        await expect(bubbles(ana)).to_contain_text(["Sheena Nelson"])
        await expect(bubbles(ana)).to_contain_text(["Any other color?"])
        await expect(bubbles(ana)).to_contain_text(["✓✓ delivered"])
        await expect(ana.page.get_by_text("No conversation yet.")).to_be_hidden()
        answer = message("out-1", "Blue.", senderType="agent", status="sent", messageType="image")
        await publish(base_url, "whatsappMessage", answer)
        await expect(bubbles(ana).nth(1)).to_contain_text("agent")
        await expect(bubbles(ana).nth(1)).to_contain_text("Blue.")
        await expect(bubbles(ana).nth(1)).to_contain_text("image · ✓ sent")
        await publish(base_url, "whatsappMessageStatus", status("out-1", "delivered"))
        await expect(bubbles(ana).nth(1)).to_contain_text("✓✓ delivered")
        await publish(base_url, "whatsappMessageStatus", status("out-1", "read"))
        await expect(bubbles(ana).nth(1)).to_contain_text("✓✓ read")
        await expect(bubbles(ana)).to_have_count(2)


async def test_a_status_of_an_unknown_message_is_shown_with_its_errors(
    browser: str, base_url: str
) -> None:
    error = {"code": 131049, "title": "Not delivered.", "error_data": {"details": "Too many."}}
    async with windows(browser) as open_window:
        ana = await connected(open_window, base_url)
        await publish(base_url, "whatsappMessageStatus", status("out-7", "failed", errors=[error]))
        await expect(bubbles(ana)).to_contain_text(["out-7"])
        await expect(bubbles(ana)).to_contain_text(["✗ failed"])
        await expect(bubbles(ana)).to_contain_text(["131049 · Not delivered. · Too many."])
        await expect(ana.button("c42")).to_have_attribute("aria-current", "true")
        await publish(base_url, "whatsappMessage", message("in-1", "Hello"))
        await expect(bubbles(ana)).to_contain_text(["out-7", "Hello"])
        await expect(ana.button("Sheena Nelson c42")).to_be_visible()


async def test_each_customer_has_a_conversation_and_the_keyboard_switches(
    browser: str, base_url: str
) -> None:
    other = {"conversationId": "wa:1:34600", "customerId": "c7", "whatsappNumber": "34600"}
    async with windows(browser) as open_window:
        ana = await connected(open_window, base_url)
        await publish(base_url, "whatsappMessage", message("in-1", "From Sheena"))
        for number in (2, 3):
            body = message(f"in-{number}", f"From another {number}", **other, metadata={})
            await publish(base_url, "whatsappMessage", body)
        await tab_to(ana.page, ana.button("34600 c7 2 new"))
        await expect(bubbles(ana)).to_contain_text(["From Sheena"])
        await ana.page.keyboard.press("Enter")
        await expect(bubbles(ana)).to_contain_text(["From another 2", "From another 3"])
        await expect(ana.button("34600 c7")).to_be_focused()
        await expect(ana.button("34600 c7")).to_have_attribute("aria-current", "true")
        await expect(ana.button("Sheena Nelson c42")).to_have_attribute("aria-current", "false")


async def test_what_was_missed_is_in_the_conversation_after_the_replay(
    browser: str, base_url: str
) -> None:
    async with windows(browser) as open_window:
        ana = await connected(open_window, base_url)
        await publish(base_url, "whatsappMessage", message("in-1", "First"))
        await expect(bubbles(ana)).to_contain_text(["First"])
        await ana.page.context.set_offline(True)
        await ana.button("Break the line").click()
        await expect(ana.entry("state", "disconnect")).to_be_visible()
        await publish(base_url, "whatsappMessage", message("in-2", "Second"))
        await publish(base_url, "whatsappMessageStatus", status("in-1", "read"))
        await ana.page.context.set_offline(False)
        await expect(bubbles(ana)).to_contain_text(["First", "Second"])
        await expect(bubbles(ana).nth(0)).to_contain_text("read")
        await expect(ana.entry("in", "whatsappMessage", "Second")).to_contain_text("replayed")


IN_ANY_ORDER = """(events) => {
    const conversations = new Conversations();
    for (const [name, payload] of events) conversations.take({ name, payload });
    return conversations.all.map(({ id, customerId, messages }) => [
        id ?? null, customerId, messages.map((one) => [one.id, one.isSeen, one.status])]);
}"""


async def test_late_repeated_and_backward_events_come_to_the_same_conversation(
    browser: str, base_url: str
) -> None:
    def at(second: int) -> dict[str, str]:
        return {"timestamp": f"2026-11-26T12:00:{second:02}.000Z"}

    own = "customer:c42"
    events = [
        ("whatsappMessageStatus", status("out-2", "read", **at(9))),
        ("whatsappMessageStatus", status("out-2", "sent", **at(4))),
        ("whatsappMessageStatus", status("out-2", "failed", **at(9))),
        ("whatsappMessage", message("in-3", "later", **at(8))),
        ("whatsappMessage", message("out-2", "Hi", **at(3), senderType="agent", status="sent")),
        ("whatsappMessage", message("in-1", "earlier", **at(1))),
        ("whatsappMessage", message("in-1", "earlier", **at(1))),
        ("whatsappMessageStatus", status("out-4", "failed", **at(9))),
        ("whatsappMessageStatus", status("out-4", "delivered", **at(9))),
        ("whatsappMessageStatus", status("out-5", "sent", **at(9), customerId=own)),
        ("notification", {"title": "of something else"}),
    ]
    async with windows(browser) as open_window:
        ana = await open_client(open_window, base_url)
        assert await ana.page.evaluate(IN_ANY_ORDER, events) == [
            [
                f"wa:106540352242922:{NUMBER}",
                "c42",
                [
                    ["in-1", True, "delivered"],
                    ["out-2", True, "read"],
                    ["in-3", True, "delivered"],
                    ["out-4", False, "failed"],
                ],
            ],
            [None, own, [["out-5", False, "sent"]]],
        ]


async def test_a_conversation_keeps_its_latest_300_messages(browser: str, base_url: str) -> None:
    events = [("whatsappMessage", message(f"in-{n}", "text")) for n in range(310)]
    async with windows(browser) as open_window:
        ana = await open_client(open_window, base_url)
        ((_, _, kept),) = await ana.page.evaluate(IN_ANY_ORDER, events)
        assert (len(kept), kept[0][0], kept[-1][0]) == (300, "in-10", "in-309")


async def test_strange_and_hostile_payloads_are_shown_as_text_within_the_window(
    browser: str, base_url: str
) -> None:
    async with windows(browser) as open_window:
        ana = await connected(open_window, base_url)
        await ana.page.set_viewport_size({"width": 390, "height": 800})
        title = await ana.page.title()
        await publish(base_url, "whatsappMessage", {"content": {"no": "text"}})
        await expect(bubbles(ana)).to_contain_text(['{"no":"text"}'])
        hostile = {"errors": [MARKUP, None, {"code": MARKUP}], "customerId": MARKUP}
        await publish(base_url, "whatsappMessageStatus", status("w" * 300, MARKUP, **hostile))
        await ana.page.get_by_role("list", name="Conversations").get_by_text(MARKUP).click()
        await expect(bubbles(ana)).to_contain_text([MARKUP])
        await expect(ana.page.locator("img")).to_have_count(0)
        assert await ana.page.title() == title
        assert await ana.page.evaluate(
            "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        )


# The simulated webhook


async def test_a_simulated_message_has_metas_shape_and_signature(
    browser: str, base_url: str
) -> None:
    async with windows(browser) as open_window:
        ana = await open_client(open_window, base_url)
        await tab_to(ana.page, ana.field("App secret"))
        await ana.page.keyboard.type(SECRET)
        await ana.page.get_by_label(re.compile("Customer.s name")).fill("Zoë")
        await tab_to(ana.page, ana.page.get_by_role("textbox", name=re.compile("Customer.s text")))
        await ana.page.keyboard.press("Control+A")
        await ana.page.keyboard.type("¿Hay más? 👍")
        async with posted_webhook(ana) as requests:
            await ana.page.keyboard.press("Enter")
        body = signed_body(requests[0])
        await expect(ana.field("Webhook answer")).to_contain_text("200 OK")
        await expect(ana.entry("http", "POST /whatsapp/webhook")).to_be_visible()
    (entry,) = body["entry"]
    (change,) = entry["changes"]
    (sent,) = change["value"].pop("messages")
    assert (body["object"], change["field"]) == ("whatsapp_business_account", "messages")
    assert change["value"] == {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550783881", "phone_number_id": "106540352242922"},
        "contacts": [{"profile": {"name": "Zoë"}, "wa_id": NUMBER}],
    }
    assert re.fullmatch(r"wamid\.[A-Za-z0-9+/]{32}", sent.pop("id"))
    assert re.fullmatch(r"\d{10}", sent.pop("timestamp"))
    assert sent == {"from": NUMBER, "type": "text", "text": {"body": "¿Hay más? 👍"}}


async def test_simulated_statuses_are_of_one_message_until_another_is_chosen(
    browser: str, base_url: str
) -> None:
    async with windows(browser) as open_window:
        ana = await open_client(open_window, base_url)
        await ana.field("App secret").fill(SECRET)
        seen = []
        for word in ("sent", "delivered", "read", "failed"):
            if word == "failed":
                await ana.field("Id of a message sent").fill("wamid.other")
                await ana.field("Sent for customer").fill("c42")
            await ana.page.get_by_role("combobox", name="Status").select_option(word)
            async with posted_webhook(ana) as requests:
                await ana.button("Simulate a status").click()
            body = signed_body(requests[0])
            (sent,) = body["entry"][0]["changes"][0]["value"]["statuses"]
            assert re.fullmatch(r"\d{10}", sent.pop("timestamp"))
            seen.append(sent)
    own = {"id": seen[0]["id"], "recipient_id": NUMBER}
    assert seen[0]["id"].startswith("wamid.")
    assert seen[:3] == [{**own, "status": word} for word in ("sent", "delivered", "read")]
    (error,) = seen[3].pop("errors")
    assert error["code"] == 131049
    assert seen[3] == {
        "id": "wamid.other",
        "recipient_id": NUMBER,
        "status": "failed",
        "biz_opaque_callback_data": "customer:c42",
    }


async def test_the_app_secret_is_asked_for_and_kept_nowhere(browser: str, base_url: str) -> None:
    async with windows(browser) as open_window:
        ana = await open_client(open_window, base_url)
        for name in ("Simulate a message", "Simulate a status"):
            await ana.button(name).click()
            await expect(ana.field("Webhook answer")).to_contain_text("Type the app secret")
        await ana.field("App secret").fill(SECRET)
        await expect(ana.field("App secret")).to_have_attribute("type", "password")
        async with posted_webhook(ana) as requests:
            await ana.button("Simulate a message").click()
        assert SECRET not in json.dumps(requests[0].headers)
        kept = "JSON.stringify([sessionStorage, localStorage, document.cookie])"
        assert "app secret" not in await ana.page.evaluate(kept)
        await ana.page.reload()
        await expect(ana.field("App secret")).to_have_value("")


async def test_a_page_from_disk_signs_too(browser: str, base_url: str) -> None:
    async with windows(browser) as open_window:
        ana = ClientPage(await open_window((STATIC / CLIENT_PAGE).as_uri()))
        await ana.field("Server URL").fill(base_url)
        await ana.field("App secret").fill(SECRET)
        async with posted_webhook(ana) as requests:
            await ana.button("Simulate a message").click()
        assert signed_body(requests[0])["object"] == "whatsapp_business_account"
        assert requests[0].url == f"{base_url}/whatsapp/webhook"


async def test_a_page_that_may_not_sign_says_so(browser: str) -> None:
    async def serve(route: Route) -> None:
        file = STATIC / route.request.url.removeprefix("http://crm.test/")
        await (route.fulfill(path=file) if file.is_file() else route.fulfill(status=404))

    async with windows(browser) as open_window:
        ana = ClientPage(await open_window("about:blank"))
        await ana.page.route("http://crm.test/**", serve)
        await ana.page.goto(f"http://crm.test/{CLIENT_PAGE}")
        await expect(ana.page.get_by_text("This page cannot sign a webhook")).to_be_visible()
        await expect(ana.button("Simulate a message")).to_be_disabled()
        await expect(ana.button("Simulate a status")).to_be_disabled()
        await expect(ana.button("Join WhatsApp general")).to_be_enabled()


@pytest.mark.parametrize("environ", [whatsapp_webhooks.ENVIRON])
@pytest.mark.parametrize("is_from_disk", [False, True])
async def test_what_is_simulated_comes_back_through_the_servers_webhook(
    browser: str, base_url: str, is_from_disk: bool
) -> None:
    page = (STATIC / CLIENT_PAGE).as_uri() if is_from_disk else f"{base_url}/{CLIENT_PAGE}"
    async with windows(browser) as open_window:
        ana = ClientPage(await open_window(page))
        await ana.field("Server URL").fill(base_url)
        await ana.connect()
        await ana.button("Join WhatsApp general").click()
        await expect(ana.rooms).to_contain_text("whatsapp:general")
        await ana.field("App secret").fill("another secret")
        await ana.button("Simulate a message").click()
        await expect(ana.field("Webhook answer")).to_contain_text("401 Unauthorized")
        await ana.field("App secret").fill(whatsapp_webhooks.SECRET)
        await ana.page.get_by_label(re.compile("Customer.s text")).fill("¿Hay más? 👍")
        await ana.button("Simulate a message").click()
        await expect(ana.field("Webhook answer")).to_contain_text("200 OK")
        await expect(bubbles(ana)).to_contain_text(["¿Hay más? 👍"])
        await expect(bubbles(ana)).to_contain_text(["Sheena Nelson"])
        await expect(ana.button(f"Sheena Nelson wa:{NUMBER}")).to_be_visible()
        for word, marked in (("sent", "✓ sent"), ("read", "✓✓ read"), ("failed", "✓✓ read")):
            await ana.page.get_by_role("combobox", name="Status").select_option(word)
            async with ana.page.expect_response("**/whatsapp/webhook") as answered:
                await ana.button("Simulate a status").click()
            assert (await answered.value).status == 200
            await expect(bubbles(ana).nth(1)).to_contain_text(marked)
        await expect(bubbles(ana)).to_have_count(2)
