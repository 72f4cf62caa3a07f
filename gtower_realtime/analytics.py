"""What happened minute by minute: counted in memory, recorded when a minute is over. No wires.

Most of it is what the metrics count anyway, as the difference since the minute began.
"""

import asyncio
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog

from gtower_realtime import strict_json
from gtower_realtime.clients import ClientRegistry
from gtower_realtime.errors import ValidationFailed
from gtower_realtime.metrics import OTHER, Metrics, values
from gtower_realtime.ports import Clock, EventLog
from gtower_realtime.records import CountedMinute, MinuteCounted
from gtower_realtime.timestamps import format_timestamp, from_milliseconds, milliseconds

logger = structlog.get_logger(__name__)

STEP_SECONDS = 60
LONGEST = timedelta(days=1)
"""What one read may cover."""
DEFAULT = timedelta(hours=1)
"""What a read covers that does not say since when."""

CUSTOM_NAMES = 20
"""Of the custom events of a minute as many have names, those that came most often."""

_STEP_MS = STEP_SECONDS * 1000
_MINUTES_HELD = 1440


@dataclass(slots=True)
class Counts:
    """What was counted in a minute. ``connections`` are the most clients at once."""

    connections: int = 0
    events: Counter[str] = field(default_factory=Counter)
    recipients: int = 0
    bytes: int = 0
    refusals: Counter[str] = field(default_factory=Counter)

    @classmethod
    def parse(cls, text: str) -> "Counts":
        """Read what :meth:`as_dict` returned, as JSON."""
        said = strict_json.loads(text)
        return cls(
            said["connections"],
            Counter(said["events"]),
            said["recipients"],
            said["bytes"],
            Counter(said["refusals"]),
        )

    def add(self, other: "Counts") -> None:
        """Add another part of the same minute."""
        self.connections = max(self.connections, other.connections)
        self.events += other.events
        self.recipients += other.recipients
        self.bytes += other.bytes
        self.refusals += other.refusals

    def as_dict(self) -> dict[str, Any]:
        """Return ``{"connections", "events", "recipients", "bytes", "refusals"}``."""
        return {
            "connections": self.connections,
            "events": dict(self.events),
            "recipients": self.recipients,
            "bytes": self.bytes,
            "refusals": dict(self.refusals),
        }


@dataclass(frozen=True, slots=True)
class _Totals:
    """What the metrics have counted since the process began."""

    events: Counter[str] = field(default_factory=Counter)
    recipients: int = 0
    bytes: int = 0
    refusals: Counter[str] = field(default_factory=Counter)


