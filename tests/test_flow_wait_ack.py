"""`?wait=ack`: a request that is answered when the clients' listeners have acknowledged."""

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPResponse

from gtower_realtime import ack_waits
from gtower_realtime.application import Application
from gtower_realtime.engineio.polling import PollingOutput
from gtower_realtime.http1.server import HttpServer
from tests.conftest import PATIENCE_SECONDS, ConnectClient
from tests.javascript_client import javascript_client
from tests.socketio_wire import open_wire
from tests.wire import until

pytestmark = pytest.mark.gen_test


async def post(base_url: str, path: str, body: Any = None, **headers: str) -> HTTPResponse:
    return await AsyncHTTPClient().fetch(
        base_url + path,
        method="POST",
        body=json.dumps(body or {}),
        headers={"Content-Type": "application/json", **headers},
        raise_error=False,
    )


async def test_a_trigger_tells_who_has_acknowledged(
    base_url: str, connect_client: ConnectClient, application: Application
) -> None:
    ann, ben = await connect_client(), await connect_client()
    async with open_wire(base_url) as silent:
        await silent.join()
        path = "/websocket/event/broadcast/tick?wait=ack&timeout=200"
        answer = await post(base_url, path, {"n": 1})
        receipt = json.loads(answer.body)
        assert (answer.code, receipt["recipients"]) == (201, 3)
        assert sorted(receipt["acked"]) == sorted([ann.id, ben.id])
        assert (receipt["timedOut"], receipt["disconnected"]) == ([silent.id], [])
        heard = await silent.hear()
        assert heard is not None
        # Without an offset behind the payload, and with a number before it.
        number = heard[2 : heard.index("[")]
        assert number.isdigit()
        assert len(json.loads(heard[heard.index("[") :])) == 2
    assert (await ann.next_event("tick"))["n"] == 1


async def test_a_stock_client_that_does_not_call_its_callback_has_not_acknowledged(
    http_server: HttpServer, base_url: str, node: str
) -> None:
    async with javascript_client(node) as client:
        await client.connect(base_url, transports=["websocket"])
        name, _ = await client.next_event("connected")
        assert name == "connected"
        path = "/websocket/notify/broadcast?wait=ack&timeout=100"
        note = {"type": "info", "title": "t", "message": "m"}
        receipt = json.loads((await post(base_url, path, note)).body)
        # Its listeners take the callback and do not call it: nobody has said that it was seen.
        assert (receipt["recipients"], len(receipt["timedOut"]), receipt["acked"]) == (1, 1, [])


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_stock_clients_acknowledge_are_silent_or_are_cut_off(
    application: Application, http_server: HttpServer, base_url: str, node: str, transport: str
) -> None:
    async with (
        javascript_client(node) as seeing,
        javascript_client(node) as silent,
        javascript_client(node) as cut,
    ):
        ids = {}
        for client in (seeing, silent, cut):
            ids[client] = (await client.connect(base_url, transports=[transport]))["id"]
        sessions = {
            client_id: application.socketio.manager.index.connection_of(client_id)
            for client_id in ids.values()
        }
        await seeing.acknowledge("orderUpdated")
        # Its answer comes after the listener was there.
        await seeing.ask("joinRoom", "orders")
        waiting = asyncio.ensure_future(
            post(base_url, "/websocket/event/broadcast/orderUpdated?wait=ack&timeout=3000")
        )
        await cut.next_event("orderUpdated")
        session = sessions[ids[cut]]
        assert session is not None
        if isinstance(session.output, PollingOutput):
            # Between two polls nobody could see that it is gone.
            output = session.output
            await until(lambda: output.is_polled)
        cut.kill()
        receipt = json.loads((await waiting).body)
        assert receipt["recipients"] == 3
        assert receipt["acked"] == [ids[seeing]]
        assert receipt["timedOut"] == [ids[silent]]
        assert receipt["disconnected"] == [ids[cut]]


