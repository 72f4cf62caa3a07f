"""The newest part of the log, which Redis has too, in the memory of each process.

What is older is in the archive, if there is one.
"""

import asyncio
from typing import NamedTuple

from gtower_realtime.cluster.long_history import LongHistory
from gtower_realtime.ports import Addresses, Past, SharedHistory, Store
from gtower_realtime.records import (
    AnswerGiven,
    Bounds,
    Change,
    EventAppended,
    GivenAnswer,
    StoredEvent,
)
from gtower_realtime.window import Window


class _Deletion(NamedTuple):
    room: str
    deleted: "asyncio.Future[int]"


STREAM_EVENTS = 100_000
STREAM_BYTES = 64 * 1024 * 1024
"""How much of the log Redis keeps, and each process with it."""


class Replica:
    """Keeps what the log reads; ``store`` holds it by rooms."""

    def __init__(self, store: Store, archive: SharedHistory | None) -> None:
        self._store = store
        self._window = Window(STREAM_EVENTS, STREAM_BYTES)
        self.long_history = LongHistory(archive, self._window)
        self._first_number = 1
        self._last_number = 0
        self._kept: list[Change | _Deletion] = []

    async def open(self) -> None:
        """Make ready."""
        await self._store.open(recent_events=0, recent_bytes=0)

    async def close(self) -> None:
        """Let go of everything. Idempotent."""
        await self._store.close()
        await self.long_history.close()

    @property
    def first_number(self) -> int:
        """The oldest number whose event is kept, here or in the archive."""
        here = max(self._first_number, self._window.after + 1)
        archived = self.long_history.first_number
        return here if archived is None else min(here, archived)

    @property
    def window_after(self) -> int:
        """The number after which every event is in memory."""
        return self._window.after

    # Keeping

    def begin(self, first_number: int) -> None:
        """Begin at a number; what was before it is not here."""
        self._window.begin([], max(0, first_number - 1))
        self._first_number = first_number

    def keep(self, event: StoredEvent) -> None:
        """Keep an event; for those who read by rooms once :meth:`settle` has returned."""
        self._window.add(event)
        # What is taken up once more is there.
        if event.number > self._last_number:
            self._last_number = event.number
            self._kept.append(EventAppended(event))

    def keep_answer(self, given: AnswerGiven) -> None:
        """Keep an answer, in the same way."""
        self._kept.append(given)

    def delete(self, room: str, until: int) -> "asyncio.Future[int]":
        """Delete the events of a room that were kept before, up to a number.

        The future has how many there were, once :meth:`settle` has returned.
        """
        self._window.forget_room(room, until)
        deleted: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._kept.append(_Deletion(room, deleted))
        return deleted

    async def settle(self) -> None:
        """Let everybody read what was kept, and nobody what was deleted."""
        if self._kept:
            kept, self._kept = self._kept, []
            changes: list[Change] = []
            for one in kept:
                if isinstance(one, _Deletion):
                    await self._store.commit(changes)
                    changes = []
                    one.deleted.set_result(await self._store.delete_history(one.room))
                else:
                    changes.append(one)
            await self._store.commit(changes)

    async def trim(self, bounds: Bounds, now: int) -> int:
        """Delete what is beyond the bounds; return the first number that is kept here."""
        here = Bounds(
            min(bounds.max_events or STREAM_EVENTS, STREAM_EVENTS),
            min(bounds.max_bytes or STREAM_BYTES, STREAM_BYTES),
            bounds.max_age_seconds,
        )
        first = await self._store.trim(here, now)
        self._first_number = max(self._first_number, first)
        return first

    # Reading

    def recent(self, after: int) -> list[StoredEvent]:
        """Return the events after a number that is not before :attr:`window_after`."""
        return self._window.since(after)

    async def past(
        self, addresses: Addresses, after: int, *, max_events: int, max_bytes: int
    ) -> Past:
        """Return the events that only the archive has; see `EventLog.past`."""
        past = Past(read_until=after, is_complete=after >= self.first_number - 1)
        while past.read_until < self._window.after and past.is_complete:
            until = self._window.after
            limit = max_events + 1
            events = await self.long_history.before_window(addresses, past.read_until, limit)
            past.events += events or []
            past.read_until = until
            is_little = len(past.events) <= max_events and past.size <= max_bytes
            past.is_complete = events is not None and is_little
        past.read_until = max(past.read_until, self._window.after)
        return past

    async def find_answer(self, key: str, now: int) -> GivenAnswer | None:
        """Return the answer to an idempotency key, if the log had it lately."""
        await self.settle()
        return await self._store.find_answer(key, now)

    async def history(self, room: str, *, after: int, limit: int, now: int) -> list[StoredEvent]:
        """Return the oldest events of a room after a number; see `Store.history`."""
        newest = await self._store.history(room, after=after, limit=limit, now=now)
        return await self.long_history.history(newest, room, after=after, limit=limit, now=now)
