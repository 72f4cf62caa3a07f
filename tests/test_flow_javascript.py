"""The stock socket.io-client, which is what users have, over each of its ways to connect."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import ANY

import pytest
from tornado.httpclient import AsyncHTTPClient

from gtower_realtime.application import Application
from gtower_realtime.names import user_room
from handlers.triggers import TRIGGERS
from tests.javascript_client import JavaScriptClient, javascript_client
from tests.socketio_wire import open_client

pytestmark = [pytest.mark.gen_test, pytest.mark.usefixtures("http_server")]

WEBSOCKET, POLLING, UPGRADE = ["websocket"], ["polling"], ["polling", "websocket"]
EACH_WAY = pytest.mark.parametrize("transports", [WEBSOCKET, POLLING, UPGRADE], ids="-".join)

NOTICE = {"type": "info", "title": "t", "message": "m"}
CHAT = {"id": "m1", "senderId": "u1", "senderName": "Ann", "content": "hello"}


async def connected(client: JavaScriptClient, url: str, **options: Any) -> str:
    """Connect past `connected`, and past the upgrade if there is one; return the client id."""
    told = await client.connect(url, **options)
    assert told["what"] == "connect", told
    await client.next_event("connected")
    if options["transports"] == UPGRADE:
        await client.upgraded()
    return str(told["id"])


async def post(base_url: str, path: str, content: Any) -> Any:
    """Trigger an event over HTTP and return the answer."""
    answer = await AsyncHTTPClient().fetch(
        base_url + path,
        method="POST",
        body=json.dumps(content),
        headers={"Content-Type": "application/json"},
    )
    return json.loads(answer.body)


async def listed(base_url: str) -> list[tuple[str, str]]:
    """Return id and transport of all clients."""
    answer = await AsyncHTTPClient().fetch(f"{base_url}/websocket/clients")
    return [(client["id"], client["transport"]) for client in json.loads(answer.body)]


@EACH_WAY
async def test_connected_is_the_first_thing_a_page_hears(
    node: str, base_url: str, transports: list[str]
) -> None:
    async with javascript_client(node) as client:
        told = await client.connect(base_url, transports=transports)
        assert told == {"what": "connect", "id": ANY, "recovered": False}
        assert client.transports[0] == transports[0]
        assert await client.told() == {
            "what": "event",
            "name": "connected",
            "arguments": [
                {
                    "message": "Successfully connected to WebSocket server",
                    "clientId": told["id"],
                    "timestamp": ANY,
                    "recovered": False,
                }
            ],
        }
        if transports == UPGRADE:
            await client.upgraded()
        await client.ask("joinRoom", "r")
        assert client.transports == transports
        assert await listed(base_url) == [(told["id"], transports[-1])]


RECEIPT = {"ok": True, "id": ANY, "recipients": 0, "pending": 0, "offset": ANY}
WRONG_ROOM = {
    "code": "validation_error",
    "message": "roomName: A name must not be empty.",
    "retryable": False,
    "fields": {"roomName": ["A name must not be empty."]},
}
ASKED = [
    ("message", ["hello"], RECEIPT),
    ("message", [{"type": "text", "text": "hello"}, "ignored"], RECEIPT),
    ("joinRoom", ["sales"], {"ok": True, "room": "sales"}),
    ("roomMessage", [{"room": "sales", "message": [1]}], {**RECEIPT, "recipients": 1}),
    ("leaveRoom", [{"roomName": "sales"}], {"ok": True, "room": "sales"}),
    ("joinWhatsAppGeneral", [], {"ok": True, "room": "whatsapp:general"}),
    ("joinWhatsAppRoom", [], {"ok": True, "room": "whatsapp:general"}),
    ("joinWhatsAppCustomer", ["c42"], {"ok": True, "room": "whatsapp:customer:c42"}),
    (
        "leaveWhatsAppCustomer",
        [{"customerId": "c42"}],
        {"ok": True, "room": "whatsapp:customer:c42"},
    ),
    ("joinRoom", [""], {"ok": False, "error": WRONG_ROOM}),
    (
        "message",
        [{"bytes": [1, 2, 3]}],
        {
            "ok": False,
            "error": {
                "code": "validation_error",
                "message": "Binary is not carried; send JSON.",
                "retryable": False,
            },
        },
    ),
    (
        "joinRooms",
        [],
        {
            "ok": False,
            "error": {
                "code": "unknown_event",
                "message": "There is no client event 'joinRooms'; the nearest is 'joinRoom'.",
                "retryable": False,
            },
        },
    ),
]
OWN_EVENTS = [
    "messageReceived",
    "messageReceived",
    "roomJoined",
    "roomMessage",
    "roomLeft",
    "whatsappGeneralJoined",
    "whatsappGeneralJoined",
    "whatsappCustomerJoined",
    "whatsappCustomerLeft",
    "exception",
]


@EACH_WAY
async def test_every_client_event_is_acknowledged_and_told(
    node: str, base_url: str, transports: list[str]
) -> None:
    async with javascript_client(node) as client:
        await connected(client, base_url, transports=transports)
        names = []
        for event, arguments, expected in ASKED:
            answer, heard = await client.ask_and_hear(event, *arguments)
            assert answer == [expected]
            names += heard
        await client.emit("joinRoom", "")
        told = await client.told()
        assert told["arguments"][0]["code"] == "validation_error"
        assert [*names, told["name"]] == OWN_EVENTS


@EACH_WAY
async def test_every_trigger_reaches_the_page(
    node: str, base_url: str, application: Application, transports: list[str]
) -> None:
    bodies = {
        "notification": NOTICE,
        "chatMessage": CHAT,
        "whatsappStatusUpdate": {"status": "connected"},
    }
    async with javascript_client(node) as client:
        client_id = await connected(client, base_url, transports=transports)
        await client.ask("joinRoom", "sales")
        application.transport.enter_room(client_id, user_room("u7"))
        for trigger in TRIGGERS:
            event = trigger.event or "dealWon"
            content = bodies.get(event, {"any": {"thing": [1]}})
            path = trigger.path.replace(":clientId", client_id).replace(":roomName", "sales")
            path = path.replace(":userId", "u7").replace(":eventName", "dealWon")
            assert (await post(base_url, path, content))["recipients"] == 1
            name, arguments = await client.next_event()
            assert (name, arguments) == (event, [{**content, "timestamp": ANY}])


@EACH_WAY
async def test_members_of_a_room_hear_each_other(
    node: str, base_url: str, transports: list[str]
) -> None:
    async with javascript_client(node) as page, open_client(base_url) as other:
        page_id = await connected(page, base_url, transports=transports)
        await page.ask("joinRoom", "sales")
        await other.ask("joinRoom", "sales")
        await page.ask("roomMessage", {"room": "sales", "message": "from the page"})
        await other.events_until("roomJoined")
        name, payload = await other.next_event()
        assert (name, payload["from"], payload["message"]) == (
            "roomMessage",
            page_id,
            "from the page",
        )
        await other.ask("roomMessage", {"room": "sales", "message": "from the other"})
        _, (payload,) = await page.next_event("roomMessage")
        assert (payload["from"], payload["message"]) == (other.id, "from the other")
        await page.ask("leaveRoom", "sales")
        assert (await other.ask("roomMessage", {"room": "sales", "message": 1}))[0][
            "recipients"
        ] == 1


# Going, and being cut


@EACH_WAY
async def test_a_page_that_disconnects_is_gone_at_once(
    node: str, base_url: str, transports: list[str]
) -> None:
    async with javascript_client(node) as page, open_client(base_url) as other:
        page_id = await connected(page, base_url, transports=transports)
        await page.disconnect()
        told = await page.told("disconnect")
        assert (told["reason"], told["active"]) == ("io client disconnect", False)
        _, payload = await other.next_event()
        assert payload["clientId"] == page_id
        name, payload = await other.next_event()
        assert (name, payload["clientId"]) == ("clientLeft", page_id)
        assert await listed(base_url) == [(other.id, "websocket")]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (1012, "server shutting down"),
        (4101, "too many requests"),
        (4102, "slow consumer"),
        (4200, "disconnected by the server"),
        (4202, "token expired"),
    ],
)
async def test_a_page_sees_the_close_code_and_comes_back_by_itself(
    node: str, base_url: str, application: Application, code: int, reason: str
) -> None:
    async with javascript_client(node) as client:
        first_id = await connected(client, base_url, transports=WEBSOCKET)
        application.transport.disconnect(first_id, code, reason)
        assert await client.told() == {
            "what": "disconnect",
            "reason": "transport close",
            "code": code,
            "closeReason": reason,
            "active": True,
        }
        assert (await client.told())["what"] == "reconnect"
        again = await client.told("connect")
        assert again["id"] != first_id
        _, (welcome,) = await client.next_event()
        assert welcome["clientId"] == again["id"]
        assert await listed(base_url) == [(again["id"], "websocket")]


@EACH_WAY
async def test_a_page_that_is_cut_comes_back_as_a_new_client_in_no_room(
    node: str, base_url: str, application: Application, transports: list[str]
) -> None:
    async with javascript_client(node) as client:
        first_id = await connected(client, base_url, transports=transports)
        await client.ask("joinRoom", "sales")
        application.transport.disconnect(first_id, 4200, "come back")
        told = await client.told("disconnect")
        # Between two polls there is nobody to tell: the next one is refused.
        assert told["reason"] in {"transport close", "transport error"}
        assert told["active"] is True
        again = await client.told("connect")
        assert again["recovered"] is False
        assert application.transport.rooms_of(again["id"]) == []
        assert (await post(base_url, "/websocket/notify/room/sales", NOTICE))["recipients"] == 0


@EACH_WAY
async def test_a_page_that_is_disconnected_for_good_hears_why_and_stays_away(
    node: str, base_url: str, application: Application, transports: list[str]
) -> None:
    async with javascript_client(node) as client:
        client_id = await connected(client, base_url, transports=transports)
        application.transport.disconnect(client_id, 4003, "signed out")
        assert await client.told() == {
            "what": "event",
            "name": "exception",
            "arguments": [
                {
                    "status": "error",
                    "event": "disconnect",
                    "code": 4003,
                    "message": "signed out",
                    "timestamp": ANY,
                }
            ],
        }
        told = await client.told()
        assert (told["what"], told["reason"]) == ("disconnect", "io server disconnect")
        assert told["active"] is False  # the stock client's word for "I will not try again"
        assert await listed(base_url) == []


# Not coming in


@EACH_WAY
async def test_an_invalid_namespace_is_refused_for_good(
    node: str, base_url: str, transports: list[str]
) -> None:
    async with javascript_client(node) as client:
        told = await client.connect(f"{base_url}/nothing", transports=transports)
        assert told == {"what": "connect_error", "message": "Invalid namespace", "active": False}


@pytest.mark.parametrize("environ", [{"GTOWER_NAMESPACES": "/,/websocket"}])
@EACH_WAY
async def test_the_other_namespace_is_on_the_same_bus(
    node: str, base_url: str, transports: list[str]
) -> None:
    async with javascript_client(node) as page, open_client(base_url) as other:
        page_id = await connected(page, f"{base_url}/websocket", transports=transports)
        assert (await page.ask("message", "hi"))[0]["recipients"] == 1
        await other.events_until("messageBroadcast")
        answer = await post(base_url, f"/websocket/event/client/{page_id}/dealWon", {})
        assert answer["recipients"] == 1
        assert (await page.next_event("dealWon"))[1] == [{"timestamp": ANY}]


@EACH_WAY
async def test_a_draining_server_keeps_a_page_trying(
    node: str, base_url: str, application: Application, transports: list[str]
) -> None:
    async with javascript_client(node) as client:
        application.service.drain(0)
        told = await client.connect(base_url, transports=transports)
        assert (told["what"], told["active"]) == ("connect_error", True)
        application.service.state = "active"
        await client.told("connect")
        assert client.transports[0] == transports[0]


@pytest.mark.parametrize("environ", [{"CORS_ORIGIN": "https://crm.example.com"}])
@EACH_WAY
async def test_a_page_of_another_origin_does_not_get_in(
    node: str, base_url: str, application: Application, transports: list[str]
) -> None:
    for origin, outcome in (
        ("https://evil.net", "connect_error"),
        ("https://crm.example.com", "connect"),
    ):
        async with javascript_client(node) as client:
            told = await client.connect(
                base_url, transports=transports, extraHeaders={"Origin": origin}
            )
            assert told["what"] == outcome


# Through the upgrade


@asynccontextmanager
async def websocket_gate(port: int) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """Stand before the server and let no WebSocket through until the event is set."""
    gate = asyncio.Event()
    tasks: set[asyncio.Task[None]] = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(65536):
                if b"Upgrade: websocket" in chunk:
                    await gate.wait()
                writer.write(chunk)
                await writer.drain()
        except ConnectionError:
            return  # as a network does; the other direction is closed below
        finally:
            writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("localhost", port)
        for way in (carry(reader, server_writer), carry(server_reader, writer)):
            task = asyncio.create_task(way)
            tasks.add(task)

    server = await asyncio.start_server(accept, "localhost", 0)
    try:
        yield f"http://localhost:{server.sockets[0].getsockname()[1]}", gate
    finally:
        server.close()
        await asyncio.gather(*tasks)


async def test_nothing_is_lost_or_reordered_while_the_transport_changes(
    node: str, base_url: str, http_port: int, application: Application
) -> None:
    said: list[int] = []
    heard: list[int] = []
    async with (
        websocket_gate(http_port) as (url, gate),
        open_client(base_url) as other,
        javascript_client(node) as page,
    ):
        told = await page.connect(url, transports=UPGRADE)
        await page.next_event("connected")
        await other.events_until("clientJoined")

        async def exchange(numbers: range) -> None:
            """Send the page an event, and have it say one, for each number."""
            for number in numbers:
                await application.service.send_event_to_client(told["id"], "news", {"n": number})
                await page.emit("message", number)
                if number % 5 == 0:  # let everybody read
                    _, payload = await other.next_event()
                    said.append(payload["message"])

        async def hear(up_to: int) -> None:
            while heard[-1:] != [up_to]:
                _, arguments = await page.next_event("news")
                heard.append(arguments[0]["n"])

        await exchange(range(100))
        await hear(50)
        assert page.transports == ["polling"]
        gate.set()
        await exchange(range(100, 2000))
        await hear(1999)
        assert page.transports == ["polling", "websocket"]
        while len(said) < 2000:
            _, payload = await other.next_event()
            said.append(payload["message"])
    assert heard == list(range(2000))
    assert said == list(range(2000))