async def test_publish_waits_too_and_a_repeat_gets_the_first_answer(
    base_url: str, connect_client: ConnectClient
) -> None:
    ann = await connect_client()
    body = {"event": "tick", "clients": [ann.id]}
    key = {"Idempotency-Key": "k1"}
    first = await post(base_url, "/websocket/publish?wait=ack", body, **key)
    again = await post(base_url, "/websocket/publish?wait=ack", body, **key)
    assert json.loads(first.body)["acked"] == [ann.id]
    assert json.loads(again.body) == json.loads(first.body)
    assert again.headers["Idempotency-Replayed"] == "true"


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        ("", "?wait=ack", 422),
        ("?wait=ack", "", 422),
        ("?wait=ack&timeout=5000", "?wait=ack&timeout=9000", 201),
        ("?trace=a", "?trace=b", 201),
    ],
)
@pytest.mark.parametrize("has_id", [False, True])
async def test_a_key_with_another_wish_to_wait_is_another_request(
    base_url: str,
    connect_client: ConnectClient,
    first: str,
    second: str,
    status: int,
    has_id: bool,
) -> None:
    ann = await connect_client()
    body = {"event": "tick", "clients": [ann.id], "data": {}} | ({"id": "k1"} if has_id else {})
    headers = {} if has_id else {"Idempotency-Key": "k1"}
    told = await post(base_url, f"/websocket/publish{first}", body, **headers)
    again = await post(base_url, f"/websocket/publish{second}", body, **headers)
    assert (told.code, again.code) == (201, status)
    answer = json.loads(again.body)
    if status == 422:
        assert answer["error"]["code"] == "idempotency_mismatch"
        assert answer["message"] == (
            "This key was used with another body, or with another wish to wait."
        )
    else:
        assert answer == json.loads(told.body)
    # It was sent once in any case.
    await post(base_url, f"/websocket/event/client/{ann.id}/last")
    assert await ann.next_event("tick") is not None
    assert (await asyncio.wait_for(ann.events.get(), PATIENCE_SECONDS))[0] == "last"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("wait=all", "wait"),
        ("wait=", "wait"),
        ("wait=ack&timeout=0", "timeout"),
        ("timeout=0", "timeout"),
        ("wait=ack&timeout=60001", "timeout"),
        ("wait=ack&timeout=1.5", "timeout"),
        ("wait=ack&timeout=-1", "timeout"),
        ("wait=ack&timeout=9999999999", "timeout"),
    ],
)
async def test_a_wish_that_cannot_be_met_is_refused(
    http_server: HttpServer, base_url: str, query: str, field: str
) -> None:
    answer = await post(base_url, f"/websocket/event/broadcast/tick?{query}")
    error = json.loads(answer.body)["error"]
    assert (answer.code, error["code"], list(error["fields"])) == (400, "validation_error", [field])


async def test_a_caller_that_hangs_up_gives_its_place_back(
    base_url: str, http_server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ack_waits, "MAX_WAITING", 1)
    path = "/websocket/event/broadcast/tick?wait=ack&timeout=60000"
    async with open_wire(base_url) as silent:
        await silent.join()
        address = urlsplit(base_url)
        _, caller = await asyncio.open_connection(address.hostname, address.port)
        head = f"POST {path} HTTP/1.1\r\nHost: {address.netloc}\r\n"
        caller.write(
            f"{head}Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}".encode()
        )
        assert "tick" in (await silent.hear() or "")
        assert (await post(base_url, path)).code == 503
        caller.close()
        await caller.wait_closed()
        # It is known when the loop has read the end of the connection; the next may take its turn.
        async with asyncio.timeout(10):
            answer = await post(base_url, path.replace("60000", "1"))
            while answer.code == 503:
                answer = await post(base_url, path.replace("60000", "1"))
        assert (answer.code, json.loads(answer.body)["timedOut"]) == (201, [silent.id])


async def test_a_batch_that_asks_to_wait_is_refused(base_url: str, http_server: HttpServer) -> None:
    events = {"publish": [{"event": "tick", "broadcast": True}]}
    answer = await post(base_url, "/websocket/batch?wait=ack", events)
    assert (answer.code, list(json.loads(answer.body)["error"]["fields"])) == (400, ["wait"])
