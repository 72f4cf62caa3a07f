"""Clients that come back at another node than they left: who they were, and what they missed."""

import asyncio
from asyncio import Event
from itertools import count
from typing import Any

import pytest

from tests.cluster import Come, Node, NodeInside, answer_where, fence
from tests.redis_server import RedisServer
from tests.roaming_client import RoamingClient

pytestmark = pytest.mark.gen_test


async def is_listed(node: Node, client: RoamingClient) -> bool:
    listed = await node.whole_read("/websocket/clients")
    return [one["id"] for one in listed].count(client.id) == 1


async def test_a_return_at_another_node_brings_everything_once_and_in_order(
    nodes: list[NodeInside], come: Come
) -> None:
    ann = await come(nodes[0], "sales", "hr")
    client_id = ann.id
    await nodes[1].tick("sales", 0)
    await ann.until(lambda: ann.numbers() == [0])
    ann.cut()
    await ann.is_away()
    for n in range(1, 7):
        await nodes[n % 3].tick("hr" if n % 2 else "sales", n)
    await nodes[0].tick("elsewhere", 99)
    welcome = await ann.connect(nodes[1].url)
    assert (welcome.recovered, welcome.reason, ann.id) == (True, None, client_id)
    await nodes[2].tick("sales", 7)
    await ann.until(lambda: 7 in ann.numbers())
    assert ann.numbers() == [0, 1, 2, 3, 4, 5, 6, 7]
    rooms = [one["rooms"] for one in await nodes[0].whole_read("/websocket/clients")]
    assert [sorted(joined) for joined in rooms] == [["hr", "sales"]]


async def test_a_return_elsewhere_before_any_event_is_a_return(
    nodes: list[NodeInside], come: Come
) -> None:
    ann = await come(nodes[0])
    client_id = ann.id
    for node in (nodes[2], nodes[1], nodes[2], nodes[0]):
        assert (await ann.move(node.url)).recovered
        assert ann.id == client_id


async def test_a_client_that_moves_all_the_time_misses_nothing(
    nodes: list[NodeInside], come: Come
) -> None:
    rounds = count(1)

    async def keep_publishing(node: NodeInside, room: str, sent: list[int], until: Event) -> None:
        while not until.is_set():
            n = next(numbers)
            await node.tick(room, n)
            sent.append(n)

    async def one_round() -> dict[str, Any]:
        room = f"moving-{next(rounds)}"
        ann = await come(nodes[0], room)
        sent: list[list[int]] = [[], [], []]
        is_enough = Event()
        publishing = asyncio.gather(
            *(
                keep_publishing(node, room, own, is_enough)
                for node, own in zip(nodes, sent, strict=True)
            )
        )
        for move in range(1, 16):
            seen = len(ann.heard)
            await ann.until(lambda seen=seen: len(ann.heard) > seen + 3)
            await ann.move(nodes[move % 3].url)
        is_enough.set()
        await publishing
        await fence(nodes[0], [ann])
        reasons = {welcome.reason for welcome in ann.welcomes}
        # Alone for a moment, a node gives offsets that are of no use later, and the client is told.
        partial = {"partial": True} if "epoch_changed" in reasons else {}
        return {"ann": ann, "sent": sent, **partial}

    numbers = count()
    ended = await nodes[0].whole(one_round)
    ann, sent = ended["ann"], ended["sent"]
    assert [welcome.recovered for welcome in ann.welcomes] == [False, *([True] * 15)]
    assert sorted(ann.numbers()) == sorted(n for own in sent for n in own)
    for own in sent:
        assert [n for n in ann.numbers() if n in set(own)] == own


async def test_an_old_connection_that_still_looks_alive_is_taken_over(
    nodes: list[NodeInside], come: Come
) -> None:
    ann, ben = await come(nodes[0], "sales"), await come(nodes[2], "sales")
    await nodes[0].tick("sales", 1)
    await ann.until(lambda: ann.numbers() == [1])
    ann.abandon()
    await nodes[1].tick("sales", 2)
    assert (await ann.connect(nodes[1].url)).recovered
    receipt = await nodes[0].whole(lambda: nodes[0].tick("sales", 3))
    assert receipt["recipients"] == 2
    await fence(nodes[2], [ann, ben])
    assert ann.numbers()[:3] == [1, 2, 3]
    assert ann.numbers() == ben.numbers()
    for node in nodes:
        assert await is_listed(node, ann)


