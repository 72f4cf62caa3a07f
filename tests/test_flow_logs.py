"""What the whole server logs: whose business a line is, and nothing that is secret."""

import io
import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
import structlog
from tornado.httpclient import AsyncHTTPClient, HTTPResponse

from gtower_realtime import logs
from gtower_realtime.application import Application
from tests.socketio_wire import open_client, open_wire
from tests.wire import until

pytestmark = [pytest.mark.gen_test, pytest.mark.usefixtures("http_server")]

KEY = "key-of-a-back-end-0123456789"
TOKEN_SECRET = "secret-that-tokens-are-signed-with-0123"
PAYLOAD = "what-an-agent-wrote"


@pytest.fixture
def level() -> str:
    return "debug"


@pytest.fixture
def log(level: str) -> Iterator[io.StringIO]:
    """Give what is logged as JSON, and put the former set-up back in the end."""
    root = logging.getLogger()
    handlers, former = root.handlers, root.level
    stream = io.StringIO()
    logs.configure(level, "json", stream)
    yield stream
    root.handlers = handlers
    root.setLevel(former)
    structlog.reset_defaults()


@pytest.fixture
def environ(log: io.StringIO) -> dict[str, str]:
    return {}


def lines(log: io.StringIO, event: str) -> list[dict[str, Any]]:
    """Return the lines about ``event``, without when and how grave."""
    found = [json.loads(line) for line in log.getvalue().splitlines()]
    return [
        {key: value for key, value in line.items() if key not in {"timestamp", "level", "logger"}}
        for line in found
        if line["event"] == event
    ]


async def fetch(url: str, body: Any = None, **headers: str) -> HTTPResponse:
    return await AsyncHTTPClient().fetch(
        url,
        method="GET" if body is None else "POST",
        body=None if body is None else json.dumps(body),
        headers={"Content-Type": "application/json", **headers},
        raise_error=False,
    )


def that_says(what: str, *, fails: bool = False) -> Any:
    """Return a method for the service that writes a line of its own."""

    def method(*_arguments: Any, **_options: Any) -> Any:
        structlog.get_logger("deep").info(what)
        logging.getLogger("library").info(what)
        if fails:
            raise KeyError(what)
        return {"room": "r"}

    return method


