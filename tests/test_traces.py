"""What became of an event at each client, over a service on fakes."""

from typing import Any

import pytest

from gtower_realtime import traces as module
from gtower_realtime.errors import UnknownEventId, ValidationFailed
from gtower_realtime.ports import Target
from gtower_realtime.publishing import Delivery, Receipt
from tests.fakes import TS, FakeWorld, make_world

pytestmark = pytest.mark.gen_test

SALES = Target.room("sales")
VOLATILE = Delivery(is_volatile=True)


async def a_world(*members: str, **options: Any) -> FakeWorld:
    """Return a world with clients that are in the room sales."""
    world = await make_world(**options)
    for client_id in members:
        await world.connect(client_id)
        await world.service.join_room(client_id, "sales")
    return world


async def send(
    world: FakeWorld, target: Target = SALES, delivery: Delivery | None = None
) -> Receipt:
    return await world.service.send("tick", {}, target, delivery or Delivery())


async def trace(world: FakeWorld, receipt: Receipt, **asked: Any) -> dict[str, Any]:
    traces = world.service.traces
    return await traces.describe(traces.find(receipt.id), **asked)


async def fate(world: FakeWorld, receipt: Receipt, client_id: str) -> tuple[str, str | None]:
    """Return the state of one client that is asked for, and the reason."""
    (entry,) = (await trace(world, receipt, client_id=client_id))["clients"]
    assert entry["clientId"] == client_id
    return entry["state"], entry.get("reason")


async def test_a_trace_says_what_the_event_was_and_who_has_it() -> None:
    world = await a_world("ann", "ben")
    await world.connect("eve")
    receipt = await send(world)
    assert await trace(world, receipt) == {
        "id": receipt.id,
        "event": "tick",
        "offset": str(receipt.offset),
        "target": {"rooms": ["sales"]},
        "timestamp": TS,
        "recipients": 2,
        "pending": 0,
        "clients": [
            {"clientId": "ann", "state": "written"},
            {"clientId": "ben", "state": "written"},
        ],
        "more": False,
    }


async def test_an_event_that_still_waits_for_a_client_is_queued() -> None:
    world = await a_world("ann")
    receipt = await send(world)
    world.transport.waiting["ann"] = 100
    assert await fate(world, receipt, "ann") == ("queued", None)


async def test_an_event_that_a_pong_has_confirmed_is_acknowledged() -> None:
    world = await a_world("ann")
    receipt, newer = await send(world), await send(world)
    assert receipt.offset is not None
    world.transport.connections["ann"].mark = receipt.offset.number
    assert await fate(world, receipt, "ann") == ("acknowledged", None)
    assert await fate(world, newer, "ann") == ("written", None)


async def test_an_event_whose_callback_was_called_is_acknowledged() -> None:
    world = await a_world("ann", "ben")
    waiting = world.service.begin_send("tick", {}, SALES, Delivery(ack_seconds=5))
    await world.journal.settled()
    ((_, _, acknowledged),) = world.transport.asked
    acknowledged("ann")
    world.cut("ben")
    receipt = await waiting
    assert await fate(world, receipt, "ann") == ("acknowledged", None)
    assert await fate(world, receipt, "ben") == ("pending", "cut off before it was confirmed")


async def test_a_volatile_event_is_confirmed_by_a_later_number_and_has_no_offset() -> None:
    world = await a_world("ann")
    receipt = await send(world, delivery=VOLATILE)
    assert "offset" not in await trace(world, receipt)
    assert await fate(world, receipt, "ann") == ("written", None)
    later = await send(world)
    assert later.offset is not None
    world.transport.connections["ann"].mark = later.offset.number
    assert await fate(world, receipt, "ann") == ("acknowledged", None)


async def test_who_is_away_has_it_pending_and_gets_it_at_the_return() -> None:
    world = await a_world("ann")
    seen = await send(world)
    world.cut("ann")
    receipt = await send(world)
    assert await fate(world, receipt, "ann") == ("pending", "away")
    assert await fate(world, seen, "ann") == ("pending", "cut off before it was confirmed")
    await world.come_back("ann", seen.offset)
    assert await fate(world, seen, "ann") == ("acknowledged", None)
    assert await fate(world, receipt, "ann") == ("written", "recovered")
    assert receipt.offset is not None
    world.transport.connections["ann"].mark = receipt.offset.number
    assert await fate(world, receipt, "ann") == ("acknowledged", "recovered")


async def test_what_was_recovered_and_cut_off_again_is_pending_again() -> None:
    world = await a_world("ann")
    seen = await send(world)
    world.cut("ann")
    receipt = await send(world)
    await world.come_back("ann", seen.offset)
    world.cut("ann")
    assert await fate(world, receipt, "ann") == ("pending", "cut off before it was confirmed")
    await world.come_back("ann", seen.offset)
    assert await fate(world, receipt, "ann") == ("written", "recovered")


async def test_what_expires_while_a_client_is_away_is_dropped() -> None:
    world = await a_world("ann")
    seen = await send(world)
    world.cut("ann")
    receipt = await send(world, delivery=Delivery(ttl_seconds=10))
    assert await fate(world, receipt, "ann") == ("pending", "away")
    world.clock.advance(11)
    assert await fate(world, receipt, "ann") == ("dropped", "expired")
    await world.come_back("ann", seen.offset)
    assert await fate(world, receipt, "ann") == ("dropped", "expired, deleted or not allowed")


