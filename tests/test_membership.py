"""Joining and leaving: recorded first, in order, within the limit, and joining `since`."""

import asyncio
from typing import Any

import pytest

from gtower_realtime.errors import Forbidden, StoreUnavailable, TooManyRooms, ValidationFailed
from gtower_realtime.ports import Target
from gtower_realtime.records import Bounds, Membership, RoomEntered, RoomLeft
from tests.fakes import NOW_MS, TS, FakeWorld, an_event, make_world

pytestmark = pytest.mark.gen_test

FULL = StoreUnavailable("The disk is full.")


async def publish(world: FakeWorld, n: int, room: str = "sales") -> None:
    await world.service.send("dealWon", {"n": n}, Target.room(room))


def heard(world: FakeWorld, client_id: str = "c1") -> list[Any]:
    """Return the n of each dealWon that a client has received, and the names of all else."""
    return [payload.get("n", event) for event, payload in world.received(client_id)]


def since(world: FakeWorld, number: int) -> str:
    return str(world.offset(number))


# Recorded first


async def test_a_join_is_recorded_with_its_place_in_the_log_before_it_is_confirmed() -> None:
    world = await make_world()
    await world.connect("c1")
    await publish(world, 1)
    world.store.hold()
    joining = world.service.join_room("c1", "sales")
    await world.store.asked.wait()
    assert (world.received("c1"), world.transport.rooms_of("c1")) == ([], [])
    world.store.let()
    assert await joining == {"room": "sales"}
    assert world.store.commits[-1] == [RoomEntered("c1", "sales", 1)]
    assert world.received("c1") == [("roomJoined", {"room": "sales", "timestamp": TS})]
    assert world.session("c1").memberships == [Membership("sales", 1)]


async def test_a_leave_is_recorded_with_its_place_in_the_log() -> None:
    world = await make_world()
    await world.connect("c1")
    await world.service.join_room("c1", "sales")
    await publish(world, 1)
    await world.service.leave_room("c1", "sales")
    assert world.store.commits[-1] == [RoomLeft("c1", "sales", 1)]
    assert world.session("c1").memberships == [Membership("sales", 0, 1)]
    await publish(world, 2)
    assert heard(world) == ["roomJoined", 1, "roomLeft"]


async def test_what_cannot_be_recorded_changes_nothing() -> None:
    world = await make_world()
    await world.connect("c1")
    await world.service.join_room("c1", "sales")
    world.transport.forget()
    world.store.problem = FULL
    for attempt in (
        world.service.join_room("c1", "other"),
        world.service.leave_room("c1", "sales"),
    ):
        with pytest.raises(StoreUnavailable):
            await attempt
    assert (world.received("c1"), world.transport.rooms_of("c1")) == ([], ["sales"])
    assert world.session("c1").rooms() == ["sales"]


async def test_a_client_without_a_session_joins_and_leaves_and_nothing_is_recorded() -> None:
    world = await make_world()
    await world.connect("c1", takes_offsets=False)
    await world.service.join_room("c1", "sales")
    await publish(world, 1)
    await world.service.leave_room("c1", "sales")
    await publish(world, 2)
    assert heard(world) == ["roomJoined", 1, "roomLeft"]
    changes = [type(change).__name__ for commit in world.store.commits for change in commit]
    assert changes == ["EventAppended", "EventAppended"]


async def test_a_client_that_drops_while_its_join_is_recorded_is_a_member_when_it_returns() -> None:
    world = await make_world()
    await world.connect("c1")
    world.store.hold()
    joining = world.service.join_room("c1", "sales")
    await world.store.asked.wait()
    world.cut("c1")
    world.store.let()
    await joining
    await publish(world, 1)
    await world.come_back("c1", world.offset(0))
    await publish(world, 2)
    assert heard(world) == ["connected", 1, 2]


async def test_a_client_that_says_goodbye_while_its_join_is_recorded_leaves_nothing() -> None:
    world = await make_world()
    await world.connect("c1")
    world.store.hold()
    joining = world.service.join_room("c1", "sales")
    await world.store.asked.wait()
    world.say_goodbye("c1")
    world.store.let()
    await joining
    receipt = await world.service.send("dealWon", {}, Target.room("sales"))
    assert (receipt.recipients, receipt.pending, len(world.sessions)) == (0, 0, 0)


