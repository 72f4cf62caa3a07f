"""HTTP triggers: an event to whom the path names, one row per endpoint. Example row:

    Trigger("/websocket/chat/room/:roomName", "chatMessage", "Chat message sent to room {0}"),

The name in the path says whom the event is for; without an event in the row the path names it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gtower_realtime.answers import TriggerReceipt
from gtower_realtime.errors import ReservedEvent, UnknownClient
from gtower_realtime.events.server import server_event
from gtower_realtime.identity import check_may_address
from gtower_realtime.names import MAX_EVENT_NAME, MAX_ROOM_NAME
from gtower_realtime.ports import Target
from handlers.base import HttpContext
from handlers.routes import Route
from handlers.sending import IDEMPOTENCY_KEY, WAITING, Sending, SendingHandler


@dataclass(frozen=True, slots=True)
class Trigger:
    """One endpoint. ``message`` is filled with the names of the path, in their order."""

    path: str
    event: str | None
    message: str


TRIGGERS = (
    Trigger(
        "/websocket/notify/client/:clientId", "notification", "Notification sent to client {0}"
    ),
    Trigger("/websocket/notify/room/:roomName", "notification", "Notification sent to room {0}"),
    Trigger("/websocket/notify/user/:userId", "notification", "Notification sent to user {0}"),
    Trigger(
        "/websocket/notify/broadcast", "notification", "Notification broadcasted to all clients"
    ),
    Trigger("/websocket/chat/client/:clientId", "chatMessage", "Chat message sent to client {0}"),
    Trigger("/websocket/chat/room/:roomName", "chatMessage", "Chat message sent to room {0}"),
    Trigger("/websocket/chat/user/:userId", "chatMessage", "Chat message sent to user {0}"),
    Trigger(
        "/websocket/event/client/:clientId/:eventName",
        None,
        "Custom event '{1}' sent to client {0}",
    ),
    Trigger(
        "/websocket/event/room/:roomName/:eventName", None, "Custom event '{1}' sent to room {0}"
    ),
    Trigger(
        "/websocket/event/user/:userId/:eventName", None, "Custom event '{1}' sent to user {0}"
    ),
    Trigger(
        "/websocket/event/broadcast/:eventName",
        None,
        "Custom event '{0}' broadcasted to all clients",
    ),
    Trigger(
        "/websocket/whatsapp/status/:clientId",
        "whatsappStatusUpdate",
        "WhatsApp status update sent to client {0}",
    ),
    Trigger(
        "/websocket/whatsapp/message/:clientId",
        "whatsappMessageUpdate",
        "WhatsApp message update sent to client {0}",
    ),
    Trigger(
        "/websocket/conversation/:clientId",
        "conversationUpdate",
        "Conversation update sent to client {0}",
    ),
)

_TARGETS: dict[str, Callable[[str], Target]] = {
    "clientId": Target.client,
    "roomName": Target.room,
    "userId": Target.user,
}


class TriggerHandler(SendingHandler):
    """Sends the event of its row to whom the path names."""

    def initialize(self, context: HttpContext, route: str, **row: Any) -> None:
        """Take the row, ``trigger``, besides what all handlers take."""
        super().initialize(context, route)
        self._trigger: Trigger = row["trigger"]

    async def post(self, **names: str) -> None:
        """Answer 201 with the receipt, or a refusal after which nobody has seen the event."""
        for parameter, name in names.items():
            longest = MAX_EVENT_NAME if parameter == "eventName" else MAX_ROOM_NAME
            self.check_name(parameter, name, longest)
        event = self._trigger.event or names["eventName"]
        target = next(
            (
                _TARGETS[parameter](name)
                for parameter, name in names.items()
                if parameter in _TARGETS
            ),
            Target.all(),
        )
        check_may_address(self.api_key, target)
        message = self._trigger.message.format(*names.values())
        await self.send(Sending(event, self.json_object(), target, message))


def routes() -> list[Route]:
    """Return the routes of all triggers."""
    return [_route(row) for row in TRIGGERS]


def _route(row: Trigger) -> Route:
    names = re.findall(r":[A-Za-z]+", row.path)
    is_for_a_client = ":clientId" in names
    return Route(
        row.path,
        TriggerHandler,
        {"trigger": row},
        body=server_event(row.event or "").schema,
        parameters=(*WAITING, IDEMPOTENCY_KEY),
        success=201,
        answer=TriggerReceipt(),
        refusals=(
            *((UnknownClient,) if is_for_a_client else ()),
            *(() if row.event else (ReservedEvent,)),
        ),
        summary=row.message.format(*names),
    )
