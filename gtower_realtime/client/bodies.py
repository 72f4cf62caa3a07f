"""What calls take: the bodies of the HTTP API, with its own names where they are its objects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NotRequired, TypedDict

Body = Mapping[str, Any]
"""Anything that JSON can say as an object: text, finite numbers, booleans, None, lists, dicts."""


class Notification(TypedDict):
    """A notice to show."""

    type: Literal["info", "success", "warning", "error"]
    title: str
    message: str
    metadata: NotRequired[Body | None]


class ChatMessage(TypedDict):
    """A chat message; ``timestamp`` in ISO 8601, now when it is absent."""

    id: str
    senderId: str
    senderName: str
    content: str
    timestamp: NotRequired[str | None]
    roomId: NotRequired[str | None]


class WhatsAppStatus(TypedDict):
    """The state that a WhatsApp number or message has now."""

    status: str
    metadata: NotRequired[Body | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """An event, to whom, and how. Each connection gets one copy, however often it is a target.

    Give ``rooms``, ``users``, ``clients`` or ``everyone``; ``excluding`` are client ids that do not
    get it. A volatile event is not recorded. Nobody gets the event by recovery or history after
    ``ttl`` seconds. ``id`` (1 to 128 characters) is your own id of the event; the same one within
    300 seconds sends nothing again.
    """

    event: str
    data: Body = field(default_factory=dict)
    rooms: Sequence[str] = ()
    users: Sequence[str] = ()
    clients: Sequence[str] = ()
    everyone: bool = False
    excluding: Sequence[str] = ()
    volatile: bool = False
    ttl: float | None = None
    id: str | None = None

    def as_body(self) -> dict[str, Any]:
        """Return what the HTTP API calls it; what is as usual is left out."""
        said = {
            "rooms": _names("rooms", self.rooms),
            "users": _names("users", self.users),
            "clients": _names("clients", self.clients),
            "all": self.everyone,
            "except": _names("excluding", self.excluding),
            "volatile": self.volatile,
        }
        return {
            "event": self.event,
            "data": self.data,
            **{name: value for name, value in said.items() if value},
            **{
                name: value
                for name, value in (("ttl", self.ttl), ("id", self.id))
                if value is not None
            },
        }


def _names(parameter: str, names: Sequence[str]) -> list[str]:
    # A string is a sequence of strings too: rooms="sales" would be five rooms.
    if isinstance(names, str):
        raise TypeError(f"{parameter} must be a list of names, not one string; write [{names!r}]")
    return list(names)
