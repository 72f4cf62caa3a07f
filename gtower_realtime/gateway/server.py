"""The Socket.IO server: python-socketio's `AsyncServer`, strict towards clients.

Every packet is checked before anything acts on it; what is against the protocol closes the
connection. A client is accepted or gone, nothing between. Every event has exactly one outcome: its
acknowledgement or, when none was asked for, an `exception` event in case of a refusal.

Private parts of python-socketio 5.18 that are overridden: `_engineio_server_class`,
`_handle_eio_connect`, `_handle_eio_message`, `_handle_eio_disconnect`, `_handle_connect`,
`_handle_disconnect`; used: `_trigger_event`, `_send_packet`, `_binary_packet`.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, cast

import structlog
from socketio import AsyncServer, exceptions, packet

from gtower_realtime.engineio.protocol import EncodedPacket, ProtocolError
from gtower_realtime.engineio.server import EngineIOConfig, EngineIOServer
from gtower_realtime.engineio.session import RequestInfo
from gtower_realtime.errors import InternalError, RealtimeError, UnknownEvent, ValidationFailed
from gtower_realtime.gateway.client_manager import ClientManager
from gtower_realtime.gateway.packets import StrictPacket, encode_event

logger = structlog.get_logger(__name__)

DISCONNECTED_FOR_GOOD = 4003

Accepted = Callable[[str, RequestInfo], Awaitable[None]]
"""Called with the client id and the handshake's request."""

Refused = Callable[[str, str, RealtimeError], None]
"""Called with the client id, the event's name and the refusal."""


