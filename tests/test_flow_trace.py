"""`GET /websocket/events/:id`: what became of an event, over real connections."""

import json
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient

from gtower_realtime.application import Application
from gtower_realtime.http1.server import HttpServer
from gtower_realtime.publishing import Receipt
from tests.conftest import ConnectClient
from tests.wire import EngineIOClient, until

pytestmark = pytest.mark.gen_test

QUIET = {"GTOWER_MAX_CLIENT_BUFFER_BYTES": "200000", "GTOWER_ANNOUNCE_CLIENTS": "false"}


@pytest.fixture
def client(http_server: HttpServer, http_port: int) -> EngineIOClient:
    """Give a client of the server."""
    return EngineIOClient(http_port)


async def ask(
    base_url: str, path: str, body: Any = None, **headers: str
) -> tuple[int, dict[str, Any]]:
    """Ask the server; with a ``body`` it is a POST. Return the status and the answer."""
    answer = await AsyncHTTPClient().fetch(
        base_url + path,
        method="GET" if body is None else "POST",
        body=None if body is None else json.dumps(body),
        headers={"Content-Type": "application/json", **headers},
        raise_error=False,
    )
    return answer.code, json.loads(answer.body)


async def states_of(application: Application, receipts: list[Receipt]) -> list[str]:
    """Return of each event the state at its one client, and the reason if there is one."""
    traces = application.service.traces
    states = []
    for receipt in receipts:
        (entry,) = (await traces.describe(traces.find(receipt.id)))["clients"]
        states.append(" ".join(filter(None, [entry["state"], entry.get("reason")])))
    return states


async def test_an_event_is_traced_by_the_id_of_its_receipt(
    base_url: str, connect_client: ConnectClient
) -> None:
    ann, eve = await connect_client(), await connect_client()
    await ann.ask("joinRoom", "sales")
    _, receipt = await ask(base_url, "/websocket/event/room/sales/dealWon", {"n": 1})
    _, history = await ask(base_url, "/websocket/rooms/sales/history")
    # python-socketio's clients take no offsets, and cannot come back.
    assert await ask(base_url, f"/websocket/events/{receipt['id']}") == (
        200,
        {
            "id": receipt["id"],
            "event": "dealWon",
            "target": {"rooms": ["sales"]},
            "timestamp": history["events"][0]["timestamp"],
            "recipients": 1,
            "pending": 0,
            "offset": receipt["offset"],
            "clients": [{"clientId": ann.id, "state": "written"}],
            "more": False,
        },
    )
    _, trace = await ask(base_url, f"/websocket/events/{receipt['id']}?client={eve.id}")
    assert trace["clients"] == [
        {"clientId": eve.id, "state": "not_matched", "reason": "not in the room"}
    ]


@pytest.mark.usefixtures("http_server")
async def test_an_id_that_nobody_knows_is_refused(base_url: str) -> None:
    status, answer = await ask(base_url, "/websocket/events/nothing")
    assert (status, answer["error"]["code"]) == (404, "unknown_event_id")
    assert answer["message"] == (
        "No event with the id 'nothing' is known; they are kept for a while only."
    )


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "after=nobody"])
async def test_a_page_that_cannot_be_is_refused(
    base_url: str, http_server: HttpServer, query: str
) -> None:
    _, receipt = await ask(base_url, "/websocket/event/broadcast/tick", {})
    status, answer = await ask(base_url, f"/websocket/events/{receipt['id']}?{query}")
    assert (status, answer["error"]["code"]) == (400, "validation_error")


@pytest.mark.parametrize(
    "environ",
    [
        {
            "GTOWER_API_KEYS": "all:publish+read:key-for-everything-20,"
            "some:read:key-for-some-rooms-20:sales,none:publish:key-that-may-not-read"
        }
    ],
)
@pytest.mark.parametrize(
    ("key", "path", "status"),
    [
        ("key-for-everything-20", "event/broadcast/tick", 200),
        ("key-for-some-rooms-20", "event/broadcast/tick", 403),
        ("key-for-some-rooms-20", "event/client/{}/tick", 403),
        ("key-for-some-rooms-20", "event/room/other/tick", 403),
        ("key-for-some-rooms-20", "event/room/sales-1/tick", 200),
        ("key-that-may-not-read", "event/room/sales/tick", 403),
    ],
)
async def test_a_key_is_told_of_events_for_its_rooms_only(
    base_url: str, connect_client: ConnectClient, key: str, path: str, status: int
) -> None:
    client = await connect_client()
    every_key = {"X-API-Key": "key-for-everything-20"}
    _, receipt = await ask(base_url, f"/websocket/{path.format(client.id)}", {}, **every_key)
    asked = await ask(base_url, f"/websocket/events/{receipt['id']}", **{"X-API-Key": key})
    assert asked[0] == status


