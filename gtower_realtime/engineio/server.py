"""The Engine.IO server: sessions by id, and the surface that `socketio.AsyncServer` calls.

python-socketio 5.18 asks for what is under "For python-socketio"; requests come in through
:meth:`EngineIOServer.routes`.
"""

import asyncio
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import structlog
from engineio.packet import Packet as EngineIOPacket
from tornado.httputil import HTTPServerRequest
from tornado.routing import Matcher, PathMatches, Rule
from tornado.web import Application

from gtower_realtime import strict_json
from gtower_realtime.addresses import UNIX_SOCKET, TrustedProxies
from gtower_realtime.engineio import protocol
from gtower_realtime.engineio.deadlines import DeadlineQueue, Timed
from gtower_realtime.engineio.eager import EagerTasks
from gtower_realtime.engineio.frames import NOT_UTF_8, PROTOCOL_ERROR, TOO_BIG
from gtower_realtime.engineio.group import Group
from gtower_realtime.engineio.handshake import (
    FORBIDDEN,
    Admission,
    HandshakeRefused,
    Query,
)
from gtower_realtime.engineio.polling import PollingHandler
from gtower_realtime.engineio.protocol import EncodedPacket, ProtocolError
from gtower_realtime.engineio.session import (
    NO_PONG,
    SLOW_CONSUMER,
    Output,
    RequestInfo,
    Session,
    SessionLimits,
    State,
)
from gtower_realtime.engineio.websocket_handshake import WebSocketHandshakeHandler
from gtower_realtime.errors import Draining, RealtimeError
from gtower_realtime.ids import RandomIds
from gtower_realtime.limits import ConnectionLimits
from gtower_realtime.metrics import Metrics
from gtower_realtime.origins import OriginPolicy

logger = structlog.get_logger(__name__)

Handler = Callable[..., Coroutine[Any, Any, Any]]

_INTERNAL_ERROR = 1011
_SHUTDOWN = 1012
_DISCONNECTED = 4003

_DEPARTURES_SECONDS = 0.01

_BUFFER_BYTES = 65_536

_HANDLER_SECONDS = 10.0

_KEPT_USER_AGENT_CHARACTERS = 512

TRANSPORTS = ("polling", "websocket")

_DISCONNECT_REASONS = {
    PROTOCOL_ERROR: "transport error",
    NOT_UTF_8: "transport error",
    TOO_BIG: "transport error",
    NO_PONG: "ping timeout",
}


def _never_refuse() -> RealtimeError | None:
    return None


@dataclass(frozen=True, slots=True)
class EngineIOConfig:
    """What an Engine.IO server is built from.

    ``gate`` is asked at each handshake whether new connections are taken at all. ``clock`` returns
    monotonic seconds. ``current_mark`` is asked with each ping; `Session.confirmed_mark` is what it
    said for the ping that was answered last. ``sid_ending``, at most 5 URL-safe characters, is what
    all session ids end in: a proxy tells by it which of several servers has a session.
    """

    limits: SessionLimits = field(default_factory=SessionLimits)
    connection_limits: ConnectionLimits | None = None
    origins: OriginPolicy = field(default_factory=lambda: OriginPolicy(["*"]))
    proxies: TrustedProxies = field(default_factory=TrustedProxies)
    metrics: Metrics = field(default_factory=Metrics)
    gate: Callable[[], RealtimeError | None] = _never_refuse
    clock: Callable[[], float] = time.monotonic
    current_mark: Callable[[], int] = int
    sid_ending: str = ""


class _IsWebSocketUpgrade(Matcher):
    """Matches the path when the request asks for a WebSocket."""

    def __init__(self, path: PathMatches) -> None:
        self._path = path

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        """Return the match of the path, None when no WebSocket is asked for."""
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return None
        return self._path.match(request)


def _ignore(_session: Session) -> None:
    pass


