"""What `SqlStore` asks of a database besides SQL: connect, keep others out, explain errors."""

from typing import Any, Protocol

from sqlalchemy import Table
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gtower_realtime.errors import StoreUnavailable, StoreUnusable


class Database(Protocol):
    """One database behind an engine whose connections read, without transactions."""

    name: str
    """How an operator knows it; without a password."""

    engine: AsyncEngine

    driver_errors: tuple[type[Exception], ...]
    """What may come besides the errors of SQLAlchemy and the operating system."""

    boot: str
    """What this machine calls the time since it was started."""

    is_synchronous: bool
    """Whether a commit waits until not even a power cut can undo it."""

    async def connect(self) -> AsyncConnection:
        """Return the one connection that writes, in transactions. Its commits wait for the disk.

        Raises:
            StoreUnusable: another process has one, or this process never will.
        """

    async def relax(self, connection: AsyncConnection) -> None:
        """Let the commits of the connection wait no longer than the operator wants."""

    async def harden(self, connection: AsyncConnection) -> None:
        """Let the commits of the connection wait for the disk again."""

    def verify(self) -> None:
        """Check that a later process will find what was committed.

        Raises:
            StoreUnavailable: it will not.
        """

    def insert_into(self, table: Table) -> Any:
        """Return an INSERT of the dialect, one that knows ON CONFLICT."""

    def explain(self, problem: Exception) -> StoreUnavailable | StoreUnusable:
        """Return what to raise for an error: a sentence that anybody may read."""

    async def close(self) -> None:
        """Close all connections and let other processes in. Idempotent."""
