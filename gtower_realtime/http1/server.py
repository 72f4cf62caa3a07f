"""Listens, and makes an HTTP/1.1 connection of whatever comes."""

import asyncio
import socket
from collections.abc import Iterable

from tornado.httputil import HTTPServerConnectionDelegate

from gtower_realtime.http1.connection import HttpConnection
from gtower_realtime.metrics import Traffic

_BUFFER_BYTES = 65_536
_ACCEPTED_AT_ONCE = 64

_LOOK_SECONDS = 0.01


class HttpServer:
    """Serves a Tornado application; times in seconds, sizes in bytes.

    ``idle_seconds`` is how long a connection may take to send the head of a request, and stay open
    between requests; ``body_seconds``, how long for a body. What comes and goes is added to
    ``traffic``.
    """

    def __init__(
        self,
        application: HTTPServerConnectionDelegate,
        *,
        max_header_bytes: int,
        idle_seconds: float,
        body_seconds: float,
        backlog: int,
        traffic: Traffic,
    ) -> None:
        self.application = application
        self.max_header_bytes = max_header_bytes
        self.idle_seconds = idle_seconds
        self.body_seconds = body_seconds
        self.traffic = traffic
        self.connections: set[HttpConnection] = set()
        self.buffer = memoryview(bytearray(_BUFFER_BYTES))
        """Where what has come is put, by whichever connection; used up before the next reads."""
        self.loop: asyncio.AbstractEventLoop
        self.written: asyncio.Future[None]
        """The future of a write that has left already."""
        self._backlog = backlog
        self._listeners: list[asyncio.Server] = []

    async def listen(self, sockets: Iterable[socket.socket]) -> None:
        """Accept connections on sockets that listen; they belong to the server from now on."""
        self.loop = asyncio.get_running_loop()
        self.written = self.loop.create_future()
        self.written.set_result(None)
        for listener in sockets:
            self._listeners.append(
                await self.loop.create_server(
                    lambda: HttpConnection(self), sock=listener, backlog=_ACCEPTED_AT_ONCE
                )
            )
            # asyncio accepts as many in one turn as its backlog says; more may wait than that.
            listener.listen(self._backlog)

    def stop(self) -> None:
        """Accept no more connections."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()

    async def finish_answers(self, seconds: float) -> None:
        """Wait until no request is being answered, for ``seconds`` at most."""
        until = self.loop.time() + seconds
        while True:
            if not any(connection.is_answering for connection in self.connections):
                return
            if self.loop.time() >= until:
                return
            await asyncio.sleep(_LOOK_SECONDS)

    async def close_all_connections(self) -> None:
        """Cut what is still connected and speaks HTTP."""
        for connection in list(self.connections):
            connection.close()
        await asyncio.sleep(0)  # the transports tell their protocols in the next turn
