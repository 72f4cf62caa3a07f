"""Who may do what in which room: one rule engine for join, publish, history and presence.

Knows neither tokens nor connections; what a client was granted is handed in. An example grant:

    Cap(rooms=("whatsapp:customer:*",), allow=frozenset({"join", "history"}))
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from gtower_realtime.errors import Forbidden
from gtower_realtime.names import is_user_room

Right = Literal["join", "publish", "history", "presence"]

RIGHTS: tuple[Right, ...] = ("join", "publish", "history", "presence")

EVERY_ROOM = "*"
"""The pattern that covers all rooms; `message`, which goes to everybody, needs publish on it."""


@dataclass(frozen=True, slots=True)
class Cap:
    """The rights in ``allow``, in every room that one of the patterns in ``rooms`` covers.

    A ``*`` in a pattern stands for any characters, none included; all else stands for itself.
    """

    rooms: tuple[str, ...]
    allow: frozenset[Right]


class Permissions:
    """What one client may do, in which rooms; never changes.

    ``rooms`` are the names of rooms that the client may join and no more; ``caps`` grant whatever
    they say. What neither covers is forbidden. ``is_client_id`` tells which names are those of
    clients at the time of asking: these rooms, and ``user:…``, belong to the server, and no grant
    reaches them.
    """

    __slots__ = ("_is_client_id", "_patterns", "_rooms")

    def __init__(
        self, rooms: Iterable[str], caps: Iterable[Cap], is_client_id: Callable[[str], bool]
    ) -> None:
        self._rooms = frozenset(rooms)
        granted = tuple(caps)
        self._patterns: dict[Right, tuple[str, ...]] = {
            right: tuple(pattern for cap in granted if right in cap.allow for pattern in cap.rooms)
            for right in RIGHTS
        }
        self._is_client_id = is_client_id

    @classmethod
    def unrestricted(cls, is_client_id: Callable[[str], bool]) -> "Permissions":
        """Return what everybody may while no tokens are required: all but the server's rooms."""
        return cls((), (Cap((EVERY_ROOM,), frozenset(RIGHTS)),), is_client_id)

    def allows(self, right: Right, room: str) -> bool:
        """Say whether the client has ``right`` in ``room``."""
        return not self._belongs_to_server(room) and self._is_granted(right, room)

    def check(self, right: Right, room: str) -> None:
        """Check that the client has ``right`` in ``room``.

        Raises:
            Forbidden: the room belongs to the server, or nothing grants the right; says which.
        """
        self.check_may_leave(room)
        if not self._is_granted(right, room):
            raise Forbidden(f"Your token does not allow {right!r} in the room {room!r}.")

    def check_may_leave(self, room: str) -> None:
        """Check that leaving ``room`` is up to the client, which takes no right.

        Raises:
            Forbidden: the room belongs to the server.
        """
        if self._belongs_to_server(room):
            raise Forbidden(f"The room {room!r} belongs to the server; choose another name.")

    def check_may_broadcast(self) -> None:
        """Check that the client may send to everybody.

        Raises:
            Forbidden: no cap has the right ``publish`` on ``*``.
        """
        if not self._is_granted("publish", EVERY_ROOM):
            raise Forbidden("Your token does not allow 'publish' on '*', as messages to all need.")

    def lost_rooms(self, joined: Iterable[str]) -> list[str]:
        """Return which of the rooms that the client has joined it may not be in, in their order.

        To be asked when these permissions replace others. ``user:…`` is never among them: the
        server, not the client, decides on that membership.
        """
        return [room for room in joined if not (is_user_room(room) or self.allows("join", room))]

    def _is_granted(self, right: Right, room: str) -> bool:
        if right == "join" and room in self._rooms:
            return True
        return any(_covers(pattern, room) for pattern in self._patterns[right])

    def _belongs_to_server(self, room: str) -> bool:
        return is_user_room(room) or self._is_client_id(room)


def _covers(pattern: str, room: str) -> bool:
    """Say whether ``room`` is what ``pattern`` says.

    By hand and not as a regular expression, which would try again for each further ``*``.
    """
    start, *rest = pattern.split("*")
    if not rest:
        return room == pattern
    *middle, end = rest
    stop = len(room) - len(end)
    if not room.startswith(start) or not room.endswith(end):
        return False
    position = len(start)
    for part in middle:
        found = room.find(part, position)
        if found < 0:
            return False
        position = found + len(part)
    return position <= stop
