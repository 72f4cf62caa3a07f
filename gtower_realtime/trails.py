"""Where each client was when which event went out. State and rules, bounded; no I/O.

A place is a point in the order of all deliveries: odd while an event is being handed over, even
between two events. So what a client was at an event is a comparison of places, and nothing has to
be kept for each recipient.
"""

from array import array
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from gtower_realtime.names import user_room
from gtower_realtime.ports import Target

SLOW_CONSUMER = 4102

MAX_ENDED_TRAILS = 10_000
MAX_PAST_SPANS = 50
MAX_PAST_STAYS = 200
MAX_DROPS = 250
MAX_ACKNOWLEDGED = 1000


@dataclass(slots=True)
class Span:
    """A connection of a client: it was handed what went out at ``after < place < until``.

    ``until`` is None while it lasts. Numbers are those of the log: up to ``claimed`` the client
    said it had everything when it came, the ``replayed`` ones it was sent then, and up to
    ``confirmed`` it was known to have everything when the connection ended.
    """

    after: int
    claimed: int = 0
    replayed: frozenset[int] = frozenset()
    until: int | None = None
    confirmed: int = 0
    is_slow: bool = False
    """Whether it was closed because its client did not read: by the event at ``until``."""

    def lasted_beyond(self, place: int) -> bool:
        """Say whether it had not ended when the event of a place had been handed over."""
        return self.until is None or place < self.until


@dataclass(slots=True)
class Stay:
    """A membership that is over: what went out at ``after < place <= until`` was for it."""

    room: str
    after: int
    until: int


@dataclass(slots=True)
class Trail:
    """One client, from its first connection until it can come back no more: then it is ``ended``.

    Of what is over only the newest is kept: 50 connections, 200 stays in rooms, 250 events dropped
    and 1,000 acknowledged. What went out at ``unclear_until`` or before is not known for certain.
    """

    client_id: str
    user_id: str | None
    began: int
    ended: int | None = None
    unclear_until: int = 0
    span: Span | None = None
    """The connection that it has now."""
    past_spans: deque[Span] = field(default_factory=deque)
    rooms: dict[str, int] = field(default_factory=dict)
    """The rooms that it is in now, and the place after which it is."""
    past_stays: deque[Stay] = field(default_factory=deque)
    drops: "array[int]" = field(default_factory=lambda: array("Q"))
    acknowledged: dict[int, None] = field(default_factory=dict)

    @property
    def spans(self) -> list[Span]:
        """All connections that are known of, oldest first."""
        return [*self.past_spans, *([] if self.span is None else [self.span])]

    def existed(self, place: int) -> bool:
        """Say whether it was connected at a place, or able to come back."""
        return self.began < place and (self.ended is None or place <= self.ended)

    def was_addressed(self, target: Target, place: int) -> bool:
        """Say whether the event of a place was for it, unless it was excepted."""
        return (
            target.everyone
            or self.client_id in target.clients
            or (self.user_id is not None and self.user_id in target.users)
            or any(self._was_in(room, place) for room in target.rooms)
        )

    def _was_in(self, room: str, place: int) -> bool:
        if room == self.client_id or (self.user_id is not None and room == user_room(self.user_id)):
            return True
        after = self.rooms.get(room)
        return (after is not None and after < place) or any(
            stay.room == room and stay.after < place <= stay.until for stay in self.past_stays
        )

    def enter(self, room: str, place: int) -> None:
        """Begin a stay after a place; silent when it is in the room."""
        self.rooms.setdefault(room, place)

    def leave(self, room: str, place: int, oldest: int) -> None:
        """End a stay at a place; silent when there is none. See :meth:`lose` for ``oldest``."""
        after = self.rooms.pop(room, None)
        if after is None or after == place:
            return
        stays = self.past_stays
        stays.append(Stay(room, after, place))
        while stays[0].until < oldest or len(stays) > MAX_PAST_STAYS:
            self._take_out(stays.popleft().until, oldest)
            if not stays:
                break

    def lose(self, place: int, oldest: int) -> None:
        """Take note that the connection ends at a place; idempotent.

        Nobody asks for what went out before ``oldest``.
        """
        span = self.span
        if span is None:
            return
        self.span = None
        if span.until is None:
            span.until = place
        spans = self.past_spans
        spans.append(span)
        while (spans[0].until or 0) < oldest or len(spans) > MAX_PAST_SPANS:
            self._take_out(spans.popleft().until or 0, oldest)
            if not spans:
                break

    def _take_out(self, until: int, oldest: int) -> None:
        if until >= oldest:
            self.unclear_until = max(self.unclear_until, until)

    def drop(self, place: int) -> None:
        """Take note that the event of a place was dropped because the client is too slow."""
        self.drops.append(place)
        if len(self.drops) > MAX_DROPS:
            self.unclear_until = max(self.unclear_until, self.drops.pop(0))

    def acknowledge(self, place: int) -> None:
        """Take note that a listener of the client has acknowledged the event of a place."""
        self.acknowledged[place] = None
        if len(self.acknowledged) > MAX_ACKNOWLEDGED:
            del self.acknowledged[next(iter(self.acknowledged))]


