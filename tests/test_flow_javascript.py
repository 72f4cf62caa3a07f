"""The stock socket.io-client, which is what users have, over each of its ways to connect.

Cuts of the line, many of them, are in `test_flow_recovery.py`.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPClientError

from gtower_realtime.application import Application
from gtower_realtime.names import user_room
from handlers.triggers import TRIGGERS
from tests.javascript_client import JavaScriptClient, javascript_client
from tests.server_process import ServerProcess
from tests.socketio_wire import open_client

pytestmark = [pytest.mark.gen_test, pytest.mark.usefixtures("http_server")]

WEBSOCKET, POLLING, UPGRADE = ["websocket"], ["polling"], ["polling", "websocket"]
EACH_WAY = pytest.mark.parametrize("transports", [WEBSOCKET, POLLING, UPGRADE], ids="-".join)

NOTICE = {"type": "info", "title": "t", "message": "m"}
CHAT = {"id": "m1", "senderId": "u1", "senderName": "Ann", "content": "hello"}


def welcome(client_id: str, *, recovered: bool, **details: Any) -> dict[str, Any]:
    """Return the payload of `connected`."""
    return {
        "message": "Successfully connected to WebSocket server",
        "clientId": client_id,
        "timestamp": ANY,
        "recovered": recovered,
        **details,
    }


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


async def refusal(base_url: str, path: str) -> tuple[int, str]:
    """Trigger an event that is refused; return status and code."""
    with pytest.raises(HTTPClientError) as raised:
        await post(base_url, path, {})
    assert raised.value.response is not None
    return raised.value.code, json.loads(raised.value.response.body)["error"]["code"]


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
        name, (payload, offset) = await client.next_event()
        assert (name, payload) == ("connected", welcome(told["id"], recovered=False))
        assert isinstance(offset, str)
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
    ("messageReceived", []),
    ("messageReceived", []),
    ("roomJoined", []),
    ("roomMessage", [ANY]),
    ("roomLeft", []),
    ("whatsappGeneralJoined", []),
    ("whatsappGeneralJoined", []),
    ("whatsappCustomerJoined", []),
    ("whatsappCustomerLeft", []),
    ("exception", []),
]
"""What the sender hears, and after the payload: only what is stored carries an offset."""


@EACH_WAY
async def test_every_client_event_is_acknowledged_and_told(
    node: str, base_url: str, transports: list[str]
) -> None:
    async with javascript_client(node) as client:
        await connected(client, base_url, transports=transports)
        heard = []
        for event, arguments, expected in ASKED:
            answer, events = await client.ask_and_hear(event, *arguments)
            assert answer == [expected]
            heard += events
        await client.emit("joinRoom", "")
        name, arguments = await client.next_event()
        assert arguments[0]["code"] == "validation_error"
        assert [(name, rest) for name, (_, *rest) in [*heard, (name, arguments)]] == OWN_EVENTS


@EACH_WAY
async def test_every_trigger_reaches_the_page_with_its_offset(
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
            answer = await post(base_url, path, content)
            assert answer["recipients"] == 1
            name, arguments = await client.next_event()
            assert name == event
            assert arguments == [{**content, "timestamp": ANY}, answer["offset"]]


@EACH_WAY
async def test_members_of_a_room_hear_each_other(
    node: str, base_url: str, transports: list[str]
) -> None:
    async with javascript_client(node) as page, open_client(base_url) as other:
        page_id = await connected(page, base_url, transports=transports)
        await page.ask("joinRoom", "sales")
        await other.ask("joinRoom", "sales")
        (receipt,), events = await page.ask_and_hear(
            "roomMessage", {"room": "sales", "message": "from the page"}
        )
        assert ("roomMessage", [ANY, receipt["offset"]]) in events
        await other.events_until("roomJoined")
        name, payload = await other.next_event()
        assert (name, payload["from"], payload["message"]) == (
            "roomMessage",
            page_id,
            "from the page",
        )
        (receipt,) = await other.ask("roomMessage", {"room": "sales", "message": "from the other"})
        _, (payload, offset) = await page.next_event("roomMessage")
        assert (payload["from"], payload["message"]) == (other.id, "from the other")
        assert offset == receipt["offset"]
        await page.ask("leaveRoom", "sales")
        assert (await other.ask("roomMessage", {"room": "sales", "message": 1}))[0][
            "recipients"
        ] == 1


# Going, and coming back


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
        away = await refusal(base_url, f"/websocket/event/client/{page_id}/dealWon")
        assert away == (404, "unknown_client")


@EACH_WAY
async def test_a_page_that_disconnects_and_connects_again_is_a_new_client_in_no_room(
    node: str, base_url: str, application: Application, transports: list[str]
) -> None:
    async with javascript_client(node) as page, open_client(base_url) as other:
        first_id = await connected(page, base_url, transports=transports)
        await page.ask("joinRoom", "sales")
        await page.disconnect()
        await page.told("disconnect")
        await other.events_until("clientLeft")
        await page.connect_again()
        again = await page.told("connect")
        assert again["id"] != first_id
        assert again["recovered"] is False
        assert await page.next_event() == (
            "connected",
            [welcome(again["id"], recovered=False, reason="expired"), ANY],
        )
        assert application.transport.rooms_of(again["id"]) == []
        answer = await post(base_url, "/websocket/notify/room/sales", NOTICE)
        assert (answer["recipients"], answer["pending"]) == (0, 0)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (1002, "protocol error"),
        (1009, "message too big"),
        (1012, "server shutting down"),
        (4101, "too many requests"),
        (4102, "slow consumer"),
        (4200, "disconnected by the server"),
        (4201, "no pong"),
        (4202, "token expired"),
    ],
)
async def test_a_page_sees_the_close_code_and_comes_back_by_itself_as_who_it_was(
    node: str, base_url: str, application: Application, code: int, reason: str
) -> None:
    async with javascript_client(node) as client:
        client_id = await connected(client, base_url, transports=WEBSOCKET)
        application.transport.disconnect(client_id, code, reason)
        assert await client.told() == {
            "what": "disconnect",
            "reason": "transport close",
            "code": code,
            "closeReason": reason,
            "active": True,
        }
        assert (await client.told())["what"] == "reconnect"
        assert await client.told() == {"what": "connect", "id": client_id, "recovered": True}
        assert await client.next_event() == (
            "connected",
            [welcome(client_id, recovered=True), ANY],
        )
        assert await listed(base_url) == [(client_id, "websocket")]


@EACH_WAY
async def test_a_page_that_is_cut_comes_back_in_its_rooms_and_hears_connected_then_what_it_missed(
    node: str, base_url: str, application: Application, transports: list[str]
) -> None:
    async with javascript_client(node) as client:
        client_id = (await client.connect(base_url, transports=transports))["id"]
        _, (_, first_offset) = await client.next_event("connected")
        if transports == UPGRADE:
            await client.upgraded()
        for room in ("sales", "support", "left"):
            await client.ask("joinRoom", room)
        await client.ask("leaveRoom", "left")
        application.transport.disconnect(client_id, 4200, "come back")
        missed = await application.service.notify_room("sales", NOTICE)
        assert (missed.recipients, missed.pending) == (0, 1)
        told = await client.told("disconnect")
        # Between two polls there is nobody to tell: the next one is refused.
        assert told["reason"] in {"transport close", "transport error"}
        assert told["active"] is True
        again = await client.told("connect")
        assert (again["id"], again["recovered"]) == (client_id, True)
        assert [await client.next_event(), await client.next_event()] == [
            ("connected", [welcome(client_id, recovered=True), first_offset]),
            ("notification", [{**NOTICE, "timestamp": ANY}, str(missed.offset)]),
        ]
        assert application.transport.rooms_of(client_id) == ["sales", "support"]
        answer = await post(base_url, "/websocket/notify/room/support", NOTICE)
        assert answer["recipients"] == 1
        assert await client.next_event() == ("notification", [ANY, answer["offset"]])


@pytest.mark.parametrize(
    "options",
    [{"auth": {"recovery": 0}}, {"auth": {"recovery": "0"}}, {"query": {"recovery": 0}}],
    ids=["number in auth", "string in auth", "query"],
)
@EACH_WAY
async def test_a_page_that_wants_no_recovery_gets_no_offsets_and_comes_back_as_a_new_client(
    node: str,
    base_url: str,
    application: Application,
    transports: list[str],
    options: dict[str, Any],
) -> None:
    async with javascript_client(node) as client:
        first_id = (await client.connect(base_url, transports=transports, **options))["id"]
        assert await client.next_event() == ("connected", [welcome(first_id, recovered=False)])
        if transports == UPGRADE:
            await client.upgraded()
        await client.ask("joinRoom", "sales")
        answer = await post(base_url, "/websocket/notify/room/sales", NOTICE)
        assert answer["recipients"] == 1
        assert await client.next_event() == ("notification", [{**NOTICE, "timestamp": ANY}])
        application.transport.disconnect(first_id, 4200, "come back")
        again = await client.told("connect")
        assert again["id"] != first_id
        assert again["recovered"] is False
        assert await client.next_event() == ("connected", [welcome(again["id"], recovered=False)])
        assert application.transport.rooms_of(again["id"]) == []
        away = await refusal(base_url, f"/websocket/event/client/{first_id}/dealWon")
        assert away == (404, "unknown_client")


@EACH_WAY
async def test_a_page_that_is_disconnected_for_good_hears_why_stays_away_and_has_no_session(
    node: str, base_url: str, application: Application, transports: list[str]
) -> None:
    async with javascript_client(node) as client:
        client_id = await connected(client, base_url, transports=transports)
        await client.ask("joinRoom", "sales")
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
        away = await refusal(base_url, f"/websocket/event/client/{client_id}/dealWon")
        assert away == (404, "unknown_client")
        answer = await post(base_url, "/websocket/notify/room/sales", NOTICE)
        assert answer["pending"] == 0
        await client.connect_again()
        again = await client.told("connect")
        assert again["id"] != client_id
        assert again["recovered"] is False


@EACH_WAY
async def test_a_page_comes_back_as_who_it_was_when_the_server_is_restarted(
    node: str, tmp_path: Path, transports: list[str]
) -> None:
    server = ServerProcess({"GTOWER_STATE_DIR": str(tmp_path)})
    await server.start()
    try:
        async with javascript_client(node) as client:
            client_id = await connected(client, server.url, transports=transports)
            await client.ask("joinRoom", "sales")
            assert await server.stop() == 0
            assert (await client.told("disconnect"))["active"] is True
            await server.start()
            again = await client.told("connect")
            assert (again["id"], again["recovered"]) == (client_id, True)
            answer = await post(server.url, "/websocket/notify/room/sales", NOTICE)
            assert answer["recipients"] == 1
            assert await client.next_event("notification") == (
                "notification",
                [{**NOTICE, "timestamp": ANY}, answer["offset"]],
            )
    finally:
        await server.kill()


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
async def test_the_other_namespace_is_on_the_same_bus_and_recovers_too(
    node: str, base_url: str, application: Application, transports: list[str]
) -> None:
    async with javascript_client(node) as page, open_client(base_url) as other:
        page_id = await connected(page, f"{base_url}/websocket", transports=transports)
        assert (await page.ask("message", "hi"))[0]["recipients"] == 1
        await other.events_until("messageBroadcast")
        answer = await post(base_url, f"/websocket/event/client/{page_id}/dealWon", {})
        assert answer["recipients"] == 1
        assert await page.next_event("dealWon") == (
            "dealWon",
            [{"timestamp": ANY}, answer["offset"]],
        )
        application.transport.disconnect(page_id, 4200, "come back")
        again = await page.told("connect")
        assert (again["id"], again["recovered"]) == (page_id, True)
        assert await page.next_event() == (
            "connected",
            [welcome(page_id, recovered=True), answer["offset"]],
        )


@EACH_WAY
async def test_a_draining_server_keeps_a_page_trying(
    node: str, base_url: str, application: Application, transports: list[str]
) -> None:
    async with javascript_client(node) as client:
        application.service.drain(0)
        told = await client.connect(base_url, transports=transports)
        for _ in range(3):
            assert (told["what"], told["active"]) == ("connect_error", True)
            told = await client.told()


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


@pytest.mark.parametrize("environ", [{"GTOWER_RATE_EVENTS": "0", "GTOWER_RATE_BROADCASTS": "0"}])
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
