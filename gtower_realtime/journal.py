"""The one order in which things happen: numbers, records, and only then takes effect.

Everything that must survive a restart goes through here: events, joins, leaves, sessions. What
arrives while one transaction is being committed is committed together in the next. No I/O of its
own; a `ports.Store` keeps what it records.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from gtower_realtime.errors import Overloaded, RealtimeError, StoreUnavailable
from gtower_realtime.ports import Addresses, Changes, Offset, Past, Store
from gtower_realtime.records import (
    Bounds,
    Change,
    CountedMinute,
    EventAppended,
    GivenAnswer,
    OutboxBacklog,
    OutboxEntry,
    StoredEvent,
    StoredSession,
    StoredWebhook,
    WebhookBacklog,
)
from gtower_realtime.window import Window

logger = structlog.get_logger(__name__)

_MAX_BATCH = 1000
_MAX_BATCH_BYTES = 8 * 1024 * 1024
_MAX_WAITING = 20_000
_MAX_WAITING_BYTES = 64 * 1024 * 1024

# What takes effect in one turn of the loop.
_TURN_BYTES = 256 * 1024
_TURN_SECONDS = 0.01

# Events in one read of the store, so that large ones do not fill the memory.
_READ_SLICE = 20
_RETRY_AFTER = {"Retry-After": "1"}
_RETRY_SECONDS = 0.5


# Classes of their own instead of functions within functions: thousands wait at once in a burst, and
# the garbage collector goes through all that each consists of.


class _Entry(Protocol):
    """What is to be recorded at one place of the order, and what takes effect right after it."""

    takes_number: bool
    size: int
    outcome: "asyncio.Future[Any]"

    def changes(self, number: int) -> Sequence[Change]: ...

    def apply(self, number: int) -> Any: ...


class _Event:
    """An event, which takes a number."""

    __slots__ = ("_also", "_apply", "_make", "_stored", "_window", "outcome", "size")

    takes_number = True

    def __init__(
        self,
        make: Callable[[int], StoredEvent],
        apply: Callable[[StoredEvent], Any],
        also: Callable[[StoredEvent], Sequence[Change]] | None,
        window: "Window",
        size: int,
        outcome: "asyncio.Future[Any]",
    ) -> None:
        self._make = make
        self._apply = apply
        self._also = also
        self._window = window
        self._stored: StoredEvent
        self.size = size
        self.outcome = outcome

    def changes(self, number: int) -> Sequence[Change]:
        stored = self._stored = self._make(number)
        appended = EventAppended(stored)
        return (appended,) if self._also is None else (appended, *self._also(stored))

    def apply(self, _number: int) -> Any:
        self._window.add(self._stored)
        return self._apply(self._stored)


@dataclass(slots=True)
class _Between:
    """What happens between two events."""

    changes: Changes
    apply: Callable[[int], Any]
    outcome: "asyncio.Future[Any]"
    takes_number: bool = False
    size: int = 0


def _unmeasured(_seconds: float) -> None:
    pass


class Journal:
    """Records changes in one order and makes each take effect right after it was recorded.

    ``recent_events`` and ``recent_bytes`` bound the newest events that are also held in memory, for
    replays that must not wait. ``committed`` is called with the seconds that each transaction took,
    also of one that failed.
    """

    def __init__(
        self,
        store: Store,
        *,
        recent_events: int,
        recent_bytes: int,
        committed: Callable[[float], None] = _unmeasured,
    ) -> None:
        self._store = store
        self._committed = committed
        self._recent_events = recent_events
        self._recent_bytes = recent_bytes
        self._window = Window(recent_events, recent_bytes)
        self._waiting: deque[_Entry] = deque()
        self._waiting_bytes = 0
        self._wake = asyncio.Event()
        self._trimming = asyncio.Lock()
        self._worker: asyncio.Task[None] | None = None
        self._number = 0
        self._now = time.monotonic
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False
        self._is_failing = False
        self.epoch = ""
        self.last_number = 0
        """The last number that has taken effect."""
        self.first_number = 1
        """The oldest number whose event is kept."""

    async def open(self) -> list[StoredSession]:
        """Open the store and begin; return the sessions it holds.

        Raises:
            StoreUnavailable: the store cannot be reached.
            StoreUnusable: the store is not for this process.
        """
        snapshot = await self._store.open(
            recent_events=self._recent_events, recent_bytes=self._recent_bytes
        )
        self.epoch = snapshot.epoch
        self.first_number = snapshot.first_number
        self.last_number = self._number = snapshot.last_number
        self._window.begin(snapshot.recent, snapshot.last_number)
        self._worker = asyncio.get_running_loop().create_task(self._work())
        return snapshot.sessions

    async def close(self) -> None:
        """Record what waits, then close the store; what comes later fails. Idempotent."""
        self._is_closed = True
        if self._worker is not None:
            self._wake.set()
            await self._worker
        await self._store.close()

    async def settled(self) -> None:
        """Wait until everything that was given before has been recorded, or has failed."""
        await asyncio.gather(self.record(lambda _: (), lambda _: None), return_exceptions=True)

    @property
    def is_failing(self) -> bool:
        """Whether the last attempt to record something failed."""
        return self._is_failing

    @property
    def queue_length(self) -> int:
        """How many changes wait for the next transaction."""
        return len(self._waiting)

    def offset(self, number: int) -> Offset:
        """Return the offset of a number of this log."""
        return Offset(self.epoch, number)

    # Recording

    def append(
        self,
        make_event: Callable[[int], StoredEvent],
        apply: Callable[[StoredEvent], Any],
        also: Callable[[StoredEvent], Sequence[Change]] | None = None,
        *,
        size: int = 0,
    ) -> "asyncio.Future[Any]":
        """Give an event its number, record it, then ``apply`` it; the future has what that returns.

        What ``also`` returns is recorded in the same transaction. ``size`` is about how many bytes
        there are to record.

        Events are applied in the order of their numbers, in the order of the calls, and what was
        recorded together in as few turns of the loop as its size allows. Cancelling the future
        changes nothing of that. It fails with `StoreUnavailable` when the event was not recorded,
        and with `Overloaded` when too much waits already: then nobody has seen it.
        """
        return self._put(_Event(make_event, apply, also, self._window, size, self._future()))

    def record(
        self, changes: Changes, apply: Callable[[int], Any], *, size: int = 0
    ) -> "asyncio.Future[Any]":
        """Record ``changes`` between two events and ``apply`` them; see :meth:`append`.

        Both are called with the number of the event before them.
        """
        return self._put(_Between(changes, apply, self._future(), size=size))

    def _future(self) -> "asyncio.Future[Any]":
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop.create_future()

    def _put(self, entry: _Entry) -> "asyncio.Future[Any]":
        is_full = len(self._waiting) >= _MAX_WAITING or self._waiting_bytes >= _MAX_WAITING_BYTES
        if self._is_closed:
            _fail(entry, StoreUnavailable("The event store is closed.", headers=_RETRY_AFTER))
        elif is_full:
            _fail(entry, Overloaded("Too much waits to be recorded.", headers=_RETRY_AFTER))
        else:
            self._waiting.append(entry)
            self._waiting_bytes += entry.size
            self._wake.set()
        return entry.outcome

    async def _work(self) -> None:
        while self._waiting or not self._is_closed:
            await self._something_to_do()
            self._wake.clear()
            while self._waiting:
                await self._commit(self._next_batch())

    async def _something_to_do(self) -> None:
        """Wait for an entry; while the store is failing, try again now and then without one."""
        if not self._is_failing:
            await self._wake.wait()
            return
        try:
            await asyncio.wait_for(self._wake.wait(), _RETRY_SECONDS)
        except TimeoutError:
            await self._commit([])

    def _next_batch(self) -> list[_Entry]:
        batch: list[_Entry] = []
        size = 0
        while self._waiting and len(batch) < _MAX_BATCH and size < _MAX_BATCH_BYTES:
            batch.append(self._waiting.popleft())
            size += batch[-1].size
        self._waiting_bytes -= size
        return batch

    async def _commit(self, batch: list[_Entry]) -> None:
        numbered, changes = self._number_all(batch)
        problem = await self._try_to_commit(changes)
        self._take_note(problem)
        if problem is not None:
            for entry, _ in numbered:
                _fail(entry, StoreUnavailable(problem, headers=_RETRY_AFTER))
            return
        size, until = 0, self._now() + _TURN_SECONDS
        for entry, number in numbered:
            if size > _TURN_BYTES or self._now() > until:
                # What was handed over is written first: a burst must not look like clients that do
                # not read, nor hold up everybody else.
                await asyncio.sleep(0)
                size, until = 0, self._now() + _TURN_SECONDS
            size += entry.size
            self.last_number = number
            try:
                result = entry.apply(number)
            except Exception as fault:  # noqa: BLE001 - told to the one who waits
                _fail(entry, fault)
            else:
                if not entry.outcome.done():
                    entry.outcome.set_result(result)

    def _number_all(self, batch: list[_Entry]) -> tuple[list[tuple[_Entry, int]], list[Change]]:
        """Return the entries with their places, and everything that they want recorded."""
        numbered: list[tuple[_Entry, int]] = []
        changes: list[Change] = []
        # What lies between two events keeps to numbers that were recorded: one that was burned
        # here may be given out by the next process.
        place = self.last_number
        for entry in batch:
            # A number is used up even if the commit fails: whether it did is not always known.
            self._number += entry.takes_number
            number = self._number if entry.takes_number else place
            try:
                changes += entry.changes(number)
            except Exception as fault:  # noqa: BLE001 - told to the one who waits
                _fail(entry, fault)
                continue
            place = number
            numbered.append((entry, number))
        return numbered, changes

    def _take_note(self, problem: str | None) -> None:
        if problem is not None and not self._is_failing:
            logger.error("store_failing", reason=problem)
        elif problem is None and self._is_failing:
            logger.info("store_recovered")
        self._is_failing = problem is not None

    async def _try_to_commit(self, changes: list[Change]) -> str | None:
        """Return None when all was recorded, else why nothing was."""
        if not changes and not self._is_failing:
            return None
        began = self._now()
        try:
            await self._store.commit(changes)
        except StoreUnavailable as problem:
            return problem.message
        except Exception:  # the edge: a fault of a store must not end the journal
            logger.exception("store_commit_failed")
            return "The event store has failed."
        finally:
            self._committed(self._now() - began)
        return None

    async def catch_up(self) -> None:
        """Return at once: nobody else records anything here."""

    # Reading what was recorded

    @property
    def window_after(self) -> int:
        """The number after which every event is in memory."""
        return self._window.after

    def recent(self, after: int) -> list[StoredEvent]:
        """Return the events after a number that is not before :attr:`window_after`."""
        return self._window.since(after)

    async def past(
        self, addresses: Addresses, after: int, *, max_events: int, max_bytes: int
    ) -> Past:
        """Return the events for ``addresses`` after a number that are no longer in memory.

        When it returns, memory holds whatever came after `Past.read_until`, until the next wait.
        It stops reading, and is not complete, beyond ``max_events`` or ``max_bytes``.

        Raises:
            StoreUnavailable: the store cannot be read.
        """
        past = Past(read_until=after)
        is_too_much = False
        # Events move out of memory while the store is being read; go on until none has.
        while past.read_until < self._window.after and not is_too_much:
            until = self._window.after
            events = await self._store.events_for(
                addresses(), after=past.read_until, until=until, limit=_READ_SLICE
            )
            past.events += events
            past.read_until = until if len(events) < _READ_SLICE else events[-1].number
            is_too_much = len(past.events) > max_events or past.size > max_bytes
            # Not before a trimming has ended is it known what was missing from the read.
            async with self._trimming:
                pass
        past.is_complete = not is_too_much and after >= self.first_number - 1
        return past

    async def find_answer(self, key: str, now: int) -> GivenAnswer | None:
        """Return the answer given to an idempotency key. Raises as the store does."""
        return await self._store.find_answer(key, now)

    async def history(self, room: str, *, after: int, limit: int, now: int) -> list[StoredEvent]:
        """Return the oldest events of a room after a number; see `Store.history`."""
        return await self._store.history(room, after=after, limit=limit, now=now)

    async def minutes(self, *, since: int, before: int) -> list[CountedMinute]:
        """Return the counted minutes of a time. Raises as the store does."""
        return await self._store.minutes(since=since, before=before)

    async def webhook_backlog(self) -> WebhookBacklog:
        """Return how much waits in the inbox. Raises as the store does."""
        return await self._store.webhook_backlog()

    async def next_webhook(self) -> StoredWebhook | None:
        """Return the oldest webhook that is waiting. Raises as the store does."""
        return await self._store.next_webhook()

    async def webhook_marks(self, keys: Collection[str]) -> dict[str, str]:
        """Return the values of marks by their keys. Raises as the store does."""
        return await self._store.webhook_marks(keys)

    async def replay_webhooks(self, since: int | None) -> int:
        """Let webhooks wait again; how many. Raises as the store does."""
        return await self._store.replay_webhooks(since)

    async def outbox(self, *, limit: int, max_bytes: int) -> list[OutboxEntry]:
        """Return what other nodes are to be sent next; see `Store.outbox`."""
        return await self._store.outbox(limit=limit, max_bytes=max_bytes)

    async def outbox_backlog(self) -> OutboxBacklog:
        """Return how much waits for other nodes. Raises as the store does."""
        return await self._store.outbox_backlog()

    async def delete_history(self, room: str) -> int:
        """Delete the history of a room; how many events it had. Raises as the store does."""
        until = self.last_number  # what comes while it is being deleted stays
        deleted = await self._store.delete_history(room)
        self._window.forget_room(room, until)
        return deleted

    async def trim(self, bounds: Bounds, now: int) -> None:
        """Delete what is beyond the bounds. Raises as the store does."""
        async with self._trimming:
            try:
                self.first_number = await self._store.trim(bounds, now)
            except StoreUnavailable:
                # Nobody knows how far it came; what is in memory is all there.
                self.first_number = max(self.first_number, self._window.after + 1)
                raise


def _fail(entry: _Entry, problem: Exception) -> None:
    if not entry.outcome.done():
        entry.outcome.set_exception(problem)
    elif not isinstance(problem, RealtimeError):
        # Who asked for it has turned away; a fault of ours is not lost with that.
        logger.error("journal_entry_failed", exc_info=problem)
