"""Stand-ins for what is outside of the core: they record, they can be set, they can fail."""

import asyncio
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from gtower_realtime.clients import Client, ClientRegistry
from gtower_realtime.connections import Arrival
from gtower_realtime.journal import Journal
from gtower_realtime.metrics import Metrics
from gtower_realtime.names import user_room
from gtower_realtime.ports import Offset, Payload, Target
from gtower_realtime.records import Change, EventAppended, StoredEvent
from gtower_realtime.recovery import Claim
from gtower_realtime.service import RealtimeService
from gtower_realtime.sessions import Session, Sessions
from gtower_realtime.store.memory import MemoryStore
from gtower_realtime.timestamps import milliseconds
from gtower_realtime.tokens import Identity

NOW = datetime(2026, 11, 23, 12, 28, 18, 953_000, UTC)
TS = "2026-11-23T12:28:18.953Z"
"""What :data:`NOW` is on the wire."""
NOW_MS = milliseconds(NOW)
"""What :data:`NOW` is in the log."""


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
    """What one client has received, as ``(event, payload)``, and where it stands.

    ``offsets`` has the offset of each, None for an event that carries none.
    """

    received: list[tuple[str, Payload]] = field(default_factory=list)
    offsets: list[Offset | None] = field(default_factory=list)
    rooms: list[str] = field(default_factory=list)
    takes_offsets: bool = True
    mark: int = 0
    closed_with: tuple[int, str] | None = None

    def take(self, event: str, body: str, offset: Offset | None) -> None:
        """Receive an event."""
        self.received.append((event, json.loads(body)))
        self.offsets.append(offset if self.takes_offsets else None)

    def forget(self) -> None:
        """Forget what has been received so far."""
        self.received.clear()
        self.offsets.clear()


class FakeTransport:
    """A `Transport` that keeps what is sent; a client is there from :meth:`connect` on."""

    def __init__(self) -> None:
        self.connections: dict[str, FakeConnection] = {}
        self.asked: list[tuple[str, list[str], Callable[[str], None]]] = []
        """What clients were asked to acknowledge: the event, whom, and what to call with an id."""
        self.released: list[str] = []
        """Clients whose connection was cut because they came back on another."""
        self.waiting: dict[str, int] = {}
        """How many bytes wait for a client; not named, none do."""
        self.droppable: set[str] = set()
        """Names of the events that were delivered as droppable."""
        self.stalled: dict[str, Callable[[bool], None]] = {}
        """Clients that do not read: they are handed nothing, and what is called instead, with
        whether the event was droppable."""

    def connect(self, client_id: str, *, takes_offsets: bool = True) -> None:
        """Let the client be there, as after the handshake."""
        self.connections[client_id] = FakeConnection(takes_offsets=takes_offsets)

    def drop(self, client_id: str) -> None:
        """Let the client be gone, as after its connection has broken."""
        del self.connections[client_id]

    def events_of(self, client_id: str) -> list[str]:
        """Return the names of what the client has received."""
        return [event for event, _ in self.connections[client_id].received]

    def deliver_asking(
        self,
        event: str,
        body: str,
        target: Target,
        acknowledged: Callable[[str], None],
        droppable: bool = False,
    ) -> list[str]:
        asked = self._hand_over(event, body, target, None, droppable)
        self.asked.append((event, asked, acknowledged))
        return asked

    @property
    def closed(self) -> dict[str, tuple[int, str]]:
        """With which code and reason the connections that are still known were closed."""
        return {
            client_id: connection.closed_with
            for client_id, connection in self.connections.items()
            if connection.closed_with is not None
        }

    def forget(self) -> None:
        """Forget what all have received so far."""
        for connection in self.connections.values():
            connection.forget()

    def deliver(
        self,
        event: str,
        body: str,
        target: Target,
        *,
        offset: Offset | None = None,
        droppable: bool = False,
    ) -> int:
        return len(self._hand_over(event, body, target, offset, droppable))

    def _hand_over(
        self, event: str, body: str, target: Target, offset: Offset | None, droppable: bool
    ) -> list[str]:
        if droppable:
            self.droppable.add(event)
        recipients = []
        for client_id in self._addressed(target):
            if client_id in self.stalled:
                self.stalled[client_id](droppable)
                continue
            self.connections[client_id].take(event, body, offset)
            recipients.append(client_id)
        return recipients

    def _addressed(self, target: Target) -> list[str]:
        rooms = {*target.rooms, *map(user_room, target.users)}
        return [
            client_id
            for client_id, connection in self.connections.items()
            if client_id not in target.excluded
            and (
                target.everyone
                or client_id in target.clients
                or not rooms.isdisjoint(connection.rooms)
            )
        ]

    def send(
        self, client_id: str, event: str, payload: Payload, offset: Offset | None = None
    ) -> None:
        if client_id in self.connections:
            self.connections[client_id].take(event, json.dumps(payload), offset)

    def replay(self, client_id: str, events: Sequence[tuple[str, str, Offset | None]]) -> None:
        if client_id in self.connections:
            for event in events:
                self.connections[client_id].take(*event)

    def release(self, client_id: str) -> None:
        if self.connections.pop(client_id, None) is not None:
            self.released.append(client_id)

    def confirmed_mark(self, client_id: str) -> int:
        connection = self.connections.get(client_id)
        return 0 if connection is None else connection.mark

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

    def rooms(self) -> list[str]:
        return sorted({room for one in self.connections.values() for room in one.rooms})

    def room_count(self) -> int:
        return len(self.rooms())

    def membership_count(self) -> int:
        return sum(len(one.rooms) for one in self.connections.values())

    def members_of(self, room: str) -> list[str]:
        return [
            client_id
            for client_id, one in self.connections.items()
            if room in (*one.rooms, client_id)
        ]

    def waiting_bytes(self, client_id: str) -> int:
        return self.waiting.get(client_id, 0)

    def has_unwritten(self, client_id: str, body: str, offset: Offset | None) -> bool:
        return self.waiting_bytes(client_id) > 0

    def transport_of(self, client_id: str) -> str:
        return "websocket" if client_id in self.connections else "polling"

    def disconnect(self, client_id: str, code: int, reason: str) -> None:
        if client_id in self.connections:
            self.connections[client_id].closed_with = (code, reason)


