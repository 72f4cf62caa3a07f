"""What can happen to a store in an SQLite file."""

import logging
import os
import sqlite3
import stat
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from tornado.ioloop import IOLoop

from gtower_realtime.errors import StoreUnavailable, StoreUnusable
from gtower_realtime.records import Change, SessionOpened
from gtower_realtime.settings import Settings
from gtower_realtime.store import open_store
from gtower_realtime.store.sql import sqlite
from gtower_realtime.store.sql.sqlite import SqliteDatabase
from gtower_realtime.store.sql.store import NUMBERS_SKIPPED, SqlStore
from tests.stores import (
    PLENTY,
    a_session,
    an_event,
    appended,
    closed_in_the_end,
    numbers_for,
    opened,
    put,
    sequences_in_outbox,
    some_events,
)

NOBODY = 65534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "gtower.db"


@pytest.fixture
def new_store(io_loop: IOLoop, path: Path) -> Iterator[Callable[..., SqlStore]]:
    """Give a function that makes one more store in the same file."""
    with closed_in_the_end(
        io_loop, lambda **options: SqlStore(SqliteDatabase(path, **options))
    ) as make:
        yield make


def query(path: Path, statement: str, *parameters: Any) -> Any:
    """Execute one statement behind the back of any store; return the first value."""
    connection = sqlite3.connect(path)
    try:
        row = connection.execute(statement, parameters).fetchone()
        connection.commit()
    finally:
        connection.close()
    return row[0] if row else None


def modes_of_files(directory: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in directory.iterdir()}


def read(path: Path) -> bytes:
    return path.read_bytes()


def move(path: Path, target: Path) -> None:
    path.replace(target)


def write(path: Path, content: bytes, *, at: int = 0) -> None:
    """Write over a file, which need not be there yet."""
    path.parent.mkdir(exist_ok=True)
    path.touch()
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


# Opening


@pytest.mark.gen_test
async def test_nobody_else_can_read_what_is_stored(
    path: Path, new_store: Callable[..., SqlStore]
) -> None:
    store = await opened(new_store())
    await store.commit(some_events(1))
    assert modes_of_files(path.parent.parent) == {path.parent.name: 0o700}
    assert modes_of_files(path.parent) == dict.fromkeys(
        ("gtower.db", "gtower.db-wal", "gtower.db-shm", "gtower.db.lock"), 0o600
    )


@pytest.mark.gen_test
async def test_a_closed_store_is_one_file_and_a_lock(
    path: Path, new_store: Callable[..., SqlStore]
) -> None:
    store = await opened(new_store())
    await store.commit(some_events(1))
    await store.close()
    assert set(modes_of_files(path.parent)) == {"gtower.db", "gtower.db.lock"}


@pytest.mark.gen_test
async def test_a_second_process_is_told_who_has_the_file(
    path: Path, new_store: Callable[..., SqlStore]
) -> None:
    await opened(new_store())
    with pytest.raises(StoreUnusable) as refusal:
        await opened(new_store())
    assert refusal.value.message == (
        f"the SQLite file {path}: It is in use by another process (number {os.getpid()})."
    )


@pytest.mark.gen_test
async def test_a_file_that_is_no_database_is_refused(
    path: Path, new_store: Callable[..., SqlStore]
) -> None:
    content = b"no database" * 1000
    write(path, content)
    with pytest.raises(StoreUnusable, match="damaged: move it away") as refusal:
        await opened(new_store())
    assert str(path) in refusal.value.message
    assert read(path) == content


@pytest.mark.gen_test
async def test_a_damaged_database_is_refused(
    path: Path, new_store: Callable[..., SqlStore]
) -> None:
    store = await opened(new_store())
    await store.commit(some_events(*range(1, 500)))
    await store.close()
    write(path, b"\xff" * 4000, at=100)
    with pytest.raises(StoreUnusable, match="damaged"):
        await opened(new_store())


@pytest.mark.gen_test
async def test_a_directory_that_cannot_be_made_is_named(
    path: Path, new_store: Callable[..., SqlStore]
) -> None:
    write(path.parent, b"a file")
    with pytest.raises(StoreUnusable, match=f"File exists: {path.parent}"):
        await opened(new_store())


