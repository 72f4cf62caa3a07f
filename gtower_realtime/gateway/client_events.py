"""The client-event table bound to Socket.IO: from a packet to a method of the service and back."""

import asyncio
import logging
from typing import Any

import structlog

from gtower_realtime.clients import Client
from gtower_realtime.connections import Arrival
from gtower_realtime.draining import SHUTDOWN
from gtower_realtime.errors import Overloaded, RealtimeError, StoreUnavailable
from gtower_realtime.events.client import client_event
from gtower_realtime.gateway.pace import TOO_MANY_REQUESTS, Pace
from gtower_realtime.gateway.server import PendingConnection, SocketIOServer
from gtower_realtime.metrics import Metrics
from gtower_realtime.names import MAX_EVENT_NAME
from gtower_realtime.ports import Clock, Transport
from gtower_realtime.publishing import Receipt
from gtower_realtime.recovery import Claim
from gtower_realtime.service import RealtimeService
from gtower_realtime.timestamps import format_timestamp

logger = structlog.get_logger(__name__)

_TRY_AGAIN = 4200

# python-socketio's clients call a listener with the offset as one argument too many.
_WITHOUT_OFFSETS = ("aiohttp", "python-requests")


class ClientEvents:
    """Takes up what clients of all namespaces say and has the service do it."""

    def __init__(
        self,
        *,
        service: RealtimeService,
        transport: Transport,
        pace: Pace,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._service = service
        self._transport = transport
        self._pace = pace
        self._clock = clock
        self._metrics = metrics
        # Asked once: to make a message that nobody will see takes longer than to relay one.
        self._debugs = logging.getLogger(__name__).isEnabledFor(logging.DEBUG)

    def bind(self, server: SocketIOServer) -> None:
        """Make this the one place where the events of ``server`` arrive."""
        server.on_connecting(self._connecting)
        server.on_closing(self._closing)
        server.on_dropped(self._service.client_missed)
        server.on_departed(self._departed)
        server.on_refused(self._refused)
        server.on_dismissed(self._dismissed)
        server.on_answered(_affirmed)
        for namespace in server.namespaces:
            server.on("*", self._said, namespace=namespace)

    async def _connecting(self, pending: PendingConnection) -> None:
        if self._service.state == "draining":
            # Not a connect_error: the stock client would never try again.
            pending.session.close(SHUTDOWN, "server shutting down")
            return
        try:
            identity = await self._service.identify(_token(pending))
        except Overloaded:
            # Not a connect_error: the stock client would never try again.
            pending.session.close(_TRY_AGAIN, "tokens cannot be checked, try again")
            return
        except RealtimeError as refusal:
            pending.refuse(refusal)
            return
        is_recoverable = _takes_offsets(pending)
        client = Client(
            id=pending.sid,
            connected_at=self._clock.now(),
            address=pending.request.remote_address,
            user_agent=pending.request.user_agent,
            user_id=None if identity is None else identity.user_id,
            info=None if identity is None else identity.info,
        )
        if client.user_id is not None and self._pace.is_penalised(client.user_id):
            pending.session.close(TOO_MANY_REQUESTS, "too many requests")
            return

        def welcome(client_id: str, pid: str | None) -> bool:
            return pending.welcome(client_id, pid, takes_offsets=is_recoverable)

        arrival = Arrival(
            namespace=pending.namespace,
            welcome=welcome,
            is_recoverable=is_recoverable,
            claim=_claim(pending.auth) if is_recoverable else None,
            identity=identity,
        )
        logger.debug(
            "connect",
            client_id=client.id,
            namespace=pending.namespace,
            address=client.address,
            transport=pending.session.transport_name,
            returns=arrival.claim is not None,
        )
        try:
            await self._service.connect(client, arrival)
        except (StoreUnavailable, Overloaded):
            # Not a connect_error: the stock client would never try again.
            pending.session.close(_TRY_AGAIN, "store unavailable, try again")

    def _closing(self, client_id: str, may_return: bool, code: int) -> None:
        self._service.client_closing(client_id, code, may_return=may_return)

    def _departed(self, client_id: str, may_return: bool, confirmed: int) -> None:
        self._pace.forget(client_id)
        logger.debug("disconnect", client_id=client_id, may_return=may_return)
        self._service.client_has_everything(client_id, confirmed)
        self._service.client_disconnected(client_id, may_return=may_return)

    async def _said(self, event: str, client_id: str, *arguments: Any) -> Any:
        await self._pace.keep(client_id, "events")
        row = client_event(event)
        if row.rate is not None:
            await self._pace.keep(client_id, row.rate)
        self._metrics.events_received.labels(row.name).inc()
        if self._debugs:
            logger.debug("event", client_id=client_id, client_event=row.name)
        method = getattr(self._service, row.method)
        answer = method(client_id, **row.read(list(arguments)))
        return answer if isinstance(answer, asyncio.Future) else await answer

    def _refused(self, client_id: str, event: str, refusal: RealtimeError) -> None:
        logger.debug("refused", client_id=client_id, code=refusal.code, reason=refusal.message)
        details = {"fields": refusal.fields} if refusal.fields else {}
        self._tell_exception(client_id, event, refusal.code, refusal.message, **details)

    def _dismissed(self, client_id: str, code: int, reason: str) -> None:
        self._tell_exception(client_id, "disconnect", code, reason)

    def _tell_exception(
        self, client_id: str, event: str, code: str | int, message: str, **details: Any
    ) -> None:
        payload = {
            "status": "error",
            "event": event[:MAX_EVENT_NAME],
            "code": code,
            "message": message,
            **details,
            "timestamp": format_timestamp(self._clock.now()),
        }
        self._transport.send(client_id, "exception", payload)


def _affirmed(answer: Receipt | dict[str, Any]) -> dict[str, Any]:
    return {"ok": True, **(answer.as_dict() if isinstance(answer, Receipt) else answer)}


def _takes_offsets(pending: PendingConnection) -> bool:
    if "0" in {pending.request.query.get("recovery"), str(pending.auth.get("recovery"))}:
        return False
    user_agent = pending.request.user_agent or ""
    return not any(name in user_agent for name in _WITHOUT_OFFSETS)


def _token(pending: PendingConnection) -> object:
    """Return the token of a CONNECT, or else of the request that opened the connection."""
    token = pending.auth.get("token")
    if token is not None:
        return token
    scheme, _, credentials = (pending.request.authorization or "").partition(" ")
    return credentials.strip() if scheme.lower() == "bearer" else None


def _claim(auth: dict[str, Any]) -> Claim | None:
    pid, offset = auth.get("pid"), auth.get("offset")
    if not isinstance(pid, str):
        return None
    return Claim(pid, offset if isinstance(offset, str) else None)
