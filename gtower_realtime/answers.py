"""What the server answers to HTTP requests, described for documents.

Nothing is built by these schemas; tests hold them against what a running server says. Example:

    class RoomPosition(AnswerSchema):
        '''Where the log is: what a page that is rendered now joins `since`.'''
        example = {"room": "sales", "offset": EXAMPLE_OFFSET}

        room = fields.String(required=True)
        offset = Offset(required=True)
"""

from typing import Any, ClassVar

from marshmallow import EXCLUDE, fields, validate

from gtower_realtime.schemas import (
    EXAMPLE_CLIENT_ID,
    EXAMPLE_OFFSET,
    EXAMPLE_TIME,
    MAX_OFFSET_LENGTH,
    DocumentedSchema,
)

_EVENT_ID = "Zk0a1Jd8Qw3xVb7n"


class AnswerSchema(DocumentedSchema):
    """An answer; newer servers may add fields."""

    class Meta:
        unknown = EXCLUDE


class ClusterAnswer(AnswerSchema):
    """An answer for all nodes; when one of them did not answer in time, it says so.

    `partial` is true then and `nodesMissing` has the names of those nodes; else both are absent.
    """

    is_partial = fields.Boolean(
        data_key="partial",
        validate=validate.Equal(True),
        metadata={"description": "There, and true, when not all nodes have answered in time."},
    )
    nodesMissing = fields.List(  # noqa: N815
        fields.String(),
        metadata={"description": "The names of the nodes that have not; there with `partial`."},
    )


