"""The product's tables, row by row, over real sockets: literal input, literal answers.

One table here for each table of the product document: client events (section 2), server events
(section 3), HTTP triggers, reads and refusals (section 4), limits (section 7). A row that the code
has and these tables do not is an error too.
"""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from unittest.mock import ANY

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop

from gtower_realtime.application import Application
from gtower_realtime.events.client import CLIENT_EVENTS
from gtower_realtime.events.server import SERVER_EVENTS
from gtower_realtime.names import user_room
from gtower_realtime.settings import Settings
from gtower_realtime.timestamps import SystemClock
from handlers.triggers import TRIGGERS
from tests.fakes import NOW, TS
from tests.socketio_wire import Event, Wire, open_client

pytestmark = pytest.mark.gen_test

RECEIPT = {"id": ANY, "recipients": 0, "pending": 0, "offset": ANY}


class StandingClock(SystemClock):
    """A clock whose wall time stands, so that timestamps are literal."""

    def now(self) -> datetime:
        return NOW


@pytest.fixture
def application(io_loop: IOLoop, environ: dict[str, str]) -> Application:
    """The server of production, at :data:`NOW`."""
    settings = Settings.load({"GTOWER_DATABASE_URL": "memory:", **environ})
    return Application(settings, StandingClock())


@dataclass
class World:
    """Three clients: ann in `desk`; ben in `sales`; cleo in none. Ben and cleo are user `u7`."""

    application: Application
    ann: Wire
    ben: Wire
    cleo: Wire

    def filled(self, value: Any) -> Any:
        """Return ``value`` with ``<ann>`` and the like replaced by their client ids."""
        if isinstance(value, str):
            for name in ("ann", "ben", "cleo"):
                value = value.replace(f"<{name}>", getattr(self, name).id)
            return value
        if isinstance(value, list | tuple):
            return type(value)(map(self.filled, value))
        if isinstance(value, dict):
            return {key: self.filled(item) for key, item in value.items()}
        return value

    async def heard(self) -> dict[str, list[Event]]:
        """Return what each has heard since the last call, without those that heard nothing."""
        await self.application.service.broadcast_event("end", {})
        heard = {name: await getattr(self, name).events_until("end") for name in ROLES}
        return {name: events for name, events in heard.items() if events}


ROLES = ("ann", "ben", "cleo")


