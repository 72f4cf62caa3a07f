"""Events in a cluster: to clients of all nodes, once, in one order, and receipts for all of it."""

import asyncio
import time
from collections.abc import Callable
from itertools import count
from typing import Any

import jwt
import pytest

from tests.cluster import Come, NodeInside, answer_where, fence
from tests.roaming_client import RoamingClient

pytestmark = pytest.mark.gen_test

SECRET = "a-secret-of-at-least-32-bytes-for-tests"
CAPS = [{"rooms": ["*"], "allow": ["join", "publish", "history", "presence"]}]
NOTE = {"type": "info", "title": "t", "message": "m"}


@pytest.fixture
def environ() -> dict[str, str]:
    return {"GTOWER_JWT_SECRET": SECRET}


def token(user: str) -> str:
    claims = {"sub": user, "exp": time.time() + 300, "caps": CAPS}
    return jwt.encode(claims, SECRET, algorithm="HS256")


People = dict[str, RoamingClient]


async def people(nodes: list[NodeInside], come: Come) -> People:
    """Let five clients come: `ann` is a user at two nodes, and `dan` alone is not in `sales`."""
    return {
        "ann": await come(nodes[0], "sales", token=token("ann")),
        "ben": await come(nodes[1], "sales", token=token("ben")),
        "cat": await come(nodes[2], "sales", token=token("cat")),
        "dan": await come(nodes[2], token=token("dan")),
        "ann again": await come(nodes[2], token=token("ann")),
    }


Addressed = Callable[[People], dict[str, Any]]

TARGETS: list[tuple[Addressed, set[str]]] = [
    (lambda _: {"rooms": ["sales"]}, {"ann", "ben", "cat"}),
    (lambda _: {"users": ["ann"]}, {"ann", "ann again"}),
    (lambda here: {"clients": [here["ben"].id]}, {"ben"}),
    (lambda _: {"all": True}, {"ann", "ben", "cat", "dan", "ann again"}),
    (
        lambda here: {"all": True, "except": [here["ann"].id, here["cat"].id]},
        {"ben", "dan", "ann again"},
    ),
    (
        lambda here: {"rooms": ["sales"], "users": ["ann"], "clients": [here["ann"].id]},
        {"ann", "ben", "cat", "ann again"},
    ),
]
NAMES = ["room", "user", "client", "all", "except", "several"]


@pytest.mark.parametrize(("addressed", "expected"), TARGETS, ids=NAMES)
async def test_an_event_reaches_whom_it_is_for_on_all_nodes_once(
    nodes: list[NodeInside], come: Come, addressed: Addressed, expected: set[str]
) -> None:
    here = await people(nodes, come)
    for n, node in enumerate(nodes):
        await node.publish(data={"n": n}, **addressed(here))
    await fence(nodes[0], list(here.values()))
    for name, client in here.items():
        assert client.numbers() == ([0, 1, 2] if name in expected else []), name


@pytest.mark.parametrize(("addressed", "expected"), TARGETS, ids=NAMES)
@pytest.mark.parametrize("volatile", [False, True], ids=["stored", "volatile"])
async def test_a_receipt_counts_whom_it_was_handed_to_on_all_nodes(
    nodes: list[NodeInside],
    come: Come,
    addressed: Addressed,
    expected: set[str],
    volatile: bool,
) -> None:
    here = await people(nodes, come)
    for node in nodes:
        receipt = await node.whole(
            lambda node=node: node.publish(volatile=volatile, **addressed(here))
        )
        assert (receipt["recipients"], receipt["pending"]) == (len(expected), 0)
        assert ("offset" in receipt) is not volatile


async def test_a_volatile_event_comes_once_to_clients_of_all_nodes(
    nodes: list[NodeInside], come: Come
) -> None:
    here = await people(nodes, come)
    numbers = count(1)

    async def send(node: NodeInside) -> Any:
        n = next(numbers)
        receipt = await node.publish(data={"n": n}, rooms=["sales"], volatile=True)
        return {**receipt, "n": n}

    handed = [(await node.whole(lambda node=node: send(node)))["n"] for node in nodes]
    await fence(nodes[0], list(here.values()))
    for name in ("ann", "ben", "cat"):
        assert [n for n in here[name].numbers() if n in handed] == handed
    assert here["dan"].numbers() == []


