"""Clients that come, go and come back, and everything that can cross their way."""

import asyncio
from typing import Any

import pytest

from gtower_realtime.errors import StoreUnavailable
from gtower_realtime.ports import Offset, Target
from gtower_realtime.records import (
    Change,
    SessionAway,
    SessionEnded,
    SessionOpened,
    SessionResumed,
)
from gtower_realtime.recovery import Claim
from tests.fakes import NOW_MS, TS, FakeCaller, FakeStore, FakeWorld, make_world

pytestmark = pytest.mark.gen_test

WELCOME = {"message": "Successfully connected to WebSocket server", "timestamp": TS}


def recorded(world: FakeWorld) -> list[Change]:
    """Return what was recorded of sessions; a new one by its client id."""
    return [change for commit in world.store.commits for change in commit]


async def publish(world: FakeWorld, target: Target, n: int) -> None:
    await world.service.send("dealWon", {"n": n}, target)


def heard(world: FakeWorld, client_id: str) -> list[Any]:
    """Return the n of each dealWon that a client has received, and the names of all else."""
    return [payload.get("n", event) for event, payload in world.received(client_id)]


# New clients


async def test_a_new_client_has_its_session_recorded_and_hears_connected_with_an_offset() -> None:
    world = await make_world()
    await world.service.broadcast_event("dealWon", {})
    caller = await world.call("c1")
    assert caller.client_id == "c1"
    session = world.session("c1")
    assert caller.pid == session.pid
    assert recorded(world)[-1] == SessionOpened(session.stored())
    assert world.received("c1") == [("connected", WELCOME | {"clientId": "c1", "recovered": False})]
    assert world.transport.connections["c1"].offsets == [world.offset(1)]


async def test_nobody_hears_of_a_client_before_its_session_is_recorded() -> None:
    world = await make_world()
    await world.connect("c1")
    world.store.hold()
    connecting = asyncio.ensure_future(world.call("c2"))
    await world.store.asked.wait()
    assert world.received("c1") == []
    assert (len(world.clients), len(world.sessions)) == (1, 1)
    world.store.let()
    await connecting
    assert heard(world, "c1") == ["clientJoined"]


async def test_what_was_published_before_a_client_was_there_is_not_for_it() -> None:
    world = await make_world()
    world.store.hold()
    first = asyncio.ensure_future(world.service.broadcast_event("dealWon", {"n": 1}))
    await world.store.asked.wait()
    connecting = asyncio.ensure_future(world.call("c1"))
    await asyncio.sleep(0)
    second = asyncio.ensure_future(world.service.broadcast_event("dealWon", {"n": 2}))
    await asyncio.sleep(0)
    world.store.let()
    await asyncio.gather(first, connecting, second)
    assert heard(world, "c1") == ["connected", 2]
    assert world.transport.connections["c1"].offsets == [world.offset(1), world.offset(2)]


async def test_a_connection_that_is_gone_before_its_session_is_recorded_leaves_no_ghost() -> None:
    world = await make_world()
    await world.connect("c1")
    world.store.hold()
    caller = FakeCaller(world.transport)
    connecting = asyncio.ensure_future(world.call("c2", caller=caller))
    await world.store.asked.wait()
    caller.is_gone = True
    world.store.let()
    await connecting
    assert caller.client_id is None
    assert (world.received("c1"), "c2" in world.clients) == ([], False)
    assert world.sessions.of_client("c2") is None
    await world.journal.settled()
    assert recorded(world)[-1] == SessionEnded("c2")


async def test_a_client_whose_session_cannot_be_recorded_is_not_there() -> None:
    world = await make_world()
    await world.connect("c1")
    world.store.problem = StoreUnavailable("The disk is full.")
    caller = FakeCaller(world.transport)
    with pytest.raises(StoreUnavailable):
        await world.call("c2", caller=caller)
    assert caller.client_id is None
    assert (world.received("c1"), len(world.clients), len(world.sessions)) == ([], 1, 1)


async def test_a_fault_while_a_client_is_taken_up_leaves_no_session() -> None:
    world = await make_world()

    class FaultyCaller(FakeCaller):
        def welcome(self, client_id: str, pid: str | None) -> bool:
            raise KeyError("a fault")

    with pytest.raises(KeyError, match="a fault"):
        await world.call("c1", caller=FaultyCaller(world.transport))
    assert (len(world.sessions), len(world.clients)) == (0, 0)


async def test_a_client_that_cannot_take_offsets_has_no_session_and_cannot_come_back() -> None:
    world = await make_world()
    caller = await world.call("c1", takes_offsets=False)
    assert (caller.client_id, caller.pid) == ("c1", None)
    assert len(world.sessions) == 0
    await publish(world, Target.client("c1"), 1)
    assert heard(world, "c1") == ["connected", 1]
    assert world.transport.connections["c1"].offsets == [None, None]
    world.cut("c1")
    receipt = await world.service.broadcast_event("dealWon", {})
    assert receipt.pending == 0
    assert not [change for change in recorded(world) if isinstance(change, SessionOpened)]


