"""Rooms and users over HTTP: lists in pages, who is there, and membership by the server."""

import json
from typing import Any
from urllib.parse import quote

import jwt
import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.ioloop import IOLoop

from gtower_realtime.application import Application
from gtower_realtime.http1.server import HttpServer
from gtower_realtime.settings import Settings
from tests.conftest import ConnectClient
from tests.fakes import FakeClock
from tests.wire import until

pytestmark = pytest.mark.gen_test

SECRET = "a-secret-of-at-least-32-bytes-for-tests"
ADMIN = "an-admin-key-of-20-letters"
LIMITED = "a-limited-key-of-20-letters"
ENVIRON = {
    "GTOWER_DATABASE_URL": "memory:",
    "GTOWER_JWT_SECRET": SECRET,
    "GTOWER_PRESENCE_ROOMS": "desk:",
    "GTOWER_API_KEYS": f"ops:admin:{ADMIN},shop:read:{LIMITED}:shop:|desk:1",
    "GTOWER_ANNOUNCE_CLIENTS": "false",
}
CAPS = [{"rooms": ["*"], "allow": ["join", "publish", "history", "presence"]}]


@pytest.fixture
def application(io_loop: IOLoop) -> Application:
    return Application(Settings.load(ENVIRON), clock=FakeClock())


def token(sub: str, **claims: Any) -> str:
    end = FakeClock().now().timestamp() + 300
    return jwt.encode({"sub": sub, "exp": end, "caps": CAPS, **claims}, SECRET, algorithm="HS256")


class Api:
    def __init__(self, base_url: str) -> None:
        self._url = base_url

    async def ask(self, method: str, path: str, key: str = ADMIN) -> tuple[int, Any]:
        """Return the status and the body of an answer."""
        answer = await AsyncHTTPClient().fetch(
            self._url + path,
            method=method,
            headers={"X-API-Key": key},
            raise_error=False,
            allow_nonstandard_methods=True,
        )
        return answer.code, json.loads(answer.body)

    async def read(self, path: str, key: str = ADMIN) -> Any:
        """Return the body of a read that succeeds."""
        status, body = await self.ask("GET", path, key)
        assert status == 200, body
        return body


@pytest.fixture
def api(http_server: HttpServer, base_url: str) -> Api:
    return Api(base_url)


async def test_rooms_are_listed_by_name_in_pages(api: Api, connect_client: ConnectClient) -> None:
    ann = await connect_client(auth={"token": token("ann")})
    ben = await connect_client(auth={"token": token("ben")})
    for room in ("shop:2", "shop:1", "hr", "a/b"):
        await ann.ask("joinRoom", room)
    await ben.ask("joinRoom", "shop:1")
    everything = [
        {"room": "a/b", "clients": 1},
        {"room": "hr", "clients": 1},
        {"room": "shop:1", "clients": 2},
        {"room": "shop:2", "clients": 1},
    ]
    assert await api.read("/websocket/rooms") == {"rooms": everything, "next": None}
    assert await api.read("/websocket/rooms?limit=3") == {
        "rooms": everything[:3],
        "next": "shop:1",
    }
    assert await api.read("/websocket/rooms?limit=3&after=shop%3A1") == {
        "rooms": everything[3:],
        "next": None,
    }
    assert (await api.read("/websocket/rooms?prefix=shop:"))["rooms"] == everything[2:]
    users = (await api.read("/websocket/rooms?prefix=user:"))["rooms"]
    assert users == [{"room": "user:ann", "clients": 1}, {"room": "user:ben", "clients": 1}]
    await ann.ask("leaveRoom", "hr")
    assert [one["room"] for one in (await api.read("/websocket/rooms"))["rooms"]] == [
        "a/b",
        "shop:1",
        "shop:2",
    ]


async def test_a_limited_key_lists_its_rooms_only(api: Api, connect_client: ConnectClient) -> None:
    ann = await connect_client(auth={"token": token("ann")})
    for room in ("shop:1", "shop:2", "desk:1", "desk:2", "hr"):
        await ann.ask("joinRoom", room)

    async def listed(query: str) -> list[str]:
        page = await api.read(f"/websocket/rooms{query}", LIMITED)
        return [one["room"] for one in page["rooms"]]

    assert await listed("") == ["desk:1", "shop:1", "shop:2"]
    assert await listed("?prefix=shop:2") == ["shop:2"]
    assert await listed("?prefix=de") == ["desk:1"]
    assert await listed("?prefix=hr") == []
    status, body = await api.ask("GET", "/websocket/rooms/hr", LIMITED)
    assert (status, body["error"]["code"]) == (403, "forbidden")


@pytest.mark.parametrize("limit", ["0", "1001", "x"])
async def test_a_page_has_a_limit(api: Api, limit: str) -> None:
    status, body = await api.ask("GET", f"/websocket/rooms?limit={limit}")
    assert (status, body["error"]["code"]) == (400, "validation_error")


