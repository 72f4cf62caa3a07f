"""The Socket.IO server: python-socketio's `AsyncServer`, strict towards clients.

Every packet is checked before anything acts on it; what is against the protocol closes the
connection. A client is accepted or gone, nothing between. Every event has exactly one outcome: its
acknowledgement or, when none was asked for, an `exception` event in case of a refusal. A handler
that fails or hangs costs nobody but its own client anything.

The private parts of python-socketio that are overridden and used are listed in `private_apis`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, cast

import structlog
from socketio import AsyncServer, exceptions, packet

from gtower_realtime.engineio.protocol import EncodedPacket, ProtocolError
from gtower_realtime.engineio.server import EngineIOConfig, EngineIOServer
from gtower_realtime.engineio.session import RequestInfo, Session
from gtower_realtime.errors import InternalError, RealtimeError, UnknownEvent, ValidationFailed
from gtower_realtime.gateway.acknowledgements import Acknowledgements
from gtower_realtime.gateway.client_manager import ClientManager
from gtower_realtime.gateway.packets import StrictPacket, engineio_packets
from gtower_realtime.gateway.time_limit import within
from gtower_realtime.logs import RepeatLimitedLogger

TRY_AGAIN_LATER = 1013
DISCONNECTED_FOR_GOOD = 4003
TAKEN_OVER = 1000

_SHOWN_NAME = 64

Connecting = Callable[["PendingConnection"], Awaitable[None]]

Departed = Callable[[str, bool, int], None]
"""Called with the client id, whether it may return, and the last mark that a pong has confirmed."""

Closing = Callable[[str, bool, int], None]
"""Called with the client id, whether it may return, and the close code."""

Refused = Callable[[str, str, RealtimeError], None]
"""Called with the client id, the event's name and the refusal."""

Dismissed = Callable[[str, int, str], None]
"""Called with the client id, the close code and the reason."""


Answered = Callable[[Any], Any]
"""Called with a handler's answer; returns what the acknowledgement says."""


def _as_it_is(answer: Any) -> Any:
    return answer