async def test_a_client_of_a_user_gets_what_is_for_the_user_here_and_away() -> None:
    world = await make_world()
    await world.connect("c1", user_id="u1")
    await publish(world, Target.user("u1"), 1)
    world.cut("c1")
    await publish(world, Target.user("u1"), 2)
    await world.come_back("c1", world.offset(1))
    await publish(world, Target.user("u1"), 3)
    assert heard(world, "c1") == ["connected", 2, 3]
    [client] = world.service.directory.clients()
    assert (client["userId"], client["rooms"]) == ("u1", ["user:u1"])


# Going


async def test_who_drops_may_return_and_who_says_goodbye_has_ended() -> None:
    world = await make_world()
    await world.connect("c1", "c2", "c3")
    world.cut("c1")
    world.say_goodbye("c2")
    assert heard(world, "c3") == ["clientLeft", "clientLeft"]
    assert world.session("c1").away_since == NOW_MS
    assert world.sessions.of_client("c2") is None
    await world.journal.settled()
    assert recorded(world)[-2:] == [SessionAway("c1", NOW_MS), SessionEnded("c2")]


async def test_a_goodbye_that_cannot_be_recorded_is_counted_and_still_heard() -> None:
    world = await make_world()
    await world.connect("c1", "c2")
    world.store.problem = StoreUnavailable("The disk is full.")
    world.cut("c1")
    await world.journal.settled()
    await asyncio.sleep(0)
    assert heard(world, "c2") == ["clientLeft"]
    assert world.count("gtower_session_changes_lost_total") == 1


async def test_who_is_away_for_too_long_has_ended() -> None:
    world = await make_world(recovery_seconds=120)
    await world.connect("c1", "c2")
    world.cut("c1")
    pid = world.session("c1").pid
    world.clock.advance(120)
    world.service.end_expired_sessions()
    assert world.sessions.of_client("c1") is not None
    world.clock.advance(0.001)
    world.service.end_expired_sessions()
    assert world.sessions.of_client("c1") is None
    await world.journal.settled()
    assert recorded(world)[-1] == SessionEnded("c1")
    caller = await world.call("c3", Claim(pid, str(world.offset(0))))
    assert caller.client_id == "c3"
    assert world.received("c3")[0][1]["reason"] == "expired"


# Coming back


async def test_who_comes_back_is_who_it_was_and_gets_what_it_missed_after_connected() -> None:
    world = await make_world()
    await world.connect("c1", "c2")
    await world.service.join_room("c1", "sales")
    await world.service.join_room("c1", "left")
    await world.service.leave_room("c1", "left")
    await publish(world, Target.room("sales"), 1)
    world.cut("c1")
    for number, target in enumerate(
        [Target.room("sales"), Target.room("left"), Target.client("c1"), Target.all()], start=2
    ):
        await publish(world, target, number)
    world.transport.forget()
    caller = await world.come_back("c1", world.offset(1))
    await publish(world, Target.room("sales"), 6)
    assert (caller.client_id, caller.pid) == ("c1", world.session("c1").pid)
    assert heard(world, "c1") == ["connected", 2, 4, 5, 6]
    assert world.received("c1")[0][1] == WELCOME | {"clientId": "c1", "recovered": True}
    offsets = [world.offset(number) for number in (1, 2, 4, 5, 6)]
    assert world.transport.connections["c1"].offsets == offsets
    assert world.transport.rooms_of("c1") == ["sales"]
    assert heard(world, "c2") == ["clientJoined"]
    assert world.session("c1").away_since is None
    await world.journal.settled()
    assert SessionResumed("c1") in recorded(world)


async def test_a_cut_during_the_replay_costs_nothing() -> None:
    world = await make_world()
    await world.connect("c1")
    world.cut("c1")
    for number in (1, 2, 3):
        await publish(world, Target.all(), number)
    await world.come_back("c1", world.offset(0))
    [offset_of_connected, *_] = world.transport.connections["c1"].offsets
    world.cut("c1")
    await publish(world, Target.all(), 4)
    await world.come_back("c1", offset_of_connected)
    assert heard(world, "c1") == ["connected", 1, 2, 3, 4]


async def test_it_works_when_no_event_had_come_yet_not_even_connected() -> None:
    world = await make_world()
    await publish(world, Target.all(), 1)
    await world.connect("c1")
    world.cut("c1")
    await publish(world, Target.all(), 2)
    await world.come_back("c1", None)
    assert heard(world, "c1") == ["connected", 2]
    assert world.transport.connections["c1"].offsets[0] == world.offset(1)


