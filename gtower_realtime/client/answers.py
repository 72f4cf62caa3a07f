"""What the server answers, as values. Fields that a newer server adds are passed over.

Times are aware datetimes in UTC; offsets are opaque strings.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gtower_realtime.client.problems import Refused, refusal_class

Said = Mapping[str, Any]
"""A JSON object of the server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterAnswer:
    """An answer for all nodes of a cluster; one process alone is never ``partial``.

    ``partial``: not all nodes have answered in time, and what only the others know is not in it.
    ``nodes_missing`` are their names, empty if nobody knows them.
    """

    partial: bool = False
    nodes_missing: tuple[str, ...] = ()


def _nodes(said: Said) -> dict[str, Any]:
    """Read the fields of `ClusterAnswer`."""
    return {
        "partial": said.get("partial", False),
        "nodes_missing": tuple(said.get("nodesMissing", ())),
    }


@dataclass(frozen=True, slots=True)
class Receipt(ClusterAnswer):
    """What became of an event.

    ``recipients`` distinct live connections were handed it; ``pending`` clients are away and get it
    when they come back in time. ``offset`` is its place in the log, None for one that is not
    recorded. ``is_replayed``: the same request was answered before, and sent nothing now. The last
    three are client ids, empty unless the call waited for acknowledgements.
    """

    message: str
    id: str
    recipients: int
    pending: int
    offset: str | None = None
    is_replayed: bool = False
    unknown_clients: tuple[str, ...] = ()
    acked: tuple[str, ...] = ()
    timed_out: tuple[str, ...] = ()
    disconnected: tuple[str, ...] = ()


def receipt(said: Said, is_replayed: bool = False) -> Receipt:
    """Read a receipt."""
    return Receipt(
        message=said["message"],
        id=said["id"],
        recipients=said["recipients"],
        pending=said["pending"],
        offset=said.get("offset"),
        is_replayed=is_replayed,
        unknown_clients=tuple(said.get("unknownClients", ())),
        acked=tuple(said.get("acked", ())),
        timed_out=tuple(said.get("timedOut", ())),
        disconnected=tuple(said.get("disconnected", ())),
        **_nodes(said),
    )


@dataclass(frozen=True, slots=True)
class BatchReceipt:
    """The outcome of each event of a batch, in their order; refusals are values here, not raised.

    ``success`` is true if all went.
    """

    success: bool
    results: tuple[Receipt | Refused, ...]

    @property
    def refusals(self) -> dict[int, Refused]:
        """The refusals by the place of their event."""
        return {
            place: result
            for place, result in enumerate(self.results)
            if isinstance(result, Refused)
        }


def batch_receipt(said: Said, is_replayed: bool = False) -> BatchReceipt:
    """Read the outcomes of a batch."""
    return BatchReceipt(
        success=said["success"],
        results=tuple(
            receipt(result, is_replayed) if result["success"] else refusal(result, None)
            for result in said["results"]
        ),
    )


def refusal(
    said: Said,
    status: int | None,
    retry_after: float | None = None,
    idempotency_key: str | None = None,
) -> Refused:
    """Read a refusal."""
    error = said["error"]
    return refusal_class(error["code"], status)(
        error["message"],
        code=error["code"],
        status=status,
        retryable=error["retryable"],
        fields=error.get("fields"),
        request_id=said.get("requestId"),
        retry_after=retry_after,
        idempotency_key=idempotency_key,
    )


@dataclass(frozen=True, slots=True)
class ServerStatus(ClusterAnswer):
    """How the server is: ``active``, ``draining`` or ``degraded``. ``said`` is all that it said."""

    status: str
    connected_clients: int
    timestamp: datetime
    said: Said


