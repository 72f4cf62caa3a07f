"""One queue for the deadlines of all sessions, and a clock that stands still while we stall."""

import asyncio
import heapq
import itertools
import math
from collections.abc import Callable
from typing import Protocol

# Deadlines this close are served by one wake-up.
_GRANULARITY_SECONDS = 0.01

# Being woken later than this is a stall of ours, not slowness of a client.
_STALL_SECONDS = 0.1


class Timed(Protocol):
    """Something that has to be looked at by a certain time."""

    scheduled_for: float
    """When the queue will look at it; infinity when it is not queued. The queue's own note."""

    def next_deadline(self) -> float:
        """Return when it next has something to do; infinity for never."""

    def on_deadline(self, now: float) -> None:
        """Do what is due."""


class DeadlineQueue:
    """Calls each :class:`Timed` when its deadline has come; no task, one timer of the loop.

    A deadline that moves back costs nothing: the entry is looked at when it was due and put in
    again. Times are of :meth:`now`, which leaves out the time in which the loop was stalled: what
    a client did meanwhile lies unread in the kernel and gets its chance first.
    """

    def __init__(self, clock: Callable[[], float], on_stall: Callable[[float], None]) -> None:
        self._clock = clock
        self._on_stall = on_stall
        self._stalled_seconds = 0.0
        self._heap: list[tuple[float, int, Timed]] = []
        self._order = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = math.inf

    def now(self) -> float:
        """Return monotonic seconds without stalls."""
        return self._clock() - self._stalled_seconds

    def schedule(self, item: Timed) -> None:
        """See to it that ``item`` is called by its next deadline."""
        deadline = item.next_deadline()
        if deadline >= item.scheduled_for:
            return
        item.scheduled_for = deadline
        heapq.heappush(self._heap, (deadline, next(self._order), item))
        if deadline < self._wakes_at:
            self._wake_at(deadline)

    def close(self) -> None:
        """Drop all deadlines."""
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _wake_at(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._wakes_at = deadline
        delay = max(0.0, deadline - self.now()) + _GRANULARITY_SECONDS
        self._timer = asyncio.get_running_loop().call_later(delay, self._wake)

    def _wake(self) -> None:
        late = self.now() - self._wakes_at - _GRANULARITY_SECONDS
        if late > _STALL_SECONDS:
            self._stalled_seconds += late
            self._on_stall(late)
        now = self.now()
        self._wakes_at = math.inf
        while self._heap and self._heap[0][0] <= now:
            deadline, _, item = heapq.heappop(self._heap)
            if deadline != item.scheduled_for:
                continue  # it was queued again for an earlier time
            item.scheduled_for = math.inf
            if item.next_deadline() <= now:
                item.on_deadline(now)
            self.schedule(item)
        if self._heap:
            self._wake_at(self._heap[0][0])
        else:
            self._timer = None
