"""The same request at two nodes is one request: idempotency keys, ids, ids of clients' messages."""

import asyncio

import pytest

from tests.cluster import Answer, Come, NodeInside, fence

pytestmark = pytest.mark.gen_test

PATH = "/websocket/event/room/sales/tick"


async def post(node: NodeInside, key: str, n: int = 1) -> Answer:
    return await node.ask("POST", PATH, {"n": n}, Idempotency_Key=key)


async def test_a_key_that_another_node_has_answered_gets_the_same_answer(
    nodes: list[NodeInside], come: Come
) -> None:
    ann = await come(nodes[0], "sales")
    first = await post(nodes[0], "k")
    assert (first.status, first.headers.get("Idempotency-Replayed")) == (201, None)
    for node in (nodes[1], nodes[2], nodes[0]):
        again = await post(node, "k")
        assert (again.status, again.headers.get("Idempotency-Replayed")) == (201, "true")
        assert again.body == first.body
        other = await post(node, "k", n=2)
        assert (other.status, other.body["error"]["code"]) == (422, "idempotency_mismatch")
    await fence(nodes[1], [ann])
    assert ann.numbers() == [1]


async def test_a_key_at_all_nodes_at_the_same_moment_makes_one_event(
    nodes: list[NodeInside], come: Come
) -> None:
    ann = await come(nodes[2], "sales")
    for attempt in range(10):
        answers = await asyncio.gather(*(post(node, f"k{attempt}", attempt) for node in nodes))
        for answer in answers:
            if answer.status != 201:
                assert (answer.status, answer.body["error"]["code"]) == (
                    409,
                    "idempotency_in_flight",
                )
        given = {answer.body["id"] for answer in answers if answer.status == 201}
        given |= {(await post(node, f"k{attempt}", attempt)).body["id"] for node in nodes}
        assert len(given) == 1
    await fence(nodes[1], [ann])
    assert ann.numbers() == list(range(10))


async def test_an_id_published_twice_at_different_nodes_is_one_event(
    nodes: list[NodeInside], come: Come
) -> None:
    ann = await come(nodes[2], "sales")
    body = {"event": "tick", "rooms": ["sales"], "data": {"n": 1}, "id": "order-7"}
    first = await nodes[0].ask("POST", "/websocket/publish", body)
    again = await nodes[1].ask("POST", "/websocket/publish", body)
    assert (first.status, again.status) == (201, 201)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.body == first.body
    other = await nodes[2].ask("POST", "/websocket/publish", {**body, "data": {"n": 2}})
    assert (other.status, other.body["error"]["code"]) == (422, "idempotency_mismatch")
    await fence(nodes[1], [ann])
    assert ann.numbers() == [1]


@pytest.mark.parametrize(
    ("event", "argument", "told"),
    [
        ("message", {"text": "hello"}, "messageBroadcast"),
        ("roomMessage", {"room": "sales", "message": "hello"}, "roomMessage"),
    ],
)
async def test_a_message_that_a_client_repeats_at_another_node_is_sent_once(
    nodes: list[NodeInside], come: Come, event: str, argument: dict[str, str], told: str
) -> None:
    ann, ben = await come(nodes[0]), await come(nodes[1], "sales")
    marked = {**argument, "clientMsgId": "message-number-0001"}
    first = await ann.ask(event, marked)
    assert first["ok"] is True
    for node in (nodes[2], nodes[1]):
        await ann.move(node.url)
        assert await ann.ask(event, marked) == first
    await fence(nodes[0], [ben])
    assert len(ben.payloads(told)) == 1
