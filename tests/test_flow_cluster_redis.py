"""Redis killed, emptied, frozen, full, or out of reach: nothing acknowledged is lost."""

from collections.abc import Awaitable, Callable, Iterator

import pytest
from tornado.ioloop import IOLoop

from tests.cluster import Come, NodeInside, answer_where, fence, moment, seconds_between
from tests.cluster_traffic import Traffic, traffic_at
from tests.redis_server import RedisServer

pytestmark = pytest.mark.gen_test(timeout=180)


@pytest.fixture
def traffic(io_loop: IOLoop, lined_nodes: list[NodeInside]) -> Iterator[Traffic]:
    with traffic_at(io_loop, lined_nodes, seed=10) as traffic:
        yield traffic


LONGER_THAN_DEAD_SECONDS = 12
"""A node that is not heard of for as long is dead, if Redis was there to hear it."""

Trouble = Callable[[RedisServer, list[NodeInside]], Awaitable[None]]
"""Begins a trouble, or ends it."""


async def kill(redis: RedisServer, _: list[NodeInside]) -> None:
    redis.kill()


async def start(redis: RedisServer, _: list[NodeInside]) -> None:
    redis.start()


async def start_empty(redis: RedisServer, _: list[NodeInside]) -> None:
    redis.forget()
    redis.start()


async def freeze(redis: RedisServer, _: list[NodeInside]) -> None:
    redis.freeze()


async def thaw(redis: RedisServer, _: list[NodeInside]) -> None:
    redis.thaw()


async def fill(redis: RedisServer, _: list[NodeInside]) -> None:
    redis.fill()


async def enlarge(redis: RedisServer, _: list[NodeInside]) -> None:
    redis.enlarge()


async def stall_all(_: RedisServer, nodes: list[NodeInside]) -> None:
    for node in nodes:
        node.line.stall()


async def resume_all(_: RedisServer, nodes: list[NodeInside]) -> None:
    for node in nodes:
        node.line.resume()


TROUBLES: list[tuple[Trouble, Trouble]] = [
    (kill, start),
    (kill, start_empty),
    (freeze, thaw),
    (fill, enlarge),
    (stall_all, resume_all),
]
NAMES = ["killed", "emptied", "frozen", "full", "stalled"]


@pytest.mark.parametrize(("begin", "end"), TROUBLES, ids=NAMES)
async def test_while_redis_is_away_nodes_go_on_and_later_all_have_everything(
    lined_nodes: list[NodeInside],
    traffic: Traffic,
    own_redis: RedisServer,
    begin: Trouble,
    end: Trouble,
) -> None:
    await traffic.begin()
    await traffic.more(10)
    await begin(own_redis, lined_nodes)
    for node in lined_nodes:
        await node.is_alone()
    for node in lined_nodes:
        receipt = await node.tick("elsewhere", 0)
        assert receipt["partial"] is True
        others = [other.name for other in lined_nodes if other is not node]
        assert sorted(receipt["nodesMissing"]) == sorted(others)
        status = await node.read("/websocket/status")
        assert (status["status"], status["partial"]) == ("degraded", True)
    await traffic.more(10)
    traffic.clients[0].cut()
    await traffic.more(10)
    await end(own_redis, lined_nodes)
    await traffic.more(10)
    for node in lined_nodes:
        await node.is_together()
    await traffic.more(10)
    await traffic.end()
    # Who was never cut off has never been told to begin anew, nor has anybody heard that it left.
    cut = {welcome.client_id for welcome in traffic.clients[0].welcomes}
    for client in traffic.clients[1:]:
        assert len(client.welcomes) == 1
        assert {told["clientId"] for told in client.payloads("clientLeft")} <= cut


async def test_nobody_is_dead_because_redis_was_away_for_longer_than_that_takes(
    lined_nodes: list[NodeInside], own_redis: RedisServer, come: Come
) -> None:
    here = [await come(node, "sales") for node in lined_nodes]
    await fence(lined_nodes[0], here)
    own_redis.freeze()
    frozen_at = await moment(lined_nodes[0])
    await answer_where(
        lambda: moment(lined_nodes[0]),
        lambda now: seconds_between(frozen_at, now) > LONGER_THAN_DEAD_SECONDS,
    )
    own_redis.thaw()
    for node in lined_nodes:
        await node.is_together()
    for n, node in enumerate(lined_nodes):
        await node.tick("sales", n)
        status = await node.whole_read("/websocket/status")
        assert status["connectedClients"] == 3
    await fence(lined_nodes[2], here)
    for client in here:
        assert client.numbers() == [0, 1, 2]
        assert client.payloads("clientLeft") == []


async def test_who_comes_back_with_an_offset_from_the_time_alone_begins_anew(
    lined_nodes: list[NodeInside], own_redis: RedisServer, come: Come
) -> None:
    ann, ben = [await come(lined_nodes[0], "sales") for _ in range(2)]
    cat = await come(lined_nodes[1], "sales")
    await lined_nodes[0].tick("sales", 0)
    await fence(lined_nodes[0], [ann, ben, cat])
    own_redis.kill()
    await lined_nodes[0].is_alone()
    receipt = await lined_nodes[0].tick("sales", 1)
    assert (receipt["recipients"], receipt["partial"]) == (2, True)
    for client in (ann, ben):
        await client.until(lambda client=client: client.numbers() == [0, 1])
        client.cut()
        await client.is_away()
    own_redis.start()
    for node in lined_nodes:
        await node.is_together()
    welcomes = [
        await ann.connect(lined_nodes[1].url),
        await ben.connect(lined_nodes[0].url),
    ]
    for welcome in welcomes:
        assert (welcome.recovered, welcome.reason) == (False, "epoch_changed")
    await cat.until(lambda: cat.numbers() == [0, 1])


async def test_one_node_alone_is_joined_by_the_others_when_its_line_is_whole(
    lined_nodes: list[NodeInside], come: Come
) -> None:
    first, second, third = lined_nodes
    ann, ben = await come(first, "sales"), await come(second, "sales")
    first.line.stall()
    await first.is_alone()
    for n in range(3):
        receipt = await first.tick("sales", n)
        assert (receipt["recipients"], receipt["partial"]) == (1, True)
    await second.tick("sales", 10)
    receipt = await answer_where(
        lambda: third.tick("elsewhere", 0), lambda receipt: "partial" in receipt
    )
    assert receipt["nodesMissing"] == [first.name]
    first.line.resume()
    await first.is_together()
    await third.tick("sales", 11)
    await fence(third, [ann, ben])
    assert [n for n in ann.numbers() if n < 10] == [n for n in ben.numbers() if n < 10] == [0, 1, 2]
    assert [n for n in ann.numbers() if n >= 10] == [10, 11]
    assert [n for n in ben.numbers() if n >= 10] == [10, 11]
