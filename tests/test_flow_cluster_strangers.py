"""A Redis in which others have written under the keys of the cluster: it goes on."""

from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient

from gtower_realtime import strict_json
from tests.redis_server import RedisServer
from tests.server_process import ServerProcess

pytestmark = [pytest.mark.gen_test, pytest.mark.usefixtures("io_loop")]

STRANGE = [
    ("XADD", "gtower:log", "*", "foo", "bar"),
    ("XADD", "gtower:log", "*", "o", "x", "n", "many", "u", "[]"),
    ("XADD", "gtower:log", "*", "o", "x", "n", "1", "u", b"\xff"),
    ("SET", "gtower:session:stranger", "nothing"),
    ("ZADD", "gtower:nodes", "5", "stranger"),
    ("HSET", "gtower:node-details", "stranger", "nothing"),
]


def node(redis: RedisServer, state: Path) -> ServerProcess:
    return ServerProcess({"GTOWER_STATE_DIR": str(state), "GTOWER_REDIS_URL": redis.url})


async def said(process: ServerProcess, path: str, body: str | None = None) -> Any:
    answer = await AsyncHTTPClient().fetch(
        f"{process.url}{path}",
        method="GET" if body is None else "POST",
        headers={"Content-Type": "application/json"},
        body=body,
    )
    return strict_json.loads(answer.body)


async def test_what_strangers_have_written_stops_no_process(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    first, second = node(redis_server, tmp_path / "1"), node(redis_server, tmp_path / "2")
    try:
        await first.start()
        with redis_server.client() as redis:
            [name] = redis.zrange("gtower:nodes", 0, -1)
            redis.xadd(b"gtower:inbox:" + name, {"foo": "bar"})
            for command in STRANGE:
                redis.execute_command(*command)
        before = await said(first, "/websocket/event/room/sales/told", "{}")
        await second.start()
        after = await said(second, "/websocket/event/room/sales/told", "{}")
        assert [await said(one, "/readyz") for one in (first, second)] == [{"status": "ready"}] * 2
        history = await said(second, "/websocket/rooms/sales/history")
        ids = [event["id"] for event in history["events"]]
        assert ids == [before["id"], after["id"]]
    finally:
        await first.kill()
        await second.kill()