@asynccontextmanager
async def three_clients(application: Application, base_url: str) -> AsyncIterator[World]:
    """Connect the three of :class:`World`, with nothing left unheard."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(open_client(base_url)) for _ in ROLES]
        world = World(application, *clients)
        await world.ann.ask("joinRoom", "desk")
        await world.ben.ask("joinRoom", "sales")
        for user in (world.ben, world.cleo):
            application.transport.enter_room(user.id, user_room("u7"))
        await world.heard()
        yield world


# Section 2: client events


@dataclass(frozen=True)
class Said:
    """Ann says ``event`` with ``arguments``: what it is acknowledged with, and who hears what."""

    event: str
    arguments: tuple[Any, ...]
    acknowledgement: dict[str, Any]
    heard: dict[str, list[Event]] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.event} {json.dumps(self.arguments)[:60]}"


def relayed(*arguments: Any) -> Said:
    """Return the row for a `message` that is relayed unchanged."""
    message = arguments[0]
    broadcast = ("messageBroadcast", {"from": "<ann>", "message": message, "timestamp": TS})
    return Said(
        "message",
        arguments,
        {"ok": True, **RECEIPT, "recipients": 2},
        {
            "ann": [("messageReceived", {"originalMessage": message, "receivedAt": TS})],
            "ben": [broadcast],
            "cleo": [broadcast],
        },
    )


def relayed_to_room(room: str, message: Any, *hearers: str) -> Said:
    """Return the row for a `roomMessage` that ``hearers`` get."""
    payload = {"from": "<ann>", "room": room, "message": message, "timestamp": TS}
    return Said(
        "roomMessage",
        ({"room": room, "message": message},),
        {"ok": True, **RECEIPT, "recipients": len(hearers)},
        {hearer: [("roomMessage", payload)] for hearer in hearers},
    )


def membership(event: str, arguments: tuple[Any, ...], told: str, room: str, **more: str) -> Said:
    """Return the row for an event after which only ann is told that she is in or out."""
    payload = {"room": room, **more, "timestamp": TS}
    return Said(event, arguments, {"ok": True, "room": room}, {"ann": [(told, payload)]})


CLIENT_EVENT_ROWS = [
    relayed("hello"),
    relayed({"type": "text", "text": "hello", "timestamp": "2026-11-23T12:28:18Z"}),
    relayed({"timestamp": "2026-11-23"}),
    relayed({"timestamp": "2026-11-23T12:28:18+01:00", "more": {"a": [1, 2.5, None]}}),
    relayed({"type": "t" * 64}),
    relayed({}),
    relayed([]),
    relayed(["a", {"b": True}]),
    relayed(""),
    relayed(0),
    relayed(2.5),
    relayed(False),
    relayed(None),
    relayed("hello", "ignored", 3),
    relayed({"room": "sales", "__proto__": {"a": 1}, "constructor": "x"}),
    membership("joinRoom", ("lobby",), "roomJoined", "lobby"),
    membership("joinRoom", ("desk",), "roomJoined", "desk"),
    membership("joinRoom", ({"roomName": "lobby"},), "roomJoined", "lobby"),
    membership("joinRoom", ({"roomName": "lobby", "more": 1}, "ignored"), "roomJoined", "lobby"),
    membership("joinRoom", ("r" * 200,), "roomJoined", "r" * 200),
    membership("joinRoom", ("Müller & Söhne/🙂",), "roomJoined", "Müller & Söhne/🙂"),
    membership("leaveRoom", ("desk",), "roomLeft", "desk"),
    membership("leaveRoom", ({"roomName": "desk"},), "roomLeft", "desk"),
    membership("leaveRoom", ("never joined",), "roomLeft", "never joined"),
    relayed_to_room("desk", "to my own", "ann"),
    relayed_to_room("sales", {"type": "text", "text": "from outside"}, "ben"),
    relayed_to_room("sales", None, "ben"),
    relayed_to_room("empty", "nobody"),
    membership("joinWhatsAppGeneral", (), "whatsappGeneralJoined", "whatsapp:general"),
    membership("joinWhatsAppGeneral", ({"a": 1},), "whatsappGeneralJoined", "whatsapp:general"),
    membership("joinWhatsAppRoom", (), "whatsappGeneralJoined", "whatsapp:general"),
    membership("joinWhatsAppRoom", ("x",), "whatsappGeneralJoined", "whatsapp:general"),
    membership(
        "joinWhatsAppCustomer",
        ("c42",),
        "whatsappCustomerJoined",
        "whatsapp:customer:c42",
        customerId="c42",
    ),
    membership(
        "joinWhatsAppCustomer",
        ({"customerId": "c42"},),
        "whatsappCustomerJoined",
        "whatsapp:customer:c42",
        customerId="c42",
    ),
    membership(
        "leaveWhatsAppCustomer",
        ("c42",),
        "whatsappCustomerLeft",
        "whatsapp:customer:c42",
        customerId="c42",
    ),
    membership(
        "leaveWhatsAppCustomer",
        ({"customerId": "c42"},),
        "whatsappCustomerLeft",
        "whatsapp:customer:c42",
        customerId="c42",
    ),
    Said(
        "history",
        ({"room": "empty", "limit": 1},),
        {"ok": True, "room": "empty", "events": [], "more": False},
    ),
]


@pytest.mark.parametrize("row", CLIENT_EVENT_ROWS, ids=str)
async def test_a_client_event_does_and_answers_what_its_row_says(
    application: Application, http_server: HTTPServer, base_url: str, row: Said
) -> None:
    async with three_clients(application, base_url) as world:
        answer = await world.ann.ask(row.event, *row.arguments)
        assert answer == [row.acknowledgement]
        assert await world.heard() == world.filled(row.heard)

        await world.ann.emit(row.event, *row.arguments)
        await world.ann.ask("leaveRoom", "after it")
        repeated = await world.heard()
        assert repeated.pop("ann")[-1][0] == "roomLeft"
        unasked = world.filled(row.heard)
        unasked.pop("ann", None)
        assert repeated == unasked


def test_every_client_event_has_its_row() -> None:
    # Here both are refused; what they do with tokens and presence rooms is in test_flow_tokens and
    # test_flow_rooms.
    elsewhere = {"auth:refresh", "presence"}
    assert {row.event for row in CLIENT_EVENT_ROWS} == set(CLIENT_EVENTS) - elsewhere
    assert {row.event for row in REFUSED_CLIENT_EVENTS} >= {
        name for name, row in CLIENT_EVENTS.items() if row.schema is not None
    }


@dataclass(frozen=True)
class Refused:
    """Ann says what is refused: the error in the acknowledgement, and in the `exception`."""

    event: str
    arguments: tuple[Any, ...]
    code: str
    message: str
    fields: dict[str, list[str]] | None = None

    def __str__(self) -> str:
        return f"{self.event} {json.dumps(self.arguments)[:60]}"

    def error(self) -> dict[str, Any]:
        """Return what the acknowledgement holds under ``error``."""
        details = {} if self.fields is None else {"fields": self.fields}
        return {"code": self.code, "message": self.message, "retryable": False, **details}

    def exception(self) -> dict[str, Any]:
        """Return the payload of `exception`."""
        details = {} if self.fields is None else {"fields": self.fields}
        return {
            "status": "error",
            "event": self.event,
            "code": self.code,
            "message": self.message,
            **details,
            "timestamp": TS,
        }


def invalid(event: str, arguments: tuple[Any, ...], path: str, sentence: str) -> Refused:
    """Return the row for one wrong field; ``path`` empty speaks of the argument as a whole."""
    message = f"{path}: {sentence}" if path else sentence
    return Refused(event, arguments, "validation_error", message, {path or "_schema": [sentence]})


def server_room(event: str, argument: Any, room: str) -> Refused:
    """Return the row for a room that belongs to the server."""
    message = f"The room '{room}' belongs to the server; choose another name."
    return Refused(event, (argument,), "forbidden", message)


NEITHER_ROOM_FORM = "Must be a string or an object with 'roomName'."
NEITHER_CUSTOMER_FORM = "Must be a string or an object with 'customerId'."

REFUSED_CLIENT_EVENTS = [
    invalid("auth:refresh", (), "", "auth:refresh needs an argument."),
    invalid("presence", ({},), "room", "Missing data for required field."),
    invalid("auth:refresh", ({},), "token", "Missing data for required field."),
    invalid("message", (), "", "message needs an argument."),
    invalid("message", ({"type": 5},), "type", "Not a valid string."),
    invalid("message", ({"type": ""},), "type", "Length must be between 1 and 64."),
    invalid("message", ({"type": "t" * 65},), "type", "Length must be between 1 and 64."),
    invalid("message", ({"type": None},), "type", "Field may not be null."),
    invalid("message", ({"timestamp": 5},), "timestamp", "Not an ISO 8601 time."),
    invalid("message", ({"timestamp": None},), "timestamp", "Field may not be null."),
    invalid(
        "message",
        ({"timestamp": "yesterday"},),
        "timestamp",
        "Not an ISO 8601 time (its form is not like 2026-11-23T12:28:18.953Z).",
    ),
    invalid("roomMessage", (), "", "roomMessage needs an argument."),
    invalid("roomMessage", ("sales",), "", "Must be an object."),
    invalid("roomMessage", (None,), "", "Must be an object."),
    invalid("roomMessage", ([],), "", "Must be an object."),
    invalid("roomMessage", ({"message": "m"},), "room", "Missing data for required field."),
    invalid("roomMessage", ({"room": "r"},), "message", "Missing data for required field."),
    invalid("roomMessage", ({"room": None, "message": "m"},), "room", "Field may not be null."),
    invalid("roomMessage", ({"room": {}, "message": "m"},), "room", "Not a valid string."),
    invalid("roomMessage", ({"room": ["a"], "message": "m"},), "room", "Not a valid string."),
    invalid("roomMessage", ({"room": "", "message": "m"},), "room", "A name must not be empty."),
    invalid(
        "roomMessage",
        ({"room": "r" * 201, "message": "m"},),
        "room",
        "A name must have at most 200 characters.",
    ),
    invalid(
        "roomMessage",
        ({"room": "r", "message": {"type": 5}},),
        "message.type",
        "Not a valid string.",
    ),
    server_room("roomMessage", {"room": "user:u7", "message": "m"}, "user:u7"),
    server_room("roomMessage", {"room": "<ben>", "message": "m"}, "<ben>"),
    server_room("roomMessage", {"room": "<ann>", "message": "m"}, "<ann>"),
    invalid("history", (), "", "history needs an argument."),
    invalid("history", ("sales",), "", "Must be an object."),
    invalid("history", ({},), "room", "Missing data for required field."),
    invalid("history", ({"room": "r", "after": "zz"},), "after", "Is not an offset of this log."),
    server_room("history", {"room": "user:u7"}, "user:u7"),
    server_room("history", {"room": "<ben>"}, "<ben>"),
    *(
        row
        for event in ("joinRoom", "leaveRoom")
        for row in (
            invalid(event, (), "", f"{event} needs an argument."),
            invalid(event, (None,), "", NEITHER_ROOM_FORM),
            invalid(event, (5,), "", NEITHER_ROOM_FORM),
            invalid(event, (["a"],), "", NEITHER_ROOM_FORM),
            invalid(event, ({},), "roomName", "Missing data for required field."),
            invalid(event, ({"room": "a"},), "roomName", "Missing data for required field."),
            invalid(event, ({"roomName": None},), "roomName", "Field may not be null."),
            invalid(event, ({"roomName": 5},), "roomName", "Not a valid string."),
            invalid(event, ("",), "roomName", "A name must not be empty."),
            invalid(event, ("r" * 201,), "roomName", "A name must have at most 200 characters."),
            invalid(event, ("a\u0000",), "roomName", "A name must not have control characters."),
            invalid(event, ("a\nb",), "roomName", "A name must not have control characters."),
            server_room(event, "user:u7", "user:u7"),
            server_room(event, {"roomName": "user:"}, "user:"),
            server_room(event, "<ann>", "<ann>"),
            server_room(event, "<ben>", "<ben>"),
        )
    ),
    *(
        row
        for event in ("joinWhatsAppCustomer", "leaveWhatsAppCustomer")
        for row in (
            invalid(event, (), "", f"{event} needs an argument."),
            invalid(event, (None,), "", NEITHER_CUSTOMER_FORM),
            invalid(event, (42,), "", NEITHER_CUSTOMER_FORM),
            invalid(event, ({},), "customerId", "Missing data for required field."),
            invalid(event, ({"customerId": 42},), "customerId", "Not a valid string."),
            invalid(event, ("",), "customerId", "A name must not be empty."),
            invalid(event, ("c" * 181,), "customerId", "A name must have at most 180 characters."),
        )
    ),
    Refused(
        "joinroom",
        ("sales",),
        "unknown_event",
        "There is no client event 'joinroom'; the nearest is 'joinRoom'.",
    ),
    Refused(
        "joinWhatsappGeneral",
        (),
        "unknown_event",
        "There is no client event 'joinWhatsappGeneral'; the nearest is 'joinWhatsAppGeneral'.",
    ),
    Refused(
        "messageBroadcast",
        ({"forged": True},),
        "unknown_event",
        "There is no client event 'messageBroadcast'; the nearest is 'message'.",
    ),
    Refused("", (), "unknown_event", ANY),
    Refused("__proto__", (), "unknown_event", ANY),
    Refused("e" * 128, (), "unknown_event", ANY),
]


@pytest.mark.parametrize("row", REFUSED_CLIENT_EVENTS, ids=str)
async def test_a_refused_client_event_is_told_once_and_does_nothing(
    application: Application, http_server: HTTPServer, base_url: str, row: Refused
) -> None:
    async with three_clients(application, base_url) as world:
        arguments = world.filled(row.arguments)
        answer = await world.ann.ask(row.event, *arguments)
        assert answer == [{"ok": False, "error": world.filled(row.error())}]
        assert await world.heard() == {}

        await world.ann.emit(row.event, *arguments)
        await world.ann.ask("leaveRoom", "after it")
        heard = await world.heard()
        assert heard == {"ann": [("exception", world.filled(row.exception())), ANY]}
        assert application.transport.rooms_of(world.ann.id) == ["desk"]


async def test_a_refused_event_with_a_longer_name_than_any_is_told_by_its_beginning(
    application: Application, http_server: HTTPServer, base_url: str
) -> None:
    async with open_client(base_url) as client:
        await client.emit("e" * 5000)
        name, payload = await client.next_event()
    assert (name, payload["event"]) == ("exception", "e" * 128)
    assert len(payload["message"]) < 200


# Section 3: server events


@dataclass(frozen=True)
class ServerRow:
    """Whether the event is stored, whether back-ends may publish it, its literal payload.

    ``publish`` is the body it is published with, None for those that only the server says.
    """

    is_stored: bool
    publish: dict[str, Any] | None = None
    payload: dict[str, Any] | None = None


NOTICE = {"type": "info", "title": "Hi", "message": "there"}
CHAT = {"id": "m1", "senderId": "u1", "senderName": "Ann", "content": "hello"}

SERVER_EVENT_ROWS = {
    "connected": ServerRow(is_stored=False),
    "clientJoined": ServerRow(is_stored=False),
    "clientLeft": ServerRow(is_stored=False),
    "messageReceived": ServerRow(is_stored=False),
    "messageBroadcast": ServerRow(is_stored=True),
    "roomJoined": ServerRow(is_stored=False),
    "roomLeft": ServerRow(is_stored=False),
    "roomMessage": ServerRow(is_stored=True),
    "notification": ServerRow(True, NOTICE, {**NOTICE, "timestamp": TS}),
    "chatMessage": ServerRow(True, CHAT, {**CHAT, "timestamp": TS}),
    "whatsappStatusUpdate": ServerRow(
        True,
        {"status": "connected", "metadata": {"a": 1}},
        {"status": "connected", "metadata": {"a": 1}, "timestamp": TS},
    ),
    "whatsappMessageUpdate": ServerRow(
        True, {"any": ["thing"], "timestamp": "mine"}, {"any": ["thing"], "timestamp": TS}
    ),
    "conversationUpdate": ServerRow(True, {}, {"timestamp": TS}),
    "whatsappMessage": ServerRow(True, {"any": 1}, {"any": 1, "timestamp": TS}),
    "whatsappMessageStatus": ServerRow(True, {"any": 1}, {"any": 1, "timestamp": TS}),
    "whatsappGeneralJoined": ServerRow(is_stored=False),
    "whatsappCustomerJoined": ServerRow(is_stored=False),
    "whatsappCustomerLeft": ServerRow(is_stored=False),
    "exception": ServerRow(is_stored=False),
    "tokenExpiring": ServerRow(is_stored=False),
    "serverShutdown": ServerRow(is_stored=False),
    "presence": ServerRow(is_stored=False),
}


def test_every_server_event_has_its_row() -> None:
    assert {name: row.stored for name, row in SERVER_EVENTS.items()} == {
        name: row.is_stored for name, row in SERVER_EVENT_ROWS.items()
    }


@pytest.mark.parametrize(
    "name", [name for name, row in SERVER_EVENT_ROWS.items() if row.publish is not None]
)
async def test_a_server_event_of_back_ends_has_its_payload(
    application: Application, http_server: HTTPServer, base_url: str, name: str
) -> None:
    row = SERVER_EVENT_ROWS[name]
    async with three_clients(application, base_url) as world:
        answer = await post(base_url, f"/websocket/event/room/sales/{name}", row.publish)
        assert answer.code == 201
        assert body(answer)["offset"]
        assert await world.heard() == {"ben": [(name, row.payload)]}


@pytest.mark.parametrize(
    "name", [name for name, row in SERVER_EVENT_ROWS.items() if row.publish is None]
)
async def test_a_server_event_that_only_the_server_says_is_refused_from_http(
    application: Application, http_server: HTTPServer, base_url: str, name: str
) -> None:
    async with three_clients(application, base_url) as world:
        answer = await post(base_url, f"/websocket/event/broadcast/{name}", {})
        assert_refused(
            answer,
            400,
            "reserved_event",
            f"Only the server sends '{name}'; choose another event name.",
        )
        assert await world.heard() == {}


PROTOCOL_NAMES = [
    "connect",
    "connect_error",
    "disconnect",
    "disconnecting",
    "newListener",
    "removeListener",
]


@pytest.mark.parametrize("name", PROTOCOL_NAMES)
@pytest.mark.parametrize("path", ["broadcast", "client/<ann>", "room/sales", "user/u7"])
async def test_a_name_of_the_protocol_is_refused_from_http(
    application: Application, http_server: HTTPServer, base_url: str, path: str, name: str
) -> None:
    async with three_clients(application, base_url) as world:
        answer = await post(base_url, f"/websocket/event/{world.filled(path)}/{name}", {})
        assert_refused(
            answer,
            400,
            "reserved_event",
            f"The event name '{name}' is reserved by Socket.IO; choose another.",
        )
        assert await world.heard() == {}


@pytest.mark.parametrize("name", PROTOCOL_NAMES)
async def test_a_name_of_the_protocol_closes_the_connection_of_a_client(
    application: Application, http_server: HTTPServer, base_url: str, name: str
) -> None:
    async with three_clients(application, base_url) as world:
        await world.ann.emit(name, "client disconnect")
        assert (await world.ann.closing())[0] == 1002
        gone = ("clientLeft", {"clientId": world.ann.id, "timestamp": TS})
        assert await world.ben.next_event() == gone


async def test_connected_is_the_first_event_and_the_others_hear_of_it(
    application: Application, http_server: HTTPServer, base_url: str
) -> None:
    async with open_client(base_url) as old, open_client(base_url, "/") as wire:
        assert await old.next_event() == ("clientJoined", {"clientId": wire.id, "timestamp": TS})
        async with open_client(base_url) as third:
            assert await wire.next_event() == (
                "clientJoined",
                {"clientId": third.id, "timestamp": TS},
            )
            third.close()
            assert await wire.next_event() == (
                "clientLeft",
                {"clientId": third.id, "timestamp": TS},
            )


async def test_connected_has_its_payload(
    application: Application, http_server: HTTPServer, base_url: str
) -> None:
    async with three_clients(application, base_url) as world:
        again = world.ann
        await again.say("41")
        assert await again.join() == (
            "connected",
            {
                "message": "Successfully connected to WebSocket server",
                "clientId": again.id,
                "timestamp": TS,
                "recovered": False,
            },
        )


async def test_server_shutdown_is_told_to_all_while_draining(
    application: Application, http_server: HTTPServer, base_url: str
) -> None:
    async with three_clients(application, base_url) as world:
        application.service.drain(10)
        for client in (world.ann, world.ben, world.cleo):
            name, payload = await client.next_event()
            assert name == "serverShutdown"
            assert payload == {"reconnectInMs": ANY, "timestamp": TS}
            assert 0 <= payload["reconnectInMs"] <= 10_000


# Section 4: triggers


async def post(
    base_url: str, path: str, content: Any = None, raw: bytes | None = None, **headers: str
) -> HTTPResponse:
    """Post JSON, or the bytes of ``raw`` as they are."""
    if raw is None:
        raw = b"" if content is None else json.dumps(content).encode()
    lines = {"Content-Type": "application/json", **headers}
    return await AsyncHTTPClient().fetch(
        base_url + path, method="POST", body=raw, headers=lines, raise_error=False
    )


async def get(base_url: str, path: str, method: str = "GET", **headers: str) -> HTTPResponse:
    """Ask for ``path``."""
    return await AsyncHTTPClient().fetch(
        base_url + path,
        method=method,
        headers=headers,
        raise_error=False,
        allow_nonstandard_methods=True,
    )


def body(answer: HTTPResponse) -> Any:
    """Return the JSON that was answered."""
    return json.loads(answer.body)


def assert_refused(
    answer: HTTPResponse,
    status: int,
    code: str,
    message: Any,
    fields: dict[str, list[str]] | None = None,
    *,
    retryable: bool = False,
) -> None:
    """Check the whole of a refusal."""
    details = {} if fields is None else {"fields": fields}
    assert answer.code == status
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert body(answer) == {
        "success": False,
        "message": message,
        "error": {"code": code, "message": message, "retryable": retryable, **details},
        "requestId": answer.headers["X-Request-Id"],
    }


@dataclass(frozen=True)
class TriggerRow:
    """An endpoint, a body for it, the message of its answer, and who hears what."""

    template: str
    path: str
    content: dict[str, Any]
    message: str
    event: str
    payload: dict[str, Any]
    hearers: tuple[str, ...]

    def __str__(self) -> str:
        return self.template


NOTIFIED = ("notification", {**NOTICE, "timestamp": TS})
CHATTED = ("chatMessage", {**CHAT, "timestamp": TS})
WON = ("dealWon", {"deal": {"id": 7}, "timestamp": TS})
DEAL = {"deal": {"id": 7}}

TRIGGER_ROWS = [
    TriggerRow(
        "/websocket/notify/client/:clientId",
        "/websocket/notify/client/<ann>",
        NOTICE,
        "Notification sent to client <ann>",
        *NOTIFIED,
        ("ann",),
    ),
    TriggerRow(
        "/websocket/notify/room/:roomName",
        "/websocket/notify/room/sales",
        NOTICE,
        "Notification sent to room sales",
        *NOTIFIED,
        ("ben",),
    ),
    TriggerRow(
        "/websocket/notify/user/:userId",
        "/websocket/notify/user/u7",
        NOTICE,
        "Notification sent to user u7",
        *NOTIFIED,
        ("ben", "cleo"),
    ),
    TriggerRow(
        "/websocket/notify/broadcast",
        "/websocket/notify/broadcast",
        NOTICE,
        "Notification broadcasted to all clients",
        *NOTIFIED,
        ROLES,
    ),
    TriggerRow(
        "/websocket/chat/client/:clientId",
        "/websocket/chat/client/<cleo>",
        CHAT,
        "Chat message sent to client <cleo>",
        *CHATTED,
        ("cleo",),
    ),
    TriggerRow(
        "/websocket/chat/room/:roomName",
        "/websocket/chat/room/desk",
        CHAT,
        "Chat message sent to room desk",
        *CHATTED,
        ("ann",),
    ),
    TriggerRow(
        "/websocket/chat/user/:userId",
        "/websocket/chat/user/u7",
        CHAT,
        "Chat message sent to user u7",
        *CHATTED,
        ("ben", "cleo"),
    ),
    TriggerRow(
        "/websocket/event/client/:clientId/:eventName",
        "/websocket/event/client/<ann>/dealWon",
        DEAL,
        "Custom event 'dealWon' sent to client <ann>",
        *WON,
        ("ann",),
    ),
    TriggerRow(
        "/websocket/event/room/:roomName/:eventName",
        "/websocket/event/room/sales/dealWon",
        DEAL,
        "Custom event 'dealWon' sent to room sales",
        *WON,
        ("ben",),
    ),
    TriggerRow(
        "/websocket/event/user/:userId/:eventName",
        "/websocket/event/user/u7/dealWon",
        DEAL,
        "Custom event 'dealWon' sent to user u7",
        *WON,
        ("ben", "cleo"),
    ),
    TriggerRow(
        "/websocket/event/broadcast/:eventName",
        "/websocket/event/broadcast/dealWon",
        DEAL,
        "Custom event 'dealWon' broadcasted to all clients",
        *WON,
        ROLES,
    ),
    TriggerRow(
        "/websocket/whatsapp/status/:clientId",
        "/websocket/whatsapp/status/<ben>",
        {"status": "connected", "metadata": {"phone": "1"}},
        "WhatsApp status update sent to client <ben>",
        "whatsappStatusUpdate",
        {"status": "connected", "metadata": {"phone": "1"}, "timestamp": TS},
        ("ben",),
    ),
    TriggerRow(
        "/websocket/whatsapp/message/:clientId",
        "/websocket/whatsapp/message/<ben>",
        {"messageId": "w1", "timestamp": "1999"},
        "WhatsApp message update sent to client <ben>",
        "whatsappMessageUpdate",
        {"messageId": "w1", "timestamp": TS},
        ("ben",),
    ),
    TriggerRow(
        "/websocket/conversation/:clientId",
        "/websocket/conversation/<ben>",
        {"conversationId": 5, "unread": [1, 2]},
        "Conversation update sent to client <ben>",
        "conversationUpdate",
        {"conversationId": 5, "unread": [1, 2], "timestamp": TS},
        ("ben",),
    ),
]

TEMPLATES = [row.template for row in TRIGGER_ROWS]
CLIENT_TEMPLATES = [template for template in TEMPLATES if ":clientId" in template]


def test_every_trigger_has_its_row() -> None:
    assert [row.path for row in TRIGGERS] == TEMPLATES


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("row", TRIGGER_ROWS, ids=str)
async def test_a_trigger_answers_201_and_reaches_whom_it_names(
    application: Application, http_server: HTTPServer, base_url: str, row: TriggerRow, slash: str
) -> None:
    async with three_clients(application, base_url) as world:
        answer = await post(base_url, world.filled(row.path) + slash, row.content)
        assert answer.code == 201
        assert body(answer) == {
            "success": True,
            "message": world.filled(row.message),
            **RECEIPT,
            "recipients": len(row.hearers),
        }
        assert await world.heard() == {
            hearer: [(row.event, world.filled(row.payload))] for hearer in row.hearers
        }


@pytest.mark.parametrize(
    "template", [template for template in TEMPLATES if "broadcast" not in template]
)
async def test_a_trigger_for_nobody_is_a_success_unless_it_is_for_one_client(
    application: Application, http_server: HTTPServer, base_url: str, template: str
) -> None:
    row = next(row for row in TRIGGER_ROWS if row.template == template)
    path = template.replace(":eventName", "dealWon")
    for parameter in (":clientId", ":roomName", ":userId"):
        path = path.replace(parameter, "nobody")
    answer = await post(base_url, path, row.content)
    if ":clientId" in template:
        assert_refused(answer, 404, "unknown_client", "Client nobody is not connected.")
    else:
        assert (answer.code, body(answer)["recipients"]) == (201, 0)


WITHOUT_SCHEMA = [
    "/websocket/event/broadcast/dealWon",
    "/websocket/event/room/sales/dealWon",
    "/websocket/event/user/u7/dealWon",
    "/websocket/event/client/<ben>/dealWon",
    "/websocket/whatsapp/message/<ben>",
    "/websocket/conversation/<ben>",
]


@pytest.mark.parametrize("path", WITHOUT_SCHEMA)
async def test_no_body_is_an_empty_object(
    application: Application, http_server: HTTPServer, base_url: str, path: str
) -> None:
    async with three_clients(application, base_url) as world:
        assert (await post(base_url, world.filled(path))).code == 201
        (_event, payload) = (await world.heard())["ben"][0]
        assert payload == {"timestamp": TS}


BAD_BODIES = [
    (b"{", "invalid_json", ANY, None),
    (b"{} {}", "invalid_json", ANY, None),
    (b"'a'", "invalid_json", ANY, None),
    (b'{"a":NaN}', "invalid_json", ANY, None),
    (b'{"a":Infinity}', "invalid_json", ANY, None),
    (b'{"a":1e999}', "invalid_json", ANY, None),
    (b'{"a":"\\ud800"}', "invalid_json", ANY, None),
    (b'{"a":"\xff"}', "invalid_json", ANY, None),
    (b'{"a":' + b"[" * 32 + b"]" * 32 + b"}", "invalid_json", ANY, None),
    (b'{"a":' * 5000 + b"1" + b"}" * 5000, "invalid_json", ANY, None),
    *(
        (
            value,
            "validation_error",
            "The body must be a JSON object.",
            {"_schema": ["The body must be a JSON object."]},
        )
        for value in (b"[]", b"null", b"5", b'"text"', b"true")
    ),
]


@pytest.mark.parametrize("template", TEMPLATES)
async def test_a_bad_body_is_refused_on_every_trigger(
    application: Application, http_server: HTTPServer, base_url: str, template: str
) -> None:
    path = next(row.path for row in TRIGGER_ROWS if row.template == template)
    async with three_clients(application, base_url) as world:
        for content, code, message, fields in BAD_BODIES:
            answer = await post(base_url, world.filled(path), raw=content)
            assert_refused(answer, 400, code, message, fields)
        assert await world.heard() == {}


async def test_a_body_may_nest_32_levels(
    application: Application, http_server: HTTPServer, base_url: str
) -> None:
    content = b'{"a":' + b"[" * 31 + b"]" * 31 + b"}"
    answer = await post(base_url, "/websocket/event/broadcast/deep", raw=content)
    assert answer.code == 201


REQUIRED = "Missing data for required field."
UNKNOWN = "Unknown field."
NOT_TEXT = "Not a valid string."
NOT_NULL = "Field may not be null."
WRONG_TYPE = "Must be one of: info, success, warning, error."

BAD_FIELDS = [
    ("notify/broadcast", {}, {"type": REQUIRED, "title": REQUIRED, "message": REQUIRED}),
    ("notify/broadcast", {**NOTICE, "type": "loud"}, {"type": WRONG_TYPE}),
    ("notify/broadcast", {**NOTICE, "type": None}, {"type": NOT_NULL}),
    ("notify/broadcast", {**NOTICE, "title": 5}, {"title": NOT_TEXT}),
    ("notify/broadcast", {**NOTICE, "message": None}, {"message": NOT_NULL}),
    ("notify/broadcast", {**NOTICE, "metadata": []}, {"metadata": "Must be a JSON object."}),
    ("notify/broadcast", {**NOTICE, "metadata": "m"}, {"metadata": "Must be a JSON object."}),
    ("notify/broadcast", {**NOTICE, "titel": "t"}, {"titel": UNKNOWN}),
    ("notify/broadcast", {**NOTICE, "timestamp": TS}, {"timestamp": UNKNOWN}),
    (
        "chat/room/sales",
        {},
        {"id": REQUIRED, "senderId": REQUIRED, "senderName": REQUIRED, "content": REQUIRED},
    ),
    ("chat/room/sales", {**CHAT, "id": 5}, {"id": NOT_TEXT}),
    ("chat/room/sales", {**CHAT, "content": None}, {"content": NOT_NULL}),
    ("chat/room/sales", {**CHAT, "timestamp": 5}, {"timestamp": "Not an ISO 8601 time."}),
    (
        "chat/room/sales",
        {**CHAT, "timestamp": "soon"},
        {"timestamp": "Not an ISO 8601 time (its form is not like 2026-11-23T12:28:18.953Z)."},
    ),
    ("chat/room/sales", {**CHAT, "roomId": 5}, {"roomId": NOT_TEXT}),
    ("chat/room/sales", {**CHAT, "text": "t"}, {"text": UNKNOWN}),
    ("whatsapp/status/<ben>", {}, {"status": REQUIRED}),
    ("whatsapp/status/<ben>", {"status": 5}, {"status": NOT_TEXT}),
    (
        "whatsapp/status/<ben>",
        {"status": "s", "metadata": 5},
        {"metadata": "Must be a JSON object."},
    ),
    ("whatsapp/status/<ben>", {"status": "s", "more": 5}, {"more": UNKNOWN}),
    # A name that has a schema is checked by it on every path.
    ("event/broadcast/notification", {**NOTICE, "type": "loud"}, {"type": WRONG_TYPE}),
    ("event/room/sales/chatMessage", {**CHAT, "text": "t"}, {"text": UNKNOWN}),
    ("event/client/<ben>/whatsappStatusUpdate", {}, {"status": REQUIRED}),
    ("event/user/u7/notification", {**NOTICE, "more": 1}, {"more": UNKNOWN}),
]


@pytest.mark.parametrize(("path", "content", "wrong"), BAD_FIELDS)
async def test_a_wrong_field_is_named_and_nobody_hears_anything(
    application: Application,
    http_server: HTTPServer,
    base_url: str,
    path: str,
    content: dict[str, Any],
    wrong: dict[str, str],
) -> None:
    async with three_clients(application, base_url) as world:
        answer = await post(base_url, world.filled(f"/websocket/{path}"), content)
        first_path, first_sentence = next(iter(wrong.items()))
        fields = {path: [sentence] for path, sentence in wrong.items()}
        assert_refused(answer, 400, "validation_error", f"{first_path}: {first_sentence}", fields)
        assert await world.heard() == {}


GOOD_FIELDS = [
    (
        "notify/broadcast",
        {**NOTICE, "metadata": {"a": {"b": [1, None]}}},
        {**NOTICE, "metadata": {"a": {"b": [1, None]}}, "timestamp": TS},
    ),
    ("notify/broadcast", {**NOTICE, "metadata": None}, {**NOTICE, "timestamp": TS}),
    ("chat/room/sales", {**CHAT, "timestamp": None, "roomId": None}, {**CHAT, "timestamp": TS}),
    (
        "chat/room/sales",
        {**CHAT, "timestamp": "2026-11-23T13:28:18+01:00", "roomId": "sales"},
        {**CHAT, "timestamp": "2026-11-23T12:28:18.000Z", "roomId": "sales"},
    ),
    (
        "chat/room/sales",
        {**CHAT, "timestamp": "2026-11-23"},
        {**CHAT, "timestamp": "2026-11-23T00:00:00.000Z"},
    ),
    ("whatsapp/status/<ben>", {"status": "s", "metadata": None}, {"status": "s", "timestamp": TS}),
    ("whatsapp/status/<ben>", {"status": ""}, {"status": "", "timestamp": TS}),
    (
        "event/broadcast/dealWon",
        {"timestamp": "mine", "a": None, "__proto__": {"b": 1}},
        {"timestamp": TS, "a": None, "__proto__": {"b": 1}},
    ),
]


@pytest.mark.parametrize(("path", "content", "payload"), GOOD_FIELDS)
async def test_optional_fields_may_be_null_and_timestamps_are_the_servers(
    application: Application,
    http_server: HTTPServer,
    base_url: str,
    path: str,
    content: dict[str, Any],
    payload: dict[str, Any],
) -> None:
    async with three_clients(application, base_url) as world:
        answer = await post(base_url, world.filled(f"/websocket/{path}"), content)
        assert answer.code == 201
        assert (await world.heard())["ben"][0][1] == payload


NAMES_IN_PATHS = [
    ("event/room/M%C3%BCller%20%26%20S%C3%B6hne/e", "Müller & Söhne"),
    ("event/room/a%2Fb/e", "a/b"),
    ("event/room/a%252Fb/e", "a%2Fb"),
    ("event/room/a+b/e", "a+b"),
    ("event/room/%F0%9F%99%82/e", "🙂"),
]


@pytest.mark.parametrize(("path", "room"), NAMES_IN_PATHS)
async def test_a_name_in_a_path_is_percent_decoded_once(
    application: Application, http_server: HTTPServer, base_url: str, path: str, room: str
) -> None:
    async with open_client(base_url) as client:
        await client.ask("joinRoom", room)
        answer = await post(base_url, f"/websocket/{path}")
        assert body(answer)["message"] == f"Custom event 'e' sent to room {room}"
        assert body(answer)["recipients"] == 1


BAD_NAMES = [
    ("notify/room/" + "r" * 201, "roomName in the path must have at most 200 characters."),
    ("notify/room/a%0Ab", "roomName in the path must not have control characters."),
    ("notify/room/a%00", "roomName in the path must not have control characters."),
    ("notify/user/" + "u" * 201, "userId in the path must have at most 200 characters."),
    ("notify/client/" + "c" * 201, "clientId in the path must have at most 200 characters."),
    ("event/broadcast/" + "e" * 129, "eventName in the path must have at most 128 characters."),
    ("event/broadcast/a%7Fb", "eventName in the path must not have control characters."),
    ("event/room/a%0Ab/e", "roomName in the path must not have control characters."),
    ("notify/room/%FF", "The URL has a part that is not UTF-8."),
]


@pytest.mark.parametrize(("path", "message"), BAD_NAMES, ids=lambda value: value[:40])
async def test_a_bad_name_in_a_path_is_refused(
    application: Application, http_server: HTTPServer, base_url: str, path: str, message: str
) -> None:
    answer = await post(base_url, f"/websocket/{path}", NOTICE)
    assert_refused(answer, 400, "invalid_name", message)


# Section 4: reads


async def test_status_counts_the_clients(
    application: Application, http_server: HTTPServer, base_url: str
) -> None:
    answer = await get(base_url, "/websocket/status")
    assert (answer.code, body(answer)) == (
        200,
        {"connectedClients": 0, "status": "active", "timestamp": TS},
    )
    async with three_clients(application, base_url):
        assert body(await get(base_url, "/websocket/status/"))["connectedClients"] == 3


async def test_clients_are_listed_in_order_of_connection(
    application: Application, http_server: HTTPServer, base_url: str
) -> None:
    assert body(await get(base_url, "/websocket/clients")) == []
    agent = {"User-Agent": "Agent/1.0"}
    async with open_client(base_url, **agent) as first, open_client(base_url) as second:
        await first.ask("joinRoom", "b")
        await first.ask("joinRoom", "a")
        application.transport.enter_room(second.id, "c")
        described = body(await get(base_url, "/websocket/clients"))
        assert described[0] == {
            "id": first.id,
            "connectedAt": TS,
            "metadata": {"userAgent": "Agent/1.0", "ip": "127.0.0.1"},
            "rooms": ["b", "a"],
            "transport": "websocket",
        }
        assert (described[1]["id"], described[1]["rooms"]) == (second.id, ["c"])


async def test_clients_come_in_pages(
    application: Application, http_server: HTTPServer, base_url: str
) -> None:
    async with three_clients(application, base_url) as world:
        ids = [world.ann.id, world.ben.id, world.cleo.id]

        async def page(query: str) -> list[str]:
            return [
                client["id"] for client in body(await get(base_url, f"/websocket/clients?{query}"))
            ]

        assert await page("limit=2") == ids[:2]
        assert await page(f"limit=2&after={ids[1]}") == ids[2:]
        assert await page(f"after={ids[0]}") == ids[1:]
        assert await page(f"after={ids[2]}") == []
        assert await page("limit=1000") == ids
        world.ben.close()
        await world.ann.next_event()
        assert await page(f"after={ids[1]}") == ids[2:]


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "1.5", "x", "", "%EF%BC%91", "9" * 5000])
async def test_a_limit_out_of_range_is_refused(
    application: Application, http_server: HTTPServer, base_url: str, limit: str
) -> None:
    answer = await get(base_url, f"/websocket/clients?limit={limit}")
    sentence = "Must be a whole number from 1 to 1000."
    assert_refused(answer, 400, "validation_error", f"limit: {sentence}", {"limit": [sentence]})


async def test_paging_after_a_client_that_never_was_is_refused(
    application: Application, http_server: HTTPServer, base_url: str
) -> None:
    answer = await get(base_url, "/websocket/clients?after=nobody")
    sentence = "There is no such client."
    assert_refused(answer, 400, "validation_error", f"after: {sentence}", {"after": [sentence]})


async def test_the_status_of_a_client_says_whether_it_is_connected(
    application: Application, http_server: HTTPServer, base_url: str
) -> None:
    async with three_clients(application, base_url) as world:
        for client_id, is_connected in ((world.ann.id, True), ("nobody", False)):
            answer = await get(base_url, f"/websocket/clients/{client_id}/status")
            assert (answer.code, body(answer)) == (
                200,
                {"clientId": client_id, "connected": is_connected, "timestamp": TS},
            )


# Section 4: refusals


NOT_THERE = ["/nothing", "/websocket", "/websocket/notify/room", "/websocket/notify/room/", "//"]


@pytest.mark.parametrize("path", NOT_THERE)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_an_unknown_path_is_not_found(
    application: Application, http_server: HTTPServer, base_url: str, method: str, path: str
) -> None:
    answer = await get(base_url, path, method)
    message = "There is nothing at this path; / leads to what there is."
    assert_refused(answer, 404, "not_found", message)


WRONG_METHODS = [
    *(("GET", path, "POST") for path in ("notify/broadcast", "chat/room/r", "conversation/c")),
    *((method, "notify/broadcast", "POST") for method in ("PUT", "PATCH", "DELETE")),
    *((method, "status", "GET") for method in ("POST", "PUT", "DELETE", "PATCH")),
    ("POST", "clients", "GET"),
    ("DELETE", "clients/c/status", "GET"),
]


@pytest.mark.parametrize(("method", "path", "allowed"), WRONG_METHODS)
async def test_a_wrong_method_is_refused_with_the_right_one(
    application: Application,
    http_server: HTTPServer,
    base_url: str,
    method: str,
    path: str,
    allowed: str,
) -> None:
    answer = await get(base_url, f"/websocket/{path}", method)
    message = f"{method} is not allowed here; use {allowed}."
    assert_refused(answer, 405, "method_not_allowed", message)
    assert answer.headers["Allow"] == f"{allowed}, OPTIONS"


MEDIA_TYPES = [
    ("application/json", 201),
    ("application/json; charset=utf-8", 201),
    ("APPLICATION/JSON", 201),
    ("application/vnd.gtower+json", 201),
    ("application/x-www-form-urlencoded", 415),
    ("text/plain", 415),
    ("multipart/form-data; boundary=x", 415),
    ("application/jsonp", 415),
]


@pytest.mark.parametrize(("media_type", "status"), MEDIA_TYPES)
async def test_a_body_that_is_declared_as_something_else_than_json_is_refused(
    application: Application, http_server: HTTPServer, base_url: str, media_type: str, status: int
) -> None:
    headers = {"Content-Type": media_type}
    answer = await post(base_url, "/websocket/notify/broadcast", NOTICE, **headers)
    if status == 201:
        assert answer.code == 201
    else:
        message = (
            f"The body is declared as '{media_type}'; send JSON with "
            "-H 'Content-Type: application/json'."
        )
        assert_refused(answer, 415, "unsupported_media_type", message)


async def test_a_server_that_drains_refuses_with_503(
    application: Application, http_server: HTTPServer, base_url: str
) -> None:
    async with open_client(base_url) as client:
        application.service.drain(0)
        answer = await post(base_url, f"/websocket/notify/client/{client.id}", NOTICE)
        assert_refused(answer, 503, "draining", "The server is going down.", retryable=True)
        assert answer.headers["Retry-After"] == "1"
        assert body(await get(base_url, "/websocket/status"))["status"] == "draining"


@pytest.mark.parametrize(
    ("proposed", "is_kept"),
    [
        ("req-1.a:b_C", True),
        ("r" * 128, True),
        ("r" * 129, False),
        ("a b", False),
        ("é", False),
        ("", False),
    ],
)
async def test_every_answer_carries_a_request_id(
    application: Application, http_server: HTTPServer, base_url: str, proposed: str, is_kept: bool
) -> None:
    headers = {"X-Request-Id": proposed}
    answers = [
        await get(base_url, "/websocket/status", **headers),
        await get(base_url, "/nothing", **headers),
        await get(base_url, "/websocket/status", "PUT", **headers),
        await get(base_url, "/", **headers),
        await post(base_url, "/websocket/notify/broadcast", NOTICE, **headers),
        await post(base_url, "/websocket/notify/broadcast", {}, **headers),
    ]
    ids = [answer.headers["X-Request-Id"] for answer in answers]
    if is_kept:
        assert set(ids) == {proposed}
    else:
        assert len(set(ids)) == len(ids)
        assert all(len(request_id) == 16 for request_id in ids)


async def test_a_fault_of_ours_shows_no_internals(
    application: Application,
    http_server: HTTPServer,
    base_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail() -> None:
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr(application.service, "status", fail)
    answer = await get(base_url, "/websocket/status")
    assert_refused(
        answer, 500, "internal_error", "The server failed; try again later.", retryable=True
    )


# Section 7: limits


@pytest.mark.parametrize("environ", [{"GTOWER_MAX_ROOMS_PER_CLIENT": "2"}])
async def test_a_client_is_in_so_many_rooms_and_no_more(
    application: Application, http_server: HTTPServer, base_url: str
) -> None:
    message = "You are in 2 rooms, as many as one client may be; leave one first."
    error = {"code": "too_many_rooms", "message": message, "retryable": False}
    refused = [{"ok": False, "error": error}]
    async with open_client(base_url) as client:
        application.transport.enter_room(client.id, user_room("u1"))
        assert await client.ask("joinRoom", "a") == [{"ok": True, "room": "a"}]
        assert (await client.ask("joinWhatsAppGeneral"))[0]["ok"]
        assert await client.ask("joinRoom", "b") == refused
        assert await client.ask("joinWhatsAppCustomer", "c42") == refused
        assert await client.ask("joinRoom", "a") == [{"ok": True, "room": "a"}]
        await client.ask("leaveRoom", "a")
        assert await client.ask("joinRoom", "b") == [{"ok": True, "room": "b"}]


@pytest.mark.parametrize("environ", [{"GTOWER_MAX_ROOMS_PER_CLIENT": "0"}])
async def test_without_a_limit_a_client_is_in_any_number_of_rooms(
    application: Application, http_server: HTTPServer, base_url: str
) -> None:
    async with open_client(base_url) as client:
        for number in range(150):
            assert (await client.ask("joinRoom", f"r{number}"))[0]["ok"]


@pytest.mark.parametrize("environ", [{"GTOWER_MAX_BODY_BYTES": "100"}])
@pytest.mark.parametrize("template", TEMPLATES)
async def test_a_body_over_the_limit_is_too_large(
    application: Application, http_server: HTTPServer, base_url: str, template: str
) -> None:
    path = next(row.path for row in TRIGGER_ROWS if row.template == template)
    async with three_clients(application, base_url) as world:
        answer = await post(base_url, world.filled(path), raw=b'{"a":"' + b"a" * 93 + b'"}')
        message = "The body has more than 100 bytes, the limit here."
        assert_refused(answer, 413, "too_large", message)
        assert await world.heard() == {}


@pytest.mark.parametrize("environ", [{"GTOWER_MAX_BODY_BYTES": "100"}])
async def test_a_body_of_exactly_the_limit_is_taken(
    application: Application, http_server: HTTPServer, base_url: str
) -> None:
    raw = b'{"a":"' + b"a" * 92 + b'"}'
    assert len(raw) == 100
    assert (await post(base_url, "/websocket/event/broadcast/e", raw=raw)).code == 201


@pytest.mark.parametrize("levels", [32, 33])
async def test_an_argument_may_nest_32_levels(
    application: Application, http_server: HTTPServer, base_url: str, levels: int
) -> None:
    async with open_client(base_url) as client:
        await client.say('421["message",' + "[" * levels + "]" * levels + "]")
        if levels == 32:
            assert (await client.next_event())[0] == "messageReceived"
        else:
            assert (await client.closing())[0] == 1002


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
async def test_a_number_that_is_not_finite_closes_the_connection(
    application: Application, http_server: HTTPServer, base_url: str, number: str
) -> None:
    async with open_client(base_url) as client:
        await client.say(f'42["message",{number}]')
        assert (await client.closing())[0] == 1002


@pytest.mark.parametrize("environ", [{"GTOWER_MAX_MESSAGE_BYTES": "1000"}])
async def test_a_message_over_the_limit_closes_with_1009(
    application: Application, http_server: HTTPServer, base_url: str
) -> None:
    async with open_client(base_url) as client:
        frame = len('42["message",""]')
        await client.say(f'42["message","{"m" * (1000 - frame)}"]')
        assert (await client.next_event())[0] == "messageReceived"
        await client.say(f'42["message","{"m" * (1001 - frame)}"]')
        assert (await client.closing())[0] == 1009
