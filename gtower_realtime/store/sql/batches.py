"""Changes put together so that a transaction takes a few statements, however many there are."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gtower_realtime.records import (
    AnswerGiven,
    Change,
    CountedMinute,
    EventAppended,
    GivenAnswer,
    MinuteCounted,
    OutboxEntry,
    OutboxPut,
    OutboxSent,
    RoomEntered,
    RoomLeft,
    SessionAway,
    SessionEnded,
    SessionOpened,
    SessionResumed,
    SettledState,
    StoredEvent,
    StoredWebhook,
    WebhookMark,
    WebhookMarked,
    WebhookReceived,
    WebhookSettled,
)

LaterChange = SessionResumed | RoomEntered | RoomLeft | SessionAway | SessionEnded
"""Of a session that is there already."""

SessionChange = SessionOpened | LaterChange

_STEPS: dict[type[SessionChange], int] = {
    SessionOpened: 0,
    SessionResumed: 1,
    RoomEntered: 2,
    RoomLeft: 3,
    SessionAway: 4,
    SessionEnded: 5,
}
"""The usual order of what happens to a client."""


@dataclass(slots=True)
class Batch:
    """Changes by kind. Those of one kind, or of one client's session, do not touch others."""

    events: list[StoredEvent] = field(default_factory=list)
    answers: dict[str, GivenAnswer] = field(default_factory=dict)
    """By key: of several for one key the last counts."""
    minutes: list[CountedMinute] = field(default_factory=list)
    sessions: list[SessionChange] = field(default_factory=list)
    webhooks: list[StoredWebhook] = field(default_factory=list)
    settled: dict[int, SettledState] = field(default_factory=dict)
    """By the number of the webhook."""
    marks: dict[str, WebhookMark] = field(default_factory=dict)
    """By key: of several for one key the last counts."""
    sent: dict[str, int] = field(default_factory=dict)
    """By origin, up to which sequence; to be recorded before the entries."""
    entries: list[OutboxEntry] = field(default_factory=list)
    """Of the outbox, without those that are sent later on in the batch."""

    @classmethod
    def of(cls, changes: Iterable[Change]) -> "Batch":
        """Sort ``changes`` by kind."""
        batch = cls()
        for change in changes:
            if isinstance(change, EventAppended):
                batch.events.append(change.event)
            elif isinstance(change, AnswerGiven):
                batch.answers[change.answer.key] = change.answer
            elif isinstance(change, MinuteCounted):
                batch.minutes.append(change.minute)
            elif isinstance(change, WebhookReceived):
                batch.webhooks.append(change.webhook)
            elif isinstance(change, WebhookSettled):
                batch.settled[change.number] = change.state
            elif isinstance(change, WebhookMarked):
                batch.marks[change.mark.key] = change.mark
            elif isinstance(change, OutboxPut):
                batch.entries.append(change.entry)
            elif isinstance(change, OutboxSent):
                batch._take_note_of_sent(change.origin, change.until)
            else:
                batch.sessions.append(change)
        return batch

    def _take_note_of_sent(self, origin: str, until: int) -> None:
        self.sent[origin] = max(until, self.sent.get(origin, until))
        self.entries = [
            entry for entry in self.entries if entry.origin != origin or entry.sequence > until
        ]

    @property
    def client_ids(self) -> set[str]:
        """Whose sessions change."""
        return set(map(client_of, self.sessions))


def client_of(change: SessionChange) -> str:
    """Return whose session changes."""
    return change.session.client_id if isinstance(change, SessionOpened) else change.client_id


def in_groups(changes: Iterable[SessionChange]) -> list[Sequence[SessionChange]]:
    """Put changes of one kind together, as far as the order of each client's changes allows."""
    groups: defaultdict[int, list[SessionChange]] = defaultdict(list)
    places: dict[str, int] = {}
    for change in changes:
        client_id = client_of(change)
        step, last = _STEPS[type(change)], places.get(client_id, 0)
        # The next place that is for this kind, counting on when the kinds are through.
        place = last + (step - last) % len(_STEPS)
        places[client_id] = place
        groups[place].append(change)
    return [groups[place] for place in sorted(groups)]
