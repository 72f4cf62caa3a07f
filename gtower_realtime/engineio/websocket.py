"""Engine.IO over WebSocket: from the start, or taking over from polling."""

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from tornado.iostream import IOStream, StreamClosedError
from tornado.web import HTTPError
from tornado.websocket import WebSocketHandler, WebSocketProtocol, WebSocketProtocol13

from gtower_realtime.engineio import protocol
from gtower_realtime.engineio.backpressure import until_readable
from gtower_realtime.engineio.handshake import (
    Admission,
    HandshakeRefused,
    Query,
    session_of,
    write_refusal,
)
from gtower_realtime.engineio.protocol import PROTOCOL_ERROR, EncodedPacket, ProtocolError
from gtower_realtime.engineio.session import TOO_BIG, Session
from gtower_realtime.errors import RealtimeError

if TYPE_CHECKING:
    from gtower_realtime.engineio.server import EngineIOServer

# The most that one client is sent in one turn of the loop, so that no other waits for long.
_SLICE_BYTES = 262_144

_DROP_SECONDS = 1.0

_PROBE_PING = protocol.PING + protocol.PROBE
_PROBE_PONG = EncodedPacket(protocol.PONG + protocol.PROBE)


class _Parameters:
    """What Tornado's protocol asks of `_WebSocketParams`; the size limit follows the session."""

    ping_interval = None
    ping_timeout = None
    compression_options = None

    __slots__ = ("_transport",)

    def __init__(self, transport: "WebSocketTransport") -> None:
        self._transport = transport

    @property
    def max_message_size(self) -> int:
        session = self._transport.session
        return 0 if session is None else session.max_message_bytes


class _ClosingProtocol(WebSocketProtocol13):
    """Tornado's protocol, which says why before it drops a connection that broke the rules.

    Tornado cuts the TCP connection at once. Unread input then makes the kernel send a reset, and
    the client may never see the close frame; so the connection is left for a moment, unread.
    """

    handler: "WebSocketTransport"
    _is_dropping = False

    def close(self, code: int | None = None, reason: str | None = None) -> None:
        if code == TOO_BIG and not self.server_terminated:
            self.handler.too_big()  # it says with which code; Tornado calls _abort next
        else:
            super().close(code, reason)

    def _abort(self) -> None:
        if self._is_dropping:
            return
        is_ending = self.server_terminated or self.client_terminated
        if is_ending or self.stream is None or self.stream.closed():
            super()._abort()
            return
        self._is_dropping = True
        super().close(*self.handler.farewell())
        self.client_terminated = True  # ends the loop that reads
        asyncio.get_running_loop().call_later(_DROP_SECONDS, self._drop)

    def _drop(self) -> None:
        self._is_dropping = False
        super()._abort()


