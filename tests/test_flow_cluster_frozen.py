"""Redis frozen, with all connections open: what has to ask it first goes on without it too."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient

from gtower_realtime import strict_json
from tests.redis_server import RedisServer
from tests.server_process import ServerProcess

pytestmark = [pytest.mark.gen_test(timeout=60), pytest.mark.usefixtures("io_loop")]

REQUESTS = 15
LONG_SECONDS = 10
"""Fewer seconds than there are requests: they must not wait for Redis one after the other."""


async def post(process: ServerProcess, key: str) -> dict[str, Any]:
    answer = await AsyncHTTPClient(force_instance=True, max_clients=REQUESTS).fetch(
        f"{process.url}/websocket/event/room/sales/told",
        method="POST",
        headers={"Content-Type": "application/json", "Idempotency-Key": key},
        body="{}",
        request_timeout=LONG_SECONDS,
    )
    return dict(strict_json.loads(answer.body))


async def test_requests_with_keys_do_not_queue_for_a_redis_that_is_frozen(
    own_redis: RedisServer, tmp_path: Path
) -> None:
    node = ServerProcess({"GTOWER_STATE_DIR": str(tmp_path), "GTOWER_REDIS_URL": own_redis.url})
    try:
        await node.start()
        await post(node, "before")
        own_redis.freeze()
        keys = [f"key-{number}" for number in range(REQUESTS)]
        told = await asyncio.gather(*(post(node, key) for key in keys))
        assert [one["partial"] for one in told] == [True] * REQUESTS
        assert len({one["id"] for one in told}) == REQUESTS
        again = await asyncio.gather(*(post(node, key) for key in keys))
        assert [one["id"] for one in again] == [one["id"] for one in told]
    finally:
        own_redis.thaw()
        await node.kill()
