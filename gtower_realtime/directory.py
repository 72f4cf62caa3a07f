"""Who is connected, and where: what the reads of the HTTP API answer. No wires.

In a cluster that is everybody, whichever process they are connected to.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gtower_realtime.clients import Client, ClientRegistry
from gtower_realtime.elsewhere import Elsewhere
from gtower_realtime.errors import ValidationFailed
from gtower_realtime.names import is_user_room, user_room
from gtower_realtime.ports import Clock, Transport
from gtower_realtime.timestamps import format_timestamp, milliseconds

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

    def __init__(
        self,
        transport: Transport,
        clients: ClientRegistry,
        clock: Clock,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._transport = transport
        self._clients = clients
        self._elsewhere = Elsewhere() if elsewhere is None else elsewhere
        self._clock = clock

    def clients(self, after: str | None = None, limit: int | None = None) -> list[dict[str, Any]]:
        """Return the connected clients in order of connection; see `ClientRegistry.page`.

        Raises:
            ValidationFailed: ``after`` is no client that was ever here, or left long ago.
        """
        page = self._page_of_all(after, limit) if self._elsewhere else self._page(after, limit)
        return [self._describe(client) for client in page]

    def _page(self, after: str | None, limit: int | None) -> list[Client]:
        page = self._clients.page(after, limit)
        if page is None:
            raise _no_such_client()
        return page

    def _page_of_all(self, after: str | None, limit: int | None) -> list[Client]:
        """Return a page of the clients of all processes, by the times of their connecting."""
        everybody = [*self._clients, *(far.client for far in self._elsewhere)]
        everybody.sort(key=_by_time)
        start = 0
        if after is not None:
            when = self._clients.connected_at(after) or self._elsewhere.connected_at(after)
            if when is None:
                raise _no_such_client()
            start = bisect_right(everybody, (milliseconds(when), after), key=_by_time)
        return everybody[start:][:limit]

    def count_clients(self) -> int:
        """Count the connected clients."""
        return len(self._clients) + len(self._elsewhere)

    def is_connected(self, client_id: str) -> bool:
        """Say whether a client is connected."""
        return client_id in self._clients or client_id in self._elsewhere

    def client_status(self, client_id: str) -> dict[str, Any]:
        """Return ``{"clientId", "connected", "timestamp"}``; of an unknown one ``false``."""
        return {
            "clientId": client_id,
            "connected": self.is_connected(client_id),
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
            for room in {*self._transport.rooms(), *self._elsewhere.rooms()}
            if room.startswith(tuple(prefixes))
            and (after is None or room > after)
            and (not is_user_room(room) or any(map(is_user_room, prefixes)))
        )
        page = names[:limit]
        return {
            "rooms": [{"room": room, "clients": len(self._members(room))} for room in page],
            "next": page[-1] if len(names) > limit else None,
        }

    def population(self) -> Population:
        """Count who is connected to this process, at once however many there are."""
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
        client_ids = [client.id for client in self._members(user_room(user_id))]
        return {"userId": user_id, "connected": bool(client_ids), "clients": client_ids}

    def _members(self, room: str) -> list[Client]:
        found = map(self._clients.get, self._transport.members_of(room))
        here = [client for client in found if client is not None]
        return [*here, *self._elsewhere.members_of(room)] if self._elsewhere else here

    def _describe(self, client: Client) -> dict[str, Any]:
        metadata = {"ip": client.address}
        if client.user_agent is not None:
            metadata["userAgent"] = client.user_agent
        far = self._elsewhere.get(client.id)
        description = {
            "id": client.id,
            "connectedAt": format_timestamp(client.connected_at),
            "metadata": metadata,
            "rooms": self._transport.rooms_of(client.id) if far is None else list(far.rooms),
            "transport": self._transport.transport_of(client.id) if far is None else far.transport,
        }
        if client.user_id is not None:
            description["userId"] = client.user_id
        return description


def _by_time(client: Client) -> tuple[int, str]:
    # As exactly as others are told it, so that all processes have the same order.
    return milliseconds(client.connected_at), client.id


def _no_such_client() -> ValidationFailed:
    sentence = "There is no such client."
    return ValidationFailed(f"after: {sentence}", fields={"after": [sentence]})


def introduction(client: Client) -> dict[str, Any]:
    """Return ``{"clientId", "userId"?, "info"?}``: what others are told of a client."""
    told: dict[str, Any] = {"clientId": client.id}
    if client.user_id is not None:
        told["userId"] = client.user_id
    if client.info is not None:
        told["info"] = client.info
    return told
