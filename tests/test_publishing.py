"""One event's way: recorded, delivered in order, and what the receipt says of it."""

import asyncio
from typing import Any

import pytest

from gtower_realtime.ack_waits import AckWaits
from gtower_realtime.errors import Overloaded, StoreUnavailable
from gtower_realtime.events.server import server_event
from gtower_realtime.peers import NoPeers
from gtower_realtime.ports import Target
from gtower_realtime.publishing import Publisher, Receipt
from gtower_realtime.records import RoomEntered
from tests.fakes import FakeWorld, make_world

pytestmark = pytest.mark.gen_test


async def a_world(*client_ids: str) -> tuple[FakeWorld, Publisher]:
    """Return a world with clients in the room sales, and a publisher in it."""
    world = await make_world()
    await world.connect(*client_ids)
    for client_id in client_ids:
        await world.service.join_room(client_id, "sales")
    world.transport.forget()
    publisher = Publisher(
        journal=world.journal,
        transport=world.transport,
        sessions=world.sessions,
        ack_waits=AckWaits(),
        traces=world.service.traces,
        clock=world.clock,
        metrics=world.metrics,
        peers=NoPeers(),
    )
    return world, publisher


async def test_events_are_delivered_in_the_order_of_the_calls_with_rising_offsets() -> None:
    world, publisher = await a_world("c1")
    receipts = await asyncio.gather(
        *(publisher.publish("dealWon", {"n": n}, Target.room("sales")) for n in range(1, 31))
    )
    assert [payload["n"] for _, payload in world.received("c1")] == list(range(1, 31))
    offsets = [world.offset(number) for number in range(1, 31)]
    assert world.transport.connections["c1"].offsets == offsets
    assert [receipt.offset for receipt in receipts] == offsets


async def test_joins_and_events_take_effect_in_the_order_in_which_they_were_asked_for() -> None:
    world, publisher = await a_world("c1")
    room = Target.room("other")

    def publish(n: int) -> "asyncio.Future[Receipt]":
        return publisher.publish("dealWon", {"n": n}, room)

    await asyncio.gather(
        publish(1),
        world.service.join_room("c1", "other"),
        publish(2),
        publish(3),
        world.service.leave_room("c1", "other"),
        publish(4),
    )
    received = [(event, payload.get("n")) for event, payload in world.received("c1")]
    assert received == [("roomJoined", None), ("dealWon", 2), ("dealWon", 3), ("roomLeft", None)]
    stay = world.session("c1").memberships[-1]
    assert (stay.room, stay.after, stay.until) == ("other", 1, 3)


async def test_what_follows_an_event_comes_before_the_next() -> None:
    world, publisher = await a_world("c1")
    seen: list[Any] = []

    def then(receipt: Receipt) -> None:
        seen.append((receipt.offset and receipt.offset.number, len(world.received("c1"))))

    await asyncio.gather(
        *(publisher.publish("dealWon", {}, Target.all(), then=then) for _ in range(3))
    )
    assert seen == [(1, 1), (2, 2), (3, 3)]


async def test_an_event_that_is_not_stored_goes_at_once_and_has_no_offset() -> None:
    world, publisher = await a_world("c1")
    assert not server_event("clientLeft").stored
    world.store.hold()
    receipt = await publisher.publish("clientLeft", {"clientId": "c9"}, Target.all())
    assert (receipt.recipients, receipt.pending, receipt.offset) == (1, 0, None)
    assert "offset" not in receipt.as_dict()
    assert world.received("c1") == [("clientLeft", {"clientId": "c9"})]
    assert world.store.events == []


async def test_what_is_recorded_with_an_event_knows_its_number() -> None:
    world, publisher = await a_world("c1")
    await publisher.publish(
        "dealWon",
        {},
        Target.all(),
        also=lambda event: [RoomEntered("c1", event.id, event.number)],
    )
    event, change = world.store.commits[-1]
    assert change == RoomEntered("c1", world.store.events[0].id, 1)
    assert event != change


async def test_who_is_away_is_pending_until_it_is_back() -> None:
    world, publisher = await a_world("c1", "c2", "c3")

    async def counts(target: Target) -> tuple[int, int]:
        receipt = await publisher.publish("dealWon", {}, target)
        return receipt.recipients, receipt.pending

    world.cut("c2")
    assert await counts(Target.room("sales")) == (2, 1)
    assert await counts(Target.room("other")) == (0, 0)
    assert await counts(Target.client("c2")) == (0, 1)
    assert await counts(Target.all(excluded=frozenset({"c2"}))) == (2, 0)
    await world.come_back("c2", world.offset(0))
    assert await counts(Target.room("sales")) == (3, 0)
    world.say_goodbye("c3")
    assert await counts(Target.room("sales")) == (2, 0)


async def test_what_could_not_be_recorded_is_delivered_to_nobody() -> None:
    world, publisher = await a_world("c1")
    world.store.problem = StoreUnavailable("The disk is full.")
    seen: list[Receipt] = []
    with pytest.raises(StoreUnavailable):
        await publisher.publish("dealWon", {}, Target.all(), then=seen.append)
    assert (world.received("c1"), seen) == ([], [])


async def test_large_events_that_wait_are_refused_before_they_fill_the_memory() -> None:
    world, publisher = await a_world("c1")
    world.store.hold()
    megabyte = {"text": "x" * 1_000_000}
    first = publisher.publish("dealWon", megabyte, Target.all())
    await world.store.asked.wait()
    waiting = [publisher.publish("dealWon", megabyte, Target.all()) for _ in range(80)]
    refused = [answer for answer in waiting if answer.done()]
    assert len(refused) == 12
    assert all(isinstance(answer.exception(), Overloaded) for answer in refused)
    world.store.let()
    await asyncio.gather(first, *waiting, return_exceptions=True)
    assert len(world.store.events) == 1 + 68


async def test_what_json_cannot_say_is_refused_at_once() -> None:
    _, publisher = await a_world("c1")
    with pytest.raises(ValueError, match="not JSON serializable"):
        publisher.publish("dealWon", {"n": object()}, Target.all())
