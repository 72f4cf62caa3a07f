"""Which events are beyond the bounds of a log: one rule for every store."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol, TypeVar

from gtower_realtime.ports import MAX_HISTORY_BYTES
from gtower_realtime.records import Bounds, SettledState

MINUTES_KEPT_SECONDS = 90 * 86_400
"""How long counted minutes are kept: 130,000 at most."""


MARKS_KEPT_SECONDS = 40 * 86_400
"""How long marks of webhooks are kept: longer than any webhook that could come, or be replayed."""

WEBHOOKS_KEPT: Mapping[SettledState, Bounds] = {
    "done": Bounds(max_events=100_000, max_bytes=64 * 1024 * 1024, max_age_seconds=7 * 86_400),
    "set_aside": Bounds(
        max_events=100_000, max_bytes=64 * 1024 * 1024, max_age_seconds=30 * 86_400
    ),
}
"""How many of the webhooks that were worked through are kept, to be replayed."""


def oldest_mark(now: int) -> int:
    """Return the time before which marks of webhooks are no longer kept."""
    return now - MARKS_KEPT_SECONDS * 1000


def oldest_minute(now: int) -> int:
    """Return the time before which counted minutes are no longer kept."""
    return now - MINUTES_KEPT_SECONDS * 1000


class Sized(Protocol):
    """What the bound of a read asks of what is read."""

    @property
    def size(self) -> int:
        """Bytes."""


class Measured(Sized, Protocol):
    """What the bounds ask of an event."""

    @property
    def published_at(self) -> int:
        """Milliseconds since 1970."""


Item = TypeVar("Item", bound=Sized)


def count_beyond(
    bounds: Bounds, now: int, *, events: int, size: int, oldest: Iterable[Measured]
) -> int:
    """Return how many of ``oldest`` must go from a log that has ``events`` and ``size`` in all.

    The oldest go first: one that is young enough keeps all that follow it, whatever their time.
    """
    oldest_time = now - bounds.max_age_seconds * 1000
    beyond = 0
    for event in oldest:
        is_beyond = (
            0 < bounds.max_events < events
            or 0 < bounds.max_bytes < size
            or (bounds.max_age_seconds > 0 and event.published_at < oldest_time)
        )
        if not is_beyond:
            break
        beyond += 1
        events -= 1
        size -= event.size
    return beyond


def within_a_read(items: Iterable[Item], max_bytes: int = MAX_HISTORY_BYTES) -> Iterator[Item]:
    """Yield the first of ``items``, up to the one with which they are too much for one read."""
    size = 0
    for item in items:
        yield item
        size += item.size
        if size > max_bytes:
            return
