"""What the service needs from outside, as small interfaces, and the values that cross them.

Implementations live in rooms of their own (`gateway/`, `store/`); the service and its tests know
only these.
"""

import asyncio
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from gtower_realtime.records import (
    Bounds,
    Change,
    CountedMinute,
    GivenAnswer,
    OutboxBacklog,
    OutboxEntry,
    Snapshot,
    StoredEvent,
    StoredSession,
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

    # Of webhooks and the outbox nothing is read of which it is not certain that it was recorded.

    async def webhook_backlog(self) -> WebhookBacklog:
        """Return how much waits in the inbox."""

    async def next_webhook(self) -> StoredWebhook | None:
        """Return the oldest webhook that is waiting, None when there is none."""

    async def webhook_marks(self, keys: Collection[str]) -> dict[str, str]:
        """Return the values of the marks with ``keys``, at most a few hundred, that there are."""

    async def replay_webhooks(self, since: int | None) -> int:
        """Let webhooks wait again: those received since then, or those set aside; count them."""

    async def outbox(self, *, limit: int, max_bytes: int) -> list[OutboxEntry]:
        """Return what other nodes are to be sent next, in the order in which it was put.

        They are at most ``limit``, and fewer when they are long: the one with which their sizes
        are more than ``max_bytes`` is the last.
        """

    async def outbox_backlog(self) -> OutboxBacklog:
        """Return how much waits for other nodes."""

    async def trim(self, bounds: Bounds, now: int) -> int:
        """Delete what is beyond the bounds, oldest first, and expired answers and their like.

        Counted minutes, webhooks and their marks have bounds of their own, those of
        `store.bounds`, whatever the bounds of the log are. What is waiting stays, so does all that
        is in the outbox.

        Works in small transactions. Returns the first number that is kept.
        """

    async def close(self) -> None:
        """Let go of everything. Idempotent."""


Changes = Callable[[int], Sequence[Change]]
"""Given the number of the place in the log, what to record."""

Addresses = Callable[[], Collection[str]]
"""Says whose events to read; asked before each read, since it may have become more."""


@dataclass(slots=True)
class Past:
    """Events that only the store holds: all there are up to ``read_until``, if it is complete.

    It is not when there were more than the limit, or the oldest were trimmed already.
    """

    read_until: int
    events: list[StoredEvent] = field(default_factory=list)
    is_complete: bool = True

    @property
    def size(self) -> int:
        """The bytes of the events."""
        return sum(event.size for event in self.events)


class EventLog(Protocol):
    """The one order in which things happen: they are recorded, and only then take effect.

    `journal.Journal` is that of one process, `cluster.SharedLog` that of several.
    """

    @property
    def first_number(self) -> int:
        """The oldest number whose event is kept."""

    @property
    def last_number(self) -> int:
        """The last number that has taken effect."""

    async def open(self) -> list[StoredSession]:
        """Begin, and return the sessions that were kept.

        Raises:
            StoreUnavailable: the store cannot be reached.
            StoreUnusable: the store is not for this process.
        """

    async def close(self) -> None:
        """Record what waits; what comes later fails. Idempotent."""

    @property
    def epoch(self) -> str:
        """The epoch of the offsets that a client may come back with."""

    @property
    def is_failing(self) -> bool:
        """Whether nothing can be recorded at the moment."""

    @property
    def queue_length(self) -> int:
        """How many changes wait to be recorded."""

    def offset(self, number: int) -> Offset:
        """Return the offset of a number, as clients are told it."""

    def append(
        self,
        make_event: Callable[[int], StoredEvent],
        apply: Callable[[StoredEvent], Any],
        also: Callable[[StoredEvent], Sequence[Change]] | None = None,
        *,
        size: int = 0,
    ) -> "asyncio.Future[Any]":
        """Record an event, then ``apply`` it; the future has what that returns.

        What ``also`` returns is recorded in the same transaction. ``size`` is about how many bytes
        there are to record.

        Events are applied in the order of their numbers; those of one process in the order of the
        calls. Cancelling the future changes nothing of that. It fails with `StoreUnavailable` when
        the event was not recorded, and with `Overloaded` when too much waits already: then nobody
        has seen it.
        """

    def record(
        self, changes: Changes, apply: Callable[[int], Any], *, size: int = 0
    ) -> "asyncio.Future[Any]":
        """Record ``changes`` between two events and ``apply`` them; see :meth:`append`.

        Both are called with the number of their place. Where many processes write, ``changes`` is
        called before that is known, with 0.
        """

    async def catch_up(self) -> None:
        """Wait until all that was recorded anywhere before this call has taken effect here."""

    @property
    def window_after(self) -> int:
        """The number after which every event is in memory."""

    def recent(self, after: int) -> list[StoredEvent]:
        """Return the events after a number that is not before :attr:`window_after`."""

    async def past(
        self, addresses: Addresses, after: int, *, max_events: int, max_bytes: int
    ) -> Past:
        """Return the events for ``addresses`` after a number that are no longer in memory.

        When it returns, memory holds whatever came after `Past.read_until`, until the next wait.
        It stops reading, and is not complete, beyond ``max_events`` or ``max_bytes``.

        Raises:
            StoreUnavailable: the store cannot be read.
        """

    async def find_answer(self, key: str, now: int) -> GivenAnswer | None:
        """Return the answer given to an idempotency key. Raises as the store does."""

    async def history(self, room: str, *, after: int, limit: int, now: int) -> list[StoredEvent]:
        """Return the oldest events of a room after a number; see `Store.history`."""

    async def delete_history(self, room: str) -> int:
        """Delete the history of a room; how many events it had. Raises as the store does."""

    async def minutes(self, *, since: int, before: int) -> list[CountedMinute]:
        """Return the minutes that this process has counted. Raises as the store does."""

    async def webhook_backlog(self) -> WebhookBacklog:
        """Return how much waits in the inbox. Raises as the store does."""

    async def next_webhook(self) -> StoredWebhook | None:
        """Return the oldest webhook that is waiting. Raises as the store does."""

    async def webhook_marks(self, keys: Collection[str]) -> dict[str, str]:
        """Return the values of marks by their keys. Raises as the store does."""

    async def replay_webhooks(self, since: int | None) -> int:
        """Let webhooks wait again; how many. Raises as the store does."""

    async def trim(self, bounds: Bounds, now: int) -> None:
        """Delete what is beyond the bounds. Raises as the store does."""


class SharedHistory(Protocol):
    """Keeps the events of a cluster for long; all of its nodes add them, read and delete them.

    Numbers rise and have gaps; they are below 2**63. What fails raises `StoreUnavailable` after a
    few seconds, and may have happened or not: whatever it was, it may be done again, by any node.
    """

    async def open(self) -> None:
        """Make ready, and migrate if need be, whoever else does so at the same time.

        After a failure it may be tried again.

        Raises:
            StoreUnavailable: it cannot be reached.
            StoreUnusable: it is of a newer version.
        """

    async def begin(self, epoch: str) -> None:
        """Say of which life of the cluster's log the events are from now on.

        In a new one nothing has been filled; the events of the one before stay. What a node adds
        that is still in another one is kept, and does not count as filled.
        """

    async def add(self, events: Sequence[StoredEvent], *, after: int | None = None) -> None:
        """Add those of ``events`` that are not there, unless they have been deleted.

        ``after`` is the number from which on nothing is left out in ``events``, and None says that
        they follow what was added before. If it is further on, there is a gap, and what comes
        before it is no longer taken for complete; see :meth:`trim`.

        Many events are added in several transactions, the oldest first.
        """

    async def filled_until(self) -> int:
        """Return the last number that was added, by whatever node, in this life of the log.

        0 when there is none yet.
        """

    async def events_for(
        self, addresses: Collection[str], *, after: int, until: int, limit: int
    ) -> list[StoredEvent]:
        """Return the oldest events for any of ``addresses``; see `Store.events_for`."""

    async def history(self, room: str, *, after: int, limit: int, now: int) -> list[StoredEvent]:
        """Return the oldest events of ``room``; see `Store.history`."""

    async def delete_history(self, room: str, until: int) -> int:
        """Delete the events up to ``until`` that were for ``room`` alone, take it off the others.

        Those that other nodes have not added yet are deleted too. Returns how many were found.
        """

    async def trim(self, bounds: Bounds, now: int) -> int:
        """Delete what is beyond the bounds, oldest first, and what has expired.

        Works in small transactions. Returns the first number from which on all is kept, but for
        what has expired or was deleted.
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
