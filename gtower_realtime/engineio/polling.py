"""Engine.IO over HTTP long-polling: GETs that wait for packets, POSTs that bring them."""

import asyncio
from typing import TYPE_CHECKING, Any

from tornado.iostream import StreamClosedError

from gtower_realtime.engineio import protocol
from gtower_realtime.engineio.handler import EngineIOHandler
from gtower_realtime.engineio.handshake import (
    BAD_METHOD,
    BAD_REQUEST,
    UNKNOWN_SID,
    HandshakeRefused,
    Query,
    session_of,
)
from gtower_realtime.engineio.protocol import EncodedPacket, ProtocolError
from gtower_realtime.engineio.session import Session
from gtower_realtime.errors import TooLarge

if TYPE_CHECKING:
    from gtower_realtime.engineio.server import EngineIOServer

_MAX_PAYLOAD_PACKETS = 256
_SLICE_BYTES = 262_144

_NOOP = EncodedPacket(protocol.NOOP)
_CLOSE = EncodedPacket(protocol.CLOSE)


class PollingOutput:
    """Hands a session's packets to the GET that waits for them, if one does."""

    name = "polling"

    __slots__ = ("_is_noop_due", "_poll", "is_receiving", "unsent")

    def __init__(self) -> None:
        self.unsent = b""
        self.is_receiving = False
        """Whether a POST is under way, from its headers on."""
        self._poll: PollingHandler | None = None
        self._is_noop_due = False

    @property
    def unsent_bytes(self) -> int:
        """What was taken from the session and has not left the process."""
        return len(self.unsent)

    @property
    def is_polled(self) -> bool:
        """Whether a GET waits for packets."""
        return self._poll is not None

    def begin_poll(self, session: Session, poll: "PollingHandler") -> None:
        """Answer ``poll`` as soon as there is something to say.

        Raises:
            HandshakeRefused: another one waits already; that closes the session.
        """
        if self.is_polled:
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
        if not self.is_polled:
            if session.is_discarded:
                session.end()
            elif session.is_closed and not session.has_output:
                session.hand_over_soon()
            return
        if self.unsent_bytes and not session.is_discarded:
            return  # the answer to the last poll is not read yet
        packets = session.take(_SLICE_BYTES)
        if packets:
            # Never with a CLOSE behind them: the stock client acts on a CLOSE at once and on
            # messages a tick later, so it would lose them, a DISCONNECT among them.
            self._answer(packets)
            if session.is_closed and not session.has_output:
                session.hand_over_soon()
        elif session.is_closed:
            self._answer([_CLOSE])
            session.end()

    def write_rest(self, content: bytes, sent: int) -> None:
        """Do nothing: a session that is polled is never written to at once."""

    def release_poll(self) -> None:
        """Answer a pending poll with a NOOP, or else the next one."""
        self._is_noop_due = not self.is_polled
        self._answer([_NOOP])

    def abort(self) -> None:
        """Let go of the waiting poll with a CLOSE."""
        self._answer([_CLOSE])

    def _answer(self, packets: list[EncodedPacket]) -> None:
        poll, self._poll = self._poll, None
        if poll is not None:
            poll.answer(self, protocol.encode_payload(packets))


