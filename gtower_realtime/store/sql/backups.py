"""Copies of the log in an SQLite file: made while a server writes it, and put in its place again.

A copy is marked as one of the past, so that the server that opens it begins a new epoch: a client
that has seen more is told so, and never taken for complete.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from sqlalchemy import update

from gtower_realtime.store.sql import schema
from gtower_realtime.store.sql.database import Connection, Database
from gtower_realtime.store.sql.sqlite import take_lock
from gtower_realtime.store.sql.transactions import Transactions

Progress = Callable[[int, int], None]
"""Is told how many pages are done, and of how many."""

_PAGES_OF_A_STEP = 500
_PATIENCE_SECONDS = 10.0

_VERSION = f"SELECT schema_version FROM {schema.log.name}"  # noqa: S608
_COUNT = f"SELECT events FROM {schema.log.name}"  # noqa: S608
_MARK = f"UPDATE {schema.log.name} SET unsynced_boot = ?"  # noqa: S608


class NotABackup(Exception):
    """The file is no log of this program, or is damaged; the message says which."""


class Contents(NamedTuple):
    """What a copy has."""

    events: int
    bytes: int
    """Of the file."""


def back_up(log: Path, copy: Path, progress: Progress) -> Contents:
    """Copy the log as it is at this moment, whoever writes it meanwhile; ``copy`` is a new file.

    Nobody else can read the copy. It appears under its name when it is whole, checked and on the
    disk.

    Raises:
        NotABackup: ``log`` is no log.
        OSError, sqlite3.Error: it cannot be read, or the copy not be written.
    """
    with _new_file(copy) as new:
        return _copy(log, new, progress, mode="rw")


def restore(copy: Path, log: Path, progress: Progress) -> tuple[Contents, Path | None]:
    """Put a copy in the place of ``log``; return what is there now, and where the old log went.

    The old log stays beside the new one until the next :func:`restore`.

    Raises:
        NotABackup: ``copy`` is no log, or of a newer version of this program.
        StoreUnusable: another process has ``log``.
        OSError, sqlite3.Error: it cannot be read or written. The old log is where it was.
    """
    lock = take_lock(log)
    try:
        kept = log.with_name(f"{log.name}.before-restore") if log.exists() else None
        with _new_file(log) as new:
            contents = _copy(copy, new, progress, mode="ro")
            _give_to_owner_of(log if kept else log.parent, new, Path(f"{log}.lock"))
            if kept is not None:
                _put_aside(log, kept)
    finally:
        os.close(lock)
    return contents, kept


async def mark_as_past(database: Database) -> None:
    """Say of a log that was restored by other means that clients may have seen more.

    Raises:
        StoreUnavailable: the database cannot be reached, or has no log.
        StoreUnusable: another process has it.
    """
    transactions = Transactions(database, patience_seconds=_PATIENCE_SECONDS)
    try:
        await transactions.open(_mark)
    finally:
        await transactions.close()


async def _mark(writer: Connection) -> None:
    await writer.execute(update(schema.log).values(unsynced_boot=schema.OF_THE_PAST))
    await writer.commit()


def _copy(source: Path, target: Path, progress: Progress, *, mode: str) -> Contents:
    def told(_status: int, remaining: int, total: int) -> None:
        progress(total - remaining, total)

    with closing(_opened(source, mode)) as original, closing(_opened(target, "rwc")) as copy:
        # As long as this transaction reads, it sees the log as it is now: the copy need not begin
        # again whenever somebody writes.
        original.execute("BEGIN")
        _check_version(original, source)
        original.backup(copy, pages=_PAGES_OF_A_STEP, progress=told)
        copy.execute("PRAGMA journal_mode = DELETE")
        copy.execute(_MARK, (schema.OF_THE_PAST,))
        (finding,) = copy.execute("PRAGMA quick_check(1)").fetchone()
        if finding != "ok":
            raise NotABackup(f"{source} is damaged: {finding}")
        (events,) = copy.execute(_COUNT).fetchone()
    return Contents(events, target.stat().st_size)


def _opened(path: Path, mode: str) -> Any:
    address = f"file:{quote(str(path))}?mode={mode}"
    return sqlite3.connect(address, uri=True, isolation_level=None, timeout=_PATIENCE_SECONDS)


def _check_version(original: Any, source: Path) -> None:
    try:
        row = original.execute(_VERSION).fetchone()
    except sqlite3.DatabaseError as problem:
        raise NotABackup(f"{source} is no log of GTower Realtime: {problem}") from None
    if row is None or row[0] > schema.newest_version():
        raise NotABackup(f"{source} belongs to a newer version of GTower Realtime")


@contextmanager
def _new_file(path: Path) -> Iterator[Path]:
    """Give a file beside ``path`` that takes its place at the end, if all goes well."""
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    os.close(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        yield partial
        _sync(partial)
        partial.replace(path)
        _sync(path.parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        Path(f"{partial}-journal").unlink(missing_ok=True)
        raise


def _put_aside(log: Path, kept: Path) -> None:
    # A write-ahead log that was left behind would be taken for one of the new file.
    with suppress(sqlite3.DatabaseError), closing(_opened(log, "rw")) as old:
        old.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    kept.unlink(missing_ok=True)
    os.link(log, kept)
    for end in ("-wal", "-shm"):
        Path(f"{log}{end}").unlink(missing_ok=True)


def _give_to_owner_of(example: Path, *files: Path) -> None:
    """Let a server that runs as somebody else have what root has made for it."""
    if os.geteuid() == 0:
        owner = example.stat()
        for file in files:
            os.chown(file, owner.st_uid, owner.st_gid)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
