"""Client events end to end, with python-socketio's client over both transports."""

import asyncio
import json
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient

from gtower_realtime.application import Application
from gtower_realtime.names import user_room
from gtower_realtime.ports import Target
from tests.conftest import PATIENCE_SECONDS, ConnectClient, ConnectedClient

pytestmark = [
    pytest.mark.gen_test,
    pytest.mark.parametrize("transport", ["websocket", "polling"]),
]

NOTICE = {"type": "info", "title": "t", "message": "m"}


async def next_pair(client: ConnectedClient) -> tuple[str, Any]:
    """Return the next event with its name."""
    return await asyncio.wait_for(client.events.get(), PATIENCE_SECONDS)


async def names_until(client: ConnectedClient, name: str) -> list[str]:
    """Return the names of all events that come before the next one called ``name``."""
    names = []
    while (event := await next_pair(client))[0] != name:
        names.append(event[0])
    return names


async def listed_ids(base_url: str) -> list[str]:
    """Return the client ids that the HTTP API lists."""
    answer = await AsyncHTTPClient().fetch(f"{base_url}/websocket/clients")
    return [client["id"] for client in json.loads(answer.body)]


async def test_connected_comes_first_and_once(
    application: Application, http_server: Any, base_url: str, transport: str
) -> None:
    client = ConnectedClient()
    events = client.events
    client.socket.on("*", lambda name, *payload: events.put_nowait((name, *payload)))
    await client.socket.connect(base_url, transports=[transport])
    name, payload = await next_pair(client)
    assert (name, payload["clientId"], payload["recovered"]) == ("connected", client.id, False)
    await application.service.broadcast_event("end", {})
    assert await names_until(client, "end") == []
    await client.socket.disconnect()


async def test_the_others_hear_of_a_client_that_comes_and_goes(
    connect_client: ConnectClient, base_url: str, transport: str
) -> None:
    first, second = await connect_client(transport), await connect_client()
    joined = await first.next_event()
    assert joined == {"clientId": second.id, "timestamp": joined["timestamp"]}
    third = await connect_client(transport)
    third_id = third.id
    assert await listed_ids(base_url) == [first.id, second.id, third_id]
    await third.socket.disconnect()
    for other in (first, second):
        assert (await other.next_event("clientJoined"))["clientId"] == third_id
        assert (await next_pair(other))[1]["clientId"] == third_id
    assert await listed_ids(base_url) == [first.id, second.id]
    answer = await AsyncHTTPClient().fetch(
        f"{base_url}/websocket/notify/client/{third_id}",
        method="POST",
        body=json.dumps(NOTICE),
        headers={"Content-Type": "application/json"},
        raise_error=False,
    )
    assert (answer.code, json.loads(answer.body)["error"]["code"]) == (404, "unknown_client")


@pytest.mark.parametrize(
    ("event", "argument"),
    [
        ("message", "hello"),
        ("joinRoom", "sales"),
        ("leaveRoom", {"roomName": "sales"}),
        ("roomMessage", {"room": "sales", "message": 1}),
        ("joinWhatsAppGeneral", None),
        ("joinWhatsAppRoom", None),
        ("joinWhatsAppCustomer", "c42"),
        ("leaveWhatsAppCustomer", {"customerId": "c42"}),
        ("joinRoom", ""),
        ("nothing", None),
        ("message", b"binary"),
    ],
)
async def test_every_event_is_acknowledged_exactly_once(
    connect_client: ConnectClient, transport: str, event: str, argument: Any
) -> None:
    client = await connect_client(transport)
    answers: list[Any] = []
    await client.socket.emit(event, argument, callback=answers.append)
    # Events of a client are answered in their order, so a second answer would come before this one.
    await client.ask("leaveRoom", "after it")
    assert len(answers) == 1
    assert answers[0]["ok"] in {True, False}


async def test_a_refusal_that_nobody_waits_for_is_told_as_an_exception(
    connect_client: ConnectClient, transport: str
) -> None:
    client = await connect_client(transport)
    await client.socket.emit("joinRoom", {"roomName": 5})
    refusal = await client.next_event("exception")
    assert refusal == {
        "status": "error",
        "event": "joinRoom",
        "code": "validation_error",
        "message": "roomName: Not a valid string.",
        "fields": {"roomName": ["Not a valid string."]},
        "timestamp": refusal["timestamp"],
    }


async def test_a_refusal_that_is_acknowledged_is_no_exception_too(
    connect_client: ConnectClient, application: Application, transport: str
) -> None:
    client = await connect_client(transport)
    assert (await client.ask("joinRoom", 5))["error"]["code"] == "validation_error"
    await application.service.broadcast_event("end", {})
    assert await names_until(client, "end") == []


async def test_an_unknown_event_is_refused_with_the_nearest_name(
    connect_client: ConnectClient, transport: str
) -> None:
    client = await connect_client(transport)
    answer = await client.ask("roomMesage", {"room": "sales", "message": "m"})
    assert answer["error"] == {
        "code": "unknown_event",
        "message": "There is no client event 'roomMesage'; the nearest is 'roomMessage'.",
        "retryable": False,
    }


