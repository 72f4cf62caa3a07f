"""Events in a pair of tables: how they are added, read and deleted there. Nothing here commits."""

from collections.abc import Collection, Iterable, Sequence
from itertools import accumulate, chain
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Row, Table, Text, bindparam, delete, func, select, update

from gtower_realtime import strict_json
from gtower_realtime.ports import MAX_HISTORY_BYTES
from gtower_realtime.records import Bounds, StoredEvent
from gtower_realtime.store.bounds import count_beyond
from gtower_realtime.store.sql.database import Connection, Database, execute, fetch

# A commit waits for a deletion that has begun.
ROWS_OF_A_DELETION = 1000
EVENTS_OF_A_DELETION = 500

_FOR = bindparam("for_address", type_=Text)
_FOR_ANY = bindparam("for_addresses", expanding=True, type_=Text)
_PLACE = bindparam("place", type_=BigInteger)
_FOLLOWING = bindparam("following", type_=BigInteger)
_UP_TO = bindparam("up_to", type_=BigInteger)
_NOW = bindparam("now", type_=BigInteger)
_LIMIT = bindparam("limit", type_=BigInteger)
_MAX_BYTES = bindparam("max_bytes", type_=BigInteger)


class Deletion(NamedTuple):
    """What one step of a deletion has done."""

    found: int
    """How many events it was about; 0 when nothing is left to do."""
    events: int = 0
    """How many are gone altogether."""
    size: int = 0
    """Their sizes together."""
    until: int = 0
    """The largest of their numbers."""

    @classmethod
    def of(cls, rows: Sequence[Row[Any]], *, found: int | None = None) -> "Deletion":
        """Return the deletion of ``rows``."""
        return cls(
            found=len(rows) if found is None else found,
            events=len(rows),
            size=sum(row.size for row in rows),
            until=max((row.number for row in rows), default=0),
        )


class EventTables:
    """Two tables as `schema.event_tables` makes them.

    ``first_stretch`` is over how many numbers a read for many addresses looks at first.
    """

    def __init__(self, events: Table, addresses: Table, *, first_stretch: int) -> None:
        self._events = events
        self._addresses = addresses
        self._first_stretch = first_stretch
        self._change = update(events).where(events.c.number == _PLACE)
        self._delete = delete(events).where(events.c.number == _PLACE)
        self._delete_address = delete(addresses).where(
            addresses.c.address == _FOR, addresses.c.number == _PLACE
        )
        self._read_for = (
            select(events)
            .where(
                events.c.number.in_(
                    select(addresses.c.number).where(
                        addresses.c.address.in_(_FOR_ANY),
                        addresses.c.number > _FOLLOWING,
                        addresses.c.number <= _UP_TO,
                    )
                )
            )
            .order_by(events.c.number)
            .limit(_LIMIT)
        )
        self._read_history = _history(events, addresses)
        measures = select(events.c.number, events.c.size, events.c.published_at, events.c.addresses)
        self._read_of_room = (
            measures.join(addresses, addresses.c.number == events.c.number)
            .where(addresses.c.address == _FOR, addresses.c.number <= _UP_TO)
            .order_by(addresses.c.number)
            .limit(_LIMIT)
        )
        self._read_oldest = measures.order_by(events.c.number).limit(_LIMIT)
        self._read_expired = (
            measures.where(events.c.expires_at <= _NOW)
            .order_by(events.c.expires_at, events.c.number)
            .limit(_LIMIT)
        )

    # Adding

    async def insert(
        self, events: Sequence[StoredEvent], database: Database, writer: Connection
    ) -> None:
        """Add ``events``, none of which is there."""
        if events:
            addresses = list(chain.from_iterable(map(_address_rows, events)))
            await database.insert_rows(writer, self._events, list(map(_event_row, events)))
            await database.insert_rows(writer, self._addresses, addresses)

    # Reading

    async def for_addresses(
        self, addresses: Collection[str], after: int, until: int, limit: int, reader: Connection
    ) -> list[StoredEvent]:
        """Return the oldest events for any of ``addresses``; see `Store.events_for`."""
        wanted = list(addresses)
        events: list[StoredEvent] = []
        # A stretch is read in full before its events are in order, so the first ones are short:
        # mostly little was missed, or there is more than the limit.
        stretch = self._first_stretch
        while after < until and len(events) < limit:
            up_to = min(after + stretch, until)
            parameters = {
                "for_addresses": wanted,
                "following": after,
                "up_to": up_to,
                "limit": limit - len(events),
            }
            events += map(event_of, await fetch(self._read_for, parameters, reader))
            after, stretch = up_to, stretch * 2
        return events

    async def of_room(
        self, room: str, after: int, limit: int, now: int, reader: Connection
    ) -> list[StoredEvent]:
        """Return the oldest events of ``room``; see `Store.history`."""
        parameters = {
            "for_address": room,
            "following": after,
            "limit": limit,
            "now": now,
            "max_bytes": MAX_HISTORY_BYTES,
        }
        return list(map(event_of, await fetch(self._read_history, parameters, reader)))

    # Deleting, in steps that are short enough for one transaction

    async def delete_of_room(self, room: str, until: int, writer: Connection) -> Deletion:
        """Delete some of the events that were for ``room`` alone, take it off some others."""
        parameters = {"for_address": room, "up_to": until, "limit": EVENTS_OF_A_DELETION}
        rows = await fetch(self._read_of_room, parameters, writer)
        kept: list[dict[str, Any]] = []
        gone: list[Row[Any]] = []
        for row in rows:
            others = [address for address in _addresses_of(row) if address != room]
            if others:
                kept.append({"place": row.number, "addresses": strict_json.dumps(others)})
            else:
                gone.append(row)
        places = [{"for_address": room, "place": row["place"]} for row in kept]
        await execute(writer, self._change, kept)
        await execute(writer, self._delete_address, places)
        await self._delete_rows(gone, writer)
        return Deletion.of(gone, found=len(rows))

    async def delete_expired(self, now: int, writer: Connection) -> Deletion:
        """Delete some of the events that are over."""
        parameters = {"now": now, "limit": EVENTS_OF_A_DELETION}
        expired = _at_once(await fetch(self._read_expired, parameters, writer))
        await self._delete_rows(expired, writer)
        return Deletion.of(expired)

    async def delete_beyond(
        self, bounds: Bounds, now: int, writer: Connection, *, events: int, size: int
    ) -> Deletion:
        """Delete some of the oldest, as far as ``events`` of ``size`` in all are beyond bounds."""
        oldest = await fetch(self._read_oldest, {"limit": EVENTS_OF_A_DELETION}, writer)
        count = count_beyond(bounds, now, events=events, size=size, oldest=oldest)
        beyond = _at_once(oldest[:count])
        await self._delete_rows(beyond, writer)
        return Deletion.of(beyond)

    async def _delete_rows(self, rows: Sequence[Row[Any]], writer: Connection) -> None:
        await self.delete([(row.number, _addresses_of(row)) for row in rows], writer)

    async def delete(
        self, events: Collection[tuple[int, Iterable[str]]], writer: Connection
    ) -> None:
        """Delete events, of which the numbers and the addresses are given."""
        await execute(writer, self._delete, ({"place": number} for number, _ in events))
        places = (
            {"for_address": address, "place": number}
            for number, addresses in events
            for address in set(addresses)
        )
        await execute(writer, self._delete_address, places)


