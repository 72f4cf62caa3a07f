"""What the payloads of server events look like, described for documents and typed clients.

Nothing is built by these schemas; tests hold them against what a running server says.
"""

from typing import Any, ClassVar

from marshmallow import INCLUDE, fields, validate

from gtower_realtime.answers import AnswerSchema, Introduction, Moment
from gtower_realtime.schemas import (
    EXAMPLE_CLIENT_ID,
    EXAMPLE_TIME,
    ChatMessageSchema,
    Metadata,
    NotificationSchema,
    WhatsAppStatusSchema,
)

_MESSAGE = {"type": "text", "text": "Good morning"}


class Payload(AnswerSchema):
    """A JSON object with the time at which the server made it."""

    timestamp = Moment()


class OpenPayload(Payload):
    """Any JSON object of a back-end, with the server's time in it."""

    class Meta:
        unknown = INCLUDE

    example: ClassVar[Any] = {"orderId": 1042, "state": "shipped", "timestamp": EXAMPLE_TIME}


class Connected(Payload):
    """The first event of each connect.

    `recovered` says whether everything that was missed follows; if not, and the client came with a
    claim to it, `reason` says why, and the page should load its state anew.
    """

    example: ClassVar[Any] = {
        "message": "Successfully connected to WebSocket server",
        "clientId": EXAMPLE_CLIENT_ID,
        "timestamp": EXAMPLE_TIME,
        "recovered": False,
        "reason": "expired",
    }

    message = fields.String(required=True)
    clientId = fields.String(required=True)  # noqa: N815
    recovered = fields.Boolean(required=True)
    reason = fields.String(
        validate=validate.OneOf(["expired", "epoch_changed", "gap", "too_much", "revoked"])
    )


class ClientSeen(Payload):
    """Another client that has come or gone."""

    example: ClassVar[Any] = {"clientId": EXAMPLE_CLIENT_ID, "timestamp": EXAMPLE_TIME}

    clientId = fields.String(required=True)  # noqa: N815


class MessageReceived(AnswerSchema):
    """What you sent with `message`, and when it came."""

    example: ClassVar[Any] = {"originalMessage": _MESSAGE, "receivedAt": EXAMPLE_TIME}

    originalMessage = fields.Raw(required=True)  # noqa: N815
    receivedAt = Moment()  # noqa: N815


class MessageBroadcast(Payload):
    """What another client has sent with `message`; `from` is its id."""

    example: ClassVar[Any] = {
        "from": EXAMPLE_CLIENT_ID,
        "message": _MESSAGE,
        "timestamp": EXAMPLE_TIME,
    }

    sender = fields.String(required=True, data_key="from")
    message = fields.Raw(required=True)


class RoomMessage(MessageBroadcast):
    """What a client has sent to a room; `from` is its id."""

    example: ClassVar[Any] = {
        "from": EXAMPLE_CLIENT_ID,
        "room": "sales",
        "message": _MESSAGE,
        "timestamp": EXAMPLE_TIME,
    }

    room = fields.String(required=True)


class RoomChange(Payload):
    """A room that you are in now, or in no more."""

    example: ClassVar[Any] = {"room": "sales", "timestamp": EXAMPLE_TIME}

    room = fields.String(required=True)


class RoomLeft(RoomChange):
    """A room that you are in no more; `reason` if you have not asked for that."""

    example: ClassVar[Any] = {
        "room": "sales",
        "reason": "not allowed by the token",
        "timestamp": EXAMPLE_TIME,
    }

    reason = fields.String()


class CustomerRoomChange(RoomChange):
    """The room of a customer that you follow now, or no more."""

    example: ClassVar[Any] = {
        "room": "whatsapp:customer:c42",
        "customerId": "c42",
        "timestamp": EXAMPLE_TIME,
    }

    customerId = fields.String(required=True)  # noqa: N815


class Notification(Payload):
    """A notice to show."""

    example: ClassVar[Any] = {**NotificationSchema.example, "timestamp": EXAMPLE_TIME}

    type = fields.String(
        required=True, validate=validate.OneOf(["info", "success", "warning", "error"])
    )
    title = fields.String(required=True)
    message = fields.String(required=True)
    metadata = Metadata(allow_none=False)


