"""Reads and control in a cluster: any node tells of all, and may send away or move anybody."""

import time
from collections import Counter
from typing import Any

import jwt
import pytest

from tests.cluster import Come, Node, NodeInside, answer_where, fence
from tests.roaming_client import Lost, RoamingClient

pytestmark = pytest.mark.gen_test

SECRET = "a-secret-of-at-least-32-bytes-for-tests"
CAPS = [{"rooms": ["*"], "allow": ["join", "publish", "history", "presence"]}]


@pytest.fixture
def environ() -> dict[str, str]:
    return {"GTOWER_JWT_SECRET": SECRET}


def token(user: str) -> str:
    claims = {"sub": user, "exp": time.time() + 300, "caps": CAPS, "info": {"name": user.title()}}
    return jwt.encode(claims, SECRET, algorithm="HS256")


async def three(nodes: list[NodeInside], come: Come) -> list[RoamingClient]:
    """Let a client come to each node, into `desk:1`; the first and the last are one user."""
    return [
        await come(node, "desk:1", token=token(user))
        for node, user in zip(nodes, ("ann", "ben", "ann"), strict=True)
    ]


async def read_where(node: Node, path: str, **expected: Any) -> Any:
    """Return the first whole answer that has the fields expected."""

    def holds(answer: Any) -> bool:
        return all(answer.get(name) == value for name, value in expected.items())

    return await answer_where(lambda: node.whole_read(path), holds)


async def test_status_and_lists_are_of_the_whole_cluster(
    nodes: list[NodeInside], come: Come
) -> None:
    here = await three(nodes, come)
    ids = [client.id for client in here]
    await here[1].join("hr")
    for node in nodes:
        status = await node.whole_read("/websocket/status")
        assert (status["connectedClients"], status["status"]) == (3, "active")
        listed = await node.whole_read("/websocket/clients")
        assert [one["id"] for one in listed] == ids
        assert [one["userId"] for one in listed] == ["ann", "ben", "ann"]
        assert [sorted(one["rooms"]) for one in listed] == [
            ["desk:1", "user:ann"],
            ["desk:1", "hr", "user:ben"],
            ["desk:1", "user:ann"],
        ]
        assert [one["transport"] for one in listed] == ["websocket"] * 3
        assert [one["metadata"]["ip"] for one in listed] == ["127.0.0.1"] * 3
        rooms = await node.whole_read("/websocket/rooms?limit=1")
        assert rooms["rooms"] == [{"room": "desk:1", "clients": 3}]
        more = await node.whole_read(f"/websocket/rooms?after={rooms['next']}")
        assert more["rooms"] == [{"room": "hr", "clients": 1}]
        room = await node.whole_read("/websocket/rooms/desk:1")
        assert (room["clients"], room["users"]) == (3, 2)
        user = await node.whole_read("/websocket/users/ann")
        assert (user["connected"], set(user["clients"])) == (True, {ids[0], ids[2]})
        there = await node.whole_read("/websocket/rooms/desk:1/presence")
        shown = {one["clientId"]: one["info"]["name"] for one in there["clients"]}
        assert shown == dict(zip(ids, ("Ann", "Ben", "Ann"), strict=True))
        for client in here:
            one = await node.whole_read(f"/websocket/clients/{client.id}/status")
            assert one["connected"] is True


async def test_pages_lead_through_clients_of_all_nodes(nodes: list[NodeInside], come: Come) -> None:
    ids = [(await come(nodes[n % 3], token=token("ann"))).id for n in range(7)]
    for node in nodes:
        listed: list[str] = []
        after = ""
        while page := await node.whole_read(f"/websocket/clients?limit=3{after}"):
            assert len(page) <= 3
            listed += [one["id"] for one in page]
            after = f"&after={listed[-1]}"
        assert listed == ids


