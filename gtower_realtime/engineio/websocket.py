"""Engine.IO over WebSocket: from the start, or taking over from polling."""

import asyncio
import math
import os
from functools import partial
from typing import TYPE_CHECKING

from gtower_realtime.engineio import frames, protocol
from gtower_realtime.engineio.deadlines import Entry
from gtower_realtime.engineio.frames import FrameError, FrameReader
from gtower_realtime.engineio.protocol import EncodedPacket, ProtocolError
from gtower_realtime.engineio.session import SLICE_BYTES, Session

if TYPE_CHECKING:
    from gtower_realtime.engineio.server import EngineIOServer

# The most that is read from one client in one turn of the loop, so that no other waits for long.
_FRAMES_PER_TURN = 64

# How long the peer may take to answer a CLOSE; less after an error, as it is not listened to then.
_CLOSE_SECONDS = 5.0
_DROP_SECONDS = 1.0

_MAX_PROBE_BYTES = 64
_PROBE_PING = protocol.PING + protocol.PROBE
_PROBE_PONG = EncodedPacket(protocol.PONG + protocol.PROBE)


class WebSocketConnection(asyncio.BufferedProtocol):
    """One WebSocket after its 101: an `Output` of a session, and what feeds it.

    Reads by callbacks, without a task. It owns ``transport``, and lives until that is closed.
    """

    name = "websocket"

    __slots__ = (
        "_drop_at",
        "_engineio",
        "_hangs_up",
        "_is_closing",
        "_is_deaf",
        "_is_probe",
        "_is_reading",
        "_owed_pong",
        "_reader",
        "_session",
        "_transport",
        "_write",
        "_written_last",
        "queue_entry",
    )

    def __init__(self, transport: asyncio.Transport, engineio: "EngineIOServer") -> None:
        self.queue_entry: Entry | None = None
        self._transport = transport
        self._engineio = engineio
        self._session: Session | None = None
        self._written_last = b""
        self._is_probe = False
        self._is_closing = False
        self._is_deaf = False
        self._is_reading = True
        self._hangs_up = False
        self._owed_pong: bytes | None = None
        self._drop_at = math.inf
        self._reader = FrameReader()
        # To the kernel, past all that a transport does around it, which costs as much again. It is
        # for a session with nothing left in the transport, and until `connection_lost`.
        self._write = partial(os.write, transport.get_extra_info("socket").fileno())

    def carry(self, session: Session, head: bytes) -> None:
        """Begin as the transport of a new session: ``head`` goes ahead of all that waits for it."""
        self._session = session
        packets = session.take(SLICE_BYTES)
        self._write_all(head + b"".join([packet.frame for packet in packets]))
        self._offer_to_write()

    def probe(self, session: Session, head: bytes) -> None:
        """Begin with ``head`` as the one that wants to take over a session from polling."""
        self._write_all(head)
        if session.begin_upgrade(self):
            self._session = session
            self._is_probe = True
        else:
            # Refused after the 101 and not before: the protocol's suite wants a WebSocket that
            # closes, and dies of an HTTP error.
            self.close(frames.PROTOCOL_ERROR, "the session has a WebSocket already")

    def begin(self, unread: bytes) -> None:
        """Take what has come already, and read on."""
        self._transport.set_protocol(self)
        self._is_reading = self._transport.is_reading()
        if unread or not self._is_reading:
            self._reader.feed(unread)
            self._take_frames()

    # Reading

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where to put what comes: one buffer serves all, as it is used up at once."""
        return self._engineio.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take up what has come."""
        self._engineio.traffic.received += nbytes
        if not self._is_deaf:
            self._reader.feed(self._engineio.buffer[:nbytes])
            self._take_frames()

    def eof_received(self) -> None:
        """Take a client that will send nothing more for gone, as it cannot answer a ping."""
        self._transport.abort()

    def _take_frames(self) -> None:
        """Act on what was read, as far as the session takes it, and read on."""
        reads_on = True
        for _ in range(_FRAMES_PER_TURN):
            session = self._session
            if session is not None and not session.is_readable and not session.is_closed:
                session.when_readable(self._go_on)
                reads_on = False
                break
            try:
                frame = self._reader.next(self._max_message_bytes())
            except FrameError as problem:
                self._fail(problem)
                break
            if frame is None:
                break
            self._take_frame(*frame)
        else:
            self._go_on()
            reads_on = False
        if reads_on != self._is_reading:
            self._is_reading = reads_on
            (self._transport.resume_reading if reads_on else self._transport.pause_reading)()
        if self._owed_pong is not None:
            self._pay_pong()

    def _go_on(self) -> None:
        self._engineio.call_soon(self._take_frames)

    def _max_message_bytes(self) -> int:
        if self._session is None or self._is_probe:
            return _MAX_PROBE_BYTES
        return self._session.max_message_bytes

    def _take_frame(self, opcode: int, content: str | bytes) -> None:
        if isinstance(content, str) or opcode == frames.BINARY:
            self._take_message(content)
        elif opcode == frames.CLOSE:
            self._answer_close(content)
        elif opcode == frames.PING:
            self._owed_pong = content

    def _take_message(self, message: str | bytes) -> None:
        session = self._session
        if session is None or self._is_closing:
            return
        try:
            if self._is_probe:
                self._take_probe(session, message)
            else:
                session.count_received(message)
                session.receive(protocol.decode_packet(message))
        except ProtocolError as problem:
            if self._is_probe:
                session.abandon_upgrade(self)
                self.close(problem.close_code, str(problem))
            else:
                session.fail(problem)

    def _take_probe(self, session: Session, message: str | bytes) -> None:
        if message == _PROBE_PING:
            if not self.unsent_bytes:  # else it asks without reading the answers
                self._write_all(_PROBE_PONG.frame)
            session.probe_arrived()
        elif message == protocol.UPGRADE:
            session.complete_upgrade(self)
            self._is_probe = False
            self._offer_to_write()
        else:
            raise ProtocolError("neither probe nor upgrade")

    def _pay_pong(self) -> None:
        # Of several pings only the last has to be answered (RFC 6455, 5.5.3), so that pongs that
        # nobody reads do not pile up.
        if self._owed_pong is not None and not self.unsent_bytes and not self._is_closing:
            content, self._owed_pong = self._owed_pong, None
            self._write_all(frames.encode(frames.PONG, content))

    def _answer_close(self, content: bytes) -> None:
        self._hangs_up = True
        if not self._is_closing:
            self._send_close(frames.encode(frames.CLOSE, content[:2]), _DROP_SECONDS)
        else:
            self._transport.close()

    def _fail(self, problem: FrameError) -> None:
        """Close because of bytes after which nothing can be read any more."""
        if self._is_closing:
            self.abort()
            return
        self._is_deaf = True
        session = self._session
        if session is None or self._is_probe or session.is_closed:
            self.close(problem.close_code, str(problem))
        elif problem.close_code == frames.TOO_BIG:
            session.too_big()
        else:
            session.fail(ProtocolError(str(problem), problem.close_code))

    # Writing

    @property
    def unsent_bytes(self) -> int:
        """What was taken from the session and the kernel has not taken yet."""
        return self._transport.get_write_buffer_size()

    @property
    def unsent(self) -> bytes:
        """The end of what was written last, as far as the kernel has not taken it yet."""
        size = self.unsent_bytes
        return self._written_last[-size:] if size else b""

    def pause_writing(self) -> None:
        """Take note that the client reads more slowly than it is written to."""
        if self._session is not None and not self._is_probe:
            self._session.hold_output()

    def resume_writing(self) -> None:
        """Take note that everything that was written has left."""
        self._written_last = b""
        if self._owed_pong is not None:
            self._pay_pong()
        if self._session is not None and not self._is_probe:
            self._engineio.output_waits(self._session)

    def send_waiting(self, session: Session) -> None:
        """Write what waits, a slice at most; once nothing waits, end a closing session."""
        if self._is_closing or (self.unsent_bytes and not session.is_discarded):
            return
        if session.has_output:
            packets = session.take(SLICE_BYTES)
            self._write_all(b"".join([packet.frame for packet in packets]))
        if session.has_output:
            session.hold_output()
            if not self.unsent_bytes:
                self._engineio.output_waits(session)
        elif session.is_closed:
            if session.is_discarded or not self.unsent_bytes:
                self.close(session.close_code, session.close_reason)
        elif session.write is None:
            self._offer_to_write()

    def _write_all(self, content: bytes) -> None:
        self._engineio.traffic.sent += len(content)
        self._transport.write(content)
        self._written_last = content if self.unsent_bytes else b""

    def _offer_to_write(self) -> None:
        """Let the session write at once, if everything before has left."""
        if self._session is not None and not self.unsent_bytes and not self._is_closing:
            self._session.release_output(self._write)

    def write_rest(self, content: bytes, sent: int) -> None:
        """Have the transport write what the kernel did not take at once."""
        self._transport.write(memoryview(content)[sent:])
        self._written_last = content

    def release_poll(self) -> None:
        """Do nothing: there are no polls."""

    # The end

    def close(self, code: int, reason: str) -> None:
        """Say why, and give the peer a moment to close as well. Idempotent."""
        if not self._is_closing:
            seconds = _DROP_SECONDS if self._is_deaf else _CLOSE_SECONDS
            self._send_close(frames.encode_close(code, reason), seconds)

    def _send_close(self, frame: bytes, seconds: float) -> None:
        self._is_closing = True
        if self._session is not None and not self._is_probe:
            self._session.hold_output()
        self._drop_at = self._engineio.now() + seconds
        self._engineio.deadline_moved(self)
        transport = self._transport
        if transport.is_closing():
            return
        self._write_all(frame)
        if self._hangs_up:
            transport.close()
        elif self._is_deaf:
            # A close with input unread makes the kernel send a reset, and the client may never
            # see why; so only this direction is closed, and the rest thrown away as it comes.
            transport.write_eof()

    def abort(self) -> None:
        """Cut the TCP connection."""
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note that the TCP connection is gone."""
        self._engineio.forget_deadline(self)
        session, self._session = self._session, None
        if session is None:
            return
        if self._is_probe:
            session.abandon_upgrade(self)
        else:
            session.lost(self, "transport close")

    def next_deadline(self) -> float:
        """Return when the peer has had its moment."""
        return self._drop_at

    def on_deadline(self, now: float) -> None:
        """Drop the connection."""
        self._drop_at = math.inf
        self.abort()
