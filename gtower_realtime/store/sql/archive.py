"""The long history of a cluster: events in PostgreSQL, where all nodes add them and read them.

Each transaction that changes something holds the lock of the archive's one row, so that nodes may
do the same thing at the same time, and what is deleted stays deleted.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from sqlalchemy import BigInteger, Row, bindparam, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from gtower_realtime.records import Bounds, StoredEvent
from gtower_realtime.store.sql.archive_schema import (
    archive,
    deletions,
    event_addresses,
    events,
    prepare,
)
from gtower_realtime.store.sql.calls import Calls, Result, Work
from gtower_realtime.store.sql.database import Connection, fetch
from gtower_realtime.store.sql.events import Deletion, EventTables
from gtower_realtime.store.sql.postgresql import PostgresqlDatabase

_PATIENCE_SECONDS = 4.0

# What one transaction adds at most, but for a single event.
_ROWS_OF_AN_ADDITION = 2000
_BYTES_OF_AN_ADDITION = 4_000_000

# A node that stands still in the middle of a transaction must not hold the others up for long.
_LONGEST_PAUSE = "5s"

_LOCK_OF_THE_TABLES = (
    "SELECT pg_advisory_xact_lock("
    "hashtextextended('gtower-realtime archive ' || current_schema(), 0))"
)

_EVENTS = EventTables(
    events,
    event_addresses,
    # Ten seconds: a number is milliseconds times 4096.
    first_stretch=10_000 * 4096,
)

_READ = select(archive)
_LOCK = _READ.with_for_update()
_UPDATE = update(archive)
_READ_PRESENT = select(events.c.number).where(
    events.c.number.in_(bindparam("numbers", expanding=True, type_=BigInteger))
)
_READ_DELETIONS = select(deletions).where(deletions.c.until >= bindparam("place", type_=BigInteger))
_FORGET_DELETIONS = delete(deletions).where(
    deletions.c.until <= bindparam("place", type_=BigInteger)
)
_new_deletion = insert(deletions)
_PUT_DELETION = _new_deletion.on_conflict_do_update(
    index_elements=[deletions.c.room],
    set_={"until": func.greatest(_new_deletion.excluded.until, deletions.c.until)},
)


@dataclass(frozen=True, slots=True)
class _State:
    """The row of the archive, as far as it changes; see `archive_schema.archive`."""

    epoch: str
    filled_until: int
    complete_after: int
    trimmed_until: int
    events: int
    bytes: int

    @classmethod
    def of(cls, row: Row[Any]) -> "_State":
        return cls(
            row.epoch,
            row.filled_until,
            row.complete_after,
            row.trimmed_until,
            row.events,
            row.bytes,
        )

    @property
    def first_number(self) -> int:
        return max(self.complete_after, self.trimmed_until) + 1

    def filled(self, until: int, after: int | None) -> "_State":
        """Return it with events up to a number, of which ``after`` says what they follow."""
        complete_after = self.complete_after
        if after is not None and after > self.filled_until:
            complete_after = after
        filled_until = max(self.filled_until, until)
        return replace(self, filled_until=filled_until, complete_after=complete_after)

    def without(self, deletion: Deletion) -> "_State":
        return replace(self, events=self.events - deletion.events, bytes=self.bytes - deletion.size)


class Archive:
    """A `SharedHistory` in the PostgreSQL database at ``url``.

    ``patience_seconds`` is how long a call waits for its turn, and as long for the database.
    """

    def __init__(self, url: str, *, patience_seconds: float = _PATIENCE_SECONDS) -> None:
        self.database = PostgresqlDatabase(url, idle_in_transaction_session_timeout=_LONGEST_PAUSE)
        self._calls = Calls(self.database, patience_seconds=patience_seconds)
        self._epoch: str | None = None

    async def open(self) -> None:
        """Make ready, whoever else does so at the same time; see `SharedHistory.open`."""
        try:
            await self._calls.open(self._prepare)
        except BaseException:
            await self.close()
            raise

    async def _prepare(self) -> None:
        async with self.database.transaction() as writer:
            await writer.exec_driver_sql(_LOCK_OF_THE_TABLES)
            await writer.run_sync(prepare)

    async def close(self) -> None:
        """Let go of the database. Idempotent."""
        self._calls.is_open = False
        await self.database.close()

    # Adding

    async def begin(self, epoch: str) -> None:
        """Say which epoch the events are of from now on; see `SharedHistory.begin`."""
        await self._write(partial(self._begin, epoch))
        self._epoch = epoch

    async def _begin(self, epoch: str, writer: Connection) -> None:
        state = await _lock(writer)
        if state.epoch != epoch:
            await _change(state, replace(state, epoch=epoch, filled_until=0), writer)

    async def add(self, events: Sequence[StoredEvent], *, after: int | None = None) -> None:
        """Add those of ``events`` that are not there; see `SharedHistory.add`."""
        in_order = [event for _, event in sorted({e.number: e for e in events}.items())]
        for portion in _portions(in_order):
            await self._write(partial(self._add, portion, after))

    async def _add(
        self, added: Sequence[StoredEvent], after: int | None, writer: Connection
    ) -> None:
        state = await _lock(writer)
        numbers = {"numbers": [event.number for event in added]}
        present = {row.number for row in await fetch(_READ_PRESENT, numbers, writer)}
        deleted = await fetch(_READ_DELETIONS, {"place": added[0].number}, writer)
        new = _without_deleted(
            (
                event
                for event in added
                if event.number > state.trimmed_until and event.number not in present
            ),
            {row.room: row.until for row in deleted},
        )
        await _EVENTS.insert(new, self.database, writer)
        changed = replace(
            state,
            events=state.events + len(new),
            bytes=state.bytes + sum(event.size for event in new),
        )
        if self._is_of_epoch(state):
            changed = changed.filled(added[-1].number, after)
        await _change(state, changed, writer)

    def _is_of_epoch(self, state: _State) -> bool:
        return self._epoch in {None, state.epoch}

    # Reading

    async def filled_until(self) -> int:
        """Return the last number that was added; see `SharedHistory.filled_until`."""
        state = await self._calls.read(_read)
        return state.filled_until if self._is_of_epoch(state) else 0

    async def events_for(
        self, addresses: Collection[str], *, after: int, until: int, limit: int
    ) -> list[StoredEvent]:
        """Return the oldest events for any of ``addresses``; see `Store.events_for`."""
        return await self._calls.read(
            partial(_EVENTS.for_addresses, addresses, after, until, limit)
        )

    async def history(self, room: str, *, after: int, limit: int, now: int) -> list[StoredEvent]:
        """Return the oldest events of ``room``; see `Store.history`."""
        return await self._calls.read(partial(_EVENTS.of_room, room, after, limit, now))

    # Deleting

    async def delete_history(self, room: str, until: int) -> int:
        """Delete events of ``room``, some at a time; see `SharedHistory.delete_history`."""
        count = 0
        while deleted := await self._write(partial(self._delete_history, room, until)):
            count += deleted
        return count

    async def _delete_history(self, room: str, until: int, writer: Connection) -> int:
        state = await _lock(writer)
        if until > state.trimmed_until:
            await writer.execute(_PUT_DELETION, {"room": room, "until": until})
        deletion = await _EVENTS.delete_of_room(room, until, writer)
        await _change(state, state.without(deletion), writer)
        return deletion.found

    async def trim(self, bounds: Bounds, now: int) -> int:
        """Delete what is beyond the bounds or over; see `SharedHistory.trim`."""
        while await self._write(partial(self._delete_expired, now)):
            pass
        while await self._write(partial(self._delete_beyond, bounds, now)):
            pass
        return await self._write(self._forget_deletions)

    async def _delete_expired(self, now: int, writer: Connection) -> int:
        state = await _lock(writer)
        deletion = await _EVENTS.delete_expired(now, writer)
        await _change(state, state.without(deletion), writer)
        return deletion.found

    async def _delete_beyond(self, bounds: Bounds, now: int, writer: Connection) -> int:
        state = await _lock(writer)
        deletion = await _EVENTS.delete_beyond(
            bounds, now, writer, events=state.events, size=state.bytes
        )
        trimmed_until = max(state.trimmed_until, deletion.until)
        changed = replace(state.without(deletion), trimmed_until=trimmed_until)
        await _change(state, changed, writer)
        return deletion.found

    async def _forget_deletions(self, writer: Connection) -> int:
        state = await _lock(writer)
        await writer.execute(_FORGET_DELETIONS, {"place": state.trimmed_until})
        return state.first_number

    async def _write(self, work: "Work[Result]") -> Result:
        return await self._calls.write(partial(self._in_transaction, work))

    async def _in_transaction(self, work: "Work[Result]") -> Result:
        try:
            self._calls.check_usable()
            async with self.database.transaction() as writer:
                return await work(writer)
        except self._calls.troubles as problem:
            raise self._calls.explained(problem) from problem


async def _read(reader: Connection) -> _State:
    return _State.of((await reader.execute(_READ)).one())


async def _lock(writer: Connection) -> _State:
    """Keep all others from changing anything until the end of the transaction."""
    return _State.of((await writer.execute(_LOCK)).one())


async def _change(before: _State, after: _State, writer: Connection) -> None:
    # What several nodes do costs those that come later nothing but reading.
    if after != before:
        await writer.execute(_UPDATE, asdict(after))


def _portions(events: Iterable[StoredEvent]) -> Iterator[list[StoredEvent]]:
    """Yield ``events`` in pieces that one transaction can add in a moment."""
    portion: list[StoredEvent] = []
    rows = size = 0
    for event in events:
        rows += 1 + len(event.addresses)
        size += event.size
        if portion and (rows > _ROWS_OF_AN_ADDITION or size > _BYTES_OF_AN_ADDITION):
            yield portion
            portion, rows, size = [], 1 + len(event.addresses), event.size
        portion.append(event)
    if portion:
        yield portion


def _without_deleted(
    events: Iterable[StoredEvent], deleted: Mapping[str, int]
) -> list[StoredEvent]:
    """Return what is left of ``events`` when histories were deleted up to some numbers."""
    left = []
    for event in events:
        addresses = tuple(
            address for address in event.addresses if event.number > deleted.get(address, 0)
        )
        if addresses == event.addresses:
            left.append(event)
        elif addresses:
            left.append(replace(event, addresses=addresses))
    return left