async def test_who_leaves_is_gone_from_the_lists_of_all_nodes(
    nodes: list[NodeInside], come: Come
) -> None:
    here = await three(nodes, come)
    await here[1].leave()
    here[2].cut()
    for node in nodes:
        await read_where(node, "/websocket/status", connectedClients=1)
        await read_where(node, "/websocket/rooms/desk:1", clients=1)
        await read_where(node, "/websocket/users/ben", connected=False, clients=[])
        await read_where(node, f"/websocket/clients/{here[2].id}/status", connected=False)


async def test_history_and_position_are_the_same_at_all_nodes(nodes: list[NodeInside]) -> None:
    for n, node in enumerate(nodes):
        await node.tick("sales", n)
    await nodes[0].tick("hr", 9)
    pages = [await node.read("/websocket/rooms/sales/history?limit=2") for node in nodes]
    assert [event["data"]["n"] for event in pages[0]["events"]] == [0, 1]
    assert pages[0]["more"] is True
    assert pages[1] == pages[2] == pages[0]
    after = pages[0]["events"][1]["offset"]
    rest = [await node.read(f"/websocket/rooms/sales/history?after={after}") for node in nodes]
    assert [event["data"]["n"] for event in rest[0]["events"]] == [2]
    assert rest[1] == rest[2] == rest[0]
    offset = rest[0]["events"][0]["offset"]
    for node in nodes:
        assert await node.read(f"/websocket/rooms/sales/history?after={offset}") == {
            "room": "sales",
            "events": [],
            "more": False,
        }
        position = await node.read("/websocket/rooms/sales/position")
        assert position["room"] == "sales"


async def test_a_history_that_one_node_deletes_is_gone_at_all(nodes: list[NodeInside]) -> None:
    await nodes[0].tick("sales", 1)
    assert (await nodes[1].ask("DELETE", "/websocket/rooms/sales/history")).status == 200
    await nodes[2].tick("sales", 2)
    for node in nodes:
        page = await node.read("/websocket/rooms/sales/history")
        assert [event["data"]["n"] for event in page["events"]] == [2]


async def test_any_node_traces_an_event_at_the_clients_of_all(
    nodes: list[NodeInside], come: Come
) -> None:
    here = await three(nodes, come)
    receipt = await nodes[0].whole(lambda: nodes[0].tick("desk:1", 1))
    await fence(nodes[0], here)
    for node in nodes:
        trace = await node.whole_read(f"/websocket/events/{receipt['id']}")
        assert (trace["id"], trace["event"]) == (receipt["id"], "tick")
        assert trace["offset"] == receipt["offset"]
        states = {one["clientId"]: one["state"] for one in trace["clients"]}
        assert sorted(states) == sorted(client.id for client in here)
        assert set(states.values()) <= {"written", "acknowledged"}


async def test_analytics_count_what_happened_at_all_nodes(
    nodes: list[NodeInside], come: Come
) -> None:
    here = await three(nodes, come)
    await nodes[0].tick("desk:1", 1)
    await nodes[1].tick("desk:1", 2)
    await fence(nodes[2], here)

    for node in nodes:
        page = await node.whole_read("/websocket/analytics")
        events = Counter[str]()
        for point in page["points"]:
            events.update(point["events"])
        assert events == {"tick": 2, "fence": 1}
        assert sum(point["recipients"] for point in page["points"]) == 9
        assert max(point["connections"] for point in page["points"]) == 3


async def test_a_client_of_another_node_is_sent_away_and_comes_back_nowhere(
    nodes: list[NodeInside], come: Come
) -> None:
    ann, ben, _ = await three(nodes, come)
    answer = await nodes[2].ask("POST", f"/websocket/clients/{ann.id}/disconnect", {"reason": "x"})
    assert (answer.status, answer.body["disconnected"]) == (200, 1)
    told = await ann.next_event("exception")
    assert (told["event"], told["message"]) == ("disconnect", "x")
    await ann.is_away()
    await ben.until(lambda: ben.payloads("clientLeft"))
    assert ben.payloads("clientLeft")[0]["clientId"] == ann.id
    answer = await nodes[1].ask("POST", "/websocket/clients/nobody/disconnect", {})
    assert (answer.status, answer.body["error"]["code"]) == (404, "unknown_client")


