"""The newest events of a log, in memory, so that the last step of a replay need not wait."""

from collections import deque
from dataclasses import replace
from itertools import takewhile

from gtower_realtime.records import StoredEvent


class Window:
    """The newest events, in memory, bounded by count and bytes."""

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._events: deque[StoredEvent] = deque()
        self._bytes = 0
        self.after = 0
        """The number after which every event is here."""

    def begin(self, recent: list[StoredEvent], last_number: int) -> None:
        """Take what a store holds; nothing came after the last number."""
        self._events = deque(recent)
        self._bytes = sum(event.size for event in recent)
        self.after = recent[0].number - 1 if recent else last_number

    def add(self, event: StoredEvent) -> None:
        """Add an event, with a greater number than those before; the oldest may have to go."""
        self._events.append(event)
        self._bytes += event.size
        while len(self._events) > self._max_events or self._bytes > self._max_bytes:
            oldest = self._events.popleft()
            self._bytes -= oldest.size
            self.after = oldest.number

    def since(self, after: int) -> list[StoredEvent]:
        """Return the events after a number."""
        # From the end: a replay wants few of the many, and those are the newest.
        newest_first = takewhile(lambda event: event.number > after, reversed(self._events))
        return list(newest_first)[::-1]

    def forget_room(self, room: str, until: int) -> None:
        """Forget what was for a room alone, up to a number, and take the room off the others."""
        kept = (event if event.number > until else _without(event, room) for event in self._events)
        self._events = deque(event for event in kept if event.addresses)
        self._bytes = sum(event.size for event in self._events)


def _without(event: StoredEvent, room: str) -> StoredEvent:
    if room not in event.addresses:
        return event
    addresses = tuple(address for address in event.addresses if address != room)
    return replace(event, addresses=addresses)
