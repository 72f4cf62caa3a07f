"""Tokens on real connections: who is let in, what it gets, and how it is sent away."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import jwt
import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.ioloop import IOLoop

from gtower_realtime.application import Application
from gtower_realtime.http1.server import HttpServer
from gtower_realtime.settings import Settings, SettingsError
from tests.conftest import ConnectClient, ConnectedClient
from tests.fakes import FakeClock
from tests.javascript_client import javascript_client
from tests.socketio_wire import Wire, open_wire

pytestmark = pytest.mark.gen_test

SECRET = "a-secret-of-at-least-32-bytes-for-tests"
ADMIN = "an-admin-key-of-20-letters"
ENVIRON = {
    "GTOWER_DATABASE_URL": "memory:",
    "GTOWER_JWT_SECRET": SECRET,
    "GTOWER_JWT_AUDIENCE": "agents",
    "GTOWER_API_KEYS": f"ops:admin:{ADMIN}",
}
NOW = FakeClock().now()
ALL = [{"rooms": ["*"], "allow": ["join", "publish", "history", "presence"]}]


@pytest.fixture
def clock(io_loop: IOLoop) -> FakeClock:
    return FakeClock()


@pytest.fixture
def application(io_loop: IOLoop, clock: FakeClock) -> Application:
    return Application(Settings.load(ENVIRON), clock=clock)


def token(sub: str = "ann", *, now: datetime = NOW, life: float = 300, **claims: Any) -> str:
    end = now + timedelta(seconds=life)
    body = {"sub": sub, "aud": "agents", "exp": end.timestamp(), **claims}
    return jwt.encode(body, SECRET, algorithm="HS256")


async def ask_api(base_url: str, method: str, path: str, body: Any = None) -> HTTPResponse:
    return await AsyncHTTPClient().fetch(
        base_url + path,
        method=method,
        headers={"X-API-Key": ADMIN, "Content-Type": "application/json"},
        body=None if method == "GET" else json.dumps(body or {}),
        raise_error=False,
    )


@asynccontextmanager
async def opened(base_url: str, **auth: Any) -> AsyncIterator[Wire]:
    async with open_wire(base_url) as wire:
        await wire.say("40" + json.dumps(auth) if auth else "40")
        yield wire


async def heard(wire: Wire) -> str:
    """Return the next message of a connection that is open."""
    message = await wire.hear()
    assert message is not None
    return message


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (None, "missing_token"),
        ("", "missing_token"),
        (token(life=-1), "token_expired"),
        (token(aud="others"), "invalid_token"),
        (token()[:-3], "invalid_token"),
        (7, "invalid_token"),
        ("x" * 9000, "invalid_token"),
        (jwt.encode({"sub": "ann", "aud": "agents"}, SECRET), "invalid_token"),
        (jwt.encode({"exp": 4e9, "aud": "agents"}, SECRET), "invalid_token"),
        (jwt.encode({"sub": "ann", "aud": "agents", "exp": 4e9}, None, "none"), "invalid_token"),
    ],
    ids=[
        "none",
        "empty",
        "old",
        "audience",
        "cut",
        "number",
        "long",
        "no exp",
        "no sub",
        "alg none",
    ],
)
async def test_a_client_without_a_good_token_is_refused_and_hears_nothing(
    http_server: HttpServer, base_url: str, application: Application, sent: Any, code: str
) -> None:
    async with opened(base_url, **({} if sent is None else {"token": sent})) as wire:
        answer = await heard(wire)
        assert answer.startswith("44")
        refusal = json.loads(answer[2:])
        assert refusal["data"] == {"code": code, "retryable": False}
        assert refusal["message"]
        assert len(application.clients) == 0
        for n in range(3):
            receipt = await application.service.broadcast_event("tick", {"n": n})
            assert receipt.recipients == 0
        await wire.say('40{"token":"' + token() + '"}')
        # The very next thing is the answer to this: of the ticks not one byte has come.
        assert (await heard(wire)).startswith('40{"sid":')


async def test_what_is_said_without_a_token_closes_the_connection(
    http_server: HttpServer, base_url: str
) -> None:
    async with opened(base_url) as wire:
        assert (await heard(wire)).startswith("44")
        await wire.say('42["message","hello"]')
        assert (await wire.closing())[0] == 1002


async def test_a_token_may_come_in_the_authorization_header(
    connect_client: ConnectClient, application: Application
) -> None:
    client = await connect_client(headers={"Authorization": f"Bearer {token('ben')}"})
    [listed] = application.service.directory.clients()
    assert (listed["id"], listed["userId"]) == (client.id, "ben")


async def test_a_user_is_reached_on_all_connections_and_rooms_of_the_token_are_joined(
    connect_client: ConnectClient, base_url: str
) -> None:
    ann = [
        await connect_client(auth={"token": token("ann", rooms=["whatsapp:general"])})
        for _ in range(2)
    ]
    ben = await connect_client(auth={"token": token("ben")})
    for client in ann:
        assert (await client.next_event("roomJoined"))["room"] == "whatsapp:general"
    note = {"type": "info", "title": "t", "message": "m"}
    answer = await ask_api(base_url, "POST", "/websocket/notify/user/ann", note)
    assert json.loads(answer.body)["recipients"] == 2
    answer = await ask_api(base_url, "POST", "/websocket/event/room/whatsapp%3Ageneral/tick")
    assert json.loads(answer.body)["recipients"] == 2
    for client in ann:
        assert (await client.next_event("notification"))["title"] == "t"
    await ask_api(base_url, "POST", "/websocket/event/broadcast/end")
    assert await next_name(ben, "clientJoined") == "end"


async def next_name(client: ConnectedClient, *passed_by: str) -> str:
    while (event := await client.events.get())[0] in passed_by:
        pass
    return event[0]


async def test_refusals_say_which_right_is_missing_where(connect_client: ConnectClient) -> None:
    caps = [{"rooms": ["whatsapp:customer:*"], "allow": ["join", "history"]}]
    client = await connect_client(auth={"token": token(caps=caps)})
    assert (await client.ask("joinWhatsAppCustomer", "c42"))["ok"] is True
    asked = {
        ("joinRoom", "sales"): "Your token does not allow 'join' in the room 'sales'.",
        ("message", "hi"): ("Your token does not allow 'publish' on '*', as messages to all need."),
        ("joinRoom", "user:ann"): "The room 'user:ann' belongs to the server; choose another name.",
    }
    for (event, argument), sentence in asked.items():
        answer = await client.ask(event, argument)
        assert (answer["error"]["code"], answer["error"]["message"]) == ("forbidden", sentence)
    room = "whatsapp:customer:c42"
    said = await client.ask("roomMessage", {"room": room, "message": "hi"})
    assert said["error"]["message"] == f"Your token does not allow 'publish' in the room '{room}'."
    assert (await client.ask("history", {"room": room}))["ok"] is True
    assert (await client.ask("history", {"room": "sales"}))["error"]["code"] == "forbidden"


async def test_a_token_is_renewed_without_a_reconnect(
    connect_client: ConnectClient, clock: FakeClock, application: Application
) -> None:
    client = await connect_client(auth={"token": token(caps=ALL)})
    own_id = client.id
    await client.ask("joinRoom", "sales")
    clock.advance(271)
    application.service.mind_tokens()
    assert await client.next_event("tokenExpiring") == {
        "expiresAt": "2026-11-23T12:33:18.953Z",
        "expiresIn": 29,
    }
    renewed = token(now=clock.now(), caps=[{"rooms": ["desk"], "allow": ["join"]}])
    answer = await client.ask("auth:refresh", {"token": renewed})
    assert answer == {"ok": True, "expiresAt": "2026-11-23T12:37:49.953Z"}
    left = await client.next_event("roomLeft")
    assert (left["room"], left["reason"]) == ("sales", "not allowed by the token")
    assert client.id == own_id
    for argument, code in [
        ({"token": "x"}, "invalid_token"),
        ({"token": token("ben", now=clock.now())}, "forbidden"),
        ({}, "validation_error"),
        ({"token": None}, "missing_token"),
    ]:
        assert (await client.ask("auth:refresh", argument))["error"]["code"] == code


async def test_a_token_that_ends_closes_with_4202(
    http_server: HttpServer, base_url: str, application: Application, clock: FakeClock
) -> None:
    async with opened(base_url, token=token(life=60)) as wire:
        await heard(wire)
        clock.advance(60 + 25)
        application.service.mind_tokens()
        assert (await wire.closing())[0] == 4202


async def test_the_stock_client_sees_code_and_data_of_a_refusal_and_stays_away(
    http_server: HttpServer, base_url: str, node: str
) -> None:
    async with javascript_client(node) as client:
        told = await client.connect(base_url, auth={"token": "nonsense"})
        assert told["what"] == "connect_error"
        assert told["data"] == {"code": "invalid_token", "retryable": False}


async def test_a_client_is_sent_away_by_http(
    connect_client: ConnectClient, base_url: str, application: Application
) -> None:
    client = await connect_client(auth={"token": token()})
    path = f"/websocket/clients/{client.id}/disconnect"
    answer = await ask_api(base_url, "POST", path, {"reason": "too late"})
    assert answer.code == 200
    assert json.loads(answer.body) == {
        "success": True,
        "message": f"Client {client.id} disconnected",
        "disconnected": 1,
    }
    farewell = await client.next_event("exception")
    assert (farewell["event"], farewell["code"], farewell["message"]) == (
        "disconnect",
        4003,
        "too late",
    )
    assert (await ask_api(base_url, "POST", path)).code == 404


async def test_a_user_is_sent_away_and_may_come_back_or_not(
    http_server: HttpServer, base_url: str, application: Application
) -> None:
    async with opened(base_url, token=token()) as wire:
        answer = json.loads((await heard(wire))[2:])
        await heard(wire)
        sent = await ask_api(
            base_url, "POST", "/websocket/users/ann/disconnect", {"reconnect": True}
        )
        assert json.loads(sent.body)["disconnected"] == 1
        assert (await wire.closing())[0] == 4200
    claim = {"pid": answer["pid"], "offset": str(application.journal.offset(0))}
    async with opened(base_url, token=token(), **claim) as wire:
        assert json.loads((await heard(wire))[2:])["sid"] == answer["sid"]
        await heard(wire)
        await ask_api(base_url, "POST", "/websocket/users/ann/disconnect")
        assert (await wire.closing())[0] == 4003
    async with opened(base_url, token=token(), **claim) as wire:
        assert json.loads((await heard(wire))[2:])["sid"] != answer["sid"]
        connected = json.loads((await heard(wire))[2:])
        assert (connected[1]["recovered"], connected[1]["reason"]) == (False, "revoked")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"reason": ""}, 400),
        ({"reason": "x" * 101}, 400),
        ({"reconnect": "yes"}, 400),
        ({"more": 1}, 400),
        ({"reason": None, "reconnect": None}, 200),
    ],
)
async def test_a_wish_to_disconnect_is_checked(
    http_server: HttpServer, base_url: str, body: Any, status: int
) -> None:
    answer = await ask_api(base_url, "POST", "/websocket/users/ann/disconnect", body)
    assert answer.code == status


async def test_a_returning_client_needs_a_good_token_too(
    http_server: HttpServer, base_url: str, application: Application
) -> None:
    async with opened(base_url, token=token()) as wire:
        answer = json.loads((await heard(wire))[2:])
        await heard(wire)
    claim = {"pid": answer["pid"], "offset": str(application.journal.offset(0))}
    async with opened(base_url, token=token(life=-1), **claim) as wire:
        refusal = json.loads((await heard(wire))[2:])
        assert refusal["data"]["code"] == "token_expired"
    async with opened(base_url, token=token(), **claim) as wire:
        assert json.loads((await heard(wire))[2:])["sid"] == answer["sid"]


async def test_a_flooding_user_is_refused_and_its_address_is_not(
    http_server: HttpServer, base_url: str, application: Application, clock: FakeClock
) -> None:
    async with opened(base_url, token=token()) as wire:
        sid = json.loads((await heard(wire))[2:])["sid"]
        await heard(wire)
        application._stop_flood(sid)
        assert (await wire.closing())[0] == 4101
    async with opened(base_url, token=token()) as wire:
        assert (await wire.closing())[0] == 4101
    async with opened(base_url, token=token("ben")) as wire:
        assert (await heard(wire)).startswith("40")
    clock.advance(5)
    async with opened(base_url, token=token()) as wire:
        assert (await heard(wire)).startswith("40")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        (
            "GTOWER_JWT_SECRET",
            "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----",
        ),
        (
            "GTOWER_JWT_PUBLIC_KEY",
            "-----BEGIN PUBLIC KEY-----\nbm9uc2Vuc2U=\n-----END PUBLIC KEY-----",
        ),
    ],
)
async def test_a_key_that_is_none_stops_the_start(
    io_loop: IOLoop, setting: str, value: str
) -> None:
    settings = Settings.load({"GTOWER_DATABASE_URL": "memory:", setting: value})
    with pytest.raises(SettingsError, match=setting):
        Application(settings)


class TestRates:
    @pytest.fixture
    def application(self, io_loop: IOLoop, clock: FakeClock) -> Application:
        return Application(Settings.load({**ENVIRON, "GTOWER_RATE_API": "2/3"}), clock=clock)

    async def test_a_key_that_is_used_too_fast_is_told_how_long_to_wait(
        self, http_server: HttpServer, base_url: str, clock: FakeClock, application: Application
    ) -> None:
        asked = [await ask_api(base_url, "GET", "/websocket/status") for _ in range(4)]
        assert [answer.code for answer in asked] == [200, 200, 200, 429]
        headers = asked[-1].headers
        assert json.loads(asked[-1].body)["error"]["code"] == "rate_limited"
        assert [
            headers[name] for name in ("Retry-After", "X-RateLimit-Limit", "X-RateLimit-Remaining")
        ] == ["1", "3", "0"]
        value = application.metrics.registry.get_sample_value
        assert value("gtower_rate_limited_total", {"rate": "api"}) == 1
        clock.advance(0.5)
        assert (await ask_api(base_url, "GET", "/websocket/status")).code == 200
