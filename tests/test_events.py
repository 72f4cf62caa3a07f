"""The two tables of events: what the server says, and what clients may say."""

import inspect
from typing import Any

import pytest

from gtower_realtime.errors import ReservedEvent, UnknownEvent, ValidationFailed
from gtower_realtime.events.client import CLIENT_EVENTS, client_event
from gtower_realtime.events.server import (
    SERVER_EVENTS,
    build_payload,
    check_publishable,
    server_event,
)
from gtower_realtime.service import RealtimeService
from tests.fakes import NOW, TS

ONLY_THE_SERVER = [
    "clientJoined",
    "clientLeft",
    "connected",
    "exception",
    "messageBroadcast",
    "messageReceived",
    "presence",
    "roomJoined",
    "roomLeft",
    "roomMessage",
    "serverShutdown",
    "tokenExpiring",
    "whatsappCustomerJoined",
    "whatsappCustomerLeft",
    "whatsappGeneralJoined",
]

FROM_BACKENDS = [
    "chatMessage",
    "conversationUpdate",
    "notification",
    "whatsappMessage",
    "whatsappMessageStatus",
    "whatsappMessageUpdate",
    "whatsappStatusUpdate",
]

SOCKET_IOS = [
    "connect",
    "connect_error",
    "disconnect",
    "disconnecting",
    "newListener",
    "removeListener",
]


# What the server says


def test_the_server_says_these_events_and_custom_ones() -> None:
    assert sorted(SERVER_EVENTS) == sorted(ONLY_THE_SERVER + FROM_BACKENDS)
    assert all(row.name == name and row.doc for name, row in SERVER_EVENTS.items())


def test_what_back_ends_send_and_what_clients_say_to_each_other_is_stored() -> None:
    stored = sorted(row.name for row in SERVER_EVENTS.values() if row.stored)
    assert stored == sorted([*FROM_BACKENDS, "messageBroadcast", "roomMessage"])
    assert server_event("dealWon").stored


@pytest.mark.parametrize("name", [*FROM_BACKENDS, "dealWon", "a", "e" * 128, "Connect", "öffnen"])
def test_back_ends_may_publish_these_names(name: str) -> None:
    check_publishable(name)


@pytest.mark.parametrize("name", ONLY_THE_SERVER)
def test_what_only_the_server_says_is_reserved(name: str) -> None:
    with pytest.raises(ReservedEvent) as caught:
        check_publishable(name)
    assert (caught.value.code, caught.value.http_status) == ("reserved_event", 400)
    assert caught.value.message == f"Only the server sends {name!r}; choose another event name."


@pytest.mark.parametrize("name", SOCKET_IOS)
def test_what_socket_io_says_is_reserved(name: str) -> None:
    with pytest.raises(ReservedEvent) as caught:
        check_publishable(name)
    assert (caught.value.code, caught.value.http_status) == ("reserved_event", 400)
    assert (
        caught.value.message == f"The event name {name!r} is reserved by Socket.IO; choose another."
    )


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("", "An event name must not be empty."),
        ("e" * 129, "An event name must have at most 128 characters."),
        ("a\x00", "An event name must not have control characters."),
        ("a\n", "An event name must not have control characters."),
    ],
)
def test_what_is_no_name_is_refused(name: str, sentence: str) -> None:
    with pytest.raises(ValidationFailed) as caught:
        check_publishable(name)
    assert (caught.value.message, caught.value.fields) == (
        f"event: {sentence}",
        {"event": [sentence]},
    )


NOTIFICATION = {"type": "info", "title": "t", "message": "m"}
CHAT = {"id": "m1", "senderId": "u1", "senderName": "Ann", "content": "hi"}


@pytest.mark.parametrize(
    ("name", "body", "payload"),
    [
        ("notification", NOTIFICATION, NOTIFICATION | {"timestamp": TS}),
        (
            "notification",
            NOTIFICATION | {"metadata": {"n": 1}},
            NOTIFICATION | {"metadata": {"n": 1}, "timestamp": TS},
        ),
        ("chatMessage", CHAT, CHAT | {"timestamp": TS}),
        ("chatMessage", CHAT | {"timestamp": None}, CHAT | {"timestamp": TS}),
        (
            "chatMessage",
            CHAT | {"timestamp": "2026-11-20T10:00:00+01:00"},
            CHAT | {"timestamp": "2026-11-20T09:00:00.000Z"},
        ),
        ("whatsappStatusUpdate", {"status": "ready"}, {"status": "ready", "timestamp": TS}),
        ("whatsappMessageUpdate", {"any": [1]}, {"any": [1], "timestamp": TS}),
        ("conversationUpdate", {}, {"timestamp": TS}),
        ("dealWon", {"value": None}, {"value": None, "timestamp": TS}),
        ("dealWon", {"timestamp": "mine"}, {"timestamp": TS}),
        ("whatsappMessageUpdate", {"timestamp": "mine"}, {"timestamp": TS}),
    ],
)
def test_the_payload_is_the_checked_body_with_a_timestamp(
    name: str, body: dict[str, Any], payload: dict[str, Any]
) -> None:
    before = dict(body)
    assert build_payload(name, body, NOW) == payload
    assert body == before


