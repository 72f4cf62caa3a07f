"""Who is connected: one entry per namespace connection, in order of connecting. No I/O."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

_DEPARTED_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Client:
    """One accepted connection to one namespace. ``address`` is the browser's, behind any proxy."""

    id: str
    connected_at: datetime
    address: str
    user_agent: str | None = None
    user_id: str | None = None
    info: Mapping[str, Any] | None = None
    """What its token shows of it to others."""


Watcher = Callable[[str, str | None], None]
"""Called with a client's id, and the room that it has entered or left, if that is what it did."""


def _ignore(_client_id: str, _room: str | None) -> None:
    """Nobody watches."""


class ClientRegistry:
    """The clients connected to this process. A client is in it exactly while it is connected.

    It also remembers where the last 10,000 that left stood in the order, so that paging by the id
    of the last client seen goes on when that one has gone.
    """

    def __init__(self) -> None:
        self._clients: dict[str, Client] = {}
        self._positions: OrderedDict[str, tuple[int, datetime]] = OrderedDict()
        self._next_position = 0
        self._departed = 0
        self._connections_of: Counter[str] = Counter()
        self.watcher: Watcher = _ignore
        """Called when something has changed about a client."""

    def __len__(self) -> int:
        return len(self._clients)

    def __contains__(self, client_id: str) -> bool:
        return client_id in self._clients

    def __iter__(self) -> Iterator[Client]:
        return iter(self._clients.values())

    @property
    def users(self) -> int:
        """How many different users are connected."""
        return len(self._connections_of)

    @property
    def with_user(self) -> int:
        """How many clients have a user."""
        return self._connections_of.total()

    def add(self, client: Client) -> None:
        """Register a client that has just been accepted."""
        if client.user_id is not None:
            self._connections_of[client.user_id] += 1
        self._clients[client.id] = client
        self._positions[client.id] = (self._next_position, client.connected_at)
        self._next_position += 1
        self.watcher(client.id, None)

    def replace(self, client: Client) -> None:
        """Take what is known of a client anew; its place in the order stays."""
        if client.id in self._clients:
            self._clients[client.id] = client
            self.watcher(client.id, None)

    def moved(self, client_id: str, room: str) -> None:
        """Take note that a client has entered or left a room."""
        self.watcher(client_id, room)

    def get(self, client_id: str) -> Client | None:
        """Return the client, or None when it is not connected."""
        return self._clients.get(client_id)

    def remove(self, client_id: str) -> Client | None:
        """Forget the client and return it; None when it was not there."""
        client = self._clients.pop(client_id, None)
        if client is not None:
            if client.user_id is not None:
                self._connections_of[client.user_id] -= 1
                if not self._connections_of[client.user_id]:
                    del self._connections_of[client.user_id]
            self._departed += 1
            self._forget_long_departed()
            self.watcher(client_id, None)
        return client

    def connected_at(self, client_id: str) -> datetime | None:
        """Return when a client had connected, also if it left not long ago."""
        place = self._positions.get(client_id)
        return None if place is None else place[1]

    def page(self, after: str | None, limit: int | None) -> list[Client] | None:
        """Return up to ``limit`` clients that connected after ``after``, oldest first.

        None for ``after`` starts at the oldest, None for ``limit`` returns all. Returns None when
        ``after`` was never seen, or left too long ago to know its place.
        """
        if after is None:
            return list(islice(self._clients.values(), limit))
        position = self._positions.get(after)
        if position is None:
            return None
        following = (
            client for client in self._clients.values() if self._positions[client.id] > position
        )
        return list(islice(following, limit))

    def _forget_long_departed(self) -> None:
        # Amortised: a sweep of all when as many have left as are kept, O(1) per departure.
        if self._departed < 2 * _DEPARTED_KEPT:
            return
        departed = [key for key in self._positions if key not in self._clients]
        for client_id in departed[: max(0, len(departed) - _DEPARTED_KEPT)]:
            del self._positions[client_id]
        self._departed = min(len(departed), _DEPARTED_KEPT)
