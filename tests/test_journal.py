"""The journal: one order, recorded first, together, all or nothing, and what if that fails."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from gtower_realtime import journal as journal_module
from gtower_realtime.errors import Overloaded, StoreUnavailable
from gtower_realtime.journal import Journal, Past
from gtower_realtime.records import (
    Bounds,
    Change,
    EventAppended,
    OutboxBacklog,
    OutboxEntry,
    OutboxPut,
    RoomEntered,
    StoredEvent,
)
from tests.fakes import NOW_MS, FakeStore, an_event

pytestmark = pytest.mark.gen_test

FULL = StoreUnavailable("The disk is full.")


async def a_journal(
    store: FakeStore | None = None, *, recent_events: int = 1000, recent_bytes: int = 10**9
) -> Journal:
    journal = Journal(store or FakeStore(), recent_events=recent_events, recent_bytes=recent_bytes)
    await journal.open()
    return journal


def append(
    journal: Journal,
    *addresses: str,
    apply: Callable[[StoredEvent], Any] = lambda event: event.number,
    payload: str = "{}",
    size: int = 0,
) -> "asyncio.Future[Any]":
    def make(number: int) -> StoredEvent:
        return an_event(number, *addresses, payload=payload)

    return journal.append(make, apply, size=size)


def enter(journal: Journal, seen: list[Any]) -> "asyncio.Future[Any]":
    def changes(number: int) -> list[Change]:
        return [RoomEntered("c1", "sales", number)]

    return journal.record(changes, lambda number: seen.append(("entered", number)))


def past(
    journal: Journal, *addresses: str, after: int, max_events: int = 1000, max_bytes: int = 10**9
) -> "asyncio.Task[Past]":
    reading = journal.past(
        lambda: addresses or ("sales",), after, max_events=max_events, max_bytes=max_bytes
    )
    return asyncio.ensure_future(reading)


def numbers(events: Sequence[StoredEvent]) -> list[int]:
    return [event.number for event in events]


# One order


async def test_numbers_rise_by_one_in_the_order_of_the_calls() -> None:
    journal = await a_journal()
    assert await asyncio.gather(*(append(journal) for _ in range(50))) == list(range(1, 51))
    assert journal.last_number == 50


async def test_what_lies_between_two_events_gets_the_number_of_the_one_before() -> None:
    journal = await a_journal()
    seen: list[Any] = []

    def note(event: StoredEvent) -> None:
        seen.append(event.number)

    await asyncio.gather(
        enter(journal, seen),
        append(journal, apply=note),
        enter(journal, seen),
        enter(journal, seen),
        append(journal, apply=note),
        enter(journal, seen),
    )
    assert seen == [("entered", 0), 1, ("entered", 1), ("entered", 1), 2, ("entered", 2)]


async def test_what_comes_while_a_commit_runs_is_committed_together_in_the_next() -> None:
    store = FakeStore()
    journal = await a_journal(store)
    store.hold()
    first = append(journal)
    await store.asked.wait()
    others = [append(journal) for _ in range(30)]
    store.let()
    await asyncio.gather(first, *others)
    assert [len(commit) for commit in store.commits] == [1, 30]


async def test_a_commit_takes_at_most_so_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "_MAX_BATCH", 3)
    monkeypatch.setattr(journal_module, "_MAX_BATCH_BYTES", 100)
    store = FakeStore()
    journal = await a_journal(store)
    sizes = [60, 60, 60, 1, 1, 1, 1]
    await asyncio.gather(*(append(journal, size=size) for size in sizes))
    assert [len(commit) for commit in store.commits] == [2, 3, 2]


async def test_nothing_takes_effect_before_it_is_recorded_and_all_of_it_before_the_next() -> None:
    store = FakeStore()
    journal = await a_journal(store)
    seen: list[Any] = []

    def note(event: StoredEvent) -> None:
        seen.append((event.number, len(store.commits)))
        if event.number == 1:
            append(journal, apply=note)

    store.hold()
    waiting = [append(journal, apply=note) for _ in range(2)]
    await store.asked.wait()
    assert (seen, journal.last_number, journal.recent(0)) == ([], 0, [])
    store.let()
    await asyncio.gather(*waiting)
    await journal.settled()
    assert seen == [(1, 1), (2, 1), (3, 2)]


async def test_what_goes_with_an_event_is_in_its_transaction() -> None:
    store = FakeStore()
    journal = await a_journal(store)
    change = RoomEntered("c1", "sales", 1)
    await journal.append(an_event, lambda _: None, lambda event: [change])
    assert store.commits == [[EventAppended(an_event(1)), change]]


async def test_the_epoch_and_the_numbers_go_on_after_a_restart() -> None:
    store = FakeStore()
    first = await a_journal(store)
    await asyncio.gather(append(first), append(first))
    await first.close()
    second = await a_journal(store)
    assert (second.epoch, second.last_number, second.first_number) == (first.epoch, 2, 1)
    assert numbers(second.recent(second.window_after)) == [1, 2]
    assert await append(second) == 3


# Failing


async def test_what_was_not_recorded_never_was() -> None:
    store = FakeStore()
    journal = await a_journal(store)
    seen: list[Any] = []
    store.problem = FULL
    attempts = [append(journal, apply=seen.append), enter(journal, seen)]
    for attempt in attempts:
        with pytest.raises(StoreUnavailable) as caught:
            await attempt
        assert caught.value.message == "The disk is full."
        assert caught.value.headers == {"Retry-After": "1"}
    assert (seen, journal.last_number, journal.recent(0)) == ([], 0, [])
    assert journal.is_failing


async def test_the_number_of_a_failed_event_is_not_used_again() -> None:
    store = FakeStore()
    journal = await a_journal(store)
    await append(journal)
    store.problem = FULL
    await asyncio.gather(append(journal), append(journal), return_exceptions=True)
    store.problem = None
    assert await append(journal) == 4
    assert numbers(journal.recent(0)) == [1, 4]
    assert not journal.is_failing


async def test_a_burned_number_is_told_to_nobody() -> None:
    """The next process may give it out: who began "after" it would miss that event."""
    store = FakeStore()
    journal = await a_journal(store)
    seen: list[Any] = []
    await append(journal)
    store.problem = FULL
    await asyncio.gather(append(journal), return_exceptions=True)
    store.problem = None
    await enter(journal, seen)
    assert (seen, journal.last_number) == ([("entered", 1)], 1)


async def test_a_fault_of_the_store_is_a_failed_commit_and_logged() -> None:
    store = FakeStore()
    journal = await a_journal(store)
    store.problem = RuntimeError("a fault")
    with capture_logs() as logged, pytest.raises(StoreUnavailable) as caught:
        await append(journal)
    assert caught.value.message == "The event store has failed."
    assert [entry["event"] for entry in logged] == ["store_commit_failed", "store_failing"]
    store.problem = None
    assert await append(journal) == 2


async def test_it_recovers_by_itself_without_anything_to_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(journal_module, "_RETRY_SECONDS", 0.001)
    store = FakeStore()
    journal = await a_journal(store)
    store.problem = FULL
    with capture_logs() as logged:
        await asyncio.gather(append(journal), return_exceptions=True)
        for _ in range(3):
            store.asked.clear()
            await store.asked.wait()
        assert journal.is_failing
        store.problem = None
        while journal.is_failing:
            store.asked.clear()
            await store.asked.wait()
            await asyncio.sleep(0)
    assert store.commits == [[]]
    assert [entry["event"] for entry in logged] == ["store_failing", "store_recovered"]


async def test_too_much_waiting_is_refused_and_what_waits_is_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(journal_module, "_MAX_WAITING", 3)
    store = FakeStore()
    journal = await a_journal(store)
    store.hold()
    committing = append(journal)
    await store.asked.wait()
    waiting = [append(journal) for _ in range(3)]
    with pytest.raises(Overloaded) as caught:
        await append(journal)
    assert (caught.value.http_status, caught.value.headers) == (503, {"Retry-After": "1"})
    store.let()
    assert await asyncio.gather(committing, *waiting) == [1, 2, 3, 4]
    assert await append(journal) == 5


async def test_too_many_bytes_waiting_are_refused_until_they_are_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(journal_module, "_MAX_WAITING_BYTES", 100)
    store = FakeStore()
    journal = await a_journal(store)
    store.hold()
    committing = append(journal, size=1000)
    await store.asked.wait()
    waiting = [append(journal, size=99), append(journal, size=1000)]
    with pytest.raises(Overloaded):
        await append(journal, size=1)
    store.let()
    assert await asyncio.gather(committing, *waiting) == [1, 2, 3]
    assert await append(journal, size=1) == 4


async def test_who_turns_away_changes_nothing() -> None:
    store = FakeStore()
    journal = await a_journal(store)
    seen: list[Any] = []
    store.hold()
    first = append(journal, apply=seen.append)
    await store.asked.wait()
    second = append(journal, apply=seen.append)
    first.cancel()
    second.cancel()
    store.let()
    assert await append(journal) == 3
    assert numbers(seen) == [1, 2]


async def test_a_fault_while_taking_effect_is_told_to_the_caller_and_stops_nobody() -> None:
    journal = await a_journal()

    def fault(_event: StoredEvent) -> None:
        raise KeyError("a fault")

    failed, fine = append(journal, apply=fault), append(journal)
    with pytest.raises(KeyError, match="a fault"):
        await failed
    assert await fine == 2
    assert numbers(journal.recent(0)) == [1, 2]


async def test_a_fault_that_nobody_waits_for_is_logged() -> None:
    store = FakeStore()
    journal = await a_journal(store)

    def fault(_event: StoredEvent) -> None:
        raise KeyError("a fault")

    failed = append(journal, apply=fault)
    failed.cancel()
    with capture_logs() as logged:
        await journal.settled()
    assert [entry["event"] for entry in logged] == ["journal_entry_failed"]


async def test_a_fault_while_an_event_is_made_is_told_to_the_caller_and_stops_nobody() -> None:
    journal = await a_journal()

    def fault(_number: int) -> StoredEvent:
        raise KeyError("a fault")

    failed, fine = journal.append(fault, lambda _: None), append(journal)
    with pytest.raises(KeyError, match="a fault"):
        await failed
    assert await fine == 2


# Closing


async def test_what_waits_is_recorded_before_the_journal_closes() -> None:
    store = FakeStore()
    journal = await a_journal(store)
    store.hold()
    first = append(journal)
    await store.asked.wait()
    second = append(journal)
    closing = asyncio.ensure_future(journal.close())
    await asyncio.sleep(0)
    store.let()
    await closing
    assert (first.result(), second.result()) == (1, 2)


async def test_what_comes_after_the_close_is_refused() -> None:
    journal = await a_journal()
    await journal.close()
    await journal.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        await append(journal)
    await journal.settled()


async def test_it_closes_while_the_store_is_failing() -> None:
    store = FakeStore()
    journal = await a_journal(store)
    store.problem = FULL
    attempt = append(journal)
    await journal.close()
    assert isinstance(attempt.exception(), StoreUnavailable)


# What is held in memory


async def test_the_newest_events_are_in_memory_bounded_by_their_number() -> None:
    journal = await a_journal(recent_events=3)
    for _ in range(5):
        await append(journal)
    assert journal.window_after == 2
    assert numbers(journal.recent(2)) == [3, 4, 5]
    assert numbers(journal.recent(4)) == [5]
    assert journal.recent(5) == []


async def test_the_newest_events_are_in_memory_bounded_by_their_bytes() -> None:
    size = an_event(1).size
    journal = await a_journal(recent_bytes=2 * size)
    for _ in range(3):
        await append(journal)
    assert (journal.window_after, numbers(journal.recent(1))) == (1, [2, 3])
    await append(journal, payload="x" * 3 * size)
    assert (journal.window_after, journal.recent(4)) == (4, [])


async def test_without_room_in_memory_all_is_read_from_the_store() -> None:
    journal = await a_journal(recent_events=0)
    await append(journal)
    assert journal.window_after == 1
    assert numbers((await past(journal, after=0)).events) == [1]


async def test_after_a_restart_the_newest_events_are_in_memory_again() -> None:
    store = FakeStore()
    first = await a_journal(store)
    for _ in range(5):
        await append(first)
    second = await a_journal(store, recent_events=2)
    assert (second.window_after, numbers(second.recent(3))) == (3, [4, 5])
    empty = await a_journal(store, recent_events=0)
    assert (empty.window_after, empty.recent(5)) == (5, [])


# What only the store holds


async def test_nothing_is_read_when_all_is_in_memory() -> None:
    store = FakeStore()
    journal = await a_journal(store)
    await append(journal)
    found = await past(journal, after=0)
    assert (found.read_until, found.events, found.is_complete) == (0, [], True)
    assert not store.asked_to_read.is_set()


async def test_what_left_the_memory_is_read_from_the_store() -> None:
    journal = await a_journal(recent_events=2)
    for address in ("sales", "other", "sales", "sales", "sales"):
        await append(journal, address)
    found = await past(journal, after=0)
    assert (found.read_until, numbers(found.events), found.is_complete) == (3, [1, 3], True)
    found = await past(journal, "sales", "other", after=1)
    assert numbers(found.events) == [2, 3]


async def test_it_is_read_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "_READ_SLICE", 2)
    journal = await a_journal(recent_events=0)
    for _ in range(5):
        await append(journal)
    found = await past(journal, after=0)
    assert (found.read_until, numbers(found.events)) == (5, [1, 2, 3, 4, 5])


async def test_events_that_leave_the_memory_meanwhile_are_read_too() -> None:
    store = FakeStore()
    journal = await a_journal(store, recent_events=2)
    for _ in range(3):
        await append(journal)
    store.hold_reads()
    reading = past(journal, after=0)
    await store.asked_to_read.wait()
    for _ in range(4):
        await append(journal)
    store.let_reads()
    found = await reading
    assert (found.read_until, numbers(found.events)) == (5, [1, 2, 3, 4, 5])
    assert numbers(journal.recent(found.read_until)) == [6, 7]


async def test_addresses_that_come_up_meanwhile_are_read_too() -> None:
    store = FakeStore()
    journal = await a_journal(store, recent_events=1)
    await append(journal, "sales")
    await append(journal, "sales")
    addresses = {"sales"}
    store.hold_reads()
    reading = asyncio.ensure_future(
        journal.past(lambda: addresses, 0, max_events=1000, max_bytes=1000)
    )
    await store.asked_to_read.wait()
    addresses.add("other")
    for _ in range(2):
        await append(journal, "other")
    store.let_reads()
    assert numbers((await reading).events) == [1, 2, 3]


@pytest.mark.parametrize(
    ("max_events", "max_bytes", "is_complete"),
    [(4, 10**9, True), (3, 10**9, False), (1000, 4 * 102 + 28, True), (1000, 400, False)],
)
async def test_more_than_is_wanted_is_not_complete(
    max_events: int, max_bytes: int, is_complete: bool
) -> None:
    journal = await a_journal(recent_events=0)
    for _ in range(4):
        await append(journal)
    found = await past(journal, after=0, max_events=max_events, max_bytes=max_bytes)
    assert found.is_complete is is_complete


async def test_reading_stops_at_what_is_more_than_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "_READ_SLICE", 2)
    journal = await a_journal(recent_events=0)
    for _ in range(9):
        await append(journal)
    assert len((await past(journal, after=0, max_events=3)).events) == 4
    assert len((await past(journal, after=0, max_bytes=1)).events) == 2


async def test_a_failing_store_cannot_be_read() -> None:
    store = FakeStore()
    journal = await a_journal(store, recent_events=0)
    await append(journal)
    store.problem = FULL
    with pytest.raises(StoreUnavailable):
        await past(journal, after=0)


# What is trimmed or deleted


def bounds(max_events: int) -> Bounds:
    return Bounds(max_events=max_events, max_bytes=0, max_age_seconds=0)


async def test_what_was_trimmed_is_not_complete() -> None:
    journal = await a_journal(recent_events=0)
    for _ in range(5):
        await append(journal)
    await journal.trim(bounds(2), NOW_MS)
    assert journal.first_number == 4
    assert not (await past(journal, after=2)).is_complete
    found = await past(journal, after=3)
    assert (found.is_complete, numbers(found.events)) == (True, [4, 5])


class SlowlyTrimmingStore(FakeStore):
    """A store that has trimmed when it says so, and returns when it is let, or fails then."""

    def __init__(self) -> None:
        super().__init__()
        self.has_trimmed = asyncio.Event()
        self.trim_let = asyncio.Event()
        self.trim_problem: Exception | None = None

    async def trim(self, bounds: Bounds, now: int) -> int:
        first_number = await super().trim(bounds, now)
        self.has_trimmed.set()
        await self.trim_let.wait()
        if self.trim_problem is not None:
            raise self.trim_problem
        return first_number


async def test_a_read_during_a_trimming_knows_what_was_missing_from_it() -> None:
    store = SlowlyTrimmingStore()
    journal = await a_journal(store, recent_events=0)
    for _ in range(5):
        await append(journal)
    trimming = asyncio.ensure_future(journal.trim(bounds(2), NOW_MS))
    await store.has_trimmed.wait()
    reading = past(journal, after=0)
    await asyncio.sleep(0)
    store.trim_let.set()
    await trimming
    assert not (await reading).is_complete


async def test_after_a_failed_trimming_only_the_memory_is_trusted() -> None:
    store = SlowlyTrimmingStore()
    journal = await a_journal(store, recent_events=1)
    for _ in range(5):
        await append(journal)
    store.trim_problem = FULL
    store.trim_let.set()
    with pytest.raises(StoreUnavailable):
        await journal.trim(bounds(2), NOW_MS)
    assert journal.first_number == 5
    assert not (await past(journal, after=3)).is_complete
    assert (await past(journal, after=4)).is_complete
    store.trim_problem = None
    await journal.trim(bounds(2), NOW_MS)
    assert journal.first_number == 4


async def test_a_deleted_history_is_in_memory_no_more() -> None:
    journal = await a_journal()
    await append(journal, "sales")
    await append(journal, "sales", "other")
    await append(journal, "other")
    assert await journal.delete_history("sales") == 2
    assert [event.addresses for event in journal.recent(0)] == [("other",), ("other",)]
    assert await journal.history("sales", after=0, limit=10, now=NOW_MS) == []


async def test_what_comes_while_a_history_is_deleted_stays() -> None:
    class Store(FakeStore):
        async def delete_history(self, room: str) -> int:
            deleted = await super().delete_history(room)
            await append(journal, "sales")
            return deleted

    journal = await a_journal(Store())
    await append(journal, "sales")
    await journal.delete_history("sales")
    assert numbers(journal.recent(0)) == [2]


async def test_what_is_for_other_nodes_is_recorded_in_its_turn_and_read_again() -> None:
    journal = await a_journal()
    entry = OutboxEntry("n1", 1, '["ä"]')
    await journal.record(lambda _: [OutboxPut(entry)], lambda _: None)
    assert await journal.outbox(limit=1, max_bytes=1) == [entry]
    assert await journal.outbox_backlog() == OutboxBacklog(entries=1, bytes=6)
