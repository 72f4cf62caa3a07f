"""Fixtures that every test may use: the event loop, the server, clients, and other programs."""

import asyncio
import os
import shutil
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import socketio
from tornado import web
from tornado.ioloop import IOLoop

from gtower_realtime import server as serving
from gtower_realtime.application import Application
from gtower_realtime.http1.server import HttpServer
from gtower_realtime.settings import Settings
from tests.browser import running_browser
from tests.cluster import (  # noqa: F401 - fixtures
    come,
    lined_nodes,
    lined_processes,
    nodes,
    processes,
)
from tests.postgresql import postgresql  # noqa: F401 - a fixture
from tests.redis_server import lasting_redis, own_redis, redis_server  # noqa: F401 - fixtures

PATIENCE_SECONDS = 20
"""Only a hang takes as long."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add options of our own."""
    parser.addoption("--screenshots", metavar="DIR", help="keep pictures of the pages there")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give the tests that Schemathesis makes of one function names of their own.

    Processes that share the tests run each name once.
    """
    operation = getattr(item, "operation_label", None)
    if operation is not None:
        item._id = replace(item.id, params=operation)


@pytest.fixture
def io_loop() -> Iterator[IOLoop]:
    """Give each test a loop of its own that leaves nothing behind.

    Overrides pytest-tornado's, which calls what Tornado 6 deprecates and drops pending tasks.
    Whatever is built for a test on a loop takes this fixture, so that it is torn down first.
    """
    loop = IOLoop(make_current=False)
    asyncio_loop = loop.asyncio_loop
    asyncio.set_event_loop(asyncio_loop)
    yield loop
    pending = asyncio.all_tasks(asyncio_loop)
    for task in pending:
        task.cancel()
    asyncio_loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
    asyncio_loop.run_until_complete(asyncio_loop.shutdown_asyncgens())
    asyncio_loop.run_until_complete(asyncio_loop.shutdown_default_executor())
    asyncio.set_event_loop(None)
    loop.close(all_fds=True)


@pytest.fixture
def environ() -> dict[str, str]:
    """Give the environment that the server's settings are read from; tests override it."""
    return {}


@pytest.fixture
def application(io_loop: IOLoop, environ: dict[str, str]) -> Application:
    """Give the whole server, built as in production, not yet listening."""
    quick = {"GTOWER_DATABASE_URL": "memory:", "GTOWER_DRAIN_SECONDS": "0"}
    return Application(Settings.load({**quick, **environ}))


@pytest.fixture
def app(application: Application) -> web.Application:
    """Give what pytest-tornado's fixtures serve."""
    return application.tornado_application


@pytest.fixture
def http_server(
    io_loop: IOLoop,
    application: Application,
    app: web.Application,
    _unused_port: tuple[socket.socket, int],
) -> Iterator[HttpServer]:
    """Serve on a free port of the loopback address, with the limits of production."""
    server = serving.http_server(app)
    io_loop.run_sync(application.start)
    io_loop.run_sync(lambda: server.listen([_unused_port[0]]))
    yield server
    server.stop()
    io_loop.run_sync(application.stop)
    io_loop.run_sync(server.close_all_connections)


class ConnectedClient:
    """A python-socketio client and the events it has received, in order, as (name, payload)."""

    def __init__(self) -> None:
        self.socket = socketio.AsyncClient(reconnection=False, handle_sigint=False)
        self.events: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()

    @property
    def id(self) -> str:
        """The id that the server knows this client by."""
        return str(self.socket.get_sid())

    async def next_event(self, name: str | None = None) -> Any:
        """Return the payload of the next event, or of the next with ``name``, passing others by."""
        while True:
            received, payload = await asyncio.wait_for(self.events.get(), PATIENCE_SECONDS)
            if name is None or received == name:
                return payload

    async def ask(self, event: str, *argument: Any) -> Any:
        """Send an event with at most one argument and return its acknowledgement."""
        data = argument[0] if argument else None
        return await self.socket.call(event, data, timeout=PATIENCE_SECONDS)


ConnectClient = Callable[..., Awaitable[ConnectedClient]]


@pytest.fixture
def connect_client(
    io_loop: IOLoop, base_url: str, http_server: HttpServer
) -> Iterator[ConnectClient]:
    """Give a function that connects a python-socketio client, past its `connected` event."""
    clients: list[ConnectedClient] = []

    async def connect(transport: str = "websocket", **options: Any) -> ConnectedClient:
        client = ConnectedClient()
        clients.append(client)

        async def record(event: str, *payload: Any) -> None:
            client.events.put_nowait((event, payload[0] if payload else None))

        client.socket.on("*", record)
        await client.socket.connect(base_url, transports=[transport], **options)
        await client.next_event("connected")
        return client

    async def disconnect_all() -> None:
        for client in clients:
            await client.socket.disconnect()

    yield connect
    io_loop.run_sync(disconnect_all)


def requires_binary(name: str, *, package: str) -> Callable[[], str]:
    """Return a fixture that gives the path of the program ``name``.

    Without the program a test that takes the fixture is skipped, saying which Debian ``package``
    to install; with ``CI=true`` it fails, since a skipped test proves nothing there.
    """

    @pytest.fixture(scope="session", name=name.replace("-", "_"))
    def path() -> str:
        found = shutil.which(name)
        if found is None:
            reason = f"{name} is not on PATH; apt-get install {package}"
            if os.environ.get("CI") == "true":
                pytest.fail(reason, pytrace=False)
            pytest.skip(reason)
        return found

    return path


chromium = requires_binary("chromium", package="chromium")
node = requires_binary("node", package="nodejs")


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[str]:
    """Run one browser for the tests of a file, and give its address."""
    with running_browser(chromium) as address:
        yield address
