"""What a store in a database does besides the contract: versions, doubts, other processes."""

import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog.testing
from sqlalchemy import Connection, update
from sqlalchemy.schema import DropTable
from tornado.ioloop import IOLoop

from gtower_realtime.errors import StoreUnavailable, StoreUnusable
from gtower_realtime.records import (
    AnswerGiven,
    Bounds,
    Change,
    CountedMinute,
    Membership,
    MinuteCounted,
    OutboxBacklog,
    OutboxEntry,
    OutboxSent,
    RoomEntered,
    RoomLeft,
    SessionAway,
    SessionEnded,
    SessionOpened,
    SessionResumed,
    StoredWebhook,
    WebhookBacklog,
    WebhookReceived,
    WebhookSettled,
)
from gtower_realtime.store.sql import postgresql, schema
from gtower_realtime.store.sql.database import Database
from gtower_realtime.store.sql.postgresql import PostgresqlDatabase
from gtower_realtime.store.sql.sqlite import SqliteDatabase
from gtower_realtime.store.sql.store import SqlStore
from tests.store_writer import EVENTS_OF_A_COMMIT
from tests.stores import (
    NOW,
    PLENTY,
    a_session,
    an_answer,
    an_event,
    appended,
    closed_in_the_end,
    marked,
    numbers_for,
    opened,
    put,
    received,
    sequences_in_outbox,
    some_events,
    sql_store,
)

ROOT = Path(__file__).parent.parent