class PollingHandler(EngineIOHandler):
    """One request of a polling client."""

    def initialize(self, engineio: "EngineIOServer") -> None:
        """Take the server; Tornado calls this before anything else."""
        super().initialize(engineio)
        self._session: Session | None = None
        self._answered: asyncio.Future[None] | None = None
        self._receives_for: PollingOutput | None = None
        self._add_cors_headers()

    def set_default_headers(self) -> None:
        """Declare what packets are."""
        super().set_default_headers()
        self.set_header("Content-Type", "text/plain; charset=UTF-8")

    def compute_etag(self) -> str | None:
        """Compute none: no answer is ever the same as another."""
        return None

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
        if self.request.method != "OPTIONS":
            self._check_request()
        self.check_declared_body()

    def _check_request(self) -> None:
        query = Query.of(self.request)
        query.check("polling")
        if self.request.method not in {"GET", "POST"}:
            raise HandshakeRefused(BAD_METHOD)
        if query.sid is None and self.request.method != "GET":
            raise HandshakeRefused(BAD_METHOD)
        session = session_of(query, self._engineio.sessions)
        if session is None:
            return
        self._session = session
        self._engineio.expire_if_due(session)
        if session.is_discarded:
            raise HandshakeRefused(UNKNOWN_SID)
        output = self._polling_output(session)
        if self.request.method == "POST":
            if output.is_receiving:
                session.fail(ProtocolError("overlapping requests with packets"))
                raise HandshakeRefused(BAD_REQUEST)
            output.is_receiving = True
            self._receives_for = output

    def max_body_bytes(self) -> int:
        """Return the session's limit for packets; nothing else has a body."""
        return (
            0
            if self._receives_for is None or self._session is None
            else (self._session.max_message_bytes)
        )

    def options(self) -> None:
        """Answer a browser's preflight request."""
        self.set_status(204)
        self.clear_header("Content-Type")
        self.set_header("Access-Control-Allow-Methods", "GET, POST")
        self.set_header("Access-Control-Allow-Headers", "Authorization, Content-Type")
        self.set_header("Access-Control-Max-Age", "600")

    # Packets for the client

    async def get(self) -> None:
        """Open a session, or wait for the packets of one."""
        self._answered = asyncio.get_running_loop().create_future()
        if self._session is None:
            output = PollingOutput()
            admission = await self._engineio.admit(self.request)
            # If the client is gone meanwhile, its first answer finds out.
            self._session = self._engineio.open_session(admission, output)
        else:
            output = self._polling_output(self._session)
        output.begin_poll(self._session, self)
        await self._answered

    def answer(self, output: PollingOutput, payload: str) -> None:
        """End a GET with ``payload``."""
        if self._session is None or self._answered is None or self._answered.done():
            return
        content = payload.encode()
        output.unsent += content
        self.finish(content).add_done_callback(self._sent)
        self._answered.set_result(None)

    def _sent(self, sending: "asyncio.Future[None]") -> None:
        if self._session is None or sending.cancelled():
            return
        output = self._session.output
        if not isinstance(output, PollingOutput):
            return  # it was upgraded meanwhile
        output.unsent = b""
        if isinstance(sending.exception(), StreamClosedError):
            self._session.lost(output, "transport close")
        elif self._session.has_output:
            self._engineio.output_waits(self._session)

    # Packets from the client

    async def post(self) -> None:
        """Take packets; answered when the session is ready for more."""
        session = self._session
        if session is None:
            raise HandshakeRefused(UNKNOWN_SID)
        self._polling_output(session)
        self._take_packets(session, self.body())
        await _until_readable(session)
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

    # The end

    def on_finish(self) -> None:
        """Let the next POST in."""
        self._end_receiving()

    def on_connection_close(self) -> None:
        """Take note that the client has gone away: a request that was cut ends the session."""
        super().on_connection_close()
        receives_for = self._end_receiving()
        if self._session is None:
            return
        if receives_for is not None:
            self._session.lost(receives_for, "transport error")
        if self._answered is None or self._answered.done():
            return
        self._answered.set_result(None)
        output = self._session.output
        if isinstance(output, PollingOutput) and output.end_poll(self):
            self._session.lost(output, "transport close")

    def _end_receiving(self) -> PollingOutput | None:
        output, self._receives_for = self._receives_for, None
        if output is not None:
            output.is_receiving = False
        return output

    def write_error(self, status_code: int, **details: Any) -> None:
        """Answer a refusal; packets that are too many bytes end the session as well."""
        _, problem, _ = details.get("exc_info", (None, None, None))
        if isinstance(problem, TooLarge) and self._session is not None:
            self._session.too_big()
        super().write_error(status_code, **details)


async def _until_readable(session: Session) -> None:
    """Wait until more may be read from the client of ``session``, or it is closed."""
    if session.is_readable or session.is_closed:
        return
    readable: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def go_on() -> None:
        if not readable.done():
            readable.set_result(None)

    session.when_readable(go_on)
    await readable
