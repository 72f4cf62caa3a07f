"""One event's way: number and record, then deliver, then the receipt. Knows no wires."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gtower_realtime import strict_json
from gtower_realtime.events.server import SERVER_EVENTS, server_event
from gtower_realtime.ids import RandomIds
from gtower_realtime.journal import Journal
from gtower_realtime.metrics import Metrics
from gtower_realtime.ports import Clock, Offset, Target, Transport
from gtower_realtime.records import Change, StoredEvent
from gtower_realtime.sessions import Sessions, addresses
from gtower_realtime.timestamps import milliseconds


@dataclass(slots=True)
class Receipt:
    """What became of a published event.

    ``recipients`` distinct live connections were handed it; ``pending`` sessions are away and will
    get it when they return. ``offset`` is its place in the log, None for an event that is not
    stored.
    """

    id: str
    recipients: int
    pending: int
    offset: Offset | None

    def as_dict(self) -> dict[str, Any]:
        """Return ``{"id", "recipients", "pending", "offset"?}``."""
        shape: dict[str, Any] = {
            "id": self.id,
            "recipients": self.recipients,
            "pending": self.pending,
        }
        if self.offset is not None:
            shape["offset"] = str(self.offset)
        return shape


@dataclass(frozen=True, slots=True)
class Delivery:
    """How an event is sent, besides to whom.

    ``event_id`` is the sender's own id of it. Nobody gets it by recovery or history after
    ``ttl_seconds``. A volatile event is not recorded: it reaches who is there, unless too slow.
    """

    event_id: str | None = None
    ttl_seconds: float | None = None
    is_volatile: bool = False


AS_USUAL = Delivery()


class Publisher:
    """Publishes events: stored ones in the order of the log, the others at once."""

    def __init__(
        self,
        *,
        journal: Journal,
        transport: Transport,
        sessions: Sessions,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._journal = journal
        self._transport = transport
        self._sessions = sessions
        self._clock = clock
        self._metrics = metrics
        self._ids = RandomIds(12)

    def publish(
        self,
        event: str,
        payload: Mapping[str, Any],
        target: Target,
        then: Callable[[Receipt], None] | None = None,
        also: Callable[[StoredEvent], Sequence[Change]] | None = None,
        delivery: Delivery = AS_USUAL,
    ) -> "asyncio.Future[Receipt]":
        """Record an event and deliver it; the future has the receipt when both are done.

        ``then`` is called right after the delivery, before anything else is delivered. What
        ``also`` returns is recorded in the same transaction. Events are delivered in the order of
        the calls. The future fails with `StoreUnavailable` or `Overloaded` when the event was not
        recorded; then nobody has seen it.

        Raises:
            ValueError: the payload cannot be said in JSON.
        """
        body = strict_json.dumps(payload)
        event_id = delivery.event_id or self._ids.new()
        if delivery.is_volatile or not server_event(event).stored:
            return self._deliver_at_once(event_id, event, body, target, delivery.is_volatile)
        published_at = milliseconds(self._clock.now())
        expires_at = None
        if delivery.ttl_seconds is not None:
            expires_at = published_at + round(delivery.ttl_seconds * 1000)

        def make(number: int) -> StoredEvent:
            return StoredEvent(
                number=number,
                id=event_id,
                event=event,
                payload=body,
                addresses=addresses(target),
                excluded=tuple(target.excluded),
                published_at=published_at,
                expires_at=expires_at,
            )

        def deliver(stored: StoredEvent) -> Receipt:
            offset = self._journal.offset(stored.number)
            receipt = self._deliver(event_id, event, body, target, offset=offset)
            if then is not None:
                then(receipt)
            return receipt

        return self._journal.append(make, deliver, also, size=len(body))

    def announce(self, event: str, payload: Mapping[str, Any], target: Target) -> None:
        """Deliver an event that a slow client may miss; it is not stored."""
        self._transport.deliver(event, strict_json.dumps(payload), target, droppable=True)

    def _deliver_at_once(
        self, event_id: str, event: str, body: str, target: Target, is_volatile: bool
    ) -> "asyncio.Future[Receipt]":
        future: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        future.set_result(self._deliver(event_id, event, body, target, droppable=is_volatile))
        return future

    def _deliver(
        self,
        event_id: str,
        event: str,
        body: str,
        target: Target,
        *,
        offset: Offset | None = None,
        droppable: bool = False,
    ) -> Receipt:
        recipients = self._transport.deliver(
            event, body, target, offset=offset, droppable=droppable
        )
        pending = 0 if offset is None else self._sessions.count_away(target)
        self._metrics.events_published.labels(event if event in SERVER_EVENTS else "custom").inc()
        self._metrics.deliveries.inc(recipients)
        return Receipt(id=event_id, recipients=recipients, pending=pending, offset=offset)
