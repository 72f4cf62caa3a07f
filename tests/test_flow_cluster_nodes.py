"""Nodes that are killed, frozen, restarted: what others see of it, and what their clients lose."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from tests.cluster import Answer, Come, NodeProcess, answer_where, fence, moment, seconds_between
from tests.cluster_traffic import Traffic, traffic_at
from tests.returning_client import ReturningClient
from tests.roaming_client import RoamingClient
from tests.tcp_proxy import TcpProxy

pytestmark = pytest.mark.gen_test(timeout=180)

DEAD_SECONDS = 15
"""Within which the clients of a node that has died are gone."""


async def has_left(watching: RoamingClient, client: RoamingClient) -> str:
    """Wait until a client is told to have left, however long; return when that was."""

    def told() -> list[str]:
        left = watching.payloads("clientLeft")
        return [payload["timestamp"] for payload in left if payload["clientId"] == client.id]

    await watching.until(told)
    return told()[0]


async def count_everywhere(nodes: list[NodeProcess], count: int) -> None:
    """Wait until all nodes say that so many clients are connected, and that no node is missing."""
    for node in nodes:
        await answer_where(
            lambda node=node: node.read("/websocket/status"),
            lambda status: status["connectedClients"] == count and "partial" not in status,
        )


async def is_missed(node: NodeProcess, asked: Callable[[], Awaitable[Answer]]) -> None:
    """Wait until an answer says that ``node`` alone is missing."""
    answer = await answer_where(asked, lambda answer: answer.missing == [node.name])
    assert answer.is_partial


async def test_the_clients_of_a_killed_node_are_gone_in_time_and_come_back_elsewhere(
    processes: list[NodeProcess], come: Come
) -> None:
    watching = await come(processes[0], "sales")
    ben, cat = await come(processes[2], "sales"), await come(processes[2], "sales")
    ids = [ben.id, cat.id]
    await processes[2].tick("sales", 0)
    killed_at = await moment(processes[0])
    await processes[2].kill()
    await ben.is_away()
    await processes[0].tick("sales", 1)
    # One is back before anybody knows that its node is dead, the other long after that.
    assert (await cat.connect(processes[1].url)).recovered
    left_at = await has_left(watching, ben)
    assert seconds_between(killed_at, left_at) < DEAD_SECONDS
    await count_everywhere(processes[:2], 2)
    await processes[1].tick("sales", 2)
    assert (await ben.connect(processes[1].url)).recovered
    await processes[0].tick("sales", 3)
    await fence(processes[1], [watching, ben, cat])
    assert watching.numbers() == ben.numbers() == cat.numbers() == [0, 1, 2, 3]
    assert [ben.id, cat.id] == ids
    assert (await processes[0].whole(lambda: processes[0].tick("sales", 4)))["recipients"] == 3
    await processes[2].start()
    await processes[2].is_together()
    await count_everywhere(processes, 3)


async def test_a_frozen_node_is_missing_then_dead_and_at_last_there_again(
    processes: list[NodeProcess], come: Come
) -> None:
    watching = await come(processes[0], "sales")
    ben, cat = await come(processes[2], "sales"), await come(processes[2], "sales")
    await processes[0].tick("sales", 0)
    frozen_at = await moment(processes[0])
    processes[2].freeze()
    path = "/websocket/event/room/elsewhere/tick"
    await is_missed(processes[2], lambda: processes[0].ask("POST", path, {"n": 0}))
    for path in ("status", "clients", "rooms/sales", "users/ann"):
        await is_missed(
            processes[2], lambda path=path: processes[1].read_answer(f"/websocket/{path}")
        )
    cat.abandon()
    assert (await cat.connect(processes[1].url)).recovered
    await processes[1].tick("sales", 1)
    left_at = await has_left(watching, ben)
    assert seconds_between(frozen_at, left_at) < DEAD_SECONDS
    await count_everywhere(processes[:2], 2)
    await processes[1].tick("sales", 2)
    joined = len(watching.payloads("clientJoined"))
    processes[2].thaw()
    await watching.until(lambda: len(watching.payloads("clientJoined")) > joined)
    assert watching.payloads("clientJoined")[joined]["clientId"] == ben.id
    await count_everywhere(processes, 3)
    await processes[2].tick("sales", 3)
    await fence(processes[0], [watching, ben, cat])
    assert watching.numbers() == ben.numbers() == cat.numbers() == [0, 1, 2, 3]
    listed = await processes[1].whole_read("/websocket/clients")
    assert sorted(one["id"] for one in listed) == sorted([watching.id, ben.id, cat.id])
    # What the thawed node remembers of it does not cut off who is at another by now.
    assert (len(ben.welcomes), len(cat.welcomes)) == (1, 2)


async def test_all_nodes_killed_at_once_leave_the_sessions_in_redis(
    processes: list[NodeProcess], come: Come
) -> None:
    here = [await come(node, "sales") for node in processes]
    ids = [client.id for client in here]
    receipt = await processes[0].ask(
        "POST", "/websocket/event/room/sales/tick", {"n": 0}, Idempotency_Key="k"
    )
    assert receipt.status == 201
    await fence(processes[0], here)
    await asyncio.gather(*(node.kill() for node in processes))
    for client in here:
        await client.is_away()
    await processes[1].start()
    await processes[1].is_together()
    await processes[1].tick("sales", 1)
    again = await processes[1].ask(
        "POST", "/websocket/event/room/sales/tick", {"n": 0}, Idempotency_Key="k"
    )
    assert (again.status, again.body["id"]) == (201, receipt.body["id"])
    for client in here:
        assert (await client.connect(processes[1].url)).recovered
    await processes[1].tick("sales", 2)
    await fence(processes[1], here)
    for client in here:
        assert client.numbers() == [0, 1, 2]
    assert [client.id for client in here] == ids


@pytest.fixture
def traffic(io_loop: IOLoop, processes: list[NodeProcess]) -> Iterator[Traffic]:
    with traffic_at(io_loop, processes, seed=10) as traffic:
        yield traffic


async def test_a_rolling_restart_loses_nothing(
    processes: list[NodeProcess], traffic: Traffic, come: Come
) -> None:
    away = await come(processes[0], "sales")
    away.cut()
    await away.is_away()
    await processes[1].tick("sales", 0)
    await traffic.begin()
    for number, node in enumerate(processes):
        others = [other for other in range(3) if other != number]
        await traffic.more(5)
        await node.stop()
        await traffic.more(5, *others)
        await node.start()
        await node.is_together()
        await node.tick("sales", number + 1)
    await traffic.more(5)
    await traffic.end()
    for client in traffic.clients:
        assert [welcome.recovered for welcome in client.welcomes[1:]] == [True] * (
            len(client.welcomes) - 1
        )
    assert (await away.connect(processes[2].url)).recovered
    await away.until(lambda: len(away.numbers()) == 4)
    assert away.numbers() == [0, 1, 2, 3]


@pytest.fixture
def balancer(io_loop: IOLoop, processes: list[NodeProcess]) -> Iterator[TcpProxy]:
    proxy = TcpProxy(processes[0].port)
    io_loop.run_sync(proxy.start)
    yield proxy
    io_loop.run_sync(proxy.stop)


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_the_stock_client_behind_a_balancer_moves_between_nodes(
    processes: list[NodeProcess], balancer: TcpProxy, node: str, transport: str
) -> None:
    client = await ReturningClient.start(
        node, f"http://127.0.0.1:{balancer.port}", "sales", transport
    )
    sent = 0

    async def send(at: NodeProcess) -> Any:
        nonlocal sent
        sent += 1
        return await at.tick("sales", sent - 1)

    for move in range(1, 7):
        await send(processes[(move + 1) % 3])
        await client.until(lambda: len(client.ticks) == sent)
        balancer.target_port = processes[move % 3].port
        await client.is_cut_off(balancer)
        await send(processes[(move + 2) % 3])
        await client.until(lambda move=move: len(client.connects) > move)
    await send(processes[0])
    await client.until(lambda: len(client.ticks) >= sent)
    await client.stop()
    assert client.ticks == list(range(sent))
    assert [report["recovered"] for report in client.connects] == [False, *([True] * 6)]
    assert len({report["connected"] for report in client.connects}) == 1
