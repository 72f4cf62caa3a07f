"""The Engine.IO server alone on a port, with an application on top that answers with an echo."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tornado.ioloop import IOLoop
from tornado.web import Application

from gtower_realtime.engineio.server import EngineIOConfig, EngineIOServer
from gtower_realtime.engineio.session import Session
from gtower_realtime.limits import ConnectionLimits, Rate
from gtower_realtime.metrics import Metrics
from gtower_realtime.server import http_server
from tests.wire import PATIENCE_SECONDS, EngineIOClient

OnMessage = Callable[[str, Any], Awaitable[None]]


class Engine:
    """An Engine.IO server, and what its application has seen."""

    def __init__(self, port: int, config: EngineIOConfig) -> None:
        self.port = port
        self.metrics: Metrics = config.metrics
        self.connections = config.connection_limits or ConnectionLimits(0, 0, Rate(0, 0))
        self.server = EngineIOServer(config=config)
        self.connected: list[str] = []
        self.disconnected: list[tuple[str, str]] = []
        self.messages: list[str | bytes] = []
        self.on_message: OnMessage = self.server.send
        self._departure = asyncio.Event()
        self.server.on("connect", self._connect)
        self.server.on("message", self._message)
        self.server.on("disconnect", self._disconnect)

    def client(self) -> EngineIOClient:
        """Return a client that has no session yet."""
        return EngineIOClient(self.port, "/engine.io/")

    async def polling_client(self) -> EngineIOClient:
        """Return a client with a session over polling."""
        client = self.client()
        assert (await client.handshake()).status == 200
        return client

    def session(self, client: EngineIOClient) -> Session:
        """Return the session of ``client``."""
        return self.server.sessions[client.sid]

    def disconnects(self, code: int) -> float:
        """Return how many sessions have ended with a close code, as the metrics have it."""
        labels = {"code": str(code)}
        return self.metrics.registry.get_sample_value("gtower_disconnects_total", labels) or 0.0

    async def departures(self, count: int) -> list[str]:
        """Wait until so many have left; return the reasons of all, in their order."""
        while len(self.disconnected) < count:
            self._departure.clear()
            await asyncio.wait_for(self._departure.wait(), PATIENCE_SECONDS)
        return [reason for _, reason in self.disconnected]

    async def _connect(self, sid: str, _request: Any) -> None:
        self.connected.append(sid)

    async def _message(self, sid: str, data: str | bytes) -> None:
        self.messages.append(data)
        await self.on_message(sid, data)

    async def _disconnect(self, sid: str, reason: str) -> None:
        self.disconnected.append((sid, reason))
        self._departure.set()


@contextmanager
def serve(
    io_loop: IOLoop, listener: tuple[socket.socket, int], config: EngineIOConfig
) -> Iterator[Engine]:
    """Serve on a listening socket; in the end nothing may be left of any session."""
    engine = Engine(listener[1], config)
    http = http_server(
        Application(engine.server.routes("/engine.io/"), log_function=lambda _handler: None)
    )
    io_loop.run_sync(lambda: http.listen([listener[0]]))
    yield engine
    http.stop()
    for session in list(engine.server.sessions.values()):
        session.close(1000, "the test is over", discard=True)  # nobody will poll any more
    io_loop.run_sync(engine.server.shutdown, timeout=PATIENCE_SECONDS)
    io_loop.run_sync(http.close_all_connections, timeout=PATIENCE_SECONDS)
    assert engine.server.sessions == {}
    assert engine.connections.count == 0
    assert sorted(engine.connected) == sorted(sid for sid, _ in engine.disconnected)