class Moment(fields.String):
    """A time as the server tells it: UTC, with milliseconds."""

    def __init__(self, **options: Any) -> None:
        form = {"format": "date-time", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"}
        super().__init__(required=True, metadata=form, **options)


class Offset(fields.String):
    """A place in the log, opaque."""

    def __init__(self, **options: Any) -> None:
        super().__init__(metadata={"minLength": 1, "maxLength": MAX_OFFSET_LENGTH}, **options)


class Count(fields.Integer):
    """How many; always there."""

    def __init__(self) -> None:
        super().__init__(required=True, validate=validate.Range(min=0))


class Counts(fields.Dict):
    """How many of each; always there."""

    def __init__(self) -> None:
        super().__init__(keys=fields.String(), values=fields.Integer(), required=True)


def always(value: Any) -> Any:
    """Return a field that is there always, and always this."""
    kind = fields.Boolean if isinstance(value, bool) else fields.String
    return kind(required=True, validate=validate.Equal(value))


def _ids() -> Any:
    return fields.List(fields.String(), required=True)


# What became of an event


class Receipt(ClusterAnswer):
    """What became of an event.

    `recipients` live connections were handed it; `pending` sessions are away and get it if they
    come back in time. `offset` is its place in the log; a volatile event has none. The lists of
    client ids are there when the request waited for acknowledgements.
    """

    example: ClassVar[Any] = {
        "id": _EVENT_ID,
        "recipients": 3,
        "pending": 1,
        "offset": EXAMPLE_OFFSET,
    }

    id = fields.String(required=True)
    recipients = Count()
    pending = Count()
    offset = Offset()


class _HttpReceipt(Receipt):
    success = always(True)
    message = fields.String(required=True)
    acked = fields.List(fields.String())
    timedOut = fields.List(fields.String())  # noqa: N815
    disconnected = fields.List(fields.String())


class TriggerReceipt(_HttpReceipt):
    """The event is recorded and was handed to everybody it is for; 0 is a success too.

    See `pending` for who is away, and `acked`, `timedOut` and `disconnected` (client ids) for a
    request with `wait=ack`.
    """

    example: ClassVar[Any] = {
        "success": True,
        "message": "Notification sent to room sales",
        **Receipt.example,
    }


class PublishReceipt(_HttpReceipt):
    """As for a trigger; `unknownClients` are those of the request that are not there at all."""

    example: ClassVar[Any] = {
        "success": True,
        "message": "Event 'orderUpdated' published",
        **Receipt.example,
        "unknownClients": [],
    }

    unknownClients = _ids()  # noqa: N815


class Problem(AnswerSchema):
    """Why something was refused. `fields` says what is wrong with each field."""

    example: ClassVar[Any] = {
        "code": "validation_error",
        "message": "title: Missing data for required field.",
        "retryable": False,
        "fields": {"title": ["Missing data for required field."]},
    }

    code = fields.String(required=True)
    message = fields.String(required=True)
    retryable = fields.Boolean(required=True)
    fields_ = fields.Dict(
        keys=fields.String(), values=fields.List(fields.String()), data_key="fields"
    )


class Refusal(AnswerSchema):
    """The answer to a request that was refused: nothing was done."""

    example: ClassVar[Any] = {
        "success": False,
        "message": Problem.example["message"],
        "error": Problem.example,
        "requestId": "7f0c6a1e9b2d4c38",
    }

    success = always(False)
    message = fields.String(required=True)
    error = fields.Nested(Problem, required=True)
    requestId = fields.String(required=True)  # noqa: N815


class RefusedItem(AnswerSchema):
    """What became of an event of a batch that was refused."""

    example: ClassVar[Any] = {
        "success": False,
        "message": Problem.example["message"],
        "error": Problem.example,
    }

    success = always(False)
    message = fields.String(required=True)
    error = fields.Nested(Problem, required=True)


class EitherOf(fields.Raw):
    """A value that is as one of ``choices`` says."""

    def __init__(self, *choices: type[DocumentedSchema], **options: Any) -> None:
        super().__init__(**options)
        self.choices = choices


class BatchReceipt(AnswerSchema):
    """The outcome of each event, in their order; `success` is true if all went."""

    example: ClassVar[Any] = {
        "success": False,
        "results": [PublishReceipt.example, RefusedItem.example],
    }

    success = fields.Boolean(required=True)
    results = fields.List(EitherOf(PublishReceipt, RefusedItem), required=True)


# Reads


class ServerStatus(ClusterAnswer):
    """The state of the server."""

    example: ClassVar[Any] = {
        "connectedClients": 3,
        "status": "active",
        "timestamp": EXAMPLE_TIME,
    }

    connectedClients = Count()  # noqa: N815
    status = fields.String(
        required=True, validate=validate.OneOf(["active", "draining", "degraded"])
    )
    timestamp = Moment()


class ClientMetadata(AnswerSchema):
    """Where a client comes from."""

    example: ClassVar[Any] = {"ip": "203.0.113.9", "userAgent": "Mozilla/5.0"}

    ip = fields.String(required=True)
    userAgent = fields.String()  # noqa: N815


class ConnectedClient(AnswerSchema):
    """A connection."""

    example: ClassVar[Any] = {
        "id": EXAMPLE_CLIENT_ID,
        "connectedAt": EXAMPLE_TIME,
        "metadata": ClientMetadata.example,
        "userId": "u7",
        "rooms": ["sales", "user:u7"],
        "transport": "websocket",
    }

    id = fields.String(required=True)
    connectedAt = Moment()  # noqa: N815
    metadata = fields.Nested(ClientMetadata, required=True)
    userId = fields.String()  # noqa: N815
    rooms = _ids()
    transport = fields.String(required=True, validate=validate.OneOf(["websocket", "polling"]))


class ClientStatus(ClusterAnswer):
    """Whether a client is connected."""

    example: ClassVar[Any] = {
        "clientId": EXAMPLE_CLIENT_ID,
        "connected": True,
        "timestamp": EXAMPLE_TIME,
    }

    clientId = fields.String(required=True)  # noqa: N815
    connected = fields.Boolean(required=True)
    timestamp = Moment()


class UserStatus(ClusterAnswer):
    """Whether a user is connected; `clients` are the ids of the connections."""

    example: ClassVar[Any] = {"userId": "u7", "connected": True, "clients": [EXAMPLE_CLIENT_ID]}

    userId = fields.String(required=True)  # noqa: N815
    connected = fields.Boolean(required=True)
    clients = _ids()


class TraceTarget(AnswerSchema):
    """Whom an event was for."""

    example: ClassVar[Any] = {"rooms": ["sales"]}

    rooms = fields.List(fields.String())
    users = fields.List(fields.String())
    clients = fields.List(fields.String())
    everyone = fields.Boolean(data_key="all")
    excluded = fields.List(fields.String(), data_key="except")


class TracedClient(AnswerSchema):
    """How far an event got at a client, and why no further."""

    example: ClassVar[Any] = {"clientId": EXAMPLE_CLIENT_ID, "state": "written"}

    clientId = fields.String(required=True)  # noqa: N815
    state = fields.String(
        required=True,
        validate=validate.OneOf(
            ["queued", "written", "acknowledged", "pending", "dropped", "not_matched"]
        ),
    )
    reason = fields.String()


class EventTrace(ClusterAnswer):
    """What an event was, and what became of it at each client; `more` says if there are others."""

    example: ClassVar[Any] = {
        "id": _EVENT_ID,
        "event": "orderUpdated",
        "offset": EXAMPLE_OFFSET,
        "target": TraceTarget.example,
        "timestamp": EXAMPLE_TIME,
        "recipients": 1,
        "pending": 0,
        "clients": [TracedClient.example],
        "more": False,
    }

    id = fields.String(required=True)
    event = fields.String(required=True)
    offset = Offset()
    target = fields.Nested(TraceTarget, required=True)
    timestamp = Moment()
    recipients = Count()
    pending = Count()
    clients = fields.List(fields.Nested(TracedClient), required=True)
    more = fields.Boolean(required=True)


class Minute(AnswerSchema):
    """What happened in the minute that begins `at`; `connections` are the most at once."""

    example: ClassVar[Any] = {
        "at": "2026-11-23T12:28:00.000Z",
        "connections": 3,
        "events": {"notification": 12},
        "recipients": 36,
        "bytes": 5120,
        "refusals": {"validation_error": 1},
    }

    at = Moment()
    connections = Count()
    events = Counts()
    recipients = Count()
    bytes = Count()
    refusals = Counts()


class AnalyticsPage(ClusterAnswer):
    """A point for each minute in which a server was running; `step` is in seconds."""

    example: ClassVar[Any] = {
        "from": "2026-11-23T12:28:00.000Z",
        "to": EXAMPLE_TIME,
        "step": 60,
        "points": [Minute.example],
    }

    start = Moment(data_key="from")
    end = Moment(data_key="to")
    step = Count()
    points = fields.List(fields.Nested(Minute), required=True)


# Rooms


class RoomSize(AnswerSchema):
    """A room and how many clients are in it."""

    example: ClassVar[Any] = {"room": "sales", "clients": 2}

    room = fields.String(required=True)
    clients = Count()


class RoomsPage(ClusterAnswer):
    """Rooms by name; `next` is what to ask `after` for more, null at the end."""

    example: ClassVar[Any] = {"rooms": [RoomSize.example], "next": None}

    rooms = fields.List(fields.Nested(RoomSize), required=True)
    next = fields.String(required=True, allow_none=True)


class RoomSummary(RoomSize, ClusterAnswer):
    """How many clients and users are in a room, and its place in the log."""

    example: ClassVar[Any] = {
        "room": "sales",
        "clients": 2,
        "users": 1,
        "offset": EXAMPLE_OFFSET,
    }

    users = Count()
    offset = Offset(required=True)


class Introduction(AnswerSchema):
    """What others are told of a client; `info` is what its token says."""

    example: ClassVar[Any] = {
        "clientId": EXAMPLE_CLIENT_ID,
        "userId": "u7",
        "info": {"name": "Ana"},
    }

    clientId = fields.String(required=True)  # noqa: N815
    userId = fields.String()  # noqa: N815
    info = fields.Raw()


class RoomPresence(ClusterAnswer):
    """Who is in a room."""

    example: ClassVar[Any] = {"room": "support", "clients": [Introduction.example]}

    room = fields.String(required=True)
    clients = fields.List(fields.Nested(Introduction), required=True)


class RecordedEvent(AnswerSchema):
    """An event of a room's history."""

    example: ClassVar[Any] = {
        "offset": EXAMPLE_OFFSET,
        "id": _EVENT_ID,
        "event": "orderUpdated",
        "data": {"orderId": 1042, "timestamp": EXAMPLE_TIME},
        "timestamp": EXAMPLE_TIME,
    }

    offset = Offset(required=True)
    id = fields.String(required=True)
    event = fields.String(required=True)
    data = fields.Dict(required=True)
    timestamp = Moment()


class HistoryPage(AnswerSchema):
    """Events, oldest first; `more` says whether to ask again.

    `complete` is there, and false, when something after `after` is not kept any more.
    """

    example: ClassVar[Any] = {"room": "sales", "events": [RecordedEvent.example], "more": False}

    room = fields.String(required=True)
    events = fields.List(fields.Nested(RecordedEvent), required=True)
    more = fields.Boolean(required=True)
    complete = fields.Boolean(validate=validate.Equal(False))


class HistoryDeleted(AnswerSchema):
    """How many events were deleted."""

    example: ClassVar[Any] = {"room": "sales", "deleted": 12}

    room = fields.String(required=True)
    deleted = Count()


class RoomPosition(AnswerSchema):
    """Where the log is: what a page that is rendered now joins `since`."""

    example: ClassVar[Any] = {"room": "sales", "offset": EXAMPLE_OFFSET}

    room = fields.String(required=True)
    offset = Offset(required=True)


# Control and operations


class Done(AnswerSchema):
    """It was done."""

    example: ClassVar[Any] = {
        "success": True,
        "message": f"Client {EXAMPLE_CLIENT_ID} joined room sales",
    }

    success = always(True)
    message = fields.String(required=True)


class Disconnected(Done, ClusterAnswer):
    """How many connections were cut."""

    example: ClassVar[Any] = {
        "success": True,
        "message": f"Client {EXAMPLE_CLIENT_ID} disconnected",
        "disconnected": 1,
    }

    disconnected = Count()


class WebhookReceived(AnswerSchema):
    """The webhook is stored; what is in it is published after this answer."""

    example: ClassVar[Any] = {"success": True}

    success = always(True)


class Replayed(Done):
    """How many webhooks are worked through again."""

    example: ClassVar[Any] = {"success": True, "message": "Webhooks replayed", "replayed": 2}

    replayed = Count()


class Alive(AnswerSchema):
    """The process is alive; its loop was late by `loopLagSeconds` at most, of late."""

    example: ClassVar[Any] = {"status": "ok", "loopLagSeconds": 0.002}

    status = always("ok")
    loopLagSeconds = fields.Float(required=True)  # noqa: N815


class LoopStuck(AnswerSchema):
    """The process should be started anew: its loop was late all the time for half a minute."""

    example: ClassVar[Any] = {
        "status": "failing",
        "failing": ["loop"],
        "loopLagSeconds": 2.5,
    }

    status = always("failing")
    failing = _ids()
    loopLagSeconds = fields.Float(required=True)  # noqa: N815


class Ready(AnswerSchema):
    """New connections may be sent here."""

    example: ClassVar[Any] = {"status": "ready"}

    status = always("ready")


class NotReady(AnswerSchema):
    """New connections should go elsewhere; `failing` names the parts."""

    example: ClassVar[Any] = {"status": "not ready", "failing": ["store"]}

    status = always("not ready")
    failing = _ids()
