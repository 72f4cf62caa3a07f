"""The calls of the HTTP API, each a function that says what to ask and how to read the answer.

Sends nothing. Both clients have a method for each function here; what a function says of itself
and takes is what the method says and takes.
"""

import json
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from gtower_realtime.client import answers
from gtower_realtime.client.answers import (
    Analytics,
    BatchReceipt,
    ClientPage,
    ClientStatus,
    ClusterAnswer,
    ConnectedClient,
    Disconnected,
    EventTrace,
    HistoryPage,
    LoggedEvent,
    Readiness,
    Receipt,
    RoomPage,
    RoomPresence,
    RoomSize,
    RoomSummary,
    ServerStatus,
    UserStatus,
)
from gtower_realtime.client.bodies import (
    Body,
    ChatMessage,
    Notification,
    Publication,
    WhatsAppStatus,
)

T = TypeVar("T")
Page = TypeVar("Page")
Item = TypeVar("Item")

LONGEST_PAGE_OF_CLIENTS = 1000
LONGEST_PAGE_OF_ROOMS = 1000
LONGEST_PAGE_OF_HISTORY = 300

PRINTABLE = re.compile(r"[\x21-\x7e]+")
"""What a header can carry of keys."""


@dataclass(frozen=True, slots=True)
class Answer(ClusterAnswer):
    """A success: the body, and whether the same request was answered before.

    `partial` and `nodes_missing` are what its headers say; most answers say it in the body.
    """

    text: str
    is_replayed: bool = False

    @property
    def said(self) -> Any:
        """The body as JSON."""
        return json.loads(self.text)


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request and how to read its answer.

    ``is_repeatable``: to ask again is no harm, also if the first request was carried out.
    ``seconds`` is how long the server may take besides. ``accepted`` are statuses that are no
    refusal, besides those from 200 to 299.
    """

    method: str
    path: str
    read: Callable[[Answer], T] = field(repr=False)
    query: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = field(default=None, repr=False)
    idempotency_key: str | None = None
    is_repeatable: bool = True
    seconds: float = 0.0
    accepted: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Pages(Generic[Page, Item]):
    """A list that is read in pages: the first, what is in one, and what to ask for the next."""

    first: Call[Page]
    items: Callable[[Page], Sequence[Item]]
    following: Callable[[Page], Call[Page] | None]


# Sending


def notify_client(
    client_id: str,
    notification: Notification,
    *,
    ack_seconds: float | None = None,
    idempotency_key: str | None = None,
) -> Call[Receipt]:
    """Send a `notification` to one client."""
    return _send(f"notify/client/{_in_path(client_id)}", notification, ack_seconds, idempotency_key)


def notify_room(
    room: str,
    notification: Notification,
    *,
    ack_seconds: float | None = None,
    idempotency_key: str | None = None,
) -> Call[Receipt]:
    """Send a `notification` to a room."""
    return _send(f"notify/room/{_in_path(room)}", notification, ack_seconds, idempotency_key)


def notify_user(
    user_id: str,
    notification: Notification,
    *,
    ack_seconds: float | None = None,
    idempotency_key: str | None = None,
) -> Call[Receipt]:
    """Send a `notification` to all connections of a user."""
    return _send(f"notify/user/{_in_path(user_id)}", notification, ack_seconds, idempotency_key)


def broadcast_notification(
    notification: Notification,
    *,
    ack_seconds: float | None = None,
    idempotency_key: str | None = None,
) -> Call[Receipt]:
    """Send a `notification` to everyone."""
    return _send("notify/broadcast", notification, ack_seconds, idempotency_key)


def send_chat_to_client(
    client_id: str,
    message: ChatMessage,
    *,
    ack_seconds: float | None = None,
    idempotency_key: str | None = None,
) -> Call[Receipt]:
    """Send a `chatMessage` to one client."""
    return _send(f"chat/client/{_in_path(client_id)}", message, ack_seconds, idempotency_key)


def send_chat_to_room(
    room: str,
    message: ChatMessage,
    *,
    ack_seconds: float | None = None,
    idempotency_key: str | None = None,
) -> Call[Receipt]:
    """Send a `chatMessage` to a room."""
    return _send(f"chat/room/{_in_path(room)}", message, ack_seconds, idempotency_key)


def send_chat_to_user(
    user_id: str,
    message: ChatMessage,
    *,
    ack_seconds: float | None = None,
    idempotency_key: str | None = None,
) -> Call[Receipt]:
    """Send a `chatMessage` to all connections of a user."""
    return _send(f"chat/user/{_in_path(user_id)}", message, ack_seconds, idempotency_key)


def send_event_to_client(
    client_id: str,
    event: str,
    body: Body | None = None,
    *,
    ack_seconds: float | None = None,
    idempotency_key: str | None = None,
) -> Call[Receipt]:
    """Send an event to one client."""
    path = f"event/client/{_in_path(client_id)}/{_in_path(event)}"
    return _send(path, body, ack_seconds, idempotency_key)


def send_event_to_room(
    room: str,
    event: str,
    body: Body | None = None,
    *,
    ack_seconds: float | None = None,
    idempotency_key: str | None = None,
) -> Call[Receipt]:
    """Send an event to a room."""
    path = f"event/room/{_in_path(room)}/{_in_path(event)}"
    return _send(path, body, ack_seconds, idempotency_key)


def send_event_to_user(
    user_id: str,
    event: str,
    body: Body | None = None,
    *,
    ack_seconds: float | None = None,
    idempotency_key: str | None = None,
) -> Call[Receipt]:
    """Send an event to all connections of a user."""
    path = f"event/user/{_in_path(user_id)}/{_in_path(event)}"
    return _send(path, body, ack_seconds, idempotency_key)


def broadcast_event(
    event: str,
    body: Body | None = None,
    *,
    ack_seconds: float | None = None,
    idempotency_key: str | None = None,
) -> Call[Receipt]:
    """Send an event to everyone."""
    return _send(f"event/broadcast/{_in_path(event)}", body, ack_seconds, idempotency_key)


def send_whatsapp_status(
    client_id: str,
    status: WhatsAppStatus,
    *,
    ack_seconds: float | None = None,
    idempotency_key: str | None = None,
) -> Call[Receipt]:
    """Send a `whatsappStatusUpdate` to one client."""
    path = f"whatsapp/status/{_in_path(client_id)}"
    return _send(path, status, ack_seconds, idempotency_key)


def send_whatsapp_message_update(
    client_id: str,
    update: Body,
    *,
    ack_seconds: float | None = None,
    idempotency_key: str | None = None,
) -> Call[Receipt]:
    """Send a `whatsappMessageUpdate` to one client."""
    path = f"whatsapp/message/{_in_path(client_id)}"
    return _send(path, update, ack_seconds, idempotency_key)


def send_conversation_update(
    client_id: str,
    update: Body,
    *,
    ack_seconds: float | None = None,
    idempotency_key: str | None = None,
) -> Call[Receipt]:
    """Send a `conversationUpdate` to one client."""
    return _send(f"conversation/{_in_path(client_id)}", update, ack_seconds, idempotency_key)


def publish(
    event: str,
    data: Body | None = None,
    *,
    rooms: Sequence[str] = (),
    users: Sequence[str] = (),
    clients: Sequence[str] = (),
    everyone: bool = False,
    excluding: Sequence[str] = (),
    volatile: bool = False,
    ttl: float | None = None,
    id: str | None = None,  # noqa: A002 - the name that the API has for it
    ack_seconds: float | None = None,
    idempotency_key: str | None = None,
) -> Call[Receipt]:
    """Send an event to any mix of rooms, users and clients, or everyone; see `Publication`.

    Targets that are not there at all are in the receipt's ``unknown_clients``.
    """
    publication = Publication(
        event=event,
        data=data or {},
        rooms=rooms,
        users=users,
        clients=clients,
        everyone=everyone,
        excluding=excluding,
        volatile=volatile,
        ttl=ttl,
        id=id,
    )
    # A key of its own in the header would count instead of the id.
    key = idempotency_key or (None if id is not None else new_key())
    return _send("publish", publication.as_body(), ack_seconds, key, is_keyed=True)


def publish_batch(
    publications: Sequence[Publication], *, idempotency_key: str | None = None
) -> Call[BatchReceipt]:
    """Send up to 1,000 events in one request and one commit, with an outcome for each.

    Only a request that is wrong or unanswered as a whole raises.
    """
    return Call(
        "POST",
        "/websocket/batch",
        lambda answer: answers.batch_receipt(answer.said, answer.is_replayed),
        content=_json({"publish": [each.as_body() for each in publications]}),
        idempotency_key=_checked_key(idempotency_key or new_key()),
    )


# Asking


def status() -> Call[ServerStatus]:
    """Return how the server is."""
    return _get("/websocket/status", answers.server_status)


def readiness() -> Call[Readiness]:
    """Return whether the server should get new connections; it needs no key."""
    call = _get("/readyz", answers.readiness)
    return Call("GET", call.path, call.read, accepted=frozenset({503}))


def metrics() -> Call[str]:
    """Return all metrics in the Prometheus text format."""
    return Call("GET", "/metrics", lambda answer: answer.text)


def clients(*, after: str | None = None, limit: int | None = None) -> Call[ClientPage]:
    """Return the connected clients in order of connection, all or a page of at most ``limit``."""
    query = _given(after=after, limit=limit)
    return Call(
        "GET",
        "/websocket/clients",
        lambda answer: answers.client_page(answer.said, answer),
        query=query,
    )


def iterate_clients(
    *, page_size: int = LONGEST_PAGE_OF_CLIENTS
) -> Pages[ClientPage, ConnectedClient]:
    """Go through the connected clients, asking for a page at a time."""

    def following(page: ClientPage) -> Call[ClientPage] | None:
        if len(page.clients) < page_size:
            return None
        return clients(after=page.clients[-1].id, limit=page_size)

    return Pages(clients(limit=page_size), lambda page: page.clients, following)


def client_status(client_id: str) -> Call[ClientStatus]:
    """Return whether a client is connected; one that is unknown is not."""
    return _get(f"/websocket/clients/{_in_path(client_id)}/status", answers.client_status)


def user(user_id: str) -> Call[UserStatus]:
    """Return whether a user is connected, and with which clients."""
    return _get(f"/websocket/users/{_in_path(user_id)}", answers.user_status)


def rooms(
    *, prefix: str | None = None, after: str | None = None, limit: int | None = None
) -> Call[RoomPage]:
    """Return a page of the rooms that have members, by name."""
    return _get("/websocket/rooms", answers.room_page, prefix=prefix, after=after, limit=limit)


def iterate_rooms(
    *, prefix: str | None = None, page_size: int = LONGEST_PAGE_OF_ROOMS
) -> Pages[RoomPage, RoomSize]:
    """Go through the rooms that have members, asking for a page at a time."""

    def following(page: RoomPage) -> Call[RoomPage] | None:
        if page.next is None:
            return None
        return rooms(prefix=prefix, after=page.next, limit=page_size)

    return Pages(rooms(prefix=prefix, limit=page_size), lambda page: page.rooms, following)


def room(room: str) -> Call[RoomSummary]:
    """Return how many are in a room, and its place in the log."""
    return _get(f"/websocket/rooms/{_in_path(room)}", answers.room_summary)


def presence(room: str) -> Call[RoomPresence]:
    """Return who is in a room."""
    return _get(f"/websocket/rooms/{_in_path(room)}/presence", answers.room_presence)


def history(room: str, *, after: str | None = None, limit: int | None = None) -> Call[HistoryPage]:
    """Return a page of what a room has had, oldest first, after the offset ``after``."""
    path = f"/websocket/rooms/{_in_path(room)}/history"
    return _get(path, answers.history_page, after=after, limit=limit)


def iterate_history(
    room: str, *, after: str | None = None, page_size: int = LONGEST_PAGE_OF_HISTORY
) -> Pages[HistoryPage, LoggedEvent]:
    """Go through what a room has had, oldest first, asking for a page at a time."""

    def following(page: HistoryPage) -> Call[HistoryPage] | None:
        if not page.more:
            return None
        return history(room, after=page.events[-1].offset, limit=page_size)

    first = history(room, after=after, limit=page_size)
    return Pages(first, lambda page: page.events, following)


def position(room: str) -> Call[str]:
    """Return the offset of the log now: what a page that is rendered now joins ``since``."""
    return _get(f"/websocket/rooms/{_in_path(room)}/position", lambda said: str(said["offset"]))


def trace(
    event_id: str,
    *,
    client_id: str | None = None,
    user_id: str | None = None,
    after: str | None = None,
    limit: int | None = None,
) -> Call[EventTrace]:
    """Return what became of an event at the clients it was for, or at one, or at those of a user.

    At most ``limit`` of them (1 to 1,000; 100), those that follow the client ``after``.
    """
    path = f"/websocket/events/{_in_path(event_id)}"
    return _get(
        path,
        answers.event_trace,
        client=client_id,
        user=user_id,
        after=after,
        limit=limit,
    )


def analytics(*, start: datetime | None = None, end: datetime | None = None) -> Call[Analytics]:
    """Return what happened minute by minute, at most a day of it; the last hour by itself.

    Both are aware datetimes.
    """
    query = {"from": _moment("start", start), "to": _moment("end", end)}
    return _get("/websocket/analytics", answers.analytics, **query)


# Control; the key needs the scope admin


def put_into_room(client_id: str, room: str) -> Call[None]:
    """Make a client a member of a room; it hears `roomJoined`."""
    return _change("PUT", f"/websocket/clients/{_in_path(client_id)}/rooms/{_in_path(room)}")


def take_out_of_room(client_id: str, room: str) -> Call[None]:
    """End a client's membership of a room; it hears `roomLeft`."""
    return _change("DELETE", f"/websocket/clients/{_in_path(client_id)}/rooms/{_in_path(room)}")