async def test_a_session_that_was_revoked_is_recovered_at_no_node(
    nodes: list[NodeInside], come: Come
) -> None:
    for back_at, asked in ((0, 1), (1, 2), (2, 0)):
        ann = await come(nodes[0], token=token("ann"))
        before = ann.id
        ann.cut()
        await ann.is_away()
        answer = await nodes[asked].ask("POST", f"/websocket/clients/{before}/disconnect", {})
        assert answer.status == 200
        welcome = await ann.connect(nodes[back_at].url)
        assert (welcome.recovered, welcome.reason) == (False, "revoked")
        assert ann.id != before
        ann.stop()


async def test_all_connections_of_a_user_are_cut_whichever_nodes_they_are_at(
    nodes: list[NodeInside], come: Come
) -> None:
    first, ben, last = await three(nodes, come)
    away = await come(nodes[1], token=token("ann"))
    away.cut()
    await away.is_away()
    await read_where(nodes[1], "/websocket/status", connectedClients=3)
    answer = await nodes[1].whole(lambda: send_away(nodes[1], "ann"))
    assert answer["disconnected"] == 2
    await first.is_away()
    await last.is_away()
    assert (await away.connect(nodes[2].url)).reason == "revoked"
    await fence(nodes[0], [ben])
    await read_where(nodes[0], "/websocket/users/ben", clients=[ben.id])


async def send_away(node: NodeInside, user: str) -> Any:
    answer = await node.ask("POST", f"/websocket/users/{user}/disconnect", {})
    assert answer.status == 200
    return answer.body


async def test_who_may_reconnect_is_recovered_at_another_node(
    nodes: list[NodeInside], come: Come
) -> None:
    ann, ben, _ = await three(nodes, come)
    before = ann.id
    path = f"/websocket/clients/{ann.id}/disconnect"
    answer = await nodes[2].ask("POST", path, {"reconnect": True})
    assert (answer.status, answer.body["disconnected"]) == (200, 1)
    await ann.is_away()
    await nodes[1].tick("desk:1", 1)
    welcome = await ann.connect(nodes[1].url)
    assert (welcome.recovered, ann.id) == (True, before)
    await fence(nodes[0], [ann, ben])
    assert ann.numbers() == [1]


async def test_any_node_puts_a_client_into_a_room_and_takes_it_out(
    nodes: list[NodeInside], come: Come
) -> None:
    ann = await come(nodes[0], token=token("ann"))
    path = f"/websocket/clients/{ann.id}/rooms/vip"
    assert (await nodes[1].ask("PUT", path)).status == 200
    assert (await ann.next_event("roomJoined"))["room"] == "vip"
    await nodes[2].tick("vip", 1)
    await read_where(nodes[2], "/websocket/rooms/vip", clients=1)
    assert (await nodes[2].ask("DELETE", path)).status == 200
    assert (await ann.next_event("roomLeft"))["room"] == "vip"
    await nodes[1].tick("vip", 2)
    await fence(nodes[2], [ann])
    assert ann.numbers() == [1]
    answer = await nodes[1].ask("PUT", "/websocket/clients/nobody/rooms/vip")
    assert (answer.status, answer.body["error"]["code"]) == (404, "unknown_client")


async def test_a_client_that_is_away_is_put_into_no_room_by_any_node(
    nodes: list[NodeInside], come: Come
) -> None:
    ann = await come(nodes[0], token=token("ann"))
    ann.cut()
    await ann.is_away()
    await read_where(nodes[0], "/websocket/status", connectedClients=0)
    for node in nodes:
        answer = await node.ask("PUT", f"/websocket/clients/{ann.id}/rooms/vip")
        assert (answer.status, answer.body["error"]["code"]) == (404, "unknown_client")


async def test_a_refused_client_is_refused_by_all_nodes(
    nodes: list[NodeInside], come: Come
) -> None:
    for node in nodes:
        with pytest.raises(Lost, match="missing_token"):
            await come(node)
    assert (await nodes[0].whole_read("/websocket/status"))["connectedClients"] == 0
