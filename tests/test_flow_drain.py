"""How a server ends: whom it tells what, in which order, and what is there after the next start."""

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPResponse
from tornado.ioloop import IOLoop

from tests.returning_client import ReturningClient
from tests.server_process import ServerProcess, publish_until_acknowledged
from tests.socketio_wire import Wire, open_client
from tests.wire import SEPARATOR, EngineIOClient, RawConnection

ROOM = "ledger"

# Longer than anybody here has patience: what ends does so for another reason than time.
NEVER = "3000"


async def fetch(url: str, method: str = "GET", body: str | None = None) -> HTTPResponse:
    """Ask on a connection of its own, whatever the answer."""
    headers = {"Content-Type": "application/json"}
    return await AsyncHTTPClient().fetch(
        url, method=method, body=body, headers=headers, raise_error=False
    )


@asynccontextmanager
async def server(tmp_path: Path, **environ: str) -> AsyncIterator[ServerProcess]:
    """Give a server that has started."""
    process = ServerProcess({"GTOWER_STATE_DIR": str(tmp_path), **environ})
    await process.start()
    try:
        yield process
    finally:
        await process.kill()


async def hint(client: Wire) -> int:
    """Return when a client that is told of the shutdown is to come back."""
    while (event := await client.next_event())[0] != "serverShutdown":
        pass
    return int(event[1]["reconnectInMs"])


@pytest.mark.gen_test(timeout=60)
async def test_clients_are_closed_one_after_the_other_in_the_order_of_their_hints(
    tmp_path: Path,
) -> None:
    closings: list[tuple[str, tuple[int | None, str | None]]] = []

    async def closing(client: Wire) -> None:
        code_and_reason = await client.closing()
        closings.append((client.id, code_and_reason))

    async with server(tmp_path, GTOWER_DRAIN_SECONDS="1.5") as process, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(open_client(process.url)) for _ in range(3)]
        process.send(signal.SIGTERM)
        assert [await hint(client) for client in clients] == [0, 500, 1000]
        await asyncio.gather(*map(closing, clients))
        assert await process.ended() == 0
    assert closings == [(client.id, (1012, "server shutting down")) for client in clients]


@pytest.mark.gen_test(timeout=60)
async def test_who_is_not_let_go_yet_is_served_and_the_end_comes_when_nobody_is_left(
    tmp_path: Path,
) -> None:
    async with server(tmp_path, GTOWER_DRAIN_SECONDS=NEVER) as process:
        async with open_client(process.url) as first, open_client(process.url) as second:
            process.send(signal.SIGTERM)
            assert await first.closing() == (1012, "server shutting down")
            assert await hint(second) == 1_500_000
            [answer] = await second.ask("message", "last words")
            assert (answer["ok"], answer["recipients"]) == (True, 0)
            [joined] = await second.ask("joinRoom", ROOM)
            assert joined == {"ok": True, "room": ROOM}
            [said] = await second.ask("roomMessage", {"room": ROOM, "message": "noted"})
            assert said["ok"]
        assert await process.ended() == 0
        await process.start()
        page = json.loads((await fetch(f"{process.url}/websocket/rooms/{ROOM}/history")).body)
        assert [event["data"]["message"] for event in page["events"]] == ["noted"]


@pytest.mark.gen_test(timeout=60)
async def test_a_second_signal_ends_a_drain_at_once(tmp_path: Path) -> None:
    async with (
        server(tmp_path, GTOWER_DRAIN_SECONDS=NEVER) as process,
        open_client(process.url) as first,
        open_client(process.url) as second,
    ):
        process.send(signal.SIGTERM)
        await first.closing()
        await hint(second)
        process.send(signal.SIGTERM)
        assert await process.ended() == -signal.SIGTERM


@pytest.mark.gen_test(timeout=60)
async def test_what_is_new_is_refused_with_503_to_the_end(tmp_path: Path) -> None:
    async with (
        server(tmp_path, GTOWER_DRAIN_SECONDS=NEVER) as process,
        open_client(process.url) as first,
        open_client(process.url) as second,
    ):
        process.send(signal.SIGTERM)
        await first.closing()
        answers = [
            await fetch(f"{process.url}/websocket/event/broadcast/tick", "POST", "{}"),
            await fetch(f"{process.url}/socket.io/?EIO=4&transport=polling"),
        ]
        for answer in answers:
            assert answer.code == 503
            assert json.loads(answer.body)["error"]["code"] == "draining"
            assert (answer.headers["Retry-After"], answer.headers["Connection"]) == ("1", "close")
        with pytest.raises(HTTPClientError) as caught:
            async with open_client(process.url):
                pass
        assert caught.value.code == 503
        ready = await fetch(f"{process.url}/readyz")
        assert (ready.code, json.loads(ready.body)["failing"]) == (503, ["draining"])
        assert (await fetch(f"{process.url}/healthz")).code == 200
        status = json.loads((await fetch(f"{process.url}/websocket/status")).body)
        assert (status["status"], status["connectedClients"]) == ("draining", 1)
        second.close()
        assert await process.ended() == 0


