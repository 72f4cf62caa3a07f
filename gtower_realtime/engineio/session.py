"""One Engine.IO connection as a state machine without I/O.

It is told what came in and what time it is, and says through its two collaborators what to do:
`Output` (the transport that carries it now) and `SessionEvents` (the server that holds it).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

from gtower_realtime.engineio import protocol
from gtower_realtime.engineio.deadlines import Entry
from gtower_realtime.engineio.frames import TOO_BIG
from gtower_realtime.engineio.protocol import EncodedPacket, Packet, ProtocolError

if TYPE_CHECKING:
    from gtower_realtime.engineio.group import Group
    from gtower_realtime.metrics import Traffic

NO_CONNECT = 4006
SLOW_CONSUMER = 4102
NO_PONG = 4201
NORMAL = 1000

_PING = EncodedPacket(protocol.PING)

SLICE_BYTES = 262_144
"""The most that one client is sent in one turn of the loop, so that no other waits for long."""

# How long a session that is being closed may take to hand over what still waits for its client.
LINGER_SECONDS = 5.0

LAST_WORD_SECONDS = 0.5
"""How long a polling client has to come and hear that it was closed, once nothing else waits."""

# Messages that may wait for the one being handled before the server stops reading.
_MAX_WAITING_MESSAGES = 32


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """What is kept of the handshake's request."""

    remote_address: str
    user_agent: str | None = None
    origin: str | None = None
    authorization: str | None = None
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Times in seconds, sizes in bytes; 0 is no limit for a size or the connect timeout."""

    ping_interval: float = 25.0
    ping_timeout: float = 20.0
    upgrade_timeout: float = 10.0
    connect_timeout: float = 20.0
    max_message_bytes: int = 1_000_000
    max_client_buffer_bytes: int = 1_000_000
    max_bytes_before_connect: int = 16_384


class Output(Protocol):
    """The transport that carries a session's packets."""

    name: str
    """``polling`` or ``websocket``."""

    @property
    def unsent_bytes(self) -> int:
        """What was taken from the session and has not left the process."""

    @property
    def unsent(self) -> bytes:
        """The end of what was taken from the session last, as far as it has not left."""

    def send_waiting(self, session: "Session") -> None:
        """Take what waits and send what can be sent now; ends a session that is closing."""

    def write_rest(self, content: bytes, sent: int) -> None:
        """Take over what `Session.write` could not write of ``content``."""

    def release_poll(self) -> None:
        """Answer a pending poll with a NOOP, or else the next one; only polling does anything."""

    def abort(self) -> None:
        """End the transport at once, without a word."""


class SessionEvents(Protocol):
    """What a session tells the server that holds it."""

    traffic: "Traffic"
    """Where what was written is added up."""

    def output_waits(self, session: "Session") -> None:
        """Call `Output.send_waiting` at the end of this turn of the loop."""

    def message_arrived(self, session: "Session") -> None:
        """There is a message to take up."""

    def deadline_moved(self, item: "Session") -> None:
        """The next deadline has moved."""

    def current_mark(self) -> int:
        """Return the application's mark: what a pong to a ping of now will confirm."""

    def closed(self, session: "Session") -> None:
        """The session takes and carries no more messages; told once."""

    def ended(self, session: "Session") -> None:
        """Nothing is left to be sent, the session can be forgotten; told once, after `closed`."""

    def dropped(self, session: "Session", packet: EncodedPacket) -> None:
        """A droppable packet was dropped because the client reads too slowly."""


class State(Enum):
    """Where a session is in its life."""

    OPEN = auto()
    CLOSING = auto()
    """No more messages; what waits is still handed over, for `LINGER_SECONDS` at most."""
    CLOSED = auto()


