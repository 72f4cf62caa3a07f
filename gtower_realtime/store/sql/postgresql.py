"""What is PostgreSQL's own: a connection that can break, and a lock that lives as long as it."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, cast
from urllib.parse import urlsplit

import asyncpg
from sqlalchemy import Table, insert
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import create_async_engine

from gtower_realtime.errors import StoreUnavailable, StoreUnusable
from gtower_realtime.store.sql.database import Connection, Result

_SECONDS = 3.0
_READERS = 4

_SERVER_SETTINGS = {
    "application_name": "gtower-realtime",
    "lock_timeout": "2s",
    # A server that was cut off from us must soon give up the lock.
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}

# The lock of the session that writes: its loss and that of the connection are one thing, so that
# whatever this connection commits was committed under the lock.
_LOCK = "SELECT pg_advisory_lock(hashtextextended('gtower-realtime ' || current_schema(), 0))"
_LOCK_NOT_AVAILABLE = "55P03"

# By SQLSTATE or its class, the first that matches.
_SENTENCES = {
    "53100": "The disk of the event store is full.",
    "53": "The event store has no room for this.",
    "55P03": "The event store is locked by another program.",
    "25006": "The event store cannot be written.",
    "28": "The event store cannot be entered.",
    "42501": "The event store cannot be entered.",
    "57014": "The event store does not answer.",
    "57P": "The event store is restarting.",
    "08": "The event store cannot be reached.",
}


class PostgresqlDatabase:
    """A `Database` on the server at ``url``, for one process in a schema.

    ``url`` is what libpq takes, ``sslmode`` and all. Commits wait for the disk as the server says.
    ``server_settings`` are for the server's sessions.
    """

    driver_errors: tuple[type[Exception], ...] = (asyncpg.PostgresError, asyncpg.InterfaceError)
    boot = ""
    is_synchronous = True

    def __init__(self, url: str, **server_settings: str) -> None:
        parts = urlsplit(url)
        self.name = f"PostgreSQL at {parts.hostname}:{parts.port or 5432}{parts.path}"
        self._url = url
        self._server_settings = {**_SERVER_SETTINGS, **server_settings}
        self.engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._new_connection,
            hide_parameters=True,
            isolation_level="AUTOCOMMIT",
            pool_size=1 + _READERS,
            max_overflow=0,
            pool_timeout=_SECONDS,
            pool_pre_ping=True,
        )
        self.dialect = self.engine.dialect

    async def _new_connection(self, *_: Any, **_options: Any) -> Any:
        return await asyncpg.connect(
            self._url,
            timeout=_SECONDS,
            command_timeout=_SECONDS,
            server_settings=self._server_settings,
        )

    def carry_out(
        self, work: Coroutine[Any, Any, Result], *, writes: bool = True
    ) -> "asyncio.Future[Result]":
        """Begin ``work``; see `Database.carry_out`."""
        return asyncio.get_running_loop().create_task(work)

    def reader(self) -> AbstractAsyncContextManager[Connection]:
        """Return a connection that reads; see `Database.reader`."""
        return cast("AbstractAsyncContextManager[Connection]", self.engine.connect())

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Give a connection in a transaction, for what several processes do at the same time.

        It is committed at the end, and undone if there is an error.
        """
        async with self.engine.connect() as connection:
            await connection.execution_options(isolation_level="READ COMMITTED")
            async with connection.begin():
                yield cast("Connection", connection)

    async def connect(self) -> Connection:
        """Return the connection that writes; see `Database.connect`."""
        connection = await self.engine.connect()
        try:
            await connection.exec_driver_sql(_LOCK)
            await connection.rollback()
            await connection.execution_options(isolation_level="READ COMMITTED")
        except BaseException as problem:
            await connection.invalidate()
            await connection.close()
            if isinstance(problem, DBAPIError) and _state(problem) == _LOCK_NOT_AVAILABLE:
                raise StoreUnusable("It is in use by another process.") from None
            raise
        return cast("Connection", connection)

    async def relax(self, connection: Connection) -> None:
        """Do nothing: how long a commit waits is for the server's operator to say."""

    async def harden(self, connection: Connection) -> None:
        """Do nothing: how long a commit waits is for the server's operator to say."""

    def verify(self) -> None:
        """Do nothing: a commit is the server's promise."""

    async def insert_rows(
        self, connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]
    ) -> None:
        """Insert whole rows; see `Database.insert_rows`."""
        await connection.exec_driver_sql(str(insert(table).compile(dialect=self.dialect)), rows)

    def insert_into(self, table: Table) -> Any:
        """Return an INSERT of PostgreSQL's; see `Database.insert_into`."""
        return postgresql.insert(table)

    def explain(self, problem: Exception) -> StoreUnavailable | StoreUnusable:
        """Return what to raise for an error; see `Database.explain`."""
        if isinstance(problem, (TimeoutError, PoolTimeoutError)):
            return StoreUnavailable("The event store does not answer.")
        if isinstance(problem, OSError):
            return StoreUnavailable("The event store cannot be reached.")
        if isinstance(problem, DBAPIError) and problem.connection_invalidated:
            return StoreUnavailable("The event store cannot be reached.")
        state = _state(problem)
        sentences = (text for start, text in _SENTENCES.items() if state.startswith(start))
        return StoreUnavailable(next(sentences, "The event store has failed."))

    async def close(self) -> None:
        """Close all connections, and the lock with them; see `Database.close`."""
        await self.engine.dispose()


def _state(problem: Exception) -> str:
    origin = problem.orig if isinstance(problem, DBAPIError) else problem
    return getattr(origin, "sqlstate", None) or ""
