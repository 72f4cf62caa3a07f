"""Who is told of whom in rooms with presence: coalesced, without flapping, and exact in the end."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtower_realtime.clients import Client, ClientRegistry
from gtower_realtime.presence import Presence
from tests.fakes import FakeClock, FakeWorld, make_world

pytestmark = pytest.mark.gen_test


async def a_world() -> FakeWorld:
    world = await make_world(presence_rooms=["desk:"])
    await world.connect("watcher", "c1", "c2")
    await world.service.join_room("watcher", "desk:1")
    world.clock.advance(10)
    world.service.tell_presence()
    world.transport.forget()
    return world


def told(world: FakeWorld, client_id: str = "watcher") -> list[tuple[list[str], list[str]]]:
    """Return who came and who left, by each event that a client has had."""
    return [
        (
            [one["clientId"] for one in payload["joins"]],
            [one["clientId"] for one in payload["leaves"]],
        )
        for event, payload in world.transport.connections[client_id].received
        if event == "presence"
    ]


def wait(world: FakeWorld, seconds: float) -> None:
    world.clock.advance(seconds)
    world.service.tell_presence()


async def test_the_first_is_told_at_once_and_those_that_follow_together() -> None:
    world = await a_world()
    await world.service.join_room("c1", "desk:1")
    assert world.transport.connections["watcher"].received == [
        (
            "presence",
            {
                "room": "desk:1",
                "joins": [{"clientId": "c1"}],
                "leaves": [],
                "timestamp": "2026-11-23T12:28:28.953Z",
            },
        )
    ]
    await world.connect("c3")
    for client_id in ("c2", "c3"):
        await world.service.join_room(client_id, "desk:1")
    assert told(world) == []
    wait(world, 0.05)
    assert told(world) == []
    wait(world, 0.05)
    assert told(world) == [(["c2", "c3"], [])]


async def test_nobody_is_told_of_itself() -> None:
    world = await a_world()
    await world.service.join_room("c1", "desk:1")
    await world.connect("c3")
    for client_id in ("c2", "c3"):
        await world.service.join_room(client_id, "desk:1")
    wait(world, 0.1)
    assert told(world, "c1") == [(["c2", "c3"], [])]
    assert told(world, "c2") == [(["c3"], [])]
    assert told(world, "c3") == [(["c2"], [])]


@pytest.mark.parametrize("leaves", [True, False], ids=["leaves", "is cut"])
async def test_a_leave_is_told_three_seconds_later(leaves: bool) -> None:
    world = await a_world()
    await world.service.join_room("c1", "desk:1")
    world.transport.forget()
    if leaves:
        await world.service.leave_room("c1", "desk:1")
    else:
        world.cut("c1")
    wait(world, 2.9)
    assert told(world) == []
    wait(world, 0.1)
    assert told(world) == [([], ["c1"])]


async def test_who_comes_back_in_time_has_never_been_away() -> None:
    world = await a_world()
    await world.service.join_room("c1", "desk:1")
    world.transport.forget()
    world.cut("c1")
    wait(world, 2.9)
    await world.come_back("c1", world.offset(0))
    wait(world, 10)
    assert told(world) == []


async def test_other_rooms_tell_nothing_and_keep_nothing() -> None:
    world = await a_world()
    await world.service.join_room("watcher", "sales")
    await world.service.join_room("c1", "sales")
    wait(world, 10)
    assert told(world) == []
    assert list(world.service._presence._rooms) == ["desk:1"]
    for client_id in ("watcher", "c1"):
        world.cut(client_id)
    wait(world, 10)
    assert world.service._presence._rooms == {}
    assert world.service._presence._rooms_of == {}


async def test_the_list_has_who_is_there_now() -> None:
    world = await a_world()
    await world.service.join_room("c1", "desk:1")
    world.cut("c1")
    assert await world.service.read_presence("watcher", "desk:1") == {
        "room": "desk:1",
        "clients": [{"clientId": "watcher"}],
    }


async def test_who_read_the_list_while_somebody_was_away_hears_that_it_is_back() -> None:
    world = await a_world()
    await world.service.join_room("c1", "desk:1")
    world.cut("c1")
    await world.service.join_room("c2", "desk:1")
    wait(world, 1)
    answer = await world.service.read_presence("c2", "desk:1")
    assert [one["clientId"] for one in answer["clients"]] == ["watcher", "c2"]
    world.transport.forget()
    await world.come_back("c1", world.offset(0))
    wait(world, 0.1)
    assert told(world, "c2") == [(["c1"], [])]


async def test_who_read_the_list_while_a_leave_waited_to_be_told_hears_who_came_again() -> None:
    world = await a_world()
    await world.service.join_room("c1", "desk:1")
    await world.service.leave_room("c1", "desk:1")
    world.clock.advance(2.95)
    await world.service.join_room("c2", "desk:1")
    wait(world, 0.05)
    await world.service.read_presence("watcher", "desk:1")
    world.transport.forget()
    await world.service.join_room("c1", "desk:1")
    wait(world, 0.1)
    assert told(world) == [(["c1"], [])]


# Whatever happens

_CLIENTS = ["a", "b", "c"]
_steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["enter", "leave", "go"]), st.sampled_from(_CLIENTS)),
        st.tuples(st.just("wait"), st.sampled_from([0.03, 0.1, 1.5, 3.0])),
    ),
    max_size=40,
)


class Room:
    """A publisher and a transport that keep what one watcher believes."""

    def __init__(self) -> None:
        self.believed: set[str] = set()
        self.events = 0

    def announce(self, _event: str, payload: dict[str, Any], _target: Any) -> None:
        self.events += 1
        left = {one["clientId"] for one in payload["leaves"]}
        came = {one["clientId"] for one in payload["joins"]}
        assert came or left
        assert left <= self.believed
        self.believed = (self.believed - left) | came

    def send(self, *_arguments: Any) -> None:
        pass


@settings(max_examples=200)
@given(steps=_steps)
def test_a_watcher_knows_in_the_end_who_is_there(steps: list[tuple[str, Any]]) -> None:
    room, clock, clients = Room(), FakeClock(), ClientRegistry()
    presence = Presence(["desk"], room, room, clock)  # type: ignore[arg-type]
    for name in _CLIENTS:
        clients.add(Client(name, clock.now(), "127.0.0.1"))
    there: set[str] = set()
    for step, what in steps:
        if step == "enter":
            presence.entered(clients.get(what), "desk")
            there.add(what)
        elif step == "wait":
            clock.advance(what)
            presence.tick()
        else:
            (presence.left if step == "leave" else lambda one, _: presence.gone(one))(what, "desk")
            there.discard(what)
    clock.advance(3)
    presence.tick()
    clock.advance(1)
    presence.tick()
    assert room.believed == there
    assert presence._rooms == ({} if not there else presence._rooms)
