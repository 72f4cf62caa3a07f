"""The AsyncAPI document: valid, complete, and what a running server says and answers."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from jsonschema import Draft7Validator
from tornado.httpclient import AsyncHTTPClient
from tornado.ioloop import IOLoop

from gtower_realtime.application import Application
from gtower_realtime.events.client import CLIENT_EVENTS
from gtower_realtime.events.server import SERVER_EVENTS
from gtower_realtime.http1.server import HttpServer
from gtower_realtime.settings import Settings
from handlers import asyncapi
from tests.documented import Documented
from tests.javascript_client import ROOT
from tests.socketio_wire import Wire, open_wire

DOCUMENT = asyncapi.document()
SPECIFICATION = ROOT / "node_modules" / "@asyncapi" / "specs" / "schemas" / "3.0.0.json"
SECRET = "a-secret-of-at-least-32-bytes-for-tests"
ALL = [{"rooms": ["*"], "allow": ["join", "publish", "history", "presence"]}]


def messages(channel: str) -> dict[str, dict[str, Any]]:
    """Return the messages of a channel by the names that they have on the wire."""
    return {one["name"]: one for one in DOCUMENT["channels"][channel]["messages"].values()}


@pytest.mark.gen_test
async def test_the_server_serves_the_document(http_client: AsyncHTTPClient, base_url: str) -> None:
    answer = await http_client.fetch(f"{base_url}/asyncapi.json")
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert json.loads(answer.body) == DOCUMENT


def test_the_document_is_as_the_specification_wants_it() -> None:
    assert SPECIFICATION.is_file(), "@asyncapi/specs is missing: run `make install`"
    specification = json.loads(SPECIFICATION.read_text(encoding="utf-8"))
    problems = [
        f"{one.json_path}: {one.message[:200]}"
        for one in Draft7Validator(specification).iter_errors(DOCUMENT)
    ]
    assert problems == []


def test_every_event_of_the_tables_is_in_the_document() -> None:
    assert list(messages("clientEvents")) == list(CLIENT_EVENTS)
    assert list(messages("acknowledgements")) == list(CLIENT_EVENTS)
    assert list(messages("serverEvents")) == [*SERVER_EVENTS, "customEvent"]
    assert len(DOCUMENT["operations"]) == len(CLIENT_EVENTS) + len(SERVER_EVENTS) + 1


def test_every_reference_of_an_operation_leads_somewhere() -> None:
    documented = Documented(DOCUMENT)
    for operation in DOCUMENT["operations"].values():
        said = [*operation["messages"], *operation.get("reply", {}).get("messages", [])]
        assert all(documented.resolved(one)["name"] for one in said)


def test_every_event_has_examples_that_are_as_its_schema_says() -> None:
    documented = Documented(DOCUMENT)
    problems = []
    for channel in DOCUMENT["channels"]:
        for name, message in messages(channel).items():
            assert message["examples"], name
            for example in message["examples"]:
                found = documented.problems(message["payload"], example["payload"])
                problems += [f"{channel} {name}: {one}" for one in found]
    assert problems == []


@pytest.mark.parametrize(
    ("event", "argument"),
    [
        ("joinRoom", ""),
        ("joinRoom", {"room": "sales"}),
        ("joinRoom", 7),
        ("roomMessage", {"room": "sales"}),
        ("history", {"room": "sales", "limit": 301}),
        ("message", {"type": 7}),
    ],
)
def test_a_wrong_argument_is_not_as_documented(event: str, argument: Any) -> None:
    assert Documented(DOCUMENT).problems(messages("clientEvents")[event]["payload"], argument)


def test_recorded_events_and_the_first_one_carry_an_offset() -> None:
    with_offset = {name for name, one in messages("serverEvents").items() if "x-offset" in one}
    assert with_offset == {
        "connected",
        "messageBroadcast",
        "roomMessage",
        "notification",
        "chatMessage",
        "whatsappStatusUpdate",
        "whatsappMessageUpdate",
        "conversationUpdate",
        "whatsappMessage",
        "whatsappMessageStatus",
        "customEvent",
    }


class Recorder:
    """Keeps what a wire hears, and what it has asked, in order."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.events: list[tuple[str, list[Any]]] = []
        self.answers: list[tuple[str, Any]] = []
        listen = wire.hear

        async def hear() -> str | None:
            heard = await listen()
            if heard is not None and heard.startswith("42"):
                name, *arguments = json.loads(heard[2:])
                self.events.append((name, arguments))
            return heard

        wire.hear = hear  # type: ignore[method-assign]

    async def ask(self, event: str, *arguments: Any) -> Any:
        """Send an event and return its acknowledgement."""
        [answer] = await self.wire.ask(event, *arguments)
        self.answers.append((event, answer))
        return answer


