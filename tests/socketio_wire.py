"""A Socket.IO client that says exactly what it is told, and shows exactly what it is sent.

Packets are text over a real WebSocket; there is no library in between that would mend anything.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from tests.conftest import PATIENCE_SECONDS

Event = tuple[str, Any]
"""The name of an event and its one argument; None when it has none."""


class Wire:
    """One WebSocket, past the handshake. Texts are Engine.IO packets: ``40`` is a CONNECT."""

    def __init__(self, socket: WebSocketClientConnection, handshake: dict[str, Any]) -> None:
        self._socket = socket
        self._acknowledgements: dict[int, list[Any]] = {}
        self._events: dict[str, list[Event]] = {}
        self._ack_id = 0
        self.handshake = handshake
        self.id = ""
        """The client id in the namespace joined last."""

    async def say(self, packet: str | bytes) -> None:
        """Send one message as it is."""
        await self._socket.write_message(packet, binary=isinstance(packet, bytes))

    async def hear(self) -> str | None:
        """Return the next message as it is; None when the connection was closed."""
        heard = await asyncio.wait_for(self._socket.read_message(), PATIENCE_SECONDS)
        assert not isinstance(heard, bytes)
        return heard

    async def closing(self) -> tuple[int | None, str | None]:
        """Return the close code and reason, passing by what is sent before."""
        while await self.hear() is not None:
            pass
        return self._socket.close_code, self._socket.close_reason

    async def join(self, namespace: str = "/", payload: Any = None) -> Event:
        """Connect to a namespace; return its first event, which is `connected`."""
        shown = "" if payload is None else json.dumps(payload)
        await self.say(f"40{_prefix(namespace)}{shown}")
        answer = await self.hear()
        assert answer is not None
        self.id = json.loads(answer.removeprefix(f"40{_prefix(namespace)}"))["sid"]
        return await self.next_event(namespace)

    async def next_event(self, namespace: str = "/") -> Event:
        """Return the next event of a namespace."""
        waiting = self._events.setdefault(namespace, [])
        while not waiting:
            await self._take()
        return waiting.pop(0)

    async def events_until(self, name: str, namespace: str = "/") -> list[Event]:
        """Return all events that come before the next one called ``name``."""
        events = []
        while (event := await self.next_event(namespace))[0] != name:
            events.append(event)
        return events

    async def emit(self, event: str, *arguments: Any, namespace: str = "/") -> None:
        """Send an event without asking for an acknowledgement."""
        await self.say(f"42{_prefix(namespace)}{json.dumps([event, *arguments])}")

    async def ask(self, event: str, *arguments: Any, namespace: str = "/") -> list[Any]:
        """Send an event; return the arguments of its acknowledgement."""
        self._ack_id += 1
        await self.say(f"42{_prefix(namespace)}{self._ack_id}{json.dumps([event, *arguments])}")
        return await self.acknowledgement(self._ack_id)

    async def acknowledgement(self, ack_id: int) -> list[Any]:
        """Return the arguments of the acknowledgement with this id; a second one is an error."""
        while ack_id not in self._acknowledgements:
            await self._take()
        return self._acknowledgements[ack_id]

    async def _take(self) -> None:
        heard = await self.hear()
        assert heard is not None, f"closed: {self._socket.close_code} {self._socket.close_reason}"
        header, bracket, payload = heard.partition("[")
        kind, address = header[:2], header[2:]
        namespace, comma, ack_id = address.rpartition(",")
        arguments = json.loads(bracket + payload)
        if kind == "42":
            event = (arguments[0], arguments[1] if len(arguments) > 1 else None)
            self._events.setdefault(namespace if comma else "/", []).append(event)
        else:
            assert kind == "43", heard
            assert int(ack_id) not in self._acknowledgements, "acknowledged twice"
            self._acknowledgements[int(ack_id)] = arguments

    def cut(self) -> None:
        """Drop the TCP connection without a word."""
        protocol = self._socket.protocol
        assert protocol is not None
        protocol._abort()

    def close(self) -> None:
        """Close in good order; idempotent."""
        self._socket.close()


def _prefix(namespace: str) -> str:
    return "" if namespace == "/" else f"{namespace},"


@asynccontextmanager
async def open_wire(
    base_url: str, query: str = "", *, path: str = "/socket.io/", **headers: str
) -> AsyncIterator[Wire]:
    """Open a connection, past the Engine.IO handshake and before any CONNECT.

    Raises:
        HTTPClientError: the handshake was refused.
    """
    url = f"{base_url.replace('http', 'ws', 1)}{path}?EIO=4&transport=websocket{query}"
    socket = await websocket_connect(HTTPRequest(url, headers=headers))
    opening = await asyncio.wait_for(socket.read_message(), PATIENCE_SECONDS)
    assert isinstance(opening, str)
    wire = Wire(socket, json.loads(opening[1:]))
    try:
        yield wire
    finally:
        wire.close()


@asynccontextmanager
async def open_client(
    base_url: str, namespace: str = "/", query: str = "", **headers: str
) -> AsyncIterator[Wire]:
    """Open a connection that has joined ``namespace``, past its `connected`."""
    async with open_wire(base_url, query, **headers) as wire:
        await wire.join(namespace)
        yield wire
