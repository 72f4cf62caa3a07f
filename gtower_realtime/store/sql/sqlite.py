"""What is SQLite's own: one file, a write-ahead log, and a lock against a second process."""

import fcntl
import logging
import os
import sqlite3
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import Table, event
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from gtower_realtime.errors import StoreUnavailable, StoreUnusable

_BUSY_SECONDS = 2.0
_READERS = 2
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
        # It would log what is stored.
        logging.getLogger("aiosqlite").setLevel(logging.INFO)
        self.engine = create_async_engine(
            URL.create("sqlite+aiosqlite", database=str(path)),
            connect_args={"timeout": _BUSY_SECONDS},
            hide_parameters=True,
            isolation_level="AUTOCOMMIT",
            pool_size=1 + _READERS,
            max_overflow=0,
            pool_timeout=_BUSY_SECONDS,
        )
        event.listen(self.engine.sync_engine, "connect", _set_up)

    async def connect(self) -> AsyncConnection:
        """Return the connection that writes; see `Database.connect`."""
        if self._lock is None:
            try:
                self._lock = self._take()
            except OSError as problem:
                raise StoreUnusable(
                    f"{problem.strerror}: {problem.filename}. It must be possible to write there."
                ) from problem
        connection = await self.engine.connect()
        return await connection.execution_options(isolation_level="SERIALIZABLE")

    def _take(self) -> int:
        """Make sure that the file is there and nobody else's; return what keeps it ours."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A file of its own: closing any descriptor of the database would end SQLite's own locks.
        lock = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                # Ends with the process, however it ends.
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(lock, 20).decode(errors="replace").strip() or "unknown"
                raise StoreUnusable(f"It is in use by another process (number {holder}).") from None
            os.truncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            self._identity = _identity(os.fstat(file))
            os.close(file)
        except BaseException:
            os.close(lock)
            raise
        return lock

    async def relax(self, connection: AsyncConnection) -> None:
        """Let commits wait for the disk only if they are to; see `Database.relax`."""
        if not self.is_synchronous:
            await connection.exec_driver_sql("PRAGMA synchronous = NORMAL")
            await connection.rollback()

    async def harden(self, connection: AsyncConnection) -> None:
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
        await self.engine.dispose()
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)


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
