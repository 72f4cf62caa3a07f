"""The SQL of what waits for other nodes, and what its rows are in `records`."""

from collections.abc import Mapping

from sqlalchemy import BigInteger, Text, bindparam, delete, func, insert, select

from gtower_realtime.records import OutboxBacklog, OutboxEntry
from gtower_realtime.store.sql.database import Connection, Parameters
from gtower_realtime.store.sql.schema import outbox

_ORIGIN = bindparam("of_origin", type_=Text)
_WANTED = bindparam("wanted", type_=BigInteger)
_UP_TO = bindparam("up_to", type_=BigInteger)
_LIMIT = bindparam("limit", type_=BigInteger)
_MAX_BYTES = bindparam("max_bytes", type_=BigInteger)

INSERT = insert(outbox)
DELETE = delete(outbox).where(outbox.c.origin == _ORIGIN, outbox.c.sequence == _WANTED)
DELETE_ALL = delete(outbox)

_DELETE_SENT = delete(outbox).where(outbox.c.origin == _ORIGIN, outbox.c.sequence <= _UP_TO)
_READ_SENT = select(outbox).where(outbox.c.origin == _ORIGIN, outbox.c.sequence <= _UP_TO)
_READ_TOTALS = select(
    func.count().label("entries"), func.coalesce(func.sum(outbox.c.size), 0).label("bytes")
).select_from(outbox)

_oldest = select(outbox.c.place, outbox.c.size).order_by(outbox.c.place).limit(_LIMIT).subquery()
_measured = select(
    _oldest.c.place,
    (func.sum(_oldest.c.size).over(order_by=_oldest.c.place) - _oldest.c.size).label(
        "bytes_before"
    ),
).subquery()
_READ_OLDEST = (
    select(outbox)
    .where(
        outbox.c.place.in_(select(_measured.c.place).where(_measured.c.bytes_before <= _MAX_BYTES))
    )
    .order_by(outbox.c.place)
)


async def read_oldest(limit: int, max_bytes: int, connection: Connection) -> list[OutboxEntry]:
    """Return the entries that are to be sent next."""
    parameters = {"limit": limit, "max_bytes": max_bytes}
    rows = (await connection.execute(_READ_OLDEST, parameters)).all()
    return [OutboxEntry(row.origin, row.sequence, row.text) for row in rows]


async def read_backlog(connection: Connection) -> OutboxBacklog:
    """Return how much waits."""
    row = (await connection.execute(_READ_TOTALS)).one()
    return OutboxBacklog(row.entries, int(row.bytes))


async def take_sent(sent: Mapping[str, int], connection: Connection) -> list[Parameters]:
    """Delete what has been sent, up to a sequence of each origin; return the rows."""
    rows: list[Parameters] = []
    for origin, until in sent.items():
        parameters = {"of_origin": origin, "up_to": until}
        found = await connection.execute(_READ_SENT, parameters)
        rows += map(dict, found.mappings())
        await connection.execute(_DELETE_SENT, parameters)
    return rows


def key_row(entry: OutboxEntry) -> Parameters:
    """Return what finds the row of an entry."""
    return {"of_origin": entry.origin, "wanted": entry.sequence}


def entry_row(entry: OutboxEntry) -> Parameters:
    """Return the row of an entry, which gets its place when it is inserted."""
    return {
        "origin": entry.origin,
        "sequence": entry.sequence,
        "size": entry.size,
        "text": entry.text,
    }