@pytest.mark.parametrize("environ", [QUIET])
async def test_what_waits_for_a_reader_that_has_stopped_is_queued_to_the_byte(
    application: Application, client: EngineIOClient
) -> None:
    slow = await client.connected_websocket(receive_buffer=4096)
    slow.stop_reading()
    (session,) = application.socketio.eio.sessions.values()
    receipts = []
    while session.waiting_bytes < 100_000:
        text = f"{len(receipts):06}" + "x" * 9_994
        receipts.append(await application.service.broadcast_event("news", {"text": text}))
    states = await states_of(application, receipts)
    queued = states.count("queued")
    assert states == ["written"] * (len(states) - queued) + ["queued"] * queued
    # Each is a little over 10,000 bytes; of the oldest one a part may have left.
    assert (queued - 1) * 10_000 < session.waiting_bytes < queued * 10_200
    while not session.is_closed:
        receipts.append(await application.service.broadcast_event("news", {"text": "x" * 10_000}))
    # The one that closed it was not handed over, and waits for the return of the client.
    assert [(one.recipients, one.pending) for one in receipts[-2:]] == [(1, 0), (0, 1)]
    assert (await states_of(application, receipts))[-2:] == [
        "pending cut off before it was confirmed",
        "pending dropped as slow",
    ]
    await slow.vanish()
    await until(lambda: not application.socketio.eio.sessions)
    later = await application.service.broadcast_event("news", {})
    assert (later.recipients, later.pending) == (0, 1)
    assert await states_of(application, [later]) == ["pending away"]


@pytest.mark.parametrize("environ", [QUIET])
async def test_a_volatile_event_that_a_slow_client_does_not_get_is_dropped(
    base_url: str, client: EngineIOClient
) -> None:
    slow = await client.connected_websocket(receive_buffer=4096)
    slow.stop_reading()
    body = {"event": "news", "all": True, "volatile": True, "data": {"text": "x" * 10_000}}
    handed: list[int] = []
    states = []
    while 0 not in handed:
        _, receipt = await ask(base_url, "/websocket/publish", body)
        handed.append(receipt["recipients"])
        _, trace = await ask(base_url, f"/websocket/events/{receipt['id']}")
        states.append(trace["clients"][0]["state"])
    assert set(states[:-1]) == {"written", "queued"}
    assert trace["clients"][0]["reason"] == "dropped as slow"
    assert (trace["recipients"], trace["pending"], states[-1]) == (0, 0, "dropped")
    await slow.vanish()


async def test_what_waits_for_a_poll_is_queued(
    application: Application, client: EngineIOClient
) -> None:
    await client.connect()
    receipts = [await application.service.broadcast_event("news", {"n": n}) for n in range(2)]
    assert await states_of(application, receipts) == ["queued", "queued"]
    await client.poll()
    assert await states_of(application, receipts) == ["written", "written"]
    await client.post("1")


@pytest.mark.parametrize("environ", [{"GTOWER_PING_INTERVAL": "0.05"}])
async def test_a_pong_acknowledges_what_was_written_before_its_ping(
    application: Application, client: EngineIOClient
) -> None:
    connection = await client.connected_websocket()
    (session,) = application.socketio.eio.sessions.values()
    receipt = await application.service.broadcast_event("news", {})
    assert await states_of(application, [receipt]) == ["written"]
    while not session.confirmed_mark:
        _, content = await connection.read_frame()
        if content == b"2":
            # What the pong says is known before the answer to what comes behind it.
            await connection.send_frame("3")
            await connection.send_frame('421["leaveRoom","nowhere"]')
            while not content.startswith(b"431"):
                _, content = await connection.read_frame()
    assert await states_of(application, [receipt]) == ["acknowledged"]
    await connection.vanish()
