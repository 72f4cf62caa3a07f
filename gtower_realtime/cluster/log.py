"""The order of a cluster: what any process records takes effect at all of them in stream order.

With Redis, a process appends to the stream, reads back what it has appended between what the others
have, and only then lets it take effect. Without Redis it goes on by itself: what it records waits
in the outbox of its own store, and takes effect for its own clients at once, with offsets of a
private epoch. When Redis is back the outbox is sent, in its order; when the last of it has been
read back, the process is together with the others again.
"""

import asyncio
import heapq
import secrets
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Protocol

import structlog

from gtower_realtime import strict_json
from gtower_realtime.cluster.link import Entry, Link, RedisAway, Sent
from gtower_realtime.cluster.long_history import LongHistory
from gtower_realtime.cluster.numbers import number_of, stream_id
from gtower_realtime.cluster.units import Unit, kept_with
from gtower_realtime.cluster.wire import (
    placed_answer,
    read_changes,
    read_session,
    write_changes,
)
from gtower_realtime.errors import Overloaded, StoreUnavailable
from gtower_realtime.futures import cancelled
from gtower_realtime.journal import Journal
from gtower_realtime.metrics import Metrics
from gtower_realtime.ports import Addresses, Changes, Clock, Offset, Past, SharedHistory, Store
from gtower_realtime.records import (
    AnswerGiven,
    Bounds,
    Change,
    CountedMinute,
    EventAcknowledged,
    EventAppended,
    EventRelayed,
    GivenAnswer,
    HistoryDeleted,
    MinuteCounted,
    NodeGone,
    NodeStarted,
    OutboxEntry,
    OutboxPut,
    OutboxSent,
    RoomEntered,
    RoomLeft,
    SessionAway,
    SessionEnded,
    SessionOpened,
    SessionResumed,
    SessionTaken,
    SharedChange,
    StoredEvent,
    StoredSession,
    StoredWebhook,
    WebhookBacklog,
    WebhookMarked,
    WebhookReceived,
    WebhookSettled,
)
from gtower_realtime.replication import Replication
from gtower_realtime.sessions import Sessions
from gtower_realtime.timestamps import milliseconds
from gtower_realtime.window import Window

logger = structlog.get_logger(__name__)

PATIENCE_SECONDS = 0.05
"""How long Redis may take for what was appended, until this process goes on without it."""

MAX_OUTBOX_ENTRIES = 200_000
MAX_OUTBOX_BYTES = 256 * 1024 * 1024

STREAM_EVENTS = 100_000
STREAM_BYTES = 64 * 1024 * 1024
"""How much of the log Redis keeps; each process has the same in memory."""

_RETRY_SECONDS = 0.3
_CATCH_UP_SECONDS = 1.0
_LAST_WORDS_SECONDS = 2.0

_MAX_WAITING = 20_000
_MAX_WAITING_BYTES = 64 * 1024 * 1024
_BATCH_UNITS = 500
_BATCH_BYTES = 1_000_000

# What was sent last, in case that Redis loses it.
_RETAINED_UNITS = 10_000
_RETAINED_BYTES = 16 * 1024 * 1024

# What takes effect in one turn of the loop; see `journal`.
_TURN_BYTES = 256 * 1024
_TURN_SECONDS = 0.01

_RETRY_AFTER = {"Retry-After": "1"}

_OWN_CHANGES = (MinuteCounted, WebhookReceived, WebhookSettled)
"""What no other process needs to know."""


class Audience(Protocol):
    """Who has to hear of what the log reads, beside the service."""

    def told(self, node: str, event_id: str, recipients: int, asked: list[str]) -> None:
        """Have a process told how many had its event, and who is asked to acknowledge it."""

    def heard(self, node: str, event_id: str, client_id: str, has_acknowledged: bool) -> None:
        """Have a process told that a client has acknowledged its event, or is gone."""

    def message(self, text: str) -> None:
        """Take what another process has put into the inbox."""

    def flush(self) -> None:
        """Send what has been told since the last time."""

    def node_started(self, node: str, details: Any) -> None:
        """Take note of a new process, which has to be told who is here."""

    def node_gone(self, node: str) -> None:
        """Take note that a process is dead."""

    def introduced(self) -> None:
        """Take note that the others may know nothing of this process: tell them who is here."""

    def is_first(self) -> bool:
        """Say whether this process does what one of all has to do."""

    def describe(self) -> dict[str, Any]:
        """Return what this process tells of itself."""

    def session_changed(self, client_id: str) -> None:
        """Take note that a session has to be kept anew."""

    async def joining(self) -> set[str]:
        """Have the others know of this process; return which there are."""

    def together(self) -> None:
        """Take note that the others can be told again what has happened here."""

    def cut_off(self) -> None:
        """Take note that nobody can be told anything for now."""