@pytest.mark.parametrize(
    ("name", "body", "field"),
    [
        ("notification", {"type": "info", "title": "t"}, "message"),
        ("notification", NOTIFICATION | {"timestamp": TS}, "timestamp"),
        ("chatMessage", CHAT | {"timestamp": "soon"}, "timestamp"),
        ("whatsappStatusUpdate", {}, "status"),
    ],
)
def test_a_body_that_does_not_fit_the_event_is_refused(
    name: str, body: dict[str, Any], field: str
) -> None:
    with pytest.raises(ValidationFailed) as caught:
        build_payload(name, body, NOW)
    assert list(caught.value.fields or ()) == [field]


# What clients may say


@pytest.mark.parametrize(
    ("name", "method", "arguments", "read"),
    [
        ("message", "relay_message", [{"a": 1}], {"message": {"a": 1}}),
        ("message", "relay_message", [None], {"message": None}),
        ("joinRoom", "join_room", ["sales"], {"room": "sales"}),
        ("joinRoom", "join_room", ["sales", "ignored", 3], {"room": "sales"}),
        ("leaveRoom", "leave_room", [{"roomName": "sales"}], {"room": "sales"}),
        (
            "roomMessage",
            "relay_room_message",
            [{"room": "sales", "message": 1}],
            {"room": "sales", "message": 1},
        ),
        ("joinWhatsAppGeneral", "join_whatsapp_general", [], {}),
        ("joinWhatsAppGeneral", "join_whatsapp_general", ["ignored"], {}),
        ("joinWhatsAppRoom", "join_whatsapp_general", [{"ignored": 1}], {}),
        ("joinWhatsAppCustomer", "join_whatsapp_customer", ["c42"], {"customer_id": "c42"}),
        (
            "leaveWhatsAppCustomer",
            "leave_whatsapp_customer",
            [{"customerId": "c42"}],
            {"customer_id": "c42"},
        ),
    ],
)
def test_an_event_of_a_client_names_a_method_and_reads_its_arguments(
    name: str, method: str, arguments: list[Any], read: dict[str, Any]
) -> None:
    row = client_event(name)
    assert (row.name, row.method) == (name, method)
    assert row.read(arguments) == read


def test_every_method_takes_what_its_event_reads() -> None:
    for row in CLIENT_EVENTS.values():
        fields = row.schema.fields if row.schema is not None else {}
        parameters = list(inspect.signature(getattr(RealtimeService, row.method)).parameters)
        assert parameters == ["self", "client_id", *fields]


@pytest.mark.parametrize(
    "name",
    [
        "message",
        "joinRoom",
        "leaveRoom",
        "roomMessage",
        "joinWhatsAppCustomer",
        "leaveWhatsAppCustomer",
    ],
)
def test_an_event_that_needs_an_argument_is_refused_without_one(name: str) -> None:
    with pytest.raises(ValidationFailed) as caught:
        client_event(name).read([])
    sentence = f"{name} needs an argument."
    assert (caught.value.message, caught.value.fields) == (sentence, {"_schema": [sentence]})


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("joinroom", "There is no client event 'joinroom'; the nearest is 'joinRoom'."),
        ("mesage", "There is no client event 'mesage'; the nearest is 'message'."),
        ("leaveroom ", "There is no client event 'leaveroom '; the nearest is 'leaveRoom'."),
        ("join_room", "There is no client event 'join_room'; the nearest is 'joinRoom'."),
    ],
)
def test_an_unknown_event_is_refused_naming_the_nearest(name: str, sentence: str) -> None:
    with pytest.raises(UnknownEvent) as caught:
        client_event(name)
    assert (caught.value.code, caught.value.message) == ("unknown_event", sentence)


@pytest.mark.parametrize("name", ["", "\x00", "€" * 64, "__init__", "notification", "state"])
def test_an_unknown_event_like_no_other_is_refused_all_the_same(name: str) -> None:
    with pytest.raises(UnknownEvent, match="There is no client event"):
        client_event(name)


def test_a_long_unknown_name_is_shown_shortened() -> None:
    with pytest.raises(UnknownEvent) as caught:
        client_event("x" * 1_000_000)
    assert len(caught.value.message) < 150
    assert f"'{'x' * 64}…'" in caught.value.message