class SocketIOServer(AsyncServer):  # type: ignore[misc]
    """A strict Socket.IO v5 server on the Engine.IO server of this house.

    Handlers are bound with `on`; they raise `RealtimeError` to refuse. With ``carries_binary``
    false an event with attachments is read whole and refused.
    """

    manager: ClientManager
    eio: EngineIOServer

    def __init__(
        self,
        config: EngineIOConfig,
        *,
        namespaces: tuple[str, ...] = ("/",),
        carries_binary: bool = False,
    ) -> None:
        super().__init__(
            client_manager=ClientManager(),
            serializer=StrictPacket,
            async_handlers=False,
            namespaces=list(namespaces),
            logger=logging.getLogger("socketio"),
            config=config,
        )
        self._accepted: Accepted | None = None
        self._refused: Refused | None = None
        self._carries_binary = carries_binary
        self._metrics = config.metrics

    def on_accepted(self, handler: Accepted) -> None:
        """Have ``handler`` run right after each CONNECT: it is the first to send to the client."""
        self._accepted = handler

    def on_refused(self, handler: Refused) -> None:
        """Have ``handler`` tell clients of refusals that they asked no acknowledgement for."""
        self._refused = handler

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
            await self._handle_disconnect(eio_sid, namespace, self.reason.CLIENT_DISCONNECT)
        elif pkt.packet_type in {packet.ACK, packet.BINARY_ACK}:
            await self.manager.trigger_callback(sid, cast("int", pkt.id), pkt.data)
        else:
            await self._take_event(sid, eio_sid, pkt)

    async def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
        for namespace in list(self.manager.namespaces_of(eio_sid)):
            await self._handle_disconnect(eio_sid, namespace, reason)
        self._binary_packet.pop(eio_sid, None)
        self.environ.pop(eio_sid, None)

    # Socket.IO packets

    async def _handle_connect(self, eio_sid: str, namespace: str, data: Any) -> None:
        if namespace not in self.namespaces:
            await self._refuse_connect(eio_sid, namespace, {"message": "Invalid namespace"})
            return
        sid = await self.manager.pre_connect(eio_sid, namespace)
        if sid is None:
            raise ProtocolError("a second CONNECT to the same namespace")
        refusal = await self._ask_connect_handler(sid, eio_sid, namespace, data)
        session = self.eio.sessions.get(eio_sid)
        if session is None or refusal is not None:
            await self.manager.disconnect(sid, namespace)
            if refusal is not None:
                await self._refuse_connect(eio_sid, namespace, refusal)
            return
        pkt = self.packet_class(packet.CONNECT, {"sid": sid}, namespace=namespace)
        await self._send_packet(eio_sid, pkt)
        await self.manager.connect(sid, namespace)
        session.accept()
        if self._accepted is not None:
            await self._accepted(sid, session.request)

    async def _ask_connect_handler(
        self, sid: str, eio_sid: str, namespace: str, data: Any
    ) -> dict[str, Any] | None:
        """Return the payload of the refusal, or None when the client may come in."""
        try:
            answer = await self._trigger_event(
                "connect", namespace, sid, self.environ[eio_sid], data
            )
        except RealtimeError as refusal:
            return _connect_error(refusal)
        except exceptions.ConnectionRefusedError as refusal:
            return dict(refusal.error_args)
        except ConnectionRefusedError:
            answer = False
        except Exception:  # the edge: a fault of ours is a refusal to the client
            logger.exception("connect_handler_failed", client_id=sid)
            return _connect_error(InternalError("The server failed; try again later."))
        return {"message": "Connection refused by server"} if answer is False else None

    async def _refuse_connect(self, eio_sid: str, namespace: str, reason: dict[str, Any]) -> None:
        pkt = self.packet_class(packet.CONNECT_ERROR, data=reason, namespace=namespace)
        await self._send_packet(eio_sid, pkt)

    async def _handle_disconnect(
        self, eio_sid: str, namespace: str, reason: str | None = None
    ) -> None:
        sid = self.manager.sid_from_eio_sid(eio_sid, namespace)
        if sid is None:
            return
        was_accepted = self.manager.is_connected(sid, namespace)
        await self.manager.disconnect(sid, namespace)
        if was_accepted:
            await self._trigger_event("disconnect", namespace, sid, reason)

    async def _take_event(self, sid: str, eio_sid: str, pkt: StrictPacket) -> None:
        """Have an event handled and give its one outcome: here errors become answers."""
        event = pkt.data[0]
        refusal: RealtimeError | None = None
        answer: Any = None
        try:
            answer = await self._handle(sid, pkt)
        except RealtimeError as problem:
            refusal = problem
        except Exception:  # the edge: a fault of ours is an answer to the client
            logger.exception("event_handler_failed", client_event=event[:64], client_id=sid)
            refusal = InternalError("The server failed; try again later.")
        if refusal is not None:
            self._metrics.events_refused.labels(refusal.code).inc()
            answer = {"ok": False, "error": refusal.as_dict()}
        if pkt.id is not None:
            await self._send_packet(eio_sid, self._acknowledgement(pkt, answer))
        elif refusal is not None and self._refused is not None:
            self._refused(sid, event, refusal)

    async def _handle(self, sid: str, pkt: StrictPacket) -> Any:
        if pkt.packet_type == packet.BINARY_EVENT and not self._carries_binary:
            raise ValidationFailed("Binary is not carried; send JSON.")
        event, *arguments = pkt.data
        answer = await self._trigger_event(event, pkt.namespace or "/", sid, *arguments)
        if answer is self.not_handled:
            raise UnknownEvent(f"There is no client event {event[:64]!r}.")
        return answer

    def _acknowledgement(self, pkt: StrictPacket, answer: Any) -> StrictPacket:
        """Return the ACK; a tuple is several arguments, None is none."""
        data = list(answer) if isinstance(answer, tuple) else [] if answer is None else [answer]
        return StrictPacket(packet.ACK, namespace=pkt.namespace, id=pkt.id, data=data)

    async def disconnect(
        self, sid: str, namespace: str | None = None, ignore_queue: bool = False
    ) -> None:
        """Disconnect a client for good: it is told so, and does not come back by itself."""
        self.close_client(sid, DISCONNECTED_FOR_GOOD, "disconnected by the server")

    def close_client(self, sid: str, code: int, reason: str) -> None:
        """End the connection of a client with a close code of PRODUCT.md section 6.

        After 4003 the stock client stays away: it hears an `exception` and a DISCONNECT first.
        After any other code it comes back by itself. Silent when the client is gone.
        """
        session = self.manager.index.connection_of(sid)
        namespace = self.manager.index.namespace_of(sid)
        if session is None or namespace is None:
            return
        if code == DISCONNECTED_FOR_GOOD:
            farewell = {"event": "disconnect", "code": code, "message": reason}
            session.send(EncodedPacket.message(encode_event(namespace, "exception", farewell)))
            pkt = self.packet_class(packet.DISCONNECT, namespace=namespace)
            session.send(EncodedPacket.message(pkt.encode()))
        session.close(code, reason)


def _connect_error(refusal: RealtimeError) -> dict[str, Any]:
    """Return a CONNECT_ERROR payload; the stock client shows ``data`` as ``error.data``."""
    return {
        "message": refusal.message,
        "data": {"code": refusal.code, "retryable": refusal.retryable},
    }
