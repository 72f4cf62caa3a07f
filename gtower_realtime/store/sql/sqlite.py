"""What is SQLite's own: one file, a write-ahead log, and a lock against a second process."""

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from itertools import chain
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

from sqlalchemy import Connection as SyncConnection
from sqlalchemy import CursorResult, Executable, Table, create_engine, event
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from gtower_realtime.errors import StoreUnavailable, StoreUnusable
from gtower_realtime.store.sql.database import Connection, Result

_BUSY_SECONDS = 2.0
_READERS = 2
_ROWS_OF_AN_INSERT = 64
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_PRAGMAS = (
    "journal_mode = WAL",
    "synchronous = FULL",
    "temp_store = MEMORY",
    # What a burst has made of it is given back.
    "journal_size_limit = 67108864",
)

_SENTENCES = {
    "SQLITE_FULL": "The disk of the event store is full.",
    "SQLITE_BUSY": "The event store is locked by another program.",
    "SQLITE_READONLY": "The event store cannot be written.",
    "SQLITE_IOERR": "The disk of the event store fails.",
    "SQLITE_CANTOPEN": "The event store's file cannot be opened.",
}
_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")


class SqliteDatabase:
    """A `Database` in the file ``path``, which belongs to one process as long as that lives.

    ``waits_for_disk`` is SQLite's ``synchronous=FULL``. The file and its directory are made if
    need be, for nobody else to read.
    """

    driver_errors: tuple[type[Exception], ...] = (sqlite3.Error,)

    def __init__(self, path: Path, *, waits_for_disk: bool = False) -> None:
        self.name = f"the SQLite file {path}"
        self.is_synchronous = waits_for_disk
        self.boot = _boot_of_this_machine()
        self._path = path
        self._lock: int | None = None
        self._identity: tuple[int, int] | None = None
        self._insert_texts: dict[tuple[str, int], str] = {}
        self._threads: dict[bool, ThreadPoolExecutor] = {}
        """What carries out works that write, and those that only read."""
        self.engine = create_engine(
            URL.create("sqlite+pysqlite", database=str(path)),
            connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False},
            hide_parameters=True,
            isolation_level="AUTOCOMMIT",
            pool_size=1 + _READERS,
            max_overflow=0,
            pool_timeout=_BUSY_SECONDS,
        )
        self.dialect = self.engine.dialect
        event.listen(self.engine, "connect", _set_up)

    def carry_out(
        self, work: Coroutine[Any, Any, Result], *, writes: bool = True
    ) -> "asyncio.Future[Result]":
        """Begin ``work``, all of it in one go in a thread; see `Database.carry_out`.

        A way to the thread and back for each statement would cost more than the statements.
        """
        threads = self._threads.get(writes)
        if threads is None:
            count = 1 if writes else _READERS
            threads = self._threads[writes] = ThreadPoolExecutor(count, "gtower-store")
        return asyncio.get_running_loop().run_in_executor(threads, _run, work)

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[Connection]:
        """Return a connection that reads; see `Database.reader`."""
        with self.engine.connect() as connection:
            yield _InThread(connection)

    async def connect(self) -> Connection:
        """Return the connection that writes; see `Database.connect`."""
        if self._lock is None:
            try:
                self._lock = self._take()
            except OSError as problem:
                raise StoreUnusable(
                    f"{problem.strerror}: {problem.filename}. It must be possible to write there."
                ) from problem
        connection = self.engine.connect()
        return _InThread(connection.execution_options(isolation_level="SERIALIZABLE"))

    def _take(self) -> int:
        """Make sure that the file is there and nobody else's; return what keeps it ours."""
        lock = take_lock(self._path)
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            self._identity = _identity(os.fstat(file))
            os.close(file)
        except BaseException:
            os.close(lock)
            raise
        return lock

    async def relax(self, connection: Connection) -> None:
        """Let commits wait for the disk only if they are to; see `Database.relax`."""
        if not self.is_synchronous:
            await connection.exec_driver_sql("PRAGMA synchronous = NORMAL")
            await connection.rollback()

    async def harden(self, connection: Connection) -> None:
        """Let commits wait for the disk; see `Database.harden`."""
        await connection.exec_driver_sql("PRAGMA synchronous = FULL")
        await connection.rollback()

    def verify(self) -> None:
        """Check that the path still leads to the file; see `Database.verify`."""
        # SQLite goes on writing to a file that has lost its name.
        try:
            is_there = _identity(self._path.stat()) == self._identity
        except OSError:
            is_there = False
        if not is_there:
            raise StoreUnavailable("The event store's file is gone.")

    async def insert_rows(
        self, connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]
    ) -> None:
        """Insert whole rows; see `Database.insert_rows`.

        Many with one statement: between two statements its driver takes the interpreter's lock,
        and the loop, which is busy meanwhile, loses it.
        """
        done = 0
        while done < len(rows):
            # Powers of two, so that the statements are few and stay prepared.
            count = 1 << min(_ROWS_OF_AN_INSERT, len(rows) - done).bit_length() - 1
            values = tuple(chain.from_iterable(rows[done : done + count]))
            await connection.exec_driver_sql(self._insert_text(table, count), values)
            done += count

    def _insert_text(self, table: Table, count: int) -> str:
        text = self._insert_texts.get((table.name, count))
        if text is None:
            row = f"({', '.join('?' * len(table.columns))})"
            text = f"INSERT INTO {table.name} VALUES {', '.join([row] * count)}"  # noqa: S608
            self._insert_texts[table.name, count] = text
        return text

    def insert_into(self, table: Table) -> Any:
        """Return an INSERT of SQLite's; see `Database.insert_into`."""
        return sqlite.insert(table)

    def explain(self, problem: Exception) -> StoreUnavailable | StoreUnusable:
        """Return what to raise for an error; see `Database.explain`."""
        if isinstance(problem, PoolTimeoutError):
            return StoreUnavailable("The event store does not answer.")
        origin = problem.orig if isinstance(problem, DBAPIError) else problem
        error = getattr(origin, "sqlite_errorname", "")
        if error.startswith(_DAMAGED):
            return StoreUnusable(
                "The file of the event store is damaged: "
                "move it away, or put a backup in its place."
            )
        sentences = (text for name, text in _SENTENCES.items() if error.startswith(name))
        return StoreUnavailable(next(sentences, "The event store has failed."))

    async def close(self) -> None:
        """Close the file and let other processes have it; see `Database.close`."""
        threads, self._threads = self._threads, {}
        for some in threads.values():
            some.shutdown(wait=False)
        self.engine.dispose()
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)


