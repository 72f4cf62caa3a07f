"""The shapes of what comes in: bodies of triggers and arguments of client events (the DTOs).

The camelCase names of the wire and the snake_case names of the code meet here and nowhere else.
Lengths are checked before anything looks into a string. Knows no transport.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, ClassVar, cast

from marshmallow import (
    EXCLUDE,
    INCLUDE,
    RAISE,
    Schema,
    ValidationError,
    fields,
    post_load,
    pre_load,
    validate,
    validates,
)

from gtower_realtime.errors import ValidationFailed
from gtower_realtime.names import (
    MAX_CUSTOMER_ID,
    MAX_EVENT_NAME,
    MAX_ROOM_NAME,
    problem_with_name,
)
from gtower_realtime.timestamps import format_timestamp, parse_timestamp

_MAX_KEY_LENGTH = 128

MAX_OFFSET_LENGTH = 100
EXAMPLE_OFFSET = "9f3c21ab-1f"
EXAMPLE_CLIENT_ID = "q5Vb0sJt2mXwYc8LrK1n"
EXAMPLE_TIME = "2026-11-23T12:28:18.953Z"
MAX_PAGE = 300
MAX_EVENT_ID = 128
MAX_BATCH = 1000
"""Events of one batch."""
MAX_REASON = 100
"""Characters, so that a close frame has room for it."""
MAX_TARGETS = 10_000
MAX_TTL_SECONDS = 10 * 365 * 24 * 3600
_MAX_BODY_FIELDS = 100
_MAX_SHOWN_FIELDS = 20

# As JSON schemas have it, in the escapes of JavaScript.
_WITHOUT_NUL = r"^[^\u0000]*$"
_WITHOUT_CONTROLS = r"^[^\u0000-\u001f\u007f-\u009f]+$"

WHOLE = "_schema"
"""The key under which :attr:`ValidationFailed.fields` speaks of a value as a whole."""


def load(schema: Schema, value: Any) -> dict[str, Any]:
    """Return ``value`` as ``schema`` reads it.

    Raises:
        ValidationFailed: with a list of sentences for each wrong field.
    """
    if isinstance(schema, QuickSchema):
        plain = schema.plain(value)
        if plain is not None:
            return plain
    try:
        return cast("dict[str, Any]", schema.load(value))
    except ValidationError as problem:
        raise _refusal(problem) from None


def _refusal(problem: ValidationError) -> ValidationFailed:
    """Return the refusal for ``problem``: all fields by their dotted path, the first as message."""
    messages = problem.messages
    fields_and_sentences = dict(
        islice(
            _flatten(messages if isinstance(messages, dict) else {WHOLE: messages}),
            _MAX_SHOWN_FIELDS,
        )
    )
    path, sentences = next(iter(fields_and_sentences.items()))
    subject = "" if path == WHOLE else f"{path}: "
    return ValidationFailed(f"{subject}{sentences[0]}", fields=fields_and_sentences)


def _flatten(messages: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, list[str]]]:
    for key, value in messages.items():
        name = str(key)[:_MAX_KEY_LENGTH]
        path = f"{prefix}.{name}" if prefix else name
        if isinstance(value, Mapping):
            yield from _flatten(value, path)
        else:
            yield path, list(value)


class Text(fields.String):
    """A string of at most ``longest`` characters that any store and any receiver can hold."""

    def __init__(self, longest: int | None = None, **options: Any) -> None:
        super().__init__(metadata=_text_limits(longest) | options.pop("metadata", {}), **options)
        self._longest = longest

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        if self._longest is not None and len(text) > self._longest:
            raise ValidationError(f"Must have at most {self._longest} characters.")
        if "\x00" in text:
            raise ValidationError("Must not have a NUL character.")
        return text


def _text_limits(longest: int | None) -> dict[str, Any]:
    limits = {} if longest is None else {"maxLength": longest}
    return {"pattern": _WITHOUT_NUL, **limits}


def name_limits(longest: int) -> dict[str, Any]:
    """Return what a JSON schema says of a name of at most ``longest`` characters."""
    return {"minLength": 1, "maxLength": longest, "pattern": _WITHOUT_CONTROLS}


class Name(fields.String):
    """A room name or an id: 1 to ``longest`` characters, none of them a control character."""

    def __init__(self, longest: int = MAX_ROOM_NAME, **options: Any) -> None:
        super().__init__(metadata=name_limits(longest), **options)
        self._longest = longest

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> str:
        name = super()._deserialize(value, attr, data, **kwargs)
        problem = problem_with_name(name, self._longest)
        if problem is not None:
            raise ValidationError(f"A name {problem}.")
        return name


def _is_name(value: Any, longest: int) -> bool:
    return isinstance(value, str) and problem_with_name(value, longest) is None


def _are_names(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) <= MAX_TARGETS
        and all(_is_name(name, MAX_ROOM_NAME) for name in value)
    )


class Names(fields.List[str]):
    """A list of names; null is an empty one."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            Name(), allow_none=True, validate=validate.Length(max=MAX_TARGETS), **options
        )