@pytest.fixture
def read_only_directory() -> Iterator[Path]:
    """Give a directory that this process cannot write, as somebody else if it is root."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o555)
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    yield directory
    os.seteuid(user)
    directory.rmdir()


def test_a_directory_that_cannot_be_written_is_named(
    io_loop: IOLoop, read_only_directory: Path
) -> None:
    store = SqlStore(SqliteDatabase(read_only_directory / "gtower.db"))
    with pytest.raises(StoreUnusable, match=f"Permission denied: {read_only_directory}/gtower.db"):
        io_loop.run_sync(lambda: opened(store))


# The disk and the file


@pytest.mark.gen_test
async def test_on_a_full_disk_nothing_is_recorded_and_later_everything(
    path: Path, new_store: Callable[..., SqlStore]
) -> None:
    store = new_store()
    connections: list[Any] = []

    def keep_small(connection: Any, _: object) -> None:
        connections.append(connection)
        cursor = connection.cursor()
        cursor.execute("PRAGMA max_page_count = 60")
        cursor.close()

    event.listen(store.database.engine, "connect", keep_small)
    await opened(store)
    await store.commit(some_events(1))
    too_much = [an_event(number, payload="x" * 10_000) for number in range(2, 30)]
    for _ in range(2):
        with pytest.raises(StoreUnavailable) as refusal:
            await store.commit(appended(*too_much))
        assert refusal.value.message == "The disk of the event store is full."
    assert await numbers_for(store) == [1]
    await store.commit(some_events(2))
    for connection in connections:
        connection.execute("PRAGMA max_page_count = 100000")
    await store.commit(appended(*too_much[1:]))
    assert await numbers_for(store) == list(range(1, 30))


@pytest.mark.gen_test
async def test_what_goes_to_a_file_that_was_removed_is_not_called_recorded(
    path: Path, new_store: Callable[..., SqlStore]
) -> None:
    store = await opened(new_store())
    await store.commit(some_events(1))
    elsewhere = path.with_name("elsewhere")
    move(path, elsewhere)
    for call in (
        lambda: store.commit(some_events(2)),
        lambda: store.history("sales", after=0, limit=1, now=0),
    ):
        with pytest.raises(StoreUnavailable, match=r"^The event store's file is gone\.$"):
            await call()
    write(path, b"")
    with pytest.raises(StoreUnavailable, match="file is gone"):
        await store.commit(some_events(3))
    move(elsewhere, path)
    await store.commit(some_events(4))
    assert await numbers_for(store) == [1, 4]


@pytest.mark.gen_test
async def test_what_went_to_a_file_while_it_was_removed_is_undone(
    path: Path, new_store: Callable[..., SqlStore]
) -> None:
    store = await opened(new_store())
    elsewhere = path.with_name("elsewhere")
    event.listen(store.database.engine, "commit", lambda _: move(path, elsewhere), once=True)
    with pytest.raises(StoreUnavailable, match="file is gone"):
        await store.commit(some_events(1))
    move(elsewhere, path)
    await store.commit(some_events(2))
    assert await numbers_for(store) == [2]


@pytest.mark.gen_test
async def test_no_new_file_takes_the_place_of_one_that_was_removed(
    path: Path, new_store: Callable[..., SqlStore]
) -> None:
    store = await opened(new_store())
    elsewhere = path.with_name("elsewhere")

    def lose_file_and_connection(_: object) -> None:
        move(path, elsewhere)
        raise ConnectionResetError

    event.listen(store.database.engine, "commit", lose_file_and_connection, once=True)
    for number in (1, 2):
        with pytest.raises(StoreUnavailable):
            await store.commit(some_events(number))
    assert path.name not in modes_of_files(path.parent)
    move(elsewhere, path)
    await store.commit(some_events(3))
    assert await numbers_for(store) == [3]


@pytest.mark.gen_test
async def test_a_file_that_another_program_has_locked_is_called_so(
    path: Path, new_store: Callable[..., SqlStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_BUSY_SECONDS", 0.01)
    store = await opened(new_store())
    other = sqlite3.connect(path)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable) as refusal:
        await store.commit(some_events(1))
    assert refusal.value.message == "The event store is locked by another program."
    other.rollback()
    other.close()
    await store.commit(some_events(2))
    assert await numbers_for(store) == [2]


# Power cuts


@pytest.mark.parametrize(
    ("waits_for_disk", "relaxed"), [(False, 1), (True, 2)], ids=["normal", "full"]
)
@pytest.mark.gen_test
async def test_commits_wait_for_the_disk_as_configured(
    path: Path, waits_for_disk: bool, relaxed: int
) -> None:
    database = SqliteDatabase(path, waits_for_disk=waits_for_disk)
    found = []
    connection = await database.connect()
    for step in (None, database.relax, database.harden):
        if step:
            await step(connection)
        found.append((await connection.exec_driver_sql("PRAGMA synchronous")).scalar_one())
    await connection.close()
    await database.close()
    assert found == [2, relaxed, 2]


@pytest.mark.gen_test
async def test_commits_wait_as_configured_on_a_new_connection_too(
    new_store: Callable[..., SqlStore],
) -> None:
    store = await opened(new_store())
    engine = store.database.engine
    executed: list[str] = []

    def lose_connection(_: object) -> None:
        raise ConnectionResetError

    event.listen(engine, "before_cursor_execute", lambda *given: executed.append(given[2]))
    event.listen(engine, "commit", lose_connection, once=True)
    with pytest.raises(StoreUnavailable):
        await store.commit(some_events(1))
    await store.commit(some_events(2))
    assert executed.count("PRAGMA synchronous = NORMAL") == 1


@pytest.mark.gen_test
async def test_the_file_says_while_commits_do_not_wait_in_which_boot_that_is(
    path: Path, new_store: Callable[..., SqlStore]
) -> None:
    unsynced = "SELECT unsynced_boot FROM gtower_log"
    store = await opened(new_store())
    assert query(path, unsynced) == store.database.boot
    await store.close()
    assert query(path, unsynced) is None
    await opened(new_store(waits_for_disk=True))
    assert query(path, unsynced) is None


async def leave(store: SqlStore, *, boot: str, path: Path) -> str:
    """Record something, and leave the file as a crash in ``boot`` does; return the epoch."""
    epoch = (await store.open(recent_events=0, recent_bytes=0)).epoch
    others: list[Change] = [SessionOpened(a_session()), put(1)]
    await store.commit([*some_events(1, 2), *others])
    await store.close()
    query(path, "UPDATE gtower_log SET unsynced_boot = ?", boot)
    return epoch


@pytest.mark.parametrize("waits_for_disk", [False, True], ids=["normal", "full"])
@pytest.mark.gen_test
async def test_after_a_power_cut_that_commits_did_not_wait_for_nothing_is_taken_for_complete(
    path: Path, new_store: Callable[..., SqlStore], waits_for_disk: bool
) -> None:
    epoch = await leave(new_store(), boot="another boot", path=path)
    store = new_store(waits_for_disk=waits_for_disk)
    snapshot = await store.open(recent_events=9, recent_bytes=PLENTY)
    assert snapshot.epoch != epoch
    assert snapshot.last_number == 2 + NUMBERS_SKIPPED
    assert snapshot.sessions == []
    assert snapshot.recent == [an_event(1), an_event(2)]
    assert await sequences_in_outbox(store) == [("n1", 1)]
    await store.commit(some_events(snapshot.last_number + 1))
    await store.close()
    again = await new_store().open(recent_events=0, recent_bytes=0)
    assert (again.epoch, again.last_number) == (snapshot.epoch, 3 + NUMBERS_SKIPPED)


@pytest.mark.parametrize("waits_for_disk", [False, True], ids=["normal", "full"])
@pytest.mark.gen_test
async def test_after_the_death_of_a_process_all_goes_on(
    path: Path, new_store: Callable[..., SqlStore], waits_for_disk: bool
) -> None:
    boot = SqliteDatabase(path).boot
    epoch = await leave(new_store(), boot=boot, path=path)
    store = new_store(waits_for_disk=waits_for_disk)
    snapshot = await store.open(recent_events=0, recent_bytes=0)
    assert (snapshot.epoch, snapshot.last_number) == (epoch, 2)
    assert snapshot.sessions == [a_session()]


# What else


@pytest.mark.gen_test
async def test_what_is_stored_is_not_logged(
    new_store: Callable[..., SqlStore], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    store = await opened(new_store())
    with pytest.raises(ValueError, match="used before") as refusal:
        await store.commit(
            [SessionOpened(a_session(pid="secret")), SessionOpened(a_session(pid="secret"))]
        )
    await store.commit([SessionOpened(a_session(pid="secret"))])
    assert "secret" not in caplog.text
    assert "secret" not in "".join(traceback.format_exception(refusal.value))


@pytest.mark.gen_test
async def test_the_settings_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "named.db"
    store = open_store(Settings(database_url=f"sqlite:///{path}", synchronous="full"))
    assert isinstance(store, SqlStore)
    assert store.database.is_synchronous
    await opened(store)
    await store.close()
    assert path.name in modes_of_files(tmp_path)
