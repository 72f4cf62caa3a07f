"""Several servers over one Redis: in this process, quick; or as processes, to kill and to freeze.

A busy machine may keep a node from answering in time. Then an answer is partial and says so, which
is right; tests of what a whole answer has in it ask again (:meth:`Node.whole`).
"""

import asyncio
import json
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.ioloop import IOLoop
from tornado.testing import bind_unused_port

from gtower_realtime import server as serving
from gtower_realtime.application import Application
from gtower_realtime.cluster import log
from gtower_realtime.http1.server import HttpServer
from gtower_realtime.settings import Settings
from gtower_realtime.timestamps import parse_timestamp
from tests.redis_server import RedisServer
from tests.roaming_client import RoamingClient
from tests.server_process import ServerProcess
from tests.tcp_proxy import TcpProxy

PATIENCE_SECONDS = 60
"""Only a hang takes as long."""

NODES = 3

_fences = count(1)


@dataclass(frozen=True)
class Answer:
    """An HTTP answer: its status, its JSON, its headers."""

    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def missing(self) -> list[str]:
        """The nodes that have not answered in time; a bare list has them in a header."""
        if isinstance(self.body, dict):
            return list(self.body.get("nodesMissing", []))
        return self.headers.get("X-Nodes-Missing", "").split(", ") if self.is_partial else []

    @property
    def is_partial(self) -> bool:
        """Whether it says that nodes are missing."""
        if isinstance(self.body, dict):
            return "partial" in self.body
        return "X-Partial" in self.headers


class Unreachable(Exception):
    """A node has not answered: nobody knows whether it has done what it was asked."""


class Node:
    """One server, as its callers know it."""

    def __init__(self, port: int) -> None:
        self.port = port

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def name(self) -> str:
        """What people see it called."""
        return f"{socket.gethostname()}:{self.port}"

    async def ask(
        self, method: str, path: str, body: Any = None, *, patience: float = 20, **headers: str
    ) -> Answer:
        """Return the answer to a request; a body of None is none at all.

        Raises:
            Unreachable: there was no answer.
        """
        sent = {} if body is None else {"Content-Type": "application/json"}
        request = HTTPRequest(
            self.url + path,
            method=method,
            body=None if body is None else json.dumps(body),
            headers={**sent, **{name.replace("_", "-"): text for name, text in headers.items()}},
            allow_nonstandard_methods=True,
            request_timeout=patience,
        )
        client = AsyncHTTPClient(force_instance=True)  # the common one has ten requests at a time
        try:
            answer = await client.fetch(request, raise_error=False)
        except (OSError, HTTPClientError) as problem:
            raise Unreachable(repr(problem)) from problem
        finally:
            client.close()
        return Answer(answer.code, json.loads(answer.body), dict(answer.headers))

    async def read_answer(self, path: str) -> Answer:
        """Return the answer to a read that succeeds."""
        answer = await self.ask("GET", path)
        assert answer.status == 200, answer
        return answer

    async def read(self, path: str) -> Any:
        """Return the body of a read that succeeds."""
        return (await self.read_answer(path)).body

    async def send(self, path: str, body: Any = None, **headers: str) -> Any:
        """Return the receipt of an event that is sent."""
        answer = await self.ask("POST", path, {} if body is None else body, **headers)
        assert answer.status == 201, answer
        return answer.body

    async def publish(self, **body: Any) -> Any:
        """Publish an event, called `tick` if nothing else is said; return the receipt."""
        return await self.send("/websocket/publish", {"event": "tick", **body})

    async def tick(self, room: str, n: int) -> Any:
        """Send `tick` with a number to a room; return the receipt."""
        return await self.send(f"/websocket/event/room/{quote(room)}/tick", {"n": n})

    async def whole(self, asked: Callable[[], Awaitable[Any]]) -> Any:
        """Return the first answer that no node is missing in."""
        return await answer_where(asked, lambda answer: "partial" not in answer)

    async def whole_read(self, path: str) -> Any:
        """Return the first answer to a read that no node is missing in."""
        answer: Answer = await answer_where(
            lambda: self.read_answer(path), lambda answer: not answer.is_partial
        )
        return answer.body

    async def failing(self) -> list[str]:
        """Return which parts keep it from being ready; none when it is."""
        answer = await self.ask("GET", "/readyz")
        return list(answer.body.get("failing", []))

    async def is_together(self) -> None:
        """Wait until it is ready, and so with the others."""
        await self._fails_by([])

    async def is_alone(self) -> None:
        """Wait until it says that Redis keeps it from being ready."""
        await self._fails_by(["redis"])

    async def _fails_by(self, parts: list[str]) -> None:
        async def failing() -> list[str]:
            return [part for part in await self.failing() if part != "loop"]  # a busy machine

        await answer_where(failing, lambda found: found == parts)


