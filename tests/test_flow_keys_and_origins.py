"""Who may do what: API keys, origins of pages, host names, namespaces; over real sockets."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPResponse
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop

from gtower_realtime.application import Application
from handlers import reads
from handlers.triggers import TRIGGERS
from tests.socketio_wire import open_client, open_wire

pytestmark = [pytest.mark.gen_test, pytest.mark.usefixtures("http_server")]

NOTICE = {"type": "info", "title": "t", "message": "m"}
HANDSHAKE = "/socket.io/?EIO=4&transport=polling"

PUBLISHER, READER, ADMIN, LIMITED = (
    "publisher-key-of-20-chars",
    "reader-key-of-20-characters",
    "admin-key-of-20-characters",
    "limited-key-of-20-characters",
)
KEYS = ",".join(
    (
        f"backend:publish:{PUBLISHER}",
        f"monitor:read:{READER}",
        f"ops:admin:{ADMIN}",
        f"crm:publish+read:{LIMITED}:whatsapp:customer:|sales",
    )
)
WITH_KEYS = pytest.mark.parametrize("environ", [{"GTOWER_API_KEYS": KEYS}])


@pytest.fixture(autouse=True)
def _abandoned_sessions_end(
    io_loop: IOLoop, application: Application, http_server: HTTPServer
) -> Iterator[None]:
    """End what is opened over polling and left, which the server would wait for at its end."""

    async def end_all() -> None:
        for session in list(application.socketio.eio.sessions.values()):
            session.end()

    yield
    io_loop.run_sync(end_all)


async def ask(
    base_url: str, path: str, method: str = "GET", content: Any = None, **headers: str
) -> HTTPResponse:
    """Ask the server; ``content`` is sent as JSON."""
    return await AsyncHTTPClient().fetch(
        base_url + path,
        method=method,
        body=None if content is None else json.dumps(content),
        headers={"Content-Type": "application/json"} | headers,
        raise_error=False,
        allow_nonstandard_methods=True,
    )


async def open_polling(base_url: str) -> str:
    """Open an Engine.IO session over polling and return its id."""
    return str(json.loads((await ask(base_url, HANDSHAKE)).body[1:])["sid"])


def refusal(answer: HTTPResponse) -> tuple[int, str, str]:
    """Return status, code and message of a refusal."""
    error = json.loads(answer.body)["error"]
    return answer.code, error["code"], error["message"]


# API keys


PUBLISH_PATHS = [
    row.path.replace(":clientId", "c")
    .replace(":roomName", "sales")
    .replace(":userId", "u")
    .replace(":eventName", "e")
    for row in TRIGGERS
]
READ_PATHS = [route.path.replace(":id", "c") for route in reads.routes()] + ["/metrics"]
CLOSED = [("POST", path) for path in PUBLISH_PATHS] + [("GET", path) for path in READ_PATHS]
OPEN = ["/", "/websocket-client-example.html", "/socket.io/socket.io.min.js", "/healthz", "/readyz"]


@WITH_KEYS
@pytest.mark.parametrize(("method", "path"), CLOSED)
async def test_once_there_is_a_key_nothing_is_answered_without_one(
    base_url: str, method: str, path: str
) -> None:
    content = NOTICE if method == "POST" else None
    assert refusal(await ask(base_url, path, method, content)) == (
        401,
        "unauthorized",
        "An API key is needed; send it as X-API-Key.",
    )
    wrong = await ask(base_url, path, method, content, **{"X-API-Key": PUBLISHER[:-1]})
    assert refusal(wrong) == (401, "unauthorized", "This API key is not known.")
    assert PUBLISHER[:-1] not in wrong.body.decode()


@WITH_KEYS
@pytest.mark.parametrize("path", OPEN)
async def test_pages_the_bundle_and_health_stay_open(base_url: str, path: str) -> None:
    assert (await ask(base_url, path)).code == 200


@WITH_KEYS
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_a_key_may_come_as_a_bearer_token(base_url: str, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {READER}"}
    assert (await ask(base_url, "/websocket/status", **headers)).code == 200


@WITH_KEYS
async def test_a_key_under_another_scheme_is_none(base_url: str) -> None:
    headers = {"Authorization": f"Basic {READER}"}
    assert (await ask(base_url, "/websocket/status", **headers)).code == 401


SCOPES = [
    (PUBLISHER, "POST", 201, "publish"),
    (PUBLISHER, "GET", 403, "read"),
    (READER, "POST", 403, "publish"),
    (READER, "GET", 200, "read"),
    (ADMIN, "POST", 201, "publish"),
    (ADMIN, "GET", 200, "read"),
]


@WITH_KEYS
@pytest.mark.parametrize(("key", "method", "status", "scope"), SCOPES)
async def test_a_key_may_do_what_its_scopes_say(
    base_url: str, key: str, method: str, status: int, scope: str
) -> None:
    path = "/websocket/notify/broadcast" if method == "POST" else "/websocket/clients"
    content = NOTICE if method == "POST" else None
    answer = await ask(base_url, path, method, content, **{"X-API-Key": key})
    assert answer.code == status
    if status == 403:
        name = "backend" if key == PUBLISHER else "monitor"
        message = f"The key '{name}' does not have the scope '{scope}'."
        assert refusal(answer) == (403, "forbidden", message)


BEYOND_ROOMS = "The key 'crm' may address rooms only."
ADDRESSED = [
    ("notify/room/sales", None),
    ("notify/room/sales-north", None),
    ("notify/room/whatsapp%3Acustomer%3Ac42", None),
    ("event/room/sales/dealWon", None),
    (
        "notify/room/whatsapp%3Ageneral",
        "The key 'crm' may not address the room 'whatsapp:general'.",
    ),
    ("notify/room/Sales", "The key 'crm' may not address the room 'Sales'."),
    ("notify/user/u1", BEYOND_ROOMS),
    ("notify/client/c1", BEYOND_ROOMS),
    ("notify/broadcast", BEYOND_ROOMS),
    ("event/broadcast/dealWon", BEYOND_ROOMS),
    ("conversation/c1", BEYOND_ROOMS),
]


@WITH_KEYS
@pytest.mark.parametrize(("path", "message"), ADDRESSED)
async def test_a_key_with_prefixes_may_address_such_rooms_only(
    base_url: str, path: str, message: str | None
) -> None:
    answer = await ask(base_url, f"/websocket/{path}", "POST", NOTICE, **{"X-API-Key": LIMITED})
    if message is None:
        assert answer.code == 201
    else:
        assert refusal(answer) == (403, "forbidden", message)


READ = [
    ("clients", BEYOND_ROOMS),
    ("clients/c1/status", BEYOND_ROOMS),
    ("users/u1", BEYOND_ROOMS),
    ("rooms/whatsapp%3Ageneral", "The key 'crm' may not address the room 'whatsapp:general'."),
    (
        "rooms/whatsapp%3Ageneral/history",
        "The key 'crm' may not address the room 'whatsapp:general'.",
    ),
    ("rooms/sales", None),
    ("rooms", None),
    ("status", None),
    ("analytics", None),
]


@WITH_KEYS
@pytest.mark.parametrize(("path", "message"), READ)
async def test_a_key_with_prefixes_reads_about_such_rooms_only(
    base_url: str, path: str, message: str | None
) -> None:
    answer = await ask(base_url, f"/websocket/{path}", **{"X-API-Key": LIMITED})
    if message is None:
        assert answer.code == 200
    else:
        assert refusal(answer) == (403, "forbidden", message)


@WITH_KEYS
async def test_a_client_connects_without_an_api_key(base_url: str) -> None:
    async with open_client(base_url) as client:
        assert (await client.ask("joinRoom", "sales"))[0]["ok"]


DIGEST = hashlib.sha256(READER.encode()).hexdigest()


@pytest.mark.parametrize("environ", [{"GTOWER_API_KEYS": f"hashed:read:sha256-{DIGEST}"}])
async def test_a_key_may_be_configured_by_its_hash_which_is_no_key(base_url: str) -> None:
    answers = [
        await ask(base_url, "/websocket/status", **{"X-API-Key": key})
        for key in (READER, DIGEST, f"sha256-{DIGEST}")
    ]
    assert [answer.code for answer in answers] == [200, 401, 401]


# Origins


ANY_ORIGIN = {"CORS_ORIGIN": "*"}
LISTED = {"CORS_ORIGIN": "https://crm.example.com,https://*.example.org,http://localhost:8080"}
GOOD_ORIGINS = [
    "https://crm.example.com",
    "https://CRM.example.com",
    "https://a.example.org",
    "https://a.b.example.org",
    "http://localhost:8080",
]
BAD_ORIGINS = [
    "http://crm.example.com",
    "https://crm.example.com:8443",
    "https://crm.example.com.evil.net",
    "https://example.org",
    "https://evilexample.org",
    "https://a.example.org.evil.net",
    "https://evil.net/.example.org",
    "http://localhost",
    "null",
]
EVERYWHERE = [
    ("GET", "/websocket/status", None),
    ("POST", "/websocket/notify/broadcast", NOTICE),
    ("GET", HANDSHAKE, None),
]


@pytest.mark.parametrize("environ", [LISTED])
@pytest.mark.parametrize(("method", "path", "content"), EVERYWHERE)
@pytest.mark.parametrize("origin", GOOD_ORIGINS)
async def test_a_listed_origin_may_read_answers_with_credentials(
    base_url: str, method: str, path: str, content: Any, origin: str
) -> None:
    answer = await ask(base_url, path, method, content, Origin=origin)
    assert answer.code in {200, 201}
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert answer.headers["Vary"] == "Origin"


@pytest.mark.parametrize("environ", [LISTED])
@pytest.mark.parametrize(("method", "path", "content"), EVERYWHERE)
@pytest.mark.parametrize("origin", BAD_ORIGINS)
async def test_another_origin_is_forbidden(
    base_url: str, application: Application, method: str, path: str, content: Any, origin: str
) -> None:
    async with open_client(base_url) as client:
        answer = await ask(base_url, path, method, content, Origin=origin)
        assert answer.code == 403
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert answer.headers["Vary"] == "Origin"
        await application.service.broadcast_event("end", {})
        assert await client.events_until("end") == []


@pytest.mark.parametrize("environ", [LISTED])
@pytest.mark.parametrize(("method", "path", "content"), EVERYWHERE)
async def test_a_request_without_an_origin_passes(
    base_url: str, method: str, path: str, content: Any
) -> None:
    answer = await ask(base_url, path, method, content)
    assert answer.code in {200, 201}
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert answer.headers["Vary"] == "Origin"


@pytest.mark.parametrize("environ", [ANY_ORIGIN])
@pytest.mark.parametrize(("method", "path", "content"), EVERYWHERE)
@pytest.mark.parametrize("origin", ["https://anywhere.net", "null"])
async def test_under_a_star_every_origin_passes_without_credentials(
    base_url: str, method: str, path: str, content: Any, origin: str
) -> None:
    answer = await ask(base_url, path, method, content, Origin=origin)
    assert answer.code in {200, 201}
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize("environ", [LISTED])
@pytest.mark.parametrize("origin", GOOD_ORIGINS)
async def test_a_websocket_from_a_listed_origin_is_opened(base_url: str, origin: str) -> None:
    async with open_client(base_url, Origin=origin) as client:
        assert (await client.ask("message", "hi"))[0]["ok"]


@pytest.mark.parametrize("environ", [LISTED])
@pytest.mark.parametrize("origin", BAD_ORIGINS)
async def test_a_websocket_from_another_origin_is_forbidden_before_it_opens(
    base_url: str, application: Application, origin: str
) -> None:
    with pytest.raises(HTTPClientError) as caught:
        async with open_wire(base_url, Origin=origin):
            pass
    assert caught.value.code == 403
    assert application.socketio.eio.sessions == {}


@pytest.mark.parametrize("environ", [LISTED])
async def test_an_upgrade_from_another_origin_is_forbidden_and_polling_goes_on(
    base_url: str, application: Application
) -> None:
    sid = await open_polling(base_url)
    with pytest.raises(HTTPClientError) as caught:
        async with open_wire(base_url, f"&sid={sid}", Origin="https://evil.net"):
            pass
    assert caught.value.code == 403
    assert application.socketio.eio.transport(sid) == "polling"


@pytest.mark.parametrize("environ", [ANY_ORIGIN])
async def test_a_websocket_of_a_page_from_disk_is_opened_under_a_star(base_url: str) -> None:
    async with open_client(base_url, Origin="null") as client:
        assert (await client.ask("message", "hi"))[0]["ok"]


@pytest.mark.parametrize("environ", [LISTED | {"GTOWER_API_KEYS": KEYS}])
async def test_a_refusal_can_be_read_by_a_page_that_may_call(base_url: str) -> None:
    origin = "https://crm.example.com"
    answer = await ask(base_url, "/websocket/status", Origin=origin)
    assert answer.code == 401
    assert answer.headers["Access-Control-Allow-Origin"] == origin


PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "content-type,x-api-key",
}


@pytest.mark.parametrize("environ", [LISTED | {"GTOWER_API_KEYS": KEYS}])
async def test_a_preflight_needs_no_key(base_url: str) -> None:
    origin = "https://crm.example.com"
    path = "/websocket/notify/broadcast"
    answer = await ask(base_url, path, "OPTIONS", Origin=origin, **PREFLIGHT)
    assert (answer.code, answer.body) == (204, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert "POST" in answer.headers["Access-Control-Allow-Methods"].split(", ")
    allowed = {name.lower() for name in answer.headers["Access-Control-Allow-Headers"].split(", ")}
    assert {"content-type", "x-api-key", "authorization", "idempotency-key"} <= allowed


@pytest.mark.parametrize("environ", [LISTED])
async def test_a_preflight_from_another_origin_is_forbidden(base_url: str) -> None:
    for path in ("/websocket/notify/broadcast", HANDSHAKE):
        answer = await ask(base_url, path, "OPTIONS", Origin="https://evil.net", **PREFLIGHT)
        assert answer.code == 403
        assert "Access-Control-Allow-Origin" not in answer.headers


# Host names


LOCAL_HOSTS = ["localhost", "localhost:3000", "LOCALHOST", "127.0.0.1:3000", "[::1]:3000"]
OTHER_HOSTS = ["evil.net", "evil.net:3000", "localhost.evil.net", "127.0.0.1.evil.net", "10.0.0.1"]


@pytest.mark.parametrize("host", LOCAL_HOSTS)
async def test_without_keys_the_api_answers_to_local_names(base_url: str, host: str) -> None:
    assert (await ask(base_url, "/websocket/status", Host=host)).code == 200


@pytest.mark.parametrize("host", OTHER_HOSTS)
async def test_without_keys_the_api_answers_to_no_other_name(base_url: str, host: str) -> None:
    message = "Without API keys this server answers to the name localhost only."
    for method, path, content in [*EVERYWHERE[:2], ("GET", "/metrics", None)]:
        answer = await ask(base_url, path, method, content, Host=host)
        assert refusal(answer) == (403, "forbidden", message)


@WITH_KEYS
@pytest.mark.parametrize("host", OTHER_HOSTS)
async def test_with_keys_the_name_does_not_matter(base_url: str, host: str) -> None:
    headers = {"Host": host, "X-API-Key": READER}
    assert (await ask(base_url, "/websocket/status", **headers)).code == 200


@pytest.mark.parametrize("environ", [{"GTOWER_INSECURE": "true"}])
async def test_a_server_that_is_told_to_be_open_answers_to_any_name(base_url: str) -> None:
    assert (await ask(base_url, "/websocket/status", Host="10.0.0.1")).code == 200


@pytest.mark.parametrize("host", OTHER_HOSTS)
async def test_a_client_may_connect_under_any_name(base_url: str, host: str) -> None:
    async with open_client(base_url, Host=host) as client:
        assert (await client.ask("message", "hi"))[0]["ok"]


# Namespaces


BOTH = pytest.mark.parametrize("environ", [{"GTOWER_NAMESPACES": "/,/websocket"}])


@BOTH
async def test_two_namespaces_are_one_bus(base_url: str, application: Application) -> None:
    async with open_client(base_url) as root, open_client(base_url, "/websocket") as other:
        await root.ask("joinRoom", "sales")
        assert await other.ask("joinRoom", "sales", namespace="/websocket") == [
            {"ok": True, "room": "sales"}
        ]
        assert json.loads((await ask(base_url, "/websocket/status")).body)["connectedClients"] == 2
        answer = await ask(base_url, "/websocket/notify/room/sales", "POST", NOTICE)
        assert json.loads(answer.body)["recipients"] == 2
        for client_id in (root.id, other.id):
            path = f"/websocket/event/client/{client_id}/own"
            assert json.loads((await ask(base_url, path, "POST")).body)["recipients"] == 1
        said = await other.ask("message", "from the other", namespace="/websocket")
        assert said[0]["recipients"] == 1
        told = await root.ask("roomMessage", {"room": "sales", "message": "hi"})
        assert told[0]["recipients"] == 2
        await application.service.broadcast_event("end", {})
        assert [name for name, _ in await root.events_until("end")] == [
            "clientJoined",
            "roomJoined",
            "notification",
            "own",
            "messageBroadcast",
            "roomMessage",
        ]
        assert [name for name, _ in await other.events_until("end", "/websocket")] == [
            "roomJoined",
            "notification",
            "own",
            "messageReceived",
            "roomMessage",
        ]


@BOTH
async def test_a_browser_on_both_namespaces_is_two_clients(
    base_url: str, application: Application
) -> None:
    async with open_client(base_url) as both:
        first_id = both.id
        name, welcome = await both.join("/websocket")
        assert (name, welcome["clientId"]) == ("connected", both.id)
        assert both.id != first_id
        listed = json.loads((await ask(base_url, "/websocket/clients")).body)
        assert [client["id"] for client in listed] == [first_id, both.id]
        await both.ask("joinRoom", "sales")
        await both.say("41/websocket,")
        assert await both.events_until("clientLeft") is not None
        listed = json.loads((await ask(base_url, "/websocket/clients")).body)
        assert [(client["id"], client["rooms"]) for client in listed] == [(first_id, ["sales"])]
        assert (await both.ask("message", "still here"))[0]["ok"]


@BOTH
@pytest.mark.parametrize("namespace", ["/other", "/websocket/", "/Websocket", "/" + "n" * 127])
async def test_another_namespace_is_refused_and_harms_nobody(base_url: str, namespace: str) -> None:
    async with open_wire(base_url) as wire:
        await wire.say(f"40{namespace},")
        assert await wire.hear() == f'44{namespace},{{"message":"Invalid namespace"}}'
        await wire.join("/websocket")
        assert (await wire.ask("message", "hi", namespace="/websocket"))[0]["ok"]


async def test_only_the_configured_namespaces_are_served(base_url: str) -> None:
    async with open_wire(base_url) as wire:
        await wire.say("40/websocket,")
        assert await wire.hear() == '44/websocket,{"message":"Invalid namespace"}'
        await wire.join()
        await wire.say('42/websocket,["message","hi"]')
        assert (await wire.closing())[0] == 1002


@pytest.mark.parametrize("environ", [{"GTOWER_NAMESPACES": "/websocket"}])
async def test_the_root_namespace_is_not_served_unless_it_is_listed(base_url: str) -> None:
    async with open_wire(base_url) as wire:
        await wire.say("40")
        assert await wire.hear() == '44{"message":"Invalid namespace"}'