class Timestamp(fields.Field[str]):
    """An ISO 8601 date or time with or without offset, read as the wire's form of UTC."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> str:
        if not isinstance(value, str):
            raise ValidationError("Not an ISO 8601 time.")
        try:
            return format_timestamp(parse_timestamp(value))
        except ValueError as problem:
            raise ValidationError(f"Not an ISO 8601 time ({problem}).") from None


class ClientMessageId(fields.String):
    """A client's own id of a message, by which a repeat is recognised: 16 to 64 characters."""

    def __init__(self, **options: Any) -> None:
        super().__init__(validate=validate.Length(16, 64), **options)


class Flag(fields.Boolean):
    """True or false and nothing that is as good as one of them, such as 1."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class Json(fields.Field[Any]):
    """Any JSON value, null included, passed on unchanged."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_none=True, **options)


class Metadata(fields.Field[dict[str, Any]]):
    """A JSON object of the caller's own, or null; its outermost keys are bounded."""

    def __init__(self, *, allow_none: bool = True) -> None:
        super().__init__(allow_none=allow_none)

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> dict[str, Any]:
        # By hand: a field for the keys of marshmallow's own Dict takes seconds over a large object.
        if not isinstance(value, dict):
            raise ValidationError("Must be a JSON object.")
        if any(len(key) > _MAX_KEY_LENGTH for key in value):
            raise ValidationError(f"Keys must have at most {_MAX_KEY_LENGTH} characters.")
        if any("\x00" in key for key in value):
            raise ValidationError("Keys must not have a NUL character.")
        return value


class DocumentedSchema(Schema):
    """A schema with an ``example``, a value as it is on the wire, for those who read documents."""

    example: ClassVar[Any] = {}


class QuickSchema(DocumentedSchema):
    """A schema that has to look closely only at what is unusual."""

    def plain(self, value: Any) -> dict[str, Any] | None:
        """Return what the schema reads from a usual ``value``; None if it has to look closer.

        Nearly everything has one of a few forms that need a glance and not a schema.
        """
        return None


class ClosedSchema(QuickSchema):
    """A body in which an unknown field is an error, so that a misspelt one is noticed."""

    class Meta:
        unknown = RAISE

    error_messages = {"type": "Must be a JSON object."}  # noqa: RUF012

    @pre_load
    def _bound(self, body: Any, **_: Any) -> Any:
        # A sentence for each of a million unknown fields would take seconds.
        if isinstance(body, dict) and len(body) > _MAX_BODY_FIELDS:
            raise ValidationError(f"Must have at most {_MAX_BODY_FIELDS} fields.")
        return body

    @post_load
    def _leave_out_null(self, body: dict[str, Any], **_: Any) -> dict[str, Any]:
        return _without_null(body)


