"""The client-event table: everything a client may say, one row each.

Example row:

    ClientEvent("leaveRoom", "leave_room", "leave a room", RoomAcknowledgement(), RoomArgument()),

``method`` is the method of `RealtimeService` that does it: called with the client's id and what
the schema read from the argument, it returns what the acknowledgement adds to ``ok: true``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

from marshmallow import Schema

from gtower_realtime.errors import UnknownEvent, ValidationFailed
from gtower_realtime.events import acknowledgements
from gtower_realtime.schemas import (
    WHOLE,
    CustomerArgument,
    DocumentedSchema,
    HistoryArgument,
    JoinArgument,
    MessageArgument,
    PresenceArgument,
    RefreshArgument,
    RoomArgument,
    RoomMessageArgument,
    load,
)

_SHOWN_NAME = 64


@dataclass(frozen=True, slots=True)
class ClientEvent:
    """One row. Without a ``schema`` the event takes no argument and ignores what is sent.

    ``acknowledgement`` describes the answer to one that was not refused. ``rate`` is the rate it
    falls under besides that of all events.
    """

    name: str
    method: str
    doc: str
    acknowledgement: DocumentedSchema
    schema: Schema | None = None
    rate: Literal["broadcasts", "joins"] | None = None

    def read(self, arguments: list[Any]) -> dict[str, Any]:
        """Return the keyword arguments for :attr:`method`; only the first argument counts.

        Raises:
            ValidationFailed: the argument is missing, or does not fit.
        """
        if self.schema is None:
            return {}
        if not arguments:
            sentence = f"{self.name} needs an argument."
            raise ValidationFailed(sentence, fields={WHOLE: [sentence]})
        return load(self.schema, arguments[0])


_ROWS = (
    ClientEvent(
        "message",
        "relay_message",
        "say something to all others",
        acknowledgements.ReceiptAcknowledgement(),
        MessageArgument(),
        "broadcasts",
    ),
    ClientEvent(
        "joinRoom",
        "join_room",
        "join a room",
        acknowledgements.JoinAcknowledgement(),
        JoinArgument(),
        "joins",
    ),
    ClientEvent(
        "leaveRoom",
        "leave_room",
        "leave a room",
        acknowledgements.RoomAcknowledgement(),
        RoomArgument(),
        "joins",
    ),
    ClientEvent(
        "roomMessage",
        "relay_room_message",
        "say something to a room",
        acknowledgements.ReceiptAcknowledgement(),
        RoomMessageArgument(),
    ),
    ClientEvent(
        "joinWhatsAppGeneral",
        "join_whatsapp_general",
        "see all WhatsApp traffic",
        acknowledgements.RoomAcknowledgement(),
        rate="joins",
    ),
    ClientEvent(
        "joinWhatsAppRoom",
        "join_whatsapp_general",
        "alias of `joinWhatsAppGeneral`",
        acknowledgements.RoomAcknowledgement(),
        rate="joins",
    ),
    ClientEvent(
        "joinWhatsAppCustomer",
        "join_whatsapp_customer",
        "follow one customer",
        acknowledgements.RoomAcknowledgement(),
        CustomerArgument(),
        "joins",
    ),
    ClientEvent(
        "leaveWhatsAppCustomer",
        "leave_whatsapp_customer",
        "stop following a customer",
        acknowledgements.RoomAcknowledgement(),
        CustomerArgument(),
        "joins",
    ),
    ClientEvent(
        "history",
        "read_room_history",
        "read what a room has had",
        acknowledgements.HistoryAcknowledgement(),
        HistoryArgument(),
        rate="joins",
    ),
    ClientEvent(
        "presence",
        "read_presence",
        "who is in a room",
        acknowledgements.PresenceAcknowledgement(),
        PresenceArgument(),
    ),
    ClientEvent(
        "auth:refresh",
        "refresh_token",
        "replace the token",
        acknowledgements.TokenAcknowledgement(),
        RefreshArgument(),
    ),
)

CLIENT_EVENTS: Mapping[str, ClientEvent] = {row.name: row for row in _ROWS}


def client_event(name: str) -> ClientEvent:
    """Return the row of ``name``.

    Raises:
        UnknownEvent: there is none; the message names the nearest.
    """
    row = CLIENT_EVENTS.get(name)
    if row is not None:
        return row
    shown = name if len(name) <= _SHOWN_NAME else f"{name[:_SHOWN_NAME]}…"
    nearest = get_close_matches(shown, CLIENT_EVENTS, n=1, cutoff=0.0)
    raise UnknownEvent(f"There is no client event {shown!r}; the nearest is {nearest[0]!r}.")
