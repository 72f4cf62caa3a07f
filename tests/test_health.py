import asyncio
import threading

import pytest

from gtower_realtime.health import LoopHealth
from gtower_realtime.loop_lag import watch_loop_lag
from tests.fakes import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def health(clock: FakeClock) -> LoopHealth:
    return LoopHealth(clock.monotonic)


def test_a_loop_is_late_from_one_measure_to_the_next(health: LoopHealth) -> None:
    states = []
    for lag in (0.01, 1.0, 0.99):
        health.measured(lag)
        states.append(health.is_late)
    assert states == [False, True, False]


def test_a_loop_is_stuck_when_it_is_late_every_time_for_half_a_minute(
    health: LoopHealth, clock: FakeClock
) -> None:
    for _ in range(15):
        health.measured(1.5)
        assert not health.is_stuck
        clock.advance(2)
    health.measured(1.5)
    assert health.is_stuck
    health.measured(0.0)
    assert not health.is_stuck


def test_one_long_stall_is_not_stuck(health: LoopHealth, clock: FakeClock) -> None:
    clock.advance(120)
    health.measured(120.0)
    assert (health.is_late, health.is_stuck) == (True, False)
    clock.advance(0.25)
    health.measured(0.0)
    assert not health.is_late


def test_the_largest_lag_is_remembered_for_half_a_minute_at_least(
    health: LoopHealth, clock: FakeClock
) -> None:
    shown = []
    for lag in (0.0, 0.5, 0.0, 0.1, 0.0, 0.0, 0.0):
        health.measured(lag)
        shown.append(health.largest_lag)
        clock.advance(15)
    assert shown == [0.0, 0.5, 0.5, 0.5, 0.1, 0.1, 0.0]


async def measures(count: int) -> list[float]:
    """Watch the loop until so many measures have been made."""
    lags: list[float] = []
    enough = asyncio.Event()

    def measured(lag: float) -> None:
        lags.append(lag)
        if len(lags) == count:
            enough.set()

    watching = asyncio.create_task(watch_loop_lag(measured))
    await asyncio.sleep(0)
    threading.Event().wait(1.0)  # blocks the loop
    await enough.wait()
    watching.cancel()
    return lags


@pytest.mark.gen_test
async def test_a_loop_that_was_blocked_is_found_late() -> None:
    first, *_ = await measures(1)
    assert first >= 0.7