async def test_a_join_that_is_recorded_after_a_take_over_is_told_to_the_new_connection() -> None:
    world = await make_world()
    await world.connect("c1")
    world.store.hold()
    joining = world.service.join_room("c1", "sales")
    await world.store.asked.wait()
    await world.come_back("c1", world.offset(0))
    world.store.let()
    await joining
    await publish(world, 1)
    assert heard(world) == ["connected", "roomJoined", 1]


async def test_a_leave_that_is_recorded_while_a_client_is_away_counts_when_it_returns() -> None:
    world = await make_world()
    await world.connect("c1")
    await world.service.join_room("c1", "sales")
    world.store.hold()
    leaving = world.service.leave_room("c1", "sales")
    await world.store.asked.wait()
    world.cut("c1")
    world.store.let()
    await leaving
    receipt = await world.service.send("dealWon", {"n": 1}, Target.room("sales"))
    assert receipt.pending == 0
    await world.come_back("c1", world.offset(0))
    assert heard(world) == ["connected"]


async def test_stays_that_ended_before_what_has_arrived_are_not_remembered_for_ever() -> None:
    world = await make_world()
    await world.connect("c1")
    for number in range(1, 6):
        await world.service.join_room("c1", "sales")
        await publish(world, number)
        world.transport.connections["c1"].mark = number - 1
        await world.service.leave_room("c1", "sales")
    assert world.session("c1").memberships == [Membership("sales", 4, 5)]


# Rooms of the server


@pytest.mark.parametrize("room", ["user:u1", "c1", "here", "away"])
async def test_rooms_named_like_a_client_here_or_away_belong_to_the_server(room: str) -> None:
    world = await make_world()
    await world.connect("c1", "here", "away")
    world.cut("away")
    for attempt in (world.service.join_room, world.service.leave_room):
        with pytest.raises(Forbidden):
            await attempt("c1", room)
    assert world.transport.rooms_of("c1") == []


# The limit


async def a_world_with_room_for_two(*, takes_offsets: bool = True) -> FakeWorld:
    world = await make_world(max_rooms_per_client=2)
    await world.connect("c1", user_id="u1", takes_offsets=takes_offsets)
    return world


@pytest.mark.parametrize("takes_offsets", [True, False])
async def test_joins_that_are_not_recorded_yet_count(takes_offsets: bool) -> None:
    world = await a_world_with_room_for_two(takes_offsets=takes_offsets)
    world.store.hold()
    joining = [world.service.join_room("c1", room) for room in ("a", "b")]
    with pytest.raises(TooManyRooms) as caught:
        world.service.join_room("c1", "c")
    assert caught.value.message == (
        "You are in 2 rooms, as many as one client may be; leave one first."
    )
    joining.append(world.service.join_room("c1", "a"))
    world.store.let()
    await asyncio.gather(*joining)
    assert world.transport.rooms_of("c1") == ["user:u1", "a", "b"]


@pytest.mark.parametrize("takes_offsets", [True, False])
async def test_a_leave_that_is_not_recorded_yet_makes_room(takes_offsets: bool) -> None:
    world = await a_world_with_room_for_two(takes_offsets=takes_offsets)
    await asyncio.gather(*(world.service.join_room("c1", room) for room in ("a", "b")))
    await asyncio.gather(world.service.leave_room("c1", "a"), world.service.join_room("c1", "c"))
    assert world.transport.rooms_of("c1") == ["user:u1", "b", "c"]


@pytest.mark.parametrize("takes_offsets", [True, False])
async def test_a_join_that_fails_gives_its_place_back(takes_offsets: bool) -> None:
    world = await a_world_with_room_for_two(takes_offsets=takes_offsets)
    await world.service.join_room("c1", "a")
    world.store.problem = FULL
    failing = world.service.send("dealWon", {}, Target.all())
    with pytest.raises(StoreUnavailable):
        await failing
    with pytest.raises(StoreUnavailable):
        await world.service.join_room("c1", "b")
    world.store.problem = None
    await world.service.join_room("c1", "c")
    with pytest.raises(TooManyRooms):
        world.service.join_room("c1", "b")


