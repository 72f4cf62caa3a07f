"""One transaction at a time on the connection that writes, and none that is half believed in.

Each transaction counts itself in the row of the log. So one whose outcome was not heard of (the
connection broke, the disk took too long) is found out about before the next begins: if it did
happen, it is undone, since its caller was told that it had failed. A change by anybody else stops
all further ones.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import structlog
from sqlalchemy import Executable, Row
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from gtower_realtime.errors import StoreUnavailable, StoreUnusable
from gtower_realtime.records import StoredSession, WebhookMark
from gtower_realtime.store.sql import outbox
from gtower_realtime.store.sql import statements as sql
from gtower_realtime.store.sql import webhooks as inbox
from gtower_realtime.store.sql.batches import Batch
from gtower_realtime.store.sql.database import Connection, Database

logger = structlog.get_logger(__name__)

Result = TypeVar("Result")
Work = Callable[[Connection], Coroutine[Any, Any, Result]]

_CLOSED = "The event store is closed."
_SLOW = "The event store does not answer."
_CHANGED = "The event store was changed by another process; this one must be restarted."


@dataclass(frozen=True, slots=True)
class Log:
    """The row of the log, as far as transactions change it."""

    transactions: int
    first_number: int
    last_number: int
    events: int
    bytes: int

    @classmethod
    def of(cls, row: Row[Any]) -> "Log":
        """Return what a row of the table says."""
        return cls(row.transactions, row.first_number, row.last_number, row.events, row.bytes)

    def without(self, events: int, size: int) -> "Log":
        """Return the log with so many events and bytes less."""
        return replace(self, events=self.events - events, bytes=self.bytes - size)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A transaction that is about to be committed: the log after it, and how to undo it."""

    log: Log
    batch: Batch | None = None
    """What it records; None if it may as well have happened."""
    sessions_before: Sequence[StoredSession] = ()
    """What the sessions were that the batch changes."""
    marks_before: Sequence[WebhookMark] = ()
    """What the marks were that the batch sets."""
    outbox_before: Sequence[sql.Parameters] = ()
    """The rows of the outbox that the batch takes away."""


