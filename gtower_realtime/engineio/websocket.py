"""Engine.IO over WebSocket: from the start, or taking over from polling."""

import asyncio
import math
import socket
from typing import TYPE_CHECKING, cast

from tornado.iostream import IOStream, StreamClosedError

from gtower_realtime.engineio import frames, protocol
from gtower_realtime.engineio.deadlines import Entry
from gtower_realtime.engineio.frames import FrameError, FrameReader
from gtower_realtime.engineio.protocol import EncodedPacket, ProtocolError
from gtower_realtime.engineio.session import Session

if TYPE_CHECKING:
    from gtower_realtime.engineio.server import EngineIOServer

# The most that one client is sent, and read from, in one turn of the loop, so that no other waits
# for long.
_SLICE_BYTES = 262_144
_READ_BYTES = 65_536
_FRAMES_PER_TURN = 64

# How long the peer may take to answer a CLOSE; less after an error, as it is not listened to then.
_CLOSE_SECONDS = 5.0
_DROP_SECONDS = 1.0

_MAX_PROBE_BYTES = 64
_PROBE_PING = protocol.PING + protocol.PROBE
_PROBE_PONG = EncodedPacket(protocol.PONG + protocol.PROBE)


class WebSocketConnection:
    """One WebSocket after its 101: an `Output` of a session, and what feeds it.

    Reads by callbacks, without a task. It owns ``stream``, and lives until that is closed.
    """

    name = "websocket"

    __slots__ = (
        "_drop_at",
        "_engineio",
        "_hangs_up",
        "_is_closing",
        "_is_deaf",
        "_is_probe",
        "_owed_pong",
        "_reader",
        "_session",
        "_stream",
        "queue_entry",
        "unsent_bytes",
    )

    def __init__(self, stream: IOStream, engineio: "EngineIOServer") -> None:
        self.unsent_bytes = 0
        self.queue_entry: Entry | None = None
        self._stream = stream
        self._engineio = engineio
        self._session: Session | None = None
        self._is_probe = False
        self._is_closing = False
        self._is_deaf = False
        self._hangs_up = False
        self._owed_pong: bytes | None = None
        self._drop_at = math.inf
        self._reader = FrameReader()
        # Before anything is written: a stream that is closed already never calls it.
        stream.set_close_callback(self._ended)

    def carry(self, session: Session) -> None:
        """Begin as the transport of a new session."""
        self._session = session
        self._begin()

    def probe(self, session: Session) -> None:
        """Begin as the one that wants to take over a session from polling."""
        if session.begin_upgrade(self):
            self._session = session
            self._is_probe = True
        else:
            # Refused after the 101 and not before: the protocol's suite wants a WebSocket that
            # closes, and dies of an HTTP error.
            self.close(frames.PROTOCOL_ERROR, "the session has a WebSocket already")
        self._begin()

    def _begin(self) -> None:
        # Without it an event that follows another waits up to 40 ms for an acknowledgement.
        self._stream.set_nodelay(True)
        self._read()

    # Reading

    def _read(self) -> None:
        try:
            arriving = self._stream.read_bytes(_READ_BYTES, partial=True)
        except StreamClosedError:
            return  # _ended is told as well
        cast("asyncio.Future[bytes]", arriving).add_done_callback(self._arrived)

    def _arrived(self, arriving: "asyncio.Future[bytes]") -> None:
        if arriving.cancelled() or arriving.exception() is not None:
            return
        if self._is_deaf:
            self._read()
            return
        self._reader.feed(arriving.result())
        self._take_frames()

    def _take_frames(self) -> None:
        """Act on what was read, as far as the session takes it, and read on."""
        for _ in range(_FRAMES_PER_TURN):
            session = self._session
            if session is not None and not session.is_readable and not session.is_closed:
                session.when_readable(self._go_on)
                break
            try:
                frame = self._reader.next(self._max_message_bytes())
            except FrameError as problem:
                self._fail(problem)
                frame = None
            if frame is None:
                self._read()
                break
            self._take_frame(*frame)
        else:
            self._go_on()
        self._pay_pong()

    def _go_on(self) -> None:
        asyncio.get_running_loop().call_soon(self._take_frames)

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
                self._write(_PROBE_PONG.frame)
            session.probe_arrived()
        elif message == protocol.UPGRADE:
            session.complete_upgrade(self)
            self._is_probe = False
        else:
            raise ProtocolError("neither probe nor upgrade")

    def _pay_pong(self) -> None:
        # Of several pings only the last has to be answered (RFC 6455, 5.5.3), so that pongs that
        # nobody reads do not pile up.
        if self._owed_pong is not None and not self.unsent_bytes and not self._is_closing:
            content, self._owed_pong = self._owed_pong, None
            self._write(frames.encode(frames.PONG, content))

    def _answer_close(self, content: bytes) -> None:
        self._hangs_up = True
        if not self._is_closing:
            self._send_close(frames.encode(frames.CLOSE, content[:2]), _DROP_SECONDS)
        elif not self.unsent_bytes:
            self._stream.close()

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

    def send_waiting(self, session: Session) -> None:
        """Write what waits, a slice at most; once nothing waits, end a closing session."""
        if self.unsent_bytes and not session.is_discarded:
            return
        if session.has_output:
            packets = session.take(_SLICE_BYTES)
            self._write(
                packets[0].frame
                if len(packets) == 1
                else b"".join([packet.frame for packet in packets])
            )
        if session.has_output:
            if not self.unsent_bytes:
                self._engineio.output_waits(session)
        elif session.is_closed and (session.is_discarded or not self.unsent_bytes):
            self.close(session.close_code, session.close_reason)

    def _write(self, content: bytes) -> None:
        """Send ``content``, straight to the kernel if it takes it."""
        stream = self._stream
        if stream.closed():
            return
        sent = 0
        if not stream.writing():
            try:
                sent = stream.socket.send(content)
            except BlockingIOError:
                sent = 0
            except OSError:
                stream.close()
                return
        if sent == len(content):
            self._all_sent()
        else:
            self.unsent_bytes += len(content) - sent
            stream.write(memoryview(content)[sent:]).add_done_callback(self._written)

    def _written(self, writing: "asyncio.Future[None]") -> None:
        if writing.cancelled() or writing.exception() is not None or self._stream.writing():
            return
        self.unsent_bytes = 0
        self._pay_pong()
        self._all_sent()
        if self._session is not None and not self._is_probe:
            self._engineio.output_waits(self._session)

    def _all_sent(self) -> None:
        if self._hangs_up:
            self._stream.close()
        elif self._is_closing and self._is_deaf:
            # A close with input unread makes the kernel send a reset, and the client may never
            # see why; so only this direction is closed, and the rest thrown away as it comes.
            try:
                self._stream.socket.shutdown(socket.SHUT_WR)
            except OSError:
                self._stream.close()  # the peer was faster

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
        self._drop_at = self._engineio.now() + seconds
        self._engineio.deadline_moved(self)
        self._write(frame)

    def abort(self) -> None:
        """Cut the TCP connection."""
        self._stream.close()

    def _ended(self) -> None:
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