def delete_history(room: str) -> Call[None]:
    """Delete what a room has had; nothing of it is replayed any more."""
    return _change("DELETE", f"/websocket/rooms/{_in_path(room)}/history")


def disconnect_client(
    client_id: str, *, reason: str | None = None, reconnect: bool = False
) -> Call[Disconnected]:
    """Cut a client off, and return how many connections that were; 0 if it was away.

    Unless it may reconnect, it is told to stay away and cannot recover. Not asked again when no
    answer came, since that would cut it off twice.
    """
    return _disconnect(f"/websocket/clients/{_in_path(client_id)}", reason, reconnect)


def disconnect_user(
    user_id: str, *, reason: str | None = None, reconnect: bool = False
) -> Call[Disconnected]:
    """Cut off all connections of a user, and return how many; see `disconnect_client`."""
    return _disconnect(f"/websocket/users/{_in_path(user_id)}", reason, reconnect)


# What calls have in common


def new_key() -> str:
    """Return an idempotency key that nobody else has."""
    return str(uuid.uuid4())


def _send(
    path: str,
    body: Mapping[str, Any] | Notification | ChatMessage | WhatsAppStatus | None,
    ack_seconds: float | None,
    idempotency_key: str | None,
    *,
    is_keyed: bool = False,
) -> Call[Receipt]:
    query = {}
    if ack_seconds is not None:
        query = {"wait": "ack", "timeout": str(round(ack_seconds * 1000))}
    if idempotency_key is None and not is_keyed:
        idempotency_key = new_key()
    return Call(
        "POST",
        f"/websocket/{path}",
        lambda answer: answers.receipt(answer.said, answer.is_replayed),
        query=query,
        content=_json(body or {}),
        idempotency_key=_checked_key(idempotency_key),
        seconds=ack_seconds or 0.0,
    )