def server_status(said: Said) -> ServerStatus:
    """Read the server's state."""
    return ServerStatus(
        status=said["status"],
        connected_clients=said["connectedClients"],
        timestamp=moment(said["timestamp"]),
        said=said,
        **_nodes(said),
    )


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether new connections should be sent to the server; ``failing`` names what is wrong."""

    is_ready: bool
    failing: tuple[str, ...]


def readiness(said: Said) -> Readiness:
    """Read whether the server is ready."""
    return Readiness(is_ready=said["status"] == "ready", failing=tuple(said.get("failing", ())))


@dataclass(frozen=True, slots=True)
class ConnectedClient:
    """A client that is connected."""

    id: str
    connected_at: datetime
    ip: str
    user_agent: str | None
    user_id: str | None
    rooms: tuple[str, ...]
    transport: str


@dataclass(frozen=True, slots=True)
class ClientPage(ClusterAnswer):
    """Clients in order of connection."""

    clients: tuple[ConnectedClient, ...]


def client_page(said: list[Said], nodes: ClusterAnswer) -> ClientPage:
    """Read a page of clients; a bare list does not say itself which ``nodes`` it is without."""
    return ClientPage(
        tuple(
            ConnectedClient(
                id=client["id"],
                connected_at=moment(client["connectedAt"]),
                ip=client["metadata"]["ip"],
                user_agent=client["metadata"].get("userAgent"),
                user_id=client.get("userId"),
                rooms=tuple(client["rooms"]),
                transport=client["transport"],
            )
            for client in said
        ),
        partial=nodes.partial,
        nodes_missing=nodes.nodes_missing,
    )


@dataclass(frozen=True, slots=True)
class ClientStatus(ClusterAnswer):
    """Whether a client is connected."""

    client_id: str
    connected: bool
    timestamp: datetime


def client_status(said: Said) -> ClientStatus:
    """Read whether a client is connected."""
    return ClientStatus(
        said["clientId"], said["connected"], moment(said["timestamp"]), **_nodes(said)
    )


@dataclass(frozen=True, slots=True)
class UserStatus(ClusterAnswer):
    """Whether a user is connected, and with which clients."""

    user_id: str
    connected: bool
    clients: tuple[str, ...]


def user_status(said: Said) -> UserStatus:
    """Read whether a user is connected."""
    return UserStatus(said["userId"], said["connected"], tuple(said["clients"]), **_nodes(said))


@dataclass(frozen=True, slots=True)
class RoomSize:
    """A room and how many clients are in it."""

    room: str
    clients: int


@dataclass(frozen=True, slots=True)
class RoomPage(ClusterAnswer):
    """Rooms by name; ``next`` is what to ask ``after`` for more, None at the end."""

    rooms: tuple[RoomSize, ...]
    next: str | None


def room_page(said: Said) -> RoomPage:
    """Read a page of rooms."""
    return RoomPage(
        tuple(RoomSize(each["room"], each["clients"]) for each in said["rooms"]),
        said["next"],
        **_nodes(said),
    )


@dataclass(frozen=True, slots=True)
class RoomSummary(ClusterAnswer):
    """How many clients and users are in a room, and its place in the log."""

    room: str
    clients: int
    users: int
    offset: str


def room_summary(said: Said) -> RoomSummary:
    """Read about one room."""
    return RoomSummary(said["room"], said["clients"], said["users"], said["offset"], **_nodes(said))


@dataclass(frozen=True, slots=True)
class PresentClient:
    """A client that is in a room; ``info`` is the claim of that name in its token."""

    client_id: str
    user_id: str | None
    info: Any


@dataclass(frozen=True, slots=True)
class RoomPresence(ClusterAnswer):
    """Who is in a room."""

    room: str
    clients: tuple[PresentClient, ...]


def room_presence(said: Said) -> RoomPresence:
    """Read who is in a room."""
    return RoomPresence(
        said["room"],
        tuple(
            PresentClient(client["clientId"], client.get("userId"), client.get("info"))
            for client in said["clients"]
        ),
        **_nodes(said),
    )


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """An event of a room's history; ``data`` is what clients were sent."""

    offset: str
    id: str
    event: str
    data: Said
    timestamp: datetime


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Events of a room, oldest first. ``more``: ask again, after the offset of the last one."""

    room: str
    events: tuple[LoggedEvent, ...]
    more: bool


def history_page(said: Said) -> HistoryPage:
    """Read a page of a room's history."""
    return HistoryPage(
        room=said["room"],
        events=tuple(
            LoggedEvent(
                offset=event["offset"],
                id=event["id"],
                event=event["event"],
                data=event["data"],
                timestamp=moment(event["timestamp"]),
            )
            for event in said["events"]
        ),
        more=said["more"],
    )


@dataclass(frozen=True, slots=True)
class TracedClient:
    """What became of an event at one client.

    ``state`` is ``queued``, ``written``, ``acknowledged``, ``pending``, ``dropped`` or
    ``not_matched``.
    """

    client_id: str
    state: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class EventTrace(ClusterAnswer):
    """What became of one event; ``target`` is whom it was for, as the server says it.

    ``more`` says whether there are other clients, after the last of ``clients``.
    """

    id: str
    event: str
    offset: str | None
    target: Any
    timestamp: datetime
    recipients: int
    pending: int
    clients: tuple[TracedClient, ...]
    more: bool


def event_trace(said: Said) -> EventTrace:
    """Read the trace of an event."""
    return EventTrace(
        id=said["id"],
        event=said["event"],
        offset=said.get("offset"),
        target=said["target"],
        timestamp=moment(said["timestamp"]),
        clients=tuple(
            TracedClient(client["clientId"], client["state"], client.get("reason"))
            for client in said["clients"]
        ),
        recipients=said["recipients"],
        pending=said["pending"],
        more=said["more"],
        **_nodes(said),
    )


@dataclass(frozen=True, slots=True)
class MinuteCounts:
    """What happened in the minute that began ``at``; ``connections`` is the most at one time."""

    at: datetime
    connections: int
    events: Mapping[str, int]
    recipients: int
    bytes: int
    refusals: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Analytics(ClusterAnswer):
    """Counts of minutes, oldest first. No server was running in a minute that is missing."""

    start: datetime
    end: datetime
    step_seconds: int
    points: tuple[MinuteCounts, ...]


def analytics(said: Said) -> Analytics:
    """Read the counts of minutes."""
    return Analytics(
        start=moment(said["from"]),
        end=moment(said["to"]),
        step_seconds=said["step"],
        points=tuple(
            MinuteCounts(
                at=moment(point["at"]),
                connections=point["connections"],
                events=point["events"],
                recipients=point["recipients"],
                bytes=point["bytes"],
                refusals=point["refusals"],
            )
            for point in said["points"]
        ),
        **_nodes(said),
    )


@dataclass(frozen=True, slots=True)
class Disconnected(ClusterAnswer):
    """How many connections were cut; none of a client that was away."""

    connections: int


def disconnected(said: Said) -> Disconnected:
    """Read how many connections were cut."""
    return Disconnected(said["disconnected"], **_nodes(said))


def moment(text: str) -> datetime:
    """Read a time of the server."""
    return datetime.fromisoformat(text)
