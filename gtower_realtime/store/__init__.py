"""Where things are kept: implementations of `ports.Store` and `ports.SharedHistory`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from gtower_realtime.errors import StoreUnusable
from gtower_realtime.ports import SharedHistory, Store
from gtower_realtime.settings import Settings
from gtower_realtime.store.memory import MemoryStore
from gtower_realtime.store.sql.database import Database
from gtower_realtime.store.sql.sqlite import SqliteDatabase
from gtower_realtime.store.sql.store import SqlStore

_SQLITE = "sqlite:///"
_POSTGRESQL = "postgresql:"


def open_store(settings: Settings) -> Store:
    """Return the store of this process, not opened yet: the one that the settings name.

    In a cluster a PostgreSQL database is for the archive of all nodes, and each has its own store
    in its state directory.

    Raises:
        StoreUnusable: its driver is not installed.
    """
    if settings.store_url == "memory:":
        return MemoryStore()
    if _names_an_archive(settings):
        settings = replace(settings, database_url=None)
    return SqlStore(open_database(settings))


def open_archive(settings: Settings) -> SharedHistory | None:
    """Return what keeps the long history of a cluster, not opened yet.

    None when the settings name no cluster, or another database than PostgreSQL.

    Raises:
        StoreUnusable: its driver is not installed.
    """
    if not _names_an_archive(settings):
        return None
    with _missing_driver_named():
        from gtower_realtime.store.sql.archive import Archive  # noqa: PLC0415
    return Archive(settings.store_url)


def _names_an_archive(settings: Settings) -> bool:
    return settings.redis_url is not None and settings.store_url.startswith(_POSTGRESQL)


def sqlite_file(settings: Settings) -> Path | None:
    """Return the file that has the events; None when the settings name another database."""
    url = settings.store_url
    return Path(url.removeprefix(_SQLITE)) if url.startswith(_SQLITE) else None


def open_database(settings: Settings) -> Database:
    """Return the database that the settings name, which is not ``memory:``; not connected yet.

    Raises:
        StoreUnusable: its driver is not installed.
    """
    file = sqlite_file(settings)
    if file is not None:
        return SqliteDatabase(file, waits_for_disk=settings.synchronous == "full")
    with _missing_driver_named():
        from gtower_realtime.store.sql.postgresql import PostgresqlDatabase  # noqa: PLC0415
    return PostgresqlDatabase(settings.store_url)


@contextmanager
def _missing_driver_named() -> Iterator[None]:
    # Not everybody has installed it.
    try:
        yield
    except ImportError as problem:
        raise StoreUnusable(
            f"PostgreSQL needs {problem.name}: pip install 'gtower-realtime[postgresql]'"
        ) from problem