@dataclass(order=True, slots=True)
class _Waiter:
    number: int
    reached: "asyncio.Future[None]" = field(compare=False)


class SharedLog:
    """The `ports.EventLog` of one process of a cluster.

    ``own`` is the journal of what is this process's alone, its outbox among it; ``replica`` holds
    what Redis has of the log, and ``archive``, if there is one, more than that. ``node`` is a name
    that no process has had before.
    """

    def __init__(
        self,
        *,
        node: str,
        link: Link,
        own: Journal,
        replica: Store,
        archive: SharedHistory | None = None,
        sessions: Sessions,
        clock: Clock,
        metrics: Metrics,
        waits_seconds: float = 5.0,
    ) -> None:
        self._node = node
        self._link = link
        self._own = own
        self._replica = replica
        self._sessions = sessions
        self._clock = clock
        self._metrics = metrics
        self._waits_seconds = waits_seconds
        self._now = time.monotonic
        self._window = Window(STREAM_EVENTS, STREAM_BYTES)
        self._long_history = LongHistory(archive, self._window)
        self._first_number = 1
        self.last_number = 0
        self._epoch = ""
        self._is_closed = False
        self._tasks: list[asyncio.Task[None]] = []
        self._replication: Replication
        self._audience: Audience

        # On the way to Redis, and back
        self._sequences = count(1)
        self._pending: dict[int, Unit] = {}
        self._pending_bytes = 0
        self._unsent: deque[Unit] = deque()
        self._wake = asyncio.Event()
        self._patience: asyncio.TimerHandle | None = None
        self._retained: deque[Sent] = deque()
        self._retained_bytes = 0

        # Read from Redis
        self._may_read = asyncio.Event()
        self._log_id = "0-0"
        self._inbox_id = "0-0"
        self._seen: dict[str, int] = {}
        self._kept: list[Change] = []
        self._waiters: list[_Waiter] = []
        self._bytes_since_trim = 0
        self._bounds = Bounds(STREAM_EVENTS, STREAM_BYTES, 0)

        # Without Redis: see the module
        self._sends_directly = False
        self._private_epoch: str | None = secrets.token_hex(4)
        self._private_after = 0
        self._private_numbers: dict[int, int] = {}
        self._private_events: dict[int, StoredEvent] = {}
        self._leaving: dict[int, Unit] = {}
        self._early: dict[int, int] = {}
        self._outbox_entries = 0
        self._outbox_bytes = 0
        self._is_joined = asyncio.Event()
        self._away_because = ""

    def attach(self, replication: Replication, audience: Audience) -> None:
        """Take who is to hear of what the others record; before :meth:`open`."""
        self._replication = replication
        self._audience = audience

    # Life

    async def open(self) -> list[StoredSession]:
        """Begin; wait 5 s for Redis, then go on without it. See `EventLog.open`."""
        await self._own.open()
        await self._replica.open(recent_events=0, recent_bytes=0)
        backlog = await self._own.outbox_backlog()
        self._outbox_entries, self._outbox_bytes = backlog.entries, backlog.bytes
        loop = asyncio.get_running_loop()
        filling = self._long_history.fill(lambda: self._epoch, self._audience.is_first)
        self._tasks = [
            loop.create_task(self._live()),
            loop.create_task(self._read()),
            loop.create_task(filling),
        ]
        try:
            await asyncio.wait_for(self._is_joined.wait(), self._waits_seconds)
        except TimeoutError:
            logger.warning("redis_not_there", waited_seconds=self._waits_seconds)
        return []

    async def close(self) -> None:
        """Wait 2 s for what is on its way; what is left then stays in the outbox. Idempotent."""
        if self._sends_directly and self._pending:
            outcomes = [unit.outcome for unit in self._pending.values()]
            await asyncio.wait(outcomes, timeout=_LAST_WORDS_SECONDS)
        self._is_closed = True
        await cancelled(self._tasks)
        self._stop_waiting()
        self._go_alone()
        await self._own.close()
        await self._replica.close()
        await self._long_history.close()
        await self._link.close()

    async def _live(self) -> None:
        """Join, send what there is to send, and begin anew when Redis is lost."""
        while True:
            try:
                await self._join()
                await self._send()
            except RedisAway as problem:
                self._lose(str(problem))
            except (StoreUnavailable, Overloaded) as problem:
                self._lose(problem.message)
            except Exception:  # the edge: a fault must not end the work for good
                logger.exception("cluster_failed")
                self._lose("a fault of this process")
            await asyncio.sleep(_RETRY_SECONDS)

    @property
    def is_cut_off(self) -> bool:
        """Whether this process is by itself."""
        return self._private_epoch is not None

    @property
    def epoch(self) -> str:
        """The epoch that all processes share; empty before Redis was there for the first time."""
        return self._epoch

    @property
    def first_number(self) -> int:
        """The oldest number whose event is kept."""
        here = max(self._first_number, self._window.after + 1)
        archived = self._long_history.first_number
        return here if archived is None else min(here, archived)

    @property
    def is_failing(self) -> bool:
        """Whether there is neither Redis nor a store for the outbox."""
        return self.is_cut_off and self._own.is_failing

    @property
    def queue_length(self) -> int:
        """How many changes wait to be recorded."""
        return len(self._pending) + self._own.queue_length

    @property
    def outbox(self) -> tuple[int, int]:
        """How many units, of how many bytes, wait for Redis."""
        return self._outbox_entries, self._outbox_bytes

    def offset(self, number: int) -> Offset:
        """Return the offset of a number; without Redis that of new events is private."""
        private = self._private_epoch
        if private is None or number <= self._private_after:
            return Offset(self._epoch, number)
        return Offset(private, number)

    # Recording

    def append(
        self,
        make_event: Callable[[int], StoredEvent],
        apply: Callable[[StoredEvent], Any],
        also: Callable[[StoredEvent], Sequence[Change]] | None = None,
        *,
        size: int = 0,
    ) -> "asyncio.Future[Any]":
        """Record an event, then apply it; see `EventLog.append`."""
        stored = make_event(0)
        changes = [EventAppended(stored), *(() if also is None else also(stored))]
        return self._put(changes, lambda _: apply(stored), stored)

    def record(
        self, changes: Changes, apply: Callable[[int], Any], *, size: int = 0
    ) -> "asyncio.Future[Any]":
        """Record changes and apply them; see `EventLog.record`."""
        made = list(changes(0))
        if made and all(isinstance(change, _OWN_CHANGES) for change in made):
            return self._own.record(lambda _: made, apply, size=size)
        return self._put(list(map(self._shared, made)), apply)

    def tell(self, changes: Sequence[SharedChange]) -> None:
        """Tell the others something; nobody waits for it."""
        self._put(changes, lambda _: None).add_done_callback(_ignored)

    async def settled(self) -> None:
        """Wait until all that was given before has been recorded, or has failed."""
        await asyncio.gather(self.record(lambda _: (), lambda _: None), return_exceptions=True)

    def _shared(self, change: Change) -> SharedChange:
        if isinstance(change, SessionResumed):
            session = self._sessions.of_client(change.client_id)
            if session is not None:
                return SessionTaken(session.stored())
        return change

    def _put(
        self,
        changes: Sequence[SharedChange],
        apply: Callable[[int], Any],
        stored: StoredEvent | None = None,
    ) -> "asyncio.Future[Any]":
        outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        text = write_changes(changes)
        kept = kept_with(changes, self._link.keys, milliseconds(self._clock.now()))
        unit = Unit(
            next(self._sequences),
            changes,
            text,
            kept,
            stored,
            apply,
            outcome,
            self._now(),
            len(text) + len(kept),
        )
        if self._is_closed:
            unit.fail(StoreUnavailable("The event log is closed.", headers=_RETRY_AFTER))
        elif not self._sends_directly:
            self._put_out(unit)
        elif len(self._pending) >= _MAX_WAITING or self._pending_bytes >= _MAX_WAITING_BYTES:
            unit.fail(Overloaded("Too much waits to be recorded.", headers=_RETRY_AFTER))
        else:
            self._pending[unit.sequence] = unit
            self._pending_bytes += unit.size
            self._unsent.append(unit)
            self._wake.set()
            if self._patience is None:
                self._watch(PATIENCE_SECONDS)
        return outcome

    # With Redis

    async def _send(self) -> None:
        """Send what comes, together what has come meanwhile, until Redis is lost."""
        while self._sends_directly:
            await self._wake.wait()
            self._wake.clear()
            while self._unsent:
                batch = self._next_batch()
                outcomes = await self._link.append([self._sent(unit) for unit in batch])
                for unit, outcome in zip(batch, outcomes, strict=True):
                    if outcome == "refused":
                        self._refuse(unit)

    def _next_batch(self) -> list[Unit]:
        batch: list[Unit] = []
        size = 0
        while self._unsent and len(batch) < _BATCH_UNITS and size < _BATCH_BYTES:
            batch.append(self._unsent.popleft())
            size += batch[-1].size
        return batch

    def _sent(self, unit: Unit) -> Sent:
        sent = Sent(self._node, unit.sequence, unit.text, unit.kept)
        self._retain(sent)
        return sent

    def _retain(self, sent: Sent) -> None:
        self._retained.append(sent)
        self._retained_bytes += len(sent.text)
        while len(self._retained) > _RETAINED_UNITS or self._retained_bytes > _RETAINED_BYTES:
            self._retained_bytes -= len(self._retained.popleft().text)

    def _refuse(self, unit: Unit) -> None:
        """Fail a unit whose key or mark somebody else has taken; it is in no log."""
        if self._pending.pop(unit.sequence, None) is not None:
            self._pending_bytes -= unit.size
            unit.fail(unit.refusal())

    def _watch(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._patience = loop.call_later(seconds, self._look, loop.time() + seconds)

    def _look(self, due: float) -> None:
        """Go on without Redis when what was appended has not come back in time."""
        self._patience = None
        if not self._pending:
            return
        if asyncio.get_running_loop().time() - due > PATIENCE_SECONDS / 2:
            # It was this process that was late; the answer may be waiting to be read.
            self._watch(PATIENCE_SECONDS)
            return
        oldest = next(iter(self._pending.values()))
        left = oldest.began + PATIENCE_SECONDS - self._now()
        if left > 0:
            self._watch(left)
        else:
            self._lose("it does not answer in time")

    # Without Redis

    def _lose(self, reason: str) -> None:
        """Go on without Redis, and say why if it is news. Idempotent."""
        if self._sends_directly:
            self._metrics.cluster_cut_offs.inc()
            self._go_alone()
        elif reason == self._away_because:
            return
        self._away_because = reason
        logger.warning("redis_away", reason=reason)

    def _go_alone(self) -> None:
        self._sends_directly = False
        self._may_read.clear()
        self._wake.set()
        if self._private_epoch is None:
            self._private_epoch = secrets.token_hex(4)
            self._private_after = self.last_number
        self._stop_waiting()
        pending, self._pending, self._pending_bytes = self._pending, {}, 0
        self._unsent.clear()
        for unit in pending.values():
            self._put_out(unit)
        self._audience.cut_off()

    def _put_out(self, unit: Unit) -> None:
        """Put a unit into the outbox, and let it take effect here when it is recorded."""
        if (
            self._outbox_entries >= MAX_OUTBOX_ENTRIES
            or self._outbox_bytes + unit.size > MAX_OUTBOX_BYTES
        ):
            unit.fail(
                Overloaded(
                    "Redis is away, and as much waits for it as may.", headers={"Retry-After": "5"}
                )
            )
            return
        entry = OutboxEntry(self._node, unit.sequence, unit.text)
        self._leaving[unit.sequence] = unit
        self._outbox_entries += 1
        self._outbox_bytes += entry.size
        changes: list[Change] = [OutboxPut(entry)]
        changes += (change for change in unit.changes if isinstance(change, WebhookMarked))
        put = self._own.record(
            lambda _: changes, lambda _: self._apply_privately(unit), size=entry.size
        )
        put.add_done_callback(lambda done: self._put_or_failed(unit, entry, done))

    def _put_or_failed(self, unit: Unit, entry: OutboxEntry, done: "asyncio.Future[None]") -> None:
        problem = None if done.cancelled() else done.exception()
        if problem is not None:
            self._leaving.pop(unit.sequence, None)
            self._outbox_entries -= 1
            self._outbox_bytes -= entry.size
            unit.fail(problem if isinstance(problem, Exception) else StoreUnavailable("Stopped."))

    def _apply_privately(self, unit: Unit) -> None:
        self._leaving.pop(unit.sequence, None)
        number = self.last_number = self.last_number + 1
        self._private_numbers[unit.sequence] = number
        if unit.stored is not None:
            unit.stored.number = number
            self._private_events[number] = unit.stored
        epoch = str(self.offset(number).epoch)
        for change in unit.changes:
            if isinstance(change, AnswerGiven):
                self._kept.append(_placed(change, number, epoch))
        self._touch_sessions(unit.changes)
        unit.take_effect(number)
        real = self._early.pop(unit.sequence, None)
        if real is not None:
            self._settle_privately(unit.sequence, unit.changes, real)

    def _settle_privately(
        self, sequence: int, changes: Sequence[SharedChange], number: int
    ) -> None:
        """Take note of the number that something has got in the log that had a private one."""
        private = self._private_numbers.pop(sequence)
        self._private_events.pop(private, None)
        for change in changes:
            match change:
                case RoomEntered(client_id, room, _) | RoomLeft(client_id, room, _):
                    if session := self._sessions.of_client(client_id):
                        session.renumber(room, private, number)
                case SessionOpened(opened):
                    if session := self._sessions.of_client(opened.client_id):
                        session.place_anew(private, number)
                case EventAppended(event):
                    self._keep(event)
        self._touch_sessions(changes)
        self._come_together()

    def _come_together(self) -> None:
        """Be one of the cluster again, once the last that was private is in the log."""
        if self._sends_directly and self.is_cut_off and not self._private_numbers:
            self._private_epoch = None
            self._private_events.clear()
            logger.info("redis_back")
            self._audience.together()

    # Joining

    async def _join(self) -> None:
        """Find out where the log is, and send what has waited for it."""
        place = await self._link.join(secrets.token_hex(4), self._epoch, self._log_id)
        others = await self._audience.joining()
        is_new = not self._epoch
        has_lost = not is_new and place.epoch != self._epoch
        if is_new:
            await self._load(place.first_id, place.last_id, place.epoch, others)
        elif has_lost:
            logger.error("redis_lost_data", epoch=place.epoch)
            self._epoch = place.epoch
        elif number_of(place.first_id) > number_of(self._log_id):
            self._skip_to(place.first_id)
        self._may_read.set()
        if has_lost:
            await self._send_again()
        while self._outbox_entries:
            await self._send_outbox()
        self._sends_directly = True
        self._is_joined.set()
        if is_new:
            self.tell([NodeStarted(self._audience.describe())])
        elif has_lost:
            self._introduce()
        self._come_together()

    def _introduce(self) -> None:
        """Tell the others once more who is here: they have lost it, or believe nobody is."""
        sessions = [session for session in self._sessions if session.node is None]
        here = [one for one in sessions if one.away_since is None]
        if here:
            self.tell([SessionTaken(session.stored()) for session in here])
        self._audience.introduced()

    async def _send_again(self) -> None:
        """Send once more what was sent last; whoever has had it leaves it out."""
        retained = list(self._retained)
        for at in range(0, len(retained), _BATCH_UNITS):
            await self._link.append(retained[at : at + _BATCH_UNITS])

    async def _send_outbox(self) -> None:
        entries = await self._own.outbox(limit=_BATCH_UNITS, max_bytes=_BATCH_BYTES)
        if not entries:
            # What there is has not been recorded yet.
            await self._own.settled()
            return
        units = [self._from_outbox(entry) for entry in entries]
        outcomes = await self._link.append(units)
        last = {entry.origin: entry.sequence for entry in entries}
        sent = [OutboxSent(origin, until) for origin, until in last.items()]
        await self._own.record(lambda _: sent, lambda _: None)
        self._outbox_entries -= len(entries)
        self._outbox_bytes -= sum(entry.size for entry in entries)
        for entry, outcome in zip(entries, outcomes, strict=True):
            if outcome == "refused":
                logger.warning("outbox_entry_refused", origin=entry.origin, number=entry.sequence)
                if entry.origin == self._node:
                    private = self._private_numbers.pop(entry.sequence, 0)
                    self._private_events.pop(private, None)

    def _from_outbox(self, entry: OutboxEntry) -> Sent:
        changes = read_changes(entry.text, 0, self._epoch)
        kept = kept_with(changes, self._link.keys, milliseconds(self._clock.now()))
        sent = Sent(entry.origin, entry.sequence, entry.text, kept)
        self._retain(sent)
        return sent

    def _skip_to(self, first_id: str) -> None:
        """Go on where the log begins: what was before it is not known, and clients must know."""
        logger.error("log_passed_by", last_id=self._log_id, first_id=first_id)
        number = number_of(first_id)
        self._window.begin([], number - 1)
        self._first_number = number
        self._log_id = stream_id(number - 1)
        self._replication.send_all_away()

    async def _load(self, first_id: str, last_id: str, epoch: str, others: set[str]) -> None:
        """Take up what Redis has of the log and of the sessions."""
        self._epoch = epoch
        self._first_number = number_of(first_id)
        self._window.begin([], max(0, self._first_number - 1))
        as_of: dict[str, int] = {}
        for text in await self._link.sessions():
            session, node, number = read_session(text)
            as_of[session.client_id] = number
            self._replication.take_session(session, node)
        # One id before the first, which is to be read too.
        after = "0-0"
        while entries := await self._link.slice(after, last_id):
            for entry in entries:
                self._take_up(entry, as_of)
            after = entries[-1].id
            await self._keep_all()
            await asyncio.sleep(0)
        self._log_id = last_id
        self.last_number = max(self.last_number, number_of(last_id))
        for node in {session.node for session in self._sessions if session.node} - others:
            self._replication.forget_node(node)

    def _take_up(self, entry: Entry, as_of: dict[str, int]) -> None:
        """Take up what was recorded before this process was there; nobody is told of it."""
        number = number_of(entry.id)
        self._seen[entry.origin] = max(entry.sequence, self._seen.get(entry.origin, 0))
        for change in self._read_entry(entry, number):
            match change:
                case EventAppended(event):
                    self._keep(event)
                case AnswerGiven():
                    self._kept.append(change)
                case NodeGone(node):
                    self._replication.forget_node(node)
                case _:
                    client_id = _session_of(change)
                    if client_id is not None and number > as_of.get(client_id, 0):
                        self._replication.apply(change, entry.origin)

    # Reading

    async def _read(self) -> None:
        while True:
            await self._may_read.wait()
            try:
                entries, messages = await self._link.read(self._log_id, self._inbox_id)
            except RedisAway as problem:
                self._lose(str(problem))
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            try:
                await self._take_all(entries)
                for message_id, text in messages:
                    self._inbox_id = message_id
                    self._audience.message(text)
            except Exception:  # the edge: a fault must not end the reading for good
                logger.exception("cluster_entry_failed")

    async def _take_all(self, entries: Sequence[Entry]) -> None:
        size, until = 0, self._now() + _TURN_SECONDS
        for entry in entries:
            if size > _TURN_BYTES or self._now() > until:
                await self._end_turn()
                await asyncio.sleep(0)
                size, until = 0, self._now() + _TURN_SECONDS
            size += len(entry.text)
            self._bytes_since_trim += len(entry.text)
            self._log_id = entry.id
            number = number_of(entry.id)
            self.last_number = max(self.last_number, number)
            if entry.sequence == 0 or entry.sequence > self._seen.get(entry.origin, 0):
                self._seen[entry.origin] = entry.sequence
                await self._take(entry, number)
            self._tell_waiters()
        await self._end_turn()
        if self._bytes_since_trim > STREAM_BYTES // 4:
            await self._trim_stream()

    async def _end_turn(self) -> None:
        await self._keep_all()
        self._audience.flush()

    async def _take(self, entry: Entry, number: int) -> None:
        """Let an entry take effect, whose turn it is."""
        sequence = entry.sequence
        if entry.origin == self._node:
            unit = self._pending.pop(sequence, None)
            if unit is not None:
                self._pending_bytes -= unit.size
                self._settle(unit, number)
                return
            if sequence in self._leaving:
                self._early[sequence] = number
                return
            if sequence in self._private_numbers:
                self._settle_privately(sequence, self._read_entry(entry, number), number)
                return
        for change in self._read_entry(entry, number):
            try:
                await self._follow(change, entry.origin, number)
            except Exception:  # the edge: what fails must not hold up what is behind it
                logger.exception("cluster_change_failed", kind=type(change).__name__)

    def _read_entry(self, entry: Entry, number: int) -> list[SharedChange]:
        try:
            return read_changes(entry.text, number, self._epoch)
        except (ValueError, KeyError, TypeError):
            logger.exception("cluster_entry_not_understood", id=entry.id)
            return []

    def _settle(self, unit: Unit, number: int) -> None:
        """Let a unit of this process take effect, now that it has its place."""
        self._metrics.cluster_append_seconds.observe(self._now() - unit.began)
        if unit.stored is not None:
            unit.stored.number = number
            self._keep(unit.stored)
        for change in unit.changes:
            if isinstance(change, AnswerGiven):
                self._kept.append(_placed(change, number, self._epoch))
            elif isinstance(change, WebhookMarked):
                self._mark(change)
        unit.take_effect(number)
        self._touch_sessions(unit.changes)

    async def _follow(self, change: SharedChange, node: str, number: int) -> None:
        """Let a change of another process take effect here."""
        audience = self._audience
        match change:
            case EventAppended(event):
                self._keep(event)
                self._deliver(event, node, self.offset(number))
            case EventRelayed(event, is_droppable):
                self._deliver(event, node, None, droppable=is_droppable)
            case AnswerGiven():
                self._kept.append(change)
            case WebhookMarked():
                self._mark(change)
            case HistoryDeleted(room):
                await self._delete(room, number)
            case NodeStarted(details):
                audience.node_started(node, details)
            case NodeGone(gone) if gone == self._node:
                self._introduce()
            case _:
                self._replication.apply(change, node)
                if isinstance(change, NodeGone):
                    audience.node_gone(change.node)
                elif isinstance(change, SessionEnded):
                    audience.session_changed(change.client_id)

    def _deliver(
        self, event: StoredEvent, node: str, offset: Offset | None, *, droppable: bool = False
    ) -> None:
        def heard(client_id: str, has_acknowledged: bool) -> None:
            self._audience.heard(node, event.id, client_id, has_acknowledged)

        recipients, asked = self._replication.deliver(event, offset, heard, droppable=droppable)
        self._audience.told(node, event.id, recipients, asked)

    def _keep(self, event: StoredEvent) -> None:
        self._window.add(event)
        self._kept.append(EventAppended(event))

    async def _keep_all(self) -> None:
        if self._kept:
            kept, self._kept = self._kept, []
            await self._replica.commit(kept)

    def _mark(self, marked: WebhookMarked) -> None:
        # For the time without Redis: what others have published is not to be published once more.
        self._own.record(lambda _: [marked], lambda _: None).add_done_callback(_ignored)

    def _touch_sessions(self, changes: Sequence[SharedChange]) -> None:
        for change in changes:
            client_id = _session_of(change)
            if client_id is not None:
                self._audience.session_changed(client_id)

    # Waiting for the others

    async def catch_up(self) -> None:
        """Wait until what is in the log now has taken effect here, a second at most.

        At once while Redis is away.
        """
        if self.is_cut_off:
            return
        try:
            last_id = await self._link.last_id()
        except RedisAway as problem:
            self._lose(str(problem))
            return
        await self.reach(number_of(last_id), _CATCH_UP_SECONDS)

    async def reach(self, number: int, seconds: float) -> None:
        """Wait until everything up to a number has taken effect here, for so long at most."""
        if self.last_number >= number or self.is_cut_off:
            return
        waiter = _Waiter(number, asyncio.get_running_loop().create_future())
        heapq.heappush(self._waiters, waiter)
        try:
            await asyncio.wait_for(waiter.reached, seconds)
        except TimeoutError:
            logger.warning("catching_up_takes_long", seconds=seconds)

    def _tell_waiters(self) -> None:
        while self._waiters and self._waiters[0].number <= self.last_number:
            _done(heapq.heappop(self._waiters).reached)

    def _stop_waiting(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            _done(waiter.reached)

    # Reading what was recorded

    @property
    def window_after(self) -> int:
        """The number after which every event is in memory."""
        return self._window.after

    def recent(self, after: int) -> list[StoredEvent]:
        """Return the events after a number that is not before :attr:`window_after`."""
        recent = self._window.since(after)
        if self._private_events:
            recent += (event for event in self._private_events.values() if event.number > after)
            recent.sort(key=lambda event: event.number)
        return recent

    async def past(
        self, addresses: Addresses, after: int, *, max_events: int, max_bytes: int
    ) -> Past:
        """Return the events that only the archive has; see `EventLog.past`."""
        past = Past(read_until=after, is_complete=after >= self.first_number - 1)
        while past.read_until < self._window.after and past.is_complete:
            until = self._window.after
            events = await self._long_history.before_window(
                addresses, past.read_until, max_events + 1
            )
            if events is None:
                past.is_complete = False
                break
            past.events += events
            past.read_until = until
            past.is_complete = len(past.events) <= max_events and past.size <= max_bytes
        past.read_until = max(past.read_until, self._window.after)
        return past

    async def find_answer(self, key: str, now: int) -> GivenAnswer | None:
        """Return the answer given to an idempotency key by any process."""
        if not self.is_cut_off:
            try:
                [text] = await self._link.values([self._link.keys.answer(key)])
            except RedisAway as problem:
                self._lose(str(problem))
            else:
                return None if text is None else self._given(text, now)
        await self._keep_all()
        return await self._replica.find_answer(key, now)

    def _given(self, text: str, now: int) -> GivenAnswer | None:
        entry_id, _, said = text.partition(" ")
        answer = GivenAnswer(**strict_json.loads(said))
        placed = AnswerGiven(answer)
        given = _placed(placed, number_of(entry_id), self._epoch).answer
        return given if given.expires_at > now else None

    async def history(self, room: str, *, after: int, limit: int, now: int) -> list[StoredEvent]:
        """Return the oldest events of a room after a number; see `Store.history`."""
        newest = await self._replica.history(room, after=after, limit=limit, now=now)
        return await self._long_history.history(newest, room, after=after, limit=limit, now=now)

    async def delete_history(self, room: str) -> int:
        """Delete the history of a room at all processes; how many events it had."""
        until: int = await self._put([HistoryDeleted(room)], lambda number: number)
        deleted = await self._delete(room, until)
        return max(deleted, await self._long_history.delete(room, until))

    async def _delete(self, room: str, until: int) -> int:
        await self._keep_all()
        deleted = await self._replica.delete_history(room)
        self._window.forget_room(room, until)
        return deleted

    async def minutes(self, *, since: int, before: int) -> list[CountedMinute]:
        """Return the minutes that this process has counted. Raises as the store does."""
        return await self._own.minutes(since=since, before=before)

    async def webhook_backlog(self) -> WebhookBacklog:
        """Return how much waits in the inbox of this process. Raises as the store does."""
        return await self._own.webhook_backlog()

    async def next_webhook(self) -> StoredWebhook | None:
        """Return the oldest webhook that waits at this process. Raises as the store does."""
        return await self._own.next_webhook()

    async def webhook_marks(self, keys: Collection[str]) -> dict[str, str]:
        """Return the values of marks, of any process while Redis is there."""
        marks = await self._own.webhook_marks(keys)
        if not self.is_cut_off:
            wanted = list(keys)
            try:
                texts = await self._link.values([self._link.keys.mark(key) for key in wanted])
            except RedisAway as problem:
                self._lose(str(problem))
            else:
                found = zip(wanted, texts, strict=True)
                marks |= {key: text.partition(" ")[2] for key, text in found if text is not None}
        return marks

    async def replay_webhooks(self, since: int | None) -> int:
        """Let webhooks of this process wait again; how many. Raises as the store does."""
        return await self._own.replay_webhooks(since)

    async def trim(self, bounds: Bounds, now: int) -> None:
        """Delete what is beyond the bounds, here and in Redis. Raises as the store does."""
        await self._own.trim(bounds, now)
        await self._long_history.trim(bounds, now)
        self._bounds = Bounds(
            min(bounds.max_events or STREAM_EVENTS, STREAM_EVENTS),
            min(bounds.max_bytes or STREAM_BYTES, STREAM_BYTES),
            bounds.max_age_seconds,
        )
        await self._trim_stream()

    async def _trim_stream(self) -> None:
        self._bytes_since_trim = 0
        first = await self._replica.trim(self._bounds, milliseconds(self._clock.now()))
        self._first_number = max(self._first_number, first)
        if not self.is_cut_off and first > 1:
            try:
                await self._link.trim(stream_id(first))
            except RedisAway as problem:
                self._lose(str(problem))


def _session_of(change: SharedChange) -> str | None:
    """Return whose session a change is about; None when it is about none."""
    match change:
        case SessionOpened(session) | SessionTaken(session):
            return session.client_id
        case SessionAway(client_id) | SessionEnded(client_id):
            return client_id
        case RoomEntered(client_id) | RoomLeft(client_id) | EventAcknowledged(client_id):
            return client_id
    return None


def _placed(given: AnswerGiven, number: int, epoch: str) -> AnswerGiven:
    answer = given.answer
    return AnswerGiven(replace(answer, answer=placed_answer(answer.answer, number, epoch)))


def _done(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _ignored(outcome: "asyncio.Future[Any]") -> None:
    """Take note of a failure that makes no difference: it is logged where it happened."""
    if not outcome.cancelled():
        outcome.exception()
