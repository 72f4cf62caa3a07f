"""What the documents say of answers that not all nodes have a part in, against literal answers."""

from typing import Any

import pytest

from handlers import api, asyncapi, openapi
from tests.documented import Documented

OPENAPI = openapi.document(api.routes())
ASYNCAPI = asyncapi.document()

TS = "2026-11-23T12:28:18.953Z"
MISSING = {"partial": True, "nodesMissing": ["ant:3001", "bee:/run/gtower.sock"]}
RECEIPT = {"success": True, "message": "m", "id": "e1", "recipients": 2, "pending": 0}
PUBLISHED = {**RECEIPT, "offset": "a-1", "unknownClients": []}
CUT_OFF = {"success": True, "message": "m", "disconnected": 1}
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
ROOM = {"room": "sales", "clients": 2, "users": 1, "offset": "a-1"}


def problems(path: str, method: str, status: int, answer: Any) -> list[str]:
    """Return what is wrong with an answer of HTTP according to `/openapi.json`."""
    said = OPENAPI["paths"][path][method]["responses"][str(status)]
    return Documented(OPENAPI).problems(said["content"]["application/json"]["schema"], answer)


PARTIAL = [
    ("/websocket/notify/room/{roomName}", "post", 201, RECEIPT),
    ("/websocket/event/broadcast/{eventName}", "post", 201, {**RECEIPT, "acked": ["c1"]}),
    ("/websocket/publish", "post", 201, PUBLISHED),
    (
        "/websocket/status",
        "get",
        200,
        {"connectedClients": 3, "status": "degraded", "timestamp": TS},
    ),
    (
        "/websocket/clients/{id}/status",
        "get",
        200,
        {"clientId": "c1", "connected": False, "timestamp": TS},
    ),
    ("/websocket/users/{id}", "get", 200, {"userId": "u1", "connected": False, "clients": []}),
    ("/websocket/events/{id}", "get", 200, TRACE),
    ("/websocket/analytics", "get", 200, MINUTES),
    ("/websocket/rooms", "get", 200, {"rooms": [{"room": "sales", "clients": 2}], "next": None}),
    ("/websocket/rooms/{room}", "get", 200, ROOM),
    ("/websocket/rooms/{room}/presence", "get", 200, {"room": "sales", "clients": []}),
    ("/websocket/clients/{id}/disconnect", "post", 200, CUT_OFF),
    ("/websocket/users/{id}/disconnect", "post", 200, CUT_OFF),
]


@pytest.mark.parametrize(("path", "method", "status", "answer"), PARTIAL)
def test_an_answer_may_say_which_nodes_it_is_without(
    path: str, method: str, status: int, answer: dict[str, Any]
) -> None:
    assert problems(path, method, status, answer) == []
    assert problems(path, method, status, {**answer, **MISSING}) == []
    assert problems(path, method, status, {**answer, "partial": False}) == [
        "$.partial: False is not one of [True]"
    ]
    assert problems(path, method, status, {**answer, "nodesMissing": "ant:3001"}) == [
        "$.nodesMissing: 'ant:3001' is not of type 'array'"
    ]


def test_each_result_of_a_batch_says_it_for_itself() -> None:
    whole = {"success": True, "results": [PUBLISHED, {**PUBLISHED, **MISSING}]}
    assert problems("/websocket/batch", "post", 201, whole) == []
    assert problems("/websocket/batch", "post", 201, {**whole, **MISSING}) != []


@pytest.mark.parametrize(
    ("path", "method", "answer"),
    [
        ("/websocket/rooms/{room}/history", "get", {"room": "r", "events": [], "more": False}),
        ("/websocket/rooms/{room}/position", "get", {"room": "r", "offset": "a-1"}),
        ("/websocket/rooms/{room}/history", "delete", {"room": "r", "deleted": 2}),
        ("/websocket/clients/{id}/rooms/{room}", "put", {"success": True, "message": "m"}),
    ],
)
def test_what_one_node_knows_for_all_is_never_partial(
    path: str, method: str, answer: dict[str, Any]
) -> None:
    assert problems(path, method, 200, answer) == []
    assert problems(path, method, 200, {**answer, "partial": True}) != []


def test_a_bare_list_says_it_in_headers() -> None:
    headers = OPENAPI["paths"]["/websocket/clients"]["get"]["responses"]["200"]["headers"]
    assert sorted(headers) == ["X-Nodes-Missing", "X-Partial", "X-Request-Id"]
    documented = Documented(OPENAPI)
    partial = documented.resolved(headers["X-Partial"])["schema"]
    assert documented.problems(partial, "true") == []
    assert documented.problems(partial, "false") != []
    nodes = documented.resolved(headers["X-Nodes-Missing"])["schema"]
    assert documented.problems(nodes, "ant:3001, bee:/run/gtower.sock") == []
    rooms = OPENAPI["paths"]["/websocket/rooms"]["get"]["responses"]["200"]["headers"]
    assert sorted(rooms) == ["X-Request-Id"]


@pytest.mark.parametrize(
    ("event", "answer"),
    [
        ("message", {"ok": True, "id": "e1", "recipients": 2, "pending": 0, "offset": "a-1"}),
        ("roomMessage", {"ok": True, "id": "e1", "recipients": 2, "pending": 0, "offset": "a-1"}),
        ("presence", {"ok": True, "room": "sales", "clients": []}),
    ],
)
def test_an_acknowledgement_may_say_which_nodes_it_is_without(
    event: str, answer: dict[str, Any]
) -> None:
    payload = ASYNCAPI["channels"]["acknowledgements"]["messages"][event]["payload"]
    documented = Documented(ASYNCAPI)
    assert documented.problems(payload, {**answer, **MISSING}) == []
    assert documented.problems(payload, {**answer, "partial": False}) != []


def test_joining_is_of_one_node() -> None:
    payload = ASYNCAPI["channels"]["acknowledgements"]["messages"]["joinRoom"]["payload"]
    joined = {"ok": True, "room": "sales"}
    assert Documented(ASYNCAPI).problems(payload, joined) == []
    assert Documented(ASYNCAPI).problems(payload, {**joined, "partial": True}) != []
