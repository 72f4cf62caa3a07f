"""What the service needs from outside, as small interfaces, and the values that cross them.

Implementations live in rooms of their own (`gateway/`, `store/`); the service and its tests know
only these.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

Payload = Mapping[str, Any]
"""What an event carries: one JSON object."""


@dataclass(frozen=True, slots=True)
class Target:
    """Whom an event is for: the union of rooms, users and clients, or everyone, less ``excluded``.

    A connection in several of them gets one copy. ``excluded`` holds client ids.
    """

    rooms: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
    everyone: bool = False
    excluded: frozenset[str] = frozenset()

    @classmethod
    def room(cls, name: str) -> "Target":
        """Everyone who is in the room."""
        return cls(rooms=(name,))

    @classmethod
    def user(cls, user_id: str) -> "Target":
        """Every connection of the user."""
        return cls(users=(user_id,))

    @classmethod
    def client(cls, client_id: str) -> "Target":
        """One connection."""
        return cls(clients=(client_id,))

    @classmethod
    def all(cls, *, excluded: frozenset[str] = frozenset()) -> "Target":
        """Every connection, in every namespace."""
        return cls(everyone=True, excluded=excluded)


@dataclass(frozen=True, slots=True)
class Offset:
    """The place of a stored event in the log: opaque outside it, epoch and number inside.

    Numbers rise by one from 1; an epoch is one life of a log, so that numbers of another log are
    recognised as foreign.
    """

    epoch: str
    number: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.number:x}"


@dataclass(frozen=True, slots=True)
class Publication:
    """One event on its way: what, to whom, when, and the id that its receipt names."""

    id: str
    event: str
    payload: Payload
    target: Target
    published_at: datetime


class EventLog(Protocol):
    """Where stored events are recorded before anybody sees them."""

    async def append(self, publication: Publication) -> Offset:
        """Record ``publication`` and return its offset once it cannot be lost.

        Calls return in the order of their offsets, and offsets rise in the order of the calls, so
        a caller that delivers as soon as this returns keeps the order of the log.

        Raises:
            StoreUnavailable: it was not recorded, and never will be.
        """


class Transport(Protocol):
    """Carries events to the connections of this process, and knows their rooms.

    Nothing here waits: an event is handed to the queue of each connection, which is bounded.
    """

    def deliver(
        self, event: str, payload: Payload, target: Target, *, droppable: bool = False
    ) -> int:
        """Hand the event to every connection it is for; return to how many distinct ones.

        Events of several calls reach each connection in the order of the calls. A connection
        whose buffer is full loses a ``droppable`` event and is closed by any other.
        """

    def send(self, client_id: str, event: str, payload: Payload) -> None:
        """Hand an event that is for one client alone to it; silent when the client is gone."""

    def enter_room(self, client_id: str, room: str) -> None:
        """Make the client a member; silent when it is one or is gone."""

    def leave_room(self, client_id: str, room: str) -> None:
        """End the membership; silent when there is none."""

    def rooms_of(self, client_id: str) -> list[str]:
        """Return the rooms the client has joined, in the order of joining."""

    def transport_of(self, client_id: str) -> str:
        """Return ``websocket`` or ``polling``."""

    def disconnect(self, client_id: str, code: int, reason: str) -> None:
        """End the client's connection with a WebSocket close code (PRODUCT.md section 6)."""


class Clock(Protocol):
    """The two times: one to show, one to measure with."""

    def now(self) -> datetime:
        """Return the wall clock as an aware UTC time."""

    def monotonic(self) -> float:
        """Return seconds that never go back, from an arbitrary start."""
