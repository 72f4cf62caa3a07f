"""What may be a room, a user, a client or an event name, and which names belong to the server."""

import re

MAX_EVENT_NAME = 128
MAX_ROOM_NAME = 200
MAX_CUSTOMER_ID = 180

WHATSAPP_GENERAL_ROOM = "whatsapp:general"
_WHATSAPP_CUSTOMER_PREFIX = "whatsapp:customer:"
_USER_PREFIX = "user:"

PROTOCOL_EVENTS = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
)
"""Names that Socket.IO itself speaks with: `RESERVED_EVENTS` of the socket.io-parser package."""

# C0 and C1 control characters, and halves of surrogate pairs, which no UTF-8 text can hold.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def problem_with_name(name: str, longest: int) -> str | None:
    """Say what is wrong with a name of at most ``longest`` characters; None when nothing is."""
    if not name:
        return "must not be empty"
    if len(name) > longest:
        return f"must have at most {longest} characters"
    if _UNPRINTABLE.search(name):
        return "must not have control characters"
    return None


def whatsapp_customer_room(customer_id: str) -> str:
    """Return the room of one customer's conversation."""
    return _WHATSAPP_CUSTOMER_PREFIX + customer_id


def user_room(user_id: str) -> str:
    """Return the room that only the server fills: all connections of one user."""
    return _USER_PREFIX + user_id


def is_user_room(room: str) -> bool:
    """Say whether the room is one of those that belong to a user, and so to the server."""
    return room.startswith(_USER_PREFIX)
