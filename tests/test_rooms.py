"""The room index: membership both ways, against a plain set of pairs, and what an exit costs."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gtower_realtime.gateway.rooms import Audience, RoomIndex

HERE = Audience("/")
THERE = Audience("/websocket", takes_offsets=True)


def an_index(**clients: list[str]) -> RoomIndex[str]:
    """Return an index of clients in `/` and their rooms; a connection is called as its client."""
    index: RoomIndex[str] = RoomIndex()
    for client_id, rooms in clients.items():
        index.add(client_id, HERE, f"connection of {client_id}")
        for room in rooms:
            index.enter(client_id, room)
    return index


def members(index: RoomIndex[str], room: str) -> dict[Audience, list[str]]:
    """Return the ids of a room's members by audience."""
    return {audience: list(present) for audience, present in index.members(room).items()}


def test_a_client_is_a_member_of_what_it_entered_in_the_order_of_entering() -> None:
    index = an_index(c1=["b", "a", "c"], c2=["a"])
    assert index.rooms_of("c1") == ["b", "a", "c"]
    assert members(index, "a") == {HERE: ["c1", "c2"]}
    assert dict(index.members("a")[HERE]) == {
        "c1": "connection of c1",
        "c2": "connection of c2",
    }


def test_entering_twice_is_entering_once() -> None:
    index = an_index(c1=["a", "b", "a"])
    assert index.rooms_of("c1") == ["a", "b"]
    index.leave("c1", "a")
    assert index.rooms_of("c1") == ["b"]
    assert members(index, "a") == {}


def test_a_room_without_members_does_not_exist() -> None:
    index = an_index(c1=["a", "b"])
    assert sorted(index.rooms()) == ["a", "b"]
    index.leave("c1", "a")
    assert list(index.rooms()) == ["b"]
    index.remove("c1")
    assert list(index.rooms()) == []
    assert index.everyone() == {}


@pytest.mark.parametrize("room", ["a", "c2", ""])
def test_leaving_what_one_is_not_in_changes_nothing(room: str) -> None:
    index = an_index(c1=["b"], c2=["a"])
    index.leave("c1", room)
    index.leave("nobody", room)
    assert (index.rooms_of("c1"), index.rooms_of("c2")) == (["b"], ["a"])
    assert members(index, "a") == {HERE: ["c2"]}


def test_nobody_is_in_no_room_and_enters_none() -> None:
    index = an_index()
    index.enter("nobody", "a")
    index.remove("nobody")
    assert "nobody" not in index
    assert index.rooms_of("nobody") == []
    assert (index.connection_of("nobody"), index.audience_of("nobody")) == (None, None)
    assert members(index, "a") == {}


def test_one_room_reaches_its_members_in_every_namespace_with_offsets_and_without() -> None:
    index = an_index(c1=["a"])
    index.add("c2", THERE, "connection of c2")
    index.enter("c2", "a")
    assert members(index, "a") == {HERE: ["c1"], THERE: ["c2"]}
    assert {audience: list(all_of) for audience, all_of in index.everyone().items()} == {
        HERE: ["c1"],
        THERE: ["c2"],
    }
    assert index.audience_of("c2") == THERE
    index.remove("c1")
    assert members(index, "a") == {THERE: ["c2"]}


def test_the_own_id_is_a_room_that_shows_in_no_list() -> None:
    index = an_index(c1=[])
    assert members(index, "c1") == {HERE: ["c1"]}
    assert index.rooms_of("c1") == []
    assert list(index.rooms()) == []
    index.leave("c1", "c1")
    assert members(index, "c1") == {HERE: ["c1"]}
    index.remove("c1")
    assert members(index, "c1") == {}


def test_nobody_takes_the_place_of_the_owner_of_an_id() -> None:
    index = an_index(thief=["victim"], victim=[])
    index.enter("thief", "victim")
    assert members(index, "victim") == {HERE: ["victim"]}


