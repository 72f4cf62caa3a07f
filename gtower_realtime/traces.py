"""What became of an event at each client, told when somebody asks. No wires.

Of an event only what it was and for whom is kept: who got it follows from where each client was
(`trails`), and whether it has arrived from what pongs and acknowledgements have confirmed.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from gtower_realtime.errors import UnknownEventId, ValidationFailed
from gtower_realtime.ports import Clock, Offset, Target, Transport
from gtower_realtime.sessions import Sessions
from gtower_realtime.timestamps import format_timestamp, from_milliseconds, milliseconds
from gtower_realtime.trails import Span, Trail, Trails

MAX_EVENTS = 50_000
MAX_BYTES = 32 * 1024 * 1024
"""What the newest events that are known may take, about, whatever their number."""

CLIENTS_OF_A_PAGE = 100
MAX_CLIENTS_OF_A_PAGE = 1000

# Clients that are looked at in one turn of the loop, a few milliseconds.
_SLICE_CLIENTS = 1000

_EVENT_SIZE = 400
_NAME_SIZE = 80

State = Literal["queued", "written", "acknowledged", "pending", "dropped", "not_matched"]

MayJoin = Callable[[str, str], bool]
"""Says of a client id and a room whether that client may join it."""


# Not frozen: one is made for each event.
@dataclass(slots=True)
class TracedEvent:
    """An event that was handed over at a place in the order of deliveries; never changed.

    ``offset`` is None for one that was not recorded; ``after_number`` is the log's last number
    then, its own if it has one. Times are milliseconds since 1970.
    """

    place: int
    id: str
    event: str
    body: str
    target: Target
    published_at: int
    expires_at: int | None
    offset: Offset | None
    after_number: int
    recipients: int
    pending: int
    is_ours: bool
    """Whether it was published by this process."""
    size: int = 0
    """What it counts against the bound, in bytes; known once it is kept."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of an event at one client, and why if the state does not say it all."""

    state: State
    reason: str | None = None


