"""What a room has had, joining without a gap, and requests that are made twice."""

import json
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.httpserver import HTTPServer

from gtower_realtime.application import Application
from tests.conftest import ConnectClient

pytestmark = pytest.mark.gen_test


class Backend:
    """A back-end that talks HTTP to one server."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url

    async def ask(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> HTTPResponse:
        """Return the answer, whatever its status."""
        return await AsyncHTTPClient().fetch(
            self._base_url + path,
            method=method,
            body=json.dumps(body) if method == "POST" else None,
            headers={
                "Content-Type": "application/json",
                **{name.replace("_", "-"): value for name, value in headers.items()},
            },
            raise_error=False,
        )

    async def read(self, path: str) -> Any:
        """Return the JSON of a read that succeeds."""
        answer = await self.ask("GET", path)
        assert answer.code == 200
        return json.loads(answer.body)

    async def tick(self, room: str, n: int) -> str:
        """Publish an event to a room; return its offset."""
        answer = await self.ask("POST", f"/websocket/event/room/{room}/tick", {"n": n})
        assert answer.code == 201
        return str(json.loads(answer.body)["offset"])


@pytest.fixture
def backend(http_server: HTTPServer, base_url: str) -> Backend:
    return Backend(base_url)


def numbers(page: dict[str, Any]) -> list[int]:
    return [event["data"]["n"] for event in page["events"]]


async def test_history_is_read_in_pages_oldest_first(backend: Backend) -> None:
    offsets = [await backend.tick("sales", n) for n in range(5)]
    await backend.tick("other", 99)
    page = await backend.read("/websocket/rooms/sales/history?limit=2")
    assert (numbers(page), page["more"], page["room"]) == ([0, 1], True, "sales")
    assert [event["offset"] for event in page["events"]] == offsets[:2]
    assert set(page["events"][0]) == {"offset", "id", "event", "data", "timestamp"}
    rest = await backend.read(f"/websocket/rooms/sales/history?after={offsets[1]}")
    assert (numbers(rest), rest["more"]) == ([2, 3, 4], False)


async def test_pages_stay_as_they_are_while_events_arrive(backend: Backend) -> None:
    first = [await backend.tick("sales", n) for n in range(3)]
    page = await backend.read("/websocket/rooms/sales/history?limit=2")
    await backend.tick("sales", 3)
    assert await backend.read("/websocket/rooms/sales/history?limit=2") == page
    rest = await backend.read(f"/websocket/rooms/sales/history?after={first[1]}&limit=300")
    assert numbers(rest) == [2, 3]


@pytest.mark.parametrize("limit", ["0", "301", "-1", "x", "1.5", ""])
async def test_a_limit_out_of_range_is_refused(backend: Backend, limit: str) -> None:
    answer = await backend.ask("GET", f"/websocket/rooms/sales/history?limit={limit}")
    assert (answer.code, json.loads(answer.body)["error"]["code"]) == (400, "validation_error")


async def test_the_offset_of_another_log_is_refused(backend: Backend) -> None:
    answer = await backend.ask("GET", "/websocket/rooms/sales/history?after=other-1")
    error = json.loads(answer.body)["error"]
    assert (answer.code, error["code"], list(error["fields"])) == (
        400,
        "validation_error",
        ["after"],
    )


async def test_a_deleted_history_is_gone(backend: Backend) -> None:
    await backend.tick("sales", 1)
    deleted = await backend.ask("DELETE", "/websocket/rooms/sales/history")
    assert (deleted.code, json.loads(deleted.body)) == (200, {"room": "sales", "deleted": 1})
    assert (await backend.read("/websocket/rooms/sales/history"))["events"] == []


async def test_a_client_reads_history_as_http_does(
    backend: Backend, connect_client: ConnectClient
) -> None:
    await backend.tick("sales", 1)
    client = await connect_client()
    answer = await client.ask("history", {"room": "sales"})
    assert answer == {"ok": True, **await backend.read("/websocket/rooms/sales/history")}


async def test_since_closes_the_gap_between_reading_and_joining(
    backend: Backend, connect_client: ConnectClient
) -> None:
    await backend.tick("sales", 0)
    position = (await backend.read("/websocket/rooms/sales/position"))["offset"]
    await backend.tick("sales", 1)
    await backend.tick("other", 99)
    client = await connect_client()
    answer = await client.ask("joinRoom", {"roomName": "sales", "since": position})
    await backend.tick("sales", 2)
    assert answer == {"ok": True, "room": "sales", "complete": True}
    assert (await client.next_event())["room"] == "sales"
    assert [(await client.next_event("tick"))["n"] for _ in range(2)] == [1, 2]


async def test_since_says_when_there_is_too_much(
    application: Application, connect_client: ConnectClient
) -> None:
    position = application.service.position("sales")["offset"]
    for n in range(301):
        await application.service.send_event_to_room("sales", "tick", {"n": n})
    client = await connect_client()
    answer = await client.ask("joinRoom", {"roomName": "sales", "since": position})
    await application.service.send_event_to_room("sales", "tick", {"n": 301})
    assert answer == {"ok": True, "room": "sales", "complete": False}
    assert (await client.next_event("tick"))["n"] == 301


async def test_a_request_that_is_made_twice_is_done_once(
    backend: Backend, connect_client: ConnectClient
) -> None:
    client = await connect_client()
    path = "/websocket/event/broadcast/tick"
    first = await backend.ask("POST", path, {"n": 1}, Idempotency_Key="k1")
    again = await backend.ask("POST", path, {"n": 1}, Idempotency_Key="k1")
    other = await backend.ask("POST", path, {"n": 2}, Idempotency_Key="k1")
    await backend.ask("POST", path, {"n": 3}, Idempotency_Key="k2")
    assert (first.code, again.code, again.body) == (201, 201, first.body)
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert (other.code, json.loads(other.body)["error"]["code"]) == (422, "idempotency_mismatch")
    assert [(await client.next_event("tick"))["n"] for _ in range(2)] == [1, 3]


async def test_the_same_key_at_another_path_is_another_request(backend: Backend) -> None:
    one = await backend.ask("POST", "/websocket/event/room/a/tick", {}, Idempotency_Key="k")
    two = await backend.ask("POST", "/websocket/event/room/b/tick", {}, Idempotency_Key="k")
    assert (one.code, two.code) == (201, 201)
    assert json.loads(one.body)["id"] != json.loads(two.body)["id"]


async def test_a_refused_request_does_not_use_up_its_key(backend: Backend) -> None:
    path = "/websocket/notify/broadcast"
    refused = await backend.ask("POST", path, {"type": "info"}, Idempotency_Key="k")
    good = {"type": "info", "title": "t", "message": "m"}
    accepted = await backend.ask("POST", path, good, Idempotency_Key="k")
    assert (refused.code, accepted.code) == (400, 201)


@pytest.mark.parametrize("key", ["", "k" * 256])
async def test_a_key_that_is_empty_or_too_long_is_refused(backend: Backend, key: str) -> None:
    answer = await backend.ask("POST", "/websocket/event/broadcast/t", {}, Idempotency_Key=key)
    assert (answer.code, json.loads(answer.body)["error"]["code"]) == (400, "validation_error")


@pytest.mark.parametrize("event", ["message", "roomMessage"])
async def test_what_a_client_says_twice_with_its_own_id_is_said_once(
    connect_client: ConnectClient, event: str
) -> None:
    speaker, hearer = await connect_client(), await connect_client()
    await hearer.ask("joinRoom", "sales")
    argument = {"room": "sales", "message": "hello", "clientMsgId": "0123456789abcdef"}
    first = await speaker.ask(event, argument)
    again = await speaker.ask(event, argument)
    other = await speaker.ask(event, argument | {"message": "bye"})
    await speaker.ask("message", "end")
    assert (first["ok"], again) == (True, first)
    assert other["error"]["code"] == "idempotency_mismatch"
    heard = []
    while (name_and_payload := await hearer.events.get())[1].get("message") != "end":
        heard.append(name_and_payload[0])
    assert [name for name in heard if name in {"messageBroadcast", "roomMessage"}] == [
        "messageBroadcast" if event == "message" else "roomMessage"
    ]


@pytest.mark.parametrize("client_message_id", ["short", "x" * 65, 5])
async def test_a_client_message_id_of_the_wrong_form_is_refused(
    connect_client: ConnectClient, client_message_id: object
) -> None:
    client = await connect_client()
    answer = await client.ask("message", {"clientMsgId": client_message_id})
    assert (answer["ok"], answer["error"]["code"]) == (False, "validation_error")
