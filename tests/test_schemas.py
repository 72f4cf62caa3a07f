"""The shapes of what comes in: each schema against good and bad values."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import Schema

from gtower_realtime.errors import ValidationFailed
from gtower_realtime.schemas import (
    ArgumentSchema,
    ChatMessageSchema,
    CustomerArgument,
    DisconnectSchema,
    HistoryArgument,
    JoinArgument,
    MessageArgument,
    MessageSchema,
    NotificationSchema,
    RoomArgument,
    RoomMessageArgument,
    WhatsAppStatusSchema,
    load,
)
from tests.fakes import TS

NOTIFICATION = NotificationSchema()
CHAT = ChatMessageSchema()
STATUS = WhatsAppStatusSchema()
ROOM = RoomArgument()
CUSTOMER = CustomerArgument()
MESSAGE = MessageArgument()
ROOM_MESSAGE = RoomMessageArgument()

GOOD: dict[Schema, dict[str, Any]] = {
    NOTIFICATION: {"type": "info", "title": "t", "message": "m"},
    CHAT: {"id": "m1", "senderId": "u1", "senderName": "Ann", "content": "hi"},
    STATUS: {"status": "connected"},
    ROOM: {"roomName": "sales"},
    CUSTOMER: {"customerId": "c42"},
    MESSAGE: {},
    ROOM_MESSAGE: {"room": "sales", "message": "hi"},
}

MISSING = "Missing data for required field."
NO_STRING = "Not a valid string."
NULL = "Field may not be null."
UNKNOWN = "Unknown field."
NUL = "Must not have a NUL character."
EMPTY = "A name must not be empty."
TOO_LONG = "A name must have at most 200 characters."
CONTROL = "A name must not have control characters."
OBJECT = "Must be a JSON object."
NO_TIME = "Not an ISO 8601 time."
ODD_TIME = "Not an ISO 8601 time (its form is not like 2026-11-23T12:28:18.953Z)."
TYPES = "Must be one of: info, success, warning, error."
LENGTH = "Length must be between 1 and 64."
ROOM_FORM = "Must be a string or an object with 'roomName'."
CUSTOMER_FORM = "Must be a string or an object with 'customerId'."


def refusal_of(schema: Schema, value: Any) -> ValidationFailed:
    with pytest.raises(ValidationFailed) as caught:
        load(schema, value)
    assert (caught.value.code, caught.value.http_status) == ("validation_error", 400)
    return caught.value


@pytest.mark.parametrize(
    ("schema", "changed"),
    [
        (NOTIFICATION, {}),
        (NOTIFICATION, {"type": "success"}),
        (NOTIFICATION, {"type": "warning"}),
        (NOTIFICATION, {"type": "error"}),
        (NOTIFICATION, {"title": "", "message": "ä€😀\n"}),
        (NOTIFICATION, {"metadata": {}}),
        (NOTIFICATION, {"metadata": {"a": {"b": [1, None]}, "__proto__": 1, "k" * 128: 2}}),
        (CHAT, {}),
        (CHAT, {"roomId": "r1", "timestamp": TS}),
        (STATUS, {}),
        (STATUS, {"metadata": {"n": 1}}),
    ],
)
def test_a_good_body_is_read_as_it_is(schema: Schema, changed: dict[str, Any]) -> None:
    body = GOOD[schema] | changed
    assert load(schema, body) == body


@pytest.mark.parametrize(
    ("schema", "nulls"),
    [
        (NOTIFICATION, {"metadata": None}),
        (CHAT, {"roomId": None, "timestamp": None}),
        (STATUS, {"metadata": None}),
    ],
)
def test_an_optional_field_that_is_null_is_left_out(schema: Schema, nulls: dict[str, None]) -> None:
    body = GOOD[schema] | nulls
    assert load(schema, body) == GOOD[schema]
    assert body == GOOD[schema] | nulls


def test_the_time_of_a_chat_message_is_read_as_utc() -> None:
    body = GOOD[CHAT] | {"timestamp": "2026-11-23T14:28:18.953+02:00"}
    assert load(CHAT, body) == GOOD[CHAT] | {"timestamp": TS}


@pytest.mark.parametrize(
    ("schema", "argument", "read"),
    [
        (ROOM, "sales", {"room": "sales"}),
        (ROOM, {"roomName": "sales"}, {"room": "sales"}),
        (ROOM, {"roomName": "sales", "more": 1}, {"room": "sales"}),
        (ROOM, "r" * 200, {"room": "r" * 200}),
        (CUSTOMER, "c42", {"customer_id": "c42"}),
        (CUSTOMER, {"customerId": "c42", "more": 1}, {"customer_id": "c42"}),
        (CUSTOMER, "c" * 180, {"customer_id": "c" * 180}),
        (ROOM_MESSAGE, {"room": "r", "message": 1, "more": 1}, {"room": "r", "message": 1}),
    ],
)
def test_a_good_argument_is_read(schema: Schema, argument: Any, read: dict[str, Any]) -> None:
    assert load(schema, argument) == read


@pytest.mark.parametrize(
    "message",
    [
        None,
        "hello",
        "",
        0,
        1.5,
        True,
        [],
        {},
        ["type", {"type": 5}],
        {"type": "t"},
        {"type": "t" * 64, "timestamp": TS},
        {"timestamp": "2026-11-23"},
        {"nested": {"type": 5, "timestamp": "no"}, "message": 1, "room": None},
    ],
)
def test_a_message_is_any_json_value_and_is_not_changed(message: Any) -> None:
    assert load(MESSAGE, message) == {"message": message}
    argument = {"room": "sales", "message": message}
    assert load(ROOM_MESSAGE, argument) == argument


@pytest.mark.parametrize(
    ("schema", "changed", "path", "sentence"),
    [
        (NOTIFICATION, {"type": "fatal"}, "type", TYPES),
        (NOTIFICATION, {"type": "INFO"}, "type", TYPES),
        (NOTIFICATION, {"type": ["info"]}, "type", NO_STRING),
        (NOTIFICATION, {"type": None}, "type", NULL),
        (NOTIFICATION, {"title": 5}, "title", NO_STRING),
        (NOTIFICATION, {"title": None}, "title", NULL),
        (NOTIFICATION, {"message": "a\x00"}, "message", NUL),
        (NOTIFICATION, {"messsage": "m"}, "messsage", UNKNOWN),
        (NOTIFICATION, {"timestamp": TS}, "timestamp", UNKNOWN),
        (NOTIFICATION, {"metadata": []}, "metadata", OBJECT),
        (NOTIFICATION, {"metadata": "{}"}, "metadata", OBJECT),
        (
            NOTIFICATION,
            {"metadata": {"k" * 129: 1}},
            "metadata",
            "Keys must have at most 128 characters.",
        ),
        (
            NOTIFICATION,
            {"metadata": {"a\x00": 1}},
            "metadata",
            "Keys must not have a NUL character.",
        ),
        (CHAT, {"id": 5}, "id", NO_STRING),
        (CHAT, {"senderId": None}, "senderId", NULL),
        (CHAT, {"senderName": "\x00"}, "senderName", NUL),
        (CHAT, {"content": {"a": 1}}, "content", NO_STRING),
        (CHAT, {"timestamp": 1764073698}, "timestamp", NO_TIME),
        (CHAT, {"timestamp": "now"}, "timestamp", ODD_TIME),
        (CHAT, {"roomId": 5}, "roomId", NO_STRING),
        (CHAT, {"room": "r"}, "room", UNKNOWN),
        (STATUS, {"status": True}, "status", NO_STRING),
        (STATUS, {"phone": "1"}, "phone", UNKNOWN),
        (STATUS, {"x" * 1000: 1}, "x" * 128, UNKNOWN),
        (ROOM, {"roomName": None}, "roomName", NULL),
        (ROOM, {"roomName": ["sales"]}, "roomName", NO_STRING),
        (ROOM, {"roomName": ""}, "roomName", EMPTY),
        (ROOM, {"roomName": "r" * 201}, "roomName", TOO_LONG),
        (ROOM, {"roomName": "a\nb"}, "roomName", CONTROL),
        (CUSTOMER, {"customerId": None}, "customerId", NULL),
        (CUSTOMER, {"customerId": "\x00"}, "customerId", CONTROL),
        (
            CUSTOMER,
            {"customerId": "c" * 181},
            "customerId",
            "A name must have at most 180 characters.",
        ),
        (MESSAGE, {"type": 5}, "type", NO_STRING),
        (MESSAGE, {"type": None}, "type", NULL),
        (MESSAGE, {"type": ""}, "type", LENGTH),
        (MESSAGE, {"type": "t" * 65}, "type", LENGTH),
        (MESSAGE, {"timestamp": 5}, "timestamp", NO_TIME),
        (MESSAGE, {"timestamp": "soon"}, "timestamp", ODD_TIME),
        (ROOM_MESSAGE, {"room": None}, "room", NULL),
        (ROOM_MESSAGE, {"room": ""}, "room", EMPTY),
        (ROOM_MESSAGE, {"room": {}}, "room", NO_STRING),
        (ROOM_MESSAGE, {"message": {"type": 5}}, "message.type", NO_STRING),
        (ROOM_MESSAGE, {"message": {"timestamp": "soon"}}, "message.timestamp", ODD_TIME),
    ],
)
def test_a_wrong_field_is_refused_by_its_path(
    schema: Schema, changed: dict[str, Any], path: str, sentence: str
) -> None:
    refusal = refusal_of(schema, GOOD[schema] | changed)
    assert refusal.fields == {path: [sentence]}
    assert refusal.message == f"{path}: {sentence}"


@pytest.mark.parametrize(
    ("schema", "value", "sentence"),
    [
        (NOTIFICATION, [], OBJECT),
        (NOTIFICATION, None, OBJECT),
        (NOTIFICATION, "info", OBJECT),
        (CHAT, 5, OBJECT),
        (STATUS, True, OBJECT),
        (ROOM, None, ROOM_FORM),
        (ROOM, 5, ROOM_FORM),
        (ROOM, ["sales"], ROOM_FORM),
        (CUSTOMER, None, CUSTOMER_FORM),
        (CUSTOMER, 42, CUSTOMER_FORM),
        (ROOM_MESSAGE, None, "Must be an object."),
        (ROOM_MESSAGE, "sales", "Must be an object."),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_as_a_whole(
    schema: Schema, value: Any, sentence: str
) -> None:
    refusal = refusal_of(schema, value)
    assert (refusal.message, refusal.fields) == (sentence, {"_schema": [sentence]})


@pytest.mark.parametrize(
    ("schema", "value", "fields"),
    [
        (NOTIFICATION, {}, ["type", "title", "message"]),
        (CHAT, {"roomId": "r1"}, ["id", "senderId", "senderName", "content"]),
        (STATUS, {}, ["status"]),
        (ROOM, {"room": "sales"}, ["roomName"]),
        (ROOM, {"RoomName": "sales"}, ["roomName"]),
        (CUSTOMER, {"customer_id": "c42"}, ["customerId"]),
        (ROOM_MESSAGE, {}, ["room", "message"]),
        (ROOM_MESSAGE, {"room": "sales"}, ["message"]),
    ],
)
def test_all_missing_fields_are_named_together(
    schema: Schema, value: dict[str, Any], fields: list[str]
) -> None:
    refusal = refusal_of(schema, value)
    assert refusal.fields == {field: [MISSING] for field in fields}
    assert refusal.message == f"{fields[0]}: {MISSING}"


def test_at_most_twenty_fields_are_named() -> None:
    refusal = refusal_of(STATUS, {f"x{number}": 1 for number in range(50)})
    assert refusal.fields is not None
    assert len(refusal.fields) == 20


def test_a_body_of_very_many_fields_is_not_looked_at() -> None:
    refusal = refusal_of(NOTIFICATION, {f"x{number}": 1 for number in range(101)})
    assert refusal.fields == {"_schema": ["Must have at most 100 fields."]}


def test_null_in_an_argument_is_as_if_the_field_were_absent() -> None:
    assert load(HistoryArgument(), {"room": "r", "after": None, "limit": None}) == {"room": "r"}
    assert load(JoinArgument(), {"roomName": "r", "since": None}) == {"room": "r", "since": None}


@given(
    st.sampled_from(
        [MessageArgument, RoomArgument, JoinArgument, CustomerArgument, RoomMessageArgument]
    ),
    st.recursive(
        st.none() | st.integers() | st.text(max_size=3) | st.just("x" * 190) | st.just("a\n"),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(["room", "roomName", "message", "type", "clientMsgId", "a"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=4,
    ),
)
def test_a_glance_at_an_argument_sees_what_the_schema_reads(
    kind: type[ArgumentSchema], argument: Any
) -> None:
    schema = kind()
    plain = schema.plain(argument)
    assert plain is None or plain == schema.load(argument)


@given(
    st.sampled_from([NOTIFICATION, CHAT, STATUS]).flatmap(
        lambda schema: st.tuples(
            st.just(schema),
            st.fixed_dictionaries(
                {
                    name: st.sampled_from(["info", "text", "", "a\x00", None, 5, ["info"], {}])
                    for name, field in schema.fields.items()
                    if field.required
                },
                optional={
                    "metadata": st.sampled_from([None, {}, {"a": 1}, {"k" * 129: 1}, {"\x00": 1}]),
                    "timestamp": st.sampled_from(["2026-11-23T12:28:18Z", "never"]),
                    "roomId": st.sampled_from(["r1", None, "\x00"]),
                    "extra": st.just("x"),
                },
            ),
        )
    )
)
def test_a_glance_at_a_body_sees_what_the_schema_reads(case: tuple[MessageSchema, Any]) -> None:
    schema, body = case
    plain = schema.plain(body)
    assert plain is None or plain == schema.load(body)


@pytest.mark.parametrize(
    ("schema", "body"),
    [
        (
            NOTIFICATION,
            {"type": "info", "title": "t", "message": "m", "metadata": {"orderId": 42}},
        ),
        (CHAT, {"id": "m1", "senderId": "u1", "senderName": "Ana", "content": "x", "roomId": "r"}),
        (STATUS, {"status": "connected"}),
    ],
)
def test_a_glance_is_enough_for_a_usual_body(schema: MessageSchema, body: dict[str, Any]) -> None:
    assert schema.plain(body) == body


@pytest.mark.parametrize("almost", [0, 1, "true", []])
def test_what_is_as_good_as_true_or_false_is_neither(almost: Any) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        load(DisconnectSchema(), {"reconnect": almost})
    assert refusal.value.fields == {"reconnect": ["Not a valid boolean."]}
