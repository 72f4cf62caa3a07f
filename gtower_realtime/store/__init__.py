"""Where events, sessions and answers are kept: implementations of `ports.Store`."""

from pathlib import Path

from gtower_realtime.errors import StoreUnusable
from gtower_realtime.ports import Store
from gtower_realtime.settings import Settings
from gtower_realtime.store.memory import MemoryStore
from gtower_realtime.store.sql.database import Database
from gtower_realtime.store.sql.sqlite import SqliteDatabase
from gtower_realtime.store.sql.store import SqlStore

_SQLITE = "sqlite:///"


def open_store(settings: Settings) -> Store:
    """Return the store that the settings name, not opened yet.

    Raises:
        StoreUnusable: its driver is not installed.
    """
    url = settings.store_url
    if url == "memory:":
        return MemoryStore()
    return SqlStore(open_database(settings))


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
    try:
        # Not everybody has installed its driver.
        from gtower_realtime.store.sql.postgresql import PostgresqlDatabase  # noqa: PLC0415
    except ImportError as problem:
        raise StoreUnusable(
            f"PostgreSQL needs {problem.name}: pip install 'gtower-realtime[postgresql]'"
        ) from problem
    return PostgresqlDatabase(settings.store_url)
