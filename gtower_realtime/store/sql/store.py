"""The store in a database, which a later process finds as this one left it."""

import secrets
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial

import structlog
from sqlalchemy import Executable

from gtower_realtime.errors import StoreUnavailable
from gtower_realtime.records import (
    Bounds,
    Change,
    CountedMinute,
    GivenAnswer,
    OutboxBacklog,
    OutboxEntry,
    RoomEntered,
    RoomLeft,
    SessionAway,
    SessionEnded,
    SessionOpened,
    SessionResumed,
    SettledState,
    Snapshot,
    StoredEvent,
    StoredSession,
    StoredWebhook,
    WebhookBacklog,
    WebhookMark,
)
from gtower_realtime.store.bounds import WEBHOOKS_KEPT, count_beyond, oldest_mark, oldest_minute
from gtower_realtime.store.changes import check_numbers
from gtower_realtime.store.sql import outbox, schema
from gtower_realtime.store.sql import statements as sql
from gtower_realtime.store.sql import webhooks as inbox
from gtower_realtime.store.sql.batches import Batch, LaterChange, SessionChange, in_groups
from gtower_realtime.store.sql.calls import Result, Work
from gtower_realtime.store.sql.database import Connection, Database, Parameters, execute, fetch
from gtower_realtime.store.sql.events import (
    EVENTS_OF_A_DELETION,
    ROWS_OF_A_DELETION,
    Deletion,
    event_of,
)
from gtower_realtime.store.sql.transactions import (
    Attempt,
    Log,
    Transactions,
    insert_sessions,
)

logger = structlog.get_logger(__name__)

NUMBERS_SKIPPED = 1_000_000
"""More than can be given out before a disk has what was committed."""

_PATIENCE_SECONDS = 4.0