class Transactions:
    """The transactions of one process on one database.

    A call waits at most ``patience_seconds`` for its turn, and as long for the database. What takes
    longer goes on by itself, and the next that wants to write waits for it.
    """

    def __init__(self, database: Database, *, patience_seconds: float) -> None:
        self._database = database
        self._patience_seconds = patience_seconds
        self._troubles: tuple[type[Exception], ...] = (
            SQLAlchemyError,
            OSError,
            *database.driver_errors,
        )
        self._turn = asyncio.Lock()
        self._writer: Connection | None = None
        self._unheard: set[asyncio.Future[Any]] = set()
        self._attempt: Attempt | None = None
        self._failing: set[str] = set()
        self._epoch = ""
        self.log = Log(0, 1, 0, 0, 0)
        """As the last transaction left it whose caller has heard of it."""

    @property
    def is_open(self) -> bool:
        """Whether :meth:`close` has not followed :meth:`open` yet."""
        return bool(self._epoch)

    async def open(self, work: "Work[Result]") -> Result:
        """Connect and do ``work``, which makes the database ready and may take its time.

        Raises:
            StoreUnavailable: the database cannot be reached.
            StoreUnusable: the database is not for this process.
        """
        name = self._database.name
        try:
            result, row = await self._database.carry_out(self._open(work))
        except StoreUnusable as problem:
            await self.close()
            raise StoreUnusable(f"{name}: {problem.message}") from problem.__cause__
        except self._troubles as problem:
            await self.close()
            refusal = self._database.explain(problem)
            raise type(refusal)(f"{name}: {refusal.message} ({_cause(problem)})") from problem
        except BaseException:
            await self.close()
            raise
        self.log, self._epoch, self._attempt = Log.of(row), row.epoch, None
        return result

    async def _open(self, work: "Work[Result]") -> tuple[Result, Row[Any]]:
        self._writer = await self._database.connect()
        result = await work(self._writer)
        row = (await self._writer.execute(sql.READ_LOG)).one()
        await self._writer.rollback()
        await self._database.relax(self._writer)
        return result, row

    async def close(self) -> None:
        """Let go of the database, whatever its state. Idempotent."""
        self._epoch = ""
        await self._database.carry_out(self._drop_writer())
        await self._database.close()

    async def write(self, work: "Work[Result]") -> Result:
        """Do ``work``, which ends with :meth:`finish` if it changes anything, after all before it.

        Raises:
            StoreUnavailable: it counts as not having happened.
            ValueError: it used a key of a table twice.
        """
        if self._turn.locked():
            await self._wait_for_turn()
        else:
            await self._turn.acquire()
        task = self._database.carry_out(self._with_writer(work))
        try:
            await asyncio.wait((task,), timeout=self._patience_seconds)
        finally:
            if task.done():
                self._turn.release()
            else:
                self._leave(task, self._turn.release)
        result = self._outcome("write", task)
        if self._attempt is not None:
            self.log, self._attempt = self._attempt.log, None
        return result

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

    async def finish(self, writer: Connection, attempt: Attempt, **columns: str | None) -> None:
        """Commit ``attempt``, and set more columns of the log.

        It counts once the caller of :meth:`write` has heard of it.
        """
        log = await _write_log(writer, self.log, attempt.log, **columns)
        self._attempt = replace(attempt, log=log)
        await writer.commit()
        self._database.verify()

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

    # What is done while others wait

    async def _with_reader(self, work: "Work[Result]") -> Result:
        try:
            self._check_open()
            self._database.verify()
            async with self._database.reader() as reader:
                return await work(reader)
        except self._troubles as problem:
            raise StoreUnavailable(self._database.explain(problem).message) from problem

    async def _with_writer(self, work: "Work[Result]") -> Result:
        try:
            self._check_open()
            self._database.verify()
            return await work(await self._settled_writer())
        except IntegrityError as problem:
            await self._roll_back(problem)
            raise ValueError(
                "a number, a client id or an entry of the outbox was used before"
            ) from problem
        except self._troubles as problem:
            await self._roll_back(problem)
            raise StoreUnavailable(self._database.explain(problem).message) from problem
        except BaseException as problem:
            await self._roll_back(problem)
            raise

    def _check_open(self) -> None:
        # Late work must not take what the next process has a right to.
        if not self.is_open:
            raise StoreUnavailable(_CLOSED)

    async def _roll_back(self, problem: BaseException) -> None:
        is_broken = isinstance(problem, self._troubles) and (
            not isinstance(problem, DBAPIError) or problem.connection_invalidated
        )
        if not is_broken and self._writer is not None:
            try:
                await self._writer.rollback()
            except self._troubles:
                is_broken = True
        if is_broken:
            await self._drop_writer()

    async def _drop_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            # Of a connection that is broken nothing can be wanted any more.
            with suppress(*self._troubles):
                await writer.invalidate()
            with suppress(*self._troubles):
                await writer.close()

    async def _settled_writer(self) -> Connection:
        """Return the connection that writes, once nothing is in doubt."""
        if self._writer is None:
            try:
                self._writer = await self._database.connect()
            except StoreUnusable as problem:
                raise StoreUnavailable(problem.message) from problem.__cause__
            await self._database.relax(self._writer)
            await self._settle(self._writer)
        elif self._attempt is not None:
            await self._settle(self._writer)
        return self._writer

    async def _settle(self, writer: Connection) -> None:
        """Find out what became of an attempt that nobody heard of, and make it not have been."""
        row = (await writer.execute(sql.READ_LOG)).one_or_none()
        if row is None or row.epoch != self._epoch:
            raise StoreUnavailable(_CHANGED)
        attempt, since = self._attempt, row.transactions - self.log.transactions
        if attempt is None:
            may_be = {0}
        elif attempt.batch is None:
            may_be = {0, 1}
        else:
            # Twice: it happened and was undone, and nobody heard of that either.
            may_be = {0, 2}
        if attempt is not None and attempt.batch is not None and since == 1:
            await self._undo(writer, Log.of(row), attempt.batch, attempt)
        elif since in may_be:
            self.log = Log.of(row)
            await writer.rollback()
        else:
            raise StoreUnavailable(_CHANGED)
        self._attempt = None

    async def _undo(
        self,
        writer: Connection,
        log: Log,
        batch: Batch,
        attempt: Attempt,
    ) -> None:
        places = [
            {"for_address": address, "place": event.number}
            for event in batch.events
            for address in set(event.addresses)
        ]
        clients = [{"client": client_id} for client_id in batch.client_ids]
        await execute(writer, sql.DELETE_EVENT, ({"place": e.number} for e in batch.events))
        await execute(writer, sql.DELETE_ADDRESS, places)
        await execute(writer, sql.DELETE_ANSWER, ({"wanted": key} for key in batch.answers))
        counted = ({"place": minute.at, "wanted": minute.id} for minute in batch.minutes)
        await execute(writer, sql.DELETE_MINUTE, counted)
        await execute(writer, sql.DELETE_MEMBERSHIPS, clients)
        await execute(writer, sql.DELETE_SESSION, clients)
        await insert_sessions(writer, attempt.sessions_before)
        await self._undo_webhooks(writer, batch, attempt.marks_before)
        await execute(writer, outbox.DELETE, map(outbox.key_row, batch.entries))
        await execute(writer, outbox.INSERT, attempt.outbox_before)
        size = sum(event.size for event in batch.events)
        undone = await _write_log(writer, log, log.without(len(batch.events), size))
        await writer.commit()
        self.log = undone

    async def _undo_webhooks(
        self, writer: Connection, batch: Batch, marks_before: Sequence[WebhookMark]
    ) -> None:
        await execute(writer, inbox.UNSETTLE, ({"place": number} for number in batch.settled))
        await execute(writer, inbox.DELETE, ({"place": each.number} for each in batch.webhooks))
        await execute(writer, inbox.DELETE_MARK, ({"wanted": key} for key in batch.marks))
        await execute(writer, inbox.INSERT_MARK, map(inbox.mark_row, marks_before))


