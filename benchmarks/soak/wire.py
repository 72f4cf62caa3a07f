"""A Socket.IO client on a plain WebSocket: as decent or indecent as its visitor wants it."""

import asyncio
import base64
import json
import os
import socket
from collections.abc import Awaitable
from typing import Any, Self

PATIENCE_SECONDS = 30.0

_TEXT, _CLOSE = 1, 8
_MASK = b"\0\0\0\0"
"""A mask that changes nothing is one all the same."""


class Refused(Exception):
    """The server did not want the connection; the message is the status, or the close code."""


class Gone(Exception):
    """The connection is gone."""


class Connection:
    """One WebSocket past Engine.IO's handshake; ``address`` is where it says that it comes from.

    ``pid`` and ``offset`` are what the client would come back with.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._buffer = bytearray()
        self.pid: str | None = None
        self.offset: str | None = None
        self.close_code: int | None = None

    @classmethod
    async def open(cls, port: int, address: str, *, receive_buffer: int | None = None) -> Self:
        """Connect; with a small ``receive_buffer`` a stall is felt by the server soon.

        Raises:
            Refused: the server does not want it.
        """
        plain = socket.socket()
        if receive_buffer is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", port))
        connection = cls(*await asyncio.open_connection(sock=plain, limit=receive_buffer or 65_536))
        try:
            await connection._shake_hands(address)
        except BaseException:
            connection.cut()
            raise
        return connection

    async def _shake_hands(self, address: str) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        self._writer.write(
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\nX-Forwarded-For: {address}\r\n\r\n".encode()
        )
        head = await self._within(self._reader.readuntil(b"\r\n\r\n"))
        status = head.split(b" ", 2)[1].decode()
        if status != "101":
            raise Refused(status)
        await self.hear()

    async def join(self) -> dict[str, Any]:
        """Connect to the namespace, coming back if there is something to come back with.

        Return what `connected` says.

        Raises:
            Gone: the server has closed the connection instead.
        """
        claim = json.dumps({"pid": self.pid, "offset": self.offset}) if self.pid else ""
        await self.say(f"40{claim}")
        answer = await self._hear_until("40")
        self.pid = json.loads(answer[2:])["pid"]
        while True:
            name, payload = event_of(await self._hear_until("42"))
            if name == "connected":
                return payload

    async def ask(self, event: str, argument: Any) -> None:
        """Send an event, and wait for its acknowledgement."""
        await self.say(f"421{json.dumps([event, argument])}")
        await self._hear_until("431")

    async def say(self, packet: str) -> None:
        """Send a packet, or wait until there is room for it.

        Raises:
            Gone: the connection is gone.
        """
        content = packet.encode()
        size = len(content)
        head = bytes([0x81, 0x80 | size]) if size < 126 else b"\x81\xfe" + size.to_bytes(2, "big")
        try:
            self._writer.write(head + _MASK + content)
            await self._within(self._writer.drain())
        except (OSError, TimeoutError) as problem:
            raise Gone from problem

    async def hear(self) -> str:
        """Return the next packet that is no ping; pings are answered, offsets noted.

        Raises:
            Gone: there is none; `close_code` may say why.
        """
        while True:
            packet = await self._next_packet()
            if packet == "2":
                await self.say("3")
                continue
            if packet.startswith("42") and packet.endswith('"]'):
                self.offset = json.loads(packet[2:])[-1]
            return packet

    async def listen(self, seconds: float) -> None:
        """Hear whatever comes for some time."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    await self.hear()
        except TimeoutError:
            return

    def cut(self) -> None:
        """Drop the TCP connection without a word."""
        self._writer.transport.abort()

    async def close(self) -> None:
        """Close in good order."""
        try:
            self._writer.write(bytes([0x80 | _CLOSE, 0x82]) + _MASK + (1000).to_bytes(2, "big"))
            await self.listen(PATIENCE_SECONDS)
        except (Gone, OSError):
            pass
        finally:
            self.cut()

    async def _hear_until(self, beginning: str) -> str:
        while True:
            packet = await self.hear()
            if packet.startswith(beginning):
                return packet

    async def _next_packet(self) -> str:
        while (frame := self._take_frame()) is None:
            # Whoever stops waiting here loses nothing of a frame that has come in part.
            try:
                arrived = await self._reader.read(65_536)
            except OSError as problem:
                raise Gone from problem
            if not arrived:
                raise Gone
            self._buffer += arrived
        opcode, content = frame
        if opcode == _CLOSE:
            self.close_code = int.from_bytes(content[:2], "big")
            raise Gone
        return content.decode()

    def _take_frame(self) -> tuple[int, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        size, begin = buffer[1] & 0x7F, 2
        if size > 125:
            begin += 2 if size == 126 else 8
            size = int.from_bytes(buffer[2:begin], "big")
        if len(buffer) < max(begin, begin + size):
            return None
        frame = buffer[0] & 0x0F, bytes(buffer[begin : begin + size])
        del buffer[: begin + size]
        return frame

    async def _within(self, awaited: Awaitable[Any]) -> Any:
        # Not `asyncio.wait_for`, which in Python 3.11 may swallow a cancellation.
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await awaited


def event_of(packet: str) -> tuple[str, Any]:
    """Return name and argument of an event's packet."""
    name, *arguments = json.loads(packet[2:])
    return name, arguments[0] if arguments else None
