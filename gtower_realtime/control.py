"""Clients and users that are sent away or put into rooms, wherever they are connected. No wires."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from gtower_realtime.clients import ClientRegistry
from gtower_realtime.connections import Connections
from gtower_realtime.directory import Directory
from gtower_realtime.elsewhere import Elsewhere
from gtower_realtime.errors import StoreUnavailable, UnknownClient
from gtower_realtime.membership import Rooms
from gtower_realtime.peers import Arguments, Missing, Peers, missing_of
from gtower_realtime.ports import Transport
from gtower_realtime.sessions import Sessions

_STAY_AWAY = 4003
_COME_AGAIN = 4200

_PUT = "put into room"
_TAKE = "take out of room"
_CUT = "cut"


class Control:
    """Does what is wanted of a client where it is, and asks other processes to do the same."""

    def __init__(
        self,
        *,
        transport: Transport,
        sessions: Sessions,
        clients: ClientRegistry,
        elsewhere: Elsewhere,
        rooms: Rooms,
        connections: Connections,
        directory: Directory,
        peers: Peers,
    ) -> None:
        self._transport = transport
        self._sessions = sessions
        self._clients = clients
        self._elsewhere = elsewhere
        self._rooms = rooms
        self._connections = connections
        self._directory = directory
        self._peers = peers
        self._questions = {_PUT: self._put, _TAKE: self._take, _CUT: self._cut}
        for question, answering in self._questions.items():
            peers.answer(question, answering)

    def unknown_clients(self, client_ids: Iterable[str]) -> list[str]:
        """Return those that are neither connected nor able to come back."""
        return [
            client_id
            for client_id in client_ids
            if not self._directory.is_connected(client_id)
            and self._sessions.of_client(client_id) is None
        ]

    def check_known(self, client_id: str) -> None:
        """Check that a client is connected somewhere, or able to come back.

        Raises:
            UnknownClient: it is not.
            StoreUnavailable: it is not known here, and the others cannot be asked.
        """
        if self.unknown_clients([client_id]):
            self._check_can_ask(client_id)
            raise UnknownClient(f"Client {client_id} is not connected.")

    def _check_can_ask(self, client_id: str) -> None:
        if self._peers.is_cut_off:
            raise StoreUnavailable(
                f"Client {client_id} is not here; whether it is elsewhere is not known while Redis "
                "is away.",
                headers={"Retry-After": "1"},
            )

    async def look_for(self, client_ids: Iterable[str]) -> None:
        """Wait until it is certain of clients that are not known here that they are nowhere."""
        if self._peers.count and self.unknown_clients(client_ids):
            await self._peers.roll_call()

    # Rooms

    async def put_into_room(self, client_id: str, room: str) -> None:
        """Make a client a member of a room, as if it had asked for it; it hears `roomJoined`.

        Raises:
            UnknownClient: it is not connected.
            Forbidden, TooManyRooms, StoreUnavailable: as if it had asked for it.
            Overloaded: the process that has it does not answer.
        """
        await self._where_it_is(_PUT, client_id, room)

    async def take_out_of_room(self, client_id: str, room: str) -> None:
        """End a client's membership, if there is one; it hears `roomLeft`. Raises as above."""
        await self._where_it_is(_TAKE, client_id, room)

    async def _where_it_is(self, question: str, client_id: str, room: str) -> None:
        wish = {"client": client_id, "room": room}
        await self.look_for((client_id,))
        far = self._elsewhere.get(client_id)
        if far is None and client_id not in self._clients:
            self._check_can_ask(client_id)
        if far is None:
            await self._questions[question](wish)
        else:
            await self._peers.ask(far.node, question, wish)

    async def _put(self, wish: Arguments) -> dict[str, Any]:
        self._check_connected(wish["client"])
        return await self._rooms.join(wish["client"], wish["room"], "roomJoined", {})

    async def _take(self, wish: Arguments) -> dict[str, Any]:
        self._check_connected(wish["client"])
        return await self._rooms.leave(wish["client"], wish["room"], "roomLeft", {})

    def _check_connected(self, client_id: str) -> None:
        if client_id not in self._clients:
            raise UnknownClient(f"Client {client_id} is not connected.")

    # Sending away

    async def disconnect_client(
        self, client_id: str, reason: str, *, reconnect: bool
    ) -> tuple[int, Missing]:
        """Disconnect a client; without ``reconnect`` it is told to stay away, and cannot recover.

        Returns how many connections were cut, 0 if it was away, and which processes did not tell,
        once the ends of the sessions are recorded.

        Raises:
            UnknownClient: it is neither connected nor able to come back.
            StoreUnavailable: it is cut off, but its session may come back after a restart; or it is
                not known here, and the others cannot be asked.
            Overloaded: the same; too much waits for the store.
        """
        await self.look_for((client_id,))
        self.check_known(client_id)
        return await self._disconnect([client_id], reason, reconnect)

    async def disconnect_user(
        self, user_id: str, reason: str, *, reconnect: bool
    ) -> tuple[int, Missing]:
        """Disconnect all connections of a user; see :meth:`disconnect_client`."""
        silent = await self._peers.roll_call()
        connected = [client.id for client in self._clients if client.user_id == user_id]
        away = [session.client_id for session in self._sessions.of_user(user_id)]
        everywhere = [*connected, *self._elsewhere.of_user(user_id), *away]
        cut, missing = await self._disconnect(list(dict.fromkeys(everywhere)), reason, reconnect)
        return cut, missing_of(silent, missing)

    async def _disconnect(
        self, client_ids: Sequence[str], reason: str, reconnect: bool
    ) -> tuple[int, Missing]:
        sessions = map(self._sessions.of_client, client_ids)
        revoked = [
            self._connections.revoke(session)
            for session in sessions
            if session is not None and not reconnect
        ]
        wish = {"clients": client_ids, "reason": reason, "reconnect": reconnect}
        cut: int = (await self._cut(wish))["cut"]
        missing: Missing = None
        if any(client_id in self._elsewhere for client_id in client_ids):
            answers, missing = await self._peers.ask_all(_CUT, wish)
            cut += sum(answer["cut"] for answer in answers)
        # All are cut off before the store is waited for, and also if it fails.
        for outcome in await asyncio.gather(*revoked, return_exceptions=True):
            if outcome is not None:
                raise outcome
        return cut, missing

    async def _cut(self, wish: Arguments) -> dict[str, Any]:
        """Cut those of the clients that are connected here; return ``{"cut"}``, how many."""
        code = _COME_AGAIN if wish["reconnect"] else _STAY_AWAY
        here = [client_id for client_id in wish["clients"] if client_id in self._clients]
        for client_id in here:
            self._transport.disconnect(client_id, code, wish["reason"])
        return {"cut": len(here)}
