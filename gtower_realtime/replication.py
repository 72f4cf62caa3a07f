"""What happens at other processes of a cluster, as it takes effect here. No wires.

Sessions and memberships are those of everybody, so that a client can come back anywhere. Clients
of others are known (`elsewhere`), and their coming and going is told to the clients here.
"""

from collections.abc import Callable
from typing import Any

from gtower_realtime.clients import Client
from gtower_realtime.connections import Connections
from gtower_realtime.elsewhere import Elsewhere, FarClient
from gtower_realtime.ports import Offset
from gtower_realtime.presence import Presence
from gtower_realtime.publishing import Publisher
from gtower_realtime.records import (
    ClientGone,
    ClientHere,
    ClientMoved,
    EventAcknowledged,
    NodeGone,
    RoomEntered,
    RoomLeft,
    SessionAway,
    SessionEnded,
    SessionOpened,
    SessionTaken,
    SharedChange,
    StoredEvent,
    StoredSession,
)
from gtower_realtime.sessions import Session, Sessions
from gtower_realtime.timestamps import from_milliseconds

_COME_AGAIN = 4200


class Replication:
    """Applies what others have recorded, in the order of the log."""

    def __init__(
        self,
        *,
        publisher: Publisher,
        connections: Connections,
        presence: Presence,
        sessions: Sessions,
        elsewhere: Elsewhere,
        now: Callable[[], int],
    ) -> None:
        self._publisher = publisher
        self._connections = connections
        self._presence = presence
        self._sessions = sessions
        self._elsewhere = elsewhere
        self._now = now
        self._appliers: dict[type[SharedChange], Callable[[Any, str], None]] = {
            SessionOpened: lambda change, node: self.take_session(change.session, node),
            SessionTaken: self._take,
            SessionAway: self._mark_away,
            SessionEnded: self._end,
            RoomEntered: self._enter,
            RoomLeft: self._leave,
            EventAcknowledged: self._acknowledge,
            ClientHere: self._put,
            ClientMoved: self._move,
            ClientGone: lambda change, node: self._remove(change.client_id, node),
            NodeGone: lambda change, _: self.forget_node(change.node),
        }

    def deliver(
        self,
        event: StoredEvent,
        offset: Offset | None,
        heard: Callable[[str, bool], None],
        *,
        droppable: bool = False,
    ) -> tuple[int, list[str]]:
        """Hand an event to the clients here; see `Publisher.deliver_for_another`."""
        return self._publisher.deliver_for_another(event, offset, heard, droppable=droppable)

    def apply(self, change: SharedChange, node: str) -> None:
        """Let a change of another process, ``node``, take effect here."""
        self._appliers[type(change)](change, node)

    def begin_anew(self) -> None:
        """Have all clients connect anew, and forget all others: what has happened is not known."""
        self._connections.begin_anew(_COME_AGAIN, "events were missed, load your state anew")
        for far in tuple(self._elsewhere):
            self._remove(far.client.id, far.node)

    # Sessions

    def _take(self, taken: SessionTaken, node: str) -> None:
        session = self._sessions.of_client(taken.session.client_id)
        # Who only says that it has had it all the time may not have heard where it went.
        if taken.is_return or session is None or session.away_since is not None:
            self.take_session(taken.session, node)

    def take_session(self, stored: StoredSession, node: str) -> None:
        """Take up a session whose client is, or was last, connected to another process."""
        session = self._sessions.of_client(stored.client_id)
        if session is None:
            session = Session.restored(stored)
            self._sessions.add(session)
        elif self._connections.is_here(stored.client_id):
            self._connections.taken_over(stored.client_id)
        session.node = node
        if stored.away_since is None:
            self._sessions.mark_back(session)
        else:
            self._sessions.mark_away(session, stored.away_since)

    def _mark_away(self, away: SessionAway, node: str) -> None:
        session = self._sessions.of_client(away.client_id)
        # Where it was may hear late that it has come back somewhere else.
        if session is not None and session.node == node:
            self._sessions.mark_away(session, away.since)

    def _end(self, ended: SessionEnded, _node: str) -> None:
        session = self._sessions.of_client(ended.client_id)
        if session is not None:
            if ended.is_revoked:
                self._sessions.revoke(session)
            elif self._connections.is_here(ended.client_id):
                # It looks alive from here; its client has begun anew at another process.
                self._connections.taken_over(ended.client_id)
            self._connections.forget(session)

    def _enter(self, entered: RoomEntered, _node: str) -> None:
        session = self._sessions.of_client(entered.client_id)
        if session is not None:
            self._sessions.enter(session, entered.room, entered.number)

    def _leave(self, left: RoomLeft, _node: str) -> None:
        session = self._sessions.of_client(left.client_id)
        if session is not None:
            self._sessions.leave(session, left.room, left.number)

    def _acknowledge(self, acknowledged: EventAcknowledged, _node: str) -> None:
        session = self._sessions.of_client(acknowledged.client_id)
        if session is not None:
            session.acknowledge(acknowledged.number)

    # Clients

    def _put(self, here: ClientHere, node: str) -> None:
        session = self._sessions.of_client(here.client_id)
        if session is not None and session.node != node:
            return  # it has come back somewhere else since
        client = Client(
            id=here.client_id,
            connected_at=from_milliseconds(here.connected_at),
            address=here.address,
            user_agent=here.user_agent,
            user_id=here.user_id,
            info=here.info,
        )
        far = FarClient(client, node, here.transport, dict.fromkeys(here.rooms))
        before = self._elsewhere.put(far)
        if before is None or before.node != node:
            if before is not None:
                self._connections.announce("clientLeft", client.id)
            self._connections.announce("clientJoined", client.id)
        left = [] if before is None else [room for room in before.rooms if room not in far.rooms]
        for room in left:
            self._presence.left(client.id, room)
        for room in far.rooms:
            self._presence.entered(client, room)

    def _move(self, moved: ClientMoved, node: str) -> None:
        far = self._elsewhere.get(moved.client_id)
        if far is None or far.node != node:
            return
        self._elsewhere.move(moved.client_id, moved.entered, moved.left)
        for room in moved.left:
            self._presence.left(moved.client_id, room)
        for room in moved.entered:
            self._presence.entered(far.client, room)

    def _remove(self, client_id: str, node: str) -> None:
        far = self._elsewhere.get(client_id)
        # Where it was may tell so after it has come back somewhere else.
        if far is None or far.node != node:
            return
        self._elsewhere.remove(client_id)
        self._presence.gone(client_id)
        self._connections.announce("clientLeft", client_id)

    def forget_node(self, node: str) -> None:
        """Take note that nobody is connected to a process any more."""
        for client_id in self._elsewhere.of_node(node):
            self._remove(client_id, node)
        now = self._now()
        for session in self._sessions:
            if session.node == node and session.away_since is None:
                self._sessions.mark_away(session, now)
