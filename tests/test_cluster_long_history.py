"""What Redis no longer has of the log, in an archive in memory that is filled at virtual times."""

import asyncio
from collections.abc import Collection, Sequence

import pytest

from gtower_realtime.cluster import long_history as module
from gtower_realtime.cluster.long_history import LongHistory
from gtower_realtime.errors import StoreUnavailable
from gtower_realtime.futures import cancelled
from gtower_realtime.records import Bounds, StoredEvent
from gtower_realtime.window import Window
from tests.fakes import NOW_MS, an_event
from tests.stores import NO_BOUNDS
from tests.virtual_time import run_virtually


class FakeArchive:
    """A `ports.SharedHistory` that shows what was asked of it, and fails while it is told to."""

    def __init__(self) -> None:
        self.events: dict[int, StoredEvent] = {}
        self.epochs: list[str] = []
        self.gaps: list[int | None] = []
        """What was said at each addition of where it begins."""
        self.filled = 0
        self.opened = 0
        self.is_away = False
        self.is_closed = False

    def _check(self) -> None:
        if self.is_away:
            raise StoreUnavailable("The archive does not answer.")

    async def open(self) -> None:
        self._check()
        self.opened += 1

    async def begin(self, epoch: str) -> None:
        self._check()
        self.epochs.append(epoch)
        self.filled = 0

    async def add(self, events: Sequence[StoredEvent], *, after: int | None = None) -> None:
        self._check()
        self.gaps.append(after)
        self.events |= {event.number: event for event in events}
        self.filled = events[-1].number

    async def filled_until(self) -> int:
        self._check()
        return self.filled

    async def events_for(
        self, addresses: Collection[str], *, after: int, until: int, limit: int
    ) -> list[StoredEvent]:
        self._check()
        found = (self.events[number] for number in sorted(self.events) if after < number <= until)
        return [one for one in found if not set(addresses).isdisjoint(one.addresses)][:limit]

    async def history(self, room: str, *, after: int, limit: int, now: int) -> list[StoredEvent]:
        return await self.events_for((room,), after=after, until=10**9, limit=limit)

    async def delete_history(self, room: str, until: int) -> int:
        self._check()
        return until

    async def trim(self, bounds: Bounds, now: int) -> int:
        self._check()
        return 2

    async def close(self) -> None:
        self.is_closed = True


def a_window(*numbers: int, room_for: int = 1000) -> Window:
    window = Window(room_for, 10_000_000)
    for number in numbers:
        window.add(an_event(number))
    return window


async def fill(history: LongHistory, seconds: float = 1.0, *, is_mine: bool = True) -> None:
    """Let a history be filled for a while."""
    work = asyncio.create_task(history.fill(lambda: "e1", lambda: is_mine))
    await asyncio.sleep(seconds)
    await cancelled([work])


def numbers(events: Sequence[StoredEvent] | None) -> list[int] | None:
    return None if events is None else [event.number for event in events]


def test_what_is_new_is_added_once() -> None:
    archive, window = FakeArchive(), a_window(1, 2, 3)
    history = LongHistory(archive, window)

    async def check() -> None:
        await fill(history)
        assert (list(archive.events), archive.epochs, archive.opened) == ([1, 2, 3], ["e1"], 1)
        window.add(an_event(4))
        await fill(history)
        assert list(archive.events) == [1, 2, 3, 4]
        # Nothing is left out after 0, and after 3.
        assert archive.gaps == [0, 3]
        assert archive.epochs == ["e1"]

    run_virtually(check())


def test_only_whose_turn_it_is_fills_it() -> None:
    archive = FakeArchive()
    run_virtually(fill(LongHistory(archive, a_window(1)), is_mine=False))
    assert (archive.events, archive.opened) == ({}, 0)


def test_nothing_is_filled_before_the_epoch_is_known_or_without_an_archive() -> None:
    archive = FakeArchive()

    async def check() -> None:
        work = asyncio.create_task(LongHistory(archive, a_window(1)).fill(str, lambda: True))
        await asyncio.sleep(1)
        await cancelled([work])
        await LongHistory(None, a_window(1)).fill(lambda: "e1", lambda: True)

    run_virtually(check())
    assert archive.events == {}


