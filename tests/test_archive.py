"""What the archive does besides the contract of events: several nodes, late ones, gaps, epochs."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, update
from tornado.ioloop import IOLoop

from gtower_realtime.errors import StoreUnavailable, StoreUnusable
from gtower_realtime.records import Bounds
from gtower_realtime.settings import Settings
from gtower_realtime.store import open_archive, open_store, sqlite_file
from gtower_realtime.store.sql import archive as module
from gtower_realtime.store.sql import archive_schema, postgresql
from gtower_realtime.store.sql.archive import Archive
from tests.postgresql import PostgresqlServer
from tests.stores import (
    NO_BOUNDS,
    NOW,
    all_archived,
    an_event,
    numbers_for,
    opened,
    some_events,
    sql_store,
)

LAST_NUMBER = 2**53 - 1
AN_HOUR = 3_600_000 * 4096
REDIS = "redis://127.0.0.1:6379/0"


@pytest.fixture
def url(postgresql: PostgresqlServer) -> str:
    return postgresql.new_database()


@pytest.fixture
def new_archive(io_loop: IOLoop, url: str) -> Iterator[Callable[[], Archive]]:
    """Give a function that makes one more archive in the same database, not opened yet."""
    archives: list[Archive] = []

    def make() -> Archive:
        archives.append(Archive(url))
        return archives[-1]

    yield make
    for archive in archives:
        io_loop.run_sync(archive.close)


@pytest.fixture
def archive(io_loop: IOLoop, new_archive: Callable[[], Archive]) -> Archive:
    archive = new_archive()
    io_loop.run_sync(archive.open)
    return archive


@pytest.fixture
def other(io_loop: IOLoop, archive: Archive, new_archive: Callable[[], Archive]) -> Archive:
    """Give the archive as another node has it."""
    other = new_archive()
    io_loop.run_sync(other.open)
    return other


async def numbers_in(archive: Archive, room: str = "sales") -> list[int]:
    events = await archive.history(room, after=0, limit=10_000, now=NOW)
    return [event.number for event in events]


async def add(archive: Archive, *numbers: int) -> None:
    await archive.add([an_event(number) for number in numbers])


# Opening and closing


@pytest.mark.gen_test
async def test_several_nodes_may_open_a_new_archive_at_once(
    new_archive: Callable[[], Archive],
) -> None:
    archives = [new_archive() for _ in range(5)]
    await asyncio.gather(*(archive.open() for archive in archives))
    for number, archive in enumerate(archives, 1):
        await add(archive, number)
    assert await numbers_in(archives[0]) == [1, 2, 3, 4, 5]


@pytest.mark.gen_test
async def test_an_archive_is_found_again_as_it_was(
    archive: Archive, new_archive: Callable[[], Archive]
) -> None:
    await archive.begin("e1")
    await add(archive, 5, 7)
    await archive.trim(Bounds(1, 0, 0), NOW)
    await archive.close()
    again = new_archive()
    await again.open()
    await again.begin("e1")
    assert await numbers_in(again) == [7]
    assert await again.filled_until() == 7
    assert await again.trim(NO_BOUNDS, NOW) == 6


@pytest.mark.gen_test
async def test_an_archive_of_a_newer_version_is_refused(
    archive: Archive, new_archive: Callable[[], Archive], url: str
) -> None:
    async with archive.database.transaction() as writer:
        await writer.execute(update(archive_schema.archive).values(schema_version=99))
    with pytest.raises(StoreUnusable, match="newer version of GTower Realtime") as refusal:
        await new_archive().open()
    assert refusal.value.message.startswith("PostgreSQL at 127.0.0.1:")


@pytest.mark.gen_test
async def test_an_older_archive_is_brought_up_to_date_once(
    archive: Archive, new_archive: Callable[[], Archive], monkeypatch: pytest.MonkeyPatch
) -> None:
    def add_a_column(connection: object) -> None:
        connection.exec_driver_sql(  # type: ignore[attr-defined]
            "ALTER TABLE gtower_archive ADD COLUMN note TEXT"
        )

    monkeypatch.setattr(archive_schema, "UPGRADES", [add_a_column])
    await asyncio.gather(*(new_archive().open() for _ in range(3)))
    async with archive.database.reader() as reader:
        version = select(archive_schema.archive.c.schema_version)
        assert (await reader.execute(version)).scalar_one() == 2


@pytest.mark.gen_test
async def test_an_archive_that_is_not_there_is_named_without_the_password() -> None:
    archive = Archive("postgresql://user:secret@127.0.0.1:1/crm")
    with pytest.raises(StoreUnavailable) as refusal:
        await archive.open()
    expected = "PostgreSQL at 127.0.0.1:1/crm: The event store cannot be reached."
    assert refusal.value.message.startswith(expected)
    assert "secret" not in refusal.value.message


@pytest.mark.gen_test
async def test_a_closed_archive_takes_nothing_more(archive: Archive) -> None:
    await archive.close()
    await archive.close()
    for call in (lambda: add(archive, 1), archive.filled_until, lambda: numbers_in(archive)):
        with pytest.raises(StoreUnavailable, match="is closed"):
            await call()


@pytest.mark.gen_test
async def test_an_archive_and_the_log_of_a_process_may_be_in_one_database(
    archive: Archive, url: str
) -> None:
    store = await opened(sql_store(url))
    await store.commit(some_events(1))
    await add(archive, 2)
    assert await numbers_for(store) == [1]
    assert await numbers_in(archive) == [2]
    await store.close()


# Adding


@pytest.mark.gen_test
async def test_what_several_nodes_add_at_once_is_there_once(
    archive: Archive, other: Archive
) -> None:
    events = [an_event(number, "a", f"room{number % 3}") for number in range(1, 1501)]
    await asyncio.gather(
        archive.add(events[:1000]),
        other.add(events[500:]),
        archive.add(events[200:900]),
        other.add(events),
    )
    assert await all_archived(archive) == events
    # It also counts once.
    size = sum(event.size for event in events)
    assert await other.trim(Bounds(1500, size, 0), NOW) == 1
    assert await other.trim(Bounds(1499, 0, 0), NOW) == 2
    assert await other.trim(Bounds(0, size - events[0].size - 1, 0), NOW) == 3


@pytest.mark.gen_test
async def test_numbers_may_be_large_and_far_from_each_other(archive: Archive) -> None:
    numbers = [1, LAST_NUMBER - 24 * AN_HOUR, LAST_NUMBER - AN_HOUR, LAST_NUMBER - 1, LAST_NUMBER]
    await add(archive, *numbers)
    assert await numbers_in(archive) == numbers
    assert await archive.filled_until() == LAST_NUMBER
    for after, until, limit, found in (
        (0, LAST_NUMBER, 9, numbers),
        (numbers[1], LAST_NUMBER - 1, 9, numbers[2:4]),
        (1, LAST_NUMBER, 2, numbers[1:3]),
    ):
        events = await archive.events_for({"sales"}, after=after, until=until, limit=limit)
        assert [event.number for event in events] == found


@pytest.mark.gen_test
async def test_the_mark_goes_forward_only_whatever_is_added(
    archive: Archive, other: Archive
) -> None:
    assert await archive.filled_until() == 0
    await archive.add([])
    assert await archive.filled_until() == 0
    await add(archive, 7, 9)
    await add(other, 5, 7)
    assert await archive.filled_until() == await other.filled_until() == 9
    assert await numbers_in(archive) == [5, 7, 9]


@pytest.mark.gen_test
async def test_events_need_not_be_in_order_nor_be_there_once(archive: Archive) -> None:
    await add(archive, 3, 1, 2, 3, 1)
    assert await numbers_in(archive) == [1, 2, 3]
    assert await archive.filled_until() == 3


@pytest.mark.gen_test
async def test_very_much_is_added_in_several_transactions(archive: Archive) -> None:
    long = [an_event(number, payload="x" * 1_500_000) for number in range(1, 6)]
    wide = [an_event(number, *map(str, range(1500))) for number in range(6, 10)]
    assert [len(portion) for portion in module._portions(long + wide)] == [2, 2, 2, 1, 1, 1]
    await archive.add(long + wide)
    assert await all_archived(archive) == long + wide


# Deleting


@pytest.mark.gen_test
async def test_a_history_is_deleted_up_to_a_number(archive: Archive) -> None:
    shared = an_event(2, "sales", "support")
    await archive.add([an_event(1), shared, an_event(3), an_event(4)])
    assert await archive.delete_history("sales", 3) == 3
    assert await archive.delete_history("sales", 3) == 0
    assert await all_archived(archive) == [an_event(2, "support"), an_event(4)]
    assert await archive.delete_history("sales", 1) == 0
    assert await archive.delete_history("support", LAST_NUMBER) == 1
    assert await all_archived(archive) == [an_event(4)]


@pytest.mark.gen_test
async def test_a_node_that_is_late_does_not_bring_back_what_was_deleted(
    archive: Archive, other: Archive
) -> None:
    events = [an_event(1), an_event(2, "support", "sales"), an_event(3), an_event(4)]
    await archive.add(events[:2])
    # Up to 3, although 3 has not been added yet.
    await archive.delete_history("sales", 3)
    await archive.delete_history("sales", 1)
    await other.add(events)
    assert await all_archived(archive) == [an_event(2, "support"), an_event(4)]
    assert await other.filled_until() == 4
    assert await other.trim(Bounds(2, 0, 0), NOW) == 1
    assert await other.trim(Bounds(1, 0, 0), NOW) == 3


@pytest.mark.gen_test
async def test_a_deletion_and_late_nodes_at_once_leave_nothing_behind(
    archive: Archive, other: Archive
) -> None:
    events = [an_event(number) for number in range(1, 1201)]
    await archive.add(events[:600])
    await asyncio.gather(
        archive.delete_history("sales", 1200), other.add(events), archive.add(events[600:])
    )
    assert await all_archived(archive) == []
    assert await archive.trim(Bounds(1, 1, 0), NOW) == 1


@pytest.mark.gen_test
async def test_a_node_that_is_late_does_not_bring_back_what_was_trimmed(
    archive: Archive, other: Archive
) -> None:
    await add(archive, 10, 20, 30)
    assert await archive.trim(Bounds(1, 0, 0), NOW) == 21
    await add(other, 5, 10, 20, 25, 30)
    assert await numbers_in(archive) == [25, 30]
    assert await archive.trim(NO_BOUNDS, NOW) == 21


@pytest.mark.gen_test
async def test_several_nodes_may_trim_at_once(archive: Archive, other: Archive) -> None:
    await archive.add([an_event(number * 4096) for number in range(1, 2001)])
    bounds = Bounds(10, 0, 0)
    firsts = await asyncio.gather(archive.trim(bounds, NOW), other.trim(bounds, NOW))
    assert firsts == [1990 * 4096 + 1, 1990 * 4096 + 1]
    assert await numbers_in(archive) == [number * 4096 for number in range(1991, 2001)]


@pytest.mark.gen_test
async def test_a_deletion_is_remembered_until_all_before_it_is_trimmed(archive: Archive) -> None:
    async def deletions() -> list[tuple[str, int]]:
        async with archive.database.reader() as reader:
            rows = await reader.execute(select(archive_schema.deletions))
            return [(row.room, row.until) for row in rows]

    await archive.add([an_event(1), an_event(2, "a"), an_event(3, "b")])
    await archive.delete_history("sales", 1)
    await archive.delete_history("x", 2)
    await archive.trim(Bounds(2, 0, 0), NOW)
    assert await deletions() == [("sales", 1), ("x", 2)]
    await archive.trim(Bounds(1, 0, 0), NOW)
    assert await deletions() == []
    await archive.delete_history("x", 2)
    assert await deletions() == []


# Gaps and epochs


@pytest.mark.gen_test
async def test_what_comes_before_a_gap_is_read_and_not_called_complete(
    archive: Archive, other: Archive
) -> None:
    await archive.add([an_event(10), an_event(20)], after=0)
    await archive.add([an_event(30)], after=20)
    await other.add([an_event(20), an_event(30)], after=15)
    assert await archive.trim(NO_BOUNDS, NOW) == 1
    await archive.add([an_event(number) for number in (50, 60)], after=40)
    assert await archive.trim(NO_BOUNDS, NOW) == 41
    # A node that has more fills the gap as well as it can.
    await other.add([an_event(35), an_event(50)], after=30)
    assert await numbers_in(archive) == [10, 20, 30, 35, 50, 60]
    assert await archive.trim(Bounds(3, 0, 0), NOW) == 41
    assert await archive.trim(Bounds(1, 0, 0), NOW) == 51


@pytest.mark.gen_test
async def test_a_gap_is_one_also_when_much_is_added_after_it(archive: Archive) -> None:
    await add(archive, 1)
    await archive.add([an_event(number) for number in range(10, 3010)], after=9)
    assert await archive.trim(NO_BOUNDS, NOW) == 10


@pytest.mark.gen_test
async def test_in_a_new_epoch_nothing_is_filled_and_all_is_still_there(archive: Archive) -> None:
    await archive.begin("e1")
    await add(archive, 10, 20)
    await archive.begin("e1")
    assert await archive.filled_until() == 20
    await archive.begin("e2")
    assert await archive.filled_until() == 0
    assert await numbers_in(archive) == [10, 20]
    await add(archive, 15)
    assert await archive.filled_until() == 15
    assert await numbers_in(archive) == [10, 15, 20]


@pytest.mark.gen_test
async def test_what_a_node_of_an_older_epoch_adds_does_not_count_as_filled(
    archive: Archive, other: Archive
) -> None:
    await archive.begin("e1")
    await other.begin("e1")
    await add(other, 10)
    await archive.begin("e2")
    await add(archive, 30)
    await other.add([an_event(40)], after=35)
    assert await other.filled_until() == 0
    assert await archive.filled_until() == 30
    assert await numbers_in(archive) == [10, 30, 40]
    assert await archive.trim(NO_BOUNDS, NOW) == 1


# Trouble


@pytest.mark.gen_test
async def test_an_archive_works_again_when_its_server_does(
    postgresql: PostgresqlServer, archive: Archive, new_archive: Callable[[], Archive]
) -> None:
    late = new_archive()
    await add(archive, 1)
    assert await numbers_in(archive) == [1]
    postgresql.stop()
    try:
        for call in (lambda: add(archive, 2), lambda: archive.trim(NO_BOUNDS, NOW), late.open):
            with pytest.raises(StoreUnavailable, match="cannot be reached"):
                await call()
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            await archive.filled_until()
    finally:
        postgresql.start()
    await add(archive, 1, 2)
    await late.open()
    assert await numbers_in(late) == [1, 2]
    assert await archive.filled_until() == 2


@pytest.mark.gen_test
async def test_who_adds_does_not_notice_that_the_server_was_away(
    postgresql: PostgresqlServer, archive: Archive
) -> None:
    for number in (1, 2):
        await add(archive, number)
        postgresql.stop()
        postgresql.start()
    assert await numbers_in(archive) == [1, 2]


@pytest.mark.gen_test
async def test_an_addition_that_is_undone_is_made_again(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise ConnectionResetError("lost")

    events = [an_event(1), an_event(2)]
    with monkeypatch.context() as patch:
        patch.setattr(module, "_change", fail)
        with pytest.raises(StoreUnavailable):
            await archive.add(events)
    assert await all_archived(archive) == []
    await archive.add(events)
    assert await all_archived(archive) == events
    assert await archive.filled_until() == 2


@pytest.mark.gen_test
async def test_who_holds_the_lock_for_too_long_keeps_nobody_from_reading(
    new_archive: Callable[[], Archive], archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add(archive, 1)
    monkeypatch.setitem(postgresql._SERVER_SETTINGS, "lock_timeout", "100ms")
    other = new_archive()
    await other.open()
    async with archive.database.transaction() as writer:
        await module._lock(writer)
        with pytest.raises(StoreUnavailable, match="locked"):
            await add(other, 2)
        assert await numbers_in(other) == [1]
        assert await other.filled_until() == 1
    await add(other, 2)
    assert await numbers_in(other) == [1, 2]


@pytest.mark.gen_test
async def test_a_node_that_stands_still_in_a_transaction_loses_it(
    new_archive: Callable[[], Archive], archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LONGEST_PAUSE", "100ms")
    frozen = new_archive()
    await frozen.open()
    transaction = frozen.database.transaction()
    await module._lock(await transaction.__aenter__())
    await add(archive, 1)
    with pytest.raises(Exception, match=r"closed|idle-in-transaction|terminat"):
        await transaction.__aexit__(None, None, None)
    await add(frozen, 2)
    assert await numbers_in(archive) == [1, 2]


# Settings


@pytest.mark.gen_test
async def test_the_settings_of_a_cluster_name_an_archive_and_a_store_of_its_own(
    url: str, tmp_path: Path
) -> None:
    settings = Settings(database_url=url, redis_url=REDIS, state_dir=tmp_path)
    store, archive = open_store(settings), open_archive(settings)
    assert archive is not None
    await opened(store)  # type: ignore[arg-type]
    await archive.open()
    await store.commit(some_events(1))
    await add(archive, 2)
    assert await numbers_for(store) == [1]
    assert await numbers_in(archive) == [2]
    assert (tmp_path / "gtower.db").exists()
    # Where the long history is, for those who make backups.
    assert sqlite_file(settings) is None
    await store.close()
    await archive.close()


@pytest.mark.parametrize(
    "settings",
    [
        Settings(database_url="postgresql://127.0.0.1/crm"),
        Settings(redis_url=REDIS),
        Settings(redis_url=REDIS, database_url="sqlite:////srv/log.db"),
        Settings(redis_url=REDIS, database_url="memory:"),
    ],
    ids=["no Redis", "no database", "SQLite", "memory"],
)
def test_other_settings_name_no_archive(settings: Settings) -> None:
    assert open_archive(settings) is None


def test_the_driver_that_an_archive_needs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("archive", "postgresql"):
        monkeypatch.delitem(sys.modules, f"gtower_realtime.store.sql.{name}")
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    settings = Settings(database_url="postgresql://127.0.0.1/crm", redis_url=REDIS)
    with pytest.raises(StoreUnusable, match=r"gtower-realtime\[postgresql\]"):
        open_archive(settings)
