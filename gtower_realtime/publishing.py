"""One event's way: number and record, then deliver, then the receipt. Knows no wires."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from gtower_realtime import strict_json
from gtower_realtime.ack_waits import Acknowledged, AckWait, AckWaits, Heard
from gtower_realtime.events.server import SERVER_EVENTS, server_event
from gtower_realtime.ids import RandomIds
from gtower_realtime.metrics import Metrics
from gtower_realtime.peers import Missing, Peers, Tally, told_missing
from gtower_realtime.ports import Clock, EventLog, Offset, Target, Transport
from gtower_realtime.records import Change, StoredEvent
from gtower_realtime.sessions import Sessions, addresses, target_of
from gtower_realtime.timestamps import milliseconds
from gtower_realtime.traces import TracedEvent, Traces


@dataclass(slots=True)
class Receipt:
    """What became of a published event.

    ``recipients`` distinct live connections were handed it; ``pending`` sessions are away and will
    get it when they return. ``offset`` is its place in the log, None for an event that is not
    stored. The processes ``missing`` have not told how many they had.
    """

    id: str
    recipients: int
    pending: int
    offset: Offset | None
    acknowledged: Acknowledged | None = None
    missing: Missing = None

    def as_dict(self) -> dict[str, Any]:
        """Return ``{"id", "recipients", "pending", "offset"?}``, what was acknowledged, who missed.

        See `Acknowledged.as_dict` and `told_missing`.
        """
        shape: dict[str, Any] = {
            "id": self.id,
            "recipients": self.recipients,
            "pending": self.pending,
        }
        if self.offset is not None:
            shape["offset"] = str(self.offset)
        if self.acknowledged is not None:
            shape |= self.acknowledged.as_dict()
        if self.missing is not None:
            shape |= told_missing(self.missing)
        return shape


@dataclass(frozen=True, slots=True)
class Delivery:
    """How an event is sent, besides to whom.

    ``event_id`` is the sender's own id of it. Nobody gets it by recovery or history after
    ``ttl_seconds``. A volatile event is not recorded: it reaches who is there, unless too slow.
    With ``ack_seconds`` the clients are asked to acknowledge, and the receipt waits so long for it,
    or until ``caller_gone`` is done: nobody waits for the receipt any more.
    """

    event_id: str | None = None
    ttl_seconds: float | None = None
    is_volatile: bool = False
    ack_seconds: float | None = None
    caller_gone: "asyncio.Future[None] | None" = None


AS_USUAL = Delivery()

Watcher = Callable[[str, str, Target, Receipt], None]
"""Called with an event's name, its payload as JSON text, whom it was for, and its receipt."""


class Publisher:
    """Publishes events: stored ones in the order of the log, the others at once."""

    def __init__(
        self,
        *,
        journal: EventLog,
        transport: Transport,
        sessions: Sessions,
        ack_waits: AckWaits,
        traces: Traces,
        clock: Clock,
        metrics: Metrics,
        peers: Peers,
    ) -> None:
        self._peers = peers
        self._ack_waits = ack_waits
        self._trails = traces.trails
        self._traces = traces
        self._journal = journal
        self._transport = transport
        self._sessions = sessions
        self._clock = clock
        self._metrics = metrics
        self._ids = RandomIds(12)
        self.watcher: Watcher | None = None
        """Called with each event that was handed over; None while nobody watches."""

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
        began = self._clock.monotonic()
        body = strict_json.dumps(payload)
        event_id = delivery.event_id or self._ids.new()
        wait = None
        if delivery.ack_seconds is not None:
            wait = self._ack_waits.begin(delivery.ack_seconds, 1 + self._peers.count)
            if delivery.caller_gone is not None:
                end = wait.end
                delivery.caller_gone.add_done_callback(lambda _: end())
        tally = self._peers.expect(event_id, wait)
        if delivery.is_volatile or not server_event(event).stored:
            volatile = delivery.is_volatile
            delivered = self._deliver_at_once(event_id, event, body, target, volatile, wait, began)
            return _completed(delivered, tally, wait)
        publication = _Publication(
            self,
            event_id,
            event,
            body,
            target,
            milliseconds(self._clock.now()),
            delivery.ttl_seconds,
            wait,
            then,
            began,
        )
        published = self._journal.append(
            publication.stored_as, publication.deliver, also, size=len(body)
        )
        return _completed(published, tally, wait)

    def announce(self, event: str, payload: Mapping[str, Any], target: Target) -> None:
        """Deliver an event that a slow client may miss; it is not stored."""
        self._transport.deliver(event, strict_json.dumps(payload), target, droppable=True)

    def offset(self, number: int) -> Offset:
        """Return the offset of a number of the log."""
        return self._journal.offset(number)

    def _deliver_at_once(
        self,
        event_id: str,
        event: str,
        body: str,
        target: Target,
        is_volatile: bool,
        wait: AckWait | None,
        began: float,
    ) -> "asyncio.Future[Receipt]":
        future: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        now = milliseconds(self._clock.now())
        if self._peers.count:
            relayed = _stored(event_id, event, body, target, now, None, wait is not None)
            self._peers.relay(relayed, droppable=is_volatile)
        receipt = self.deliver(
            event_id,
            event,
            body,
            target,
            published_at=now,
            droppable=is_volatile,
            wait=wait,
            began=began,
        )
        future.set_result(receipt)
        return future

    def deliver(
        self,
        event_id: str,
        event: str,
        body: str,
        target: Target,
        *,
        published_at: int,
        expires_at: int | None = None,
        offset: Offset | None = None,
        droppable: bool = False,
        wait: AckWait | None = None,
        began: float | None,
    ) -> Receipt:
        """Hand an event over to everybody it is for, count it, and return the receipt.

        ``began`` is the monotonic time at which it was taken up, None if another process has
        published it; the other times are milliseconds since 1970.
        """
        place = self._trails.begin_delivery()
        if wait is None:
            recipients = self._transport.deliver(
                event, body, target, offset=offset, droppable=droppable
            )
        else:
            number = 0 if offset is None else offset.number
            take_note = partial(self._acknowledge, wait, number, place)
            asked = self._transport.deliver_asking(event, body, target, take_note, droppable)
            recipients = len(asked)
            wait.expect(asked)
        self._trails.end_delivery()
        pending = 0 if offset is None else self._sessions.count_away(target)
        if began is not None:
            self._count_published(event, began)
        self._metrics.deliveries.inc(recipients)
        size = len(body) if body.isascii() else len(body.encode())
        self._metrics.payload_bytes.inc(recipients * size)
        receipt = Receipt(id=event_id, recipients=recipients, pending=pending, offset=offset)
        self._traces.keep(
            TracedEvent(
                place,
                event_id,
                event,
                body,
                target,
                published_at,
                expires_at,
                offset,
                self._journal.last_number,
                recipients,
                pending,
                began is not None,
            )
        )
        if self.watcher is not None:
            self.watcher(event, body, target, receipt)
        return receipt

    def deliver_for_another(
        self, event: StoredEvent, offset: Offset | None, heard: Heard, *, droppable: bool = False
    ) -> tuple[int, list[str]]:
        """Hand over an event that another process has published.

        Returns the number of recipients, and those of them that are asked to acknowledge it;
        ``heard`` is told of each.
        """
        wait = self._ack_waits.follow(heard) if event.wants_acknowledgements else None
        receipt = self.deliver(
            event.id,
            event.event,
            event.payload,
            target_of(event),
            published_at=event.published_at,
            expires_at=event.expires_at,
            offset=offset,
            droppable=droppable,
            wait=wait,
            began=None,
        )
        return receipt.recipients, [] if wait is None else wait.waits_for()

    def _count_published(self, event: str, began: float) -> None:
        if event in SERVER_EVENTS:
            self._metrics.events_published.labels(event).inc()
        else:
            self._metrics.events_published.labels("custom").inc()
            self._metrics.custom_events.count(event)
        self._metrics.publish_seconds.observe(self._clock.monotonic() - began)

    def _acknowledge(self, wait: AckWait, number: int, place: int, client_id: str) -> None:
        self._trails.acknowledge(client_id, place)
        session = self._sessions.of_client(client_id)
        if session is not None and number:
            session.acknowledge(number)
            self._peers.acknowledged(client_id, number)
        wait.acknowledge(client_id)