async def answer_where(asked: Callable[[], Awaitable[Any]], holds: Callable[[Any], bool]) -> Any:
    """Ask again and again, until what is answered is as wanted, and return that."""
    answer: Any = None
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                answer = await asked()
                if holds(answer):
                    return answer
                await asyncio.sleep(0.05)  # nothing tells when it will be
    except TimeoutError:
        pytest.fail(f"never as wanted, at last {answer}")


async def fence(node: Node, clients: Sequence[RoamingClient]) -> None:
    """Return when all that was sent before at ``node`` has come to the clients, or will never."""
    n = next(_fences)
    await node.publish(event="fence", data={"n": n}, all=True)
    for client in clients:
        await client.until(lambda client=client: n in client.numbers("fence"))


async def moment(node: Node) -> str:
    """Return what time it is at a node."""
    return str((await node.read("/websocket/status"))["timestamp"])


def seconds_between(earlier: str, later: str) -> float:
    """Return how many seconds lie between two times as the server tells them."""
    return (parse_timestamp(later) - parse_timestamp(earlier)).total_seconds()


class NodeInside(Node):
    """A server in the process and on the loop of the test; it may reach Redis over a line."""

    def __init__(
        self, redis: RedisServer, environ: dict[str, str], *, has_line: bool = False
    ) -> None:
        self._listener, port = bind_unused_port()
        super().__init__(port)
        self.line = TcpProxy(redis.port)
        self._has_line = has_line
        self._redis = redis
        self._environ = {
            "GTOWER_PORT": str(port),
            "GTOWER_DATABASE_URL": "memory:",
            "GTOWER_DRAIN_SECONDS": "0",
            "GTOWER_PRESENCE_ROOMS": "desk:",
            **environ,
        }
        self._application: Application | None = None
        self._server: HttpServer | None = None

    async def start(self) -> None:
        """Serve."""
        if self._has_line:
            await self.line.start()
        url = self._redis.url_through(self.line.port or self._redis.port)
        settings = Settings.load({"GTOWER_REDIS_URL": url, **self._environ})
        self._application = Application(settings)
        self._server = serving.http_server(self._application.tornado_application)
        await self._application.start()
        await self._server.listen([self._listener])

    async def stop(self) -> None:
        """End it in good order."""
        if self._server is not None and self._application is not None:
            self._server.stop()
            await self._application.stop()
            await self._server.close_all_connections()
        await self.line.stop()


class NodeProcess(Node):
    """A server in a process of its own, which reaches Redis over a line of its own if it has one.

    The lines are on the loop of the test, which makes Redis a little slower than it is.
    """

    def __init__(
        self, redis: RedisServer, state: Path, environ: dict[str, str], *, has_line: bool
    ) -> None:
        self.line = TcpProxy(redis.port)
        self._has_line = has_line
        self._redis = redis
        self._environ = {"GTOWER_STATE_DIR": str(state), "GTOWER_LOG_LEVEL": "warning", **environ}
        self._process: ServerProcess | None = None
        self.is_running = False
        super().__init__(0)

    async def start(self) -> None:
        """Start it, or start it again on the same port; return when it listens."""
        if self._process is None:
            if self._has_line:
                await self.line.start()
            url = self._redis.url_through(self.line.port or self._redis.port)
            self._process = ServerProcess({"GTOWER_REDIS_URL": url, **self._environ})
            self.port = self._process.port
        await self._process.start()
        assert str(self.port) in self._process.first_line, self._process.first_line
        self.is_running = True

    async def kill(self) -> None:
        """End it as a crash does."""
        assert self._process is not None
        self.is_running = False
        await self._process.kill()

    async def stop(self) -> None:
        """End it as an operator does."""
        assert self._process is not None
        self.is_running = False
        assert await self._process.stop() == 0

    def freeze(self) -> None:
        """Let it do nothing more, with all connections open."""
        assert self._process is not None
        self._process.send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send(signal.SIGCONT)

    def open_files(self) -> int:
        """Return how many file descriptors it has open."""
        assert self._process is not None
        return len(list(Path(f"/proc/{self._process.pid}/fd").iterdir()))

    async def remove(self) -> None:
        """End it if it runs, and the line."""
        if self._process is not None:
            self.is_running = False
            await self._process.kill()
        await self.line.stop()


