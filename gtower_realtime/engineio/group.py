"""Sessions that get the same packets: kept once for all of them until the end of the turn.

A broadcast costs nothing per session before it is written, and what one turn has for all is one
write for each of them.
"""

import sys
from collections.abc import Callable, Collection, Iterator
from itertools import islice
from operator import length_hint
from typing import NamedTuple

from gtower_realtime.engineio.protocol import EncodedPacket
from gtower_realtime.engineio.session import SLICE_BYTES, Session
from gtower_realtime.metrics import Traffic

# The place of a session that shares nothing: after all that there will ever be.
_NOWHERE = sys.maxsize

# Sessions that are written to in one go, which takes a few milliseconds.
_SLICE_SESSIONS = 500


class _Pass(NamedTuple):
    """One round through the sessions: who is still to come, and what all of them get."""

    sessions: Iterator[Session]
    blob: bytes
    end: int


class Group:
    """The sessions of one audience; each is in one group, or a guest where it is also in others.

    A session whose output flows shares the packets of the group, from its own place in them on. One
    that cannot be written to, and a guest, gets each packet as if it were sent to it alone.
    ``packets_wait`` is called when there is something for :meth:`flush`; what was written is added
    to ``traffic``.
    """

    __slots__ = (
        "_base",
        "_bytes",
        "_packets",
        "_packets_wait",
        "_pass",
        "_singles",
        "_traffic",
        "end",
        "sharers",
    )

    def __init__(self, packets_wait: Callable[["Group"], None], traffic: Traffic) -> None:
        self.sharers: dict[Session, None] = {}
        self.end = 0
        """The place after the last packet; places are never used twice."""
        self._singles: dict[Session, None] = {}
        self._packets_wait = packets_wait
        self._traffic = traffic
        self._packets: list[EncodedPacket] = []
        self._base = 0
        self._bytes = 0
        self._pass: _Pass | None = None

    def __len__(self) -> int:
        return len(self.sharers) + len(self._singles)

    def add(self, session: Session) -> None:
        """Take up a session: it gets what is sent from now on."""
        if session.group is None:
            session.group = self
            session.place = self.end
            self.settle(session)
        else:
            self._singles[session] = None

    def remove(self, session: Session) -> None:
        """Drop a session; it still gets what was sent before. Idempotent."""
        if session.group is self:
            session.catch_up()
            session.group = None
            self.sharers.pop(session, None)
        self._singles.pop(session, None)

    def settle(self, session: Session) -> None:
        """Have a session of this group share its packets if its output flows, else not."""
        if session.write is None:
            session.catch_up()
            self.sharers.pop(session, None)
            self._singles[session] = None
            session.place = _NOWHERE
        elif session not in self.sharers:
            self._singles.pop(session, None)
            self.sharers[session] = None
            session.place = self.end

    def send(
        self, packet: EncodedPacket, excluded: Collection[Session] = (), droppable: bool = False
    ) -> int:
        """Queue ``packet`` for every session but those; return how many will get it."""
        recipients = 0
        if self._singles:
            for session in tuple(self._singles):
                if session not in excluded and session.send(packet, droppable):
                    recipients += 1
        if not self.sharers:
            return recipients
        passed_over = [session for session in excluded if session in self.sharers]
        for session in passed_over:
            session.catch_up()
        if not self._packets:
            self._packets_wait(self)
        self._packets.append(packet)
        self._bytes += packet.size
        self.end += 1
        for session in passed_over:
            session.place = self.end
        recipients += len(self.sharers) - len(passed_over)
        if self._bytes > SLICE_BYTES:
            # Who does not read is to be noticed before more of them wait.
            while not self.flush():
                pass
        return recipients

    def since(self, place: int) -> list[EncodedPacket]:
        """Return the packets from a place on, which a session of this group has not got yet."""
        return self._packets[place - self._base :]

    def flush(self) -> bool:
        """Write what waits to a slice of the sessions; return whether all have got everything.

        A session with packets of its own only takes the shared ones into its queue, in their place.
        """
        current = self._pass
        if current is None:
            if not self._packets:
                return True
            blob = b"".join([packet.frame for packet in self._packets])
            current = self._pass = _Pass(iter(list(self.sharers)), blob, self.end)
        start, end, blob = self._base, current.end, current.blob
        size = len(blob)
        before, passed_over = length_hint(current.sessions), 0
        for session in islice(current.sessions, _SLICE_SESSIONS):
            write = session.write
            if write is None or session.group is not self:
                passed_over += 1
                continue
            if session.place != start or session.queue:
                passed_over += 1
                session.catch_up()
                continue
            session.place = end
            try:
                sent = write(blob)
            except OSError:
                sent = 0  # the transport finds out why
            if sent != size:
                session.output.write_rest(blob, sent)
        left = length_hint(current.sessions)
        self._traffic.sent += size * (before - left - passed_over)
        if left:
            return False
        # What came meanwhile is for the next pass.
        self._pass = None
        del self._packets[: end - start]
        self._base = end
        self._bytes = sum([packet.size for packet in self._packets])
        return not self._packets