class _Publication:
    """A stored event on its way: what is recorded of it, and how it is delivered after that."""

    __slots__ = (
        "_began",
        "_body",
        "_event",
        "_event_id",
        "_published_at",
        "_publisher",
        "_target",
        "_then",
        "_ttl_seconds",
        "_wait",
    )

    def __init__(
        self,
        publisher: Publisher,
        event_id: str,
        event: str,
        body: str,
        target: Target,
        published_at: int,
        ttl_seconds: float | None,
        wait: AckWait | None,
        then: Callable[[Receipt], None] | None,
        began: float,
    ) -> None:
        self._publisher = publisher
        self._event_id = event_id
        self._event = event
        self._body = body
        self._target = target
        self._published_at = published_at
        self._ttl_seconds = ttl_seconds
        self._wait = wait
        self._then = then
        self._began = began

    def stored_as(self, number: int) -> StoredEvent:
        """Return what the log keeps of it under its number."""
        ttl = self._ttl_seconds
        stored = _stored(
            self._event_id,
            self._event,
            self._body,
            self._target,
            self._published_at,
            None if ttl is None else self._published_at + round(ttl * 1000),
            self._wait is not None,
        )
        stored.number = number
        return stored

    def deliver(self, stored: StoredEvent) -> Receipt:
        """Deliver it, now that it is recorded."""
        receipt = self._publisher.deliver(
            self._event_id,
            self._event,
            self._body,
            self._target,
            published_at=stored.published_at,
            expires_at=stored.expires_at,
            offset=self._publisher.offset(stored.number),
            wait=self._wait,
            began=self._began,
        )
        if self._then is not None:
            self._then(receipt)
        return receipt


def _stored(
    event_id: str,
    event: str,
    body: str,
    target: Target,
    published_at: int,
    expires_at: int | None,
    wants_acknowledgements: bool,
) -> StoredEvent:
    """Return what the log keeps of an event, with no number yet."""
    return StoredEvent(
        0,
        event_id,
        event,
        body,
        addresses(target),
        tuple(target.excluded),
        published_at,
        expires_at,
        wants_acknowledgements,
    )


def _completed(
    published: "asyncio.Future[Receipt]", tally: Tally | None, wait: AckWait | None
) -> "asyncio.Future[Receipt]":
    """Return the receipt with what others tell, and what clients have acknowledged in time."""
    if tally is None and wait is None:
        return published

    async def complete() -> Receipt:
        try:
            receipt = await published
            if tally is not None:
                told = await tally.outcome()
                receipt.recipients += told.recipients
                receipt.missing = told.missing
            if wait is not None:
                receipt.acknowledged = await wait.outcome
        finally:
            if tally is not None:
                tally.end()
            if wait is not None:
                wait.end()
        return receipt

    return asyncio.ensure_future(complete())