def _history(events: Table, addresses: Table) -> Any:
    page = (
        select(events.c.number, events.c.size)
        .join(addresses, addresses.c.number == events.c.number)
        .where(
            addresses.c.address == _FOR,
            addresses.c.number > _FOLLOWING,
            events.c.expires_at.is_(None) | (events.c.expires_at > _NOW),
        )
        .order_by(addresses.c.number)
        .limit(_LIMIT)
        .subquery()
    )
    measured = select(
        page.c.number,
        (func.sum(page.c.size).over(order_by=page.c.number) - page.c.size).label("bytes_before"),
    ).subquery()
    within = select(measured.c.number).where(measured.c.bytes_before <= _MAX_BYTES)
    return select(events).where(events.c.number.in_(within)).order_by(events.c.number)


def _event_row(event: StoredEvent) -> tuple[Any, ...]:
    # By place, in the order of the columns: looking up names would cost the most.
    return (
        event.number,
        event.size,
        event.published_at,
        event.expires_at,
        event.id,
        event.event,
        strict_json.dumps(event.addresses),
        strict_json.dumps(event.excluded) if event.excluded else "[]",
        event.payload,
    )


def _address_rows(event: StoredEvent) -> Iterable[tuple[Any, ...]]:
    return ((address, event.number) for address in dict.fromkeys(event.addresses))


def event_of(row: Row[Any]) -> StoredEvent:
    """Return the event of a row."""
    return StoredEvent(
        number=row.number,
        id=row.id,
        event=row.event,
        payload=row.payload,
        addresses=_addresses_of(row),
        excluded=tuple(strict_json.loads(row.excluded)),
        published_at=row.published_at,
        expires_at=row.expires_at,
    )


def _addresses_of(row: Row[Any]) -> tuple[str, ...]:
    return tuple(strict_json.loads(row.addresses))


def _at_once(events: Sequence[Row[Any]]) -> Sequence[Row[Any]]:
    """Return the first of ``events``, as many as one transaction may delete."""
    rows = accumulate(1 + len(_addresses_of(event)) for event in events)
    return events[: max(1, sum(count <= ROWS_OF_A_DELETION for count in rows))]
