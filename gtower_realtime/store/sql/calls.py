"""Calls of a database that end in time, with a result or a refusal that anybody may read."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import structlog
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from gtower_realtime.errors import StoreUnavailable, StoreUnusable
from gtower_realtime.store.sql.database import Connection, Database

logger = structlog.get_logger(__name__)

Result = TypeVar("Result")
Work = Callable[[Connection], Coroutine[Any, Any, Result]]

_CLOSED = "The event store is closed."
_SLOW = "The event store does not answer."


class Calls:
    """The calls of one process to one database: those that write in turn, others at any time.

    A call waits at most ``patience_seconds`` for its turn, and as long for the database. What takes
    longer goes on by itself, and the next that wants to write waits for it.
    """

    def __init__(self, database: Database, *, patience_seconds: float) -> None:
        self._database = database
        self._patience_seconds = patience_seconds
        self.troubles: tuple[type[Exception], ...] = (
            SQLAlchemyError,
            OSError,
            *database.driver_errors,
        )
        """What a database may raise."""
        self.is_open = False
        """Whether calls are taken."""
        self._turn = asyncio.Lock()
        self._unheard: set[asyncio.Future[Any]] = set()
        self._failing: set[str] = set()

    async def open(self, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Do ``work``, which makes the database ready and may take its time; then take calls.

        Raises:
            StoreUnavailable: the database cannot be reached.
            StoreUnusable: the database is not for this process.
        """
        name = self._database.name
        try:
            result = await self._database.carry_out(work())
        except StoreUnusable as problem:
            raise StoreUnusable(f"{name}: {problem.message}") from problem.__cause__
        except self.troubles as problem:
            refusal = self._database.explain(problem)
            raise type(refusal)(f"{name}: {refusal.message} ({_cause(problem)})") from problem
        self.is_open = True
        return result

    async def write(self, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Do ``work``, which explains its own troubles, after all that is written before it.

        Raises:
            StoreUnavailable: it counts as not having happened.
        """
        if self._turn.locked():
            await self._wait_for_turn()
        else:
            await self._turn.acquire()
        task = self._database.carry_out(work())
        try:
            await asyncio.wait((task,), timeout=self._patience_seconds)
        finally:
            if task.done():
                self._turn.release()
            else:
                self._leave(task, self._turn.release)
        return self._outcome("write", task)

    async def _wait_for_turn(self) -> None:
        try:
            async with asyncio.timeout(self._patience_seconds):
                await self._turn.acquire()
        except TimeoutError:
            raise self._told("write", StoreUnavailable(_SLOW)) from None

    async def read(self, work: "Work[Result]") -> Result:
        """Do ``work`` with a connection that reads, whoever writes meanwhile.

        Raises:
            StoreUnavailable: it could not be read.
        """
        task = self._database.carry_out(self._with_reader(work), writes=False)
        try:
            await asyncio.wait((task,), timeout=self._patience_seconds)
        finally:
            if not task.done():
                self._leave(task, lambda: None)
        return self._outcome("read", task)

    async def _with_reader(self, work: "Work[Result]") -> Result:
        try:
            self.check_usable()
            async with self._database.reader() as reader:
                return await work(reader)
        except self.troubles as problem:
            raise self.explained(problem) from problem

    def check_usable(self) -> None:
        """Check that there is something to call.

        Raises:
            StoreUnavailable: there is not, or not any more.
        """
        # Late work must not take what the next process has a right to.
        if not self.is_open:
            raise StoreUnavailable(_CLOSED)
        self._database.verify()

    def explained(self, problem: Exception) -> StoreUnavailable:
        """Return the refusal for one of the `troubles`."""
        return StoreUnavailable(self._database.explain(problem).message)

    # Calls that nobody waits for any more

    def _leave(self, task: "asyncio.Future[Any]", then: Callable[[], None]) -> None:
        """Let ``task`` go on by itself."""

        def end(_: object) -> None:
            self._unheard.discard(task)
            then()
            if not task.cancelled():
                # Looked at, or asyncio would log it; the caller has had its refusal.
                task.exception()

        self._unheard.add(task)
        task.add_done_callback(end)

    def _outcome(self, access: str, task: "asyncio.Future[Result]") -> Result:
        if not task.done():
            raise self._told(access, StoreUnavailable(_SLOW))
        try:
            result = task.result()
        except StoreUnavailable as refusal:
            raise self._told(access, refusal) from refusal.__cause__
        if access in self._failing:
            self._failing.remove(access)
            logger.info("store_available", store=self._database.name, access=access)
        return result

    def _told(self, access: str, refusal: StoreUnavailable) -> StoreUnavailable:
        """Log the first of several refusals."""
        if access not in self._failing:
            self._failing.add(access)
            logger.warning(
                "store_unavailable",
                store=self._database.name,
                access=access,
                reason=refusal.message,
                cause=_cause(refusal.__cause__),
            )
        return refusal


def _cause(problem: BaseException | None) -> str:
    # Without the statement, and so without anybody's data.
    return str(problem.orig if isinstance(problem, DBAPIError) else problem)
