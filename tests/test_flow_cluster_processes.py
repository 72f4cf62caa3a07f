"""Processes that Redis is taken away from: killed meanwhile, cut off again and again, encrypted."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from tests.cluster import Come, NodeProcess, answer_where, fence, start_together
from tests.cluster_traffic import Traffic, traffic_at
from tests.redis_server import RedisServer, User, redis_program

pytestmark = pytest.mark.gen_test(timeout=180)


@pytest.fixture
def traffic(io_loop: IOLoop, lined_processes: list[NodeProcess]) -> Iterator[Traffic]:
    with traffic_at(io_loop, lined_processes, seed=10) as traffic:
        yield traffic


async def test_a_node_whose_line_breaks_or_stalls_misses_nothing_and_keeps_no_files_open(
    lined_processes: list[NodeProcess], traffic: Traffic, own_redis: RedisServer
) -> None:
    node, *others = lined_processes
    await traffic.begin()

    async def sessions() -> int:
        return len(own_redis.say("KEYS", "gtower:session:*"))

    # Then it has all connections that it ever has.
    await answer_where(sessions, lambda count: count == len(traffic.clients))
    before = node.open_files()
    for cut in range(10):
        back = asyncio.create_task(node.line.next_connection())
        await traffic.more(1 + cut % 3)
        node.line.cut()
        await asyncio.wait_for(back, 30)
        await node.is_together()
    node.line.stall()
    await node.is_alone()
    for other in others:
        await other.is_together()
    await traffic.more(10)
    node.line.resume()
    await node.is_together()
    await traffic.end()

    async def open_files() -> int:
        return node.open_files()

    # One more may be a request that has just been answered.
    await answer_where(open_files, lambda files: files <= before)
    for client in traffic.clients:
        assert len(client.welcomes) == 1


async def test_a_node_killed_while_redis_is_away_has_lost_nothing_and_starts_without_it(
    lined_processes: list[NodeProcess], own_redis: RedisServer, come: Come
) -> None:
    first, second, _ = lined_processes
    ben = await come(second, "sales")
    own_redis.kill()
    await first.is_alone()
    sent = [await first.tick("sales", n) for n in range(5)]
    assert [receipt["partial"] for receipt in sent] == [True] * 5
    await first.kill()
    await first.start()
    assert await first.failing() == ["redis"]
    status = await first.read("/websocket/status")
    assert (status["status"], status["connectedClients"]) == ("degraded", 0)
    ann = await come(first, "sales")
    receipt = await first.tick("sales", 5)
    assert (receipt["recipients"], receipt["partial"]) == (1, True)
    await ann.until(lambda: ann.numbers() == [5])
    own_redis.start()
    for node in lined_processes:
        await node.is_together()
    await second.tick("sales", 6)
    await fence(second, [ann, ben])
    assert ben.numbers() == [0, 1, 2, 3, 4, 5, 6]
    assert ann.numbers() == [5, 6]
    listed = await second.whole_read("/websocket/clients")
    assert sorted(one["id"] for one in listed) == sorted([ann.id, ben.id])


@pytest.fixture
def guarded_redis() -> Iterator[RedisServer]:
    # Nothing outside the prefix, nothing that only administrators need.
    user = User("gtower", "a-password", "~gtower:* +@all -@admin -@dangerous +info")
    server = RedisServer(redis_program(), user=user, is_encrypted=True)
    server.start()
    yield server
    server.remove()


async def test_a_cluster_speaks_tls_and_logs_in_with_few_rights(
    guarded_redis: RedisServer, come: Come, tmp_path: Path
) -> None:
    trust = {"SSL_CERT_FILE": str(guarded_redis.certificate)}
    nodes = [
        NodeProcess(guarded_redis, tmp_path / str(number), trust, has_line=False)
        for number in range(2)
    ]
    try:
        await start_together(nodes)
        ann, ben = await come(nodes[0], "sales"), await come(nodes[1], "sales")
        await nodes[0].tick("sales", 1)
        await nodes[1].tick("sales", 2)
        await fence(nodes[0], [ann, ben])
        assert ann.numbers() == ben.numbers() == [1, 2]
    finally:
        for node in nodes:
            await node.remove()
