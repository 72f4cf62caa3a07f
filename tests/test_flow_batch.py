"""`POST /websocket/batch`: many events in one request, each with its own outcome."""

import json
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPResponse

from gtower_realtime.application import Application
from gtower_realtime.errors import StoreUnavailable
from gtower_realtime.http1.server import HttpServer
from gtower_realtime.settings import Settings
from tests.conftest import ConnectClient
from tests.fakes import FakeStore

pytestmark = pytest.mark.gen_test

KEYS = "shop:publish:a-key-of-20-letters-1:sales|desk"


class Batcher:
    def __init__(self, base_url: str) -> None:
        self._url = f"{base_url}/websocket/batch"

    async def ask(self, body: object, **headers: str) -> HTTPResponse:
        """Return the answer, whatever its status."""
        return await AsyncHTTPClient().fetch(
            self._url,
            method="POST",
            body=json.dumps(body),
            headers={"Content-Type": "application/json", **headers},
            raise_error=False,
        )

    async def send(self, *items: Any, **headers: str) -> dict[str, Any]:
        """Return the answer to a batch that is taken up."""
        answer = await self.ask({"publish": list(items)}, **headers)
        assert answer.code == 201, answer.body
        result: dict[str, Any] = json.loads(answer.body)
        return result


@pytest.fixture
def batcher(http_server: HttpServer, base_url: str) -> Batcher:
    return Batcher(base_url)


def tick(n: int, **more: Any) -> dict[str, Any]:
    return {"event": "tick", "data": {"n": n}, "rooms": ["sales"], **more}


def codes(answer: dict[str, Any]) -> list[str | None]:
    return [result.get("error", {}).get("code") for result in answer["results"]]


async def test_each_event_has_a_receipt_and_they_arrive_in_their_order(
    batcher: Batcher, connect_client: ConnectClient
) -> None:
    ann, ben = await connect_client(), await connect_client()
    await ann.ask("joinRoom", "sales")
    answer = await batcher.send(
        tick(1), tick(2, clients=[ben.id, "nobody"]), {"event": "tick", "all": True}
    )
    assert answer["success"] is True
    assert [
        (one["success"], one["message"], one["recipients"], one["pending"], one["unknownClients"])
        for one in answer["results"]
    ] == [
        (True, "Event 'tick' published", 1, 0, []),
        (True, "Event 'tick' published", 2, 0, ["nobody"]),
        (True, "Event 'tick' published", 2, 0, []),
    ]
    offsets = [int(one["offset"].rpartition("-")[2], 16) for one in answer["results"]]
    assert offsets == list(range(offsets[0], offsets[0] + 3))
    assert [(await ann.next_event("tick")).get("n") for _ in range(3)] == [1, 2, None]
    assert [(await ben.next_event("tick")).get("n") for _ in range(2)] == [2, None]


async def test_bad_events_are_refused_and_the_others_go(batcher: Batcher) -> None:
    answer = await batcher.send(
        tick(1),
        {"event": "tick"},
        {"event": "connect", "rooms": ["sales"]},
        {"event": "notification", "data": {"type": "loud"}, "rooms": ["sales"]},
        "tick",
        {"event": "tick", "rooms": [""]},
        {"event": "tick", "rooms": ["sales"], "volatile": "yes"},
        {"event": "tick", "rooms": ["sales"], "data": [1]},
        tick(2),
    )
    assert answer["success"] is False
    assert codes(answer) == [
        None,
        "validation_error",
        "reserved_event",
        "validation_error",
        "validation_error",
        "validation_error",
        "validation_error",
        "validation_error",
        None,
    ]
    refusal = answer["results"][3]
    assert refusal["success"] is False
    assert sorted(refusal["error"]["fields"]) == ["message", "title", "type"]


@pytest.mark.parametrize(
    "body",
    [{}, {"publish": {}}, {"publish": [], "more": 1}, {"publish": [{}] * 1001}, {"publish": None}],
)
async def test_what_is_no_batch_is_refused_as_a_whole(batcher: Batcher, body: object) -> None:
    answer = await batcher.ask(body)
    assert (answer.code, json.loads(answer.body)["error"]["code"]) == (400, "validation_error")