async def _write_log(writer: Connection, before: Log, after: Log, **columns: str | None) -> Log:
    """Write the row of the log, if it is still as it was ``before``; return what it is now."""
    parameters: sql.Parameters = {
        "expected": before.transactions,
        "transactions": before.transactions + 1,
        "first_number": after.first_number,
        "last_number": after.last_number,
        "events": after.events,
        "bytes": after.bytes,
        **columns,
    }
    if (await writer.execute(sql.UPDATE_LOG, parameters)).rowcount != 1:
        raise StoreUnavailable(_CHANGED)
    return replace(after, transactions=before.transactions + 1)


async def insert_sessions(writer: Connection, sessions: Sequence[StoredSession]) -> None:
    """Insert ``sessions`` with their memberships."""
    await execute(writer, sql.INSERT_SESSION, map(sql.session_row, sessions))
    rows = (row for session in sessions for row in sql.membership_rows(session))
    await execute(writer, sql.INSERT_MEMBERSHIP, rows)


async def execute(
    writer: Connection, statement: Executable, rows: Iterable[sql.Parameters]
) -> None:
    """Execute ``statement`` once for each of ``rows``."""
    parameters = list(rows)
    if parameters:
        await writer.execute(statement, parameters)


async def fetch(
    statement: Executable, parameters: sql.Parameters, connection: Connection
) -> Sequence[Row[Any]]:
    """Return all rows of a query."""
    return (await connection.execute(statement, parameters)).all()


def _cause(problem: BaseException | None) -> str:
    # Without the statement, and so without anybody's data.
    return str(problem.orig if isinstance(problem, DBAPIError) else problem)