@pytest.mark.parametrize(
    "timestamp",
    [
        "2026-11-23T12:28:18.953Z",
        "2026-11-23T12:28:18Z",
        "2026-11-23T12:28Z",
        "2026-11-23T12:28:18",
        "2026-11-23 12:28:18",
        "2026-11-23",
        "20261123T122818Z",
        "2026-11-23T12:28:18.953123+05:30",
        "2026-11-23T12:28:18,5-0800",
    ],
)
async def test_a_message_may_have_any_iso_timestamp_and_keeps_it(
    connect_client: ConnectClient, transport: str, timestamp: str
) -> None:
    client, other = await connect_client(transport), await connect_client()
    message = {"type": "text", "timestamp": timestamp}
    assert (await client.ask("message", message))["ok"]
    assert (await other.next_event("messageBroadcast"))["message"] == message


async def test_both_forms_of_a_room_are_the_same_room(
    connect_client: ConnectClient, transport: str
) -> None:
    one, other = await connect_client(transport), await connect_client()
    assert await one.ask("joinRoom", "sales") == {"ok": True, "room": "sales"}
    assert await other.ask("joinRoom", {"roomName": "sales"}) == {"ok": True, "room": "sales"}
    answer = await one.ask("roomMessage", {"room": "sales", "message": "hi"})
    assert answer["recipients"] == 2
    for client in (one, other):
        received = await client.next_event("roomMessage")
        assert (received["from"], received["message"]) == (one.id, "hi")


async def test_extra_arguments_are_ignored(connect_client: ConnectClient, transport: str) -> None:
    client = await connect_client(transport)
    answer = await client.ask("joinRoom", ("sales", "second", {"third": 3}))
    assert answer == {"ok": True, "room": "sales"}
    assert (await client.next_event("roomJoined"))["room"] == "sales"


@pytest.mark.parametrize(
    "argument", [b"bytes", {"deep": [{"er": b"bytes"}]}, [b"one", b"two", b"three"]]
)
async def test_binary_is_read_and_refused_and_the_client_goes_on(
    connect_client: ConnectClient, transport: str, argument: Any
) -> None:
    client, other = await connect_client(transport), await connect_client()
    answer = await client.ask("message", argument)
    assert answer == {
        "ok": False,
        "error": {
            "code": "validation_error",
            "message": "Binary is not carried; send JSON.",
            "retryable": False,
        },
    }
    await client.socket.emit("message", argument)
    refusal = await client.next_event("exception")
    assert (refusal["event"], refusal["code"]) == ("message", "validation_error")
    assert (await client.ask("message", "text"))["ok"]
    assert (await other.next_event("messageBroadcast"))["message"] == "text"


async def test_recipients_are_distinct_connections(
    connect_client: ConnectClient, application: Application, transport: str
) -> None:
    clients = [await connect_client(transport) for _ in range(3)]
    service, first = application.service, clients[0]
    for room in ("a", "b", "whatsapp:general"):
        await first.ask("joinRoom", room)
    await clients[1].ask("joinRoom", "b")
    for client in clients[:2]:
        application.transport.enter_room(client.id, user_room("u7"))
    receipts = [
        await service.send_event_to_rooms(("a", "b", "whatsapp:general"), "union", {}),
        await service.send_event_to_user("u7", "user", {}),
        await service.send(
            "both", {}, Target(rooms=("a",), users=("u7",), clients=(first.id, clients[2].id))
        ),
        await service.send("except", {}, Target(rooms=("a", "b"), excluded=frozenset({first.id}))),
        await service.send_event_to_room("empty", "nobody", {}),
        await service.broadcast_event("end", {}),
    ]
    assert [receipt.recipients for receipt in receipts] == [2, 2, 3, 1, 0, 3]
    mine = {"union", "user", "both", "except", "nobody"}
    heard = [
        [name for name in await names_until(client, "end") if name in mine] for client in clients
    ]
    assert heard == [["union", "user", "both"], ["union", "user", "both", "except"], ["both"]]


async def test_a_client_that_has_left_a_room_hears_no_more_of_it(
    connect_client: ConnectClient, application: Application, transport: str
) -> None:
    client = await connect_client(transport)
    await client.ask("joinWhatsAppCustomer", "c42")
    await client.ask("leaveWhatsAppCustomer", "c42")
    receipt = await application.service.send_event_to_room("whatsapp:customer:c42", "late", {})
    assert receipt.recipients == 0
    await application.service.broadcast_event("end", {})
    assert await names_until(client, "end") == ["whatsappCustomerJoined", "whatsappCustomerLeft"]


async def test_events_of_one_sender_arrive_in_their_order(
    connect_client: ConnectClient, transport: str
) -> None:
    sender, receiver = await connect_client(transport), await connect_client(transport)
    # python-engineio's client gives up when one poll brings it more than 16 packets.
    for number in range(16):
        await sender.socket.emit("message", number)
    received = [await receiver.next_event("messageBroadcast") for _ in range(16)]
    assert [payload["message"] for payload in received] == list(range(16))


@pytest.mark.parametrize("environ", [{"GTOWER_ANNOUNCE_CLIENTS": "false"}])
async def test_without_announcements_nobody_hears_of_others_coming_and_going(
    connect_client: ConnectClient, application: Application, transport: str
) -> None:
    client, other = await connect_client(transport), await connect_client(transport)
    await other.socket.disconnect()
    await application.service.broadcast_event("end", {})
    assert await names_until(client, "end") == []