class FakeStore(MemoryStore):
    """A store in memory that shows what was committed, and fails or hangs when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[list[Change]] = []
        self.attempts = 0
        self.problem: Exception | None = None
        """What every call raises from now on."""
        self.asked = asyncio.Event()
        """Set when something is to be committed."""
        self.asked_to_read = asyncio.Event()
        """Set when events are to be read."""
        self._commits_let = asyncio.Event()
        self._commits_let.set()
        self._reads_let = asyncio.Event()
        self._reads_let.set()

    def hold(self) -> None:
        """Hang from the next commit on."""
        self.asked.clear()
        self._commits_let.clear()

    def let(self) -> None:
        """Go on committing."""
        self._commits_let.set()

    def hold_reads(self) -> None:
        """Hang from the next read on."""
        self.asked_to_read.clear()
        self._reads_let.clear()

    def let_reads(self) -> None:
        """Go on reading."""
        self._reads_let.set()

    @property
    def events(self) -> list[StoredEvent]:
        """The events that were committed."""
        changes = [change for commit in self.commits for change in commit]
        return [change.event for change in changes if isinstance(change, EventAppended)]

    async def commit(self, changes: Sequence[Change]) -> None:
        self.attempts += 1
        self.asked.set()
        await self._commits_let.wait()
        if self.problem is not None:
            raise self.problem
        await super().commit(changes)
        self.commits.append(list(changes))

    async def events_for(
        self, addresses: Collection[str], *, after: int, until: int, limit: int
    ) -> list[StoredEvent]:
        self.asked_to_read.set()
        await self._reads_let.wait()
        if self.problem is not None:
            raise self.problem
        return await super().events_for(addresses, after=after, until=until, limit=limit)


@dataclass
class FakeCaller:
    """A connection that asks to be let in, and the answer it has got."""

    transport: FakeTransport
    takes_offsets: bool = True
    is_gone: bool = False
    client_id: str | None = None
    pid: str | None = None

    def welcome(self, client_id: str, pid: str | None) -> bool:
        """Take the answer to CONNECT, if the connection is still there."""
        if self.is_gone:
            return False
        self.transport.connect(client_id, takes_offsets=self.takes_offsets)
        self.client_id, self.pid = client_id, pid
        return True


@dataclass
class FakeWorld:
    """A service and everything around it."""

    service: RealtimeService
    transport: FakeTransport
    store: FakeStore
    journal: Journal
    sessions: Sessions
    clients: ClientRegistry
    clock: FakeClock
    metrics: Metrics

    async def connect(
        self, *client_ids: str, user_id: str | None = None, takes_offsets: bool = True
    ) -> None:
        """Connect clients one after the other, and forget what everybody heard of it."""
        for client_id in client_ids:
            await self.call(client_id, user_id=user_id, takes_offsets=takes_offsets)
        self.transport.forget()

    async def call(
        self,
        client_id: str,
        claim: Claim | None = None,
        *,
        caller: FakeCaller | None = None,
        namespace: str = "/",
        user_id: str | None = None,
        takes_offsets: bool = True,
        identity: Identity | None = None,
    ) -> FakeCaller:
        """Let a connection ask to be let in, and return what became of it."""
        caller = caller or FakeCaller(self.transport, takes_offsets)
        user_id = user_id if identity is None else identity.user_id
        arrival = Arrival(namespace, caller.welcome, takes_offsets, claim, identity)
        await self.service.connect(a_client(client_id, user_id=user_id), arrival)
        return caller

    async def come_back(
        self,
        client_id: str,
        offset: Offset | str | None,
        *,
        new_id: str = "new",
        identity: Identity | None = None,
    ) -> FakeCaller:
        """Let the client of ``client_id`` return; ``new_id`` is what it is if it is not known."""
        session = self.session(client_id)
        claim = Claim(session.pid, None if offset is None else str(offset))
        return await self.call(new_id, claim, user_id=session.user_id, identity=identity)

    def cut(self, client_id: str) -> None:
        """Let the connection of a client break."""
        self.transport.drop(client_id)
        self.service.client_disconnected(client_id, may_return=True)

    def say_goodbye(self, client_id: str) -> None:
        """Let a client disconnect for good."""
        self.transport.drop(client_id)
        self.service.client_disconnected(client_id, may_return=False)

    def session(self, client_id: str) -> Session:
        """Return the session of a client, here or away."""
        session = self.sessions.of_client(client_id)
        assert session is not None, f"{client_id} has no session"
        return session

    def received(self, client_id: str) -> list[tuple[str, Payload]]:
        """Return what the client has received, as ``(event, payload)``."""
        return self.transport.connections[client_id].received

    def offset(self, number: int) -> Offset:
        """Return the offset of a number of the log."""
        return self.journal.offset(number)

    def count(self, metric: str, labels: Mapping[str, str] | None = None) -> float | None:
        """Return the value of a metric."""
        return self.metrics.registry.get_sample_value(metric, dict(labels or {}))


def a_client(client_id: str, **details: Any) -> Client:
    """Return a client that connected at :data:`NOW` from 192.0.2.1."""
    return Client(id=client_id, connected_at=NOW, address="192.0.2.1", **details)


def an_event(number: int, *addresses: str, payload: str = "{}", **details: Any) -> StoredEvent:
    """Return an event of the log, for the room sales unless addresses are given."""
    values: dict[str, Any] = {
        "number": number,
        "id": f"p{number}",
        "event": "dealWon",
        "payload": payload,
        "addresses": addresses or ("sales",),
        "excluded": (),
        "published_at": NOW_MS,
    }
    return StoredEvent(**(values | details))


async def make_world(
    *,
    store: FakeStore | None = None,
    clock: FakeClock | None = None,
    recent_events: int = 1000,
    recent_bytes: int = 10_000_000,
    **options: Any,
) -> FakeWorld:
    """Return a service on fakes, started; on a ``store`` of another world it goes on from there.

    ``options`` go to `RealtimeService`.
    """
    clock = clock or FakeClock()
    store = store or FakeStore()
    transport = FakeTransport()
    clients = ClientRegistry()
    sessions = Sessions()
    metrics = Metrics()
    journal = Journal(store, recent_events=recent_events, recent_bytes=recent_bytes)
    service = RealtimeService(
        transport=transport,
        journal=journal,
        sessions=sessions,
        clients=clients,
        clock=clock,
        metrics=metrics,
        **options,
    )
    service.restore(await journal.open())
    return FakeWorld(service, transport, store, journal, sessions, clients, clock, metrics)
