"""`backup` and `restore` with a server that runs, is killed, and comes back."""

import asyncio
import json
import os
import re
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tornado.ioloop import IOLoop

from gtower_realtime.settings import Settings
from gtower_realtime.store import open_store
from tests.command import command
from tests.postgresql import PostgresqlServer
from tests.returning_client import ReturningClient
from tests.server_process import (
    ServerProcess,
    numbers_in_history,
    publish_until_acknowledged,
)
from tests.stores import put, sequences_in_outbox, some_events

ROOM = "ledger"
NOBODY = 65534


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def server(io_loop: IOLoop, state: Path) -> Iterator[ServerProcess]:
    process = ServerProcess({"GTOWER_STATE_DIR": str(state)})
    io_loop.run_sync(process.start)
    yield process
    io_loop.run_sync(process.kill)


async def publish(server: ServerProcess, n: int) -> None:
    url = f"{server.url}/websocket/event/room/{ROOM}/tick"
    await publish_until_acknowledged(url, json.dumps({"n": n}), f"tick-{n}")


@pytest.mark.gen_test(timeout=180)
async def test_a_backup_under_load_comes_back_and_nobody_is_told_that_nothing_is_missing(
    server: ServerProcess, node: str, state: Path, tmp_path: Path
) -> None:
    client = await ReturningClient.start(node, server.url, ROOM)
    copy = tmp_path / "backup.db"
    acknowledged: list[int] = []
    has_enough = asyncio.Event()

    async def keep_publishing() -> None:
        while not has_enough.is_set():
            await publish(server, len(acknowledged))
            acknowledged.append(len(acknowledged))

    publishing = asyncio.create_task(keep_publishing())
    await client.until(lambda: len(client.ticks) >= 100)
    before = len(acknowledged)
    made = await command("backup", str(copy), "--json", GTOWER_STATE_DIR=str(state))
    assert (made.status, made.errors) == (0, "")
    seen = len(client.ticks)
    await client.until(lambda: len(client.ticks) >= seen + 50)
    refused = await command("restore", str(copy), GTOWER_STATE_DIR=str(state))
    assert refused.status == os.EX_TEMPFAIL
    assert "It is in use by another process (number " in refused.errors
    has_enough.set()
    await publishing
    await client.until(lambda: len(client.ticks) == len(acknowledged))
    await server.kill()

    restored = await command("restore", str(copy), "--json", GTOWER_STATE_DIR=str(state))
    assert (restored.status, restored.errors) == (0, "")
    await server.start()
    await client.until(lambda: len(client.connects) == 2 and client.joined == 2)
    there = await numbers_in_history(server.url, ROOM)
    assert there == acknowledged[: len(there)]
    assert before <= len(there) < len(acknowledged)
    assert made.said["events"] == restored.said["events"] == len(there)
    back = client.connects[1]
    assert (back["recovered"], back["says"], back["reason"]) == (False, False, "epoch_changed")
    # Numbers begin far behind those that were given out, so that nothing is taken for something.
    await publish(server, -1)
    await client.until(lambda: client.ticks[-1] == -1)
    assert client.ticks == [*acknowledged, -1]
    assert await numbers_in_history(server.url, ROOM) == [*there, -1]
    assert await server.stop() == 0
    await client.stop()


# What is there, and whose it is


@pytest.fixture
def log(io_loop: IOLoop, state: Path) -> Path:
    """Give the file of a log with three events and an outbox, which no server uses."""

    async def fill() -> None:
        store = open_store(Settings.load({"GTOWER_STATE_DIR": str(state)}))
        await store.open(recent_events=0, recent_bytes=0)
        await store.commit([*some_events(1, 2, 3), put(1), put(2)])
        await store.close()

    io_loop.run_sync(fill)
    return state / "gtower.db"


def names_in(directory: Path) -> set[str]:
    return {file.name for file in directory.iterdir()}


def owners_in(path: Path) -> set[int]:
    files = path.iterdir() if path.is_dir() else [path]
    return {file.stat().st_uid for file in files}


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def content_of(path: Path) -> bytes:
    return path.read_bytes()


def value(path: Path, query: str) -> object:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchone()[0]