class SqlStore:
    """A `Store` on SQLAlchemy, for one process at a time.

    ``patience_seconds`` is how long a call waits for the database. Longer work goes on by itself,
    and the next call that writes waits for it.
    """

    def __init__(self, database: Database, *, patience_seconds: float = _PATIENCE_SECONDS) -> None:
        self.database = database
        self._transactions = Transactions(database, patience_seconds=patience_seconds)
        self._put_answer = sql.put_answer(database.insert_into)
        self._put_mark = inbox.put_mark(database.insert_into)
        self._statements: dict[type[LaterChange], tuple[Executable, ...]] = {
            SessionResumed: (sql.CHANGE_SESSION,),
            RoomEntered: (sql.insert_membership_of_session(database.insert_into),),
            RoomLeft: (sql.END_MEMBERSHIP,),
            SessionAway: (sql.CHANGE_SESSION,),
            SessionEnded: (sql.DELETE_MEMBERSHIPS, sql.DELETE_SESSION),
        }

    # Opening and closing

    async def open(self, *, recent_events: int, recent_bytes: int) -> Snapshot:
        """Make ready, and return what is there; see `Store.open`.

        After a power cut that commits did not wait for, and in a backup, nobody knows which of the
        last events are gone: the log gets a new epoch and goes on with numbers that cannot have
        been given out, and all sessions end. The outbox of a backup is dropped.
        """
        return await self._transactions.open(partial(self._load, recent_events, recent_bytes))

    async def _load(self, recent_events: int, recent_bytes: int, writer: Connection) -> Snapshot:
        await writer.run_sync(schema.prepare, secrets.token_hex(4))
        (row,) = await fetch(sql.READ_LOG, {}, writer)
        changed: Parameters = {
            "expected": row.transactions,
            "transactions": row.transactions + 1,
            "unsynced_boot": None if self.database.is_synchronous else self.database.boot,
        }
        if row.unsynced_boot not in {None, self.database.boot}:
            is_backup = row.unsynced_boot == schema.OF_THE_PAST
            logger.warning("backup" if is_backup else "power_cut", store=self.database.name)
            changed["epoch"] = secrets.token_hex(4)
            changed["last_number"] = row.last_number + NUMBERS_SKIPPED
            await writer.execute(sql.DELETE_ALL_MEMBERSHIPS)
            await writer.execute(sql.DELETE_ALL_SESSIONS)
            if is_backup:
                await self._empty_outbox(writer)
        await writer.execute(sql.UPDATE_LOG, changed)
        (row,) = await fetch(sql.READ_LOG, {}, writer)
        limits = {"limit": recent_events, "max_bytes": recent_bytes}
        recent = await fetch(sql.READ_RECENT, limits, writer)
        sessions = sql.sessions_of(
            await fetch(sql.READ_SESSIONS, {}, writer),
            await fetch(sql.READ_MEMBERSHIPS, {}, writer),
        )
        await writer.commit()
        return Snapshot(
            epoch=row.epoch,
            first_number=row.first_number,
            last_number=row.last_number,
            recent=list(map(event_of, recent)),
            sessions=sessions,
        )

    async def _empty_outbox(self, writer: Connection) -> None:
        # The log that was copied went on: these were sent long ago, or are of another time.
        if dropped := (await writer.execute(outbox.DELETE_ALL)).rowcount:
            logger.warning("outbox_dropped", store=self.database.name, entries=dropped)

    async def close(self) -> None:
        """Let go of the database, and note that nothing is missing from it. Idempotent."""
        if self._transactions.is_open:
            try:
                await self._transactions.write(self._sign_off)
            except StoreUnavailable as problem:
                # Whoever opens it next finds out what there is, as after a crash.
                logger.warning("store_not_closed", reason=problem.message)
        await self._transactions.close()

    async def _sign_off(self, writer: Connection) -> None:
        await self.database.harden(writer)
        attempt = Attempt(self._transactions.log)
        await self._transactions.finish(writer, attempt, unsynced_boot=None)

    # Recording

    async def commit(self, changes: Sequence[Change]) -> None:
        """Record ``changes`` in one transaction; see `Store.commit`."""
        await self._transactions.write(partial(self._record, Batch.of(changes)))

    async def _record(self, batch: Batch, writer: Connection) -> None:
        log = self._transactions.log
        log = replace(
            log,
            last_number=check_numbers(batch.events, log.last_number),
            events=log.events + len(batch.events),
            bytes=log.bytes + sum(event.size for event in batch.events),
        )
        before: Sequence[StoredSession] = ()
        if batch.client_ids:
            clients = {"clients": list(batch.client_ids)}
            before = sql.sessions_of(
                await fetch(sql.READ_SESSIONS_OF, clients, writer),
                await fetch(sql.READ_MEMBERSHIPS_OF, clients, writer),
            )
        await sql.EVENTS.insert(batch.events, self.database, writer)
        await execute(writer, self._put_answer, map(sql.answer_row, batch.answers.values()))
        await execute(writer, sql.INSERT_MINUTE, map(sql.minute_row, batch.minutes))
        for changes in in_groups(batch.sessions):
            await self._change_sessions(writer, changes)
        marks_before = await self._record_webhooks(writer, batch)
        outbox_before = await outbox.take_sent(batch.sent, writer)
        await execute(writer, outbox.INSERT, map(outbox.entry_row, batch.entries))
        attempt = Attempt(log, batch, before, marks_before, outbox_before)
        await self._transactions.finish(writer, attempt)

    async def _record_webhooks(self, writer: Connection, batch: Batch) -> Sequence[WebhookMark]:
        """Record what the batch has of webhooks; return what the marks were that it sets."""
        await execute(writer, inbox.INSERT, map(inbox.webhook_row, batch.webhooks))
        settled = ({"place": number, "state": state} for number, state in batch.settled.items())
        await execute(writer, inbox.SETTLE, settled)
        if not batch.marks:
            return ()
        before = await inbox.read_marks(batch.marks, writer)
        await execute(writer, self._put_mark, map(inbox.mark_row, batch.marks.values()))
        return before

    async def _change_sessions(self, writer: Connection, changes: Sequence[SessionChange]) -> None:
        """Make ``changes``, which are of one kind."""
        await insert_sessions(
            writer, [change.session for change in changes if isinstance(change, SessionOpened)]
        )
        others = [change for change in changes if not isinstance(change, SessionOpened)]
        if others:
            for statement in self._statements[type(others[0])]:
                await execute(writer, statement, map(sql.change_row, others))

    # Reading

    async def events_for(
        self, addresses: Collection[str], *, after: int, until: int, limit: int
    ) -> list[StoredEvent]:
        """Return the oldest events for any of ``addresses``; see `Store.events_for`."""
        return await self._transactions.read(
            partial(sql.EVENTS.for_addresses, addresses, after, until, limit)
        )

    async def history(self, room: str, *, after: int, limit: int, now: int) -> list[StoredEvent]:
        """Return the oldest events of ``room``; see `Store.history`."""
        return await self._transactions.read(partial(sql.EVENTS.of_room, room, after, limit, now))

    async def find_answer(self, key: str, now: int) -> GivenAnswer | None:
        """Return the answer given to a key; see `Store.find_answer`."""
        rows = await self._transactions.read(
            partial(fetch, sql.READ_ANSWER, {"wanted": key, "now": now})
        )
        return sql.answer_of(rows[0]) if rows else None

    async def minutes(self, *, since: int, before: int) -> list[CountedMinute]:
        """Return the counted minutes of a time; see `Store.minutes`."""
        parameters = {"following": since, "up_to": before}
        rows = await self._transactions.read(partial(fetch, sql.READ_MINUTES, parameters))
        return list(map(sql.minute_of, rows))

    # Webhooks

    async def webhook_backlog(self) -> WebhookBacklog:
        """Return how much waits in the inbox; see `Store.webhook_backlog`."""
        return await self._read_certain(inbox.read_backlog)

    async def next_webhook(self) -> StoredWebhook | None:
        """Return the oldest webhook that is waiting; see `Store.next_webhook`."""
        return await self._read_certain(inbox.read_next)

    async def webhook_marks(self, keys: Collection[str]) -> dict[str, str]:
        """Return the values of marks; see `Store.webhook_marks`."""
        marks = await self._read_certain(partial(inbox.read_marks, keys))
        return {mark.key: mark.value for mark in marks}

    async def _read_certain(self, work: Work[Result]) -> Result:
        """Read with the connection that writes.

        Another one would see what has happened without being heard of, and is about to be undone.
        """

        async def read(writer: Connection) -> Result:
            result = await work(writer)
            await writer.rollback()
            return result

        return await self._transactions.write(read)

    async def replay_webhooks(self, since: int | None) -> int:
        """Let webhooks wait again; see `Store.replay_webhooks`."""
        if since is None:
            return await self._transactions.write(partial(self._change, inbox.REPLAY_SET_ASIDE, {}))
        return await self._transactions.write(
            partial(self._change, inbox.REPLAY_SINCE, {"since": since})
        )

    # What waits for other nodes

    async def outbox(self, *, limit: int, max_bytes: int) -> list[OutboxEntry]:
        """Return what other nodes are to be sent next; see `Store.outbox`."""
        return await self._read_certain(partial(outbox.read_oldest, limit, max_bytes))

    async def outbox_backlog(self) -> OutboxBacklog:
        """Return how much waits for other nodes; see `Store.outbox_backlog`."""
        return await self._read_certain(outbox.read_backlog)

    # Deleting

    async def delete_history(self, room: str) -> int:
        """Delete the events of ``room``, some at a time; see `Store.delete_history`."""
        count = 0
        while deleted := await self._transactions.write(partial(self._delete_history, room)):
            count += deleted
        return count

    async def _delete_history(self, room: str, writer: Connection) -> int:
        log = self._transactions.log
        return await self._finish(
            await sql.EVENTS.delete_of_room(room, log.last_number, writer), log, writer
        )

    async def trim(self, bounds: Bounds, now: int) -> int:
        """Delete what is beyond the bounds or over, some at a time; see `Store.trim`."""
        steps: list[Work[int]] = [
            partial(self._delete_expired_events, now),
            partial(self._delete_expired_answers, now),
            partial(self._delete_old_minutes, now),
            partial(self._delete_beyond, bounds, now),
            self._delete_past_memberships,
            partial(self._delete_old_marks, now),
            *(partial(self._delete_settled_webhooks, state, now) for state in WEBHOOKS_KEPT),
        ]
        for step in steps:
            while await self._transactions.write(step):
                pass
        return self._transactions.log.first_number

    async def _delete_expired_events(self, now: int, writer: Connection) -> int:
        deletion = await sql.EVENTS.delete_expired(now, writer)
        return await self._finish(deletion, self._transactions.log, writer)

    async def _delete_beyond(self, bounds: Bounds, now: int, writer: Connection) -> int:
        log = self._transactions.log
        deletion = await sql.EVENTS.delete_beyond(
            bounds, now, writer, events=log.events, size=log.bytes
        )
        if deletion.found:
            log = replace(log, first_number=deletion.until + 1)
        return await self._finish(deletion, log, writer)

    async def _finish(self, deletion: Deletion, log: Log, writer: Connection) -> int:
        """Commit a step of a deletion, if it found anything; return how much."""
        if deletion.found:
            attempt = Attempt(log.without(deletion.events, deletion.size))
            await self._transactions.finish(writer, attempt)
        return deletion.found

    async def _delete_expired_answers(self, now: int, writer: Connection) -> int:
        parameters = {"now": now, "limit": ROWS_OF_A_DELETION}
        return await self._change(sql.DELETE_EXPIRED_ANSWERS, parameters, writer)

    async def _delete_old_minutes(self, now: int, writer: Connection) -> int:
        parameters = {"up_to": oldest_minute(now), "limit": ROWS_OF_A_DELETION}
        return await self._change(sql.DELETE_OLD_MINUTES, parameters, writer)

    async def _delete_past_memberships(self, writer: Connection) -> int:
        parameters = {"place": self._transactions.log.first_number, "limit": ROWS_OF_A_DELETION}
        return await self._change(sql.DELETE_PAST_MEMBERSHIPS, parameters, writer)

    async def _delete_old_marks(self, now: int, writer: Connection) -> int:
        parameters = {"up_to": oldest_mark(now), "limit": ROWS_OF_A_DELETION}
        return await self._change(inbox.DELETE_OLD_MARKS, parameters, writer)

    async def _delete_settled_webhooks(
        self, state: SettledState, now: int, writer: Connection
    ) -> int:
        (kept,) = await fetch(inbox.READ_TOTALS, {"in_state": state}, writer)
        parameters = {"in_state": state, "limit": EVENTS_OF_A_DELETION}
        oldest = await fetch(inbox.READ_OLDEST, parameters, writer)
        count = count_beyond(
            WEBHOOKS_KEPT[state], now, events=kept.webhooks, size=int(kept.bytes), oldest=oldest
        )
        if count:
            await execute(writer, inbox.DELETE, ({"place": row.number} for row in oldest[:count]))
            await self._transactions.finish(writer, Attempt(self._transactions.log))
        return count

    async def _change(
        self, statement: Executable, parameters: Parameters, writer: Connection
    ) -> int:
        """Execute a statement that may as well be executed twice; count its rows."""
        changed: int = (await writer.execute(statement, parameters)).rowcount
        if changed:
            await self._transactions.finish(writer, Attempt(self._transactions.log))
        return changed
