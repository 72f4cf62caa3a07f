"""What a running server answers, request by request, held against its own OpenAPI document."""

import hmac
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from tornado.httpclient import AsyncHTTPClient

from handlers import api, openapi
from tests.conftest import ConnectClient
from tests.documented import Documented

DOCUMENT = openapi.document(api.routes())
ADMIN = "admin-key-of-twenty-or-more"
APP_SECRET = "app-secret-of-twenty-or-more"
VERIFY_TOKEN = "verify-token-of-ours"
READER = "reader-key-of-twenty-or-more"

pytestmark = pytest.mark.gen_test


@pytest.fixture
def environ() -> dict[str, str]:
    return {
        "GTOWER_API_KEYS": f"ops:admin:{ADMIN},reader:read:{READER}",
        "GTOWER_MAX_BODY_BYTES": "2000",
        "GTOWER_WHATSAPP_APP_SECRET": APP_SECRET,
        "GTOWER_WHATSAPP_VERIFY_TOKEN": VERIFY_TOKEN,
    }


@dataclass(frozen=True)
class Asked:
    """A request and the status of its answer; ``<client>`` is connected, ``<event>`` sent."""

    operation: str
    status: int
    names: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.operation} {self.names} {self.query} {self.status}"


NOTICE = {"type": "info", "title": "t", "message": "m"}
CHAT = {"id": "1", "senderId": "s", "senderName": "S", "content": "c"}
STATE = {"status": "connected"}
ANY = {"a": 1}
KEY = {"Idempotency-Key": "key-1"}
HANDSHAKE = {"hub.mode": "subscribe", "hub.verify_token": VERIFY_TOKEN, "hub.challenge": "115"}
SIGNED = "sha256=" + hmac.digest(APP_SECRET.encode(), b"{}", "sha256").hex()


def trigger(path: str, body: Any, **names: str) -> list[Asked]:
    """Return requests to one trigger: right, repeated, malformed, unauthorized, waiting wrongly."""
    operation = f"POST /websocket/{path}"
    first = next(iter(names), None)
    rows = [
        Asked(operation, 201, names, body=body),
        Asked(operation, 201, names, body=body, headers=KEY),
        Asked(operation, 422, names, body={**body, "metadata": {"b": 2}}, headers=KEY),
        Asked(operation, 400, names, body=[1]),
        Asked(operation, 400, names, {"wait": "never"}, body=body),
        Asked(operation, 401, names, body=body, headers={"X-API-Key": "unknown"}),
        Asked(operation, 403, names, body=body, headers={"X-API-Key": READER}),
        Asked(operation, 413, names, body={"x": "x" * 3000}),
        Asked(operation, 415, names, body=body, headers={"Content-Type": "text/plain"}),
        Asked(operation, 201, names, {"wait": "ack", "timeout": "1"}, body=body),
    ]
    if first is not None:
        rows.append(Asked(operation, 400, {**names, first: "x" * 201}, body=body))
    if first == "clientId":
        rows.append(Asked(operation, 404, {**names, "clientId": "nobody"}, body=body))
    if "eventName" in names:
        rows.append(Asked(operation, 400, {**names, "eventName": "connect"}, body=body))
    return rows


def read(path: str, status: int = 200, query: Any = None, **names: str) -> list[Asked]:
    """Return a read, with a good key and with none."""
    asked = Asked(f"GET /websocket/{path}", status, names, query or {})
    return [asked, Asked(asked.operation, 401, names, headers={"X-API-Key": "unknown"})]


CLIENT = {"clientId": "<client>"}
ROOM = {"roomName": "sales"}
USER = {"userId": "u7"}
EVENT = {"eventName": "orderUpdated"}