def test_what_has_left_the_window_before_it_was_added_is_a_gap() -> None:
    archive = FakeArchive()
    history = LongHistory(archive, a_window(1, 2, 3, 4, 5, room_for=2))
    run_virtually(fill(history))
    assert list(archive.events) == [4, 5]
    assert archive.gaps == [3]


def test_so_many_are_added_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ADDED_AT_ONCE", 2)
    archive = FakeArchive()
    run_virtually(fill(LongHistory(archive, a_window(1, 2, 3, 4, 5))))
    assert list(archive.events) == [1, 2, 3, 4, 5]
    assert archive.gaps == [0, 2, 4]


def test_an_archive_that_is_away_gets_it_when_it_is_back() -> None:
    archive = FakeArchive()
    archive.is_away = True
    history = LongHistory(archive, a_window(1, 2))

    async def check() -> None:
        await fill(history)
        assert archive.events == {}
        archive.is_away = False
        await fill(history)
        assert list(archive.events) == [1, 2]

    run_virtually(check())


def test_what_is_before_the_window_is_read_from_the_archive() -> None:
    archive = FakeArchive()
    archive.events = {number: an_event(number) for number in (2, 3, 4)}
    history = LongHistory(archive, a_window(4, 5, 6, room_for=2))

    async def check() -> None:
        # Until it is known how far it goes back, nothing is complete.
        assert await history.before_window(lambda: ("sales",), 2, 10) is None
        await history.trim(NO_BOUNDS, NOW_MS)
        assert history.first_number == 2
        assert numbers(await history.before_window(lambda: ("sales",), 1, 10)) == [2, 3, 4]
        assert numbers(await history.before_window(lambda: ("sales",), 2, 1)) == [3]
        assert numbers(await history.before_window(lambda: ("news",), 1, 10)) == []
        assert await history.before_window(lambda: ("sales",), 0, 10) is None

    run_virtually(check())


def test_a_history_is_that_of_the_archive_and_of_redis_without_doubles() -> None:
    archive = FakeArchive()
    archive.events = {number: an_event(number) for number in (2, 3, 4)}
    history = LongHistory(archive, a_window(3, 4, 5, 6, room_for=3))
    newest = [an_event(number) for number in (4, 5, 6)]

    async def read(after: int, limit: int = 10) -> list[int] | None:
        known = [event for event in newest if event.number > after][:limit]
        found = await history.history(known, "sales", after=after, limit=limit, now=NOW_MS)
        return numbers(found)

    async def check() -> None:
        assert await read(0) == [2, 3, 4, 5, 6]
        assert await read(2) == [3, 4, 5, 6]
        assert await read(0, limit=3) == [2, 3, 4]
        archive.is_away = True
        # What Redis has all of needs no archive.
        assert await read(3) == [4, 5, 6]
        with pytest.raises(StoreUnavailable):
            await read(0)

    run_virtually(check())


def test_a_page_that_the_archive_had_to_break_off_has_nothing_newer_behind_it() -> None:
    archive = FakeArchive()
    archive.events = {1: an_event(1, payload='"' + "x" * 1_000_000 + '"')}
    history = LongHistory(archive, a_window(2, 3, 4, room_for=1))
    found = history.history([an_event(4)], "sales", after=0, limit=10, now=NOW_MS)
    assert numbers(run_virtually(found)) == [1]


def test_without_an_archive_there_is_what_redis_has() -> None:
    history = LongHistory(None, a_window(5))
    newest = [an_event(5)]

    async def check() -> None:
        assert await history.before_window(lambda: ("sales",), 0, 10) is None
        found = await history.history(newest, "sales", after=0, limit=10, now=NOW_MS)
        assert found == newest
        assert await history.delete("sales", 5) == 0
        await history.trim(NO_BOUNDS, NOW_MS)
        await history.close()

    run_virtually(check())


def test_a_history_is_deleted_in_the_archive_too() -> None:
    archive = FakeArchive()
    history = LongHistory(archive, a_window(5))

    async def check() -> None:
        assert await history.delete("sales", 5) == 5
        await history.close()

    run_virtually(check())
    assert (archive.opened, archive.is_closed) == (1, True)