async def test_what_was_not_for_the_client_while_it_was_away_is_not_replayed_elsewhere(
    nodes: list[NodeInside], come: Come
) -> None:
    ann = await come(nodes[0], "sales", "hr")
    ann.cut()
    await ann.is_away()
    await nodes[1].publish(rooms=["sales"], data={"n": 1}, **{"except": [ann.id]})
    await nodes[1].publish(rooms=["sales"], data={"n": 2}, volatile=True)
    await nodes[1].tick("hr", 3)
    answer = await nodes[1].ask("DELETE", "/websocket/rooms/hr/history")
    assert answer.status == 200
    await nodes[1].tick("sales", 4)
    assert (await ann.connect(nodes[2].url)).recovered
    await fence(nodes[0], [ann])
    assert ann.numbers() == [4]


async def test_more_than_can_be_told_is_said_to_be_too_much_by_any_node(
    nodes: list[NodeInside], come: Come
) -> None:
    ann = await come(nodes[0], "sales")
    ann.cut()
    await ann.is_away()
    items = [{"event": "tick", "rooms": ["sales"], "data": {"n": n}} for n in range(301)]
    await nodes[1].send("/websocket/batch", {"publish": items})
    welcome = await ann.connect(nodes[2].url)
    assert (welcome.recovered, welcome.reason) == (False, "too_much")
    await nodes[1].tick("sales", 301)
    await fence(nodes[1], [ann])
    assert ann.numbers() == []


async def test_a_page_rendered_by_one_node_is_brought_up_to_date_by_another(
    nodes: list[NodeInside], come: Come
) -> None:
    await nodes[0].tick("sales", 1)
    position = await nodes[0].read("/websocket/rooms/sales/position")
    await nodes[1].tick("sales", 2)
    await nodes[2].tick("sales", 3)
    ann = await come(nodes[2])
    answer = await ann.ask("joinRoom", {"roomName": "sales", "since": position["offset"]})
    assert answer == {"ok": True, "room": "sales", "complete": True}
    await nodes[0].tick("sales", 4)
    await fence(nodes[0], [ann])
    assert ann.numbers() == [2, 3, 4]


async def test_a_node_that_has_just_been_started_takes_everybody_back(
    nodes: list[NodeInside], come: Come, redis_server: RedisServer
) -> None:
    ann = await come(nodes[0], "sales")
    ann.cut()
    await ann.is_away()
    await nodes[1].tick("sales", 1)
    await answer_where(
        lambda: nodes[1].whole_read("/websocket/clients"), lambda listed: listed == []
    )
    late = NodeInside(redis_server, {})
    await late.start()
    try:
        assert (await ann.connect(late.url)).recovered
        await nodes[2].tick("sales", 2)
        await late.tick("sales", 3)
        await fence(late, [ann])
        assert ann.numbers() == [1, 2, 3]
        page = await late.read("/websocket/rooms/sales/history")
        assert [event["data"]["n"] for event in page["events"]] == [1, 2, 3]
    finally:
        await late.stop()


async def test_who_goes_away_with_its_node_comes_back_at_another(
    nodes: list[NodeInside], come: Come, redis_server: RedisServer
) -> None:
    leaving = NodeInside(redis_server, {})
    await leaving.start()
    ann = await come(leaving, "sales")
    watching = await come(nodes[0])
    await leaving.tick("sales", 1)
    await leaving.stop()
    await ann.is_away()
    await watching.until(lambda: watching.payloads("clientLeft"))
    await nodes[1].tick("sales", 2)
    assert (await ann.connect(nodes[2].url)).recovered
    await fence(nodes[0], [ann])
    assert ann.numbers() == [1, 2]
    for node in nodes:
        assert await is_listed(node, ann)