REQUESTS = [
    *trigger("notify/client/{clientId}", NOTICE, **CLIENT),
    *trigger("notify/room/{roomName}", NOTICE, **ROOM),
    *trigger("notify/user/{userId}", NOTICE, **USER),
    *trigger("notify/broadcast", NOTICE),
    *trigger("chat/client/{clientId}", CHAT, **CLIENT)[:2],
    *trigger("chat/room/{roomName}", CHAT, **ROOM)[:2],
    *trigger("chat/user/{userId}", CHAT, **USER)[:2],
    *trigger("chat/user/{userId}", CHAT, **USER)[3:],
    *trigger("event/client/{clientId}/{eventName}", ANY, **CLIENT, **EVENT),
    *trigger("event/room/{roomName}/{eventName}", ANY, **ROOM, **EVENT),
    *trigger("event/user/{userId}/{eventName}", ANY, **USER, **EVENT),
    *trigger("event/broadcast/{eventName}", ANY, **EVENT),
    *trigger("whatsapp/status/{clientId}", STATE, **CLIENT),
    *trigger("whatsapp/message/{clientId}", ANY, **CLIENT),
    *trigger("conversation/{clientId}", ANY, **CLIENT),
    Asked("POST /websocket/publish", 201, body={"event": "e", "rooms": ["r"], "clients": ["no"]}),
    Asked("POST /websocket/publish", 201, body={"event": "e", "all": True, "volatile": True}),
    Asked("POST /websocket/publish", 400, body={"event": "e"}),
    Asked("POST /websocket/publish", 400, body={"event": "connect", "all": True}),
    Asked("POST /websocket/publish", 201, body={"event": "e", "clients": ["nobody"]}),
    Asked(
        "POST /websocket/batch",
        201,
        body={"publish": [{"event": "e", "all": True}, {"event": "connect", "all": True}, 7]},
    ),
    Asked("POST /websocket/batch", 400, body={}),
    *read("status"),
    *read("clients"),
    *read("clients", query={"limit": "1"}),
    *read("clients", 400, {"limit": "0"}),
    *read("clients", 400, {"after": "nobody"}),
    *read("clients/{id}/status", id="<client>"),
    *read("clients/{id}/status", id="nobody"),
    *read("clients/{id}/status", 400, id="x" * 201),
    *read("users/{id}", id="u7"),
    *read("users/{id}", 400, id="x" * 201),
    *read("events/{id}", id="<event>"),
    *read("events/{id}", query={"user": "u7", "client": "nobody"}, id="<event>"),
    *read("events/{id}", 404, id="nothing"),
    *read("analytics"),
    *read("analytics", 400, {"from": "yesterday"}),
    *read("rooms"),
    *read("rooms", query={"limit": "1", "prefix": "s"}),
    *read("rooms", 400, {"limit": "many"}),
    *read("rooms/{room}", room="sales"),
    *read("rooms/{room}", 400, room="x" * 201),
    *read("rooms/{room}/presence", room="sales"),
    *read("rooms/{room}/history", room="sales"),
    *read("rooms/{room}/history", 400, {"after": "nonsense"}, room="sales"),
    *read("rooms/{room}/position", room="sales"),
    Asked("DELETE /websocket/rooms/{room}/history", 200, {"room": "sales"}),
    Asked(
        "DELETE /websocket/rooms/{room}/history",
        403,
        {"room": "sales"},
        headers={"X-API-Key": READER},
    ),
    Asked("PUT /websocket/clients/{id}/rooms/{room}", 200, {"id": "<client>", "room": "desk"}),
    Asked("PUT /websocket/clients/{id}/rooms/{room}", 404, {"id": "nobody", "room": "desk"}),
    Asked("PUT /websocket/clients/{id}/rooms/{room}", 403, {"id": "<client>", "room": "user:u7"}),
    Asked("DELETE /websocket/clients/{id}/rooms/{room}", 200, {"id": "<client>", "room": "desk"}),
    Asked("DELETE /websocket/clients/{id}/rooms/{room}", 404, {"id": "nobody", "room": "desk"}),
    Asked("POST /websocket/users/{id}/disconnect", 200, {"id": "u7"}, body={"reason": "bye"}),
    Asked("POST /websocket/users/{id}/disconnect", 400, {"id": "u7"}, body={"reason": ""}),
    Asked("POST /websocket/clients/{id}/disconnect", 404, {"id": "nobody"}, body={}),
    Asked("POST /websocket/clients/{id}/disconnect", 200, {"id": "<client>"}, body={}),
    Asked("GET /whatsapp/webhook", 200, query=HANDSHAKE),
    Asked("GET /whatsapp/webhook", 403, query={**HANDSHAKE, "hub.verify_token": "wrong"}),
    Asked("POST /whatsapp/webhook", 200, body={}, headers={"X-Hub-Signature-256": SIGNED}),
    Asked("POST /whatsapp/webhook", 401, body={}),
    Asked("POST /whatsapp/replay", 200, body={}),
    Asked("POST /whatsapp/replay", 400, body={"since": "yesterday"}),
    Asked("GET /metrics", 200),
    Asked("GET /metrics", 401, headers={"X-API-Key": "unknown"}),
    Asked("GET /healthz", 200),
    Asked("GET /readyz", 200),
]