@pytest.mark.gen_test
async def test_a_backup_is_one_file_that_nobody_else_can_read(
    log: Path, state: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copies" / "backup.db"
    copy.parent.mkdir()
    ended = await command("backup", str(copy), GTOWER_STATE_DIR=str(state))
    assert [line.split() for line in ended.output.splitlines()] == [
        ["log", str(log)],
        ["backup", str(copy)],
        ["events", "3"],
        ["bytes", str(copy.stat().st_size)],
    ]
    assert names_in(copy.parent) == {"backup.db"}
    assert mode_of(copy) == 0o600
    assert value(copy, "SELECT unsynced_boot FROM gtower_log") == "backup"
    assert value(log, "SELECT unsynced_boot FROM gtower_log") is None


@pytest.mark.gen_test
async def test_a_file_that_is_there_is_written_over_only_with_force(
    log: Path, state: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "backup.db"
    copy.write_text("precious")
    line = ("backup", str(copy))
    assert (await command(*line, GTOWER_STATE_DIR=str(state))).status == os.EX_CANTCREAT
    assert copy.read_text() == "precious"
    assert (await command(*line, "--force", GTOWER_STATE_DIR=str(state))).status == 0
    assert value(copy, "SELECT events FROM gtower_log") == 3


@pytest.mark.gen_test
async def test_the_log_that_was_there_is_kept(log: Path, state: Path, tmp_path: Path) -> None:
    copy = tmp_path / "backup.db"
    await command("backup", str(copy), GTOWER_STATE_DIR=str(state))
    with closing(sqlite3.connect(log)) as connection:
        connection.execute("UPDATE gtower_log SET epoch = 'theold1'")
        connection.commit()
    ended = await command("restore", str(copy), "--json", GTOWER_STATE_DIR=str(state))
    assert ended.said["before"] == f"{log}.before-restore"
    assert names_in(state) == {"gtower.db", "gtower.db.lock", "gtower.db.before-restore"}
    kept = Path(ended.said["before"])
    assert value(kept, "SELECT epoch FROM gtower_log") == "theold1"
    assert value(log, "SELECT epoch FROM gtower_log") != "theold1"
    assert mode_of(log) == 0o600


@pytest.mark.gen_test
async def test_what_root_restores_belongs_to_whom_the_log_belonged(
    log: Path, state: Path, tmp_path: Path
) -> None:
    owner = NOBODY if os.geteuid() == 0 else os.geteuid()
    copy = tmp_path / "backup.db"
    await command("backup", str(copy), GTOWER_STATE_DIR=str(state))
    for file in (log, log.with_name("gtower.db.lock")):
        os.chown(file, owner, -1)
    ended = await command("restore", str(copy), GTOWER_STATE_DIR=str(state))
    assert ended.status == 0
    assert owners_in(state) == {owner}
    assert owners_in(tmp_path / "backup.db") == {os.geteuid()}


@pytest.mark.gen_test
async def test_a_backup_is_restored_where_nothing_was(
    log: Path, state: Path, tmp_path: Path
) -> None:
    copy, other = tmp_path / "backup.db", tmp_path / "other"
    await command("backup", str(copy), GTOWER_STATE_DIR=str(state))
    ended = await command("restore", str(copy), GTOWER_STATE_DIR=str(other))
    assert ended.status == 0
    assert value(other / "gtower.db", "SELECT events FROM gtower_log") == 3


@pytest.mark.usefixtures("log")
@pytest.mark.gen_test
async def test_what_a_backup_has_for_other_nodes_is_not_sent_once_more(
    state: Path, tmp_path: Path
) -> None:
    copy, other = tmp_path / "backup.db", tmp_path / "other"
    await command("backup", str(copy), GTOWER_STATE_DIR=str(state))
    await command("restore", str(copy), GTOWER_STATE_DIR=str(other))
    waiting: dict[Path, list[tuple[str, int]]] = {}
    with capture_logs() as logged:
        for directory in (state, other, other):
            store = open_store(Settings.load({"GTOWER_STATE_DIR": str(directory)}))
            await store.open(recent_events=0, recent_bytes=0)
            waiting[directory] = await sequences_in_outbox(store)
            await store.close()
    assert waiting == {state: [("n1", 1), ("n1", 2)], other: []}
    dropped = [(entry["event"], entry.get("entries")) for entry in logged]
    assert dropped == [("backup", None), ("outbox_dropped", 2)]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"no database" * 1000, "is no log"), (b"", "is no log")],
    ids=["text", "empty"],
)
@pytest.mark.gen_test
async def test_what_is_no_backup_is_refused_and_the_log_stays(
    log: Path, state: Path, tmp_path: Path, content: bytes, sentence: str
) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    before = content_of(log)
    ended = await command("restore", str(file), GTOWER_STATE_DIR=str(state))
    assert (ended.status, sentence in ended.errors) == (os.EX_DATAERR, True)
    assert content_of(log) == before
    assert names_in(state) == {"gtower.db", "gtower.db.lock"}