class Session:
    """One connection: what waits for its client, what came from it, and its deadlines.

    Packets leave in the order of :meth:`send`, whichever transport carries them. Messages are
    taken up in the order of arrival, one at a time.
    """

    __slots__ = (
        "_accepted",
        "_ahead_of_exempt",
        "_awaits_pong",
        "_bytes_before_connect",
        "_connect_by",
        "_events",
        "_exempt_bytes",
        "_exempt_in_flight",
        "_heartbeat_at",
        "_is_reading_paused",
        "_limits",
        "_linger_until",
        "_now",
        "_on_readable",
        "_ping_mark",
        "_probe",
        "_queued_bytes",
        "_upgrade_by",
        "close_code",
        "close_reason",
        "confirmed_mark",
        "custom",
        "group",
        "inbox",
        "is_departure_told",
        "is_discarded",
        "is_handling",
        "output",
        "place",
        "queue",
        "queue_entry",
        "request",
        "sid",
        "state",
        "write",
    )

    def __init__(
        self,
        sid: str,
        request: RequestInfo,
        output: Output,
        limits: SessionLimits,
        events: SessionEvents,
        now: Callable[[], float],
    ) -> None:
        self.sid = sid
        self.request = request
        self.output = output
        self.state = State.OPEN
        self.close_code = NORMAL
        self.close_reason = ""
        self.is_discarded = False
        self.inbox: list[str | bytes] = []
        self.is_handling = False
        self.is_departure_told = False
        self.queue_entry: Entry | None = None
        self.custom: dict[str, object] | None = None
        self.confirmed_mark = 0
        self.queue: list[EncodedPacket] = []
        """What waits for the client, oldest first."""
        self.write: Callable[[bytes], int] | None = None
        """Writes to the client and returns how many bytes the kernel took; what it did not goes to
        `Output.write_rest`. None unless everything that was written before has left."""
        self.group: Group | None = None
        self.place = 0
        """The place in the group's packets from which on the client has not got them."""
        self._ping_mark = 0
        self._exempt_bytes = 0
        self._exempt_in_flight = 0
        self._ahead_of_exempt = 0
        self._limits = limits
        self._events = events
        self._now = now
        self._queued_bytes = 0
        self._accepted = False
        self._bytes_before_connect = 0
        self._is_reading_paused = False
        self._on_readable: list[Callable[[], None]] = []
        self._probe: Output | None = None
        self._awaits_pong = False
        self._heartbeat_at = now() + limits.ping_interval
        self._connect_by = self._connect_deadline()
        self._upgrade_by = math.inf
        self._linger_until = math.inf

    # Sending

    @property
    def transport_name(self) -> str:
        """``polling`` or ``websocket``."""
        return self.output.name

    @property
    def waiting_bytes(self) -> int:
        """What waits for the client inside this process, in bytes."""
        return self._queued_bytes + self.output.unsent_bytes

    @property
    def has_output(self) -> bool:
        """Whether :meth:`take` would return something."""
        return bool(self.queue)

    def send(self, packet: EncodedPacket, droppable: bool = False) -> bool:
        """Queue ``packet`` for the end of this turn; return whether the client will get it.

        When more than the client's buffer waits already, a droppable packet is dropped, and any
        other closes the session with 4102. A single packet always fits.
        """
        if self._queued_bytes > SLICE_BYTES and self.write is not None:
            # What one turn has for a client is no reason to close it before it could read.
            self.output.send_waiting(self)
        if self.write is None and not self._has_room(packet, droppable):
            return False
        self._enqueue(packet)
        return True

    def _has_room(self, packet: EncodedPacket, droppable: bool) -> bool:
        if self.state is not State.OPEN:
            return False
        limit = self._limits.max_client_buffer_bytes
        if 0 < limit < self.waiting_bytes - self._exempt_bytes:
            if droppable:
                self._events.dropped(self, packet)
            else:
                self.close(SLOW_CONSUMER, "slow consumer", discard=True)
            return False
        return True

    def has_unwritten(self, ending: bytes) -> bool:
        """Say whether a packet that ends so waits here, or has not left the process altogether."""
        group = self.group
        if group is not None and self.place < group.end:
            self.catch_up()
        return any(one.frame.endswith(ending) for one in self.queue) or ending in self.output.unsent

    def send_exempt(self, packets: list[EncodedPacket]) -> None:
        """Queue ``packets`` whatever waits already; they do not count against the buffer."""
        if self.state is State.OPEN:
            if not self._exempt_bytes:
                self._ahead_of_exempt = self._queued_bytes
            for packet in packets:
                self._exempt_bytes += packet.size
                self._enqueue(packet)

    def take(self, max_bytes: int) -> list[EncodedPacket]:
        """Remove and return the oldest packets, up to ``max_bytes`` and at least one."""
        self.catch_up()
        # What was taken before has left by now: a transport takes no more until it has.
        self._exempt_bytes -= self._exempt_in_flight
        if self._queued_bytes <= max_bytes:
            taken, self.queue, size = self.queue, [], self._queued_bytes
        else:
            count, size = 1, self.queue[0].size
            while count < len(self.queue) and size + self.queue[count].size <= max_bytes:
                size += self.queue[count].size
                count += 1
            taken = self.queue[:count]
            del self.queue[:count]
        self._queued_bytes -= size
        ahead = min(size, self._ahead_of_exempt)
        self._ahead_of_exempt -= ahead
        self._exempt_in_flight = min(size - ahead, self._exempt_bytes)
        return taken

    def write_at_once(self) -> bool:
        """Write everything that waits, if the client reads and it is no more than a slice.

        Returns whether it did; if not, it is for `Output.send_waiting` to see what can be done.
        """
        write = self.write
        if write is None or self._exempt_bytes:
            return False
        group = self.group
        if group is not None and self.place < group.end:
            self.catch_up()
        queue = self.queue
        if not queue or self._queued_bytes > SLICE_BYTES:
            return not queue
        self.queue = []
        self._queued_bytes = 0
        content = queue[0].frame if len(queue) == 1 else b"".join([one.frame for one in queue])
        try:
            sent = write(content)
        except OSError:
            sent = 0  # the transport finds out why
        size = len(content)
        self._events.traffic.sent += size
        if sent != size:
            self.output.write_rest(content, sent)
        return True

    def catch_up(self) -> None:
        """Take what the group has for all into this session's own queue, up to now."""
        group = self.group
        if group is None or self.place >= group.end:
            return
        shared = group.since(self.place)
        self.place = group.end
        if not self.queue:
            self._events.output_waits(self)
        self.queue += shared
        self._queued_bytes += sum([packet.size for packet in shared])

    def hold_output(self) -> None:
        """Take note that what was written has not left: more waits here, and is counted."""
        if self.write is not None:
            self.write = None
            if self.group is not None:
                self.group.settle(self)

    def release_output(self, write: Callable[[bytes], int]) -> None:
        """Take note that all has left, and how to write to the client at once."""
        if self.state is State.OPEN:
            self.write = write
            if self.group is not None:
                self.group.settle(self)

    def _enqueue(self, packet: EncodedPacket) -> None:
        group = self.group
        if group is not None and self.place < group.end:
            self.catch_up()
        if not self.queue:
            self._events.output_waits(self)
        self.queue.append(packet)
        self._queued_bytes += packet.size

    # Receiving

    @property
    def max_message_bytes(self) -> int:
        """How long the next message may be."""
        if not self._accepted:
            return self._limits.max_bytes_before_connect
        return self._limits.max_message_bytes or 1 << 62

    @property
    def is_readable(self) -> bool:
        """Whether the transport should go on reading."""
        return not self._is_reading_paused and len(self.inbox) < _MAX_WAITING_MESSAGES

    def when_readable(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once the transport should go on reading, or the session is closed."""
        self._on_readable.append(callback)

    def pause_reading(self) -> None:
        """Stop reading from the client until :meth:`resume_reading`."""
        self._is_reading_paused = True

    def resume_reading(self) -> None:
        """Go on reading from the client."""
        self._is_reading_paused = False
        self.check_readable()

    def check_readable(self) -> None:
        """Let the transport go on if it may by now."""
        if self._on_readable and (self.is_readable or self.state is not State.OPEN):
            waiting, self._on_readable = self._on_readable, []
            for callback in waiting:
                callback()

    def count_received(self, message: str | bytes) -> None:
        """Take note of what came from the client; too much before CONNECT closes."""
        if self._accepted:
            return
        self._bytes_before_connect += len(
            message if isinstance(message, bytes) else message.encode()
        )
        if self._bytes_before_connect > self._limits.max_bytes_before_connect:
            self.too_big()

    def too_big(self) -> None:
        """Close because a message is longer than :attr:`max_message_bytes`."""
        if self._accepted:
            self.close(TOO_BIG, "message too big", discard=True)
        else:
            self.close(NO_CONNECT, "too much before CONNECT", discard=True)

    def receive(self, packet: Packet) -> None:
        """Act on a packet that the current transport has read.

        Raises:
            ProtocolError: it has no place here; the caller passes it to :meth:`fail`.
        """
        if self.state is not State.OPEN:
            return
        packet_type, data = packet
        if packet_type == protocol.MESSAGE:
            self.inbox.append(data)
            self._events.message_arrived(self)
        elif packet_type == protocol.PONG:
            self._awaits_pong = False
            self.confirmed_mark = self._ping_mark
            self._heartbeat_at = self._now() + self._limits.ping_interval
            self._events.deadline_moved(self)
        elif packet_type == protocol.CLOSE:
            self._close_by_client()
        else:
            raise ProtocolError("a packet that has no place here")

    # Accepting

    def accept(self) -> None:
        """Take note of a CONNECT that was accepted: the budgets before CONNECT end.

        Marks begin anew: what was confirmed before says nothing about what the client gets now.
        """
        self._accepted = True
        self.confirmed_mark = self._ping_mark = 0
        self._connect_by = math.inf

    def expect_connect(self) -> None:
        """Take note that the last namespace was left: a CONNECT must come in time, as at first."""
        self._accepted = False
        self._bytes_before_connect = 0
        self._connect_by = self._connect_deadline()
        self._events.deadline_moved(self)

    def _connect_deadline(self) -> float:
        return self._now() + (self._limits.connect_timeout or math.inf)

    # Upgrading

    def begin_upgrade(self, probe: Output) -> bool:
        """Take note that a WebSocket wants to take over; False when one does already."""
        if self._probe is not None or self.output.name == probe.name or self.is_closed:
            return False
        self._probe = probe
        self._upgrade_by = self._now() + self._limits.upgrade_timeout
        self._events.deadline_moved(self)
        return True

    def probe_arrived(self) -> None:
        """Let the client finish its poll, so that it can upgrade."""
        self.output.release_poll()

    def complete_upgrade(self, probe: Output) -> None:
        """Let the WebSocket take over everything that is sent from now on.

        Raises:
            ProtocolError: it did not ask for it, or too late.
        """
        if self._probe is not probe or self.is_closed:
            raise ProtocolError("an upgrade that was not begun")
        self._end_upgrade()
        self.output.release_poll()
        self.output = probe
        self._events.output_waits(self)

    def abandon_upgrade(self, probe: Output) -> None:
        """Take note that the WebSocket is gone before it took over; polling goes on."""
        if self._probe is probe:
            self._end_upgrade()

    def _end_upgrade(self) -> None:
        self._probe = None
        self._upgrade_by = math.inf

    # Closing

    @property
    def is_closed(self) -> bool:
        """Whether it takes and carries no more messages."""
        return self.state is not State.OPEN

    def close(self, code: int, reason: str, *, discard: bool = False) -> None:
        """Close, after what waits was handed over; ``discard`` throws that away.

        A WebSocket ends with ``code`` and ``reason``, polling with a CLOSE packet. The peer has
        `LINGER_SECONDS` to take it, none if polling discards. Idempotent.
        """
        if self.state is not State.OPEN:
            return
        self.state = State.CLOSING
        self.close_code = code
        self.close_reason = reason
        self.write = None
        if self.group is not None:
            self.group.remove(self)
        if discard:
            self.is_discarded = True
            self.queue.clear()
            self._queued_bytes = 0
        self.inbox.clear()
        self._linger_until = self._now() + LINGER_SECONDS
        self._abort_probe()
        self._events.closed(self)
        self._events.output_waits(self)
        self._events.deadline_moved(self)
        self.check_readable()

    def hand_over_soon(self) -> None:
        """Take note that only the word CLOSE waits: it is not worth waiting long for."""
        self._linger_until = min(self._linger_until, self._now() + LAST_WORD_SECONDS)
        self._events.deadline_moved(self)

    def fail(self, problem: ProtocolError) -> None:
        """Close because the client has broken the protocol."""
        self.close(problem.close_code, str(problem), discard=True)

    def lost(self, output: Output, reason: str) -> None:
        """Take note that a transport is gone; the end, if it is the one that carries us."""
        if output is not self.output:
            self.abandon_upgrade(output)
            return
        self.close(NORMAL, reason, discard=True)
        self.end()

    def end(self) -> None:
        """Be forgotten: nothing more is sent. Idempotent."""
        if self.state is State.CLOSED:
            return
        self.close(self.close_code, self.close_reason, discard=True)
        self.state = State.CLOSED
        self._events.ended(self)

    def _close_by_client(self) -> None:
        self.output.release_poll()
        self.close(NORMAL, "transport close", discard=True)

    def _abort_probe(self) -> None:
        if self._probe is not None:
            probe = self._probe
            self._end_upgrade()
            probe.abort()

    # Time

    def next_deadline(self) -> float:
        """Return when something has to be done next."""
        if self.state is State.OPEN:
            return min(self._heartbeat_at, self._connect_by, self._upgrade_by)
        return self._linger_until if self.state is State.CLOSING else math.inf

    def on_deadline(self, now: float) -> None:
        """Do what is due by ``now``."""
        if self.state is State.CLOSING:
            if now >= self._linger_until:
                self.output.abort()
                self.end()
            return
        if now >= self._connect_by:
            self.close(NO_CONNECT, "no CONNECT in time", discard=True)
            return
        if now >= self._upgrade_by:
            self._abort_probe()
        if now >= self._heartbeat_at:
            self._beat()

    def _beat(self) -> None:
        if not self._awaits_pong:
            self._awaits_pong = True
            self._ping_mark = self._events.current_mark()
            self._heartbeat_at += self._limits.ping_timeout
            self._enqueue(_PING)
        elif self._on_readable or not self.is_readable:
            # Its pong may lie unread behind what is not read yet.
            self._heartbeat_at += self._limits.ping_timeout
        else:
            self.close(NO_PONG, "no pong", discard=True)