def _get(path: str, read: Callable[[Any], T], **query: str | int | None) -> Call[T]:
    return Call("GET", path, partial(_read_json, read), query=_given(**query))


def _given(**query: str | int | None) -> dict[str, str]:
    return {name: str(value) for name, value in query.items() if value is not None}


def _read_json(read: Callable[[Any], T], answer: Answer) -> T:
    return read(answer.said)


def _change(method: str, path: str) -> Call[None]:
    return Call(method, path, lambda _: None)


def _disconnect(path: str, reason: str | None, reconnect: bool) -> Call[Disconnected]:
    body = {"reconnect": reconnect, **({} if reason is None else {"reason": reason})}
    return Call(
        "POST",
        f"{path}/disconnect",
        lambda answer: answers.disconnected(answer.said),
        content=_json(body),
        is_repeatable=False,
    )


def _json(body: Any) -> bytes:
    """Return JSON; raises ValueError or TypeError for what JSON cannot say."""
    return json.dumps(body, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()


def _in_path(name: str) -> str:
    """Return a name as one segment of a path."""
    if not name:
        raise ValueError("A name or id is empty; the server has none such.")
    if name in {".", ".."}:
        # What is between slashes would be taken for a step to another path.
        return name.replace(".", "%2E")
    return quote(name, safe="")


def _moment(parameter: str, moment: datetime | None) -> str | None:
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise ValueError(f"{parameter} must have a time zone, as datetime.now(UTC) has.")
    return moment.isoformat()


def _checked_key(key: str | None) -> str | None:
    if key is not None and not PRINTABLE.fullmatch(key):
        raise ValueError("An idempotency key has printable ASCII characters only, and no spaces.")
    return key