async def start_together(nodes: Sequence[NodeInside] | Sequence[NodeProcess]) -> None:
    """Start nodes at once, and wait until they are together."""
    await asyncio.gather(*(node.start() for node in nodes))
    for node in nodes:
        await node.is_together()


@contextmanager
def running_inside(
    io_loop: IOLoop, redis: RedisServer, environ: dict[str, str], *, have_lines: bool = False
) -> Iterator[list[NodeInside]]:
    """Give three servers in this process, together."""
    inside = [NodeInside(redis, environ, has_line=have_lines) for _ in range(NODES)]

    async def stop() -> None:
        for node in inside:
            await node.stop()

    try:
        io_loop.run_sync(lambda: start_together(inside), timeout=PATIENCE_SECONDS)
        yield inside
    finally:
        io_loop.run_sync(stop, timeout=PATIENCE_SECONDS)


@pytest.fixture
def nodes(
    io_loop: IOLoop,
    redis_server: RedisServer,
    environ: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[list[NodeInside]]:
    """Give three servers in this process that stay together, however busy the machine is."""
    monkeypatch.setattr(log, "PATIENCE_SECONDS", PATIENCE_SECONDS)
    with running_inside(io_loop, redis_server, environ) as inside:
        yield inside


@pytest.fixture
def lined_nodes(
    io_loop: IOLoop, own_redis: RedisServer, environ: dict[str, str]
) -> Iterator[list[NodeInside]]:
    """Give three servers in this process, each with a line to a Redis that may be hurt."""
    with running_inside(io_loop, own_redis, environ, have_lines=True) as inside:
        yield inside


@contextmanager
def running_processes(
    io_loop: IOLoop, redis: RedisServer, state: Path, environ: dict[str, str], *, have_lines: bool
) -> Iterator[list[NodeProcess]]:
    """Give three servers in processes of their own, together; whatever becomes of them, all end."""
    processes = [
        NodeProcess(redis, state / f"node{number}", environ, has_line=have_lines)
        for number in range(NODES)
    ]

    async def remove() -> None:
        for node in processes:
            await node.remove()

    try:
        io_loop.run_sync(lambda: start_together(processes))
        yield processes
    finally:
        io_loop.run_sync(remove)


@pytest.fixture
def processes(
    io_loop: IOLoop, redis_server: RedisServer, environ: dict[str, str], tmp_path: Path
) -> Iterator[list[NodeProcess]]:
    """Give three servers in processes of their own, together."""
    with running_processes(io_loop, redis_server, tmp_path, environ, have_lines=False) as nodes:
        yield nodes


@pytest.fixture
def lined_processes(
    io_loop: IOLoop, own_redis: RedisServer, environ: dict[str, str], tmp_path: Path
) -> Iterator[list[NodeProcess]]:
    """Give three servers, each with a line of its own to a Redis that may be hurt."""
    with running_processes(io_loop, own_redis, tmp_path, environ, have_lines=True) as nodes:
        yield nodes


Come = Callable[..., Awaitable[RoamingClient]]
"""Connects a client to a node, and into rooms; what else is given are its `auth`."""


@pytest.fixture
def come(io_loop: IOLoop) -> Iterator[Come]:
    """Give a function that lets clients come; in the end they all go."""
    guests: list[RoamingClient] = []

    async def come(
        node: Node, *rooms: str, acknowledges: bool = True, **auth: Any
    ) -> RoamingClient:
        client = RoamingClient(acknowledges=acknowledges, **auth)
        guests.append(client)
        await client.connect(node.url)
        for room in rooms:
            await client.join(room)
        return client

    yield come

    async def stop() -> None:
        for client in guests:
            client.stop()

    io_loop.run_sync(stop, timeout=PATIENCE_SECONDS)
