"""What the Python client makes of answers that not all nodes have a part in; no server."""

from typing import Any

import httpx
import pytest

from gtower_realtime.client import ClusterAnswer, Refused, calls
from gtower_realtime.client.calls import Answer, Call
from gtower_realtime.client.retries import Exchange, RetryPolicy

TS = "2026-11-23T12:28:18.953Z"
NOTE: Any = {"type": "info", "title": "t", "message": "m"}
MISSING = {"partial": True, "nodesMissing": ["ant:3001", "bee:/run/gtower.sock"]}
NAMES = ("ant:3001", "bee:/run/gtower.sock")
RECEIPT = {"success": True, "message": "m", "id": "e1", "recipients": 2, "pending": 0}
STATUS = {"connectedClients": 3, "status": "degraded", "timestamp": TS}
CLIENT = {
    "id": "c1",
    "connectedAt": TS,
    "metadata": {"ip": "127.0.0.1"},
    "rooms": [],
    "transport": "websocket",
}
TRACE = {
    "id": "e1",
    "event": "tick",
    "target": {"all": True},
    "timestamp": TS,
    "recipients": 0,
    "pending": 0,
    "clients": [],
    "more": False,
}
MINUTES = {"from": TS, "to": TS, "step": 60, "points": []}

CALLS: list[tuple[Call[Any], dict[str, Any]]] = [
    (calls.notify_room("sales", NOTE), RECEIPT),
    (calls.publish("tick", everyone=True), {**RECEIPT, "unknownClients": []}),
    (calls.status(), STATUS),
    (calls.client_status("c1"), {"clientId": "c1", "connected": False, "timestamp": TS}),
    (calls.user("u1"), {"userId": "u1", "connected": False, "clients": []}),
    (calls.rooms(), {"rooms": [], "next": None}),
    (calls.room("sales"), {"room": "sales", "clients": 2, "users": 1, "offset": "a-1"}),
    (calls.presence("sales"), {"room": "sales", "clients": []}),
    (calls.trace("e1"), TRACE),
    (calls.analytics(), MINUTES),
    (calls.disconnect_client("c1"), {"success": True, "message": "m", "disconnected": 1}),
    (calls.disconnect_user("u1"), {"success": True, "message": "m", "disconnected": 1}),
]


def nodes(answer: Any) -> tuple[bool, tuple[str, ...]]:
    """Return what an answer says of nodes."""
    assert isinstance(answer, ClusterAnswer)
    return answer.partial, answer.nodes_missing


@pytest.mark.parametrize(("call", "said"), CALLS, ids=[call.path for call, _ in CALLS])
def test_an_answer_says_which_nodes_it_is_without(call: Call[Any], said: dict[str, Any]) -> None:
    def read(body: dict[str, Any]) -> Any:
        exchange = Exchange(call, RetryPolicy(tries=1))
        assert exchange.settle(httpx.Response(200, json=body)) is None
        return exchange.result

    assert nodes(read(said)) == (False, ())
    assert nodes(read({**said, **MISSING})) == (True, NAMES)
    assert nodes(read({**said, "partial": True})) == (True, ())


def test_each_receipt_of_a_batch_says_it_for_itself() -> None:
    error = {"code": "forbidden", "message": "No.", "retryable": False}
    refused = {"success": False, "message": "No.", "error": error}
    said = {"success": False, "results": [{**RECEIPT, **MISSING}, RECEIPT, refused]}
    exchange = Exchange(calls.publish_batch([]), RetryPolicy(tries=1))
    exchange.settle(httpx.Response(201, json=said))
    first, second, third = exchange.result.results
    assert (nodes(first), nodes(second)) == ((True, NAMES), (False, ()))
    assert isinstance(third, Refused)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, (False, ())),
        ({"X-Partial": "true"}, (True, ())),
        ({"X-Partial": "true", "X-Nodes-Missing": ""}, (True, ())),
        ({"X-Partial": "true", "X-Nodes-Missing": "ant:3001"}, (True, ("ant:3001",))),
        ({"x-partial": "true", "x-nodes-missing": ", ".join(NAMES)}, (True, NAMES)),
    ],
)
def test_of_the_clients_the_headers_say_it(
    headers: dict[str, str], expected: tuple[bool, tuple[str, ...]]
) -> None:
    exchange = Exchange(calls.clients(), RetryPolicy(tries=1))
    exchange.settle(httpx.Response(200, json=[CLIENT], headers=headers))
    assert nodes(exchange.result) == expected
    assert [client.id for client in exchange.result.clients] == ["c1"]


def test_an_answer_of_one_process_is_whole() -> None:
    assert nodes(Answer("{}")) == (False, ())


def test_all_clients_are_gone_through_also_where_a_node_is_missing() -> None:
    bodies = [[CLIENT, {**CLIENT, "id": "c2"}], [{**CLIENT, "id": "c3"}]]
    pages = calls.iterate_clients(page_size=2)
    call: Call[Any] | None = pages.first
    queries, found = [], []
    while call is not None:
        exchange = Exchange(call, RetryPolicy(tries=1))
        answer = httpx.Response(200, json=bodies.pop(0), headers={"X-Partial": "true"})
        exchange.settle(answer)
        queries.append(dict(call.query))
        found += [client.id for client in pages.items(exchange.result)]
        call = pages.following(exchange.result)
    assert queries == [{"limit": "2"}, {"after": "c2", "limit": "2"}]
    assert found == ["c1", "c2", "c3"]