async def test_a_room_has_clients_and_users(api: Api, connect_client: ConnectClient) -> None:
    clients = [await connect_client(auth={"token": token(sub)}) for sub in ("ann", "ann", "ben")]
    for client in clients:
        await client.ask("joinRoom", "hr")
    said = await clients[0].ask("roomMessage", {"room": "hr", "message": "hi"})
    assert await api.read("/websocket/rooms/hr") == {
        "room": "hr",
        "clients": 3,
        "users": 2,
        "offset": said["offset"],
    }
    assert (await api.read("/websocket/rooms/empty"))["clients"] == 0
    assert await api.read("/websocket/users/ann") == {
        "userId": "ann",
        "connected": True,
        "clients": [clients[0].id, clients[1].id],
    }
    assert await api.read("/websocket/users/nobody") == {
        "userId": "nobody",
        "connected": False,
        "clients": [],
    }


def pass_time(application: Application, seconds: float) -> None:
    """Move the clock; what the application does every tenth of a second goes by it."""
    assert isinstance(application.clock, FakeClock)
    application.clock.advance(seconds)


async def test_presence_shows_who_is_there_and_what_its_token_shows(
    api: Api, connect_client: ConnectClient, application: Application
) -> None:
    ann = await connect_client(auth={"token": token("ann", info={"name": "Ana"})})
    ben = await connect_client(auth={"token": token("ben")})
    for client in (ann, ben):
        await client.ask("joinRoom", "desk:1")
    listed = {
        "room": "desk:1",
        "clients": [
            {"clientId": ann.id, "userId": "ann", "info": {"name": "Ana"}},
            {"clientId": ben.id, "userId": "ben"},
        ],
    }
    assert await api.read("/websocket/rooms/desk%3A1/presence") == listed
    assert await ben.ask("presence", {"room": "desk:1"}) == {"ok": True, **listed}
    refused = await ben.ask("presence", {"room": "hr"})
    assert refused["error"]["message"] == "The room 'hr' does not tell who is in it."
    pass_time(application, 0.1)
    joined = await ann.next_event("presence")
    assert [one["clientId"] for one in joined["joins"]] == [ben.id]


async def test_presence_takes_the_right_to_it(connect_client: ConnectClient) -> None:
    caps = [{"rooms": ["desk:*"], "allow": ["join"]}]
    ann = await connect_client(auth={"token": token("ann", caps=caps)})
    refused = await ann.ask("presence", {"room": "desk:1"})
    assert refused["error"]["code"] == "forbidden"
    assert refused["error"]["message"] == (
        "Your token does not allow 'presence' in the room 'desk:1'."
    )


async def test_the_server_puts_a_client_into_a_room_and_takes_it_out(
    api: Api, connect_client: ConnectClient
) -> None:
    ann = await connect_client(auth={"token": token("ann")})
    path = f"/websocket/clients/{ann.id}/rooms/{quote('a/b', safe='')}"
    assert await api.ask("PUT", path) == (
        200,
        {"success": True, "message": f"Client {ann.id} joined room a/b"},
    )
    assert (await ann.next_event("roomJoined"))["room"] == "a/b"
    assert (await api.read("/websocket/rooms/a%2Fb"))["clients"] == 1
    assert await api.ask("DELETE", path) == (
        200,
        {"success": True, "message": f"Client {ann.id} left room a/b"},
    )
    assert (await ann.next_event("roomLeft"))["room"] == "a/b"
    assert (await api.read("/websocket/rooms/a%2Fb"))["clients"] == 0


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_not_every_client_and_not_every_room_will_do(
    api: Api, connect_client: ConnectClient, method: str
) -> None:
    ann = await connect_client(auth={"token": token("ann", caps=[])})
    asked = {
        "/websocket/clients/nobody/rooms/hr": (404, "unknown_client"),
        f"/websocket/clients/{ann.id}/rooms/user%3Aann": (403, "forbidden"),
        f"/websocket/clients/{ann.id}/rooms/%00": (400, "invalid_name"),
    }
    if method == "PUT":
        asked[f"/websocket/clients/{ann.id}/rooms/hr"] = (403, "forbidden")
    for path, refusal in asked.items():
        status, body = await api.ask(method, path)
        assert (status, body["error"]["code"]) == refusal
    status, body = await api.ask(method, f"/websocket/clients/{ann.id}/rooms/shop%3A1", LIMITED)
    assert (status, body["error"]["code"]) == (403, "forbidden")


async def test_who_leaves_a_room_with_presence_is_told_of_by_itself(
    application: Application, connect_client: ConnectClient
) -> None:
    ann = await connect_client(auth={"token": token("ann")})
    ben = await connect_client(auth={"token": token("ben")})
    for client in (ann, ben):
        await client.ask("joinRoom", "desk:1")
    pass_time(application, 0.1)
    await ann.next_event("presence")
    gone = ben.id
    await ben.socket.disconnect()
    await until(lambda: gone not in application.clients)
    pass_time(application, 3)
    left = await ann.next_event("presence")
    assert [one["clientId"] for one in left["leaves"]] == [gone]
