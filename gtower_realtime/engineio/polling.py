"""Engine.IO over HTTP long-polling: GETs that wait for packets, POSTs that bring them."""

import asyncio
from typing import TYPE_CHECKING, Any

from tornado.web import HTTPError

from gtower_realtime.bodies import BoundedBodyHandler
from gtower_realtime.engineio import protocol
from gtower_realtime.engineio.backpressure import until_readable
from gtower_realtime.engineio.handshake import (
    BAD_METHOD,
    BAD_REQUEST,
    UNKNOWN_SID,
    HandshakeRefused,
    Query,
    session_of,
    write_refusal,
)
from gtower_realtime.engineio.protocol import EncodedPacket, ProtocolError
from gtower_realtime.engineio.session import Session
from gtower_realtime.errors import RealtimeError, TooLarge

if TYPE_CHECKING:
    from gtower_realtime.engineio.server import EngineIOServer

_MAX_PAYLOAD_PACKETS = 256
_SLICE_BYTES = 262_144

_NOOP = EncodedPacket(protocol.NOOP)
_CLOSE = EncodedPacket(protocol.CLOSE)


class PollingOutput:
    """Hands a session's packets to the GET that waits for them, if one does."""

    name = "polling"
    unsent_bytes = 0

    __slots__ = ("_is_noop_due", "_poll", "is_receiving")

    def __init__(self) -> None:
        self._poll: PollingHandler | None = None
        self._is_noop_due = False
        self.is_receiving = False

    def begin_poll(self, session: Session, poll: "PollingHandler") -> None:
        """Answer ``poll`` as soon as there is something to say.

        Raises:
            HandshakeRefused: another one waits already; that closes the session.
        """
        if self._poll is not None:
            session.fail(ProtocolError("overlapping polls"))
            raise HandshakeRefused(BAD_REQUEST)
        self._poll = poll
        if self._is_noop_due:
            self.release_poll()
        else:
            self.send_waiting(session)

    def end_poll(self, poll: "PollingHandler") -> bool:
        """Forget ``poll``, whose client is gone; return whether it was waiting."""
        was_waiting = self._poll is poll
        if was_waiting:
            self._poll = None
        return was_waiting

    def send_waiting(self, session: Session) -> None:
        """Answer the waiting poll with what there is; end a closing session after its last."""
        if self._poll is None:
            if session.is_discarded:
                session.end()
            return
        packets = session.take(_SLICE_BYTES)
        is_last = session.is_closed and not session.has_output
        if is_last:
            packets.append(_CLOSE)
        if packets:
            self._answer(packets)
        if is_last:
            session.end()

    def release_poll(self) -> None:
        """Answer a pending poll with a NOOP, or else the next one."""
        self._is_noop_due = self._poll is None
        if self._poll is not None:
            self._answer([_NOOP])

    def abort(self) -> None:
        """Let go of the waiting poll with a CLOSE."""
        if self._poll is not None:
            self._answer([_CLOSE])

    def _answer(self, packets: list[EncodedPacket]) -> None:
        poll, self._poll = self._poll, None
        if poll is not None:
            poll.answer(packets)


