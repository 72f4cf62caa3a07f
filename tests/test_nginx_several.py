"""A real nginx in front of three processes: who is sent where, also when one of them goes away.

The processes know nothing of each other where the way to them is tested; with Redis they are one
server, and clients find at another process what they had.
"""

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPResponse

from tests.conftest import requires_binary
from tests.javascript_client import JavaScriptClient, javascript_client
from tests.nginx_site import BEHIND_IT, KEY, Site, running_site
from tests.redis_as_documented import running_redis
from tests.server_process import ServerProcess
from tests.socketio_wire import Wire, open_client

nginx = requires_binary("nginx", package="nginx")
redis_program = requires_binary("redis-server", package="redis-server")

PORTS = (3001, 3002, 3003)
NEVER = "600"
"""Drain seconds that no test waits for."""

HANDSHAKE = "/socket.io/?EIO=4&transport=polling"
EVENT = "/websocket/event/room/sales/dealWon"
POLLING = ["polling"]
UPGRADING = ["polling", "websocket"]


@dataclass
class Several:
    """Three processes behind one site, and clients of it."""

    site: Site
    servers: list[ServerProcess]
    node: str
    stack: AsyncExitStack

    async def client(self, transports: list[str]) -> JavaScriptClient:
        """Connect a stock client and wait for what it is told first."""
        client = await self.stack.enter_async_context(javascript_client(self.node))
        ca = self.site.certificate.read_text(encoding="utf-8")
        told = await client.connect(self.site.url, transports=transports, ca=ca)
        assert told["what"] == "connect"
        await client.next_event("connected")
        return client

    async def clients(self) -> list[list[str]]:
        """Return the transport of each client, process by process."""
        answers = [await fetch(server, "/websocket/clients") for server in self.servers]
        return [[each["transport"] for each in json.loads(answer.body)] for answer in answers]

    async def goes_down(self, server: ServerProcess) -> Wire:
        """Tell a process to end; return a client of it that it lets go of at the end of a test."""
        first = await self.stack.enter_async_context(open_client(server.url))
        second = await self.stack.enter_async_context(open_client(server.url))
        server.send(signal.SIGTERM)
        await first.closing()
        return second

    async def share_offset(self, client: JavaScriptClient) -> None:
        """Send events from another process until one comes with the offset that is told there.

        A busy machine may keep a process from Redis for a moment: its offsets are its own then.
        """
        offset = None
        while offset is None or offset != (await client.next_event("dealWon"))[1][-1]:
            answer = await AsyncHTTPClient().fetch(
                self.servers[1].url + EVENT,
                method="POST",
                body="{}",
                headers={"X-API-Key": KEY, "Content-Type": "application/json"},
            )
            offset = json.loads(answer.body)["offset"]

    async def events_in_room(self) -> list[int]:
        """Return how many events each process has of the room that is sent to."""
        answers = [await fetch(server, "/websocket/rooms/sales/history") for server in self.servers]
        return [len(json.loads(answer.body)["events"]) for answer in answers]

    async def trigger(self) -> HTTPResponse:
        """Send an event through nginx."""
        return await self.site.fetch(EVENT, method="POST", body="{}")


async def fetch(server: ServerProcess, path: str) -> HTTPResponse:
    return await AsyncHTTPClient().fetch(server.url + path, headers={"X-API-Key": KEY})


@asynccontextmanager
async def several(
    nginx: str, node: str, directory: Path, **settings: str
) -> AsyncIterator[Several]:
    """Run three processes, and nginx in front of them."""
    settings = {**BEHIND_IT, "GTOWER_DRAIN_SECONDS": NEVER, **settings}
    servers = [ServerProcess(settings) for _ in PORTS]
    ports = {old: server.port for old, server in zip(PORTS, servers, strict=True)}
    async with AsyncExitStack() as stack:
        for server in servers:
            await server.start()
            stack.push_async_callback(server.kill)
        site = await stack.enter_async_context(
            running_site(nginx, directory, "gtower-realtime-several.conf", ports)
        )
        yield Several(site, servers, node, stack)


@pytest.mark.parametrize("transports", [POLLING, UPGRADING, ["websocket"]])
@pytest.mark.gen_test
async def test_clients_of_one_address_are_spread_and_stay_where_they_are(
    nginx: str, node: str, tmp_path: Path, transports: list[str]
) -> None:
    async with several(nginx, node, tmp_path) as three:
        clients = [await three.client(transports) for _ in PORTS]
        for client in clients:
            if transports == UPGRADING:
                await client.upgraded()
            # Each is a request of its own over polling, and answered by another one.
            for number in range(5):
                room = f"room-{number}"
                assert await client.ask("joinRoom", room) == [{"ok": True, "room": room}]
        assert await three.clients() == [[transports[-1]]] * 3


@pytest.mark.gen_test
async def test_the_dashboard_is_reached_over_polling(nginx: str, node: str, tmp_path: Path) -> None:
    async with several(nginx, node, tmp_path) as three, javascript_client(node) as viewer:
        ca = three.site.certificate.read_text(encoding="utf-8")
        refused = await viewer.connect(
            three.site.url, path="/dashboard/socket.io/", transports=POLLING, ca=ca
        )
        # Said by the process that the handshake was made with.
        assert (refused["what"], refused["data"]["code"]) == ("connect_error", "unauthorized")