class ChatMessage(Payload):
    """A chat message."""

    example: ClassVar[Any] = {**ChatMessageSchema.example, "timestamp": EXAMPLE_TIME}

    id = fields.String(required=True)
    senderId = fields.String(required=True)  # noqa: N815
    senderName = fields.String(required=True)  # noqa: N815
    content = fields.String(required=True)
    roomId = fields.String()  # noqa: N815


class WhatsAppStatus(Payload):
    """A state of a WhatsApp number or message."""

    example: ClassVar[Any] = {**WhatsAppStatusSchema.example, "timestamp": EXAMPLE_TIME}

    status = fields.String(required=True)
    metadata = Metadata(allow_none=False)


class WhatsAppMessage(OpenPayload):
    """A message of a customer, as the webhook tells it; a back-end may send other fields."""

    example: ClassVar[Any] = {
        "conversationId": "wa:106540352242922:34600000001",
        "customerId": "c42",
        "whatsappNumber": "34600000001",
        "whatsappMessageId": "wamid.HBgLMzQ2MDAwMDAwMDE",
        "senderType": "customer",
        "messageType": "text",
        "content": "Good morning",
        "status": "delivered",
        "metadata": {"message": {}, "metadata": {}, "customerData": {}},
        "isTemplate": False,
        "templateName": "",
        "timestamp": EXAMPLE_TIME,
    }

    conversationId = fields.String()  # noqa: N815
    customerId = fields.String()  # noqa: N815
    whatsappNumber = fields.String()  # noqa: N815
    whatsappMessageId = fields.String()  # noqa: N815
    senderType = fields.String()  # noqa: N815
    messageType = fields.String()  # noqa: N815
    content = fields.String()
    status = fields.String()
    metadata = fields.Dict()
    isTemplate = fields.Boolean()  # noqa: N815
    templateName = fields.String()  # noqa: N815


class WhatsAppMessageStatus(OpenPayload):
    """What has become of a message, as the webhook tells it; a back-end may send other fields."""

    example: ClassVar[Any] = {
        "messageId": "wamid.HBgLMzQ2MDAwMDAwMDE",
        "status": "read",
        "customerId": "c42",
        "timestamp": EXAMPLE_TIME,
    }

    messageId = fields.String()  # noqa: N815
    status = fields.String()
    customerId = fields.String()  # noqa: N815
    errors = fields.List(fields.Dict())


class Refused(Payload):
    """What was refused and why; `code` is a number only when you are being disconnected."""

    example: ClassVar[Any] = {
        "status": "error",
        "event": "joinRoom",
        "code": "validation_error",
        "message": "roomName: A name must not be empty.",
        "fields": {"roomName": ["A name must not be empty."]},
        "timestamp": EXAMPLE_TIME,
    }

    status = fields.String(required=True, validate=validate.Equal("error"))
    event = fields.String(required=True)
    code = fields.Raw(required=True, metadata={"type": ["string", "integer"]})
    message = fields.String(required=True)
    fields_ = fields.Dict(
        keys=fields.String(), values=fields.List(fields.String()), data_key="fields"
    )


class TokenExpiring(AnswerSchema):
    """When the token ends, and in how many seconds that is."""

    example: ClassVar[Any] = {"expiresAt": EXAMPLE_TIME, "expiresIn": 30}

    expiresAt = Moment()  # noqa: N815
    expiresIn = fields.Integer(required=True)  # noqa: N815


class ServerShutdown(Payload):
    """The server goes down; the client comes back by itself after `reconnectInMs`."""

    example: ClassVar[Any] = {"reconnectInMs": 4200, "timestamp": EXAMPLE_TIME}

    reconnectInMs = fields.Integer(required=True)  # noqa: N815


class PresenceChange(Payload):
    """Who has come to a room and who has left it."""

    example: ClassVar[Any] = {
        "room": "support",
        "joins": [Introduction.example],
        "leaves": [],
        "timestamp": EXAMPLE_TIME,
    }

    room = fields.String(required=True)
    joins = fields.List(fields.Nested(Introduction), required=True)
    leaves = fields.List(fields.Nested(Introduction), required=True)