class PollingHandler(BoundedBodyHandler):
    """One request of a polling client."""

    def initialize(self, engineio: "EngineIOServer") -> None:
        """Take the server; Tornado calls this before anything else."""
        self._engineio = engineio
        self._session: Session | None = None
        self._answered: asyncio.Future[None] | None = None
        self._add_cors_headers()

    def set_default_headers(self) -> None:
        """Let nobody store the answer."""
        self.clear_header("Server")
        self.set_header("Content-Type", "text/plain; charset=UTF-8")
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")

    def clear(self) -> None:
        """Begin the answer anew, as for an error; Tornado does so once before `initialize`."""
        super().clear()
        if hasattr(self, "_engineio"):
            self._add_cors_headers()

    def _add_cors_headers(self) -> None:
        origin = self.request.headers.get("Origin")
        for name, value in self._engineio.origins.response_headers(origin).items():
            self.set_header(name, value)

    def prepare(self) -> None:
        """Check everything that the headers tell, before any of the body is read."""
        self._engineio.check_origin(self.request)
        if self.request.method == "OPTIONS":
            return
        query = Query.of(self.request)
        query.check("polling")
        if query.sid is None and self.request.method != "GET":
            raise HandshakeRefused(BAD_METHOD)
        if self.request.method not in {"GET", "POST"}:
            raise HandshakeRefused(BAD_METHOD)
        self._session = session_of(query, self._engineio.sessions)
        if self._session is not None:
            self._engineio.expire_if_due(self._session)
            if self._session.is_discarded:
                raise HandshakeRefused(UNKNOWN_SID)
            if not isinstance(self._session.output, PollingOutput):
                raise HandshakeRefused(BAD_REQUEST)
        self.check_declared_body()

    def max_body_bytes(self) -> int:
        """Return the session's limit; a handshake has no body."""
        return 0 if self._session is None else self._session.max_message_bytes

    def options(self) -> None:
        """Answer a browser's preflight request."""
        self.set_status(204)
        self.clear_header("Content-Type")
        self.set_header("Access-Control-Allow-Methods", "GET, POST")
        self.set_header("Access-Control-Allow-Headers", "Authorization, Content-Type")
        self.set_header("Access-Control-Max-Age", "600")

    async def get(self) -> None:
        """Open a session, or wait for the packets of one."""
        self._answered = asyncio.get_running_loop().create_future()
        if self._session is None:
            output = PollingOutput()
            admission = await self._engineio.admit(self.request)
            self._session = self._engineio.open_session(admission, output)
        else:
            output = self._polling_output(self._session)
        output.begin_poll(self._session, self)
        await self._answered

    def answer(self, packets: list[EncodedPacket]) -> None:
        """End a GET with ``packets``."""
        if self._answered is not None and not self._answered.done():
            self.finish(protocol.encode_payload(packets))
            self._answered.set_result(None)

    async def post(self) -> None:
        """Take packets; answered when the session is ready for more."""
        session = self._session
        if session is None:
            raise HandshakeRefused(UNKNOWN_SID)
        output = self._polling_output(session)
        if output.is_receiving:
            session.fail(ProtocolError("overlapping requests with packets"))
            raise HandshakeRefused(BAD_REQUEST)
        output.is_receiving = True
        try:
            self._take_packets(session, self.body())
            readable = until_readable(session)
            if readable is not None:
                await readable
        finally:
            output.is_receiving = False
        # text/html spares some user agents a download dialog (socket.io issue 43)
        self.set_header("Content-Type", "text/html")
        self.finish("ok")

    def _take_packets(self, session: Session, body: bytes) -> None:
        session.count_received(body)
        if session.is_discarded:
            raise HandshakeRefused(BAD_REQUEST)
        try:
            for packet in protocol.decode_payload(body, _MAX_PAYLOAD_PACKETS):
                session.receive(packet)
        except ProtocolError as problem:
            session.fail(problem)
            raise HandshakeRefused(BAD_REQUEST) from None

    def _polling_output(self, session: Session) -> PollingOutput:
        # It may have been upgraded while the body was on its way.
        if not isinstance(session.output, PollingOutput):
            raise HandshakeRefused(BAD_REQUEST)
        return session.output

    def on_connection_close(self) -> None:
        """Take note that the client has gone away: a poll that was cut ends the session."""
        super().on_connection_close()
        if self._session is None or self._answered is None or self._answered.done():
            return
        self._answered.set_result(None)
        output = self._session.output
        if isinstance(output, PollingOutput) and output.end_poll(self):
            self._session.lost(output, "transport close")

    # Errors

    def write_error(self, status_code: int, **details: Any) -> None:
        """Answer Engine.IO's errors in its form, all others in the product's."""
        _, problem, _ = details.get("exc_info", (None, None, None))
        if isinstance(problem, TooLarge) and self._session is not None:
            self._session.too_big()
        write_refusal(self, problem)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Log faults of ours once; a refusal is an answer."""
        if not isinstance(value, HandshakeRefused | RealtimeError | HTTPError):
            super().log_exception(typ, value, tb)