class Trails:
    """The trails of all clients, and of the newest 10,000 that are gone for good.

    Silent about clients that it does not know.
    """

    def __init__(self) -> None:
        self._trails: dict[str, Trail] = {}
        self._ended: deque[Trail] = deque()
        self.place = 0
        """Where the order of deliveries is."""
        self.oldest = 0
        """The place of the oldest event that is asked for."""

    def __iter__(self) -> Iterator[Trail]:
        """Yield them in the order of first connecting."""
        return iter(self._trails.values())

    def of_client(self, client_id: str) -> Trail | None:
        """Return the trail of a client."""
        return self._trails.get(client_id)

    # Deliveries

    def begin_delivery(self) -> int:
        """Take note that an event is being handed over, and return its place."""
        self.place = (self.place + 1) | 1
        return self.place

    def end_delivery(self) -> None:
        """Take note that the event has been handed over."""
        self.place += 1

    # Clients

    def begin(self, client_id: str, user_id: str | None) -> None:
        """Begin the trail of a client that has connected for the first time, or is restored."""
        self._trails[client_id] = Trail(client_id, user_id, self.place)

    def resume(self, client_id: str, user_id: str | None, rooms: Collection[str]) -> None:
        """Begin the trail of a client that comes back and was never here; silent when it was."""
        if client_id not in self._trails:
            self.begin(client_id, user_id)
            for room in rooms:
                self.enter(client_id, room)

    def connect(self, client_id: str, claimed: int = 0, replayed: Collection[int] = ()) -> None:
        """Take note that a client has a connection."""
        trail = self._trails.get(client_id)
        if trail is not None:
            trail.span = Span(self.place, claimed, frozenset(replayed))

    def close(self, client_id: str, code: int) -> None:
        """Take note that nothing is handed to a client any more, before it is told to be gone."""
        trail = self._trails.get(client_id)
        if trail is not None and trail.span is not None and trail.span.until is None:
            trail.span.until = self.place
            trail.span.is_slow = code == SLOW_CONSUMER

    def confirm(self, client_id: str, number: int) -> None:
        """Take note that a client has received everything up to a number of the log."""
        trail = self._trails.get(client_id)
        if trail is not None and trail.span is not None:
            trail.span.confirmed = max(trail.span.confirmed, number)

    def disconnect(self, client_id: str) -> None:
        """Take note that a client's connection is gone."""
        trail = self._trails.get(client_id)
        if trail is not None:
            trail.lose(self.place, self.oldest)

    def end(self, client_id: str) -> None:
        """Take note that a client cannot come back."""
        trail = self._trails.get(client_id)
        if trail is None or trail.ended is not None:
            return
        trail.ended = self.place
        self._ended.append(trail)
        while self._ended and (
            (self._ended[0].ended or 0) < self.oldest or len(self._ended) > MAX_ENDED_TRAILS
        ):
            gone = self._ended.popleft()
            # Its id may have begun a trail anew.
            if self._trails.get(gone.client_id) is gone:
                del self._trails[gone.client_id]

    def enter(self, client_id: str, room: str) -> None:
        """Take note that a client is in a room from here on."""
        trail = self._trails.get(client_id)
        if trail is not None and trail.ended is None:
            trail.enter(room, self.place)

    def leave(self, client_id: str, room: str) -> None:
        """Take note that a client is not in a room any more."""
        trail = self._trails.get(client_id)
        if trail is not None:
            trail.leave(room, self.place, self.oldest)

    def drop(self, client_id: str) -> None:
        """Take note that the event that is being handed over was dropped for a slow client.

        What is dropped between two events is an announcement, which has no trace.
        """
        trail = self._trails.get(client_id)
        if trail is not None and self.place % 2:
            trail.drop(self.place)

    def acknowledge(self, client_id: str, place: int) -> None:
        """Take note that a client's listener has acknowledged the event of a place."""
        trail = self._trails.get(client_id)
        if trail is not None:
            trail.acknowledge(place)
