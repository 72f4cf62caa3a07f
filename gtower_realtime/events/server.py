"""The server-event table: everything the server says to clients, one row each.

Example row:

    ServerEvent("roomJoined", "you are in the room", payloads.RoomChange()),

Names that are not in the table are custom events: stored, and any JSON object.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from marshmallow import Schema

from gtower_realtime.errors import ReservedEvent, ValidationFailed
from gtower_realtime.events import payloads
from gtower_realtime.names import MAX_EVENT_NAME, PROTOCOL_EVENTS, problem_with_name
from gtower_realtime.schemas import (
    ChatMessageSchema,
    DocumentedSchema,
    NotificationSchema,
    WhatsAppStatusSchema,
    load,
)
from gtower_realtime.timestamps import format_timestamp


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One row. ``payload`` describes what clients get.

    ``stored``: recorded in the log before anybody sees it. ``from_backends``: code outside may
    publish it; otherwise only the server says it. ``schema`` checks its body on every path.
    ``own_timestamp``: a timestamp in the body is kept.
    ``with_offset``: it carries an offset although it is not stored.
    """

    name: str
    doc: str
    payload: DocumentedSchema
    stored: bool = False
    from_backends: bool = False
    schema: Schema | None = None
    own_timestamp: bool = False
    with_offset: bool = False

    @property
    def carries_offset(self) -> bool:
        """Whether an offset follows the payload, unless the client acknowledges the event."""
        return self.stored or self.with_offset


_ROWS = (
    ServerEvent(
        "connected",
        "you are connected; the first event of each connect",
        payloads.Connected(),
        with_offset=True,
    ),
    ServerEvent("clientJoined", "another client has connected", payloads.ClientSeen()),
    ServerEvent("clientLeft", "another client is gone", payloads.ClientSeen()),
    ServerEvent("messageReceived", "your `message` has arrived", payloads.MessageReceived()),
    ServerEvent(
        "messageBroadcast", "another client's `message`", payloads.MessageBroadcast(), stored=True
    ),
    ServerEvent("roomJoined", "you are in the room", payloads.RoomChange()),
    ServerEvent("roomLeft", "you are not in the room any more", payloads.RoomLeft()),
    ServerEvent("roomMessage", "a client's message to a room", payloads.RoomMessage(), stored=True),
    ServerEvent(
        "notification",
        "a notice to show",
        payloads.Notification(),
        stored=True,
        from_backends=True,
        schema=NotificationSchema(),
    ),
    ServerEvent(
        "chatMessage",
        "a chat message",
        payloads.ChatMessage(),
        stored=True,
        from_backends=True,
        schema=ChatMessageSchema(),
        own_timestamp=True,
    ),
    ServerEvent(
        "whatsappStatusUpdate",
        "a WhatsApp number or message has changed its state",
        payloads.WhatsAppStatus(),
        stored=True,
        from_backends=True,
        schema=WhatsAppStatusSchema(),
    ),
    ServerEvent(
        "whatsappMessageUpdate",
        "a WhatsApp message has changed",
        payloads.OpenPayload(),
        stored=True,
        from_backends=True,
    ),
    ServerEvent(
        "conversationUpdate",
        "a conversation has changed",
        payloads.OpenPayload(),
        stored=True,
        from_backends=True,
    ),
    ServerEvent(
        "whatsappMessage",
        "a customer has written",
        payloads.WhatsAppMessage(),
        stored=True,
        from_backends=True,
    ),
    ServerEvent(
        "whatsappMessageStatus",
        "a message was sent, delivered, read",
        payloads.WhatsAppMessageStatus(),
        stored=True,
        from_backends=True,
    ),
    ServerEvent("whatsappGeneralJoined", "you are in `whatsapp:general`", payloads.RoomChange()),
    ServerEvent(
        "whatsappCustomerJoined", "you are in the customer's room", payloads.CustomerRoomChange()
    ),
    ServerEvent(
        "whatsappCustomerLeft",
        "you are not in the customer's room any more",
        payloads.CustomerRoomChange(),
    ),
    ServerEvent("exception", "what you sent was refused", payloads.Refused()),
    ServerEvent(
        "tokenExpiring", "your token ends soon; send `auth:refresh`", payloads.TokenExpiring()
    ),
    ServerEvent(
        "serverShutdown",
        "the server is going down; come back in a while",
        payloads.ServerShutdown(),
    ),
    ServerEvent("presence", "who has come to or left a room", payloads.PresenceChange()),
)

SERVER_EVENTS: Mapping[str, ServerEvent] = {row.name: row for row in _ROWS}

_CUSTOM = ServerEvent("", "a custom event", payloads.OpenPayload(), stored=True, from_backends=True)


def server_event(name: str) -> ServerEvent:
    """Return the row of ``name``; of a custom event the row that all of them share."""
    return SERVER_EVENTS.get(name, _CUSTOM)


def check_publishable(name: str) -> None:
    """Check that code outside the server may publish an event of this name.

    Raises:
        ValidationFailed: it is no event name.
        ReservedEvent: it belongs to Socket.IO, or only the server may say it.
    """
    problem = problem_with_name(name, MAX_EVENT_NAME)
    if problem is not None:
        raise ValidationFailed(
            f"event: An event name {problem}.", fields={"event": [f"An event name {problem}."]}
        )
    if name in PROTOCOL_EVENTS:
        raise ReservedEvent(f"The event name {name!r} is reserved by Socket.IO; choose another.")
    if not server_event(name).from_backends:
        raise ReservedEvent(f"Only the server sends {name!r}; choose another event name.")


def build_payload(name: str, body: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Return the payload of an event that code outside publishes: the checked body, timestamped.

    Raises:
        ValidationFailed: the event has a schema and ``body`` does not fit it.
    """
    row = server_event(name)
    payload = dict(body) if row.schema is None else load(row.schema, body)
    if not (row.own_timestamp and "timestamp" in payload):
        payload["timestamp"] = format_timestamp(now)
    return payload