class SocketIOServer(AsyncServer):  # type: ignore[misc]
    """A strict Socket.IO v5 server on the Engine.IO server of this house.

    Handlers are bound with `on`; they raise `RealtimeError` to refuse. One that works for longer
    than ``handler_timeout`` seconds is cancelled, which its client sees as an internal error; 0 is
    no limit. With ``carries_binary`` false an event with attachments is read whole and refused.
    """

    manager: ClientManager
    eio: EngineIOServer

    def __init__(
        self,
        config: EngineIOConfig,
        *,
        namespaces: tuple[str, ...] = ("/",),
        carries_binary: bool = False,
        handler_timeout: float = 10.0,
    ) -> None:
        super().__init__(
            client_manager=ClientManager(),
            serializer=StrictPacket,
            async_handlers=False,
            namespaces=list(namespaces),
            logger=logging.getLogger("socketio"),
            config=config,
        )
        self._admit: Connecting = self._admit_at_once
        self._departed: Departed | None = None
        self._acknowledgements = Acknowledgements(self.eio.sessions)
        self._refused: Refused | None = None
        self._dismissed: Dismissed | None = None
        self._answered: Answered = _as_it_is
        self._gone_for_good: set[str] = set()
        self._carries_binary = carries_binary
        self._handler_timeout = handler_timeout
        self._metrics = config.metrics
        self._faults = RepeatLimitedLogger(structlog.get_logger(__name__), config.clock)

    def on_connecting(self, handler: Connecting) -> None:
        """Have ``handler`` answer each CONNECT that was let in, with `PendingConnection.welcome`.

        It may do so later. Without a handler each is answered at once.
        """
        self._admit = handler

    def on_departed(self, handler: Departed) -> None:
        """Have ``handler`` told of each client that is gone."""
        self._departed = handler

    def on_closing(self, handler: Closing) -> None:
        """Have ``handler`` told of each client that gets nothing any more, before it has departed.

        It is called at once, in the middle of a delivery for instance, and must not send anything.
        """

        def closing(session: Session) -> None:
            for sid in self._accepted_clients(session):
                handler(sid, sid not in self._gone_for_good, session.close_code)

        self.eio.closing = closing

    def on_dropped(self, handler: Callable[[str], None]) -> None:
        """Have ``handler`` told of each client that is too slow for a droppable event; as above."""

        def dropping(session: Session) -> None:
            for sid in self._accepted_clients(session):
                handler(sid)

        self.eio.dropping = dropping

    def _accepted_clients(self, session: Session) -> list[str]:
        clients = self.manager.namespaces_of(session.sid).items()
        return [sid for namespace, sid in clients if self.manager.is_connected(sid, namespace)]

    def on_refused(self, handler: Refused) -> None:
        """Have ``handler`` tell clients of refusals that they asked no acknowledgement for."""
        self._refused = handler

    def on_dismissed(self, handler: Dismissed) -> None:
        """Have ``handler`` tell clients why, before they are disconnected for good."""
        self._dismissed = handler

    def on_answered(self, handler: Answered) -> None:
        """Have ``handler`` make what is acknowledged of what a handler of events answers."""
        self._answered = handler

    def _engineio_server_class(self) -> type[EngineIOServer]:
        return EngineIOServer

    # Engine.IO events

    async def _handle_eio_connect(self, eio_sid: str, environ: Any) -> None:
        self.environ[eio_sid] = environ

    async def _handle_eio_message(self, eio_sid: str, data: str | bytes) -> None:
        incomplete = self._binary_packet.get(eio_sid)
        if incomplete is None:
            pkt = self.packet_class(encoded_packet=data)
            if pkt.attachment_count:
                self._binary_packet[eio_sid] = pkt
                return
        else:
            if not isinstance(data, bytes):
                raise ProtocolError("a packet where an attachment was announced")
            session = self.eio.sessions[eio_sid]
            if sum(map(len, (*incomplete.attachments, data))) > session.max_message_bytes:
                session.too_big()
                return
            if not incomplete.add_attachment(data):
                return
            pkt = self._binary_packet.pop(eio_sid)
        await self._take_up(eio_sid, pkt)

    async def _take_up(self, eio_sid: str, pkt: StrictPacket) -> None:
        namespace = pkt.namespace or "/"
        if pkt.packet_type == packet.CONNECT:
            await self._handle_connect(eio_sid, namespace, pkt.data)
            return
        sid = self.manager.sid_from_eio_sid(eio_sid, namespace)
        if sid is None or not self.manager.is_connected(sid, namespace):
            raise ProtocolError("a packet for a namespace that is not connected")
        if pkt.packet_type == packet.DISCONNECT:
            reason = self.reason.CLIENT_DISCONNECT
            await self._handle_disconnect(eio_sid, namespace, reason, may_return=False)
            self._expect_connect(eio_sid)
        elif pkt.packet_type in {packet.ACK, packet.BINARY_ACK}:
            await self._take_acknowledgement(sid, pkt)
        else:
            await self._take_event(sid, eio_sid, pkt)

    def _expect_connect(self, eio_sid: str) -> None:
        session = self.eio.sessions.get(eio_sid)
        if session is not None and not self.manager.namespaces_of(eio_sid):
            session.expect_connect()

    async def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
        for namespace in list(self.manager.namespaces_of(eio_sid)):
            await self._handle_disconnect(eio_sid, namespace, reason)
        self._acknowledgements.forget(eio_sid)
        self._binary_packet.pop(eio_sid, None)
        self.environ.pop(eio_sid, None)

    # Connecting and disconnecting

    async def _handle_connect(self, eio_sid: str, namespace: str, data: Any) -> None:
        if namespace not in self.namespaces:
            await self._refuse_connect(eio_sid, namespace, {"message": "Invalid namespace"})
            return
        sid = await self.manager.pre_connect(eio_sid, namespace)
        if sid is None:
            raise ProtocolError("a second CONNECT to the same namespace")
        session = self.eio.sessions[eio_sid]
        try:
            await self._ask_connect_handler(sid, eio_sid, namespace, data)
        except exceptions.ConnectionRefusedError as refusal:
            await self.manager.disconnect(sid, namespace)
            await self._refuse_connect(eio_sid, namespace, refusal.error_args)
            return
        except RealtimeError as refusal:
            # After a CONNECT_ERROR the stock client stays away; after a close it tries again.
            session.close(TRY_AGAIN_LATER, refusal.code)
        if session.is_closed:
            await self.manager.disconnect(sid, namespace)
            return
        await self._admit(PendingConnection(self, session, sid, namespace, data))

    async def _admit_at_once(self, pending: "PendingConnection") -> None:
        pending.welcome(pending.sid)

    def refuse(self, pending: "PendingConnection", refusal: RealtimeError) -> None:
        """Answer a CONNECT with a CONNECT_ERROR, after which the stock client stays away."""
        if pending.session.is_closed or not self.manager.is_pre_connected(
            pending.sid, pending.namespace
        ):
            return
        self.manager.give_up(pending.sid)
        self._metrics.connects_refused.labels(refusal.code).inc()
        answer = {
            "message": refusal.message,
            "data": {"code": refusal.code, "retryable": refusal.retryable},
        }
        pkt = StrictPacket(packet.CONNECT_ERROR, answer, namespace=pending.namespace)
        pending.session.send(EncodedPacket.message(pkt.encode()))

    def welcome(
        self, pending: "PendingConnection", sid: str, pid: str | None, takes_offsets: bool
    ) -> bool:
        """Answer a CONNECT; return False, and forget it, when its connection has gone."""
        if pending.session.is_closed or not self.manager.is_pre_connected(
            pending.sid, pending.namespace
        ):
            return False
        answer = {"sid": sid} if pid is None else {"sid": sid, "pid": pid}
        pkt = StrictPacket(packet.CONNECT, answer, namespace=pending.namespace)
        pending.session.send(EncodedPacket.message(pkt.encode()))
        self.manager.accept(pending.sid, sid, takes_offsets=takes_offsets)
        pending.session.accept()
        return True

    async def _ask_connect_handler(self, sid: str, eio_sid: str, namespace: str, data: Any) -> None:
        """Have the application decide about a client.

        Raises:
            exceptions.ConnectionRefusedError: it may not come in, and is told so for good.
            RealtimeError: it may not come in now.
        """
        arguments = (sid, self.environ[eio_sid], data)
        try:
            answer = await self._trigger("connect", namespace, *arguments)
        except exceptions.ConnectionRefusedError:
            raise
        except RealtimeError as refusal:
            if refusal.retryable:
                raise
            details = {"code": refusal.code, "retryable": False}
            raise exceptions.ConnectionRefusedError(refusal.message, details) from None
        except ConnectionRefusedError:
            answer = False
        except Exception as fault:  # noqa: BLE001 - the edge: logged, and answered
            raise self._internal_error("connect_handler_failed", namespace, sid, fault) from None
        if answer is False:
            raise exceptions.ConnectionRefusedError("Connection refused by server")

    async def _refuse_connect(self, eio_sid: str, namespace: str, reason: dict[str, Any]) -> None:
        pkt = self.packet_class(packet.CONNECT_ERROR, data=reason, namespace=namespace)
        await self._send_packet(eio_sid, pkt)

    async def _handle_disconnect(
        self,
        eio_sid: str,
        namespace: str,
        reason: str | None = None,
        *,
        may_return: bool = True,
    ) -> None:
        sid = self.manager.sid_from_eio_sid(eio_sid, namespace)
        if sid is None:
            return
        was_accepted = self.manager.is_connected(sid, namespace)
        mark = self.manager.confirmed_mark(sid)
        await self.manager.disconnect(sid, namespace)
        if not was_accepted:
            return
        if sid in self._gone_for_good:
            self._gone_for_good.discard(sid)
            reason, may_return = self.reason.SERVER_DISCONNECT, False
        # At once: the id may be taken over by a newer connection while a handler waits.
        if self._departed is not None:
            self._departed(sid, may_return, mark)
        try:
            await self._trigger("disconnect", namespace, sid, reason)
        except Exception as fault:  # noqa: BLE001 - the edge: logged; the other namespaces go on
            self._internal_error("disconnect_handler_failed", namespace, sid, fault)

    # Events and acknowledgements

    async def _take_event(self, sid: str, eio_sid: str, pkt: StrictPacket) -> None:
        """Have an event handled and give its one outcome: here errors become answers."""
        try:
            answer = await self._handle(sid, pkt)
            if isinstance(answer, asyncio.Future):
                # It has to be recorded first; the client's next event is taken up meanwhile.
                self._acknowledgements.defer(eio_sid, answer, partial(self._settle, sid, pkt))
                return
            outcome = _acknowledgement(pkt, self._answered(answer))
        except Exception as problem:  # noqa: BLE001 - the edge: told to the client
            outcome = self._refuse(sid, pkt, problem)
        self._acknowledgements.give(eio_sid, outcome)

    def _settle(
        self, sid: str, pkt: StrictPacket, answer: "asyncio.Future[Any]"
    ) -> list[EncodedPacket]:
        try:
            return _acknowledgement(pkt, self._answered(answer.result()))
        except Exception as problem:  # noqa: BLE001 - the edge: told to the client
            return self._refuse(sid, pkt, problem)

    def _refuse(self, sid: str, pkt: StrictPacket, problem: Exception) -> list[EncodedPacket]:
        """Return the acknowledgement of a refused event; without one it is told otherwise."""
        event = pkt.data[0]
        refusal = (
            problem
            if isinstance(problem, RealtimeError)
            else self._internal_error("event_handler_failed", event[:_SHOWN_NAME], sid, problem)
        )
        self._metrics.events_refused.labels(refusal.code).inc()
        if pkt.id is None and self._refused is not None:
            self._refused(sid, event, refusal)
        return _acknowledgement(pkt, {"ok": False, "error": refusal.as_dict()})

    async def _handle(self, sid: str, pkt: StrictPacket) -> Any:
        if pkt.packet_type == packet.BINARY_EVENT and not self._carries_binary:
            raise ValidationFailed("Binary is not carried; send JSON.")
        event, *arguments = pkt.data
        answer = await self._trigger(event, pkt.namespace or "/", sid, *arguments)
        if answer is self.not_handled:
            raise UnknownEvent(f"There is no client event {event[:_SHOWN_NAME]!r}.")
        return answer

    async def _take_acknowledgement(self, sid: str, pkt: StrictPacket) -> None:
        try:
            callback = self.manager.trigger_callback(sid, cast("int", pkt.id), pkt.data)
            await within(self._handler_timeout, callback, sid)
        except Exception as fault:  # noqa: BLE001 - the edge: logged; the client goes on
            self._internal_error("acknowledgement_handler_failed", "", sid, fault)

    def _trigger(
        self, event: str, namespace: str, sid: str, *arguments: Any
    ) -> Coroutine[Any, Any, Any]:
        """Return a call of the application's handler, bounded in time."""
        call = self._trigger_event(event, namespace, sid, *arguments)
        return within(self._handler_timeout, call, sid)

    def _internal_error(self, what: str, subject: str, sid: str, fault: Exception) -> InternalError:
        """Log a fault of ours, once a second for the same ``subject``, and return the answer."""
        self._faults.error(
            f"{what} {subject}", what, subject=subject, client_id=sid, exc_info=fault
        )
        return InternalError("The server failed; try again later.")

    # Sending and closing

    async def emit(
        self,
        event: str,
        data: Any = None,
        to: Any = None,
        room: Any = None,
        skip_sid: Any = None,
        namespace: str | None = None,
        callback: Callable[..., Any] | None = None,
        ignore_queue: bool = False,
    ) -> None:
        """Send an event; see `ClientManager.emit`.

        Other than in python-socketio, an empty ``to`` or ``room`` is nobody, not everybody.
        """
        await self.manager.emit(
            event, data, namespace or "/", room=room, skip_sid=skip_sid, callback=callback, to=to
        )

    async def disconnect(
        self, sid: str, namespace: str | None = None, ignore_queue: bool = False
    ) -> None:
        """Disconnect a client for good: it is told so, and does not come back by itself."""
        self.close_client(sid, DISCONNECTED_FOR_GOOD, "disconnected by the server")

    def close_client(self, sid: str, code: int, reason: str) -> None:
        """End the connection of a client with a close code of PRODUCT.md section 6.

        After 4003 the stock client stays away: it hears why, and a DISCONNECT, first. After any
        other code it comes back by itself. Silent when the client is gone.
        """
        session = self.manager.index.connection_of(sid)
        audience = self.manager.index.audience_of(sid)
        if session is None or audience is None:
            return
        if code == DISCONNECTED_FOR_GOOD:
            self._gone_for_good.add(sid)
            if self._dismissed is not None:
                self._dismissed(sid, code, reason)
            pkt = self.packet_class(packet.DISCONNECT, namespace=audience.namespace)
            for encoded in engineio_packets(pkt):
                session.send(encoded)
        session.close(code, reason)

    def release_client(self, sid: str) -> None:
        """Cut a client's connection without a word to anybody; its id can be accepted anew."""
        session = self.manager.index.connection_of(sid)
        if session is not None:
            self.manager.forget(sid)
            self._gone_for_good.discard(sid)
            session.close(TAKEN_OVER, "taken over by a newer connection", discard=True)


