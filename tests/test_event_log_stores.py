"""The contract of `EventLog`, which every store keeps, and the bounds of each."""

import asyncio
from collections.abc import Callable

import pytest
from tornado.ioloop import IOLoop

from gtower_realtime.ports import EventLog, Offset
from gtower_realtime.store.memory import MemoryEventLog
from tests.fakes import FakeClock, a_publication

OpenLog = Callable[[], EventLog]
"""Opens another, empty log of the same kind."""


def a_memory_log(
    clock: FakeClock | None = None,
    *,
    max_events: int = 0,
    max_bytes: int = 0,
    max_age_seconds: float = 0,
) -> MemoryEventLog:
    return MemoryEventLog(
        clock or FakeClock(),
        max_events=max_events,
        max_bytes=max_bytes,
        max_age_seconds=max_age_seconds,
    )


STORES: dict[str, OpenLog] = {"memory": a_memory_log}


@pytest.fixture(params=sorted(STORES))
def open_log(request: pytest.FixtureRequest, io_loop: IOLoop) -> OpenLog:
    return STORES[request.param]


@pytest.fixture
def log(open_log: OpenLog) -> EventLog:
    return open_log()


@pytest.mark.gen_test
async def test_offsets_rise_by_one_from_one_within_one_epoch(log: EventLog) -> None:
    offsets = [await log.append(a_publication(id=f"p{number}")) for number in range(4)]
    assert [offset.number for offset in offsets] == [1, 2, 3, 4]
    assert len({offset.epoch for offset in offsets}) == 1


@pytest.mark.gen_test
async def test_calls_in_flight_together_return_in_the_order_of_the_calls(log: EventLog) -> None:
    returned: list[tuple[str, int]] = []

    async def append(name: str) -> None:
        offset = await log.append(a_publication(id=name))
        returned.append((name, offset.number))

    await asyncio.gather(*(append(f"p{number}") for number in range(1, 51)))
    assert returned == [(f"p{number}", number) for number in range(1, 51)]


@pytest.mark.gen_test
async def test_the_offsets_of_another_log_are_of_another_epoch(open_log: OpenLog) -> None:
    first = await open_log().append(a_publication())
    second = await open_log().append(a_publication())
    assert (first.number, second.number) == (1, 1)
    assert first.epoch != second.epoch


@pytest.mark.gen_test
async def test_an_offset_is_one_word_that_tells_events_and_logs_apart(log: EventLog) -> None:
    words = {str(await log.append(a_publication())) for _ in range(300)}
    assert len(words) == 300
    assert all(word.isascii() and word.isprintable() and " " not in word for word in words)


def test_an_offset_is_written_as_epoch_and_number() -> None:
    assert str(Offset("e1", 1)) == "e1-1"
    assert str(Offset("e1", 255)) == "e1-ff"


@pytest.mark.gen_test
async def test_the_memory_log_keeps_all_without_bounds() -> None:
    clock = FakeClock()
    log = a_memory_log(clock)
    for _ in range(100):
        clock.advance(3600)
        await log.append(a_publication())
    assert len(log) == 100


@pytest.mark.gen_test
async def test_the_memory_log_keeps_at_most_so_many_events() -> None:
    log = a_memory_log(max_events=3)
    sizes = []
    for _ in range(5):
        await log.append(a_publication())
        sizes.append(len(log))
    assert sizes == [1, 2, 3, 3, 3]


@pytest.mark.gen_test
async def test_the_memory_log_keeps_at_most_so_many_bytes_of_json() -> None:
    log = a_memory_log(max_bytes=29)
    sizes = []
    ten_bytes = {"a": "ä"}
    for payload in (ten_bytes, ten_bytes, ten_bytes, {"a": "x" * 18}):
        await log.append(a_publication(payload))
        sizes.append(len(log))
    assert sizes == [1, 2, 2, 1]


@pytest.mark.gen_test
async def test_the_memory_log_goes_on_counting_after_an_event_larger_than_itself() -> None:
    log = a_memory_log(max_bytes=20)
    offset = await log.append(a_publication({"a": "x" * 100}))
    assert (offset.number, len(log)) == (1, 0)
    offset = await log.append(a_publication())
    assert (offset.number, len(log)) == (2, 1)


@pytest.mark.gen_test
async def test_the_memory_log_lets_go_of_what_is_older_than_its_age() -> None:
    clock = FakeClock()
    log = a_memory_log(clock, max_age_seconds=60)
    await log.append(a_publication())
    clock.advance(60)
    await log.append(a_publication())
    assert len(log) == 2
    clock.advance(0.5)
    await log.append(a_publication())
    assert len(log) == 2


@pytest.mark.gen_test
async def test_the_memory_log_measures_age_by_the_clock_that_never_goes_back() -> None:
    clock = FakeClock()
    log = a_memory_log(clock, max_age_seconds=60)
    await log.append(a_publication())
    clock.wall = clock.wall.replace(year=2030)
    await log.append(a_publication())
    assert len(log) == 2


@pytest.mark.gen_test
async def test_numbers_are_never_used_twice_when_old_events_go() -> None:
    log = a_memory_log(max_events=1)
    offsets = [await log.append(a_publication()) for _ in range(3)]
    assert [offset.number for offset in offsets] == [1, 2, 3]
