"""Several processes over one order of changes, in one: each hears of it when a test lets it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gtower_realtime.clients import ClientRegistry
from gtower_realtime.cluster.roster import Roster
from gtower_realtime.cluster.wire import read_changes, write_changes
from gtower_realtime.connections import Arrival
from gtower_realtime.errors import RealtimeError, refusal_of
from gtower_realtime.journal import Journal
from gtower_realtime.metrics import Metrics
from gtower_realtime.peers import Answering, Arguments, Missing, NoPeers
from gtower_realtime.ports import Offset, Past
from gtower_realtime.records import (
    Change,
    EventAppended,
    EventRelayed,
    NodeGone,
    SessionResumed,
    SessionTaken,
    SharedChange,
    StoredEvent,
)
from gtower_realtime.recovery import Claim
from gtower_realtime.service import RealtimeService
from gtower_realtime.sessions import Sessions
from gtower_realtime.store.memory import MemoryStore
from gtower_realtime.window import Window
from tests.fakes import FakeCaller, FakeClock, FakeTransport, a_client

EPOCH = "e0"
STEP = 32
"""Numbers of the log are so far apart."""


@dataclass
class _Entry:
    origin: str
    text: str
    apply: Callable[[int], Any]
    outcome: "asyncio.Future[Any]"
    stored: StoredEvent | None


class CommonLog:
    """What all processes have recorded, in one order."""

    def __init__(self) -> None:
        self.entries: list[_Entry] = []

    def put(
        self,
        origin: str,
        changes: Sequence[SharedChange],
        apply: Callable[[int], Any],
        stored: StoredEvent | None = None,
    ) -> "asyncio.Future[Any]":
        """Record changes of a process."""
        outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.entries.append(_Entry(origin, write_changes(changes), apply, outcome, stored))
        return outcome


class LogOfProcess:
    """The `ports.EventLog` of one process, as far as these tests need it."""

    first_number = 1
    window_after = 0
    epoch = EPOCH
    is_failing = False
    queue_length = 0

    def __init__(self, node: str, common: CommonLog, own: Journal) -> None:
        self._node = node
        self._common = common
        self._own = own
        self._window = Window(10_000, 10_000_000)
        self._applied = 0
        self.sessions: Sessions
        self.service: RealtimeService

    @property
    def last_number(self) -> int:
        """The number of the last entry that has taken effect here."""
        return self._applied * STEP

    def offset(self, number: int) -> Offset:
        return Offset(EPOCH, number)

    def append(
        self,
        make_event: Callable[[int], StoredEvent],
        apply: Callable[[StoredEvent], Any],
        also: Callable[[StoredEvent], Sequence[Change]] | None = None,
        *,
        size: int = 0,
    ) -> "asyncio.Future[Any]":
        stored = make_event(0)
        return self._common.put(
            self._node, [EventAppended(stored)], lambda _: apply(stored), stored
        )

    def record(
        self, changes: Callable[[int], Sequence[Change]], apply: Callable[[int], Any], **_size: int
    ) -> "asyncio.Future[Any]":
        return self._common.put(self._node, list(map(self._shared, changes(0))), apply)

    def _shared(self, change: Change) -> SharedChange:
        if isinstance(change, SessionResumed):
            session = self.sessions.of_client(change.client_id)
            if session is not None:
                return SessionTaken(session.stored())
        return change

    @property
    def is_behind(self) -> bool:
        """Whether there is something that has not taken effect here."""
        return self._applied < len(self._common.entries)

    def step(self) -> None:
        """Let the next entry take effect here, if there is one."""
        if not self.is_behind:
            return
        entry = self._common.entries[self._applied]
        self._applied += 1
        number = self.last_number
        if entry.origin == self._node:
            if entry.stored is not None:
                entry.stored.number = number
                self._window.add(entry.stored)
            entry.outcome.set_result(entry.apply(number))
            return
        for change in read_changes(entry.text, number, EPOCH):
            self._follow(change, entry.origin)

    def _follow(self, change: SharedChange, origin: str) -> None:
        replication = self.service.replication
        match change:
            case EventAppended(event):
                self._window.add(event)
                replication.deliver(event, self.offset(event.number), lambda *_: None)
            case EventRelayed(event, is_droppable):
                replication.deliver(event, None, lambda *_: None, droppable=is_droppable)
            case _:
                replication.apply(change, origin)

    async def catch_up(self) -> None:
        while self.is_behind:
            self.step()

    def recent(self, after: int) -> list[StoredEvent]:
        return self._window.since(after)

    async def past(self, _addresses: Any, after: int, **_bounds: int) -> Past:
        return Past(read_until=after)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)


class FakePeers(NoPeers):
    """The other processes, which answer at once unless they are silent."""

    def __init__(self, processes: Mapping[str, "Process"], node: str) -> None:
        self._processes = processes
        self._node = node
        self._answering: dict[str, Answering] = {}
        self.is_silent = False
        self.asked: list[str] = []
        """Which questions were put to others."""
        self.roll_calls = 0

    @property
    def _others(self) -> list["Process"]:
        return [one for one in self._processes.values() if one.node != self._node]

    @property
    def count(self) -> int:  # type: ignore[override]
        return len(self._others)

    def answer(self, question: str, answering: Answering) -> None:
        self._answering[question] = answering

    async def roll_call(self) -> Missing:
        self.roll_calls += 1
        return self._silent()

    def _silent(self) -> Missing:
        return tuple(one.node for one in self._others if one.peers.is_silent) or None

    async def ask(self, node: str, question: str, arguments: Arguments) -> dict[str, Any]:
        self.asked.append(question)
        try:
            return await self._processes[node].peers._answering[question](arguments)
        except RealtimeError as refusal:
            raise refusal_of(refusal.as_dict()) from None

    async def ask_all(
        self, question: str, arguments: Arguments
    ) -> tuple[list[dict[str, Any]], Missing]:
        self.asked.append(question)
        told = [
            await one.peers._answering[question](arguments)
            for one in self._others
            if not one.peers.is_silent
        ]
        return told, self._silent()


class Process:
    """One process of a :class:`Cluster`, on fakes."""

    def __init__(self, node: str, cluster: "Cluster", **options: Any) -> None:
        self.node = node
        self.clock = cluster.clock
        self.transport = FakeTransport()
        self.sessions = Sessions()
        self.clients = ClientRegistry()
        self.peers = FakePeers(cluster.processes, node)
        own = Journal(MemoryStore(), recent_events=0, recent_bytes=0)
        self.log = LogOfProcess(node, cluster.log, own)
        self.service = RealtimeService(
            transport=self.transport,
            journal=self.log,
            sessions=self.sessions,
            clients=self.clients,
            clock=self.clock,
            metrics=Metrics(),
            peers=self.peers,
            **options,
        )
        self.log.service, self.log.sessions = self.service, self.sessions
        self._roster = Roster(
            self.clients,
            self.transport,
            lambda changes: _ignored(cluster.log.put(node, changes, lambda _: None)),
        )
        self._roster.is_heard = True

    def call(
        self, client_id: str, claim: Claim | None = None, user_id: str | None = None
    ) -> "asyncio.Task[FakeCaller]":
        """Let a connection ask to be let in."""

        async def connect() -> FakeCaller:
            caller = FakeCaller(self.transport)
            arrival = Arrival("/", caller.welcome, True, claim, None)
            await self.service.connect(a_client(client_id, user_id=user_id), arrival)
            return caller

        return asyncio.create_task(connect())

    def cut(self, client_id: str, *, may_return: bool = True) -> None:
        """Let the connection of a client break, or end for good."""
        self.transport.drop(client_id)
        self.service.client_disconnected(client_id, may_return=may_return)

    def events_of(self, client_id: str) -> list[str]:
        """Return the names of what a client has received on its connection here."""
        return self.transport.events_of(client_id)


class Cluster:
    """Processes with the names ``nodes``; ``options`` go to their services."""

    def __init__(self, *nodes: str, **options: Any) -> None:
        self.clock = FakeClock()
        self.log = CommonLog()
        self.processes: dict[str, Process] = {}
        for node in nodes:
            self.processes[node] = Process(node, self, **options)

    async def settle(self, *nodes: str) -> None:
        """Let all, or these alone, hear of everything, and of what comes of it."""
        idle, turns = 0, 0
        while idle < 5:
            await asyncio.sleep(0)
            idle, turns = idle + 1, turns + 1
            assert turns < 1000, "they answer each other for ever"
            for process in self.processes.values():
                while process.log.is_behind and (not nodes or process.node in nodes):
                    process.log.step()
                    idle = 0

    async def connect(self, node: str, *client_ids: str, user_id: str | None = None) -> None:
        """Connect clients to a process, and let everybody know."""
        for client_id in client_ids:
            connecting = self.processes[node].call(client_id, user_id=user_id)
            await self.settle()
            await connecting

    async def join(self, node: str, room: str, *client_ids: str) -> None:
        """Let clients of a process join a room, and let everybody know."""
        for client_id in client_ids:
            joining = self.processes[node].service.join_room(client_id, room)
            await self.settle()
            await joining

    def kill(self, node: str) -> None:
        """End a process without a word, and have the others told by the log."""
        del self.processes[node]
        _ignored(self.log.put("", [NodeGone(node)], lambda _: None))


def _ignored(outcome: "asyncio.Future[Any]") -> None:
    outcome.add_done_callback(lambda done: done.cancelled() or done.exception())
