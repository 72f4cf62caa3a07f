"""The fan-out: `ports.Transport` over the room index and the Engine.IO sessions.

An event is encoded once per audience; every recipient gets the same bytes object.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from gtower_realtime import strict_json
from gtower_realtime.engineio.protocol import EncodedPacket
from gtower_realtime.engineio.session import Session
from gtower_realtime.gateway.packets import encode_event, endings_of
from gtower_realtime.gateway.rooms import Audience, Members
from gtower_realtime.gateway.server import SocketIOServer
from gtower_realtime.names import user_room
from gtower_realtime.ports import Offset, Payload, Target


class SocketIOTransport:
    """Hands events to the clients of one Socket.IO server; see `ports.Transport`."""

    def __init__(self, server: SocketIOServer) -> None:
        self._server = server
        self._index = server.manager.index
        self._groups = server.manager.groups

    def deliver(
        self,
        event: str,
        body: str,
        target: Target,
        *,
        offset: Offset | None = None,
        droppable: bool = False,
    ) -> int:
        """Hand the event to every connection it is for; return to how many distinct ones."""
        recipients = 0
        if target.everyone:
            for audience, group in self._groups.items():
                packet = _packet(audience, event, body, offset)
                excluded = self._sessions_of(target.excluded, audience)
                recipients += group.send(packet, excluded, droppable)
            return recipients
        for audience, members in self._members(target).items():
            packet = _packet(audience, event, body, offset)
            recipients += _hand_over(packet, members, target.excluded, droppable)
        return recipients

    def deliver_asking(
        self,
        event: str,
        body: str,
        target: Target,
        acknowledged: Callable[[str], None],
        droppable: bool = False,
    ) -> list[str]:
        """Hand the event to every client it is for, each with a number to acknowledge it under."""
        groups = self._index.everyone() if target.everyone else self._members(target)
        manager = self._server.manager
        asked: list[str] = []
        for audience, members in groups.items():
            for client_id, session in members.items():
                if client_id in target.excluded:
                    continue
                ack_id = manager.expect_acknowledgement(client_id, acknowledged)
                text = encode_event(audience.namespace, event, body, ack_id=ack_id)
                if session.send(EncodedPacket.message(text), droppable):
                    asked.append(client_id)
        return asked

    def send(
        self, client_id: str, event: str, payload: Payload, offset: Offset | None = None
    ) -> None:
        """Hand an event that is for one client alone to it; silent when the client is gone."""
        session = self._index.connection_of(client_id)
        audience = self._index.audience_of(client_id)
        if session is not None and audience is not None:
            session.send(_packet(audience, event, strict_json.dumps(payload), offset))

    def replay(self, client_id: str, events: Sequence[tuple[str, str, Offset | None]]) -> None:
        """Hand what a client has missed to it, whatever its buffer holds already."""
        session = self._index.connection_of(client_id)
        audience = self._index.audience_of(client_id)
        if session is not None and audience is not None:
            session.send_exempt([_packet(audience, *event) for event in events])

    def release(self, client_id: str) -> None:
        """Cut a connection whose client is back on another one; nobody hears of it."""
        self._server.release_client(client_id)

    def confirmed_mark(self, client_id: str) -> int:
        """Return the mark that the client's last pong has confirmed, 0 for none."""
        session = self._index.connection_of(client_id)
        return 0 if session is None else session.confirmed_mark

    def enter_room(self, client_id: str, room: str) -> None:
        """Make the client a member; silent when it is one or is gone."""
        self._index.enter(client_id, room)

    def leave_room(self, client_id: str, room: str) -> None:
        """End the membership; silent when there is none."""
        self._index.leave(client_id, room)

    def rooms_of(self, client_id: str) -> list[str]:
        """Return the rooms the client has joined, in the order of joining."""
        return self._index.rooms_of(client_id)

    def rooms(self) -> Iterable[str]:
        """Return the names of all rooms that have a member."""
        return self._index.rooms()

    def room_count(self) -> int:
        """Return how many rooms have a member."""
        return self._index.room_count

    def membership_count(self) -> int:
        """Return how many members all rooms have together."""
        return self._index.memberships

    def members_of(self, room: str) -> list[str]:
        """Return the ids of the clients in a room."""
        return [client for members in self._index.members(room).values() for client in members]

    def waiting_bytes(self, client_id: str) -> int:
        """Return what waits for the client inside this process, in bytes; 0 when it is gone."""
        session = self._index.connection_of(client_id)
        return 0 if session is None else session.waiting_bytes

    def has_unwritten(self, client_id: str, body: str, offset: Offset | None) -> bool:
        """Say whether an event that was handed over has not left this process yet, or not all."""
        session = self._index.connection_of(client_id)
        if session is None:
            return False
        shown = None if offset is None else str(offset)
        return any(session.has_unwritten(ending) for ending in endings_of(body, shown))

    def transport_of(self, client_id: str) -> str:
        """Return ``websocket`` or ``polling``."""
        session = self._index.connection_of(client_id)
        return "polling" if session is None else session.transport_name

    def disconnect(self, client_id: str, code: int, reason: str) -> None:
        """End the client's connection; see `SocketIOServer.close_client`."""
        self._server.close_client(client_id, code, reason)

    def _members(self, target: Target) -> Mapping[Audience, Members[Session]]:
        """Return who is addressed, by audience; several rooms are joined without doubles."""
        rooms = (*target.rooms, *map(user_room, target.users), *target.clients)
        if len(rooms) == 1:
            return self._index.members(rooms[0])
        union: dict[Audience, Members[Session]] = {}
        for room in rooms:
            for audience, members in self._index.members(room).items():
                union.setdefault(audience, {}).update(members)
        return union

    def _sessions_of(self, client_ids: frozenset[str], audience: Audience) -> list[Session]:
        return [
            session
            for client_id in client_ids
            if (session := self._index.connection_of(client_id)) is not None
            and self._index.audience_of(client_id) == audience
        ]


def _packet(audience: Audience, event: str, body: str, offset: Offset | None) -> EncodedPacket:
    takes_it = offset is not None and audience.takes_offsets
    return EncodedPacket.message(
        encode_event(audience.namespace, event, body, str(offset) if takes_it else None)
    )


def _hand_over(
    packet: EncodedPacket, members: Members[Session], excluded: frozenset[str], droppable: bool
) -> int:
    # A member that is cut off while this runs leaves the room at the end of the turn, not here.
    if not excluded:
        return sum([session.send(packet, droppable) for session in members.values()])
    return sum(
        [
            session.send(packet, droppable)
            for client_id, session in members.items()
            if client_id not in excluded
        ]
    )