async def test_an_empty_batch_and_a_full_one_are_batches(batcher: Batcher) -> None:
    assert await batcher.send() == {"success": True, "results": []}
    answer = await batcher.send(*(tick(n) for n in range(1000)))
    assert answer["success"] is True
    assert len(answer["results"]) == 1000


async def test_an_event_with_an_id_is_sent_once(
    batcher: Batcher, connect_client: ConnectClient
) -> None:
    ann = await connect_client()
    await ann.ask("joinRoom", "sales")
    first = await batcher.send(tick(1, id="order-1"), tick(2), tick(3, id="order-1"))
    assert codes(first) == [None, None, "idempotency_in_flight"]
    assert first["results"][0]["id"] == "order-1"
    again = await batcher.send(tick(1, id="order-1"), tick(4, id="order-1"), tick(5))
    assert again["results"][0] == first["results"][0]
    assert codes(again) == [None, "idempotency_in_flight", None]
    assert codes(await batcher.send(tick(6, id="order-1"))) == ["idempotency_mismatch"]
    assert [(await ann.next_event("tick"))["n"] for _ in range(3)] == [1, 2, 5]


async def test_a_repeated_batch_gets_its_first_answers(
    batcher: Batcher, connect_client: ConnectClient
) -> None:
    ann = await connect_client()
    await ann.ask("joinRoom", "sales")
    key = {"Idempotency-Key": "batch-1"}
    first = await batcher.send(tick(1), tick(2), **key)
    again = await batcher.ask({"publish": [tick(1), tick(2)]}, **key)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert json.loads(again.body) == first
    await batcher.send(tick(3))
    assert [(await ann.next_event("tick"))["n"] for _ in range(3)] == [1, 2, 3]


class TestWithKeys:
    @pytest.fixture
    def environ(self) -> dict[str, str]:
        return {"GTOWER_API_KEYS": KEYS}

    async def test_each_event_must_be_for_rooms_of_the_key(self, batcher: Batcher) -> None:
        key = {"X-API-Key": "a-key-of-20-letters-1"}
        answer = await batcher.send(
            tick(1), tick(2, rooms=["hr"]), tick(3, users=["u1"]), tick(4, rooms=["desk-1"]), **key
        )
        assert codes(answer) == [None, "forbidden", "forbidden", None]


class TestWithAFakeStore:
    @pytest.fixture
    def application(self, io_loop: Any, store: FakeStore) -> Application:
        return Application(Settings.load({"GTOWER_DATABASE_URL": "memory:"}), store=store)

    @pytest.fixture
    def store(self, io_loop: Any) -> FakeStore:
        return FakeStore()

    async def test_all_of_a_batch_is_one_commit(self, batcher: Batcher, store: FakeStore) -> None:
        await batcher.send(*(tick(n) for n in range(100)))
        assert [len(changes) for changes in store.commits] == [100]

    async def test_a_batch_of_which_nothing_is_recorded_is_refused_as_a_whole(
        self, batcher: Batcher, store: FakeStore
    ) -> None:
        store.problem = StoreUnavailable("The disk of the event store is full.")
        answer = await batcher.ask({"publish": [tick(1), tick(2)]})
        assert (answer.code, json.loads(answer.body)["error"]["code"]) == (503, "store_unavailable")
        assert answer.headers["Retry-After"] == "1"
        store.problem = None


async def test_a_batch_takes_the_longest_key_and_refuses_a_longer_one(
    http_server: HttpServer, base_url: str
) -> None:
    batcher = Batcher(base_url)
    body = {"publish": [{"event": "e", "all": True}]}
    taken = await batcher.ask(body, **{"Idempotency-Key": "k" * 255})
    assert (taken.code, json.loads(taken.body)["success"]) == (201, True)
    refused = await batcher.ask(body, **{"Idempotency-Key": "k" * 256})
    assert (refused.code, json.loads(refused.body)["error"]["code"]) == (400, "validation_error")