class Traces:
    """The newest events, at most 50,000 or 32 MiB of them, and what became of each.

    They are kept in memory: a restart forgets them.
    """

    def __init__(
        self,
        *,
        trails: Trails,
        transport: Transport,
        sessions: Sessions,
        clock: Clock,
        may_join: MayJoin,
    ) -> None:
        self.trails = trails
        """Where the clients were; whoever hands events over has to tell it."""
        self._transport = transport
        self._sessions = sessions
        self._clock = clock
        self._may_join = may_join
        self._events: deque[TracedEvent] = deque()
        self._by_id: dict[str, TracedEvent] = {}
        self._bytes = 0

    def keep(self, event: TracedEvent) -> None:
        """Take up an event that has just been handed over; the oldest may have to go for it.

        With an id that another one has had, it is found instead of that.
        """
        events, by_id = self._events, self._by_id
        target = event.target
        names = len(target.rooms) + len(target.users) + len(target.clients) + len(target.excluded)
        event.size = _EVENT_SIZE + len(event.body) + _NAME_SIZE * names
        events.append(event)
        by_id[event.id] = event
        self._bytes += event.size
        while len(events) > MAX_EVENTS or (self._bytes > MAX_BYTES and len(events) > 1):
            oldest = events.popleft()
            if by_id[oldest.id] is oldest:
                del by_id[oldest.id]
            self._bytes -= oldest.size
            self.trails.oldest = oldest.place + 1

    def find(self, event_id: str) -> TracedEvent:
        """Return an event by its id.

        Raises:
            UnknownEventId: there was none, or it is not among the newest any more.
        """
        event = self._by_id.get(event_id)
        if event is None:
            raise UnknownEventId(
                f"No event with the id {event_id!r} is known; they are kept for a while only."
            )
        return event

    async def describe(
        self,
        event: TracedEvent,
        client_id: str | None = None,
        user_id: str | None = None,
        after: str | None = None,
        limit: int = CLIENTS_OF_A_PAGE,
        *,
        by_id: bool = False,
    ) -> dict[str, Any]:
        """Return what an event was, and ``clients`` with what became of it at each, and ``more``.

        ``{"id", "event", "offset"?, "target", "timestamp", "recipients", "pending", "clients":
        [{"clientId", "state", "reason"?}], "more"}``. The clients are those that it was for, in the
        order of first connecting; with ``client_id`` or ``user_id`` that client and those of that
        user, whether or not it was for them. At most ``limit`` of those that follow the client
        ``after``; ``more`` says whether there are others. With ``by_id`` they are in the order of
        their ids, and ``after`` need not be known.

        Raises:
            ValidationFailed: the client ``after`` is not known.
        """
        description: dict[str, Any] = {
            "id": event.id,
            "event": event.event,
            "target": event.target.as_dict(),
            "timestamp": format_timestamp(from_milliseconds(event.published_at)),
            "recipients": event.recipients,
            "pending": event.pending,
        }
        if event.offset is not None:
            description["offset"] = str(event.offset)
        clients = []
        if client_id is None and user_id is None:
            trails = _by_id(self.trails, after) if by_id else _following(self.trails, after)
            async for trail in _slices(trails):
                fate = self._fate(event, trail)
                if fate.state != "not_matched":
                    clients.append(_entry(trail.client_id, fate))
                    if len(clients) > limit:
                        break
        else:
            for one in self._asked_for(client_id, user_id):
                known = self.trails.of_client(one)
                clients.append(_entry(one, self._fate(event, known) if known else _UNKNOWN))
        return {**description, "clients": clients[:limit], "more": len(clients) > limit}

    def _asked_for(self, client_id: str | None, user_id: str | None) -> Collection[str]:
        of_user = [trail.client_id for trail in self.trails if trail.user_id == user_id is not None]
        return dict.fromkeys([*([] if client_id is None else [client_id]), *of_user])

    # What became of an event at one client

    def _fate(self, event: TracedEvent, trail: Trail) -> Fate:
        if not trail.existed(event.place):
            return Fate("not_matched", "not connected then")
        if not trail.was_addressed(event.target, event.place):
            return Fate("not_matched", self._why_not_addressed(event, trail))
        if trail.client_id in event.target.excluded:
            return Fate("not_matched", "excepted")
        if event.place in trail.acknowledged:
            return Fate("acknowledged")
        if event.place in trail.drops:
            return Fate("dropped", _SLOW)
        return self._way(event, trail)

    def _why_not_addressed(self, event: TracedEvent, trail: Trail) -> str:
        rooms = event.target.rooms
        if not rooms:
            return "not addressed"
        if event.place <= trail.unclear_until:
            return _UNCLEAR
        may_join = [self._may_join(trail.client_id, room) for room in rooms]
        return "not in the room" if trail.span is None or any(may_join) else "may not join the room"

    def _way(self, event: TracedEvent, trail: Trail) -> Fate:
        """Follow an event that was for a client from one of its connections to the next."""
        if event.place <= trail.unclear_until:
            return Fate("dropped", _UNCLEAR)
        reason = "away"
        for span in trail.spans:
            if span.until == event.place and span.is_slow:
                reason = _SLOW
            if not span.lasted_beyond(event.place):
                continue
            at_return = _at_return(event, span, reason) if span.after > event.place else None
            fate = at_return or self._on_connection(event, trail, span)
            if fate is not None:
                return fate
            reason = _CUT_OFF
        return self._without_connection(event, trail, reason)

    def _on_connection(self, event: TracedEvent, trail: Trail, span: Span) -> Fate | None:
        """Say how far it came on a connection that it was sent on; None when that is not known."""
        reason = "recovered" if span.after > event.place else None
        confirmed = span.confirmed
        if span is trail.span:
            confirmed = max(confirmed, self._transport.confirmed_mark(trail.client_id))
        # One without a number went before the next number.
        if event.after_number + (event.offset is None) <= confirmed:
            return Fate("acknowledged", reason)
        if span is not trail.span or span.until is not None:
            return None
        waits = self._transport.has_unwritten(trail.client_id, event.body, event.offset)
        return Fate("queued" if waits else "written", reason)

    def _without_connection(self, event: TracedEvent, trail: Trail, reason: str) -> Fate:
        if event.offset is None or not self._sessions.can_return(trail.client_id):
            return Fate("dropped", reason)
        if event.expires_at is not None and event.expires_at <= milliseconds(self._clock.now()):
            return Fate("dropped", "expired")
        return Fate("pending", reason)


async def _slices(trails: Iterable[Trail]) -> AsyncIterator[Trail]:
    """Yield the trails, letting others run now and then."""
    for count, trail in enumerate(trails, 1):
        yield trail
        if count % _SLICE_CLIENTS == 0:
            await asyncio.sleep(0)


def _following(trails: Iterable[Trail], after: str | None) -> list[Trail]:
    """Return the trails that follow the client ``after``."""
    known = list(trails)
    if after is None:
        return known
    places = [place for place, trail in enumerate(known, 1) if trail.client_id == after]
    if not places:
        sentence = "There is no such client."
        raise ValidationFailed(f"after: {sentence}", fields={"after": [sentence]})
    return known[places[0] :]


def _by_id(trails: Iterable[Trail], after: str | None) -> list[Trail]:
    ordered = sorted(trails, key=lambda trail: trail.client_id)
    return [trail for trail in ordered if after is None or trail.client_id > after]


UNKNOWN_CLIENT = "unknown client"
"""Why an event was not for a client that this process has never had."""

_UNKNOWN = Fate("not_matched", UNKNOWN_CLIENT)
_SLOW = "dropped as slow"
_CUT_OFF = "cut off before it was confirmed"
_UNCLEAR = "not known any more"


def _at_return(event: TracedEvent, span: Span, reason: str) -> Fate | None:
    """Say what came of it when the client returned; None when it was sent again."""
    if event.offset is None:
        return Fate("dropped", reason)
    if event.offset.number <= span.claimed:
        return Fate("acknowledged")
    if event.offset.number in span.replayed:
        return None
    return Fate("dropped", _CUT_OFF if reason == _CUT_OFF else "expired, deleted or not allowed")


def _entry(client_id: str, fate: Fate) -> dict[str, Any]:
    entry = {"clientId": client_id, "state": fate.state}
    if fate.reason is not None:
        entry["reason"] = fate.reason
    return entry
