"""What client events are acknowledged with, described for documents and typed clients.

Nothing is built by these schemas; tests hold them against what a running server says.
"""

from typing import Any, ClassVar

from marshmallow import fields

from gtower_realtime.answers import (
    AnswerSchema,
    HistoryPage,
    Moment,
    Problem,
    Receipt,
    RoomPresence,
    always,
)
from gtower_realtime.schemas import EXAMPLE_TIME


class Acknowledged(AnswerSchema):
    """It was done."""

    ok = always(True)


class RefusedAcknowledgement(AnswerSchema):
    """It was not done; `error` says why."""

    example: ClassVar[Any] = {"ok": False, "error": Problem.example}

    ok = always(False)
    error = fields.Nested(Problem, required=True)


class ReceiptAcknowledgement(Receipt, Acknowledged):
    """The message is recorded and was handed to `recipients` connections.

    `pending` are away and get it if they come back in time; `offset` is its place in the log.
    """

    example: ClassVar[Any] = {"ok": True, **Receipt.example}


class RoomAcknowledgement(Acknowledged):
    """Which room it is about."""

    example: ClassVar[Any] = {"ok": True, "room": "sales"}

    room = fields.String(required=True)


class JoinAcknowledgement(RoomAcknowledgement):
    """You are in the room; with `since`, `complete` says whether all that was missed is sent."""

    example: ClassVar[Any] = {"ok": True, "room": "sales", "complete": True}

    complete = fields.Boolean()


class HistoryAcknowledgement(HistoryPage, Acknowledged):
    """Events, oldest first; `more` says whether to ask again.

    `complete` is there, and false, when something after `after` is not kept any more.
    """

    example: ClassVar[Any] = {"ok": True, **HistoryPage.example}


class PresenceAcknowledgement(RoomPresence, Acknowledged):
    """Who is in the room."""

    example: ClassVar[Any] = {"ok": True, **RoomPresence.example}


class TokenAcknowledgement(Acknowledged):
    """Until when the new token holds."""

    example: ClassVar[Any] = {"ok": True, "expiresAt": EXAMPLE_TIME}

    expiresAt = Moment()  # noqa: N815
