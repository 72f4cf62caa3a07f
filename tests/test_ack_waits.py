"""Receipts that wait for acknowledgements: who answered, who did not, who has gone."""

import asyncio

import pytest

from gtower_realtime import ack_waits
from gtower_realtime.ack_waits import AckWaits
from gtower_realtime.errors import Overloaded, RealtimeError
from gtower_realtime.ports import Target
from gtower_realtime.publishing import Delivery
from tests.fakes import FakeWorld, make_world

pytestmark = pytest.mark.gen_test

LONG = Delivery(ack_seconds=60)
SHORT = Delivery(ack_seconds=0.001)


async def a_world() -> FakeWorld:
    world = await make_world()
    await world.connect("c1", "c2", "c3")
    return world


def waits_of(world: FakeWorld) -> AckWaits:
    return world.service._publisher._ack_waits


async def test_each_client_is_in_one_list() -> None:
    world = await a_world()
    sending = asyncio.ensure_future(world.service.send("tick", {}, Target.all(), SHORT))
    await world.journal.settled()
    [(event, asked, acknowledge)] = world.transport.asked
    assert (event, asked) == ("tick", ["c1", "c2", "c3"])
    acknowledge("c2")
    world.cut("c3")
    receipt = (await sending).as_dict()
    assert (receipt["acked"], receipt["timedOut"], receipt["disconnected"]) == (
        ["c2"],
        ["c1"],
        ["c3"],
    )
    acknowledge("c1")
    acknowledge("c2")
    assert receipt["acked"] == ["c2"]
    assert len(waits_of(world)) == 0
    assert waits_of(world)._of_client == {}


async def test_it_is_over_when_all_have_answered() -> None:
    world = await a_world()
    sending = asyncio.ensure_future(world.service.send("tick", {}, Target.all(), LONG))
    await world.journal.settled()
    [(_, asked, acknowledge)] = world.transport.asked
    for client_id in reversed(asked):
        acknowledge(client_id)
    assert (await sending).as_dict()["acked"] == ["c3", "c2", "c1"]


async def test_nobody_is_waited_for_when_nobody_is_there() -> None:
    world = await a_world()
    receipt = await world.service.send("tick", {}, Target.room("empty"), LONG)
    assert receipt.recipients == 0
    assert receipt.as_dict()["acked"] == receipt.as_dict()["timedOut"] == []


async def test_only_so_many_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ack_waits, "MAX_WAITING", 1)
    world = await a_world()
    sending = asyncio.ensure_future(world.service.send("tick", {}, Target.all(), LONG))
    await world.journal.settled()
    with pytest.raises(Overloaded):
        await world.service.send("tock", {}, Target.all(), LONG)
    assert world.transport.events_of("c1") == ["tick"]
    for client_id in ("c1", "c2", "c3"):
        world.transport.asked[0][2](client_id)
    await sending
    sending = asyncio.ensure_future(world.service.send("tock", {}, Target.all(), LONG))
    await world.journal.settled()
    for client_id in ("c1", "c2", "c3"):
        world.transport.asked[1][2](client_id)
    await sending


async def test_who_stops_waiting_leaves_nothing_behind() -> None:
    world = await a_world()
    sending = asyncio.ensure_future(world.service.send("tick", {}, Target.all(), LONG))
    await world.journal.settled()
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    await asyncio.sleep(0)
    assert len(waits_of(world)) == 0
    assert waits_of(world)._of_client == {}


async def test_what_is_not_recorded_is_waited_for_by_nobody() -> None:
    world = await a_world()
    world.store.problem = OSError("no disk")
    with pytest.raises(RealtimeError):
        await world.service.send("tick", {}, Target.all(), LONG)
    assert world.transport.asked == []
    assert len(waits_of(world)) == 0


async def test_an_event_that_was_not_acknowledged_is_sent_again_in_its_place() -> None:
    world = await a_world()
    for event in ("one", "two", "three"):
        sending = asyncio.ensure_future(world.service.send(event, {}, Target.client("c1"), SHORT))
        await world.journal.settled()
        if event == "two":
            world.transport.asked[-1][2]("c1")
        await sending
    offset = world.offset(0)
    world.cut("c1")
    await world.service.send("four", {}, Target.client("c1"))
    await world.come_back("c1", offset)
    assert world.transport.events_of("c1") == ["connected", "one", "three", "four"]
    assert world.transport.connections["c1"].offsets[1:] == [
        world.offset(1),
        world.offset(3),
        world.offset(4),
    ]


async def test_an_offset_that_covers_it_is_an_acknowledgement_too() -> None:
    world = await a_world()
    await world.service.send("one", {}, Target.client("c1"), SHORT)
    await world.service.send("two", {}, Target.client("c1"))
    world.cut("c1")
    await world.come_back("c1", world.offset(2))
    assert world.transport.events_of("c1") == ["connected"]


# Several deliveries


async def test_an_event_that_is_handed_over_in_several_places_waits_for_all_of_them() -> None:
    wait = AckWaits().begin(60.0, deliveries=3)
    wait.expect(["c1"])
    wait.acknowledge("c1")
    wait.expect([])
    assert not wait.outcome.done()
    wait.expect(["c2"])
    assert wait.waits_for() == ["c2"]
    wait.lose("c2")
    told = await wait.outcome
    assert (told.acked, told.disconnected, told.timed_out) == (["c1"], ["c2"], [])


async def test_where_nobody_is_asked_the_last_place_ends_it() -> None:
    waits = AckWaits()
    wait = waits.begin(60.0, deliveries=2)
    wait.expect([])
    assert not wait.outcome.done()
    wait.expect([])
    assert (await wait.outcome).acked == []
    await asyncio.sleep(0)
    assert len(waits) == 0


async def test_a_place_that_tells_after_the_end_changes_nothing() -> None:
    waits = AckWaits()
    wait = waits.begin(60.0, deliveries=2)
    wait.expect(["c1"])
    wait.end()
    wait.expect(["c2"])
    assert (await wait.outcome).timed_out == ["c1"]
    assert waits._of_client == {}


async def test_the_process_that_has_published_is_told_of_each_client_once() -> None:
    waits = AckWaits()
    heard: list[tuple[str, bool]] = []
    wait = waits.follow(lambda client_id, is_here: heard.append((client_id, is_here)))
    wait.expect(["c1", "c2", "c3"])
    wait.acknowledge("c1")
    wait.acknowledge("c1")
    waits.gone("c2")
    assert heard == [("c1", True), ("c2", False)]
    assert wait.waits_for() == ["c3"]
    # That process counts it; this one does not.
    assert len(waits) == 0
    wait.end()
    assert heard == [("c1", True), ("c2", False)]
