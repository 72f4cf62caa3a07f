"""What is kept across restarts, as plain values: events, sessions, answers, webhooks, an outbox.

Times are whole milliseconds since 1970. Numbers are places in the log; see `ports.Offset`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

EVERYONE = ""
"""The address of an event that is for all; no room has this name."""


# Neither this nor `EventAppended` is frozen: one is made for each event, and a frozen one takes
# several times as long to make.
@dataclass(slots=True)
class StoredEvent:
    """One event of the log; never changed. ``payload`` is JSON text, as it was sent.

    ``addresses`` are the rooms it was for: joined rooms, `user:<id>` rooms, client ids, or
    `EVERYONE`. ``excluded`` are client ids.
    """

    number: int
    id: str
    event: str
    payload: str
    addresses: tuple[str, ...]
    excluded: tuple[str, ...]
    published_at: int
    expires_at: int | None = None
    wants_acknowledgements: bool = field(default=False, compare=False)
    """Whether clients are asked to acknowledge it. Not kept: it matters at its delivery only."""

    @property
    def size(self) -> int:
        """What it counts against the bounds of the log, in bytes."""
        return len(self.payload) + len(self.event) + 100


@dataclass(slots=True)
class Membership:
    """A stay of a client in a room: it is for events with ``after < number <= until``.

    ``until`` is None while the client is in the room.
    """

    room: str
    after: int
    until: int | None = None


@dataclass(slots=True)
class StoredSession:
    """A client that is connected, or away and able to come back with its secret ``pid``.

    ``opened_at_number`` is the log's last number when it first connected: nothing before is for it.
    ``away_since`` is None while it is connected; after a crash that is all that is known.
    """

    client_id: str
    pid: str
    namespace: str
    user_id: str | None
    opened_at_number: int
    away_since: int | None = None
    memberships: list[Membership] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class GivenAnswer:
    """The answer to a request with an idempotency key, to be given again to the same request.

    ``key`` is the scope and the key, hashed by the caller; ``fingerprint`` is a hash of the body.
    """

    key: str
    fingerprint: str
    answer: str
    expires_at: int


@dataclass(frozen=True, slots=True)
class CountedMinute:
    """What happened in a minute, or in a part of it: a restart makes two of one minute.

    ``at`` is when the minute began, ``counts`` is JSON text; see `analytics.Counts`.
    """

    id: str
    at: int
    counts: str


WebhookState = Literal["waiting", "done", "set_aside"]
"""What has become of a webhook; one that was set aside could not be worked through."""

SettledState = Literal["done", "set_aside"]


@dataclass(frozen=True, slots=True)
class StoredWebhook:
    """A body that has come in signed, byte for byte. ``number`` is its place among them."""

    number: int
    received_at: int
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class WebhookMark:
    """That something of a webhook was published, so that it is not once more.

    ``key`` is a hash of what identifies it; ``value`` tells how far it has come, and ``before``
    what was known of that.
    """

    key: str
    value: str
    at: int
    before: str | None = None


@dataclass(frozen=True, slots=True)
class WebhookBacklog:
    """What waits in the inbox: how many webhooks, of how many bytes together.

    ``last_number`` is the largest that is kept, 0 when there is none.
    """

    last_number: int
    waiting: int
    waiting_bytes: int


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """A unit of changes for other nodes that could not be sent; ``text`` is JSON.

    They know it by ``origin`` and ``sequence``, and so may be sent it again. The sequences of one
    origin rise in the order in which its entries are put.
    """

    origin: str
    sequence: int
    text: str = field(repr=False)

    @property
    def size(self) -> int:
        """How long ``text`` is, in bytes of UTF-8."""
        return len(self.text.encode())


@dataclass(frozen=True, slots=True)
class OutboxBacklog:
    """What waits in the outbox: how many entries, and the sizes of all of them together."""

    entries: int
    bytes: int


# What one transaction may consist of.


@dataclass(slots=True)
class EventAppended:
    """An event takes its place in the log."""

    event: StoredEvent


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """A client has connected for the first time."""

    session: StoredSession


@dataclass(frozen=True, slots=True)
class SessionAway:
    """A client has dropped and may come back."""

    client_id: str
    since: int


@dataclass(frozen=True, slots=True)
class SessionResumed:
    """A client that was away is back."""

    client_id: str


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """A client will not come back: all that is kept of it goes.

    ``is_revoked``: because somebody wanted so.
    """

    client_id: str
    is_revoked: bool = False


@dataclass(frozen=True, slots=True)
class RoomEntered:
    """A client is a member from the events after ``number`` on."""

    client_id: str
    room: str
    number: int


@dataclass(frozen=True, slots=True)
class RoomLeft:
    """A client is a member up to the event with ``number``."""

    client_id: str
    room: str
    number: int


@dataclass(frozen=True, slots=True)
class AnswerGiven:
    """A request with an idempotency key was answered."""

    answer: GivenAnswer


@dataclass(frozen=True, slots=True)
class MinuteCounted:
    """A minute is over, or the process ends within it."""

    minute: CountedMinute


@dataclass(frozen=True, slots=True)
class WebhookReceived:
    """A webhook waits to be worked through."""

    webhook: StoredWebhook


@dataclass(frozen=True, slots=True)
class WebhookSettled:
    """A webhook that was waiting is not waiting any more."""

    number: int
    state: SettledState


@dataclass(frozen=True, slots=True)
class WebhookMarked:
    """Something of a webhook is published; the mark takes the place of an older one."""

    mark: WebhookMark


@dataclass(frozen=True, slots=True)
class OutboxPut:
    """An entry waits in the outbox, behind all that were put before it."""

    entry: OutboxEntry


@dataclass(frozen=True, slots=True)
class OutboxSent:
    """The entries of ``origin`` up to the sequence ``until`` were sent: they go."""

    origin: str
    until: int


Change = (
    EventAppended
    | SessionOpened
    | SessionAway
    | SessionResumed
    | SessionEnded
    | RoomEntered
    | RoomLeft
    | AnswerGiven
    | MinuteCounted
    | WebhookReceived
    | WebhookSettled
    | WebhookMarked
    | OutboxPut
    | OutboxSent
)


# What the processes of a cluster tell each other beside that; no store sees it.


@dataclass(frozen=True, slots=True)
class EventRelayed:
    """An event that is not stored, for the clients of the others. Its number means nothing."""

    event: StoredEvent
    is_droppable: bool


@dataclass(frozen=True, slots=True)
class EventAcknowledged:
    """A client's listener has acknowledged an event, whose offset it was not told."""

    client_id: str
    number: int