class MessageSchema(ClosedSchema):
    """A body made of texts, choices and metadata, of which a glance tells nearly always enough."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._required = frozenset(name for name, one in self.fields.items() if one.required)
        glances = {name: _glance(one) for name, one in self.fields.items()}
        self._glances = {name: glance for name, glance in glances.items() if glance is not None}

    def plain(self, value: Any) -> dict[str, Any] | None:
        """Return a body of usual values without null; see `QuickSchema.plain`."""
        if not isinstance(value, dict) or not self._required <= value.keys():
            return None
        for name, item in value.items():
            glance = self._glances.get(name)
            if glance is None or not glance(item):
                return None
        return dict(value)


def _without_null(loaded: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in loaded.items() if value is not None}


def _glance(field: fields.Field[Any]) -> Callable[[Any], bool] | None:
    """Return what says of a usual value that it fits ``field`` as it is; None if nothing does."""
    choices = [one.choices for one in field.validators if isinstance(one, validate.OneOf)]
    if choices:
        return lambda value: isinstance(value, str) and value in choices[0]
    return _GLANCES.get(type(field))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and "\x00" not in value


def _is_metadata(value: Any) -> bool:
    return isinstance(value, dict) and all(
        len(key) <= _MAX_KEY_LENGTH and "\x00" not in key for key in value
    )


_GLANCES: dict[type[fields.Field[Any]], Callable[[Any], bool]] = {
    Text: _is_text,
    Metadata: _is_metadata,
}


class NotificationSchema(MessageSchema):
    """The body of `notification`."""

    example: ClassVar[Any] = {
        "type": "success",
        "title": "Order paid",
        "message": "Order 1042 has been paid.",
        "metadata": {"orderId": 1042},
    }

    type = fields.String(
        required=True, validate=validate.OneOf(["info", "success", "warning", "error"])
    )
    title = Text(required=True)
    message = Text(required=True)
    metadata = Metadata()


class ChatMessageSchema(MessageSchema):
    """The body of `chatMessage`; ``timestamp`` is now when it is absent."""

    example: ClassVar[Any] = {
        "id": "m1",
        "senderId": "u7",
        "senderName": "Ana",
        "content": "Good morning",
        "roomId": "sales",
    }

    id = Text(required=True)
    senderId = Text(required=True)  # noqa: N815
    senderName = Text(required=True)  # noqa: N815
    content = Text(required=True)
    timestamp = Timestamp(allow_none=True)
    roomId = Text(allow_none=True)  # noqa: N815


class WhatsAppStatusSchema(MessageSchema):
    """The body of `whatsappStatusUpdate`."""

    example: ClassVar[Any] = {"status": "connected", "metadata": {"number": "34600000001"}}

    status = Text(required=True)
    metadata = Metadata()


class PublishSchema(ClosedSchema):
    """The body of a publish request: an event, to whom, and how."""

    example: ClassVar[Any] = {
        "event": "orderUpdated",
        "data": {"orderId": 1042, "state": "shipped"},
        "rooms": ["sales"],
        "users": ["u7"],
        "ttl": 3600,
        "id": "order-1042-shipped",
    }

    event = Text(required=True, metadata=name_limits(MAX_EVENT_NAME))
    data = Json(load_default=dict, metadata={"type": "object"})
    rooms = Names()
    users = Names()
    clients = Names()
    everyone = Flag(data_key="all", allow_none=True)
    excluded = Names(data_key="except")
    is_volatile = Flag(data_key="volatile", allow_none=True)
    ttl_seconds = fields.Float(
        data_key="ttl", allow_none=True, validate=validate.Range(0, MAX_TTL_SECONDS)
    )
    event_id = Name(longest=MAX_EVENT_ID, data_key="id", allow_none=True)

    def plain(self, value: Any) -> dict[str, Any] | None:
        """Return an event for rooms, users and clients; see `QuickSchema.plain`."""
        if not isinstance(value, dict) or not value.keys() <= _PLAIN_PUBLISH:
            return None
        event, body = value.get("event"), value.get("data")
        if not isinstance(event, str) or "\x00" in event or not isinstance(body, dict):
            return None
        are_plain = all(_are_names(value[name]) for name in value.keys() & _PLAIN_TARGETS)
        return dict(value) if are_plain else None


_PLAIN_TARGETS = frozenset({"rooms", "users", "clients"})
_PLAIN_PUBLISH = _PLAIN_TARGETS | {"event", "data"}


class BatchSchema(ClosedSchema):
    """The body of a batch: what would be the bodies of so many publish requests."""

    example: ClassVar[Any] = {
        "publish": [
            {"event": "orderUpdated", "data": {"orderId": 1042}, "rooms": ["sales"]},
            {"event": "notification", "data": NotificationSchema.example, "users": ["u7"]},
        ]
    }

    publish = fields.List(
        fields.Raw(allow_none=True), required=True, validate=validate.Length(max=MAX_BATCH)
    )

    def plain(self, value: Any) -> dict[str, Any] | None:
        """Return a list that is not too long; see `QuickSchema.plain`."""
        is_plain = isinstance(value, dict) and value.keys() == {"publish"}
        items = value["publish"] if is_plain else None
        return dict(value) if isinstance(items, list) and len(items) <= MAX_BATCH else None


class DisconnectSchema(ClosedSchema):
    """The body of a request to disconnect somebody."""

    example: ClassVar[Any] = {"reason": "signed out elsewhere", "reconnect": False}

    reason = Text(longest=MAX_REASON, allow_none=True, validate=validate.Length(min=1))
    reconnect = Flag(allow_none=True)


class ReplaySchema(ClosedSchema):
    """The body of a request to work through webhooks again; without ``since`` those set aside."""

    example: ClassVar[Any] = {"since": EXAMPLE_TIME}

    since = Timestamp(allow_none=True)


class ArgumentSchema(QuickSchema):
    """The one argument of a client event; unknown fields of an object are ignored.

    ``shorthand`` names the field that a bare string stands for: ``"sales"`` for
    ``{"roomName": "sales"}``. ``whole``: the argument may be any JSON value, and this is what an
    object must be.
    """

    class Meta:
        unknown = EXCLUDE

    shorthand: ClassVar[str | None] = None
    whole: ClassVar[Schema | None] = None
    error_messages = {"type": "Must be an object."}  # noqa: RUF012

    @pre_load
    def _expand_shorthand(self, argument: Any, **_: Any) -> Any:
        if self.shorthand is None:
            return argument
        if isinstance(argument, str):
            return {self.shorthand: argument}
        if not isinstance(argument, dict):
            raise ValidationError(f"Must be a string or an object with {self.shorthand!r}.")
        return argument


class RoomArgument(ArgumentSchema):
    """``"sales"`` or ``{"roomName": "sales"}``."""

    example: ClassVar[Any] = {"roomName": "sales"}

    shorthand = "roomName"

    room = Name(required=True, data_key="roomName")

    def plain(self, value: Any) -> dict[str, Any] | None:
        """Return the room of a bare string; see `QuickSchema.plain`."""
        return {"room": value} if _is_name(value, MAX_ROOM_NAME) else None


class JoinArgument(RoomArgument):
    """``"sales"`` or ``{"roomName": "sales", "since": <offset or null>}``."""

    example: ClassVar[Any] = {"roomName": "sales", "since": EXAMPLE_OFFSET}

    since = Text(longest=MAX_OFFSET_LENGTH, allow_none=True)


class HistoryArgument(ArgumentSchema):
    """``{"room": "sales", "after": <offset or null>, "limit": 50 or null}``."""

    example: ClassVar[Any] = {"room": "sales", "after": EXAMPLE_OFFSET, "limit": 50}

    room = Name(required=True)
    after = Text(longest=MAX_OFFSET_LENGTH, allow_none=True)
    limit = fields.Integer(strict=True, allow_none=True, validate=validate.Range(1, MAX_PAGE))

    @post_load
    def _leave_out_null(self, argument: dict[str, Any], **_: Any) -> dict[str, Any]:
        return _without_null(argument)


class PresenceArgument(ArgumentSchema):
    """``{"room": "sales"}``."""

    example: ClassVar[Any] = {"room": "support"}

    room = Name(required=True)


class RefreshArgument(ArgumentSchema):
    """``{"token": <JWT>}``. Whether it is one is for those to say who check it."""

    example: ClassVar[Any] = {"token": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.c2lnbmF0dXJl"}

    token = Json(required=True)


class CustomerArgument(ArgumentSchema):
    """``"c42"`` or ``{"customerId": "c42"}``."""

    example: ClassVar[Any] = {"customerId": "c42"}

    shorthand = "customerId"

    customer_id = Name(longest=MAX_CUSTOMER_ID, required=True, data_key="customerId")

    def plain(self, value: Any) -> dict[str, Any] | None:
        """Return the customer of a bare string; see `QuickSchema.plain`."""
        return {"customer_id": value} if _is_name(value, MAX_CUSTOMER_ID) else None


class MessageObject(ArgumentSchema):
    """What is checked of a relayed message that is an object; the rest of it is free."""

    class Meta:
        unknown = INCLUDE

    type = fields.String(validate=validate.Length(1, 64))
    timestamp = Timestamp()
    clientMsgId = ClientMessageId()  # noqa: N815


_MESSAGE_OBJECT = MessageObject()
_CHECKED_IN_A_MESSAGE = _MESSAGE_OBJECT.fields.keys()


def _is_free(message: Any) -> bool:
    """Say whether nothing of a message is to be checked."""
    return not isinstance(message, dict) or _CHECKED_IN_A_MESSAGE.isdisjoint(message)


def check_message(message: Any) -> None:
    """Check a message that is relayed unchanged: any JSON value; two fields of an object are typed.

    Raises:
        ValidationError: ``type`` is not a string of 1 to 64, or ``timestamp`` not ISO 8601.
    """
    if not _is_free(message):
        _MESSAGE_OBJECT.load(message)


class RoomMessageArgument(ArgumentSchema):
    """``{"room": "sales", "message": <any JSON value>}``."""

    example: ClassVar[Any] = {"room": "sales", "message": {"type": "text", "text": "Good morning"}}

    room = Name(required=True)
    message = Json(required=True)
    client_message_id = ClientMessageId(data_key="clientMsgId")

    def plain(self, value: Any) -> dict[str, Any] | None:
        """Return a room and a message with nothing to check; see `QuickSchema.plain`."""
        if not isinstance(value, dict) or value.keys() != {"room", "message"}:
            return None
        is_plain = _is_name(value["room"], MAX_ROOM_NAME) and _is_free(value["message"])
        return dict(value) if is_plain else None

    @validates("message")
    def _check_message(self, message: Any, **_: Any) -> None:
        check_message(message)


class MessageArgument(ArgumentSchema):
    """Any JSON value; of an object, ``type`` and ``timestamp`` are checked. Held as ``message``."""

    example: ClassVar[Any] = {"type": "text", "text": "Good morning"}
    whole: ClassVar[Schema | None] = _MESSAGE_OBJECT

    message = Json(required=True)

    def plain(self, value: Any) -> dict[str, Any] | None:
        """Return a message with nothing to check; see `QuickSchema.plain`."""
        return {"message": value} if _is_free(value) else None

    @pre_load
    def _hold(self, argument: Any, **_: Any) -> dict[str, Any]:
        # Here, not as a field's rule: the paths of its errors begin at what the client sent.
        check_message(argument)
        return {"message": argument}
