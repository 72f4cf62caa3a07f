"""Whatever two nodes do to an archive, and however late, it holds what a log in memory does."""

import asyncio
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gtower_realtime.records import EVERYONE, Bounds, StoredEvent
from gtower_realtime.store.memory import MemoryStore
from gtower_realtime.store.sql.archive import Archive
from tests.postgresql import PostgresqlServer
from tests.stores import NOW, all_archived, an_event, appended

ROOMS = ("a", "b", "c")

addresses = st.lists(st.sampled_from((*ROOMS, EVERYONE)), min_size=1, max_size=3)
skips = st.sampled_from([1, 7, 4096, 10**12])
nodes = st.integers(0, 1)
moments = st.integers(NOW - 3, NOW + 3)
bounds = st.builds(Bounds, st.integers(0, 5), st.integers(0, 600), st.sampled_from([0, 0.001]))
steps = st.one_of(
    st.tuples(st.just("add"), st.lists(st.tuples(skips, addresses, moments), max_size=4)),
    st.tuples(st.just("add again"), st.integers(0, 9), st.integers(0, 9)),
    st.tuples(st.just("delete"), st.sampled_from(ROOMS)),
    st.tuples(st.just("trim"), bounds, moments),
)


async def carry_out(url: str, sequence: list[tuple[int, tuple[Any, ...]]]) -> None:
    archives = [Archive(url), Archive(url)]
    await asyncio.gather(*(archive.open() for archive in archives))
    memory = MemoryStore()
    events: list[StoredEvent] = []
    for node, (name, *arguments) in sequence:
        archive = archives[node]
        last = events[-1].number if events else 0
        if name == "add":
            number, new = last, []
            for skip, rooms, published_at in arguments[0]:
                number += skip
                new.append(an_event(number, *rooms, published_at=published_at))
            events += new
            await memory.commit(appended(*new))
            await archive.add(new)
        elif name == "add again":
            start, count = arguments
            await archive.add(events[start : start + count])
        elif name == "delete":
            expected = await memory.delete_history(arguments[0])
            assert await archive.delete_history(arguments[0], last) == expected
        else:
            assert await archive.trim(*arguments) == await memory.trim(*arguments)
        await compare(archives[1 - node], memory)
    assert await archives[0].filled_until() == (events[-1].number if events else 0)
    await asyncio.gather(*(archive.close() for archive in archives))


async def compare(archive: Archive, memory: MemoryStore) -> None:
    snapshot = await memory.open(recent_events=999, recent_bytes=10**9)
    assert await all_archived(archive) == snapshot.recent
    for room in ROOMS:
        page: dict[str, int] = {"after": 1, "limit": 3, "now": NOW}
        assert await archive.history(room, **page) == await memory.history(room, **page)
    part: dict[str, int] = {"after": 1, "until": 2**53, "limit": 4}
    assert await archive.events_for(ROOMS[:2], **part) == await memory.events_for(ROOMS[:2], **part)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.tuples(nodes, steps), max_size=12))
def test_an_archive_holds_what_one_log_does(
    postgresql: PostgresqlServer, sequence: list[tuple[int, tuple[Any, ...]]]
) -> None:
    asyncio.run(carry_out(postgresql.new_database(), sequence))
