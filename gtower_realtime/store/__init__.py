"""Where events, sessions and answers are kept: implementations of `ports.Store`."""

from pathlib import Path

from gtower_realtime.errors import StoreUnusable
from gtower_realtime.ports import Store
from gtower_realtime.settings import Settings
from gtower_realtime.store.memory import MemoryStore
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
    if url.startswith(_SQLITE):
        path = Path(url.removeprefix(_SQLITE))
        return SqlStore(SqliteDatabase(path, waits_for_disk=settings.synchronous == "full"))
    try:
        # Not everybody has installed its driver.
        from gtower_realtime.store.sql.postgresql import PostgresqlDatabase  # noqa: PLC0415
    except ImportError as problem:
        raise StoreUnusable(
            f"PostgreSQL needs {problem.name}: pip install 'gtower-realtime[postgresql]'"
        ) from problem
    return SqlStore(PostgresqlDatabase(url))