async def test_clients_of_all_nodes_see_one_order_and_so_does_the_history(
    nodes: list[NodeInside], come: Come
) -> None:
    here = [await come(node, token=token("ann")) for node in nodes]
    rounds = count(1)

    async def send(room: str, number: int) -> list[dict[str, Any]]:
        return [await nodes[number].tick(room, n * 10 + number) for n in range(1, 31)]

    async def one_round() -> dict[str, Any]:
        room = f"order-{next(rounds)}"
        for client in here:
            await client.join(room)
        receipts = await asyncio.gather(*(send(room, number) for number in range(3)))
        partial = [receipt for part in receipts for receipt in part if "partial" in receipt]
        # Alone for a moment, a node would not have waited for its place in the order.
        return {"room": room, **({"partial": True} if partial else {})}

    room = (await nodes[0].whole(one_round))["room"]
    await fence(nodes[1], here)
    order = [event["data"]["n"] for event in (await history(nodes[0], room))]
    assert sorted(order) == [n * 10 + number for n in range(1, 31) for number in range(3)]
    for number in range(3):
        assert [n for n in order if n % 10 == number] == [n * 10 + number for n in range(1, 31)]
    for client in here:
        assert client.numbers()[-90:] == order
    assert await history(nodes[1], room) == await history(nodes[0], room)
    assert await history(nodes[2], room) == await history(nodes[0], room)


async def history(node: NodeInside, room: str) -> list[dict[str, Any]]:
    page = await node.read(f"/websocket/rooms/{room}/history?limit=300")
    assert page["more"] is False
    return list(page["events"])


async def test_who_is_away_is_counted_as_pending_wherever_it_was(
    nodes: list[NodeInside], come: Come
) -> None:
    here = await people(nodes, come)
    here["cat"].cut()
    receipt = await answer_where(
        lambda: nodes[0].publish(rooms=["sales"]),
        lambda receipt: "partial" not in receipt and receipt["pending"],
    )
    assert (receipt["recipients"], receipt["pending"]) == (2, 1)
    receipt = await nodes[2].whole(lambda: nodes[2].publish(rooms=["sales"], volatile=True))
    assert (receipt["recipients"], receipt["pending"]) == (2, 0)


async def test_each_trigger_finds_clients_of_other_nodes_and_knows_who_is_nowhere(
    nodes: list[NodeInside], come: Come
) -> None:
    here = await people(nodes, come)
    ben = here["ben"].id
    receipt = await nodes[0].whole(lambda: nodes[0].send(f"/websocket/notify/client/{ben}", NOTE))
    assert receipt["recipients"] == 1
    assert (await here["ben"].next_event("notification"))["title"] == "t"
    receipt = await nodes[2].whole(lambda: nodes[2].publish(clients=[ben, "nobody"]))
    assert (receipt["recipients"], receipt["unknownClients"]) == (1, ["nobody"])
    for node in nodes:
        answer = await node.ask("POST", "/websocket/notify/client/nobody", NOTE)
        assert (answer.status, answer.body["error"]["code"]) == (404, "unknown_client")


async def test_a_request_waits_for_the_acknowledgements_of_clients_of_all_nodes(
    nodes: list[NodeInside], come: Come
) -> None:
    ann = await come(nodes[0], "sales", token=token("ann"))
    ben = await come(nodes[1], "sales", token=token("ben"))
    silent = await come(nodes[2], "sales", token=token("cat"), acknowledges=False)
    receipt = await nodes[0].whole(
        lambda: nodes[0].send("/websocket/event/room/sales/tick?wait=ack&timeout=1000", {"n": 1})
    )
    assert receipt["recipients"] == 3
    assert sorted(receipt["acked"]) == sorted([ann.id, ben.id])
    assert (receipt["timedOut"], receipt["disconnected"]) == ([silent.id], [])


async def test_who_is_cut_off_at_another_node_is_not_waited_for(
    nodes: list[NodeInside], come: Come
) -> None:
    ann = await come(nodes[0], "sales", token=token("ann"))

    async def with_a_cut() -> Any:
        cat = await come(nodes[2], "sales", token=token("cat"), acknowledges=False)
        waiting = asyncio.create_task(
            nodes[1].send("/websocket/event/room/sales/tick?wait=ack&timeout=20000")
        )
        await cat.next_event("tick")
        cat.cut()
        return {**await waiting, "cat": cat.id}

    receipt = await nodes[1].whole(with_a_cut)
    assert (receipt["acked"], receipt["timedOut"]) == ([ann.id], [])
    assert receipt["disconnected"] == [receipt["cat"]]