def operations() -> Iterator[str]:
    """Yield what each operation of the document is called."""
    for path, item in DOCUMENT["paths"].items():
        yield from (f"{method.upper()} {path}" for method in item if method != "parameters")


async def test_each_answer_to_each_request_is_as_documented(
    connect_client: ConnectClient, http_client: AsyncHTTPClient, base_url: str
) -> None:
    documented = Documented(DOCUMENT)
    client = await connect_client()
    await client.ask("joinRoom", "sales")
    answered = set()
    event = "unknown"
    for asked in REQUESTS:
        method, template = asked.operation.split(" ")
        path = template
        for name, value in asked.names.items():
            given = value.replace("<client>", client.id).replace("<event>", event)
            path = path.replace(f"{{{name}}}", quote(given, safe=""))
        answer = await http_client.fetch(
            f"{base_url}{path}?{urlencode(asked.query)}",
            method=method,
            headers={"X-API-Key": ADMIN, "Content-Type": "application/json", **asked.headers},
            body=json.dumps(asked.body) if method in {"POST", "PUT"} else None,
            raise_error=False,
        )
        assert answer.code == asked.status, (str(asked), answer.body)
        operation = DOCUMENT["paths"][template][method.lower()]
        said = operation["responses"][str(answer.code)]
        kind = answer.headers["Content-Type"].partition(";")[0]
        content = said["content"][kind]
        value = json.loads(answer.body) if kind == "application/json" else answer.body.decode()
        assert documented.problems(content["schema"], value) == [], str(asked)
        if answer.code == 201:
            event = value.get("id", event)
        if answer.code >= 400:
            assert value["error"]["code"] in content["examples"], str(asked)
        for name, header in said["headers"].items():
            if name in answer.headers:
                schema = documented.resolved(header)["schema"]
                assert documented.problems(schema, answer.headers[name]) == [], (str(asked), name)
        assert "X-Request-Id" in answer.headers
        answered.add((asked.operation, answer.code))
    assert {operation for operation, status in answered if status < 300} == set(operations())
    open_to_all = {"GET /healthz", "GET /readyz"}
    refused = {operation for operation, status in answered if status >= 400}
    assert refused >= set(operations()) - open_to_all - {
        "POST /websocket/chat/client/{clientId}",
        "POST /websocket/chat/room/{roomName}",
    }


async def test_a_repeated_request_says_so_in_the_documented_header(
    http_client: AsyncHTTPClient, base_url: str
) -> None:
    async def send() -> Any:
        return await http_client.fetch(
            f"{base_url}/websocket/notify/broadcast",
            method="POST",
            headers={"X-API-Key": ADMIN, "Content-Type": "application/json", **KEY},
            body=json.dumps(NOTICE),
        )

    assert "Idempotency-Replayed" not in (await send()).headers
    assert (await send()).headers["Idempotency-Replayed"] == "true"
