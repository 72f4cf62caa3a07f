"""python-socketio's manager seam, on the room index: who is pending, accepted, in which room.

Replaces the storage of `socketio.AsyncManager` (a bidict per room, all of them searched at each
leave) and keeps its contract, checked against python-socketio 5.18.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from socketio import AsyncManager, packet

from gtower_realtime.engineio.group import Group
from gtower_realtime.engineio.session import Session
from gtower_realtime.gateway.packets import engineio_packets
from gtower_realtime.gateway.rooms import Audience, Members, RoomIndex

Acknowledged = Callable[..., Any]
"""Called with what a listener acknowledges an event with; may be a coroutine function."""

MAX_WAITING_ACKNOWLEDGEMENTS = 1000
"""Of one client; a client that never acknowledges takes no more memory than these."""


class ClientManager(AsyncManager):  # type: ignore[misc]
    """The clients of one Socket.IO server.

    A client is pending from CONNECT until it is accepted, and then in no room and no list, so that
    no event can reach it; :meth:`connect` makes it a member of everything it belongs to.
    """

    def __init__(self) -> None:
        super().__init__()
        self.index: RoomIndex[Session] = RoomIndex()
        self.groups: dict[Audience, Group] = {}
        """Everybody once more, by audience, as those who get broadcasts; empty ones are kept."""
        self._pending: dict[str, tuple[Session, str]] = {}
        self._client_ids: dict[str, dict[str, str]] = {}
        self._acknowledged: dict[str, dict[int, Acknowledged]] = {}
        self._ack_ids = itertools.count(1)

    # Connecting and disconnecting

    async def pre_connect(self, eio_sid: str, namespace: str) -> str | None:
        """Begin a connection to a namespace; None when there is one already."""
        namespaces = self._client_ids.setdefault(eio_sid, {})
        if namespace in namespaces:
            return None
        sid: str = self.server.eio.generate_id()
        namespaces[namespace] = sid
        self._pending[sid] = (self.server.eio.sessions[eio_sid], namespace)
        return sid

    def accept(self, pending_sid: str, sid: str, *, takes_offsets: bool = False) -> None:
        """Make a pending client a member of all it belongs to, under ``sid`` from now on."""
        session, namespace = self._pending.pop(pending_sid)
        self._client_ids[session.sid][namespace] = sid
        audience = Audience(namespace, takes_offsets)
        self.index.add(sid, audience, session)
        group = self.groups.get(audience)
        if group is None:
            group = self.groups[audience] = self.server.eio.new_group()
        group.add(session)

    def give_up(self, pending_sid: str) -> None:
        """Forget a pending client that is not accepted."""
        session, namespace = self._pending.pop(pending_sid)
        self._drop(pending_sid, namespace, session)

    async def connect(self, sid: str, namespace: str) -> str:
        """Accept a pending client; see `AsyncManager.connect`."""
        self.accept(sid, sid)
        return sid

    async def disconnect(self, sid: str, namespace: str, **_options: Any) -> None:
        """Forget a client, pending or accepted; silent when it is neither."""
        session = self.index.connection_of(sid)
        if sid in self._pending:
            session, _ = self._pending.pop(sid)
        if session is None:
            return
        self._drop(sid, namespace, session)

    def _drop(self, sid: str, namespace: str, session: Session) -> None:
        audience = self.index.audience_of(sid)
        if audience is not None:
            self.groups[audience].remove(session)
        self.index.remove(sid)
        self._acknowledged.pop(sid, None)
        namespaces = self._client_ids[session.sid]
        del namespaces[namespace]
        if not namespaces:
            del self._client_ids[session.sid]

    def forget(self, sid: str) -> None:
        """Drop an accepted client; its Engine.IO session knows nothing of it any more."""
        session = self.index.connection_of(sid)
        if session is None:
            return
        audience = self.index.audience_of(sid)
        if audience is not None:
            self._drop(sid, audience.namespace, session)

    def confirmed_mark(self, sid: str) -> int:
        """Return the last mark that a pong of the client has confirmed."""
        session = self.index.connection_of(sid)
        return 0 if session is None else session.confirmed_mark

    def is_pre_connected(self, sid: str, namespace: str) -> bool:
        """Say whether the client waits to be accepted."""
        return self._pending.get(sid, (None, None))[1] == namespace

    def is_connected(self, sid: str | None, namespace: str) -> bool:
        """Say whether the client was accepted and is still there."""
        audience = None if sid is None else self.index.audience_of(sid)
        return audience is not None and audience.namespace == namespace

    async def can_disconnect(self, sid: str, namespace: str) -> bool:
        """Say whether there is something to disconnect."""
        return self.is_connected(sid, namespace)

    def sid_from_eio_sid(self, eio_sid: str, namespace: str) -> str | None:
        """Return the client that an Engine.IO session is in a namespace, pending ones included."""
        return self._client_ids.get(eio_sid, {}).get(namespace)

    def eio_sid_from_sid(self, sid: str, namespace: str) -> str | None:
        """Return the Engine.IO session of a client."""
        session = self.index.connection_of(sid)
        return None if session is None else session.sid

    def namespaces_of(self, eio_sid: str) -> Mapping[str, str]:
        """Return the clients of an Engine.IO session by namespace."""
        return self._client_ids.get(eio_sid, {})

    def get_namespaces(self) -> Iterable[str]:
        """Return the namespaces somebody is in."""
        return {audience.namespace for audience in self.index.everyone()}

    # Rooms

    async def enter_room(
        self, sid: str, namespace: str, room: str, eio_sid: str | None = None
    ) -> None:
        """Make a client a member of a room."""
        self.index.enter(sid, room)

    async def leave_room(self, sid: str, namespace: str, room: str) -> None:
        """End a client's membership."""
        self.index.leave(sid, room)

    async def close_room(self, room: str, namespace: str) -> None:
        """End all memberships of a namespace in a room."""
        for members in list(self._members(namespace, room)):
            for sid in list(members):
                self.index.leave(sid, room)

    def get_rooms(self, sid: str, namespace: str) -> list[str]:
        """Return the rooms of a client."""
        return self.index.rooms_of(sid)

    def get_participants(self, namespace: str, room: Any) -> Iterator[tuple[str, str]]:
        """Yield client and Engine.IO ids of the members of a room, a list of rooms, or all."""
        seen: set[str] = set()
        for members in self._members(namespace, room):
            for sid, session in list(members.items()):
                if sid not in seen:
                    seen.add(sid)
                    yield sid, session.sid

    # Events

    async def emit(
        self,
        event: str,
        data: Any,
        namespace: str,
        room: Any = None,
        skip_sid: Any = None,
        callback: Acknowledged | None = None,
        to: Any = None,
        **_options: Any,
    ) -> None:
        """Send an event to a room, a list of rooms, a client or all, one copy each.

        A tuple is several arguments. ``room`` None is everyone in the namespace; an empty name or
        list is nobody. ``callback`` is called with what each receiver's listener acknowledges
        with, and never for a receiver that does not: of each client's callbacks the newest
        `MAX_WAITING_ACKNOWLEDGEMENTS` wait, until it disconnects.

        Raises:
            ValueError: ``data`` cannot be said in JSON; nobody has got anything.
        """
        arguments = data if isinstance(data, tuple) else () if data is None else (data,)
        skipped = skip_sid if isinstance(skip_sid, list | tuple | set) else (skip_sid,)
        recipients = {
            sid: session
            for members in self._members(namespace, room if to is None else to)
            for sid, session in members.items()
            if sid not in skipped
        }
        pkt = self.server.packet_class(packet.EVENT, [event, *arguments], namespace)
        shared = engineio_packets(pkt)
        for sid, session in recipients.items():
            packets = shared
            if callback is not None:
                # A receiver that is asked to acknowledge gets a packet with an id of its own.
                pkt.id = self._generate_ack_id(sid, callback)
                packets = engineio_packets(pkt)
            for encoded in packets:
                session.send(encoded)

    def _members(self, namespace: str, room: Any) -> Iterator[Members[Session]]:
        if room is None:
            groups = [self.index.everyone()]
        else:
            names = room if isinstance(room, list | tuple) else (room,)
            groups = [self.index.members(name) for name in names]
        for group in groups:
            for audience, members in group.items():
                if audience.namespace == namespace:
                    yield members

    # Acknowledgements

    def _generate_ack_id(self, sid: str, callback: Acknowledged) -> int:
        # One count for the process: an id is never used twice, whoever it was for.
        ack_id = next(self._ack_ids)
        waiting = self._acknowledged.setdefault(sid, {})
        if len(waiting) >= MAX_WAITING_ACKNOWLEDGEMENTS:
            del waiting[next(iter(waiting))]
        waiting[ack_id] = callback
        return ack_id

    def expect_acknowledgement(self, sid: str, acknowledged: Callable[[str], None]) -> int:
        """Return a number for an event; ``acknowledged`` is called with ``sid`` for its answer."""

        def answered(*_arguments: Any) -> None:
            acknowledged(sid)

        return self._generate_ack_id(sid, answered)

    async def trigger_callback(self, sid: str, id: int, data: list[Any]) -> None:  # noqa: A002
        """Call what waits for an acknowledgement; one that nobody waits for is ignored."""
        waiting = self._acknowledged.get(sid, {})
        callback = waiting.pop(id, None)
        if not waiting:
            self._acknowledged.pop(sid, None)
        if callback is not None:
            answer = callback(*data)
            if hasattr(answer, "__await__"):
                await answer
