"""Who is connected, and where: what the reads of the HTTP API answer. No wires."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gtower_realtime.clients import Client, ClientRegistry
from gtower_realtime.errors import ValidationFailed
from gtower_realtime.names import is_user_room, user_room
from gtower_realtime.ports import Clock, Transport
from gtower_realtime.timestamps import format_timestamp

ROOMS_OF_A_PAGE = 100
MAX_ROOMS_OF_A_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Population:
    """How many there are; rooms of the server's own, one for each user, do not count."""

    clients: int
    users: int
    rooms: int
    room_members: int


class Directory:
    """Lists clients, rooms and users as they are at the moment."""

    def __init__(self, transport: Transport, clients: ClientRegistry, clock: Clock) -> None:
        self._transport = transport
        self._clients = clients
        self._clock = clock

    def clients(self, after: str | None = None, limit: int | None = None) -> list[dict[str, Any]]:
        """Return the connected clients in order of connection; see `ClientRegistry.page`.

        Raises:
            ValidationFailed: ``after`` is no client that was ever here, or left long ago.
        """
        page = self._clients.page(after, limit)
        if page is None:
            raise ValidationFailed(
                "after: There is no such client.", fields={"after": ["There is no such client."]}
            )
        return [self._describe(client) for client in page]

    def client_status(self, client_id: str) -> dict[str, Any]:
        """Return ``{"clientId", "connected", "timestamp"}``; of an unknown one ``false``."""
        return {
            "clientId": client_id,
            "connected": client_id in self._clients,
            "timestamp": format_timestamp(self._clock.now()),
        }

    def rooms(
        self,
        prefixes: Sequence[str] = ("",),
        after: str | None = None,
        limit: int = ROOMS_OF_A_PAGE,
    ) -> dict[str, Any]:
        """Return ``{"rooms": [{"room", "clients"}], "next"}``: rooms with members, by name.

        ``clients`` is how many. Rooms begin with one of ``prefixes`` and follow ``after``; ``next``
        is what to ask after for more, None at the end. The rooms of users are listed only by a
        prefix of theirs.
        """
        names = sorted(
            room
            for room in self._transport.rooms()
            if room.startswith(tuple(prefixes))
            and (after is None or room > after)
            and (not is_user_room(room) or any(map(is_user_room, prefixes)))
        )
        page = names[:limit]
        return {
            "rooms": [
                {"room": room, "clients": len(self._transport.members_of(room))} for room in page
            ],
            "next": page[-1] if len(names) > limit else None,
        }

    def population(self) -> Population:
        """Count everybody, at once however many there are."""
        clients = self._clients
        # Each client with a user is in that user's room, and in no other one of those.
        return Population(
            clients=len(clients),
            users=clients.users,
            rooms=self._transport.room_count() - clients.users,
            room_members=self._transport.membership_count() - clients.with_user,
        )

    def room(self, room: str) -> dict[str, Any]:
        """Return ``{"room", "clients", "users"}``: how many are in a room; 0 if it has nobody."""
        members = self._members(room)
        users = {client.user_id for client in members if client.user_id is not None}
        return {"room": room, "clients": len(members), "users": len(users)}

    def present(self, room: str) -> dict[str, Any]:
        """Return ``{"room", "clients": [{"clientId", "userId"?, "info"?}]}``: who is in a room."""
        return {"room": room, "clients": [introduction(client) for client in self._members(room)]}

    def user(self, user_id: str) -> dict[str, Any]:
        """Return ``{"userId", "connected", "clients": [client id]}``."""
        client_ids = self._transport.members_of(user_room(user_id))
        return {"userId": user_id, "connected": bool(client_ids), "clients": client_ids}

    def _members(self, room: str) -> list[Client]:
        found = map(self._clients.get, self._transport.members_of(room))
        return [client for client in found if client is not None]

    def _describe(self, client: Client) -> dict[str, Any]:
        metadata = {"ip": client.address}
        if client.user_agent is not None:
            metadata["userAgent"] = client.user_agent
        description = {
            "id": client.id,
            "connectedAt": format_timestamp(client.connected_at),
            "metadata": metadata,
            "rooms": self._transport.rooms_of(client.id),
            "transport": self._transport.transport_of(client.id),
        }
        if client.user_id is not None:
            description["userId"] = client.user_id
        return description


def introduction(client: Client) -> dict[str, Any]:
    """Return ``{"clientId", "userId"?, "info"?}``: what others are told of a client."""
    told: dict[str, Any] = {"clientId": client.id}
    if client.user_id is not None:
        told["userId"] = client.user_id
    if client.info is not None:
        told["info"] = client.info
    return told