class WebSocketTransport(WebSocketHandler):
    """One WebSocket: an `Output` of a session, and what feeds it."""

    name = "websocket"
    session: Session | None
    unsent_bytes: int

    def initialize(self, engineio: "EngineIOServer") -> None:
        """Take the server; Tornado calls this before anything else."""
        self._engineio = engineio
        self.session = None
        self.unsent_bytes = 0
        self._admission: Admission | None = None
        self._is_probe = False
        self._stream: IOStream | None = None

    # The handshake

    def set_default_headers(self) -> None:
        """Say nothing of the software."""
        self.clear_header("Server")

    async def prepare(self) -> None:
        """Refuse, before the 101, what would not be served after it."""
        self._engineio.check_origin(self.request)
        query = Query.of(self.request)
        query.check("websocket")
        self.session = session_of(query, self._engineio.sessions)
        if self.session is None:
            self._admission = await self._engineio.admit(self.request)
            return
        self._engineio.expire_if_due(self.session)
        self._is_probe = self.session.begin_upgrade(self)
        if not self._is_probe:
            self.session = None  # it has a WebSocket already

    def check_origin(self, origin: str) -> bool:
        """Pass every origin; :meth:`prepare` has refused the others."""
        return True

    def get_websocket_protocol(self) -> WebSocketProtocol | None:
        """Return the protocol that closes in good order; None for another version than 13."""
        if self.request.headers.get("Sec-WebSocket-Version") != "13":
            return None
        return _ClosingProtocol(self, mask_outgoing=False, params=_Parameters(self))  # type: ignore[arg-type]

    def open(self) -> None:
        """Begin: a session of its own, or the wait for the probe of an upgrade."""
        self.set_nodelay(True)
        self._stream = self.ws_connection.stream if self.ws_connection else None
        if self._admission is not None:
            admission, self._admission = self._admission, None
            self.session = self._engineio.open_session(admission, self)
        elif self.session is None:
            # Refused after the 101 and not before: the protocol's suite wants a WebSocket that
            # closes, and dies of an HTTP error.
            self.close(PROTOCOL_ERROR, "the session has a WebSocket already")

    def on_finish(self) -> None:
        """Take back what was promised to a handshake that ended without the 101."""
        if self.get_status() != 101:
            self._withdraw()

    def on_close(self) -> None:
        """Take note that the connection is gone."""
        self._withdraw()
        if self.session is not None and not self._is_probe:
            self.session.lost(self, "transport close")

    def _withdraw(self) -> None:
        if self._admission is not None:
            admission, self._admission = self._admission, None
            self._engineio.withdraw(admission)
        if self._is_probe and self.session is not None:
            self.session.abandon_upgrade(self)

    # Reading

    def on_message(self, message: str | bytes) -> Awaitable[None] | None:
        """Take one message; what is returned is awaited before the next is read."""
        session = self.session
        if session is None:
            return None
        if self._is_probe:
            self._take_probe(session, message)
            return None
        session.count_received(message)
        try:
            session.receive(protocol.decode_packet(message))
        except ProtocolError as problem:
            session.fail(problem)
        return until_readable(session)

    def _take_probe(self, session: Session, message: str | bytes) -> None:
        if message == _PROBE_PING:
            self._write(_PROBE_PONG.frame)
            session.probe_arrived()
        elif message == protocol.UPGRADE and not session.is_closed:
            self._is_probe = False
            session.complete_upgrade(self)
        else:
            session.abandon_upgrade(self)
            self.close(PROTOCOL_ERROR, "neither probe nor upgrade")

    def too_big(self) -> None:
        """Take note that a message goes beyond the limit."""
        if self.session is not None and not self._is_probe:
            self.session.too_big()

    def farewell(self) -> tuple[int, str]:
        """Return the close code and reason for a connection that broke the rules."""
        session = self.session
        if session is None or self._is_probe or not session.is_closed:
            return PROTOCOL_ERROR, "protocol error"
        return session.close_code, session.close_reason

    # Writing

    def send_waiting(self, session: Session) -> None:
        """Write what waits, a slice at most; once nothing waits, end a closing session."""
        if self.unsent_bytes and not session.is_discarded:
            return
        packets = session.take(_SLICE_BYTES)
        if packets:
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

    def release_poll(self) -> None:
        """Do nothing: there are no polls."""

    def abort(self) -> None:
        """Cut the TCP connection."""
        if self._stream is not None:
            self._stream.close()

    def _write(self, data: bytes) -> None:
        """Send ``data``, straight to the kernel if it takes it."""
        stream = self._stream
        if stream is None or stream.closed():
            return
        sent = 0
        if not stream.writing():
            try:
                sent = stream.socket.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                stream.close()
                return
            if sent == len(data):
                return
        self.unsent_bytes += len(data) - sent
        stream.write(data[sent:]).add_done_callback(self._written)

    def _written(self, written: "asyncio.Future[None]") -> None:
        # A stream that was closed meanwhile is told by on_close.
        if written.cancelled() or isinstance(written.exception(), StreamClosedError):
            return
        self.unsent_bytes = 0
        if self.session is not None:
            self._engineio.output_waits(self.session)

    # Errors

    def write_error(self, status_code: int, **details: Any) -> None:
        """Answer a refused handshake."""
        _, problem, _ = details.get("exc_info", (None, None, None))
        write_refusal(self, problem)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Log faults of ours once; a refusal is an answer."""
        if not isinstance(value, HandshakeRefused | RealtimeError | HTTPError):
            super().log_exception(typ, value, tb)