async def test_it_works_any_number_of_times_in_a_row() -> None:
    world = await make_world()
    await world.connect("c1")
    last: Offset | None = world.offset(0)
    for number in range(1, 6):
        world.cut("c1")
        await publish(world, Target.all(), number)
        await world.come_back("c1", last)
        assert heard(world, "c1") == ["connected", number]
        last = world.transport.connections["c1"].offsets[-1]


async def test_it_works_across_a_restart() -> None:
    store = FakeStore()
    before = await make_world(store=store)
    await before.connect("c1", user_id="u1")
    await before.service.join_room("c1", "sales")
    await before.service.join_room("c1", "left")
    await before.service.leave_room("c1", "left")
    await publish(before, Target.room("sales"), 1)
    await publish(before, Target.room("left"), 2)
    after = await make_world(store=store)
    assert len(after.clients) == 0
    receipt = await after.service.send("dealWon", {"n": 3}, Target.room("sales"))
    assert (receipt.recipients, receipt.pending) == (0, 1)
    await publish(after, Target.user("u1"), 4)
    await after.come_back("c1", after.offset(0))
    assert heard(after, "c1") == ["connected", 1, 3, 4]
    assert after.transport.rooms_of("c1") == ["sales", "user:u1"]


async def test_whoever_was_connected_at_a_crash_is_away_since_the_restart() -> None:
    store = FakeStore()
    before = await make_world(store=store, recovery_seconds=120)
    await before.connect("c1", "c2")
    before.cut("c2")
    await before.journal.settled()
    before.clock.advance(100)
    after = await make_world(store=store, clock=before.clock, recovery_seconds=120)
    before.clock.advance(100)
    after.service.end_expired_sessions()
    assert after.sessions.of_client("c2") is None
    await after.come_back("c1", after.offset(0))
    assert heard(after, "c1") == ["connected"]


async def test_a_connection_that_is_gone_when_it_would_come_back_stays_away() -> None:
    world = await make_world()
    await world.connect("c1", "c2")
    world.cut("c1")
    await publish(world, Target.all(), 1)
    world.transport.forget()
    caller = FakeCaller(world.transport, is_gone=True)
    await world.call("new", Claim(world.session("c1").pid, str(world.offset(0))), caller=caller)
    assert (heard(world, "c2"), len(world.clients)) == ([], 1)
    assert world.session("c1").away_since == NOW_MS
    await world.come_back("c1", world.offset(0))
    assert heard(world, "c1") == ["connected", 1]


async def test_whoever_cannot_be_recovered_is_new_and_is_told_why_and_is_no_longer_awaited() -> (
    None
):
    world = await make_world()
    await world.connect("c1")
    pid = world.session("c1").pid
    world.cut("c1")
    caller = await world.come_back("c1", world.offset(99))
    assert caller.client_id == "new"
    assert caller.pid not in {pid, None}
    [connected] = world.received("new")
    details = {"clientId": "new", "recovered": False, "reason": "gap"}
    assert connected == ("connected", WELCOME | details)
    receipt = await world.service.broadcast_event("dealWon", {})
    assert (receipt.recipients, receipt.pending) == (1, 0)
    assert world.sessions.of_pid(pid) is None


# Taking over


async def test_who_comes_back_while_its_old_connection_looks_alive_takes_over() -> None:
    world = await make_world()
    await world.connect("c1", "c2")
    await world.service.join_room("c1", "sales")
    await publish(world, Target.room("sales"), 1)
    world.transport.forget()
    await world.come_back("c1", world.offset(0))
    assert world.transport.released == ["c1"]
    assert heard(world, "c1") == ["connected", 1]
    assert world.transport.rooms_of("c1") == ["sales"]
    assert heard(world, "c2") == ["clientLeft", "clientJoined"]
    assert len(world.clients) == 2
    await world.journal.settled()
    assert recorded(world)[-2:] == [SessionAway("c1", NOW_MS), SessionResumed("c1")]


async def test_a_take_over_that_cannot_be_recovered_ends_the_old_connection_too() -> None:
    world = await make_world()
    await world.connect("c1", "c2")
    await world.come_back("c1", "another-1")
    assert world.transport.released == ["c1"]
    assert sorted(client["id"] for client in world.service.directory.clients()) == ["c2", "new"]
    assert heard(world, "c2") == ["clientLeft", "clientJoined"]
    assert world.received("new")[0][1]["reason"] == "epoch_changed"


