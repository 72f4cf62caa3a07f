"""Stand-ins for what is outside of the core: they record, they can be set, they can fail."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from gtower_realtime.clients import Client, ClientRegistry
from gtower_realtime.errors import StoreUnavailable
from gtower_realtime.metrics import Metrics
from gtower_realtime.names import user_room
from gtower_realtime.ports import EventLog, Offset, Payload, Publication, Target
from gtower_realtime.service import RealtimeService
from gtower_realtime.store.memory import MemoryEventLog

NOW = datetime(2026, 11, 23, 12, 28, 18, 953_000, UTC)
TS = "2026-11-23T12:28:18.953Z"
"""What :data:`NOW` is on the wire."""


class FakeClock:
    """A clock that stands at :data:`NOW` until it is moved."""

    def __init__(self) -> None:
        self.wall = NOW
        self.seconds = 1000.0

    def now(self) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        """Move both times on."""
        self.wall += timedelta(seconds=seconds)
        self.seconds += seconds


@dataclass
class FakeConnection:
    """What one client has received, as ``(event, payload)``, and where it stands."""

    received: list[tuple[str, Payload]] = field(default_factory=list)
    rooms: list[str] = field(default_factory=list)
    closed_with: tuple[int, str] | None = None


class FakeTransport:
    """A `Transport` that keeps what is sent; a client is there from :meth:`connect` on."""

    def __init__(self) -> None:
        self.connections: dict[str, FakeConnection] = {}
        self.droppable: set[str] = set()
        """Names of the events that were delivered as droppable."""

    def connect(self, client_id: str) -> None:
        """Let the client be there, as after the handshake."""
        self.connections[client_id] = FakeConnection()

    def drop(self, client_id: str) -> None:
        """Let the client be gone, as after its connection has broken."""
        del self.connections[client_id]

    def events_of(self, client_id: str) -> list[str]:
        """Return the names of what the client has received."""
        return [event for event, _ in self.connections[client_id].received]

    def forget(self) -> None:
        """Forget what all have received so far."""
        for connection in self.connections.values():
            connection.received.clear()

    def deliver(
        self, event: str, payload: Payload, target: Target, *, droppable: bool = False
    ) -> int:
        if droppable:
            self.droppable.add(event)
        rooms = {*target.rooms, *map(user_room, target.users)}
        recipients = [
            connection
            for client_id, connection in self.connections.items()
            if client_id not in target.excluded
            and (
                target.everyone
                or client_id in target.clients
                or not rooms.isdisjoint(connection.rooms)
            )
        ]
        for connection in recipients:
            connection.received.append((event, payload))
        return len(recipients)

    def send(self, client_id: str, event: str, payload: Payload) -> None:
        if client_id in self.connections:
            self.connections[client_id].received.append((event, payload))

    def enter_room(self, client_id: str, room: str) -> None:
        connection = self.connections.get(client_id)
        if connection is not None and room not in connection.rooms:
            connection.rooms.append(room)

    def leave_room(self, client_id: str, room: str) -> None:
        connection = self.connections.get(client_id)
        if connection is not None and room in connection.rooms:
            connection.rooms.remove(room)

    def rooms_of(self, client_id: str) -> list[str]:
        connection = self.connections.get(client_id)
        return [] if connection is None else list(connection.rooms)

    def transport_of(self, client_id: str) -> str:
        return "websocket" if client_id in self.connections else "polling"

    def disconnect(self, client_id: str, code: int, reason: str) -> None:
        if client_id in self.connections:
            self.connections[client_id].closed_with = (code, reason)


class FailingEventLog:
    """An `EventLog` that cannot record anything."""

    async def append(self, publication: Publication) -> Offset:
        raise StoreUnavailable("The disk is full.")


@dataclass
class FakeWorld:
    """A service and everything around it."""

    service: RealtimeService
    transport: FakeTransport
    log: EventLog
    clients: ClientRegistry
    clock: FakeClock
    metrics: Metrics

    def connect(self, *client_ids: str, user_id: str | None = None) -> None:
        """Connect clients one after the other, and forget what everybody heard of it."""
        for client_id in client_ids:
            self.transport.connect(client_id)
            self.service.client_connected(a_client(client_id, user_id=user_id))
        self.transport.forget()

    def received(self, client_id: str) -> list[tuple[str, Payload]]:
        """Return what the client has received, as ``(event, payload)``."""
        return self.transport.connections[client_id].received

    def count(self, metric: str, labels: Mapping[str, str] | None = None) -> float | None:
        """Return the value of a metric."""
        return self.metrics.registry.get_sample_value(metric, dict(labels or {}))


def a_client(client_id: str, **details: Any) -> Client:
    """Return a client that connected at :data:`NOW` from 192.0.2.1."""
    return Client(id=client_id, connected_at=NOW, address="192.0.2.1", **details)


def a_publication(payload: Payload | None = None, **details: Any) -> Publication:
    """Return an event for a room, stored or to be."""
    values: dict[str, Any] = {
        "id": "p1",
        "event": "notification",
        "payload": {} if payload is None else payload,
        "target": Target.room("sales"),
        "published_at": NOW,
    }
    return Publication(**(values | details))


def make_service(*, log: EventLog | None = None, **options: Any) -> FakeWorld:
    """Return a service on fakes, with a log in memory unless another is given.

    ``options`` go to `RealtimeService`.
    """
    clock = FakeClock()
    transport = FakeTransport()
    clients = ClientRegistry()
    metrics = Metrics()
    kept = log or MemoryEventLog(clock, max_events=1000, max_bytes=0, max_age_seconds=0)
    service = RealtimeService(
        transport=transport, log=kept, clients=clients, clock=clock, metrics=metrics, **options
    )
    return FakeWorld(service, transport, kept, clients, clock, metrics)
