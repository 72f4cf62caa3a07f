"""What waits for Redis in the store of this process, and outlives it."""

from collections.abc import Awaitable, Callable, Sequence

import structlog

from gtower_realtime.cluster.pending import BATCH_BYTES, BATCH_UNITS
from gtower_realtime.cluster.units import Unit
from gtower_realtime.errors import Overloaded
from gtower_realtime.journal import Journal
from gtower_realtime.records import Change, OutboxEntry, OutboxPut, OutboxSent, WebhookMarked

logger = structlog.get_logger(__name__)

MAX_ENTRIES = 200_000
MAX_BYTES = 256 * 1024 * 1024

Send = Callable[[Sequence[OutboxEntry]], Awaitable[list[str]]]
"""Sends entries in their order, and returns what has become of each; see `Link.append`."""


class Outbox:
    """Puts units of the process ``node`` into the store, and sends what is there."""

    def __init__(self, node: str, own: Journal) -> None:
        self._node = node
        self._own = own
        self._on_the_way: dict[int, Unit] = {}
        self.entries = 0
        """How many there are; those that are being recorded count."""
        self.bytes = 0

    async def open(self) -> None:
        """Find out what an earlier process has left."""
        backlog = await self._own.outbox_backlog()
        self.entries, self.bytes = backlog.entries, backlog.bytes

    def put(self, unit: Unit, take_effect: Callable[[Unit], None]) -> None:
        """Put a unit behind all others, and let it take effect once that is recorded.

        It fails with `Overloaded` when 200,000 entries or 256 MiB wait, and as the store does.
        """
        if self.entries >= MAX_ENTRIES or self.bytes + unit.size > MAX_BYTES:
            sentence = "Redis is away, and as much waits for it as may."
            unit.fail(Overloaded(sentence, headers={"Retry-After": "5"}))
            return
        entry = OutboxEntry(self._node, unit.sequence, unit.text)
        self._count(1, entry.size)
        self._on_the_way[unit.sequence] = unit
        # For itself: while Redis is away nobody else knows what was published.
        marks = [change for change in unit.changes if isinstance(change, WebhookMarked)]
        changes: list[Change] = [OutboxPut(entry), *marks]

        def apply(_number: int) -> None:
            if self.take(unit.sequence) is not None:
                take_effect(unit)

        put = self._own.record(lambda _: changes, apply, size=entry.size)

        def settled(_outcome: object) -> None:
            problem = None if put.cancelled() else put.exception()
            if isinstance(problem, Exception):
                self._count(-1, -entry.size)
                if self.take(unit.sequence) is not None:
                    unit.fail(problem)

        put.add_done_callback(settled)

    def take(self, sequence: int) -> Unit | None:
        """Return a unit that is being recorded; it does not take effect by that any more."""
        return self._on_the_way.pop(sequence, None)

    async def send(self, send: Send, refused: Callable[[OutboxEntry], None]) -> None:
        """Send everything, until nothing is left; ``refused`` is told of what nobody will get.

        Raises:
            RedisAway, StoreUnavailable, Overloaded: the rest has to be sent another time.
        """
        while self.entries:
            entries = await self._own.outbox(limit=BATCH_UNITS, max_bytes=BATCH_BYTES)
            if not entries:
                await self._own.settled()  # what there is has not been recorded yet
                continue
            outcomes = await send(entries)
            last = {entry.origin: entry.sequence for entry in entries}
            sent = [OutboxSent(origin, until) for origin, until in last.items()]
            await self._own.record(lambda _, sent=sent: sent, lambda _: None)  # type: ignore[misc]
            self._count(-len(entries), -sum(entry.size for entry in entries))
            for entry, outcome in zip(entries, outcomes, strict=True):
                if outcome == "refused":
                    logger.warning(
                        "outbox_entry_refused", origin=entry.origin, sequence=entry.sequence
                    )
                    refused(entry)

    def _count(self, entries: int, size: int) -> None:
        self.entries += entries
        self.bytes += size
