"""What tests of stores record, and how they read it again."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import select
from tornado.ioloop import IOLoop

from gtower_realtime.ports import Store
from gtower_realtime.records import (
    Bounds,
    Change,
    EventAppended,
    GivenAnswer,
    OutboxEntry,
    OutboxPut,
    Snapshot,
    StoredEvent,
    StoredSession,
    StoredWebhook,
    WebhookMark,
    WebhookMarked,
    WebhookReceived,
)
from gtower_realtime.store.sql.archive import Archive
from gtower_realtime.store.sql.archive_schema import events as archived_events
from gtower_realtime.store.sql.events import event_of
from gtower_realtime.store.sql.postgresql import PostgresqlDatabase
from gtower_realtime.store.sql.sqlite import SqliteDatabase
from gtower_realtime.store.sql.store import SqlStore

NOW = 1_795_436_898_953
PLENTY = 1_000_000
NO_BOUNDS = Bounds(max_events=0, max_bytes=0, max_age_seconds=0)


@contextmanager
def closed_in_the_end(
    io_loop: IOLoop, make_store: Callable[..., SqlStore]
) -> Iterator[Callable[..., SqlStore]]:
    """Give ``make_store``, and close in the end whatever it has made."""
    stores: list[SqlStore] = []

    def make(**options: Any) -> SqlStore:
        stores.append(make_store(**options))
        return stores[-1]

    yield make
    for store in stores:
        io_loop.run_sync(store.close)


async def opened(store: SqlStore) -> SqlStore:
    """Open ``store`` without a window."""
    await store.open(recent_events=0, recent_bytes=0)
    return store


class Place:
    """Where stores of one kind keep things: what one leaves there the next one finds."""

    def __init__(self, make_store: Callable[[], Store]) -> None:
        self._make_store = make_store
        self.store = make_store()

    async def open(self, *, recent_events: int = PLENTY, recent_bytes: int = PLENTY) -> Snapshot:
        return await self.store.open(recent_events=recent_events, recent_bytes=recent_bytes)

    async def reopen(self, **limits: int) -> Snapshot:
        """Close the store and open another one in the same place."""
        await self.store.close()
        self.store = self._make_store()
        return await self.open(**limits)


def an_event(number: int, *addresses: str, **details: Any) -> StoredEvent:
    """Return an event for ``addresses``, or for the room `sales`."""
    values: dict[str, Any] = {
        "number": number,
        "id": f"e{number}",
        "event": "notification",
        "payload": f'{{"n":{number}}}',
        "addresses": addresses or ("sales",),
        "excluded": (),
        "published_at": NOW,
    }
    return StoredEvent(**(values | details))


def appended(*events: StoredEvent) -> list[Change]:
    """Return what appends ``events``."""
    return [EventAppended(event) for event in events]


def some_events(*numbers: int) -> list[Change]:
    """Return what appends events for the room `sales`."""
    return appended(*(an_event(number) for number in numbers))


def a_session(client_id: str = "c1", **details: Any) -> StoredSession:
    """Return a session that has just been opened."""
    values: dict[str, Any] = {
        "client_id": client_id,
        "pid": f"secret-{client_id}",
        "namespace": "/",
        "user_id": None,
        "opened_at_number": 0,
    }
    return StoredSession(**(values | details))


def an_answer(key: str = "k1", **details: Any) -> GivenAnswer:
    """Return an answer that expires right after :data:`NOW`."""
    values: dict[str, Any] = {"fingerprint": "f", "answer": "{}", "expires_at": NOW + 1}
    return GivenAnswer(**({"key": key} | values | details))


def received(number: int, *, at: int = NOW, body: bytes = b"{}") -> WebhookReceived:
    """Return what lets a webhook wait."""
    return WebhookReceived(StoredWebhook(number, at, body))


def marked(key: str, value: str = "", *, at: int = NOW) -> WebhookMarked:
    """Return what sets a mark."""
    return WebhookMarked(WebhookMark(key, value, at))


def put(sequence: int, text: str = "{}", *, origin: str = "n1") -> OutboxPut:
    """Return what lets an entry wait in the outbox."""
    return OutboxPut(OutboxEntry(origin, sequence, text))


async def sequences_in_outbox(store: Store) -> list[tuple[str, int]]:
    """Return what waits in the outbox, as (origin, sequence)."""
    entries = await store.outbox(limit=PLENTY, max_bytes=PLENTY)
    return [(entry.origin, entry.sequence) for entry in entries]


async def numbers_for(store: Store, *addresses: str) -> list[int]:
    """Return the numbers of all events for ``addresses``, or for the room `sales`."""
    events = await store.events_for(addresses or ("sales",), after=0, until=PLENTY, limit=PLENTY)
    return [event.number for event in events]


def sql_store(location: str, **options: Any) -> SqlStore:
    """Return a store in a PostgreSQL database or, when it is no URL, in an SQLite file."""
    if location.startswith("postgresql:"):
        return SqlStore(PostgresqlDatabase(location), **options)
    return SqlStore(SqliteDatabase(Path(location)), **options)


class ArchiveOfEvents:
    """An `Archive` with the methods of a store, as far as they are about events."""

    def __init__(self, url: str) -> None:
        self.archive = Archive(url)

    async def open(self, **_limits: int) -> Snapshot:
        """Open it, and return all that is there as recent."""
        await self.archive.open()
        return Snapshot(
            epoch="",
            first_number=await self.archive.trim(NO_BOUNDS, 0),
            last_number=await self.archive.filled_until(),
            recent=await all_archived(self.archive),
            sessions=[],
        )

    async def commit(self, changes: Sequence[Change]) -> None:
        await self.archive.add([change.event for change in changes])  # type: ignore[union-attr]

    async def events_for(
        self, addresses: Collection[str], *, after: int, until: int, limit: int
    ) -> list[StoredEvent]:
        return await self.archive.events_for(addresses, after=after, until=until, limit=limit)

    async def history(self, room: str, *, after: int, limit: int, now: int) -> list[StoredEvent]:
        return await self.archive.history(room, after=after, limit=limit, now=now)

    async def delete_history(self, room: str) -> int:
        return await self.archive.delete_history(room, await self.archive.filled_until())

    async def trim(self, bounds: Bounds, now: int) -> int:
        return await self.archive.trim(bounds, now)

    async def close(self) -> None:
        await self.archive.close()


async def all_archived(archive: Archive) -> list[StoredEvent]:
    """Return all events of an archive, whomever they are for."""
    async with archive.database.reader() as reader:
        rows = await reader.execute(select(archived_events).order_by(archived_events.c.number))
        return list(map(event_of, rows))
