"""One event's way: recorded, delivered in order, and what the receipt says of it."""

import asyncio
from typing import Any

import pytest

from gtower_realtime.ack_waits import AckWait, AckWaits
from gtower_realtime.errors import Overloaded, StoreUnavailable
from gtower_realtime.events.server import server_event
from gtower_realtime.peers import NoPeers, Peers, Told
from gtower_realtime.ports import Target
from gtower_realtime.publishing import Delivery, Publisher, Receipt
from gtower_realtime.records import RoomEntered, StoredEvent
from tests.fakes import FakeWorld, an_event, make_world

pytestmark = pytest.mark.gen_test


async def a_world(*client_ids: str, peers: Peers | None = None) -> tuple[FakeWorld, Publisher]:
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
        peers=NoPeers() if peers is None else peers,
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


# Several processes


class Others(NoPeers):
    """Another process, which tells ``told`` of each event."""

    count = 1

    def __init__(self, told: Told) -> None:
        self.told = told
        self.expected: list[str] = []
        self.ended = 0
        self.relayed: list[tuple[str, bool]] = []
        self.wait: AckWait | None = None

    def expect(self, event_id: str, wait: AckWait | None) -> "Others":
        self.expected.append(event_id)
        self.wait = wait
        return self

    async def outcome(self) -> Told:
        if self.wait is not None:
            self.wait.expect(["far"])
            self.wait.acknowledge("far")
        return self.told

    def end(self) -> None:
        self.ended += 1

    def relay(self, event: StoredEvent, *, droppable: bool) -> None:
        self.relayed.append((event.event, droppable))


async def test_a_receipt_counts_the_recipients_of_all_processes() -> None:
    others = Others(Told(3, None))
    _, publisher = await a_world("c1", "c2", peers=others)
    receipt = await publisher.publish("dealWon", {}, Target.room("sales"))
    assert others.expected == [receipt.id]
    assert receipt.as_dict() == {
        "id": receipt.id,
        "recipients": 5,
        "pending": 0,
        "offset": str(receipt.offset),
    }
    assert (others.ended, others.relayed) == (1, [])


async def test_a_receipt_names_the_processes_that_have_not_told() -> None:
    _, publisher = await a_world("c1", peers=Others(Told(0, ("host-b:3000", "host-c:3000"))))
    receipt = await publisher.publish("dealWon", {}, Target.room("sales"))
    told = receipt.as_dict()
    assert (told["recipients"], told["partial"]) == (1, True)
    assert told["nodesMissing"] == ["host-b:3000", "host-c:3000"]
    alone = Receipt(id="e1", recipients=0, pending=0, offset=None, missing=())
    assert alone.as_dict() == {
        "id": "e1",
        "recipients": 0,
        "pending": 0,
        "partial": True,
        "nodesMissing": [],
    }


async def test_nobody_is_expected_to_tell_of_an_event_that_was_not_recorded() -> None:
    others = Others(Told(0, None))
    world, publisher = await a_world(peers=others)
    world.store.problem = StoreUnavailable("away")
    with pytest.raises(StoreUnavailable):
        await publisher.publish("dealWon", {}, Target.room("sales"))
    assert others.ended == 1


async def test_what_is_not_stored_is_relayed_to_the_others() -> None:
    others = Others(Told(2, None))
    _, publisher = await a_world("c1", peers=others)
    receipt = await publisher.publish(
        "tick", {}, Target.room("sales"), delivery=Delivery(is_volatile=True)
    )
    assert (receipt.recipients, receipt.offset) == (3, None)
    assert others.relayed == [("tick", True)]


async def test_the_clients_of_all_processes_are_asked_to_acknowledge() -> None:
    others = Others(Told(1, None))
    world, publisher = await a_world("c1", peers=others)
    sending = publisher.publish(
        "tick", {}, Target.room("sales"), delivery=Delivery(ack_seconds=60.0)
    )
    await world.journal.settled()
    [(_, asked, acknowledge)] = world.transport.asked
    assert asked == ["c1"]
    acknowledge("c1")
    told = (await sending).as_dict()
    assert (told["recipients"], sorted(told["acked"])) == (2, ["c1", "far"])


async def test_an_event_of_another_process_is_delivered_and_counted_once_only_there() -> None:
    world, publisher = await a_world("c1")
    heard: list[tuple[str, bool]] = []
    event = an_event(7, id="far-1", wants_acknowledgements=True)
    recipients, asked = publisher.deliver_for_another(
        event, world.offset(7), lambda *told: heard.append(told)
    )
    assert (recipients, asked) == (1, ["c1"])
    assert world.transport.events_of("c1") == ["dealWon"]
    [(_, _, acknowledge)] = world.transport.asked
    acknowledge("c1")
    assert heard == [("c1", True)]
    labels = {"event": "custom"}
    assert world.count("gtower_events_published_total", labels) in (None, 0)
    assert world.service.traces.find("far-1").is_ours is False