@pytest.mark.parametrize("transports", [POLLING, UPGRADING])
@pytest.mark.gen_test
async def test_clients_of_a_process_that_is_gone_go_on_at_the_others(
    nginx: str, node: str, tmp_path: Path, transports: list[str]
) -> None:
    async with several(nginx, node, tmp_path) as three:
        first, *others = [await three.client(transports) for _ in PORTS]
        if transports == UPGRADING:
            for client in (first, *others):
                await client.upgraded()
        assert await three.clients() == [[transports[-1]]] * 3
        await three.servers.pop(0).kill()
        assert (await first.told("disconnect"))["active"] is True
        await first.told("connect")
        # Those who were elsewhere have not noticed: `ask` would meet their `disconnect`.
        for client in (first, *others):
            assert await client.ask("joinRoom", "sales") == [{"ok": True, "room": "sales"}]
        assert sorted(len(clients) for clients in await three.clients()) == [1, 2]


@pytest.mark.parametrize("transports", [POLLING, UPGRADING])
@pytest.mark.gen_test(timeout=120)
async def test_clients_recover_at_another_process_of_a_cluster(
    nginx: str, node: str, redis_server: str, tmp_path: Path, transports: list[str]
) -> None:
    with running_redis(redis_server, tmp_path) as redis:
        async with several(nginx, node, tmp_path, GTOWER_REDIS_URL=redis.url) as three:
            client = await three.client(transports)
            if transports == UPGRADING:
                await client.upgraded()
            await client.ask("joinRoom", "sales")
            # The first of all clients is at the first process.
            await three.share_offset(client)
            await three.servers[0].kill()
            for number in range(4):
                answer = await three.site.fetch(EVENT, method="POST", body=f'{{"deal":{number}}}')
                assert answer.code == 201
            assert (await client.told("connect"))["recovered"] is True
            deals = {(await client.next_event("dealWon"))[1][0]["deal"] for _ in range(4)}
            assert deals == {0, 1, 2, 3}


@pytest.mark.gen_test
async def test_no_trigger_fails_for_a_process_that_is_gone(
    nginx: str, node: str, tmp_path: Path
) -> None:
    async with several(nginx, node, tmp_path) as three:
        await three.servers[1].kill()
        assert [(await three.trigger()).code for _ in range(6)] == [201] * 6
        # Back on its port, it is in use at once.
        await three.servers[1].start()
        ids = {json.loads((await three.trigger()).body)["id"] for _ in PORTS}
        assert len(ids) == 3
        assert await three.events_in_room() == [4, 1, 4]


@pytest.mark.gen_test
async def test_a_process_that_is_going_down_passes_on_what_is_new(
    nginx: str, node: str, tmp_path: Path
) -> None:
    async with several(nginx, node, tmp_path) as three:
        stays = await three.goes_down(three.servers[0])
        assert [(await three.trigger()).code for _ in range(6)] == [201] * 6
        assert [(await three.site.fetch("/readyz")).code for _ in PORTS] == [200] * 3
        assert [(await three.site.fetch(HANDSHAKE)).code for _ in range(6)] == [200] * 6
        # It has its clients until it lets go of them.
        assert await stays.ask("joinRoom", "sales") == [{"ok": True, "room": "sales"}]


@pytest.mark.gen_test
async def test_what_all_of_them_refuse_is_refused_in_their_own_words(
    nginx: str, node: str, tmp_path: Path
) -> None:
    async with several(nginx, node, tmp_path) as three:
        for server in three.servers:
            await three.goes_down(server)
        for answer in (await three.trigger(), await three.site.fetch(HANDSHAKE)):
            assert (answer.code, json.loads(answer.body)["error"]["code"]) == (503, "draining")
            assert answer.headers["Retry-After"] == "1"


@dataclass
class Backend:
    """Stands for a process: answers each request with the same bytes and closes; counts them."""

    answer: bytes
    requests: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one request."""
        head = await reader.readuntil(b"\r\n\r\n")
        (length,) = re.findall(rb"(?i)content-length: (\d+)", head)
        await reader.readexactly(int(length))
        self.requests += 1
        writer.write(self.answer)
        writer.close()


REFUSED = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}"
DIES = b""


@pytest.mark.parametrize(
    ("answers", "requests"),
    [
        # Perhaps it was sent to everybody and the answer got lost: the back-end has to know.
        ((DIES, DIES, DIES), [1, 0, 0]),
        ((REFUSED, DIES, DIES), [1, 1, 0]),
        ((REFUSED, REFUSED, DIES), [1, 1, 1]),
    ],
)
@pytest.mark.gen_test
async def test_a_trigger_whose_process_dies_over_it_is_not_sent_again(
    nginx: str, tmp_path: Path, answers: tuple[bytes, ...], requests: list[int]
) -> None:
    backends = [Backend(answer) for answer in answers]
    async with AsyncExitStack() as stack:
        ports = {}
        for old, backend in zip(PORTS, backends, strict=True):
            listening = await asyncio.start_server(backend.serve, "127.0.0.1", 0)
            await stack.enter_async_context(listening)
            ports[old] = listening.sockets[0].getsockname()[1]
        site = await stack.enter_async_context(
            running_site(nginx, tmp_path, "gtower-realtime-several.conf", ports)
        )
        answer = await site.fetch(EVENT, method="POST", body="{}")
        assert answer.code == 502
        assert [backend.requests for backend in backends] == requests


@pytest.mark.gen_test
async def test_metrics_are_asked_of_each_process_and_not_of_nginx(
    nginx: str, node: str, tmp_path: Path
) -> None:
    async with several(nginx, node, tmp_path) as three:
        assert (await three.site.fetch("/metrics")).code == 404
        assert [(await fetch(server, "/metrics")).code for server in three.servers] == [200] * 3
