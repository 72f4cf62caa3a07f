"""What can happen to a store in PostgreSQL."""

import sys
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from tornado.ioloop import IOLoop

from gtower_realtime.errors import StoreUnavailable, StoreUnusable
from gtower_realtime.settings import Settings
from gtower_realtime.store import open_store
from gtower_realtime.store.sql import postgresql as module
from gtower_realtime.store.sql.postgresql import PostgresqlDatabase
from gtower_realtime.store.sql.store import SqlStore
from tests.postgresql import PostgresqlServer
from tests.stores import NOW, closed_in_the_end, numbers_for, opened, some_events, sql_store

END_WRITERS = """
    SELECT pg_terminate_backend(pid, 10000) FROM pg_locks
    WHERE locktype = 'advisory'
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@pytest.fixture
def url(postgresql: PostgresqlServer) -> str:
    return postgresql.new_database()


@pytest.fixture
def short_waits_for_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module._SERVER_SETTINGS, "lock_timeout", "100ms")


@pytest.fixture
def new_store(io_loop: IOLoop, url: str) -> Iterator[Callable[..., SqlStore]]:
    """Give a function that makes one more store in the same database."""
    with closed_in_the_end(io_loop, partial(sql_store, url)) as make:
        yield make


async def end_writers(url: str) -> None:
    """End the sessions that hold the lock."""
    database = PostgresqlDatabase(url)
    async with database.engine.connect() as connection:
        assert (await connection.exec_driver_sql(END_WRITERS)).all() == [(True,)]
    await database.engine.dispose()


@pytest.mark.gen_test
async def test_a_store_works_again_when_its_server_does(
    postgresql: PostgresqlServer, new_store: Callable[..., SqlStore]
) -> None:
    store = await opened(new_store())
    await store.commit(some_events(1))
    assert await numbers_for(store) == [1]
    postgresql.stop()
    try:
        for number in (2, 3):
            with pytest.raises(StoreUnavailable) as refusal:
                await store.commit(some_events(number))
            assert refusal.value.message == "The event store cannot be reached."
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            await store.find_answer("k", NOW)
    finally:
        postgresql.start()
    await store.commit(some_events(4))
    assert await numbers_for(store) == [1, 4]


@pytest.mark.gen_test
async def test_who_reads_does_not_notice_that_the_server_was_away(
    postgresql: PostgresqlServer, new_store: Callable[..., SqlStore]
) -> None:
    store = await opened(new_store())
    await store.commit(some_events(1))
    for _ in range(2):
        assert await numbers_for(store) == [1]
        postgresql.stop()
        postgresql.start()


@pytest.mark.usefixtures("short_waits_for_locks")
@pytest.mark.gen_test
async def test_a_store_that_lost_its_lock_takes_it_again(
    url: str, new_store: Callable[..., SqlStore]
) -> None:
    store = await opened(new_store())
    await end_writers(url)
    with pytest.raises(StoreUnavailable):
        await store.commit(some_events(1))
    await store.commit(some_events(2))
    assert await numbers_for(store) == [2]
    with pytest.raises(StoreUnusable, match="in use by another process"):
        await opened(new_store())


@pytest.mark.usefixtures("short_waits_for_locks")
@pytest.mark.gen_test
async def test_a_store_whose_lock_another_process_got_records_nothing_any_more(
    url: str, new_store: Callable[..., SqlStore]
) -> None:
    store = await opened(new_store())
    await store.commit(some_events(1))
    await end_writers(url)
    other = await opened(new_store())
    await other.commit(some_events(2))
    with pytest.raises(StoreUnavailable):
        await store.commit(some_events(2))
    with pytest.raises(StoreUnavailable, match="in use by another process"):
        await store.commit(some_events(3))
    await other.close()
    for number in (4, 5):
        with pytest.raises(StoreUnavailable, match="changed by another process"):
            await store.commit(some_events(number))
    assert await numbers_for(store) == [1, 2]


@pytest.mark.gen_test
async def test_a_server_that_is_not_there_is_named_without_the_password() -> None:
    store = sql_store("postgresql://user:secret@127.0.0.1:1/crm")
    with pytest.raises(StoreUnavailable) as refusal:
        await opened(store)
    expected = "PostgreSQL at 127.0.0.1:1/crm: The event store cannot be reached."
    assert refusal.value.message.startswith(expected)
    assert "secret" not in refusal.value.message


@pytest.mark.gen_test
async def test_a_database_that_is_not_there_is_named(url: str) -> None:
    store = sql_store(url.replace("/postgres?", "/absent?"))
    with pytest.raises(StoreUnavailable, match="absent"):
        await opened(store)


@pytest.mark.gen_test
async def test_the_settings_name_the_database(url: str) -> None:
    store = open_store(Settings(database_url=url))
    assert (await store.open(recent_events=0, recent_bytes=0)).last_number == 0
    await store.close()


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "gtower_realtime.store.sql.postgresql")
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(StoreUnusable, match=r"gtower-realtime\[postgresql\]"):
        open_store(Settings(database_url="postgresql://127.0.0.1/crm"))
