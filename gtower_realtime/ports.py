"""What the service needs from outside, as small interfaces, and the values that cross them.

Implementations live in rooms of their own (`gateway/`, `store/`); the service and its tests know
only these.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from gtower_realtime.records import (
    Bounds,
    Change,
    CountedMinute,
    GivenAnswer,
    Snapshot,
    StoredEvent,
    StoredWebhook,
    WebhookBacklog,
)

_OFFSET = re.compile(r"([0-9A-Za-z_]{1,64})-([0-9a-f]{1,15})")

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

    @property
    def is_one_client(self) -> bool:
        """Whether it is one client and nobody else."""
        return len(self.clients) == 1 and not (self.rooms or self.users or self.everyone)

    @property
    def is_empty(self) -> bool:
        """Whether it is nobody at all."""
        return not (self.rooms or self.users or self.clients or self.everyone)

    def as_dict(self) -> dict[str, Any]:
        """Return ``{"rooms"?, "users"?, "clients"?, "all"?, "except"?}``, as a request has them."""
        parts = {
            "rooms": list(self.rooms),
            "users": list(self.users),
            "clients": list(self.clients),
            "all": self.everyone,
            "except": sorted(self.excluded),
        }
        return {name: part for name, part in parts.items() if part}

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

    @classmethod
    def parse(cls, text: str) -> "Offset | None":
        """Read what :meth:`__str__` wrote; None for anything else."""
        match = _OFFSET.fullmatch(text)
        return None if match is None else cls(match[1], int(match[2], 16))


MAX_HISTORY_BYTES = 1_000_000
"""How much one read of a history returns, but for its last event."""


class Store(Protocol):
    """Keeps the log, the sessions and the given answers; the journal is its only user.

    Calls of :meth:`commit` do not overlap. What fails raises `StoreUnavailable`, after at most a
    few seconds, and never blocks the loop; a later call may work again.
    """

    async def open(self, *, recent_events: int, recent_bytes: int) -> Snapshot:
        """Make ready, migrate if need be, and return what is there.

        Raises:
            StoreUnavailable: it cannot be reached.
            StoreUnusable: it is of a newer version, or another process has it.
        """

    async def commit(self, changes: Sequence[Change]) -> None:
        """Record all of ``changes``, in their order, or none of them.

        Without any it tries out whether something could be recorded.
        """

    async def events_for(
        self, addresses: Collection[str], *, after: int, until: int, limit: int
    ) -> list[StoredEvent]:
        """Return the oldest events for any of ``addresses`` with ``after < number <= until``."""

    async def history(self, room: str, *, after: int, limit: int, now: int) -> list[StoredEvent]:
        """Return the oldest events of ``room`` after a number, less those that have expired.

        They are at most ``limit``, and fewer when they are long: the one with which their sizes
        are more than `MAX_HISTORY_BYTES` is the last.
        """

    async def delete_history(self, room: str) -> int:
        """Delete the events that were for ``room`` alone, take it off the others; count them."""

    async def find_answer(self, key: str, now: int) -> GivenAnswer | None:
        """Return the answer given to a key, unless it has expired."""

    async def minutes(self, *, since: int, before: int) -> list[CountedMinute]:
        """Return the counted minutes with ``since <= at < before``, in the order of their times."""

    # Of webhooks nothing is read of which it is not certain that it was recorded.

    async def webhook_backlog(self) -> WebhookBacklog:
        """Return how much waits in the inbox."""

    async def next_webhook(self) -> StoredWebhook | None:
        """Return the oldest webhook that is waiting, None when there is none."""

    async def webhook_marks(self, keys: Collection[str]) -> dict[str, str]:
        """Return the values of the marks with ``keys``, at most a few hundred, that there are."""

    async def replay_webhooks(self, since: int | None) -> int:
        """Let webhooks wait again: those received since then, or those set aside; count them."""

    async def trim(self, bounds: Bounds, now: int) -> int:
        """Delete what is beyond the bounds, oldest first, and expired answers and their like.

        Counted minutes, webhooks and their marks have bounds of their own, those of
        `store.bounds`, whatever the bounds of the log are. What is waiting stays.

        Works in small transactions. Returns the first number that is kept.
        """

    async def close(self) -> None:
        """Let go of everything. Idempotent."""


class Transport(Protocol):
    """Carries events to the connections of this process, and knows their rooms.

    Nothing here waits: an event is handed to the queue of each connection, which is bounded.
    """

    def deliver(
        self,
        event: str,
        body: str,
        target: Target,
        *,
        offset: Offset | None = None,
        droppable: bool = False,
    ) -> int:
        """Hand the event to every connection it is for; return to how many distinct ones.

        ``body`` is the payload as JSON text; ``offset`` goes to the clients that can take it.
        Events of several calls reach each connection in the order of the calls. A connection
        whose buffer is full loses a ``droppable`` event and is closed by any other.
        """

    def deliver_asking(
        self,
        event: str,
        body: str,
        target: Target,
        acknowledged: Callable[[str], None],
        droppable: bool = False,
    ) -> list[str]:
        """Do what :meth:`deliver` does, and ask each client to acknowledge the event.

        Returns the ids of those that were handed it; ``acknowledged`` is called with the id of each
        whose listener has called its callback. Such an event carries no offset.
        """

    def send(
        self, client_id: str, event: str, payload: Payload, offset: Offset | None = None
    ) -> None:
        """Hand an event that is for one client alone to it; silent when the client is gone."""

    def replay(self, client_id: str, events: Sequence[tuple[str, str, Offset | None]]) -> None:
        """Hand (event, body, offset) that a client has missed to it, ahead of what is new.

        What is replayed does not count against the client's buffer.
        """

    def release(self, client_id: str) -> None:
        """Cut a connection whose client is back on another one; nobody hears of it."""

    def confirmed_mark(self, client_id: str) -> int:
        """Return the number that was the log's last when the ping went that was answered last.

        Whatever was handed over before is known to have arrived. 0 when there was none yet.
        """

    def enter_room(self, client_id: str, room: str) -> None:
        """Make the client a member; silent when it is one or is gone."""

    def leave_room(self, client_id: str, room: str) -> None:
        """End the membership; silent when there is none."""

    def rooms_of(self, client_id: str) -> list[str]:
        """Return the rooms the client has joined, in the order of joining."""

    def rooms(self) -> Iterable[str]:
        """Return the names of all rooms that have a member."""

    def room_count(self) -> int:
        """Return how many rooms have a member, at once however many there are."""

    def membership_count(self) -> int:
        """Return how many members all rooms have together, at once."""

    def members_of(self, room: str) -> list[str]:
        """Return the ids of the clients in a room."""

    def waiting_bytes(self, client_id: str) -> int:
        """Return what waits for the client inside this process, in bytes; 0 when it is gone."""

    def has_unwritten(self, client_id: str, body: str, offset: Offset | None) -> bool:
        """Say whether an event that was handed over has not left this process yet, or not all.

        ``body`` and ``offset`` are those with which it was delivered; of two events with the same
        ``body`` and no offset one stands for the other.
        """

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