@pytest.mark.gen_test(timeout=60)
async def test_a_connect_on_an_open_connection_is_put_off_by_a_close(tmp_path: Path) -> None:
    async with server(tmp_path, GTOWER_DRAIN_SECONDS=NEVER) as process:
        late = EngineIOClient(process.port)
        websocket = await late.websocket()
        await websocket.read_packet()
        async with open_client(process.url) as first, open_client(process.url) as second:
            process.send(signal.SIGTERM)
            await first.closing()
            await websocket.send_frame("40")
            assert await websocket.read_close() == (1012, "server shutting down")
            await hint(second)
        assert await process.ended() == 0


@pytest.mark.gen_test(timeout=60)
async def test_a_polling_client_fetches_its_last_words_on_a_new_connection(tmp_path: Path) -> None:
    async with server(tmp_path) as process:
        client = EngineIOClient(process.port)
        await client.connect()
        process.send(signal.SIGTERM)
        assert (await client.poll()).text.startswith('42["serverShutdown",{"reconnectInMs":0,')
        assert (await client.poll()).text == "1"
        assert await process.ended() == 0


# Over a restart, in a socket that systemd holds


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Give a socket that outlives the servers that listen on it."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as held:
        yield held


@pytest.mark.gen_test(timeout=60)
async def test_a_polling_client_fetches_its_last_words_on_the_connection_that_it_has(
    tmp_path: Path, listener: socket.socket
) -> None:
    process = ServerProcess({"GTOWER_STATE_DIR": str(tmp_path)}, listener)
    await process.start()
    client = EngineIOClient(process.port)
    await client.connect()
    async with await RawConnection.open(process.port) as connection:
        await connection.send_request("GET", client.target())
        process.send(signal.SIGTERM)
        told = (await connection.read_answer()).text
        assert told.split(SEPARATOR)[0].startswith('42["serverShutdown",')
        await connection.send_request("GET", client.target())
        assert (await connection.read_answer()).text == "1"
    assert await process.ended() == 0


@pytest.mark.gen_test(timeout=60)
async def test_who_connects_during_a_restart_waits_for_the_next_process(
    tmp_path: Path, listener: socket.socket
) -> None:
    process = ServerProcess({"GTOWER_STATE_DIR": str(tmp_path)}, listener)
    await process.start()
    assert await process.stop() == 0
    asking = asyncio.create_task(
        fetch(f"{process.url}/websocket/event/room/{ROOM}/tick", "POST", "{}")
    )
    async with await RawConnection.open(process.port):
        await process.start()
    assert (await asking).code == 201
    assert await process.stop() == 0


@pytest.mark.gen_test(timeout=120)
async def test_a_restart_under_load_refuses_nobody_and_loses_nothing(
    io_loop: IOLoop, tmp_path: Path, listener: socket.socket, node: str
) -> None:
    environ = {"GTOWER_STATE_DIR": str(tmp_path), "GTOWER_DRAIN_SECONDS": "1"}
    process = ServerProcess(environ, listener)
    await process.start()
    clients = [
        await ReturningClient.start(node, process.url, ROOM, transports)
        for transports in ("websocket", "polling,websocket", "polling")
    ]
    acknowledged: list[int] = []
    has_enough = asyncio.Event()

    async def keep_publishing() -> None:
        while not has_enough.is_set():
            n = len(acknowledged)
            await publish_until_acknowledged(
                f"{process.url}/websocket/event/room/{ROOM}/tick",
                json.dumps({"n": n}),
                f"tick-{n}",
                refused=refused,
            )
            acknowledged.append(n)

    refused: list[str] = []
    publishing = asyncio.create_task(keep_publishing())
    for restart in (1, 2):
        for client in clients:
            seen = len(client.ticks)
            await client.until(lambda client=client, seen=seen: len(client.ticks) >= seen + 20)
        assert await process.stop() == 0
        await process.start()
        for client in clients:
            await client.until(lambda client=client, n=restart: len(client.connects) > n)
    has_enough.set()
    await publishing
    for client in clients:
        await client.until(lambda client=client: len(client.ticks) >= len(acknowledged))
        assert client.ticks == acknowledged == list(range(len(acknowledged)))
        assert [report["recovered"] for report in client.connects] == [False, True, True]
        assert client.refusals == []
        await client.stop()
    assert refused == []
    assert await process.stop() == 0