async def test_a_leave_that_fails_gives_no_place() -> None:
    world = await a_world_with_room_for_two()
    await asyncio.gather(*(world.service.join_room("c1", room) for room in ("a", "b")))
    world.store.problem = FULL
    with pytest.raises(StoreUnavailable):
        await world.service.leave_room("c1", "a")
    world.store.problem = None
    with pytest.raises(TooManyRooms):
        world.service.join_room("c1", "c")


async def test_the_limit_holds_after_a_return() -> None:
    world = await a_world_with_room_for_two()
    await asyncio.gather(*(world.service.join_room("c1", room) for room in ("a", "b")))
    world.cut("c1")
    await world.come_back("c1", world.offset(0))
    with pytest.raises(TooManyRooms):
        world.service.join_room("c1", "c")


# since


async def test_what_was_missed_comes_between_roomjoined_and_what_is_new_without_offsets() -> None:
    world = await make_world()
    await world.connect("c1")
    for number in (1, 2, 3):
        await publish(world, number)
        await publish(world, -number, "other")
    answer = await world.service.join_room("c1", "sales", since=since(world, 2))
    await publish(world, 4)
    assert answer == {"room": "sales", "complete": True}
    assert heard(world) == ["roomJoined", 2, 3, 4]
    assert world.transport.connections["c1"].offsets == [None, None, None, world.offset(7)]


async def test_what_is_recorded_together_with_the_join_comes_once() -> None:
    world = await make_world()
    await world.connect("c1")
    await publish(world, 1)
    await asyncio.gather(
        publish(world, 2),
        world.service.join_room("c1", "sales", since(world, 0)),
        publish(world, 3),
    )
    assert sorted(heard(world)[1:]) == [1, 2, 3]
    assert heard(world)[0] == "roomJoined"


@pytest.mark.parametrize("recent_events", [1000, 2, 0])
async def test_what_only_the_store_holds_is_replayed_too(recent_events: int) -> None:
    world = await make_world(recent_events=recent_events)
    await world.connect("c1")
    for number in range(1, 6):
        await publish(world, number)
    answer = await world.service.join_room("c1", "sales", since(world, 1))
    assert answer == {"room": "sales", "complete": True}
    assert heard(world) == ["roomJoined", 2, 3, 4, 5]


async def test_what_is_not_for_the_client_or_is_over_is_not_replayed() -> None:
    world = await make_world()
    await world.connect("c1")

    def put(payload: str, **details: Any) -> "asyncio.Future[Any]":
        return world.journal.append(
            lambda number: an_event(number, payload=payload, **details), lambda _: None
        )

    await put('{"n": 1}', excluded=("c1",))
    await put('{"n": 2}', expires_at=NOW_MS)
    await put('{"n": 3}', expires_at=NOW_MS + 1)
    await world.service.join_room("c1", "sales", since(world, 0))
    assert heard(world) == ["roomJoined", 3]


async def test_a_since_of_another_log_or_of_the_future_or_trimmed_is_not_complete() -> None:
    world = await make_world()
    await world.connect("c1")
    for number in (1, 2, 3):
        await publish(world, number)
    await world.journal.trim(Bounds(max_events=1, max_bytes=0, max_age_seconds=0), NOW_MS)
    for past in (since(world, 4), since(world, 1), "00000000-2"):
        world.transport.forget()
        answer = await world.service.join_room("c1", "sales", past)
        assert answer == {"room": "sales", "complete": False}
        assert heard(world) == ["roomJoined"]
    answer = await world.service.join_room("c1", "sales", since(world, 2))
    assert (answer["complete"], heard(world)[-1]) == (True, 3)


async def test_a_since_that_is_no_offset_is_refused() -> None:
    world = await make_world()
    await world.connect("c1")
    with pytest.raises(ValidationFailed) as caught:
        await world.service.join_room("c1", "sales", "yesterday")
    assert caught.value.fields == {"since": ["Is not an offset of this log."]}