async def test_of_two_that_claim_the_same_session_at_once_the_last_has_it() -> None:
    world = await make_world(recent_events=1)
    await world.connect("c1")
    world.cut("c1")
    for number in (1, 2, 3):
        await publish(world, Target.all(), number)
    claim = Claim(world.session("c1").pid, str(world.offset(0)))
    world.store.hold_reads()
    callers = [FakeCaller(world.transport), FakeCaller(world.transport)]
    calls = [
        asyncio.ensure_future(world.call(f"n{place}", claim, caller=caller))
        for place, caller in enumerate(callers)
    ]
    await world.store.asked_to_read.wait()
    world.store.let_reads()
    await asyncio.gather(*calls)
    assert [caller.client_id for caller in callers] == ["c1", "c1"]
    assert world.transport.released == ["c1"]
    assert heard(world, "c1") == ["connected", 1, 2, 3]
    assert (len(world.clients), len(world.sessions)) == (1, 1)


async def test_events_during_the_reading_of_the_past_come_once_and_in_order() -> None:
    world = await make_world(recent_events=2)
    await world.connect("c1")
    world.cut("c1")
    for number in (1, 2, 3, 4):
        await publish(world, Target.all(), number)
    world.store.hold_reads()
    returning = asyncio.ensure_future(world.come_back("c1", world.offset(1)))
    await world.store.asked_to_read.wait()
    for number in (5, 6, 7):
        await publish(world, Target.all(), number)
    world.store.let_reads()
    await returning
    await publish(world, Target.all(), 8)
    assert heard(world, "c1") == ["connected", 2, 3, 4, 5, 6, 7, 8]


async def test_an_event_that_is_being_recorded_while_a_client_comes_back_comes_once() -> None:
    world = await make_world()
    await world.connect("c1")
    world.cut("c1")
    await publish(world, Target.all(), 1)
    world.store.hold()
    publishing = asyncio.ensure_future(publish(world, Target.all(), 2))
    await world.store.asked.wait()
    await world.come_back("c1", world.offset(0))
    assert heard(world, "c1") == ["connected", 1]
    world.store.let()
    await publishing
    assert heard(world, "c1") == ["connected", 1, 2]


async def test_a_session_that_ends_while_its_past_is_read_is_expired() -> None:
    world = await make_world(recent_events=0, recovery_seconds=120)
    await world.connect("c1")
    world.cut("c1")
    await publish(world, Target.all(), 1)
    world.store.hold_reads()
    returning = asyncio.ensure_future(world.come_back("c1", world.offset(0)))
    await world.store.asked_to_read.wait()
    world.clock.advance(121)
    world.service.end_expired_sessions()
    world.store.let_reads()
    await returning
    assert world.received("new")[0][1]["reason"] == "expired"
    assert world.sessions.of_client("c1") is None


async def test_a_store_that_cannot_be_read_leaves_the_session_for_another_try() -> None:
    world = await make_world(recent_events=0)
    await world.connect("c1")
    world.cut("c1")
    await publish(world, Target.all(), 1)
    world.store.problem = StoreUnavailable("The disk is gone.")
    with pytest.raises(StoreUnavailable):
        await world.come_back("c1", world.offset(0))
    world.store.problem = None
    await world.come_back("c1", world.offset(0))
    assert heard(world, "c1") == ["connected", 1]


async def test_a_return_that_cannot_be_recorded_is_a_return() -> None:
    world = await make_world()
    await world.connect("c1")
    world.cut("c1")
    await publish(world, Target.all(), 1)
    world.store.problem = StoreUnavailable("The disk is full.")
    await world.come_back("c1", world.offset(0))
    assert heard(world, "c1") == ["connected", 1]


# Knowing what has arrived


async def test_after_a_long_idle_time_what_has_arrived_is_known_without_an_offset_of_it() -> None:
    """Its last offset was trimmed long ago, and nothing that came since was for it."""
    world = await make_world(recent_events=1)
    await world.connect("c1")
    for number in range(1, 6):
        await publish(world, Target.room("other"), number)
    world.service.client_has_everything("c1", 4)
    world.cut("c1")
    world.journal.first_number = 5
    await world.come_back("c1", world.offset(0))
    assert heard(world, "c1") == ["connected"]


async def test_a_take_over_asks_the_old_connection_what_has_arrived() -> None:
    world = await make_world(recent_events=1)
    await world.connect("c1")
    for number in range(1, 6):
        await publish(world, Target.room("other"), number)
    world.transport.connections["c1"].mark = 4
    world.journal.first_number = 5
    await world.come_back("c1", world.offset(0))
    assert heard(world, "c1") == ["connected"]


async def test_what_is_known_to_have_arrived_does_not_come_again() -> None:
    world = await make_world()
    await world.connect("c1")
    for number in (1, 2, 3):
        await publish(world, Target.all(), number)
    world.service.client_has_everything("c1", 2)
    world.cut("c1")
    await world.come_back("c1", world.offset(0))
    assert heard(world, "c1") == ["connected", 3]