class TestRunningServer:
    """What a server says in a day of two clients with tokens."""

    @pytest.fixture
    def application(self, io_loop: IOLoop) -> Application:
        environ = {
            "GTOWER_DATABASE_URL": "memory:",
            "GTOWER_JWT_SECRET": SECRET,
            "GTOWER_PRESENCE_ROOMS": "support",
        }
        return Application(Settings.load(environ))

    @pytest.mark.gen_test
    async def test_everything_that_is_said_and_answered_is_as_documented(
        self, application: Application, http_server: HttpServer, base_url: str
    ) -> None:
        def token(sub: str, life: float, caps: Any) -> str:
            end = (datetime.now(UTC) + timedelta(seconds=life)).timestamp()
            claims = {"sub": sub, "exp": end, "caps": caps, "info": {"name": sub}}
            return jwt.encode(claims, SECRET, algorithm="HS256")

        service = application.service
        async with open_wire(base_url) as first, open_wire(base_url) as second:
            ann, ben = Recorder(first), Recorder(second)
            await ann.wire.join("/", {"token": token("ann", 20, ALL)})
            assert await ann.wire.events_until("tokenExpiring") == []
            await ann.ask("auth:refresh", {"token": token("ann", 300, ALL)})
            await ben.wire.join("/", {"token": token("ben", 300, ALL)})
            await ann.wire.events_until("clientJoined")
            since = service.position("support")["offset"]
            await ann.ask("joinRoom", "support")
            await ann.ask("joinRoom", {"roomName": "desk", "since": since})
            await ann.ask("leaveRoom", "desk")
            await ann.ask("roomMessage", {"room": "support", "message": [1, None]})
            await ann.ask("message", {"type": "text"})
            await ann.ask("joinWhatsAppGeneral")
            await ann.ask("joinWhatsAppRoom")
            await ann.ask("joinWhatsAppCustomer", "c42")
            await ann.ask("leaveWhatsAppCustomer", "c42")
            await ann.ask("history", {"room": "support"})
            await ben.ask("joinRoom", "support")
            await ann.wire.events_until("presence")
            await ann.ask("presence", {"room": "support"})
            for event in ("message", "joinRoom", "history", "presence", "auth:refresh"):
                assert not (await ann.ask(event))["ok"]
            await ann.wire.emit("joinRoom", {"roomName": ""})
            await ann.wire.events_until("exception")
            for name, row in SERVER_EVENTS.items():
                if row.from_backends:
                    body = {"a": 1} if row.schema is None else row.schema.example
                    await service.broadcast_event(name, body)
            await service.broadcast_event("customEvent", {"a": 1})
            await ann.ask("auth:refresh", {"token": token("ann", 300, [])})
            second.close()
            await ann.wire.events_until("clientLeft")
            service.drain(10)
            await ann.wire.events_until("serverShutdown")
        self._check_events([*ann.events, *ben.events])
        self._check_answers([*ann.answers, *ben.answers])

    def _check_events(self, heard: list[tuple[str, list[Any]]]) -> None:
        documented, rows = Documented(DOCUMENT), messages("serverEvents")
        for name, arguments in heard:
            assert documented.problems(rows[name]["payload"], arguments[0]) == [], name
            offsets = [documented.problems(rows[name]["x-offset"], one) for one in arguments[1:]]
            assert offsets == ([[]] if "x-offset" in rows[name] else []), name
        assert {name for name, _ in heard} == set(rows)
        left = [arguments[0] for name, arguments in heard if name == "roomLeft"]
        assert "not allowed by the token" in {one.get("reason") for one in left}

    def _check_answers(self, answers: list[tuple[str, Any]]) -> None:
        documented, rows = Documented(DOCUMENT), messages("acknowledgements")
        for name, answer in answers:
            assert documented.problems(rows[name]["payload"], answer) == [], name
        assert {name for name, answer in answers if answer["ok"]} == set(rows)
        assert any(not answer["ok"] for _, answer in answers)
