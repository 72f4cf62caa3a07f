"""Logs of several processes over one Redis in memory, and what has taken effect at each of them."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from gtower_realtime.cluster.log import SharedLog
from gtower_realtime.cluster.replica import Replica
from gtower_realtime.futures import cancelled
from gtower_realtime.journal import Journal
from gtower_realtime.metrics import Metrics
from gtower_realtime.ports import Offset
from gtower_realtime.records import SharedChange, StoredEvent, StoredSession
from gtower_realtime.sessions import Sessions
from gtower_realtime.store.memory import MemoryStore
from tests.fake_redis import FakeLink, FakeRedis
from tests.fakes import FakeClock, an_event


class FakeReplication:
    """Takes note of what others have recorded."""

    def __init__(self) -> None:
        self.delivered: list[tuple[str, Offset | None]] = []
        """The ids of events, and what clients are told of their places."""
        self.applied: list[tuple[SharedChange, str]] = []
        self.taken: list[tuple[str, str]] = []
        self.forgotten: list[str] = []
        self.sent_away = 0

    def deliver(
        self, event: StoredEvent, offset: Offset | None, _heard: object, **_options: bool
    ) -> tuple[int, list[str]]:
        self.delivered.append((event.id, offset))
        return 3, []

    def apply(self, change: SharedChange, node: str) -> None:
        self.applied.append((change, node))

    def take_session(self, session: StoredSession, node: str) -> None:
        self.taken.append((session.client_id, node))

    def forget_node(self, node: str) -> None:
        self.forgotten.append(node)

    def send_all_away(self) -> None:
        self.sent_away += 1


class FakeAudience:
    """Takes note of what the log tells, as (what, about what)."""

    def __init__(self, link: FakeLink, node: str) -> None:
        self._link = link
        self._node = node
        self.told_of: list[tuple[str, Any]] = []

    def of(self, what: str) -> list[Any]:
        """Return what was told of something."""
        return [about for name, about in self.told_of if name == what]

    def told(self, node: str, event_id: str, recipients: int, _asked: list[str]) -> None:
        self.told_of.append(("told", (node, event_id, recipients)))

    def heard(self, *about: Any) -> None:
        self.told_of.append(("heard", about))

    def message(self, text: str) -> None:
        self.told_of.append(("message", text))

    def flush(self) -> None:
        pass

    def session_changed(self, client_id: str) -> None:
        self.told_of.append(("session", client_id))

    def node_started(self, node: str, _details: dict[str, Any]) -> None:
        self.told_of.append(("started", node))

    def node_gone(self, node: str) -> None:
        self.told_of.append(("gone", node))

    async def joining(self) -> set[str]:
        return set((await self._link.beat("{}")).heard)

    def together(self) -> None:
        self.told_of.append(("together", None))

    def cut_off(self) -> None:
        self.told_of.append(("cut off", None))

    def introduced(self) -> None:
        self.told_of.append(("introduced", None))

    def is_first(self) -> bool:
        return False

    def describe(self) -> dict[str, Any]:
        return {"name": self._node}


@dataclass
class Effect:
    """An event that has taken effect at a log: of which process, and at which offset."""

    event_id: str
    offset: Offset | None
    was_cut_off: bool


@dataclass
class Published:
    """An event that was given to a log, and what has become of it."""

    event_id: str
    outcome: "asyncio.Future[Any]"
    known_to: list["Node"] = field(default_factory=list)
    """The logs that were there then."""


class Node:
    """The log of one process; ``store`` has its outbox, and outlives it."""

    def __init__(self, name: str, redis: FakeRedis, store: MemoryStore | None = None) -> None:
        self.name = name
        self.store = MemoryStore() if store is None else store
        self.link = FakeLink(redis, name)
        self.own = Journal(self.store, recent_events=0, recent_bytes=0)
        self.sessions = Sessions()
        self.replication = FakeReplication()
        self.audience = FakeAudience(self.link, name)
        self.effects: list[Effect] = []
        self._published = 0
        self.log = SharedLog(
            node=name,
            link=self.link,  # type: ignore[arg-type]
            own=self.own,
            replica=Replica(MemoryStore(), None),
            sessions=self.sessions,
            clock=FakeClock(),
            metrics=Metrics(),
        )
        loop = asyncio.get_running_loop()
        self.log._now = self.own._now = loop.time
        self.log.attach(self.replication, self.audience)  # type: ignore[arg-type]
        deliver = self.replication.deliver

        def delivered(event: StoredEvent, offset: Offset | None, *args: Any, **options: Any) -> Any:
            self._take_effect(event.id, offset)
            return deliver(event, offset, *args, **options)

        self.replication.deliver = delivered  # type: ignore[method-assign]

    @property
    def seen(self) -> list[str]:
        """The ids of all events that have taken effect here, in this order."""
        return [effect.event_id for effect in self.effects]

    def _take_effect(self, event_id: str, offset: Offset | None) -> None:
        self.effects.append(Effect(event_id, offset, self.log.is_cut_off))

    def publish(self, payload: str = "{}", also: list[Any] | None = None) -> Published:
        """Give the next event of this process to the log: ``<name>-1``, …"""
        self._published += 1
        event_id = f"{self.name}-{self._published}"

        def apply(stored: StoredEvent) -> str:
            self._take_effect(stored.id, self.log.offset(stored.number))
            return stored.id

        outcome = self.log.append(
            lambda number: an_event(number, id=event_id, payload=payload),
            apply,
            None if also is None else lambda _: also,
        )
        return Published(event_id, outcome)

    async def kill(self) -> None:
        """End as a crash does: nothing more is sent, read or recorded."""
        await cancelled(self.log._tasks)
        await self.own.close()


async def started(*names: str, redis: FakeRedis) -> list[Node]:
    """Return logs that are together."""
    nodes = [Node(name, redis) for name in names]
    for node in nodes:
        await node.log.open()
    await asyncio.sleep(0.5)
    return nodes
