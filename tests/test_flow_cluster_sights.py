"""What operators see of processes over one Redis: start line, status, log, `doctor`."""

import asyncio
import platform
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient

from tests.command import Ended, command, running_command
from tests.redis_server import RedisServer
from tests.server_process import ServerProcess
from tests.service_manager import FakeServiceManager

PASSWORD = "hunter2-and-more"
PATIENCE_SECONDS = 30

pytestmark = [pytest.mark.gen_test, pytest.mark.usefixtures("io_loop")]


@asynccontextmanager
async def serving(**environ: str) -> AsyncIterator[ServerProcess]:
    process = ServerProcess({"GTOWER_DATABASE_URL": "memory:", **environ})
    try:
        await process.start()
        yield process
    finally:
        await process.kill()


async def examined(process: ServerProcess, redis_url: str) -> dict[str, Any]:
    """Return what `doctor` says of a server, by the name of the check."""
    environ = {"GTOWER_MAX_CONNECTIONS": "10", "GTOWER_REDIS_URL": redis_url}
    ended: Ended = await command("doctor", "--json", "--url", process.url, **environ)
    return {check["check"]: check for check in ended.said["checks"]}


async def readiness(process: ServerProcess) -> int:
    answer = await AsyncHTTPClient().fetch(f"{process.url}/readyz", raise_error=False)
    return int(answer.code)


async def until_status(manager: FakeServiceManager, status: str) -> None:
    while (await manager.next("STATUS"))["STATUS"] != status:
        pass


async def test_a_process_says_with_how_many_it_is_together(
    own_redis: RedisServer, tmp_path: Path
) -> None:
    manager = FakeServiceManager.beneath(tmp_path)
    environ = {"GTOWER_REDIS_URL": own_redis.url}
    try:
        async with serving(**environ, NOTIFY_SOCKET=manager.address) as first:
            assert first.first_line.endswith(" · together with no other nodes\n")
            start = "active: 0 clients in 0 rooms, together with no other nodes"
            assert (await manager.next("READY"))["STATUS"] == start
            async with serving(**environ) as second:
                assert second.first_line.endswith(" · together with 1 other node\n")
                alive = "active: 0 clients in 0 rooms, together with 1 other node"
                await until_status(manager, alive)
                own_redis.kill()
                await until_status(manager, "degraded: 0 clients in 0 rooms, Redis is away")
    finally:
        manager.close()


async def test_the_doctor_counts_the_processes(redis_server: RedisServer) -> None:
    async with serving(GTOWER_REDIS_URL=redis_server.url) as process:
        found = await examined(process, redis_server.url)
    assert {check["state"] for check in found.values()} == {"ok"}
    assert found["Redis processes"]["finding"] == f"1: {platform.node()}:{process.port}"
    assert found["Redis use"]["milliseconds"] > 0


async def test_the_doctor_says_that_a_server_goes_on_without_redis(own_redis: RedisServer) -> None:
    async with serving(GTOWER_REDIS_URL=own_redis.url) as process:
        own_redis.kill()
        while (await readiness(process)) == 200:
            pass
        found = await examined(process, own_redis.url)
    bad = {name: check["state"] for name, check in found.items() if check["state"] != "ok"}
    assert bad == {"readiness": "fail", "Redis": "fail"}
    assert found["readiness"]["finding"].startswith("goes on without Redis: ")


async def test_a_process_that_may_not_log_in_says_why_and_never_the_password(
    own_redis: RedisServer,
) -> None:
    own_redis.say("ACL", "SETUSER", "gtower", "on", ">the-right-one", "~*", "+@all")
    url = own_redis.url.replace("//", f"//gtower:{PASSWORD}@")
    environ = {"GTOWER_REDIS_URL": url, "GTOWER_DATABASE_URL": "memory:", "GTOWER_PORT": "0"}
    async with running_command("serve", "--log-level", "debug", **environ) as process:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), PATIENCE_SECONDS)
        assert line.endswith(b" \xc2\xb7 Redis is away\n")
        process.terminate()
        _, told = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    log = told.decode()
    assert log.count("redis_away") == 1
    assert "AuthenticationError: invalid username-password pair" in log
    assert PASSWORD not in log
