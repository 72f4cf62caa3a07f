"""A process that wakes when Redis no longer has what followed what it had read."""

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient

from gtower_realtime import strict_json
from tests.redis_server import RedisServer
from tests.server_process import ServerProcess
from tests.socketio_wire import open_client

pytestmark = [pytest.mark.gen_test(timeout=60), pytest.mark.usefixtures("io_loop")]


def node(redis: RedisServer, state: Path) -> ServerProcess:
    return ServerProcess({"GTOWER_STATE_DIR": str(state), "GTOWER_REDIS_URL": redis.url})


async def said(process: ServerProcess, path: str, method: str = "GET") -> Any:
    body = "{}" if method == "POST" else None
    answer = await AsyncHTTPClient().fetch(
        f"{process.url}{path}",
        method=method,
        headers={"Content-Type": "application/json"},
        body=body,
    )
    return strict_json.loads(answer.body)


async def history_of(process: ServerProcess) -> list[str]:
    history = await said(process, "/websocket/rooms/sales/history")
    return [event["id"] for event in history["events"]]


async def clients_until(process: ServerProcess, expected: list[str]) -> None:
    found: list[str] = []
    while found != expected:
        await asyncio.sleep(0.1)
        found = [client["id"] for client in await said(process, "/websocket/clients")]


async def test_it_knows_who_is_there_and_has_its_own_clients_connect_anew(
    own_redis: RedisServer, tmp_path: Path
) -> None:
    first, second = node(own_redis, tmp_path / "1"), node(own_redis, tmp_path / "2")
    try:
        await first.start()
        await second.start()
        async with open_client(second.url) as here:
            async with open_client(first.url) as gone:
                await clients_until(second, [here.id, gone.id])
                second.send(signal.SIGSTOP)
            async with open_client(first.url) as come:
                await said(first, "/websocket/event/room/sales/told", "POST")
                own_redis.say("XTRIM", "gtower:log", "MAXLEN", "1")
                own_redis.say("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                second.send(signal.SIGCONT)
                assert await here.closing() == (4200, "events were missed, load your state anew")
                await clients_until(second, [come.id])
    finally:
        await first.kill()
        await second.kill()


async def test_a_history_that_was_deleted_stays_deleted_for_a_process_that_starts(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    first, second = node(redis_server, tmp_path / "1"), node(redis_server, tmp_path / "2")
    try:
        await first.start()
        await said(first, "/websocket/event/room/sales/told", "POST")
        await said(first, "/websocket/rooms/sales/history", "DELETE")
        kept = await said(first, "/websocket/event/room/sales/told", "POST")
        await second.start()
        for process in (first, second):
            ids = await history_of(process)
            assert ids == [kept["id"]]
    finally:
        await first.kill()
        await second.kill()