async def test_a_volatile_event_is_lost_to_who_is_away() -> None:
    world = await a_world("ann")
    seen = await send(world)
    world.cut("ann")
    receipt = await send(world, delivery=VOLATILE)
    assert await fate(world, receipt, "ann") == ("dropped", "away")
    await world.come_back("ann", seen.offset)
    assert await fate(world, receipt, "ann") == ("dropped", "away")


async def test_who_does_not_come_back_in_time_has_it_dropped() -> None:
    world = await a_world("ann")
    world.cut("ann")
    receipt = await send(world)
    world.clock.advance(121)
    world.service.end_expired_sessions()
    assert await fate(world, receipt, "ann") == ("dropped", "away")


async def test_who_cannot_come_back_has_what_was_not_confirmed_dropped() -> None:
    world = await a_world()
    await world.connect("ann", takes_offsets=False)
    await world.service.join_room("ann", "sales")
    receipt = await send(world)
    world.service.client_has_everything("ann", 0)
    world.cut("ann")
    assert await fate(world, receipt, "ann") == ("dropped", "cut off before it was confirmed")
    later = await send(world)
    assert await fate(world, later, "ann") == ("not_matched", "not connected then")


async def test_what_was_confirmed_at_the_end_is_acknowledged() -> None:
    world = await a_world("ann")
    receipt = await send(world)
    assert receipt.offset is not None
    world.service.client_has_everything("ann", receipt.offset.number)
    world.say_goodbye("ann")
    assert await fate(world, receipt, "ann") == ("acknowledged", None)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (SALES, "not in the room"),
        (Target.user("u1"), "not addressed"),
        (Target.client("ann"), "not addressed"),
        (Target.all(excluded=frozenset({"eve"})), "excepted"),
    ],
)
async def test_who_did_not_get_it_is_told_why(target: Target, reason: str) -> None:
    world = await a_world("ann")
    await world.connect("eve")
    receipt = await send(world, target)
    assert await fate(world, receipt, "eve") == ("not_matched", reason)


async def test_who_came_later_or_never_is_told_so() -> None:
    world = await a_world("ann")
    receipt = await send(world)
    await world.connect("eve")
    assert await fate(world, receipt, "eve") == ("not_matched", "not connected then")
    assert await fate(world, receipt, "nobody") == ("not_matched", "unknown client")


async def test_a_user_is_asked_for_with_all_clients() -> None:
    world = await a_world("ann")
    await world.connect("desk", user_id="u1")
    await world.connect("phone", user_id="u1")
    await world.service.join_room("desk", "sales")
    receipt = await send(world)
    assert (await trace(world, receipt, user_id="u1"))["clients"] == [
        {"clientId": "desk", "state": "written"},
        {"clientId": "phone", "state": "not_matched", "reason": "not in the room"},
    ]


async def test_many_clients_are_told_in_pages() -> None:
    world = await a_world("a", "b", "c")
    receipt = await send(world)
    first = await trace(world, receipt, limit=2)
    assert ([one["clientId"] for one in first["clients"]], first["more"]) == (["a", "b"], True)
    rest = await trace(world, receipt, limit=2, after="b")
    assert ([one["clientId"] for one in rest["clients"]], rest["more"]) == (["c"], False)
    with pytest.raises(ValidationFailed, match="after: There is no such client"):
        await trace(world, receipt, after="nobody")


async def test_a_session_that_a_restart_has_brought_back_is_pending() -> None:
    before = await a_world("ann")
    world = await make_world(store=before.store)
    receipt = await send(world)
    assert (receipt.recipients, receipt.pending) == (0, 1)
    assert await fate(world, receipt, "ann") == ("pending", "away")


async def test_the_oldest_events_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_EVENTS", 2)
    world = await a_world("ann")
    receipts = [await send(world) for _ in range(3)]
    with pytest.raises(UnknownEventId) as refusal:
        await trace(world, receipts[0])
    assert (refusal.value.code, refusal.value.http_status) == ("unknown_event_id", 404)
    assert (await trace(world, receipts[1]))["recipients"] == 1


async def test_large_events_are_forgotten_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    world = await a_world("ann")
    small = await send(world)
    large = await world.service.send("tick", {"text": "x" * 2000}, SALES)
    with pytest.raises(UnknownEventId):
        await trace(world, small)
    assert (await trace(world, large))["recipients"] == 1


async def test_of_two_events_with_one_id_the_newer_is_found() -> None:
    world = await a_world("ann")
    await send(world, Target.client("ann"), Delivery(event_id="x"))
    newer = await send(world, SALES, Delivery(event_id="x"))
    assert (await trace(world, newer))["target"] == {"rooms": ["sales"]}


async def test_a_client_that_is_closing_will_get_at_its_return_what_comes_now() -> None:
    world = await a_world("ann")
    receipt = await send(world)
    world.service.client_closing("ann", 4102, may_return=True)
    later = await send(world)
    assert later.pending == 1
    assert await fate(world, receipt, "ann") == ("pending", "cut off before it was confirmed")
    assert await fate(world, later, "ann") == ("pending", "away")