class CountingRooms(dict[str, Any]):
    """A dict that notes which keys anybody looks at."""

    def __init__(self) -> None:
        super().__init__()
        self.touched: list[str] = []

    def __getitem__(self, room: str) -> Any:
        self.touched.append(room)
        return super().__getitem__(room)

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("all rooms were walked")

    items = values = keys = __iter__  # type: ignore[assignment]


def test_removing_a_client_touches_its_own_rooms_and_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    index: RoomIndex[str] = RoomIndex()
    rooms = CountingRooms()
    monkeypatch.setattr(index, "_rooms", rooms)
    for number in range(1000):
        index.add(f"c{number}", HERE, "a connection")
        for own in range(3):
            index.enter(f"c{number}", f"room {number + own}")
    rooms.touched.clear()
    index.remove("c500")
    assert rooms.touched == ["room 500", "room 501", "room 502"]


CLIENT_IDS = st.sampled_from(["c1", "c2", "c3", "c4"])
ROOMS = st.sampled_from(["a", "b", "c", "c1", "c2"])
AUDIENCES = st.sampled_from([HERE, THERE, Audience("/", takes_offsets=True)])


class RoomIndexMachine(RuleBasedStateMachine):
    """Does the same to the index and to plain lists, which must stay alike."""

    def __init__(self) -> None:
        super().__init__()
        self.index: RoomIndex[str] = RoomIndex()
        self.audiences: dict[str, Audience] = {}
        self.memberships: list[tuple[str, str]] = []

    @rule(client_id=CLIENT_IDS, audience=AUDIENCES)
    def add(self, client_id: str, audience: Audience) -> None:
        if client_id not in self.audiences:
            self.index.add(client_id, audience, f"connection of {client_id}")
            self.audiences[client_id] = audience

    @rule(client_id=CLIENT_IDS)
    def remove(self, client_id: str) -> None:
        self.index.remove(client_id)
        self.audiences.pop(client_id, None)
        self.memberships = [pair for pair in self.memberships if pair[0] != client_id]

    @rule(client_id=CLIENT_IDS, room=ROOMS)
    def enter(self, client_id: str, room: str) -> None:
        self.index.enter(client_id, room)
        if client_id in self.audiences and (client_id, room) not in self.memberships:
            self.memberships.append((client_id, room))

    @rule(client_id=CLIENT_IDS, room=ROOMS)
    def leave(self, client_id: str, room: str) -> None:
        self.index.leave(client_id, room)
        if (client_id, room) in self.memberships:
            self.memberships.remove((client_id, room))

    @invariant()
    def clients_are_alike(self) -> None:
        expected: dict[Audience, dict[str, str]] = {}
        for client_id, audience in self.audiences.items():
            expected.setdefault(audience, {})[client_id] = f"connection of {client_id}"
        assert self.index.everyone() == expected
        for client_id in ("c1", "c2", "c3", "c4"):
            assert (client_id in self.index) == (client_id in self.audiences)
            assert self.index.audience_of(client_id) == self.audiences.get(client_id)

    @invariant()
    def memberships_are_alike(self) -> None:
        for client_id in ("c1", "c2", "c3", "c4"):
            rooms = [room for member, room in self.memberships if member == client_id]
            assert self.index.rooms_of(client_id) == rooms
        assert set(self.index.rooms()) == {room for _, room in self.memberships}
        assert self.index.room_count == len({room for _, room in self.memberships})
        assert self.index.memberships == len(self.memberships)
        for room in ("a", "b", "c", "c1", "c2"):
            owner: list[str] = [room] if room in self.audiences else []
            present = owner or [member for member, entered in self.memberships if entered == room]
            expected: dict[Audience, list[str]] = {}
            for member in present:
                expected.setdefault(self.audiences[member], []).append(member)
            assert members(self.index, room) == expected


RoomIndexMachine.TestCase.settings = settings(
    derandomize=True, max_examples=40, stateful_step_count=30, deadline=None, database=None
)
test_the_index_behaves_as_plain_lists_of_memberships = RoomIndexMachine.TestCase
