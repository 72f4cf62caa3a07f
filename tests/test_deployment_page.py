"""docs/deployment.md against a real Redis, and against the files that it names."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.ioloop import IOLoop

from gtower_realtime.cluster.link import Link, RedisAway, Sent
from tests.conftest import requires_binary
from tests.redis_as_documented import PAGE, DocumentedRedis, running_redis
from tests.server_process import ServerProcess
from tests.socketio_wire import open_client

ROOT = Path(__file__).parent.parent

redis_program = requires_binary("redis-server", package="redis-server")


@pytest.fixture
def documented(redis_server: str, tmp_path: Path) -> Iterator[DocumentedRedis]:
    """Give Redis as the page says."""
    with running_redis(redis_server, tmp_path) as running:
        yield running


@pytest.fixture
def nodes(
    io_loop: IOLoop, documented: DocumentedRedis, tmp_path: Path
) -> Iterator[list[ServerProcess]]:
    """Give two servers over it, not yet started."""
    processes = [
        ServerProcess(
            {"GTOWER_REDIS_URL": documented.url, "GTOWER_STATE_DIR": str(tmp_path / name)}
        )
        for name in ("first", "second")
    ]
    yield processes
    for process in processes:
        io_loop.run_sync(process.kill)


async def send(node: ServerProcess) -> HTTPResponse:
    """Send an event to a room, with the same idempotency key each time."""
    return await AsyncHTTPClient().fetch(
        f"{node.url}/websocket/event/room/sales/dealWon",
        method="POST",
        body='{"deal": 7}',
        headers={"Content-Type": "application/json", "Idempotency-Key": "deal-7"},
    )


@pytest.mark.gen_test(timeout=120)
async def test_the_user_of_the_page_may_do_what_a_cluster_does(
    documented: DocumentedRedis, nodes: list[ServerProcess]
) -> None:
    for node in nodes:
        await node.start()
    first, second = nodes
    async with open_client(first.url) as client:
        await client.ask("joinRoom", "sales")
        await send(second)
        await client.events_until("dealWon")
        assert (await send(first)).headers["Idempotency-Replayed"] == "true"
        # Stopped it signs off, and keeps its sessions; started it reads what there is.
        await first.stop()
        await first.start()
        await send(first)
    assert documented.operator.acl_log() == []


async def do_all(url: str) -> None:
    """Do each thing that a process or `doctor` does in Redis.

    Raises:
        RedisAway: one of them is refused.
    """
    link = Link(url, "first")
    try:
        await link.join("epoch", "", "0-0")
        kept = '[["gtower:mark:1", "{}", 60000, "!"]]'
        units = [Sent("first", 1, "[]", kept), Sent("first", 2, "[]", kept)]
        assert (await link.append(units))[1] == "refused"
        assert await link.append(units) == ["known", "refused"]
        await link.join("epoch", "", "0-0")
        await link.tell([("first", "{}")])
        await link.read("0-0", "0-0")
        await link.slice("0-0", await link.last_id())
        await link.keep(
            [("gtower:session:1", "{}", 60_000)], [("gtower:session:1", 60_000)], ["gtower:x"]
        )
        await link.sessions()
        await link.trim("1-0")
        await link.beat("{}")
        await link.bury("first", None, "[]")
        await link.facts()
    finally:
        await link.close()


@pytest.mark.gen_test(timeout=120)
async def test_the_user_of_the_page_needs_each_right(documented: DocumentedRedis) -> None:
    operator = documented.operator
    (line,) = re.findall(r"^user gtower .*$", PAGE, re.M)
    rights = set(re.findall(r"\+(\S+)", line))
    assert len(rights) > 20
    await do_all(documented.url)
    for right in sorted(rights):
        operator.execute_command("ACL", "SETUSER", "gtower", f"-{right}")
        operator.flushall()
        operator.script_flush()
        with pytest.raises(RedisAway):
            await do_all(documented.url)
        operator.execute_command("ACL", "SETUSER", "gtower", f"+{right}")
    await do_all(documented.url)


def test_the_user_of_the_page_may_do_nothing_else(documented: DocumentedRedis) -> None:
    with redis.Redis.from_url(documented.url) as user:
        for command in (
            ("SET", "other:key", "1"),
            ("CONFIG", "GET", "*"),
            ("FLUSHALL",),
            ("KEYS", "*"),
            ("PUBLISH", "gtower:x", "1"),
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                user.execute_command(*command)
    port = documented.operator.get_connection_kwargs()["port"]
    with (
        redis.Redis(port=port) as nobody,
        pytest.raises(redis.exceptions.AuthenticationError),
    ):
        nobody.ping()


def test_redis_keeps_what_it_was_given(documented: DocumentedRedis) -> None:
    said = documented.operator.config_get("maxmemory-policy", "appendonly")
    assert said == {"maxmemory-policy": "noeviction", "appendonly": "yes"}


def test_the_files_of_the_page_are_there() -> None:
    copied = re.findall(r"^cp (.*) /etc/systemd/system/$", PAGE, re.M)
    assert len(copied) == 3
    files = {file for line in copied for file in line.split()}
    assert {ROOT / file for file in files} == set((ROOT / "deploy" / "systemd").iterdir())


def test_the_ports_of_the_page_are_those_of_the_site() -> None:
    site = (ROOT / "deploy" / "nginx" / "gtower-realtime-several.conf").read_text()
    (enabled,) = re.findall(r"^systemctl enable gtower-realtime.target (.*)$", PAGE, re.M)
    ports = re.findall(r"gtower-realtime@(\d+)", enabled)
    assert re.findall(r"^    server 127.0.0.1:(\d+) max_fails=0;$", site, re.M) == ports
    assert re.findall(r"^    ~0(\d+)\$ 127.0.0.1:\1;$", site, re.M) == ports
    assert f"for port in {' '.join(ports)}; do" in PAGE
