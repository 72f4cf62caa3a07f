"""A Socket.IO client that goes from node to node and comes back as the stock one does.

It is quick and says what it hears as plain values; the protocol stands in `socketio_wire.py`.
"""

import asyncio
import json
import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import WebSocketClientConnection, WebSocketError, websocket_connect

PATIENCE_SECONDS = 30
"""Only a hang takes as long."""

_CONNECT_SECONDS = 5
"""After which a client that roams tries another node."""


@dataclass(frozen=True)
class Heard:
    """An event, and in which of the client's sessions it came: the first is 1."""

    name: str
    payload: Any
    session: int


@dataclass(frozen=True)
class Welcome:
    """What the client was told when it came; ``heard`` is how many events it had until then."""

    client_id: str
    recovered: bool
    reason: str | None
    heard: int


class Lost(Exception):
    """The connection broke, or could not be opened."""


class RoamingClient:
    """One client: what it has heard, in order, over all its connections.

    ``acknowledges``: whether it calls the callback of events that have one.
    """

    def __init__(self, *, acknowledges: bool = True, **auth: Any) -> None:
        self.auth = auth
        self.acknowledges = acknowledges
        self.heard: list[Heard] = []
        self.welcomes: list[Welcome] = []
        self.id = ""
        self.url = ""
        """Where it is, or was, or tries to be."""
        self.is_here = False
        self._is_in_rooms = False
        self.refusals: list[Any] = []
        """What CONNECT was refused with."""
        self._pid: str | None = None
        self._offset: str | None = None
        self._socket: WebSocketClientConnection | None = None
        self._abandoned: list[WebSocketClientConnection | None] = []
        self._reader: asyncio.Task[None] | None = None
        self._roaming: asyncio.Task[None] | None = None
        self._answers: dict[int, asyncio.Future[list[Any]]] = {}
        self._asked = 0
        self._read_events = 0
        self._changed = asyncio.Event()

    @property
    def session(self) -> int:
        """The number of its session; a return that is no recovery begins a new one."""
        return sum(not welcome.recovered for welcome in self.welcomes)

    # Coming and going

    async def connect(self, url: str) -> Welcome:
        """Connect to a node, back into the session if there is one; return what it was told.

        Raises:
            Lost: there is no such node, or it does not want the client.
        """
        assert self._socket is None
        self.url = url
        target = f"{url.replace('http', 'ws', 1)}/socket.io/?EIO=4&transport=websocket"
        before = len(self.welcomes)
        try:
            self._socket = await _opened(target)
        except (OSError, HTTPClientError, WebSocketError) as problem:
            raise Lost(repr(problem)) from problem
        self._reader = asyncio.create_task(self._read(self._socket))
        await self.until(lambda: len(self.welcomes) > before or self._socket is None)
        if len(self.welcomes) == before:
            raise Lost(f"refused or cut off: {self.refusals}")
        return self.welcomes[-1]

    def cut(self) -> None:
        """Drop the connection without a word."""
        if self._socket is not None and self._socket.protocol is not None:
            self._socket.protocol._abort()

    async def is_away(self) -> None:
        """Wait until the client knows that it is cut off."""
        await self.until(lambda: self._socket is None)

    async def move(self, url: str) -> Welcome:
        """Leave the node it is at without a word, and come back at another."""
        self.cut()
        await self.is_away()
        return await self.connect(url)

    def abandon(self) -> None:
        """Leave the connection open and unheard, as a client does whose network has gone."""
        assert self._reader is not None
        self._reader.cancel()
        self._abandoned.append(self._socket)
        self._end()

    async def leave(self) -> None:
        """Disconnect in good order, for good."""
        await self._say("41")
        self.stop()

    def stop(self) -> None:
        """End everything; idempotent."""
        for task in (self._roaming, self._reader):
            if task is not None:
                task.cancel()
        for socket in (self._socket, *self._abandoned):
            if socket is not None:
                socket.close()
        self._end()

    def roam(
        self,
        urls: Sequence[str],
        *rooms: str,
        chance: random.Random,
        joined: Callable[[], None] = lambda: None,
    ) -> None:
        """From now on come back at one of ``urls`` whenever cut off; join ``rooms`` if not in them.

        ``is_here`` says that it is connected and in its rooms. ``joined`` is called right after it
        has joined them: the first time, and whenever a return was no recovery.
        """
        self.is_here = self._is_in_rooms = self._socket is not None
        self._roaming = asyncio.create_task(self._roam(urls, rooms, chance, joined))

    async def _roam(
        self,
        urls: Sequence[str],
        rooms: Iterable[str],
        chance: random.Random,
        joined: Callable[[], None],
    ) -> None:
        while True:
            await self._wait_for(lambda: self._socket is None)
            self.is_here = False
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    welcome = await self.connect(chance.choice(urls))
                    if not welcome.recovered:
                        self._is_in_rooms = False
                    if not self._is_in_rooms:
                        for room in rooms:
                            await self.join(room)
                        self._is_in_rooms = True
                        joined()
            except (Lost, TimeoutError):
                self.cut()
                await asyncio.sleep(0.02)  # nothing tells when a node is back
            else:
                self.is_here = True
                self._tell()

    # Saying and hearing

    async def ask(self, event: str, *arguments: Any) -> dict[str, Any]:
        """Send an event and return its acknowledgement.

        Raises:
            Lost: the connection broke before it came.
        """
        self._asked += 1
        number = self._asked
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._say(f"42{number}{json.dumps([event, *arguments])}")
        found: dict[str, Any] = (await asyncio.wait_for(answer, PATIENCE_SECONDS))[0]
        return found

    async def join(self, room: str) -> dict[str, Any]:
        """Join a room."""
        answer = await self.ask("joinRoom", room)
        assert answer["ok"], answer
        return answer

    async def next_event(self, name: str | None = None) -> Any:
        """Return the payload of the next event not taken yet, or of the next called ``name``."""
        while True:
            await self.until(lambda: len(self.heard) > self._read_events)
            heard = self.heard[self._read_events]
            self._read_events += 1
            if name is None or heard.name == name:
                return heard.payload

    def payloads(self, name: str) -> list[Any]:
        """Return the payloads of all events with a name that have come so far."""
        return [heard.payload for heard in self.heard if heard.name == name]

    def numbers(self, name: str = "tick") -> list[Any]:
        """Return ``n`` of all events with a name that have come so far."""
        return [payload["n"] for payload in self.payloads(name)]

    async def until(self, holds: Callable[[], Any]) -> None:
        """Wait until ``holds()``; it is asked whenever something has come."""
        if self._roaming is not None and self._roaming.done():
            self._roaming.result()  # why it roams no more
        await asyncio.wait_for(self._wait_for(holds), PATIENCE_SECONDS)

    async def _wait_for(self, holds: Callable[[], Any]) -> None:
        while not holds():
            await self._changed.wait()

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    # The protocol

    async def _say(self, packet: str) -> None:
        if self._socket is None:
            raise Lost("not connected")
        with suppress(WebSocketError):  # the reader sees it too
            await self._socket.write_message(packet)

    async def _read(self, socket: WebSocketClientConnection) -> None:
        while isinstance(packet := await socket.read_message(), str):
            if packet == "2":
                with suppress(WebSocketError):
                    await socket.write_message("3")
            elif packet.startswith("0"):
                with suppress(WebSocketError):
                    await socket.write_message(f"40{json.dumps(self._claim())}")
            else:
                await self._take(packet, socket)
            self._tell()
        socket.close()
        self._end()

    def _claim(self) -> dict[str, Any]:
        if self._pid is None:
            return self.auth
        return {**self.auth, "pid": self._pid, "offset": self._offset}

    async def _take(self, packet: str, socket: WebSocketClientConnection) -> None:
        kind, rest = packet[:2], packet[2:]
        if kind == "40":
            accepted = json.loads(rest)
            self.id, self._pid = accepted["sid"], accepted["pid"]
        elif kind == "44":
            self.refusals.append(json.loads(rest))
            socket.close()
        elif kind == "41":
            self._pid = None
            socket.close()
        else:
            number, bracket, arguments = rest.partition("[")
            values = json.loads(bracket + arguments)
            if kind == "42":
                self._hear(values)
                if number and self.acknowledges:
                    with suppress(WebSocketError):
                        await socket.write_message(f"43{number}[]")
            else:
                assert kind == "43", packet
                answer = self._answers.pop(int(number))  # fails on a second one
                if not answer.done():
                    answer.set_result(values)

    def _hear(self, arguments: list[Any]) -> None:
        name, payload = arguments[0], arguments[1]
        if isinstance(arguments[-1], str):
            self._offset = arguments[-1]
        if name == "connected":
            self.welcomes.append(
                Welcome(
                    payload["clientId"],
                    payload["recovered"],
                    payload.get("reason"),
                    len(self.heard),
                )
            )
        else:
            self.heard.append(Heard(name, payload, self.session))

    def _end(self) -> None:
        self._socket = None
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(Lost("cut off"))
                answer.exception()  # seen, whether or not anybody waits
        self._answers.clear()
        self._tell()


async def _opened(target: str) -> WebSocketClientConnection:
    """Return an open WebSocket; one that comes after nobody waits for it any more is closed."""
    opening = asyncio.ensure_future(
        websocket_connect(HTTPRequest(target, connect_timeout=PATIENCE_SECONDS))
    )
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close)
        raise


def _close(opening: "asyncio.Future[WebSocketClientConnection]") -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