@pytest.fixture(params=["sqlite", "postgresql"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give where an empty database is."""
    if request.param == "sqlite":
        return str(tmp_path / "gtower.db")
    return str(request.getfixturevalue("postgresql").new_database())


@pytest.fixture
def short_waits_for_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(postgresql._SERVER_SETTINGS, "lock_timeout", "100ms")


@pytest.fixture
def new_store(io_loop: IOLoop, location: str) -> Iterator[Callable[..., SqlStore]]:
    """Give a function that makes one more store in the same database."""
    with closed_in_the_end(io_loop, partial(sql_store, location)) as make:
        yield make


async def change(location: str, *statements: Any) -> None:
    """Execute ``statements`` behind the back of any store."""
    database = database_at(location)
    async with database.reader() as connection:
        for statement in statements:
            await connection.execute(statement)
    await database.close()


def database_at(location: str) -> Database:
    if location.startswith("postgresql:"):
        return PostgresqlDatabase(location)
    return SqliteDatabase(Path(location))


# Other processes


@pytest.mark.usefixtures("short_waits_for_locks")
@pytest.mark.gen_test
async def test_a_second_store_is_refused_until_the_first_is_closed(
    new_store: Callable[..., SqlStore], location: str
) -> None:
    first, second = await opened(new_store()), new_store()
    with pytest.raises(StoreUnusable, match="in use by another process") as refusal:
        await opened(second)
    place = location.rpartition("@")[2].partition("?")[0]
    assert place in refusal.value.message
    await first.commit(some_events(1))
    await first.close()
    assert (await second.open(recent_events=0, recent_bytes=0)).last_number == 1


@pytest.mark.gen_test
async def test_nothing_is_recorded_in_a_log_that_another_process_has_changed(
    new_store: Callable[..., SqlStore], location: str
) -> None:
    store = await opened(new_store())
    await change(location, update(schema.log).values(transactions=1000))
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="changed by another process"):
            await store.commit(some_events(1))
    assert await numbers_for(store) == []


@pytest.mark.gen_test
async def test_nothing_is_recorded_in_another_log_than_was_opened(
    new_store: Callable[..., SqlStore], location: str
) -> None:
    store = await opened(new_store())
    lose_outcomes(store, 1)
    with pytest.raises(StoreUnavailable):
        await store.commit(some_events(1))
    await change(location, update(schema.log).values(epoch="another"))
    with pytest.raises(StoreUnavailable, match="changed by another process"):
        await store.commit(some_events(2))


@pytest.mark.gen_test
async def test_a_closed_store_takes_nothing_more_and_stays_closed(
    new_store: Callable[..., SqlStore],
) -> None:
    store = await opened(new_store())
    await store.close()
    for call in (lambda: store.commit(some_events(1)), lambda: store.find_answer("k1", NOW)):
        with pytest.raises(StoreUnavailable, match="is closed"):
            await call()
    assert (await new_store().open(recent_events=0, recent_bytes=0)).last_number == 0


# Commits whose outcome is not heard of


def lose_outcomes(store: SqlStore, count: int) -> None:
    """Let the next ``count`` commits happen, and the connection break before anybody is told."""
    dialect = store.database.dialect  # type: ignore[attr-defined]
    commit = dialect.do_commit
    left = count

    def lose(connection: Any) -> None:
        nonlocal left
        commit(connection)
        if left:
            left -= 1
            raise ConnectionResetError("lost")

    dialect.do_commit = lose  # type: ignore[method-assign]


@pytest.fixture(params=[1, 2], ids=["once", "its undoing too"])
def outcomes_lost(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.mark.gen_test
async def test_a_commit_whose_outcome_was_not_heard_of_has_not_happened(
    new_store: Callable[..., SqlStore], outcomes_lost: int
) -> None:
    store = await opened(new_store())
    before = [
        a_session("c1", away_since=NOW, memberships=[Membership("a", 0, 1), Membership("b", 0)]),
        a_session("c2", user_id="u2", memberships=[Membership("a", 0)]),
    ]
    opening: list[Change] = [SessionOpened(session) for session in before]
    inbox: list[Change] = [received(1), received(2), marked("m1", "sent")]
    outbox: list[Change] = [put(1), put(2, origin="n0"), put(2), put(3)]
    await store.commit([*some_events(1), *opening, AnswerGiven(an_answer("k1")), *inbox, *outbox])
    lose_outcomes(store, outcomes_lost)
    lost: list[Change] = [
        *appended(an_event(2, "sales", "more")),
        AnswerGiven(an_answer("k2")),
        MinuteCounted(CountedMinute("m2", NOW, "{}")),
        WebhookSettled(1, "done"),
        received(3),
        marked("m1", "read"),
        marked("m2"),
        put(4),
        OutboxSent("n1", 2),
        put(5),
        put(3, origin="n0"),
        SessionResumed("c1"),
        RoomEntered("c1", "c", 2),
        RoomLeft("c1", "b", 2),
        SessionAway("c2", NOW),
        SessionEnded("c2"),
        SessionOpened(a_session("c3", memberships=[Membership("c", 2)])),
    ]
    for _ in range(outcomes_lost):
        with pytest.raises(StoreUnavailable):
            await store.commit(lost)
        lost = some_events(3)
    await store.commit(some_events(4))
    assert await numbers_for(store, "sales", "more") == [1, 4]
    assert await store.find_answer("k2", NOW) is None
    assert await store.minutes(since=0, before=PLENTY * NOW) == []
    assert await store.webhook_marks(["m1", "m2"]) == {"m1": "sent"}
    assert await store.webhook_backlog() == WebhookBacklog(2, 2, 4)
    assert await store.next_webhook() == StoredWebhook(1, NOW, b"{}")
    await store.commit([put(4, origin="n0")])
    assert await sequences_in_outbox(store) == [
        ("n1", 1),
        ("n0", 2),
        ("n1", 2),
        ("n1", 3),
        ("n0", 4),
    ]
    await store.close()
    snapshot = await new_store().open(recent_events=9, recent_bytes=PLENTY)
    assert [event.number for event in snapshot.recent] == [1, 4]
    assert sorted(snapshot.sessions, key=lambda session: session.client_id) == before


@pytest.mark.gen_test
async def test_the_bounds_hold_after_a_commit_was_undone(
    new_store: Callable[..., SqlStore],
) -> None:
    store = await opened(new_store())
    await store.commit(some_events(1))
    lose_outcomes(store, 1)
    with pytest.raises(StoreUnavailable):
        await store.commit(some_events(2, 3))
    await store.commit(some_events(4))
    assert await store.trim(Bounds(2, 2 * an_event(1).size, 0), NOW) == 1
    assert await store.trim(Bounds(0, 2 * an_event(1).size - 1, 0), NOW) == 2
    assert await numbers_for(store) == [4]


@pytest.mark.gen_test
async def test_a_deletion_whose_outcome_was_not_heard_of_may_be_tried_again(
    new_store: Callable[..., SqlStore],
) -> None:
    store = await opened(new_store())
    await store.commit(appended(an_event(1, "a"), an_event(2, "b"), an_event(3, "c")))
    lose_outcomes(store, 1)
    with pytest.raises(StoreUnavailable):
        await store.trim(Bounds(2, 0, 0), NOW)
    assert await store.trim(Bounds(2, 0, 0), NOW) == 2
    lose_outcomes(store, 1)
    with pytest.raises(StoreUnavailable):
        await store.delete_history("b")
    assert await store.delete_history("b") == 0
    assert await numbers_for(store, "a", "b", "c") == [3]
    await store.commit(appended(an_event(4, "c")))
    assert await store.trim(Bounds(2, 0, 0), NOW) == 2


@pytest.mark.gen_test
async def test_what_is_in_doubt_at_the_end_is_settled_by_closing(
    new_store: Callable[..., SqlStore],
) -> None:
    store = await opened(new_store())
    lose_outcomes(store, 1)
    with pytest.raises(StoreUnavailable):
        await store.commit(some_events(1))
    await store.close()
    assert await numbers_for(await opened(new_store())) == []


@pytest.mark.gen_test
async def test_of_webhooks_nothing_is_read_that_is_about_to_be_undone(
    new_store: Callable[..., SqlStore],
) -> None:
    store = await opened(new_store())
    await store.commit([received(1)])
    for look in (
        lambda: store.webhook_marks(["m1"]),
        store.webhook_backlog,
        store.next_webhook,
    ):
        lose_outcomes(store, 1)
        with pytest.raises(StoreUnavailable):
            await store.commit([received(2), marked("m1"), WebhookSettled(1, "done")])
        assert await look() in ({}, WebhookBacklog(1, 1, 2), StoredWebhook(1, NOW, b"{}"))


@pytest.mark.gen_test
async def test_of_the_outbox_nothing_is_read_that_is_about_to_be_undone(
    new_store: Callable[..., SqlStore],
) -> None:
    store = await opened(new_store())
    await store.commit([put(1)])
    for look in (lambda: store.outbox(limit=9, max_bytes=9), store.outbox_backlog):
        lose_outcomes(store, 1)
        with pytest.raises(StoreUnavailable):
            await store.commit([put(2), put(3), OutboxSent("n1", 1)])
        assert await look() in ([OutboxEntry("n1", 1, "{}")], OutboxBacklog(1, 2))


@pytest.mark.gen_test
async def test_what_was_put_without_an_outcome_is_put_again_and_there_once(
    new_store: Callable[..., SqlStore], outcomes_lost: int
) -> None:
    store = await opened(new_store())
    lose_outcomes(store, outcomes_lost)
    for _ in range(outcomes_lost):
        with pytest.raises(StoreUnavailable):
            await store.commit([put(1), put(2)])
    await store.commit([put(1), put(2)])
    assert await sequences_in_outbox(store) == [("n1", 1), ("n1", 2)]


@pytest.mark.gen_test
async def test_a_replay_whose_outcome_was_not_heard_of_may_be_tried_again(
    new_store: Callable[..., SqlStore],
) -> None:
    store = await opened(new_store())
    await store.commit([received(1), received(2)])
    await store.commit([WebhookSettled(1, "set_aside"), WebhookSettled(2, "done")])
    lose_outcomes(store, 1)
    with pytest.raises(StoreUnavailable):
        await store.replay_webhooks(None)
    assert await store.replay_webhooks(None) == 0
    assert await store.webhook_backlog() == WebhookBacklog(2, 1, 2)


# A database that is slow or away


@asynccontextmanager
async def another_program_holds(location: str) -> AsyncIterator[None]:
    """Keep everybody else from writing."""
    database = database_at(location)
    begin = {"postgresql": "BEGIN", "sqlite": "BEGIN IMMEDIATE"}
    async with database.reader() as connection:
        await connection.exec_driver_sql(begin[database.dialect.name])
        if database.dialect.name == "postgresql":
            await connection.exec_driver_sql("LOCK TABLE gtower_log")
        yield
        await connection.exec_driver_sql("ROLLBACK")
    await database.close()


@pytest.mark.gen_test
async def test_who_waits_for_a_slow_database_is_refused_and_what_it_does_later_is_undone(
    new_store: Callable[..., SqlStore], location: str
) -> None:
    store = await opened(new_store(patience_seconds=0.5))
    async with another_program_holds(location):
        for number in (1, 2):
            with pytest.raises(StoreUnavailable, match="does not answer"):
                await store.commit(some_events(number))
    last = await commit_until_it_works(store, 3)
    await store.close()
    assert await numbers_for(await opened(new_store())) == [last]


async def commit_until_it_works(store: SqlStore, number: int) -> int:
    """Commit one event after the other; return the number of the first that is recorded."""
    for attempt in range(number, number + 1000):
        try:
            await store.commit(some_events(attempt))
        except StoreUnavailable:
            continue
        return attempt
    raise AssertionError("it does not work again")


@pytest.mark.gen_test
async def test_events_are_read_while_nothing_can_be_written(
    new_store: Callable[..., SqlStore], location: str
) -> None:
    store = await opened(new_store())
    await store.commit([*some_events(1), AnswerGiven(an_answer("k1"))])
    async with another_program_holds(location):
        assert await store.history("sales", after=0, limit=9, now=NOW) == [an_event(1)]
        assert await store.find_answer("k1", NOW) == an_answer("k1")


@pytest.mark.gen_test
async def test_a_failing_store_is_logged_once_and_so_is_its_recovery(
    new_store: Callable[..., SqlStore], location: str
) -> None:
    store = await opened(new_store(patience_seconds=0.5))
    with structlog.testing.capture_logs() as logged:
        async with another_program_holds(location):
            for number in (1, 2, 3):
                with pytest.raises(StoreUnavailable):
                    await store.commit(some_events(number))
                # Being able to read is no news of whether one can write.
                await store.find_answer("k1", NOW)
        last = await commit_until_it_works(store, 4)
        await store.commit(some_events(last + 1))
    assert [entry["event"] for entry in logged] == ["store_unavailable", "store_available"]
    assert logged[0]["reason"] == "The event store does not answer."


# Versions


@pytest.fixture
def upgrades(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[Connection], None]]:
    """Give the list of upgrades for the test to change."""
    copy = list(schema.UPGRADES)
    monkeypatch.setattr(schema, "UPGRADES", copy)
    return copy


async def columns_of_log(location: str) -> set[str]:
    database = database_at(location)
    async with database.reader() as connection:
        found = set((await connection.exec_driver_sql("SELECT * FROM gtower_log")).keys())
    await database.close()
    return found


@pytest.mark.gen_test
async def test_an_older_database_is_upgraded_step_by_step_and_keeps_what_it_has(
    new_store: Callable[..., SqlStore],
    location: str,
    upgrades: list[Callable[[Connection], None]],
) -> None:
    store = await opened(new_store())
    await store.commit([*some_events(1), SessionOpened(a_session())])
    await store.close()
    upgrades += [
        lambda it: it.exec_driver_sql("ALTER TABLE gtower_log ADD COLUMN one INTEGER") and None,
        lambda it: it.exec_driver_sql("ALTER TABLE gtower_log RENAME COLUMN one TO two") and None,
    ]
    for _ in range(2):
        newer = new_store()
        snapshot = await newer.open(recent_events=9, recent_bytes=PLENTY)
        assert (snapshot.recent, snapshot.sessions) == ([an_event(1)], [a_session()])
        await newer.close()
    assert {"two", "epoch"} <= await columns_of_log(location)


@pytest.mark.gen_test
async def test_a_database_of_the_first_version_has_tables_for_all_that_came_later(
    new_store: Callable[..., SqlStore], location: str
) -> None:
    store = await opened(new_store())
    await store.commit(some_events(1))
    await store.close()
    newer_tables = (schema.minutes, schema.webhooks, schema.webhook_marks, schema.outbox)
    await change(
        location, *map(DropTable, newer_tables), update(schema.log).values(schema_version=1)
    )
    minute = CountedMinute("m1", NOW, "{}")
    webhook = StoredWebhook(1, NOW, b"{}")
    newer = await opened(new_store())
    await newer.commit([MinuteCounted(minute), WebhookReceived(webhook), marked("k1", "read")])
    assert await newer.minutes(since=NOW, before=NOW + 1) == [minute]
    assert await newer.next_webhook() == webhook
    assert await newer.webhook_marks(["k1"]) == {"k1": "read"}
    await newer.commit([put(2), put(1, origin="n0")])
    await newer.commit([OutboxSent("n1", 1), put(3)])
    assert await sequences_in_outbox(newer) == [("n1", 2), ("n0", 1), ("n1", 3)]
    with pytest.raises(ValueError, match="outbox"):
        await newer.commit([put(2)])
    assert await numbers_for(newer) == [1]


@pytest.mark.gen_test
async def test_an_upgrade_that_fails_leaves_the_database_as_it_was(
    new_store: Callable[..., SqlStore],
    location: str,
    upgrades: list[Callable[[Connection], None]],
) -> None:
    await (await opened(new_store())).close()

    def fail(_: Connection) -> None:
        raise OSError("power")

    upgrades += [
        lambda it: it.exec_driver_sql("ALTER TABLE gtower_log ADD COLUMN one INTEGER") and None,
        fail,
    ]
    with pytest.raises(StoreUnavailable):
        await opened(new_store())
    assert "one" not in await columns_of_log(location)
    del upgrades[-2:]
    await opened(new_store())


@pytest.mark.gen_test
async def test_a_newer_database_is_refused_with_what_to_do(
    new_store: Callable[..., SqlStore],
    location: str,
    upgrades: list[Callable[[Connection], None]],
) -> None:
    upgrades.append(lambda _: None)
    await (await opened(new_store())).close()
    upgrades.pop()
    with pytest.raises(StoreUnusable, match="newer version of GTower Realtime") as refusal:
        await opened(new_store())
    assert "of version 5, this program knows them up to version 4" in refusal.value.message
    assert "GTOWER_DATABASE_URL" in refusal.value.message


# Death


def test_what_was_recorded_survives_any_number_of_deaths(
    io_loop: IOLoop, new_store: Callable[..., SqlStore], location: str
) -> None:
    recorded = 0
    for commits in (1, 20, 60):
        recorded = kill_while_writing(location, commits=commits)
        io_loop.run_sync(partial(check_all_is_there, new_store(), recorded))
    assert recorded >= (1 + 20 + 60) * EVENTS_OF_A_COMMIT


def kill_while_writing(location: str, *, commits: int) -> int:
    """Let a process write, kill it, and return the last number that it was told is recorded."""
    command = [sys.executable, "-m", "tests.store_writer", location]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(commits)]
        writer.kill()
        return int([*lines, *writer.stdout][-1])


async def check_all_is_there(store: SqlStore, recorded: int) -> None:
    snapshot = await store.open(recent_events=PLENTY, recent_bytes=PLENTY**2)
    last = snapshot.last_number
    # The commit that nobody was told about may have happened, in full.
    assert last in {recorded, recorded + EVENTS_OF_A_COMMIT}
    assert [event.number for event in snapshot.recent] == list(range(1, last + 1))
    assert await numbers_for(store) == list(range(1, last + 1))
    ends = range(EVENTS_OF_A_COMMIT, last + 1, EVENTS_OF_A_COMMIT)
    assert {session.client_id for session in snapshot.sessions} == {f"c{n}" for n in ends}
    for end in ends:
        assert await store.find_answer(f"k{end}", NOW) is not None
    size = sum(event.size for event in snapshot.recent)
    assert await store.trim(Bounds(last, size, 0), NOW) == 1
    await store.close()
