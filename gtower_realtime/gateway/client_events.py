"""The client-event table bound to Socket.IO: from a packet to a method of the service and back."""

from typing import Any

from gtower_realtime.clients import Client
from gtower_realtime.errors import RealtimeError
from gtower_realtime.events.client import client_event
from gtower_realtime.gateway.server import SocketIOServer
from gtower_realtime.metrics import Metrics
from gtower_realtime.names import MAX_EVENT_NAME
from gtower_realtime.ports import Clock, Transport
from gtower_realtime.service import RealtimeService
from gtower_realtime.timestamps import format_timestamp


class ClientEvents:
    """Takes up what clients of all namespaces say and has the service do it."""

    def __init__(
        self, service: RealtimeService, transport: Transport, clock: Clock, metrics: Metrics
    ) -> None:
        self._service = service
        self._transport = transport
        self._clock = clock
        self._metrics = metrics

    def bind(self, server: SocketIOServer) -> None:
        """Make this the one place where the events of ``server`` arrive."""
        server.on_accepted(self._accepted)
        server.on_refused(self._refused)
        server.on_dismissed(self._dismissed)
        for namespace in server.namespaces:
            server.on("disconnect", self._disconnected, namespace=namespace)
            server.on("*", self._said, namespace=namespace)

    async def _accepted(self, client_id: str, request: Any) -> None:
        self._service.client_connected(
            Client(
                id=client_id,
                connected_at=self._clock.now(),
                address=request.remote_address,
                user_agent=request.user_agent,
            )
        )

    async def _disconnected(self, client_id: str, _reason: str) -> None:
        self._service.client_disconnected(client_id)

    async def _said(self, event: str, client_id: str, *arguments: Any) -> dict[str, Any]:
        row = client_event(event)
        self._metrics.events_received.labels(row.name).inc()
        method = getattr(self._service, row.method)
        return {"ok": True, **await method(client_id, **row.read(list(arguments)))}

    def _refused(self, client_id: str, event: str, refusal: RealtimeError) -> None:
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
