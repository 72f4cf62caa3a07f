"""Who is connected to other processes of the cluster, and in which rooms. State only; no I/O.

Of a single process there is nobody elsewhere.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from gtower_realtime.clients import Client

_DEPARTED_KEPT = 10_000


@dataclass(slots=True)
class FarClient:
    """A client that is connected to another process, ``node``."""

    client: Client
    node: str
    transport: str
    rooms: dict[str, None] = field(default_factory=dict)
    """In the order of joining; the room of its user is one of them."""


class Elsewhere:
    """The clients of all other processes, as far as those have told of them.

    It also remembers when the last 10,000 that left had connected, so that paging goes on.
    """

    def __init__(self) -> None:
        self._clients: dict[str, FarClient] = {}
        self._rooms: dict[str, dict[str, None]] = {}
        self._users: Counter[str] = Counter()
        self._departed: OrderedDict[str, datetime] = OrderedDict()

    def __len__(self) -> int:
        return len(self._clients)

    def __contains__(self, client_id: str) -> bool:
        return client_id in self._clients

    def __iter__(self) -> Iterator[FarClient]:
        return iter(self._clients.values())

    def get(self, client_id: str) -> FarClient | None:
        """Return a client; None when it is not connected elsewhere."""
        return self._clients.get(client_id)

    def connected_at(self, client_id: str) -> datetime | None:
        """Return when a client had connected, also if it left not long ago."""
        known = self._clients.get(client_id)
        return self._departed.get(client_id) if known is None else known.client.connected_at

    def of_node(self, node: str) -> list[str]:
        """Return the ids of the clients of one process."""
        return [client_id for client_id, far in self._clients.items() if far.node == node]

    def of_user(self, user_id: str) -> list[str]:
        """Return the ids of the clients of a user."""
        return [
            client_id for client_id, far in self._clients.items() if far.client.user_id == user_id
        ]

    @property
    def users(self) -> Iterable[str]:
        """The users that are connected elsewhere, each once."""
        return self._users.keys()

    def put(self, far: FarClient) -> FarClient | None:
        """Take up a client, or what is new of it; return what it was before."""
        client_id = far.client.id
        before = self._take_out(client_id)
        self._clients[client_id] = far
        self._departed.pop(client_id, None)
        if far.client.user_id is not None:
            self._users[far.client.user_id] += 1
        for room in far.rooms:
            self._rooms.setdefault(room, {})[client_id] = None
        return before

    def move(self, client_id: str, entered: Iterable[str], left: Iterable[str]) -> None:
        """Change the rooms of a client; silent when it is not known."""
        far = self._clients.get(client_id)
        if far is None:
            return
        for room in left:
            if room in far.rooms:
                del far.rooms[room]
                self._drop(room, client_id)
        for room in entered:
            far.rooms[room] = None
            self._rooms.setdefault(room, {})[client_id] = None

    def remove(self, client_id: str) -> FarClient | None:
        """Forget a client and return it; None when it is not known."""
        far = self._take_out(client_id)
        if far is not None:
            self._departed[client_id] = far.client.connected_at
            while len(self._departed) > _DEPARTED_KEPT:
                self._departed.popitem(last=False)
        return far

    def _take_out(self, client_id: str) -> FarClient | None:
        far = self._clients.pop(client_id, None)
        if far is None:
            return None
        user_id = far.client.user_id
        if user_id is not None:
            self._users[user_id] -= 1
            if not self._users[user_id]:
                del self._users[user_id]
        for room in far.rooms:
            self._drop(room, client_id)
        return far

    def _drop(self, room: str, client_id: str) -> None:
        members = self._rooms[room]
        del members[client_id]
        if not members:
            del self._rooms[room]

    # Rooms

    def rooms(self) -> Iterator[str]:
        """Yield the name of every room that has a member elsewhere."""
        return iter(self._rooms)

    def members_of(self, room: str) -> list[Client]:
        """Return the clients in a room; a client's own id is a room too, and so no other's."""
        owner = self._clients.get(room)
        if owner is not None:
            return [owner.client]
        return [self._clients[client_id].client for client_id in self._rooms.get(room, ())]
