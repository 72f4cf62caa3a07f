"""One queue for the deadlines of all connections, and a clock that stands still while we stall."""

import asyncio
import heapq
import itertools
import math
from collections.abc import Callable
from contextvars import Context
from typing import Protocol

# Deadlines this close are served by one wake-up.
_GRANULARITY_SECONDS = 0.01

# Being woken later than this is a stall of ours, not slowness of a client.
_STALL_SECONDS = 0.1

# Woken at least this often, so that a stall is seen when no deadline falls into it.
_TICK_SECONDS = 0.5


class Timed(Protocol):
    """Something that has to be looked at by a certain time."""

    queue_entry: "Entry | None"
    """Where it stands in the queue, None when it does not. The queue's own note."""

    def next_deadline(self) -> float:
        """Return when it next has something to do; infinity for never."""

    def on_deadline(self, now: float) -> None:
        """Do what is due."""


class Timer(Protocol):
    """Something that will be called, unless it is cancelled."""

    def cancel(self) -> None:
        """Do not call it."""


def _call_later(seconds: float, callback: Callable[[], None]) -> Timer:
    # Whoever moved a deadline is not the one that it is about.
    return asyncio.get_running_loop().call_later(seconds, callback, context=Context())


class Entry:
    """A place in the queue."""

    __slots__ = ("at", "item", "order")

    def __init__(self, at: float, order: int, item: Timed) -> None:
        self.at = at
        self.order = order
        self.item: Timed | None = item

    def __lt__(self, other: "Entry") -> bool:
        return (self.at, self.order) < (other.at, other.order)


class DeadlineQueue:
    """Calls each :class:`Timed` when its deadline has come; no task, one timer of the loop.

    A deadline that moves back costs nothing: the entry is looked at when it was due and put in
    again. Times are of :meth:`now`, which leaves out the time in which the loop was stalled: what
    a client did meanwhile lies unread in the kernel and gets its chance first.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        on_stall: Callable[[float], None],
        call_later: Callable[[float, Callable[[], None]], Timer] = _call_later,
    ) -> None:
        self._clock = clock
        self._on_stall = on_stall
        self._call_later = call_later
        self._stalled_seconds = 0.0
        self._heap: list[Entry] = []
        self._order = itertools.count()
        self._timer: Timer | None = None
        self._wakes_at = math.inf

    def now(self) -> float:
        """Return monotonic seconds without stalls."""
        now = self._clock() - self._stalled_seconds
        late = now - self._wakes_at - _GRANULARITY_SECONDS
        if late <= _STALL_SECONDS:
            return now
        # To before the wake-up that was missed: it is repeated, after the reading of what came.
        before = self._wakes_at - _GRANULARITY_SECONDS
        self._stalled_seconds += now - before
        self._on_stall(late)
        return before

    def schedule(self, item: Timed) -> None:
        """See to it that ``item`` is called by its next deadline."""
        deadline = item.next_deadline()
        entry = item.queue_entry
        if deadline == math.inf or (entry is not None and entry.at <= deadline):
            return
        self.forget(item)
        item.queue_entry = Entry(deadline, next(self._order), item)
        heapq.heappush(self._heap, item.queue_entry)
        if deadline < self._wakes_at:
            self._wake_at(deadline)

    def forget(self, item: Timed) -> None:
        """Never call ``item`` again, and do not keep it in memory."""
        if item.queue_entry is not None:
            item.queue_entry.item = None
            item.queue_entry = None

    def close(self) -> None:
        """Drop all deadlines."""
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _wake_at(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        now = self.now()
        self._wakes_at = min(deadline, now + _TICK_SECONDS)
        delay = max(0.0, self._wakes_at - now) + _GRANULARITY_SECONDS
        self._timer = self._call_later(delay, self._wake)

    def _wake(self) -> None:
        now = self.now()
        self._wakes_at = math.inf
        # All are taken out first: one that leaves its deadline in the past has its next turn at the
        # next wake-up.
        due: list[Entry] = []
        while self._heap and self._heap[0].at <= now:
            due.append(heapq.heappop(self._heap))
        for entry in due:
            item = entry.item
            if item is None:
                continue
            item.queue_entry = None
            if item.next_deadline() <= now:
                item.on_deadline(now)
            self.schedule(item)
        if self._heap:
            self._wake_at(self._heap[0].at)
        else:
            self._timer = None
