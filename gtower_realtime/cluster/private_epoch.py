"""Numbers that a process gives out by itself while it is cut off, and what it gave them to. No I/O.

They lie between the last number of the log that it had read and all that come: so what a client was
told, and when it entered a room, is in order here. Nobody else sees them; an offset with such a
number has an epoch of its own, which nobody can come back with. When the log has what they were
given to, they are forgotten.
"""

import secrets
from collections.abc import Sequence

from gtower_realtime.ports import Offset
from gtower_realtime.records import (
    EventAppended,
    RoomEntered,
    RoomLeft,
    SessionOpened,
    SharedChange,
    StoredEvent,
)
from gtower_realtime.sessions import Sessions


class PrivateEpoch:
    """Begins with the process, which is cut off until it has found Redis."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._epoch: str | None = secrets.token_hex(4)
        self._after = 0
        self._numbers: dict[int, int] = {}
        self._events: dict[int, StoredEvent] = {}

    @property
    def has_begun(self) -> bool:
        """Whether the process is cut off, or not all of what it did then is in the log."""
        return self._epoch is not None

    @property
    def is_settled(self) -> bool:
        """Whether the log has all that numbers were given to."""
        return not self._numbers

    def begin(self, last_number: int) -> None:
        """Begin after a number of the log; silent when it has begun."""
        if self._epoch is None:
            self._epoch = secrets.token_hex(4)
            self._after = last_number

    def end(self) -> None:
        """End, once it is settled."""
        self._epoch = None

    def offset(self, number: int) -> Offset | None:
        """Return the offset of a number; None when it is one of the log."""
        if self._epoch is None or number <= self._after:
            return None
        return Offset(self._epoch, number)

    def give(self, number: int, sequence: int, event: StoredEvent | None) -> None:
        """Give a number to a unit, and to the event in it."""
        self._numbers[sequence] = number
        if event is not None:
            event.number = number
            self._events[number] = event

    def has(self, sequence: int) -> bool:
        """Say whether a unit has a number that the log has not replaced."""
        return sequence in self._numbers

    def with_events(self, recent: list[StoredEvent], after: int) -> list[StoredEvent]:
        """Return events of the log together with those from here that came after a number."""
        own = [event for event in self._events.values() if event.number > after]
        return sorted([*recent, *own], key=_number) if own else recent

    def forget(self, sequence: int) -> int:
        """Forget the number of a unit, and return it."""
        private = self._numbers.pop(sequence)
        self._events.pop(private, None)
        return private

    def forget_until(self, sequence: int) -> None:
        """Forget the numbers of all units up to a sequence: the log will not tell of them."""
        for one in [one for one in self._numbers if one <= sequence]:
            self.forget(one)

    def settle(
        self, sequence: int, changes: Sequence[SharedChange], number: int
    ) -> list[StoredEvent]:
        """Put the number that the log has given to a unit in the place of the private one.

        Returns the events in it, as the log has them.
        """
        private = self.forget(sequence)
        events: list[StoredEvent] = []
        for change in changes:
            match change:
                case RoomEntered(client_id, room) | RoomLeft(client_id, room):
                    if session := self._sessions.of_client(client_id):
                        session.renumber(room, private, number)
                case SessionOpened(opened):
                    if session := self._sessions.of_client(opened.client_id):
                        session.place_anew(private, number)
                case EventAppended(event):
                    events.append(event)
        return events


def _number(event: StoredEvent) -> int:
    return event.number