async def test_what_is_logged_for_a_request_has_its_id(
    application: Application, base_url: str, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(application.service.directory, "user", that_says("deep", fails=True))
    url = f"{base_url}/websocket/users/u1"
    assert (await fetch(url, **{"X-Request-Id": "mine-1"})).code == 500
    own = (await fetch(url)).headers["X-Request-Id"]
    assert [line["request_id"] for line in lines(log, "deep")] == ["mine-1"] * 2 + [own] * 2
    failed = lines(log, "request_failed")
    assert [line["request_id"] for line in failed] == ["mine-1", own]
    assert "KeyError: 'deep'" in failed[0]["exception"]
    assert [
        (line["request_id"], line["method"], line["route"], line["status"])
        for line in lines(log, "request")
    ] == [
        ("mine-1", "GET", "/websocket/users/:id", 500),
        (own, "GET", "/websocket/users/:id", 500),
    ]


async def test_what_is_logged_for_an_event_has_the_id_of_its_client(
    application: Application, base_url: str, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def after_a_while(*_arguments: Any, **_options: Any) -> Any:
        await application.journal.settled()
        return that_says("late")()

    monkeypatch.setattr(application.service, "join_room", that_says("deep", fails=True))
    monkeypatch.setattr(application.service, "read_room_history", after_a_while)
    async with open_client(base_url) as first, open_client(base_url) as second:
        await second.ask("joinRoom", "sales")
        await first.ask("joinRoom", "sales")
        await first.ask("history", {"room": "sales"})
        await second.ask("history", {"room": "sales"})
    assert [line["client_id"] for line in lines(log, "deep")] == [second.id] * 2 + [first.id] * 2
    assert [line["client_id"] for line in lines(log, "late")] == [first.id] * 2 + [second.id] * 2
    (failed,) = lines(log, "event_handler_failed")
    assert (failed["client_id"], failed["subject"]) == (second.id, "joinRoom")


async def test_the_id_of_a_client_does_not_stick_to_what_comes_after_its_event(
    application: Application, base_url: str, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    engineio = application.socketio.eio
    end_turn = engineio._end_turn

    def end_turn_and_say() -> None:
        structlog.get_logger("ours").info("turn")
        end_turn()

    monkeypatch.setattr(engineio, "_end_turn", end_turn_and_say)
    async with open_client(base_url) as client:
        await client.ask("joinRoom", "sales")
    assert lines(log, "turn")
    assert [line for line in lines(log, "turn") if "client_id" in line] == []


class TestSecrets:
    @pytest.fixture
    def environ(self, log: io.StringIO) -> dict[str, str]:
        return {
            "GTOWER_API_KEYS": f"shop:admin:{KEY}",
            "GTOWER_JWT_SECRET": TOKEN_SECRET,
            "GTOWER_AUTH": "required",
        }

    async def test_no_secret_and_no_payload_is_ever_logged(
        self,
        application: Application,
        base_url: str,
        log: io.StringIO,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        token = a_token()
        send = application.service.begin_send
        notice = {"type": "info", "title": PAYLOAD, "message": PAYLOAD}
        url = f"{base_url}/websocket/notify/room/sales"
        async with open_wire(base_url, query=f"&token={token}") as wire:
            _, connected = await wire.join(payload={"token": token})
            await wire.ask("joinRoom", "sales")
            await wire.ask("message", PAYLOAD)
            await wire.ask("roomMessage", {"room": PAYLOAD, "message": {"type": 5, "x": PAYLOAD}})
            await wire.emit("roomMessage", PAYLOAD)
            assert (await fetch(url, notice, **{"X-API-Key": KEY})).code == 201
            assert (
                await fetch(f"{url}?key={KEY}", {**notice, "x": 1}, Authorization=f"Bearer {KEY}")
            ).code == 400
            monkeypatch.setattr(application.service, "begin_send", that_says("deep", fails=True))
            assert (await fetch(url, notice, **{"X-API-Key": KEY})).code == 500
            monkeypatch.setattr(application.service, "begin_send", send)
            monkeypatch.setattr(application.service, "relay_message", that_says("x", fails=True))
            await wire.ask("message", PAYLOAD)
            monkeypatch.setattr(engineio_of(application), "admit", that_says("x", fails=True))
            await fetch(f"{base_url}/socket.io/?EIO=4&transport=polling&token={token}")
        await until(lambda: connected["clientId"] not in application.clients)
        written = log.getvalue()
        for event in ("connect", "request", "request_failed", "event_handler_failed", "refused"):
            assert lines(log, event)
        for secret in (KEY, TOKEN_SECRET, token, PAYLOAD):
            assert secret not in written


def engineio_of(application: Application) -> Any:
    return application.socketio.eio


def a_token(user_id: str = "agent-7") -> str:
    """Return a token that lets its client do everything."""
    claims = {
        "sub": user_id,
        "exp": time.time() + 600,
        "caps": [{"rooms": ["*"], "allow": ["join", "publish", "history", "presence"]}],
    }
    return jwt.encode(claims, TOKEN_SECRET, algorithm="HS256")


class TestTheUsualLevel:
    @pytest.fixture
    def level(self) -> str:
        return "info"

    async def test_usual_traffic_writes_nothing(self, base_url: str, log: io.StringIO) -> None:
        async with open_client(base_url) as client:
            await client.ask("joinRoom", "sales")
            await client.ask("joinRoom", "")
            await fetch(f"{base_url}/websocket/notify/room/sales", {})
            await fetch(f"{base_url}/nowhere")
        assert log.getvalue() == ""
