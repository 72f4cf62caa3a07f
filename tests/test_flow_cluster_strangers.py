"""A Redis in which others have written under the keys of the cluster: it goes on."""

from pathlib import Path

import pytest

from tests.cluster import Node
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
        one, other = Node(first.port), Node(second.port)
        before = await one.tick("sales", 1)
        await second.start()
        await other.is_together()
        after = await other.tick("sales", 2)
        await one.is_together()
        await other.is_together()
        history = await other.read("/websocket/rooms/sales/history")
        ids = [event["id"] for event in history["events"]]
        assert ids == [before["id"], after["id"]]
    finally:
        await first.kill()
        await second.kill()
