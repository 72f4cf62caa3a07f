"""The store in memory: what is recorded lives as long as the process, and the log is its own."""

import asyncio
import heapq
import secrets
from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Collection, Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import islice
from typing import TypeVar

from gtower_realtime.records import (
    AnswerGiven,
    Bounds,
    Change,
    CountedMinute,
    EventAppended,
    GivenAnswer,
    Membership,
    MinuteCounted,
    OutboxBacklog,
    OutboxEntry,
    OutboxPut,
    OutboxSent,
    RoomEntered,
    RoomLeft,
    SessionAway,
    SessionEnded,
    SessionOpened,
    SessionResumed,
    Snapshot,
    StoredEvent,
    StoredSession,
    StoredWebhook,
    WebhookBacklog,
    WebhookMarked,
    WebhookReceived,
    WebhookSettled,
)
from gtower_realtime.store.bounds import count_beyond, oldest_minute, within_a_read
from gtower_realtime.store.changes import check_numbers
from gtower_realtime.store.memory_outbox import MemoryOutbox
from gtower_realtime.store.memory_webhooks import MemoryWebhooks

Item = TypeVar("Item")

_SLICE = 1000
"""What is deleted between two turns of the loop."""


class MemoryStore:
    """A `Store` without a medium: it never fails, and its epoch is as old as the object."""

    def __init__(self) -> None:
        self._epoch = secrets.token_hex(4)
        self._first_number = 1
        self._last_number = 0
        self._bytes = 0
        self._events: dict[int, StoredEvent] = {}
        # Sorted, so that a read or a deletion costs as much as it finds.
        self._numbers: list[int] = []
        self._numbers_of: defaultdict[str, list[int]] = defaultdict(list)
        self._sessions: dict[str, StoredSession] = {}
        self._answers: dict[str, GivenAnswer] = {}
        self._minutes: list[CountedMinute] = []
        self._webhooks = MemoryWebhooks()
        self._outbox = MemoryOutbox()
        # Heaps of what will have to go. An entry may outlive what it is about.
        self._expiring_events: list[tuple[int, int]] = []
        self._expiring_answers: list[tuple[int, str]] = []
        self._ended_stays: list[tuple[int, str]] = []

    async def open(self, *, recent_events: int, recent_bytes: int) -> Snapshot:
        """Return what was recorded since the store was made; see `Store.open`."""
        recent: list[StoredEvent] = []
        size = 0
        for number in reversed(self._numbers):
            event = self._events[number]
            size += event.size
            if len(recent) == recent_events or size > recent_bytes:
                break
            recent.append(event)
        return Snapshot(
            epoch=self._epoch,
            first_number=self._first_number,
            last_number=self._last_number,
            recent=recent[::-1],
            sessions=deepcopy(list(self._sessions.values())),
        )

    async def commit(self, changes: Sequence[Change]) -> None:
        """Record all of ``changes``; see `Store.commit`."""
        self._check(changes)
        for change in changes:
            self._apply(change)

    def _check(self, changes: Sequence[Change]) -> None:
        appended = (change.event for change in changes if isinstance(change, EventAppended))
        check_numbers(appended, self._last_number)
        ended: set[str] = set()
        opened: set[str] = set()
        of_outbox: list[OutboxPut | OutboxSent] = []
        for change in changes:
            if isinstance(change, SessionEnded):
                ended.add(change.client_id)
                opened.discard(change.client_id)
            elif isinstance(change, SessionOpened):
                client_id = change.session.client_id
                if client_id in opened or (client_id in self._sessions and client_id not in ended):
                    raise ValueError(f"client {client_id} has a session")
                opened.add(client_id)
            elif isinstance(change, OutboxPut | OutboxSent):
                of_outbox.append(change)
        self._outbox.check(of_outbox)

    def _apply(self, change: Change) -> None:
        match change:
            case EventAppended(event):
                self._last_number = event.number
                self._insert(event)
                if event.expires_at is not None:
                    heapq.heappush(self._expiring_events, (event.expires_at, event.number))
            case AnswerGiven(answer):
                self._answers[answer.key] = answer
                heapq.heappush(self._expiring_answers, (answer.expires_at, answer.key))
            case MinuteCounted(minute):
                insort(self._minutes, minute, key=_time_and_id)
            case WebhookReceived() | WebhookSettled() | WebhookMarked():
                self._webhooks.apply(change)
            case OutboxPut() | OutboxSent():
                self._outbox.apply(change)
            case SessionOpened(session):
                self._open_session(session)
            case SessionEnded(client_id):
                self._sessions.pop(client_id, None)
            case _:
                if known := self._sessions.get(change.client_id):
                    self._change_session(known, change)

    def _open_session(self, session: StoredSession) -> None:
        self._sessions[session.client_id] = deepcopy(session)
        for stay in session.memberships:
            self._note_end(session.client_id, stay)

    def _change_session(
        self,
        session: StoredSession,
        change: SessionAway | SessionResumed | RoomEntered | RoomLeft,
    ) -> None:
        match change:
            case SessionAway(_, since):
                session.away_since = since
            case SessionResumed():
                session.away_since = None
            case RoomEntered(_, room, number):
                if _present_stay(session, room) is None:
                    session.memberships.append(Membership(room, number))
            case RoomLeft(client_id, room, number):
                if stay := _present_stay(session, room):
                    stay.until = number
                    self._note_end(client_id, stay)

    def _note_end(self, client_id: str, stay: Membership) -> None:
        if stay.until is not None:
            heapq.heappush(self._ended_stays, (stay.until, client_id))

    async def events_for(
        self, addresses: Collection[str], *, after: int, until: int, limit: int
    ) -> list[StoredEvent]:
        """Return the oldest events for any of ``addresses``; see `Store.events_for`."""
        found: set[int] = set()
        for address in addresses:
            numbers = self._numbers_of.get(address, [])
            start = bisect_right(numbers, after)
            found.update(numbers[start : min(start + limit, bisect_right(numbers, until))])
        return [self._events[number] for number in sorted(found)[:limit]]

    async def history(self, room: str, *, after: int, limit: int, now: int) -> list[StoredEvent]:
        """Return the oldest events of ``room``; see `Store.history`."""
        numbers = self._numbers_of.get(room, [])
        places = range(bisect_right(numbers, after), len(numbers))
        events = (self._events[numbers[place]] for place in places)
        alive = (event for event in events if event.expires_at is None or event.expires_at > now)
        return list(within_a_read(islice(alive, limit)))

    async def delete_history(self, room: str) -> int:
        """Delete the events of ``room``; see `Store.delete_history`."""
        events = [self._events[number] for number in self._numbers_of.get(room, [])]
        self._delete(events)
        for event in events:
            others = tuple(address for address in event.addresses if address != room)
            if others:
                self._insert(replace(event, addresses=others))
        return len(events)

    async def find_answer(self, key: str, now: int) -> GivenAnswer | None:
        """Return the answer given to a key; see `Store.find_answer`."""
        answer = self._answers.get(key)
        return answer if answer and answer.expires_at > now else None

    async def minutes(self, *, since: int, before: int) -> list[CountedMinute]:
        """Return the counted minutes of a time; see `Store.minutes`."""
        first = bisect_left(self._minutes, since, key=_time)
        return self._minutes[first : bisect_left(self._minutes, before, key=_time)]

    async def webhook_backlog(self) -> WebhookBacklog:
        """Return how much waits in the inbox; see `Store.webhook_backlog`."""
        return self._webhooks.backlog()

    async def next_webhook(self) -> StoredWebhook | None:
        """Return the oldest webhook that is waiting; see `Store.next_webhook`."""
        return self._webhooks.next()

    async def webhook_marks(self, keys: Collection[str]) -> dict[str, str]:
        """Return the values of marks; see `Store.webhook_marks`."""
        return self._webhooks.marks(keys)

    async def replay_webhooks(self, since: int | None) -> int:
        """Let webhooks wait again; see `Store.replay_webhooks`."""
        return self._webhooks.replay(since)

    async def outbox(self, *, limit: int, max_bytes: int) -> list[OutboxEntry]:
        """Return what other nodes are to be sent next; see `Store.outbox`."""
        return self._outbox.oldest(limit, max_bytes)

    async def outbox_backlog(self) -> OutboxBacklog:
        """Return how much waits for other nodes; see `Store.outbox_backlog`."""
        return self._outbox.backlog()

    async def trim(self, bounds: Bounds, now: int) -> int:
        """Delete what is beyond the bounds or over; see `Store.trim`."""
        del self._minutes[: bisect_left(self._minutes, oldest_minute(now), key=_time)]
        is_over = False
        while not is_over:
            is_over = not (
                self._delete_expired(now)
                or self._delete_beyond(bounds, now)
                or self._webhooks.trim(now)
            )
            await asyncio.sleep(0)
        return self._first_number

    async def close(self) -> None:
        """Do nothing: there is nothing to let go of."""

    def _insert(self, event: StoredEvent) -> None:
        self._events[event.number] = event
        self._bytes += event.size
        insort(self._numbers, event.number)
        for address in set(event.addresses):
            insort(self._numbers_of[address], event.number)

    def _delete(self, events: Sequence[StoredEvent]) -> None:
        """Delete ``events``, whose numbers rise."""
        gone: defaultdict[str, list[int]] = defaultdict(list)
        for event in events:
            del self._events[event.number]
            self._bytes -= event.size
            for address in set(event.addresses):
                gone[address].append(event.number)
        _remove([event.number for event in events], self._numbers)
        for address, numbers in gone.items():
            _remove(numbers, self._numbers_of[address])
            if not self._numbers_of[address]:
                del self._numbers_of[address]

    def _delete_expired(self, now: int) -> bool:
        """Delete some of what has expired; return whether there may be more."""
        numbers = _take(self._expiring_events, now)
        self._delete([self._events[number] for number in sorted(numbers) if number in self._events])
        keys = _take(self._expiring_answers, now)
        for key in keys:
            # The key may have got a newer answer, which has an entry of its own.
            if key in self._answers and self._answers[key].expires_at <= now:
                del self._answers[key]
        return bool(numbers or keys)

    def _delete_beyond(self, bounds: Bounds, now: int) -> bool:
        """Delete some of what is beyond the bounds; return whether there may be more."""
        oldest = [self._events[number] for number in self._numbers[:_SLICE]]
        gone = oldest[
            : count_beyond(bounds, now, events=len(self._events), size=self._bytes, oldest=oldest)
        ]
        self._delete(gone)
        if gone:
            self._first_number = gone[-1].number + 1
        client_ids = _take(self._ended_stays, self._first_number - 1)
        for client_id in client_ids:
            if session := self._sessions.get(client_id):
                session.memberships = [
                    stay
                    for stay in session.memberships
                    if stay.until is None or stay.until >= self._first_number
                ]
        return bool(gone or client_ids)


def _time(minute: CountedMinute) -> int:
    return minute.at


def _time_and_id(minute: CountedMinute) -> tuple[int, str]:
    return minute.at, minute.id


def _present_stay(session: StoredSession, room: str) -> Membership | None:
    return next(
        (stay for stay in session.memberships if stay.room == room and stay.until is None), None
    )


def _take(heap: list[tuple[int, Item]], until: int) -> list[Item]:
    """Take a limited number of entries that are due from ``heap``."""
    taken: list[Item] = []
    while heap and heap[0][0] <= until and len(taken) < _SLICE:
        taken.append(heapq.heappop(heap)[1])
    return taken


def _remove(numbers: list[int], everything: list[int]) -> None:
    """Remove ``numbers`` from ``everything``; both are sorted."""
    if numbers:
        here = slice(bisect_left(everything, numbers[0]), bisect_right(everything, numbers[-1]))
        gone = set(numbers)
        everything[here] = [number for number in everything[here] if number not in gone]