@pytest.mark.gen_test
async def test_a_backup_of_a_newer_version_or_a_damaged_one_is_refused(
    log: Path, state: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "backup.db"
    await command("backup", str(copy), GTOWER_STATE_DIR=str(state))
    whole = copy.read_bytes()
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("UPDATE gtower_log SET schema_version = 99")
        connection.commit()
    ended = await command("restore", str(copy), GTOWER_STATE_DIR=str(state))
    assert (ended.status, "newer version" in ended.errors) == (os.EX_DATAERR, True)
    copy.write_bytes(whole[: len(whole) // 2])
    ended = await command("restore", str(copy), GTOWER_STATE_DIR=str(state))
    assert ended.status in {os.EX_DATAERR, os.EX_IOERR}
    assert "Traceback" not in ended.errors
    assert value(log, "SELECT events FROM gtower_log") == 3


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["backup", "copy.db"], os.EX_NOINPUT),
        (["restore", "/nowhere"], os.EX_NOINPUT),
        (["restore", "--mark-only"], os.EX_NOINPUT),
        (["restore"], os.EX_USAGE),
        (["restore", "/nowhere", "--mark-only"], os.EX_USAGE),
    ],
)
@pytest.mark.gen_test
async def test_what_is_missing_is_said(tmp_path: Path, arguments: list[str], status: int) -> None:
    ended = await command(*arguments, GTOWER_STATE_DIR=str(tmp_path / "none"))
    assert (ended.status, ended.output) == (status, "")
    assert not (tmp_path / "none").exists()


@pytest.mark.gen_test
async def test_memory_has_nothing_to_copy(tmp_path: Path) -> None:
    for line in (("backup", "copy.db"), ("restore", __file__), ("restore", "--mark-only")):
        ended = await command(*line, GTOWER_DATABASE_URL="memory:")
        assert ended.status == os.EX_UNAVAILABLE
        assert "there is nothing on a disk" in ended.errors


# Restored by other means


@pytest.mark.gen_test
async def test_a_log_that_was_copied_by_hand_is_marked(log: Path, state: Path) -> None:
    ended = await command("restore", "--mark-only", "--json", GTOWER_STATE_DIR=str(state))
    assert ended.said == {"marked": f"the SQLite file {log}"}
    assert value(log, "SELECT unsynced_boot FROM gtower_log") == "backup"


@pytest.mark.gen_test
async def test_with_postgresql_its_own_commands_are_named_and_the_log_is_marked(
    postgresql: PostgresqlServer,
) -> None:
    url = postgresql.new_database()
    settings = Settings.load({"GTOWER_DATABASE_URL": url})
    store = open_store(settings)
    epoch = (await store.open(recent_events=0, recent_bytes=0)).epoch
    await store.commit([*some_events(1, 2), put(1)])
    in_use = await command("restore", "--mark-only", GTOWER_DATABASE_URL=url)
    assert (in_use.status, "in use by another process" in in_use.errors) == (os.EX_TEMPFAIL, True)
    await store.close()

    secret = url.replace("gtower@", "gtower:hunter2@")
    ended = await command("backup", "copy.db", GTOWER_DATABASE_URL=secret)
    assert (ended.status, ended.output) == (os.EX_UNAVAILABLE, "")
    assert "pg_dump --format=custom" in ended.errors
    assert "hunter2" not in ended.errors

    ended = await command("restore", "--mark-only", GTOWER_DATABASE_URL=url)
    assert (ended.status, ended.errors) == (0, "")
    store = open_store(settings)
    snapshot = await store.open(recent_events=9, recent_bytes=10_000)
    waiting = await sequences_in_outbox(store)
    await store.close()
    assert snapshot.epoch != epoch
    assert snapshot.last_number == 1_000_002
    assert [event.number for event in snapshot.recent] == [1, 2]
    assert waiting == []


@pytest.mark.gen_test(timeout=120)
async def test_the_commands_for_postgresql_bring_back_what_was(
    postgresql: PostgresqlServer, tmp_path: Path
) -> None:
    url = postgresql.new_whole_database()
    settings = Settings.load({"GTOWER_DATABASE_URL": url})
    store = open_store(settings)
    epoch = (await store.open(recent_events=0, recent_bytes=0)).epoch
    await store.commit(some_events(1, 2))
    said = (await command("backup", "copy.db", GTOWER_DATABASE_URL=url)).errors
    back_up, restore = (re.search(rf"{name} .*FILE.*", said) for name in ("pg_dump", "pg_restore"))
    assert back_up is not None
    assert restore is not None
    await run_program(postgresql, back_up[0], tmp_path)
    await store.commit(some_events(3))
    await store.close()
    await run_program(postgresql, restore[0], tmp_path)
    ended = await command("restore", "--mark-only", GTOWER_DATABASE_URL=url)
    assert (ended.status, ended.errors) == (0, "")

    store = open_store(settings)
    snapshot = await store.open(recent_events=9, recent_bytes=10_000)
    await store.commit(some_events(snapshot.last_number + 1))
    await store.close()
    assert [event.number for event in snapshot.recent] == [1, 2]
    assert snapshot.epoch != epoch


async def run_program(postgresql: PostgresqlServer, line: str, directory: Path) -> None:
    environ = {**os.environ, "PATH": f"{postgresql.programs}:{os.environ['PATH']}"}
    process = await asyncio.create_subprocess_exec("sh", "-c", line, cwd=directory, env=environ)
    assert await asyncio.wait_for(process.wait(), 60) == 0