def take_lock(path: Path) -> int:
    """Make the database file ``path`` ours, whether it is there or not, until the result is closed.

    Raises:
        StoreUnusable: it is another process's.
        OSError: there can be no such file.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A file of its own: closing any descriptor of the database would end SQLite's own locks.
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            # Ends with the process, however it ends.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock, 20).decode(errors="replace").strip() or "unknown"
            raise StoreUnusable(f"It is in use by another process (number {holder}).") from None
        os.truncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    except BaseException:
        os.close(lock)
        raise
    return lock


class _InThread:
    """A `Connection` whose calls are over when they return: the thread waits, not the coroutine."""

    def __init__(self, connection: SyncConnection) -> None:
        self._connection = connection

    async def execute(self, statement: Executable, parameters: Any = None, /) -> CursorResult[Any]:
        return self._connection.execute(statement, parameters)

    async def exec_driver_sql(self, statement: str, parameters: Any = None, /) -> CursorResult[Any]:
        return self._connection.exec_driver_sql(statement, parameters)

    async def run_sync(self, function: Callable[..., Any], /, *arguments: Any) -> Any:
        return function(self._connection, *arguments)

    async def commit(self) -> None:
        self._connection.commit()

    async def rollback(self) -> None:
        self._connection.rollback()

    async def invalidate(self) -> None:
        self._connection.invalidate()

    async def close(self) -> None:
        self._connection.close()


def _run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine that never has to wait to its end."""
    try:
        work.send(None)
    except StopIteration as end:
        return cast("Result", end.value)
    work.close()
    raise RuntimeError("work in a thread has waited for something that is not its database")


def _set_up(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _boot_of_this_machine() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        # Not Linux: what cannot be told from a power cut counts as one.
        return str(uuid4())