class PendingConnection:
    """A CONNECT that was let in and waits for its answer."""

    def __init__(
        self,
        server: SocketIOServer,
        session: Session,
        sid: str,
        namespace: str,
        auth: dict[str, Any] | None,
    ) -> None:
        self.session = session
        self.sid = sid
        self.namespace = namespace
        self.auth = auth or {}
        self._server = server

    @property
    def request(self) -> RequestInfo:
        """What is kept of the handshake's request."""
        return self.session.request

    def welcome(self, sid: str, pid: str | None = None, *, takes_offsets: bool = False) -> bool:
        """Answer with the client's id, and its secret if it can come back.

        Returns False, and nothing happens, when the connection has gone.
        """
        return self._server.welcome(self, sid, pid, takes_offsets)

    def refuse(self, refusal: RealtimeError) -> None:
        """Answer that the client may not connect; nothing happens when it has gone."""
        self._server.refuse(self, refusal)


def _acknowledgement(pkt: StrictPacket, answer: Any) -> list[EncodedPacket]:
    """Return the ACK of ``pkt``, nothing if it wants none.

    A tuple is several arguments, None is none.
    """
    if pkt.id is None:
        return []
    data = list(answer) if isinstance(answer, tuple) else [] if answer is None else [answer]
    return engineio_packets(StrictPacket(packet.ACK, data, pkt.namespace, pkt.id))
