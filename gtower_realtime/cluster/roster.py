"""Which clients are connected here, told to the other processes when that changes. No I/O.

What changes in one turn of the loop is told together, as it is at the end of the turn.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from gtower_realtime.clients import Client, ClientRegistry
from gtower_realtime.ports import Transport
from gtower_realtime.records import ClientGone, ClientHere, ClientMoved, SharedChange
from gtower_realtime.timestamps import milliseconds

_TOLD_TOGETHER = 200

Tell = Callable[[Sequence[SharedChange]], None]
"""Tells changes to all others, in the order of the calls."""


class Roster:
    """Watches a registry; while :attr:`is_heard` is false, what there is to tell waits."""

    def __init__(self, clients: ClientRegistry, transport: Transport, tell: Tell) -> None:
        self._clients = clients
        self._transport = transport
        self._tell = tell
        self._transports: dict[str, str] = {}
        self._changed: dict[str, None] = {}
        self._moved: dict[str, dict[str, None]] = {}
        self._is_due = False
        self.is_heard = False
        """Whether somebody can be told."""
        clients.watcher = self._take_note

    def _take_note(self, client_id: str, room: str | None) -> None:
        if room is None:
            self._changed[client_id] = None
        else:
            self._moved.setdefault(client_id, {})[room] = None
        if self.is_heard and not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self.tell)

    def introduce(self) -> None:
        """Have all clients told once more, as to somebody who knows none of them."""
        self._changed.update((client.id, None) for client in self._clients)
        self.tell()

    def look_at_transports(self) -> None:
        """Have told who has another transport than when it was told last."""
        for client_id, known in self._transports.items():
            if client_id in self._clients and self._transport.transport_of(client_id) != known:
                self._changed[client_id] = None
        self.tell()

    def tell(self) -> None:
        """Tell what there is to tell, if somebody hears it."""
        self._is_due = False
        if not self.is_heard:
            return
        changed, self._changed = self._changed, {}
        moved, self._moved = self._moved, {}
        changes: list[SharedChange] = []
        for client_id in changed:
            client = self._clients.get(client_id)
            if client is not None:
                changes.append(self._here(client))
            elif self._transports.pop(client_id, None) is not None:
                changes.append(ClientGone(client_id))
        for client_id, rooms in moved.items():
            if client_id not in changed and client_id in self._clients:
                changes.append(self._moves(client_id, rooms))
        for at in range(0, len(changes), _TOLD_TOGETHER):
            self._tell(changes[at : at + _TOLD_TOGETHER])

    def _here(self, client: Client) -> ClientHere:
        transport = self._transports[client.id] = self._transport.transport_of(client.id)
        return ClientHere(
            client_id=client.id,
            connected_at=milliseconds(client.connected_at),
            address=client.address,
            user_agent=client.user_agent,
            user_id=client.user_id,
            info=client.info,
            transport=transport,
            rooms=tuple(self._transport.rooms_of(client.id)),
        )

    def _moves(self, client_id: str, rooms: Iterable[str]) -> ClientMoved:
        present = set(self._transport.rooms_of(client_id))
        entered = tuple(room for room in rooms if room in present)
        left = tuple(room for room in rooms if room not in present)
        return ClientMoved(client_id, entered, left)
