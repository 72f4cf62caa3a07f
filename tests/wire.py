"""Clients that write bytes, for what no decent client would send; on asyncio streams, loopback."""

import asyncio
import json
import random
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from gtower_realtime.engineio import frames

PATIENCE_SECONDS = 20
"""Only a hang takes as long."""

SEPARATOR = "\x1e"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""What RFC 6455, section 1.3, answers to :data:`KEY`."""

_MASKS = random.Random(6455)
"""The same in each process: frames are parameters of tests, which have to have the same names."""


@dataclass
class Answer:
    """An HTTP answer; header names in lower case."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


class RawConnection:
    """A TCP connection to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int, *, receive_buffer: int | None = None) -> Self:
        """Connect; a small ``receive_buffer`` makes a reader that stops be noticed soon."""
        plain = socket.socket()
        if receive_buffer is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", port))
        return cls(*await asyncio.open_connection(sock=plain, limit=receive_buffer or 65536))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def send(self, content: bytes | str) -> None:
        """Send bytes, and wait until the kernel has them."""
        self._writer.write(content.encode() if isinstance(content, str) else content)
        await asyncio.wait_for(self._writer.drain(), PATIENCE_SECONDS)

    async def send_request(
        self,
        method: str,
        target: str,
        *,
        headers: dict[str, str] | None = None,
        body: bytes | str = b"",
        version: str = "HTTP/1.1",
    ) -> None:
        """Send an HTTP request, with a Content-Length if there is a body or none is declared."""
        content = body.encode() if isinstance(body, str) else body
        lines = {"Host": "localhost"} | (headers or {})
        if method not in {"GET", "HEAD"} and not {"Content-Length", "Transfer-Encoding"} & set(
            lines
        ):
            lines["Content-Length"] = str(len(content))
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        await self.send(f"{method} {target} {version}\r\n{head}\r\n".encode() + content)

    async def read_answer(self, *, has_body: bool = True) -> Answer:
        """Read one HTTP answer."""
        head = await self._within(self._reader.readuntil(b"\r\n\r\n"))
        status, *lines = head.decode("latin-1").strip().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        answer = Answer(
            int(status.split()[1]), {name.lower(): value for name, value in headers.items()}
        )
        length = int(answer.headers.get("content-length", "0"))
        if has_body and length:
            answer.body = await self._within(self._reader.readexactly(length))
        return answer

    async def read_end(self) -> bytes:
        """Return everything up to the end of the connection, a reset included."""
        try:
            return await self._within(self._reader.read())
        except ConnectionResetError:
            return b""

    async def read_some(self) -> bytes:
        """Return what has come, at least one byte; none at the end."""
        return await self._within(self._reader.read(65536))

    def stop_reading(self) -> None:
        """Leave everything in the kernel from now on."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    def start_reading(self) -> None:
        """Read again."""
        self._writer.transport.resume_reading()  # type: ignore[attr-defined]

    async def vanish(self) -> None:
        """Be gone at once, with a reset, and let the server see it if it looks."""
        plain = self._writer.get_extra_info("socket")
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
        await self.close()
        for _ in range(5):
            await asyncio.sleep(0)

    async def close(self) -> None:
        """Close; idempotent."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            return  # the server was faster

    async def _within(self, reading: Any) -> Any:
        return await asyncio.wait_for(reading, PATIENCE_SECONDS)


class RawWebSocket(RawConnection):
    """A WebSocket whose every bit can be chosen."""

    async def handshake(
        self, target: str, headers: dict[str, str] | None = None, method: str = "GET"
    ) -> Answer:
        """Send an opening handshake; a header that is "" is left out."""
        lines = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": KEY,
            "Sec-WebSocket-Version": "13",
        } | (headers or {})
        lines = {name: value for name, value in lines.items() if value}
        await self.send_request(method, target, headers=lines)
        return await self.read_answer()

    async def send_frame(
        self,
        content: bytes | str,
        opcode: int | None = None,
        *,
        is_final: bool = True,
        reserved: int = 0,
    ) -> None:
        """Send a masked frame; TEXT for str and BINARY for bytes unless ``opcode`` is given."""
        await self.send(frame(content, opcode, is_final=is_final, reserved=reserved))

    async def read_frame(self) -> tuple[int, bytes]:
        """Return opcode and content of the next frame, which must be final and unmasked."""
        first, second = await self._within(self._reader.readexactly(2))
        assert first & 0xF0 == 0x80
        assert second < 0x80
        length = second
        if length == 126:
            length = int.from_bytes(await self._within(self._reader.readexactly(2)), "big")
        elif length == 127:
            length = int.from_bytes(await self._within(self._reader.readexactly(8)), "big")
        return first & 0x0F, await self._within(self._reader.readexactly(length))

    async def read_packet(self) -> str | bytes:
        """Return the next message that is no Engine.IO ping."""
        while True:
            opcode, content = await self.read_frame()
            if opcode == frames.BINARY:
                return content
            assert opcode == frames.TEXT
            if content != b"2":
                return content.decode()

    async def read_close(self) -> tuple[int, str]:
        """Return code and reason of the CLOSE frame, and close as a client does.

        Messages before it are passed by.
        """
        opcode, content = await self.read_frame()
        while opcode in {frames.TEXT, frames.BINARY}:
            opcode, content = await self.read_frame()
        assert opcode == frames.CLOSE
        await self.close()
        return int.from_bytes(content[:2], "big"), content[2:].decode()


def frame(
    content: bytes | str,
    opcode: int | None = None,
    *,
    is_final: bool = True,
    reserved: int = 0,
    is_masked: bool = True,
) -> bytes:
    """Return a frame as a client sends it."""
    if opcode is None:
        opcode = frames.TEXT if isinstance(content, str) else frames.BINARY
    plain = content.encode() if isinstance(content, str) else content
    head = bytearray(frames.encode(opcode, plain)[: -len(plain) or None])
    head[0] = (0x80 if is_final else 0) | reserved << 4 | opcode
    if not is_masked:
        return bytes(head) + plain
    head[1] |= 0x80
    mask = _MASKS.randbytes(4)
    key = (mask * (len(plain) // 4 + 1))[: len(plain)]
    masked = (int.from_bytes(plain) ^ int.from_bytes(key)).to_bytes(len(plain))
    return bytes(head) + mask + masked


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until ``condition`` holds."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        # There is nothing to wait for but the loop itself: what is asked is state, not an event.
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0)


@dataclass
class EngineIOClient:
    """Requests of an Engine.IO client, each over polling on a connection of its own."""

    port: int
    path: str = "/socket.io/"
    sid: str = ""

    def target(self, transport: str = "polling") -> str:
        """Return path and query of a request of this client."""
        sid = f"&sid={self.sid}" if self.sid else ""
        return f"{self.path}?EIO=4&transport={transport}{sid}"

    async def request(self, method: str, target: str | None = None, **parts: Any) -> Answer:
        """Send one request on a new connection and return the answer."""
        async with await RawConnection.open(self.port) as connection:
            await connection.send_request(method, target or self.target(), **parts)
            return await connection.read_answer(has_body=method != "HEAD")

    async def handshake(self, **parts: Any) -> Answer:
        """Open a session over polling."""
        answer = await self.request("GET", **parts)
        if answer.status == 200:
            self.sid = json.loads(answer.text[1:])["sid"]
        return answer

    async def poll(self) -> Answer:
        """Wait for packets."""
        return await self.request("GET")

    async def post(self, body: bytes | str) -> Answer:
        """Send packets."""
        return await self.request("POST", body=body)

    async def connect(self) -> None:
        """Open a session, connect to the namespace `/` and read past `connected`."""
        assert (await self.handshake()).status == 200
        assert (await self.post("40")).status == 200
        packets = (await self.poll()).text.split(SEPARATOR)
        assert [packet[:2] for packet in packets] == ["40", "42"], packets

    async def websocket(self, **options: Any) -> RawWebSocket:
        """Open a WebSocket, for a session of its own or to take over the present one."""
        websocket = await RawWebSocket.open(self.port, **options)
        answer = await websocket.handshake(self.target("websocket"))
        assert answer.status == 101, answer
        return websocket

    async def connected_websocket(self, **options: Any) -> RawWebSocket:
        """Open a session over WebSocket, connect to `/` and read past `connected`."""
        websocket = await self.websocket(**options)
        opened = await websocket.read_packet()
        assert isinstance(opened, str)
        self.sid = json.loads(opened[1:])["sid"]
        await websocket.send_frame("40")
        assert str(await websocket.read_packet()).startswith("40")
        assert str(await websocket.read_packet()).startswith('42["connected"')
        return websocket
