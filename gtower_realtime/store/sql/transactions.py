"""One transaction at a time on the connection that writes, and none that is half believed in.

Each transaction counts itself in the row of the log. So one whose outcome was not heard of (the
connection broke, the disk took too long) is found out about before the next begins: if it did
happen, it is undone, since its caller was told that it had failed. A change by anybody else stops
all further ones.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from sqlalchemy import Row
from sqlalchemy.exc import DBAPIError, IntegrityError

from gtower_realtime.errors import StoreUnavailable, StoreUnusable
from gtower_realtime.records import StoredSession, WebhookMark
from gtower_realtime.store.sql import outbox
from gtower_realtime.store.sql import statements as sql
from gtower_realtime.store.sql import webhooks as inbox
from gtower_realtime.store.sql.batches import Batch
from gtower_realtime.store.sql.calls import Calls, Result, Work
from gtower_realtime.store.sql.database import Connection, Database, Parameters, execute

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
    outbox_before: Sequence[Parameters] = ()
    """The rows of the outbox that the batch takes away."""


class Transactions:
    """The transactions of one process on one database.

    A call waits at most ``patience_seconds`` for its turn, and as long for the database. What takes
    longer goes on by itself, and the next that wants to write waits for it.
    """

    def __init__(self, database: Database, *, patience_seconds: float) -> None:
        self._database = database
        self._calls = Calls(database, patience_seconds=patience_seconds)
        self._writer: Connection | None = None
        self._attempt: Attempt | None = None
        self._epoch = ""
        self.log = Log(0, 1, 0, 0, 0)
        """As the last transaction left it whose caller has heard of it."""

    @property
    def is_open(self) -> bool:
        """Whether :meth:`close` has not followed :meth:`open` yet."""
        return self._calls.is_open

    async def open(self, work: "Work[Result]") -> Result:
        """Connect and do ``work``, which makes the database ready and may take its time.

        Raises:
            StoreUnavailable: the database cannot be reached.
            StoreUnusable: the database is not for this process.
        """
        try:
            result, row = await self._calls.open(partial(self._open, work))
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
        self._calls.is_open = False
        await self._database.carry_out(self._drop_writer())
        await self._database.close()

    async def write(self, work: "Work[Result]") -> Result:
        """Do ``work``, which ends with :meth:`finish` if it changes anything, after all before it.

        Raises:
            StoreUnavailable: it counts as not having happened.
            ValueError: it used a key of a table twice.
        """
        result = await self._calls.write(partial(self._with_writer, work))
        if self._attempt is not None:
            self.log, self._attempt = self._attempt.log, None
        return result

    async def read(self, work: "Work[Result]") -> Result:
        """Do ``work`` with a connection that reads, whoever writes meanwhile.

        Raises:
            StoreUnavailable: it could not be read.
        """
        return await self._calls.read(work)

    async def finish(self, writer: Connection, attempt: Attempt, **columns: str | None) -> None:
        """Commit ``attempt``, and set more columns of the log.

        It counts once the caller of :meth:`write` has heard of it.
        """
        log = await _write_log(writer, self.log, attempt.log, **columns)
        self._attempt = replace(attempt, log=log)
        await writer.commit()
        self._database.verify()

    # What is done while others wait

    async def _with_writer(self, work: "Work[Result]") -> Result:
        try:
            self._calls.check_usable()
            return await work(await self._settled_writer())
        except IntegrityError as problem:
            await self._roll_back(problem)
            raise ValueError(
                "a number, a client id or an entry of the outbox was used before"
            ) from problem
        except self._calls.troubles as problem:
            await self._roll_back(problem)
            raise self._calls.explained(problem) from problem
        except BaseException as problem:
            await self._roll_back(problem)
            raise

    async def _roll_back(self, problem: BaseException) -> None:
        is_broken = isinstance(problem, self._calls.troubles) and (
            not isinstance(problem, DBAPIError) or problem.connection_invalidated
        )
        if not is_broken and self._writer is not None:
            try:
                await self._writer.rollback()
            except self._calls.troubles:
                is_broken = True
        if is_broken:
            await self._drop_writer()

    async def _drop_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            # Of a connection that is broken nothing can be wanted any more.
            with suppress(*self._calls.troubles):
                await writer.invalidate()
            with suppress(*self._calls.troubles):
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
        clients = [{"client": client_id} for client_id in batch.client_ids]
        await sql.EVENTS.delete([(e.number, e.addresses) for e in batch.events], writer)
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
    parameters: Parameters = {
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