class EngineIOServer:
    """All Engine.IO sessions of a process.

    Output of one turn of the loop is written at its end: one write per client, however many
    packets. A session's handlers run one at a time, in order; `disconnect` runs once, last.
    """

    async_mode = "asyncio"

    def __init__(self, *, config: EngineIOConfig, **_options: Any) -> None:
        self.sessions: dict[str, Session] = {}
        self.origins = config.origins
        self._config = config
        self._metrics = config.metrics
        self.traffic = config.metrics.websocket_traffic
        """What WebSockets have read and written."""
        self._handlers: dict[str, Handler] = {}
        self._deadlines = DeadlineQueue(config.clock, config.metrics.loop_stall_seconds.inc)
        self.buffer = memoryview(bytearray(_BUFFER_BYTES))
        """Where what has come is put, by whichever WebSocket; used up before the next reads."""
        self._ids = RandomIds(15)
        self._waiting: list[Session] = []
        self._groups_waiting: list[Group] = []
        self._closed: deque[Session] = deque()
        self.closing: Callable[[Session], None] = _ignore
        """Called with a session that takes and carries no more messages, in the middle of things;
        the application must not send anything then."""
        self.dropping: Callable[[Session], None] = _ignore
        """Called with a session for which a droppable packet was dropped; the same holds."""
        self._tasks = EagerTasks()
        self._is_turn_end_due = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._settled: asyncio.Event | None = None
        # From the start, so that a rise from nothing is seen as one.
        for transport in TRANSPORTS:
            config.metrics.connections_accepted.labels(transport)
        config.metrics.disconnects.labels(str(SLOW_CONSUMER))
        config.metrics.when_asked(self._look_at_sessions)

    def change(self, limits: SessionLimits, proxies: TrustedProxies) -> None:
        """Take other limits and proxies, for the connections that come from now on."""
        self._config = replace(self._config, limits=limits, proxies=proxies)

    def routes(self, path: str) -> list[Rule]:
        """Return the Tornado routes that serve ``path``, with and without a trailing slash."""
        matcher = PathMatches(re.escape(path.rstrip("/")) + "/?")
        arguments = {"engineio": self}
        return [
            Rule(_IsWebSocketUpgrade(matcher), WebSocketHandshakeHandler, arguments),
            Rule(matcher, PollingHandler, arguments),
        ]

    def new_group(self) -> Group:
        """Return a group of sessions that will get the same packets."""
        return Group(self._group_waits, self.traffic)

    # Handshakes

    def check_origin(self, request: HTTPServerRequest) -> None:
        """Check that the page a request comes from may connect.

        Raises:
            HandshakeRefused: it may not.
        """
        if not self.origins.allows(request.headers.get("Origin")):
            raise HandshakeRefused(FORBIDDEN, 403)

    async def admit(self, request: HTTPServerRequest) -> Admission:
        """Count a new connection and ask the application about it.

        What it returns is given to :meth:`open_session` or :meth:`withdraw`, once.

        Raises:
            RealtimeError: there is no room for it, or the gate is closed.
            HandshakeRefused: the application does not want it.
        """
        info = self._request_info(request)
        self._check_capacity(info.remote_address)
        admission = Admission(self._session_id(), info)
        connect = self._handlers.get("connect")
        try:
            is_wanted = connect is None or await connect(admission.sid, info) is not False
        except BaseException:
            self._release(info.remote_address)
            raise
        if not is_wanted:
            self._release(info.remote_address)
            raise HandshakeRefused(FORBIDDEN, 401)
        return admission

    def _session_id(self) -> str:
        """Return an id of 20 characters; those before the ending, 15 at least, are random."""
        ending = self._config.sid_ending
        return self.generate_id()[len(ending) :] + ending

    def open_session(self, admission: Admission, output: Output) -> Session:
        """Begin the session of an admitted handshake; its first packet is OPEN."""
        limits = self._config.limits
        session = Session(
            admission.sid, admission.request, output, limits, self, self._deadlines.now
        )
        self.sessions[session.sid] = session
        self._metrics.connections_accepted.labels(output.name).inc()
        handshake = {
            "sid": session.sid,
            "upgrades": ["websocket"] if output.name == "polling" else [],
            "pingInterval": round(limits.ping_interval * 1000),
            "pingTimeout": round(limits.ping_timeout * 1000),
            "maxPayload": limits.max_message_bytes,
        }
        session.send(EncodedPacket(protocol.OPEN + strict_json.dumps(handshake)))
        self._deadlines.schedule(session)
        return session

    def withdraw(self, admission: Admission) -> None:
        """Take back an admission whose handshake came to nothing."""
        self._release(admission.request.remote_address)
        self._tell("disconnect", admission.sid, "transport error")

    def count_refusal(
        self, request: HTTPServerRequest, refusal: HandshakeRefused | RealtimeError
    ) -> None:
        """Count a request that was refused, if it asked for a new session."""
        if "sid" not in request.query_arguments:
            self._metrics.handshakes_refused.labels(refusal.code).inc()

    def expire_if_due(self, session: Session) -> None:
        """Do what is overdue for ``session``, so that an expired one is not served any more."""
        now = self._deadlines.now()
        if session.next_deadline() <= now:
            session.on_deadline(now)
            session.output.send_waiting(session)

    def _look_at_sessions(self) -> None:
        by_transport = dict.fromkeys(TRANSPORTS, 0)
        total = most = slow = unlike = 0
        for session in self.sessions.values():
            # Nearly all: WebSockets that nothing waits for. The look at each must be a short one.
            if session.write is not None and not session.queue:
                continue
            unlike += 1
            by_transport[session.transport_name] += 1
            waiting = session.waiting_bytes
            total += waiting
            most = max(most, waiting)
            slow += waiting > 0 and session.write is None
        by_transport["websocket"] += len(self.sessions) - unlike
        metrics = self._metrics
        for transport, count in by_transport.items():
            metrics.connections.labels(transport).set(count)
        metrics.client_buffer_bytes.set(total)
        metrics.client_buffer_max_bytes.set(most)
        metrics.slow_clients.set(slow)

    def _check_capacity(self, address: str) -> None:
        if self._settled is not None:
            raise Draining("The server is shutting down.")
        refusal = self._config.gate()
        if refusal is not None:
            raise refusal
        if self._config.connection_limits is not None:
            self._config.connection_limits.admit(address, self._config.clock())

    def _release(self, address: str) -> None:
        if self._config.connection_limits is not None:
            self._config.connection_limits.release(address)

    def _request_info(self, request: HTTPServerRequest) -> RequestInfo:
        headers = request.headers
        peer = request.remote_ip or UNIX_SOCKET
        # Tornado gives a peer on a unix socket this address.
        peer = UNIX_SOCKET if peer == "0.0.0.0" else peer  # noqa: S104
        user_agent = headers.get("User-Agent")
        return RequestInfo(
            remote_address=self._config.proxies.client_address(
                peer, headers.get("X-Forwarded-For")
            ),
            # The same for very many clients, so all share one.
            user_agent=user_agent and sys.intern(user_agent[:_KEPT_USER_AGENT_CHARACTERS]),
            origin=headers.get("Origin"),
            authorization=headers.get("Authorization"),
            query=Query.of(request).kept(),
        )

    # Time

    def now(self) -> float:
        """Return the time that deadlines are of."""
        return self._deadlines.now()

    def forget_deadline(self, item: Timed) -> None:
        """Do not look at ``item`` any more."""
        self._deadlines.forget(item)

    # What sessions tell: `SessionEvents`

    def output_waits(self, session: Session) -> None:
        """Send what waits for ``session`` at the end of this turn."""
        self._waiting.append(session)
        self._see_to_end_of_turn()

    def message_arrived(self, session: Session) -> None:
        """Take up the session's messages, unless one is being handled."""
        if not session.is_handling:
            self._handle_messages(session)

    def deadline_moved(self, item: Timed) -> None:
        """Look at a session, or a connection, by its new deadline."""
        self._deadlines.schedule(item)

    def closed(self, session: Session) -> None:
        """Tell the application at the end of this turn, not in the middle of a fan-out.

        That it gets nothing any more is told at once.
        """
        self.closing(session)
        self._await_departure(session)

    def _await_departure(self, session: Session) -> None:
        self._closed.append(session)
        self._see_to_end_of_turn()

    def ended(self, session: Session) -> None:
        """Forget ``session``."""
        self._deadlines.forget(session)
        del self.sessions[session.sid]
        self._release(session.request.remote_address)
        self._metrics.disconnects.labels(str(session.close_code)).inc()
        self._see_to_end_of_turn()

    def current_mark(self) -> int:
        """Return the application's mark."""
        return self._config.current_mark()

    def dropped(self, session: Session, packet: EncodedPacket) -> None:
        """Count what a slow client did not get, and tell the application."""
        self._metrics.packets_dropped.inc()
        self.dropping(session)

    # Handling messages

    def _handle_messages(self, session: Session) -> None:
        while session.inbox:
            session.is_handling = True
            message = session.inbox.pop(0)
            problem: BaseException | None = None
            try:
                has_ended = self._tasks.start(
                    self._handlers["message"](session.sid, message),
                    partial(self._carried_on, session),
                )
            except (Exception, asyncio.CancelledError) as raised:  # noqa: BLE001 - see _handled
                problem, has_ended = raised, True
            if not has_ended:
                return  # _carried_on takes up the next one
            self._handled(session, problem)
        session.check_readable()

    def _carried_on(self, session: Session, problem: BaseException | None) -> None:
        self._handled(session, problem)
        if session.is_closed:
            self._await_departure(session)
        else:
            self._handle_messages(session)

    def _handled(self, session: Session, problem: BaseException | None) -> None:
        session.is_handling = False
        if isinstance(problem, ProtocolError):
            session.fail(problem)
        elif problem is not None:
            # What handles messages answers for its own errors; this is a fault that it missed.
            logger.error("message_handler_failed", exc_info=problem)
            session.fail(ProtocolError("internal error", _INTERNAL_ERROR))

    # The end of a turn

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` in the next turn of the loop, in no context: it is for all clients."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        self._loop.call_soon(callback, context=Context())

    def _see_to_end_of_turn(self) -> None:
        if not self._is_turn_end_due:
            self._is_turn_end_due = True
            self.call_soon(self._end_turn)

    def _group_waits(self, group: Group) -> None:
        self._groups_waiting.append(group)
        self._see_to_end_of_turn()

    def _end_turn(self) -> None:
        self._is_turn_end_due = False
        # Many may leave at once, and each is announced to all that stay: a slice of them a turn.
        until = self._config.clock() + _DEPARTURES_SECONDS
        while self._closed and self._config.clock() < until:
            self._tell_departure(self._closed.popleft())
        if self._closed:
            self._see_to_end_of_turn()
        if self._groups_waiting:
            groups, self._groups_waiting = self._groups_waiting, []
            self._groups_waiting = [group for group in groups if not group.flush()]
            if self._groups_waiting:
                self._see_to_end_of_turn()
        waiting, self._waiting = self._waiting, []
        for session in waiting:
            if not session.write_at_once() and session.state is not State.CLOSED:
                session.output.send_waiting(session)
        if self._settled is not None and not self.sessions and not self._closed:
            self._settled.set()

    def _tell_departure(self, session: Session) -> None:
        if session.is_handling or session.is_departure_told:
            return  # a handler that is at work ends first; _carried_on comes back to it
        session.is_departure_told = True
        reason = _DISCONNECT_REASONS.get(session.close_code, session.close_reason)
        self._tell("disconnect", session.sid, reason)

    def _tell(self, event: str, *arguments: Any) -> None:
        handler = self._handlers.get(event)
        if handler is None:
            return
        try:
            self._tasks.start(handler(*arguments), partial(self._told, event))
        except (Exception, asyncio.CancelledError) as problem:  # noqa: BLE001 - logged in _told
            self._told(event, problem)

    def _told(self, event: str, problem: BaseException | None) -> None:
        if problem is not None:
            logger.error("handler_failed", handler=event, exc_info=problem)

    # For python-socketio

    def on(self, event: str, handler: Handler) -> None:
        """Bind the handler of ``connect``, ``message`` or ``disconnect``.

        They are called as (sid, `RequestInfo`), (sid, data) and (sid, reason). A ``connect`` that
        returns False refuses the handshake.
        """
        self._handlers[event] = handler

    def generate_id(self) -> str:
        """Return a new id of 20 URL-safe characters that cannot be guessed."""
        return self._ids.new()

    async def send(self, sid: str, data: str | bytes) -> None:
        """Queue a message; silent when the session is gone."""
        session = self.sessions.get(sid)
        if session is not None:
            session.send(EncodedPacket.message(data))

    async def send_packet(self, sid: str, packet: EngineIOPacket) -> None:
        """Queue a packet of python-engineio's class; silent when the session is gone."""
        session = self.sessions.get(sid)
        if session is not None:
            session.send(EncodedPacket(packet.encode()))

    def transport(self, sid: str) -> str:
        """Return ``polling`` or ``websocket``.

        Raises:
            KeyError: there is no such session.
        """
        return self.sessions[sid].transport_name

    async def get_session(self, sid: str) -> dict[str, Any]:
        """Return the application's own dictionary of a session.

        Raises:
            KeyError: there is no such session.
        """
        session = self.sessions[sid]
        if session.custom is None:
            session.custom = {}
        return session.custom

    async def disconnect(self, sid: str) -> None:
        """Close a session after what waits for it; silent when it is gone."""
        session = self.sessions.get(sid)
        if session is not None:
            session.close(_DISCONNECTED, "disconnected by the server")

    async def shutdown(self) -> None:
        """Close all sessions with 1012, and wait until nothing is left of them.

        A client has the few seconds of `LINGER_SECONDS` to fetch what waits for it, a handler that
        is at work 10 s to end. From the first moment on no new session is opened.
        """
        for session in list(self.sessions.values()):
            session.close(_SHUTDOWN, "server shutting down")
        await self._settle()
        await self._tasks.finish(_HANDLER_SECONDS)
        await self._settle()
        self._deadlines.close()

    async def _settle(self) -> None:
        """Wait until all sessions have ended and their departures are told."""
        self._settled = asyncio.Event()
        self._see_to_end_of_turn()
        await self._settled.wait()

    def attach(self, app: Application, path: str = "engine.io") -> None:
        """Add the routes to a Tornado application."""
        app.add_handlers(".*", self.routes(f"/{path.strip('/')}/"))

    def create_event(self) -> asyncio.Event:
        """Return a new event of the loop."""
        return asyncio.Event()

    def start_background_task(
        self, target: Callable[..., Coroutine[Any, Any, Any]], *args: Any, **kwargs: Any
    ) -> asyncio.Task[Any]:
        """Run a coroutine function in a task, to which the caller keeps a reference."""
        return asyncio.get_running_loop().create_task(target(*args, **kwargs))

    async def sleep(self, seconds: float = 0) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