async def test_a_batch_reaches_all_nodes_in_its_order(nodes: list[NodeInside], come: Come) -> None:
    here = await people(nodes, come)
    numbers = count(1)

    async def send() -> Any:
        first, second = next(numbers), next(numbers)
        items = [
            {"event": "tick", "rooms": ["sales"], "data": {"n": first}},
            {"event": "tick"},
            {"event": "tick", "users": ["ann"], "data": {"n": second}},
        ]
        answer = await nodes[1].send("/websocket/batch", {"publish": items})
        good = [answer["results"][0], answer["results"][2]]
        missing = {"partial": True} if any("partial" in receipt for receipt in good) else {}
        return {**answer, **missing, "sent": [first, second]}

    answer = await nodes[1].whole(send)
    assert answer["success"] is False
    first, bad, second = answer["results"]
    assert (first["recipients"], second["recipients"]) == (3, 2)
    assert bad["error"]["code"] == "validation_error"
    await fence(nodes[0], list(here.values()))
    sent = answer["sent"]
    assert here["ann"].numbers()[-2:] == sent
    assert here["cat"].numbers()[-1] == sent[0]
    assert here["ann again"].numbers()[-1] == sent[1]


async def test_what_clients_say_reaches_those_of_other_nodes(
    nodes: list[NodeInside], come: Come
) -> None:
    here = await people(nodes, come)
    ann, ben, dan = here["ann"], here["ben"], here["dan"]
    answer = await nodes[0].whole(lambda: ann.ask("message", {"text": "to all"}))
    assert (answer["ok"], answer["recipients"], answer["pending"]) == (True, 4, 0)
    said = await dan.next_event("messageBroadcast")
    assert (said["from"], said["message"]) == (ann.id, {"text": "to all"})
    answer = await nodes[2].whole(
        lambda: dan.ask("roomMessage", {"room": "sales", "message": "from outside"})
    )
    assert (answer["ok"], answer["recipients"], answer["pending"]) == (True, 3, 0)
    said = await ben.next_event("roomMessage")
    assert (said["from"], said["room"], said["message"]) == (dan.id, "sales", "from outside")
    await fence(nodes[0], list(here.values()))
    assert ann.payloads("messageBroadcast") == []
    assert dan.payloads("roomMessage") == []


async def test_who_comes_and_goes_is_told_to_all_others_on_all_nodes(
    nodes: list[NodeInside], come: Come
) -> None:
    watching = [await come(node, token=token("ann")) for node in nodes]
    ben = await come(nodes[1], token=token("ben"))
    await ben.leave()
    for client in watching:
        await client.until(lambda client=client: client.payloads("clientLeft"))
        joined = [told["clientId"] for told in client.payloads("clientJoined")]
        later = watching[watching.index(client) + 1 :]
        assert joined == [*(other.id for other in later), ben.id]
        assert [told["clientId"] for told in client.payloads("clientLeft")] == [ben.id]
    assert ben.payloads("clientJoined") == []


async def test_presence_is_told_across_nodes_and_a_return_elsewhere_is_no_leave(
    nodes: list[NodeInside], come: Come
) -> None:
    ann = await come(nodes[0], "desk:1", token=token("ann"))
    ben = await come(nodes[1], "desk:1", token=token("ben"))
    cat = await come(nodes[2], "desk:1", token=token("cat"))

    def told(what: str) -> list[str]:
        return sorted(one["clientId"] for news in ann.payloads("presence") for one in news[what])

    await ann.until(lambda: len(told("joins")) == 2)
    assert told("joins") == sorted([ben.id, cat.id])
    assert (await ben.move(nodes[2].url)).recovered
    await cat.leave()
    # The leave of `cat` is told later than one of `ben` would have been.
    await ann.until(lambda: told("leaves"))
    assert told("leaves") == [cat.id]
    assert told("joins") == sorted([ben.id, cat.id])
    for node in nodes:
        here = await node.whole_read("/websocket/rooms/desk:1/presence")
        assert sorted(one["clientId"] for one in here["clients"]) == sorted([ann.id, ben.id])
    seen = await ben.ask("presence", {"room": "desk:1"})
    assert sorted(one["userId"] for one in seen["clients"]) == ["ann", "ben"]