@dataclass(frozen=True, slots=True)
class SessionTaken:
    """A client is back, on a connection to the process that says so; ``session`` is all of it.

    Without ``is_return`` it has been there all the time, and others may have to hear of it.
    """

    session: StoredSession
    is_return: bool = True


@dataclass(frozen=True, slots=True)
class HistoryDeleted:
    """The events of a room are deleted."""

    room: str


@dataclass(frozen=True, slots=True)
class ClientHere:
    """A client is connected to the process that says so, or has changed there.

    ``connected_at`` is in milliseconds since 1970, ``info`` what its token shows of it to others.
    """

    client_id: str
    connected_at: int
    address: str
    user_agent: str | None
    user_id: str | None
    info: Mapping[str, Any] | None
    transport: str
    rooms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ClientMoved:
    """A client has entered and left rooms."""

    client_id: str
    entered: tuple[str, ...]
    left: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ClientGone:
    """A client is connected no more to the process that says so."""

    client_id: str


@dataclass(frozen=True, slots=True)
class NodeStarted:
    """A process has joined, and has to be told which clients the others have.

    ``details`` are what it tells of itself.
    """

    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NodeGone:
    """A process has ended, or was not heard of for too long: nobody is connected to it."""

    node: str


SharedChange = (
    Change
    | EventRelayed
    | EventAcknowledged
    | SessionTaken
    | HistoryDeleted
    | ClientHere
    | ClientMoved
    | ClientGone
    | NodeStarted
    | NodeGone
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a store holds when it is opened.

    ``epoch`` names this log for ever; ``last_number`` was the last ever given out, also if its
    event is gone, so that no number is used twice. Before ``first_number`` the bounds of the log
    have taken events away; one that has expired or was deleted since is missing for good, and is no
    gap. ``recent`` are the newest events, oldest first, as many as were asked for.
    """

    epoch: str
    first_number: int
    last_number: int
    recent: list[StoredEvent]
    sessions: list[StoredSession]


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much a log keeps; 0 is no bound."""

    max_events: int
    max_bytes: int
    max_age_seconds: float
