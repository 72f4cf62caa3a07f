"""`POST /websocket/publish`: any mix of targets, one copy each, volatile, ttl, the caller's id."""

import json
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.httpserver import HTTPServer

from gtower_realtime.application import Application
from gtower_realtime.errors import StoreUnavailable
from gtower_realtime.settings import Settings
from tests.conftest import ConnectClient, ConnectedClient
from tests.fakes import FakeStore

pytestmark = pytest.mark.gen_test


class Publisher:
    def __init__(self, base_url: str) -> None:
        self._url = f"{base_url}/websocket/publish"

    async def ask(self, body: object) -> HTTPResponse:
        """Return the answer, whatever its status."""
        return await AsyncHTTPClient().fetch(
            self._url,
            method="POST",
            body=json.dumps(body),
            headers={"Content-Type": "application/json"},
            raise_error=False,
        )

    async def publish(self, **body: Any) -> dict[str, Any]:
        """Return the receipt of a publish that succeeds."""
        answer = await self.ask({"event": "tick", **body})
        assert answer.code == 201, answer.body
        receipt: dict[str, Any] = json.loads(answer.body)
        return receipt


@pytest.fixture
def publisher(http_server: HTTPServer, base_url: str) -> Publisher:
    return Publisher(base_url)


async def ticks_until_end(application: Application, client: ConnectedClient) -> list[Any]:
    await application.service.broadcast_event("end", {})
    ticks = []
    while (event := await client.events.get())[0] != "end":
        if event[0] == "tick":
            ticks.append(event[1].get("n"))
    return ticks


async def test_null_is_as_if_the_field_were_absent(publisher: Publisher) -> None:
    optional = ["data", "users", "clients", "all", "except", "volatile", "ttl", "id"]
    receipt = await publisher.publish(rooms=["r"], **dict.fromkeys(optional))
    assert {name: receipt[name] for name in ("message", "recipients", "unknownClients")} == {
        "message": "Event 'tick' published",
        "recipients": 0,
        "unknownClients": [],
    }
    assert len(receipt["id"]) == 16


async def test_each_connection_gets_one_copy_whatever_it_matches(
    application: Application, publisher: Publisher, connect_client: ConnectClient
) -> None:
    ann, ben, cleo = [await connect_client() for _ in range(3)]
    await ann.ask("joinRoom", "a")
    await ann.ask("joinRoom", "b")
    await ben.ask("joinRoom", "b")
    receipt = await publisher.publish(
        data={"n": 1}, rooms=["a", "b"], clients=[ann.id, "gone"], users=["nobody"]
    )
    assert receipt.pop("id")
    assert receipt.pop("offset")
    assert receipt == {
        "success": True,
        "message": "Event 'tick' published",
        "recipients": 2,
        "pending": 0,
        "unknownClients": ["gone"],
    }
    heard = [await ticks_until_end(application, client) for client in (ann, ben, cleo)]
    assert heard == [[1], [1], []]


async def test_all_and_except(
    application: Application, publisher: Publisher, connect_client: ConnectClient
) -> None:
    ann, ben = await connect_client(), await connect_client()
    receipt = await publisher.publish(data={"n": 1}, all=True, **{"except": [ann.id]})
    assert receipt["recipients"] == 1
    assert await ticks_until_end(application, ann) == []
    assert await ticks_until_end(application, ben) == [1]


async def test_no_target_at_all_is_refused(publisher: Publisher) -> None:
    for body in ({}, {"rooms": [], "all": False}, {"except": ["x"]}):
        answer = await publisher.ask({"event": "tick", **body})
        assert (answer.code, json.loads(answer.body)["error"]["code"]) == (400, "validation_error")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"event": "connect", "all": True}, "reserved_event"),
        ({"event": "messageBroadcast", "all": True}, "reserved_event"),
        ({"event": "notification", "all": True, "data": {}}, "validation_error"),
        ({"event": "", "all": True}, "validation_error"),
        ({"all": True}, "validation_error"),
        ({"event": "e", "all": "yes"}, "validation_error"),
        ({"event": "e", "all": True, "data": []}, "validation_error"),
        ({"event": "e", "rooms": "a"}, "validation_error"),
        ({"event": "e", "rooms": [""]}, "validation_error"),
        ({"event": "e", "all": True, "ttl": -1}, "validation_error"),
        ({"event": "e", "all": True, "id": "x" * 129}, "validation_error"),
        ({"event": "e", "all": True, "colour": "red"}, "validation_error"),
    ],
    ids=str,
)
async def test_a_wrong_request_is_refused(
    publisher: Publisher, body: dict[str, Any], code: str
) -> None:
    answer = await publisher.ask(body)
    assert (answer.code, json.loads(answer.body)["error"]["code"]) == (400, code)


async def test_a_volatile_event_is_not_stored(
    application: Application, publisher: Publisher, connect_client: ConnectClient
) -> None:
    client = await connect_client()
    await client.ask("joinRoom", "a")
    receipt = await publisher.publish(data={"n": 1}, rooms=["a"], volatile=True)
    assert ("offset" in receipt, receipt["recipients"]) == (False, 1)
    assert await ticks_until_end(application, client) == [1]
    assert (await application.service.history("a"))["events"] == []


async def test_an_event_whose_time_is_over_is_in_no_history(
    application: Application, publisher: Publisher
) -> None:
    await publisher.publish(data={"n": 1}, rooms=["a"], ttl=0)
    await publisher.publish(data={"n": 2}, rooms=["a"], ttl=60)
    page = await application.service.history("a")
    assert [event["data"]["n"] for event in page["events"]] == [2]


async def test_the_callers_id_makes_a_repeated_request_one(
    application: Application, publisher: Publisher, connect_client: ConnectClient
) -> None:
    client = await connect_client()
    body = {"event": "tick", "all": True, "data": {"n": 1}, "id": "order-1042"}
    first, again = await publisher.ask(body), await publisher.ask(body)
    other = await publisher.ask(body | {"data": {"n": 2}})
    assert (first.code, again.code, first.body) == (201, 201, again.body)
    assert json.loads(first.body)["id"] == "order-1042"
    assert again.headers["Idempotency-Replayed"] == "true"
    assert (other.code, json.loads(other.body)["error"]["code"]) == (422, "idempotency_mismatch")
    assert await ticks_until_end(application, client) == [1]


class TestWhileTheStoreFails:
    @pytest.fixture
    def store(self) -> FakeStore:
        return FakeStore()

    @pytest.fixture
    def application(self, io_loop: object, store: FakeStore) -> Application:
        return Application(Settings.load({}), store=store)

    async def test_volatile_events_go_on(
        self, store: FakeStore, publisher: Publisher, connect_client: ConnectClient
    ) -> None:
        client = await connect_client()
        store.problem = StoreUnavailable("The disk is full.")
        refused = await publisher.ask({"event": "tick", "all": True})
        sent = await publisher.publish(all=True, data={"n": 1}, volatile=True)
        store.problem = None
        assert (refused.code, sent["recipients"]) == (503, 1)
        assert (await client.next_event("tick"))["n"] == 1
