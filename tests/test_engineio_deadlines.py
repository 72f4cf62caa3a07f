import gc
import math
import weakref
from collections.abc import Callable

import pytest

from gtower_realtime.engineio.deadlines import DeadlineQueue, Entry


class FakeTime:
    """A clock that stands, and timers that are called late or in time, as the test wants."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[FakeTimer] = []

    def clock(self) -> float:
        return self.now

    def call_later(self, seconds: float, callback: Callable[[], None]) -> "FakeTimer":
        timer = FakeTimer(self.now + seconds, callback)
        self.timers.append(timer)
        return timer

    def pass_in_time(self, seconds: float) -> None:
        """Move on, calling each timer when it is due."""
        until = self.now + seconds
        while (timer := self._next()) is not None and timer.due <= until:
            self.now = timer.due
            self._call(timer)
        self.now = until

    def stall(self, seconds: float) -> None:
        """Move on without calling anything."""
        self.now += seconds

    def catch_up(self) -> None:
        """Call what is overdue."""
        while (timer := self._next()) is not None and timer.due <= self.now:
            self._call(timer)

    def _next(self) -> "FakeTimer | None":
        self.timers = [timer for timer in self.timers if not timer.is_cancelled]
        return min(self.timers, key=lambda timer: timer.due, default=None)

    def _call(self, timer: "FakeTimer") -> None:
        self.timers.remove(timer)
        timer.callback()


class FakeTimer:
    def __init__(self, due: float, callback: Callable[[], None]) -> None:
        self.due = due
        self.callback = callback
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Item:
    """Something with one deadline at a time."""

    def __init__(self, deadline: float) -> None:
        self.queue_entry: Entry | None = None
        self.deadline = deadline
        self.looked_at: list[float] = []
        self.interval = math.inf

    def next_deadline(self) -> float:
        return self.deadline

    def on_deadline(self, now: float) -> None:
        self.looked_at.append(round(now, 3))
        self.deadline = now + self.interval


class World:
    def __init__(self) -> None:
        self.time = FakeTime()
        self.stalls: list[float] = []
        self.queue = DeadlineQueue(self.time.clock, self.stalls.append, self.time.call_later)

    def item(self, seconds: float) -> Item:
        item = Item(self.time.now + seconds)
        self.queue.schedule(item)
        return item


@pytest.fixture
def world() -> World:
    return World()


def test_each_item_is_looked_at_when_its_deadline_has_come(world: World) -> None:
    first, second, never = world.item(1), world.item(2), world.item(math.inf)
    world.time.pass_in_time(0.99)
    assert first.looked_at == []
    world.time.pass_in_time(10)
    assert first.looked_at == [1001.01]
    assert second.looked_at == [1002.01]
    assert never.looked_at == []


def test_an_item_is_looked_at_again_at_its_next_deadline(world: World) -> None:
    item = world.item(1)
    item.interval = 1.0
    world.time.pass_in_time(3.5)
    assert item.looked_at == [1001.01, 1002.02, 1003.03]


def test_a_deadline_that_moved_back_is_waited_for(world: World) -> None:
    item = world.item(1)
    item.deadline += 4
    world.queue.schedule(item)
    world.time.pass_in_time(4.9)
    assert item.looked_at == []
    world.time.pass_in_time(0.2)
    assert item.looked_at == [1005.01]


def test_a_deadline_that_moved_forward_is_kept_and_the_old_one_forgotten(world: World) -> None:
    item = world.item(10)
    item.deadline = world.time.now + 1
    world.queue.schedule(item)
    world.time.pass_in_time(20)
    assert item.looked_at == [1001.01]


def test_a_deadline_that_moved_costs_no_new_entry(world: World) -> None:
    item = world.item(1)
    entry = item.queue_entry
    for _ in range(100):
        item.deadline += 1
        world.queue.schedule(item)
    assert item.queue_entry is entry


def test_an_item_that_is_forgotten_is_neither_looked_at_nor_kept(world: World) -> None:
    item = world.item(1)
    world.queue.forget(item)
    world.queue.forget(item)
    kept = weakref.ref(item)
    world.time.pass_in_time(2)
    assert item.looked_at == []
    later = world.item(30)
    kept = weakref.ref(later)
    world.queue.forget(later)
    del later
    gc.collect()
    assert kept() is None


def test_there_is_one_timer_however_many_items(world: World) -> None:
    for index in range(100):
        world.item(100 - index)
    assert len([timer for timer in world.time.timers if not timer.is_cancelled]) == 1


def test_no_timer_is_left_when_there_is_nothing_to_look_at(world: World) -> None:
    world.item(1)
    world.time.pass_in_time(5)
    assert world.time.timers == []


def test_a_closed_queue_looks_at_nothing(world: World) -> None:
    item = world.item(1)
    world.queue.close()
    world.time.pass_in_time(5)
    assert item.looked_at == []


def test_a_stall_does_not_count_against_a_client_whose_deadline_fell_into_it(world: World) -> None:
    item = world.item(1)
    world.time.pass_in_time(0.9)
    world.time.stall(60)
    # What came meanwhile is read before the timers are called, or right after them.
    world.time.catch_up()
    assert item.looked_at == []
    item.deadline += 25  # the pong that lay in the kernel
    world.time.pass_in_time(24)
    assert item.looked_at == []
    assert world.stalls == [pytest.approx(60.9 - 0.51, abs=0.5)]


def test_a_stall_does_not_count_before_the_timer_has_noticed_it(world: World) -> None:
    item = world.item(1)
    world.time.pass_in_time(0.9)
    world.time.stall(60)
    assert world.queue.now() < item.deadline
    world.time.catch_up()
    assert item.looked_at == []


def test_a_client_that_is_silent_after_a_stall_is_looked_at_after_all(world: World) -> None:
    item = world.item(1)
    world.time.stall(60)
    world.time.catch_up()
    world.time.pass_in_time(1.5)
    assert len(item.looked_at) == 1


def test_a_stall_into_which_no_deadline_fell_is_seen_as_well(world: World) -> None:
    item = world.item(100)
    world.time.pass_in_time(10)
    world.time.stall(5)
    world.time.catch_up()
    assert len(world.stalls) == 1
    assert 4.4 < world.stalls[0] <= 5.0
    world.time.pass_in_time(89)
    assert item.looked_at == []
    world.time.pass_in_time(2)
    assert len(item.looked_at) == 1


def test_a_little_lateness_is_no_stall(world: World) -> None:
    item = world.item(0.4)
    world.time.stall(0.5)
    world.time.catch_up()
    assert world.stalls == []
    assert len(item.looked_at) == 1


def test_an_item_that_stays_overdue_does_not_hold_up_the_others(world: World) -> None:
    stuck, other = world.item(1), world.item(1)
    stuck.interval = -1.0
    world.time.pass_in_time(1.02)
    assert other.looked_at == [1001.01]
    assert 1 <= len(stuck.looked_at) <= 3
