"""Which connection is in which room, indexed both ways. Pure state; knows no protocol.

A client's own id is a room too, with the client as its only member, as on Node's server; it does
not show in any list.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

Connection = TypeVar("Connection")

Members = dict[str, Connection]
"""Client id to connection, in order of joining: what a fan-out to an audience runs over."""


class Audience(NamedTuple):
    """Clients that get the very same packet: of one namespace, with offsets or without."""

    namespace: str
    takes_offsets: bool = False


@dataclass(slots=True)
class _Membership(Generic[Connection]):
    audience: Audience
    connection: Connection
    rooms: dict[str, None] = field(default_factory=dict)


class RoomIndex(Generic[Connection]):
    """The members of each room by audience, and the rooms of each client.

    Entering and leaving cost O(1), removing a client O(its own rooms), whatever the number of
    rooms and clients. An empty room does not exist.
    """

    def __init__(self) -> None:
        self._clients: dict[str, _Membership[Connection]] = {}
        self._everyone: dict[Audience, Members[Connection]] = {}
        self._rooms: dict[str, dict[Audience, Members[Connection]]] = {}
        self.memberships = 0
        """How many clients are in rooms, each counted once for each of its rooms."""

    def __contains__(self, client_id: object) -> bool:
        return client_id in self._clients

    def add(self, client_id: str, audience: Audience, connection: Connection) -> None:
        """Take up a client, in no room yet."""
        self._clients[client_id] = _Membership(audience, connection)
        self._everyone.setdefault(audience, {})[client_id] = connection

    def remove(self, client_id: str) -> None:
        """Drop a client from all its rooms; silent when it is not there."""
        membership = self._clients.pop(client_id, None)
        if membership is None:
            return
        for room in membership.rooms:
            self._drop(client_id, membership.audience, room)
        members = self._everyone[membership.audience]
        del members[client_id]
        if not members:
            del self._everyone[membership.audience]

    def enter(self, client_id: str, room: str) -> None:
        """Make the client a member; silent when it is one already or is not there."""
        membership = self._clients.get(client_id)
        if membership is None or room in membership.rooms:
            return
        membership.rooms[room] = None
        members = self._rooms.setdefault(room, {}).setdefault(membership.audience, {})
        members[client_id] = membership.connection
        self.memberships += 1

    def leave(self, client_id: str, room: str) -> None:
        """End a membership; silent when there is none."""
        membership = self._clients.get(client_id)
        if membership is None or room not in membership.rooms:
            return
        del membership.rooms[room]
        self._drop(client_id, membership.audience, room)

    def rooms_of(self, client_id: str) -> list[str]:
        """Return the client's rooms in the order of joining."""
        membership = self._clients.get(client_id)
        return [] if membership is None else list(membership.rooms)

    @property
    def room_count(self) -> int:
        """How many rooms have a member."""
        return len(self._rooms)

    def rooms(self) -> Iterator[str]:
        """Yield the name of every room that has a member."""
        return iter(self._rooms)

    def connection_of(self, client_id: str) -> Connection | None:
        """Return the client's connection, or None when it is not there."""
        membership = self._clients.get(client_id)
        return None if membership is None else membership.connection

    def audience_of(self, client_id: str) -> Audience | None:
        """Return the audience the client belongs to, or None when it is not there."""
        membership = self._clients.get(client_id)
        return None if membership is None else membership.audience

    def everyone(self) -> Mapping[Audience, Members[Connection]]:
        """Return all clients by audience. The caller must not change what it gets."""
        return self._everyone

    def members(self, room: str) -> Mapping[Audience, Members[Connection]]:
        """Return the members of a room by audience. The caller must not change what it gets."""
        # The owner of an id comes first: who enters a room of that name cannot take its place.
        owner = self._clients.get(room)
        if owner is not None:
            return {owner.audience: {room: owner.connection}}
        return self._rooms.get(room, {})

    def _drop(self, client_id: str, audience: Audience, room: str) -> None:
        self.memberships -= 1
        by_audience = self._rooms[room]
        members = by_audience[audience]
        del members[client_id]
        if not members:
            del by_audience[audience]
            if not by_audience:
                del self._rooms[room]
