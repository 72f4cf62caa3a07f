"""What Redis no longer has of the log: read from the archive that all processes share, if any.

One of them fills it, whichever is the first by its id; what that one has not added when it dies,
the next one has in memory.
"""

import asyncio
from collections.abc import Callable

import structlog

from gtower_realtime.errors import StoreUnavailable, StoreUnusable
from gtower_realtime.ports import MAX_HISTORY_BYTES, Addresses, SharedHistory
from gtower_realtime.records import Bounds, StoredEvent
from gtower_realtime.window import Window

logger = structlog.get_logger(__name__)

_PAUSE_SECONDS = 0.2
_ADDED_AT_ONCE = 1000


class LongHistory:
    """Fills and reads an archive. ``window`` has the newest events; without an archive no more."""

    def __init__(self, archive: SharedHistory | None, window: Window) -> None:
        self._archive = archive
        self._window = window
        self._epoch = ""
        self._is_open = False
        self._is_failing = False
        self.first_number: int | None = None
        """The oldest number whose event is kept; None while that is not known."""

    async def fill(self, epoch: Callable[[], str], is_mine: Callable[[], bool]) -> None:
        """Add what is new, as long as this runs and it is this process's turn."""
        while self._archive is not None:
            await asyncio.sleep(_PAUSE_SECONDS)
            try:
                if epoch() and is_mine():
                    await self._fill(self._archive, epoch())
                self._is_failing = False
            except (StoreUnavailable, StoreUnusable) as problem:
                if not self._is_failing:
                    logger.warning("archive_put_off", reason=problem.message)
                self._is_failing = True

    async def _fill(self, archive: SharedHistory, epoch: str) -> None:
        await self._open(archive)
        if epoch != self._epoch:
            await archive.begin(epoch)
            self._epoch = epoch
        filled = await archive.filled_until()
        new = self._window.since(filled)[:_ADDED_AT_ONCE]
        if new:
            await archive.add(new, after=max(filled, self._window.after))

    async def _open(self, archive: SharedHistory) -> None:
        if not self._is_open:
            await archive.open()
            self._is_open = True

    async def before_window(
        self, addresses: Addresses, after: int, limit: int
    ) -> list[StoredEvent] | None:
        """Return the oldest events between a number and the window; None if nobody has them."""
        if self._archive is None or self.first_number is None or after < self.first_number - 1:
            return None
        until = self._window.after
        return await self._archive.events_for(addresses(), after=after, until=until, limit=limit)

    async def history(
        self, newest: list[StoredEvent], room: str, *, after: int, limit: int, now: int
    ) -> list[StoredEvent]:
        """Return the oldest events of a room, ``newest`` being those that Redis has."""
        if self._archive is None or after >= self._window.after:
            return newest
        await self._open(self._archive)
        oldest = await self._archive.history(room, after=after, limit=limit, now=now)
        if sum(event.size for event in oldest) >= MAX_HISTORY_BYTES:
            return oldest  # it has stopped reading there
        events = {event.number: event for event in (*oldest, *newest)}
        return [events[number] for number in sorted(events)][:limit]

    async def delete(self, room: str, until: int) -> int:
        """Delete what the archive has of a room; how many events. Raises `StoreUnavailable`."""
        if self._archive is None:
            return 0
        await self._open(self._archive)
        return await self._archive.delete_history(room, until)

    async def trim(self, bounds: Bounds, now: int) -> None:
        """Delete what is beyond the bounds. Raises `StoreUnavailable`."""
        if self._archive is not None:
            await self._open(self._archive)
            self.first_number = await self._archive.trim(bounds, now)

    async def close(self) -> None:
        """Let go of the archive. Idempotent."""
        if self._archive is not None:
            await self._archive.close()
