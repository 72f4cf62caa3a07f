"""What `SqlStore` asks of a database besides SQL: connect, keep others out, explain errors."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar

from sqlalchemy import CursorResult, Executable, Row, Table

from gtower_realtime.errors import StoreUnavailable, StoreUnusable

Result = TypeVar("Result")

Parameters = dict[str, Any]


class Connection(Protocol):
    """What is asked of a connection, as SQLAlchemy's `AsyncConnection` has it."""

    async def execute(self, statement: Executable, parameters: Any = None, /) -> CursorResult[Any]:
        """Execute a statement, for each of several parameters if it is a list of them."""

    async def exec_driver_sql(self, statement: str, parameters: Any = None, /) -> CursorResult[Any]:
        """Execute a statement in the database's own SQL, with parameters by place."""

    async def run_sync(self, function: Callable[..., Any], /, *arguments: Any) -> Any:
        """Return what ``function`` makes of the connection without `async`."""

    async def commit(self) -> None:
        """End the transaction, and keep what it did."""

    async def rollback(self) -> None:
        """End the transaction, and undo what it did."""

    async def invalidate(self) -> None:
        """Take the connection for broken."""

    async def close(self) -> None:
        """Give it back."""


class Database(Protocol):
    """One database: a connection that writes, in transactions, and some that read, without."""

    name: str
    """How an operator knows it; without a password."""

    driver_errors: tuple[type[Exception], ...]
    """What may come besides the errors of SQLAlchemy and the operating system."""

    boot: str
    """What this machine calls the time since it was started."""

    is_synchronous: bool
    """Whether a commit waits until not even a power cut can undo it."""

    def carry_out(
        self, work: Coroutine[Any, Any, Result], *, writes: bool = True
    ) -> "asyncio.Future[Result]":
        """Begin ``work``, which waits for nothing but connections of this database.

        It may run in another thread; of those that write, one runs at a time.
        """

    async def connect(self) -> Connection:
        """Return the one connection that writes, in transactions. Its commits wait for the disk.

        Raises:
            StoreUnusable: another process has one, or this process never will.
        """

    def reader(self) -> AbstractAsyncContextManager[Connection]:
        """Return a connection that reads, for as long as it is entered."""

    async def relax(self, connection: Connection) -> None:
        """Let the commits of the connection wait no longer than the operator wants."""

    async def harden(self, connection: Connection) -> None:
        """Let the commits of the connection wait for the disk again."""

    def verify(self) -> None:
        """Check that a later process will find what was committed.

        Raises:
            StoreUnavailable: it will not.
        """

    async def insert_rows(
        self, connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]
    ) -> None:
        """Insert whole rows, their values in the order of the columns, the fastest way there is."""

    def insert_into(self, table: Table) -> Any:
        """Return an INSERT of the dialect, one that knows ON CONFLICT."""

    def explain(self, problem: Exception) -> StoreUnavailable | StoreUnusable:
        """Return what to raise for an error: a sentence that anybody may read."""

    async def close(self) -> None:
        """Close all connections and let other processes in. Idempotent."""


async def execute(writer: Connection, statement: Executable, rows: Iterable[Parameters]) -> None:
    """Execute ``statement`` once for each of ``rows``."""
    parameters = list(rows)
    if parameters:
        await writer.execute(statement, parameters)


async def fetch(
    statement: Executable, parameters: Parameters, connection: Connection
) -> Sequence[Row[Any]]:
    """Return all rows of a query."""
    return (await connection.execute(statement, parameters)).all()