class Analytics:
    """Counts the minutes, and tells what was counted; :meth:`tick` must be called each second.

    A kill loses the minute that has begun. What cannot be recorded is held for a day at most, and
    recorded with a later minute.
    """

    def __init__(
        self, *, journal: EventLog, clients: ClientRegistry, clock: Clock, metrics: Metrics
    ) -> None:
        self._journal = journal
        self._clients = clients
        self._clock = clock
        self._metrics = metrics
        self._minute = 0
        self._most_connections = 0
        self._before = _Totals()
        self._held: dict[str, CountedMinute] = {}
        self._being_recorded: set[str] = set()
        self._begin()

    def tick(self) -> None:
        """Take note of how many are connected, and have the minute recorded once it is over."""
        self._most_connections = max(self._most_connections, len(self._clients))
        if _minute_of(self._clock.now()) != self._minute:
            self.record()

    def record(self) -> None:
        """Have recorded what was counted since the last time."""
        counts = strict_json.dumps(self._so_far().as_dict())
        counted = CountedMinute(secrets.token_hex(8), self._minute, counts)
        self._begin()
        self._held[counted.id] = counted
        while len(self._held) > _MINUTES_HELD:
            lost = self._held.pop(next(iter(self._held)))
            logger.warning("analytics_lost", minute=format_timestamp(from_milliseconds(lost.at)))
        taken: list[CountedMinute] = []

        def changes(_number: int) -> list[MinuteCounted]:
            taken.extend(one for one in self._held.values() if one.id not in self._being_recorded)
            self._being_recorded.update(one.id for one in taken)
            return [MinuteCounted(one) for one in taken]

        def forget(_number: int) -> None:
            for one in taken:
                self._held.pop(one.id, None)

        def settle(outcome: "asyncio.Future[Any]") -> None:
            # A failure is the journal's to log; what it could not record stays held.
            outcome.exception()
            self._being_recorded.difference_update(one.id for one in taken)

        self._journal.record(changes, forget).add_done_callback(settle)

    async def points(self, start: datetime | None, end: datetime | None) -> dict[str, Any]:
        """Return ``{"from", "to", "step": 60, "points": [{"at", …}]}``: a point for each minute.

        From the minute of ``start`` on, an hour before ``end`` when it is None, until before
        ``end``, now when it is None. The last point is of a minute that may not be over. A minute
        without a point is one in which no server was running.

        Raises:
            ValidationFailed: ``start`` is after ``end``, or over a day before it.
            StoreUnavailable: the store cannot be read.
        """
        end = self._clock.now() if end is None else end
        start = _hour_before(end) if start is None else start
        _check_range(start, end)
        since, before = _minute_of(start), milliseconds(end)
        minutes = {one.id: one for one in await self._journal.minutes(since=since, before=before)}
        minutes |= self._held
        points: dict[int, Counts] = {}
        for one in minutes.values():
            points.setdefault(one.at, Counts()).add(Counts.parse(one.counts))
        points.setdefault(self._minute, Counts()).add(self._so_far())
        return {
            "from": format_timestamp(from_milliseconds(since)),
            "to": format_timestamp(end),
            "step": STEP_SECONDS,
            "points": [
                {"at": format_timestamp(from_milliseconds(at)), **points[at].as_dict()}
                for at in sorted(points)
                if since <= at < before
            ],
        }

    def _begin(self) -> None:
        self._minute = _minute_of(self._clock.now())
        self._before = self._totals()
        self._most_connections = len(self._clients)
        self._metrics.custom_events.clear()

    def _so_far(self) -> Counts:
        totals, before = self._totals(), self._before
        events = totals.events - before.events
        del events[_CUSTOM]
        return Counts(
            connections=max(self._most_connections, len(self._clients)),
            events=events + _most_common(self._metrics.custom_events.counts),
            recipients=totals.recipients - before.recipients,
            bytes=totals.bytes - before.bytes,
            refusals=totals.refusals - before.refusals,
        )

    def _totals(self) -> _Totals:
        metrics = self._metrics
        refusals: Counter[str] = Counter()
        for counter in metrics.refusals:
            refusals.update(values(counter))
        return _Totals(
            events=Counter(values(metrics.events_published.metric)),
            recipients=values(metrics.deliveries)[""],
            bytes=values(metrics.payload_bytes)[""],
            refusals=refusals,
        )


_CUSTOM = "custom"
"""The label of all custom events together."""


def _most_common(names: Mapping[str, int]) -> Counter[str]:
    # By name where they are equal, so that the choice does not depend on the order.
    ordered = sorted(names.items(), key=lambda item: (item[0] == OTHER, -item[1], item[0]))
    counts = Counter(dict(ordered[:CUSTOM_NAMES]))
    counts[OTHER] += sum(count for _, count in ordered[CUSTOM_NAMES:])
    return +counts


def _minute_of(moment: datetime) -> int:
    return milliseconds(moment) // _STEP_MS * _STEP_MS


def _hour_before(end: datetime) -> datetime:
    try:
        return end - DEFAULT
    except OverflowError:
        return end


def _check_range(start: datetime, end: datetime) -> None:
    if start > end:
        sentence = "Must not be after to."
    elif end - start > LONGEST:
        sentence = "Must not be more than a day before to."
    else:
        return
    raise ValidationFailed(f"from: {sentence}", fields={"from": [sentence]})