@pytest.mark.parametrize("recent_events", [1000, 0])
@pytest.mark.parametrize(("events", "is_complete"), [(300, True), (301, False)])
async def test_up_to_three_hundred_events_are_replayed(
    recent_events: int, events: int, is_complete: bool
) -> None:
    world = await make_world(recent_events=recent_events)
    await world.connect("c1")
    await asyncio.gather(*(publish(world, number) for number in range(events)))
    answer = await world.service.join_room("c1", "sales", since(world, 0))
    assert answer == {"room": "sales", "complete": is_complete}
    assert heard(world) == ["roomJoined", *(range(events) if is_complete else [])]


@pytest.mark.parametrize("recent_events", [1000, 0])
@pytest.mark.parametrize(("events", "is_complete"), [(4, True), (5, False)])
async def test_up_to_four_megabytes_are_replayed(
    recent_events: int, events: int, is_complete: bool
) -> None:
    world = await make_world(recent_events=recent_events)
    await world.connect("c1")
    payload = '"' + "x" * (1_000_000 - an_event(1).size) + '"'
    for _ in range(events):
        await world.journal.append(lambda n: an_event(n, payload=payload), lambda _: None)
    answer = await world.service.join_room("c1", "sales", since(world, 0))
    assert answer["complete"] is is_complete


async def test_what_follows_a_join_that_reads_the_store_keeps_its_place() -> None:
    world = await make_world(recent_events=0)
    await world.connect("c1")
    await publish(world, 1)
    world.store.hold_reads()
    steps = [
        world.service.join_room("c1", "sales", since(world, 0)),
        world.service.leave_room("c1", "sales"),
        world.service.join_room("c1", "sales"),
        world.service.leave_room("c1", "sales"),
    ]
    await world.store.asked_to_read.wait()
    await world.service.join_room("c1", "other")
    world.store.let_reads()
    await asyncio.gather(*steps)
    assert heard(world) == ["roomJoined", "roomJoined", 1, "roomLeft", "roomJoined", "roomLeft"]
    assert world.transport.rooms_of("c1") == ["other"]


async def test_a_leave_right_after_a_join_with_since_is_a_leave() -> None:
    world = await make_world()
    await world.connect("c1")
    await publish(world, 1)
    await asyncio.gather(
        world.service.join_room("c1", "sales", since(world, 0)),
        world.service.leave_room("c1", "sales"),
    )
    assert heard(world) == ["roomJoined", 1, "roomLeft"]
    assert world.transport.rooms_of("c1") == []


async def test_a_past_that_cannot_be_read_is_no_join_and_gives_its_place_back() -> None:
    world = await make_world(recent_events=0, max_rooms_per_client=1)
    await world.connect("c1")
    await publish(world, 1)
    world.store.problem = FULL
    with pytest.raises(StoreUnavailable):
        await world.service.join_room("c1", "sales", since(world, 0))
    world.store.problem = None
    await world.service.join_room("c1", "other")
    assert world.transport.rooms_of("c1") == ["other"]


async def test_events_that_come_while_the_past_is_read_come_once_and_in_order() -> None:
    world = await make_world(recent_events=1)
    await world.connect("c1")
    for number in (1, 2, 3):
        await publish(world, number)
    world.store.hold_reads()
    joining = world.service.join_room("c1", "sales", since(world, 0))
    await world.store.asked_to_read.wait()
    for number in (4, 5, 6):
        await publish(world, number)
    world.store.let_reads()
    assert (await joining)["complete"]
    await publish(world, 7)
    assert heard(world) == ["roomJoined", 1, 2, 3, 4, 5, 6, 7]


async def test_a_past_that_left_the_memory_while_the_join_was_recorded_is_not_complete() -> None:
    world = await make_world(recent_events=1)
    await world.connect("c1")
    await publish(world, 1)
    world.store.hold()
    first = asyncio.ensure_future(publish(world, 2))
    await world.store.asked.wait()
    second = asyncio.ensure_future(publish(world, 3))
    await asyncio.sleep(0)
    joining = world.service.join_room("c1", "sales", since(world, 0))
    world.store.let()
    await asyncio.gather(first, second)
    assert await joining == {"room": "sales", "complete": False}
    assert heard(world) == ["roomJoined"]
