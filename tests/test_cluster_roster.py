"""What is told of the clients that are connected here."""

import asyncio
from typing import Any

import pytest

from gtower_realtime.clients import ClientRegistry
from gtower_realtime.cluster.roster import Roster
from gtower_realtime.records import ClientGone, ClientHere, ClientMoved, SharedChange
from tests.fakes import NOW_MS, FakeTransport, a_client

pytestmark = pytest.mark.gen_test


class Watched:
    """A roster, what it watches, and what it has told."""

    def __init__(self, *, is_heard: bool = True) -> None:
        self.clients = ClientRegistry()
        self.transport = FakeTransport()
        self.told: list[list[SharedChange]] = []
        self.roster = Roster(self.clients, self.transport, lambda some: self.told.append([*some]))
        self.roster.is_heard = is_heard

    def connect(self, *client_ids: str, **details: Any) -> None:
        for client_id in client_ids:
            self.transport.connect(client_id)
            self.clients.add(a_client(client_id, **details))

    def drop(self, client_id: str) -> None:
        self.transport.drop(client_id)
        self.clients.remove(client_id)

    def enter(self, client_id: str, room: str) -> None:
        self.transport.enter_room(client_id, room)
        self.clients.moved(client_id, room)

    def leave(self, client_id: str, room: str) -> None:
        self.transport.leave_room(client_id, room)
        self.clients.moved(client_id, room)

    async def turn(self) -> list[list[SharedChange]]:
        """Let a turn of the loop end, and return what was told since the last time."""
        await asyncio.sleep(0)
        told, self.told[:] = list(self.told), []
        return told


def here(client_id: str, *rooms: str, **details: Any) -> ClientHere:
    values: dict[str, Any] = {
        "connected_at": NOW_MS,
        "address": "192.0.2.1",
        "user_agent": None,
        "user_id": None,
        "info": None,
        "transport": "websocket",
        "rooms": rooms,
    }
    return ClientHere(client_id, **(values | details))


async def test_a_client_is_told_as_it_is_at_the_end_of_the_turn() -> None:
    watched = Watched()
    details = {"user_agent": "Test/1", "user_id": "u1", "info": {"name": "Ann"}}
    watched.connect("c1", **details)
    watched.enter("c1", "sales")
    watched.enter("c1", "news")
    assert watched.told == []
    assert await watched.turn() == [[here("c1", "sales", "news", **details)]]
    assert await watched.turn() == []


async def test_who_comes_and_goes_within_a_turn_was_never_there() -> None:
    watched = Watched()
    watched.connect("c1")
    watched.drop("c1")
    assert await watched.turn() == []


async def test_rooms_are_told_as_moves() -> None:
    watched = Watched()
    watched.connect("c1", "c2")
    watched.enter("c2", "sales")
    await watched.turn()
    watched.enter("c1", "sales")
    watched.enter("c1", "news")
    watched.leave("c2", "sales")
    assert await watched.turn() == [
        [ClientMoved("c1", ("sales", "news"), ()), ClientMoved("c2", (), ("sales",))]
    ]


async def test_of_a_room_that_was_entered_and_left_the_last_counts() -> None:
    watched = Watched()
    watched.connect("c1")
    await watched.turn()
    watched.enter("c1", "sales")
    watched.leave("c1", "sales")
    assert await watched.turn() == [[ClientMoved("c1", (), ("sales",))]]


async def test_who_goes_is_told_once_and_not_where_it_was() -> None:
    watched = Watched()
    watched.connect("c1")
    await watched.turn()
    watched.leave("c1", "sales")
    watched.drop("c1")
    assert await watched.turn() == [[ClientGone("c1")]]
    watched.clients.moved("c1", "sales")
    assert await watched.turn() == []


async def test_who_is_back_within_a_turn_is_told_anew() -> None:
    watched = Watched()
    watched.connect("c1")
    await watched.turn()
    watched.drop("c1")
    watched.connect("c1", user_id="u1")
    assert await watched.turn() == [[here("c1", user_id="u1")]]


async def test_who_is_known_anew_is_told_anew() -> None:
    watched = Watched()
    watched.connect("c1")
    await watched.turn()
    watched.clients.replace(a_client("c1", info={"name": "Ann"}))
    assert await watched.turn() == [[here("c1", info={"name": "Ann"})]]


async def test_while_nobody_hears_it_waits_and_is_told_as_it_is_then() -> None:
    watched = Watched()
    watched.connect("c1", "c2")
    await watched.turn()
    watched.roster.is_heard = False
    watched.connect("c3")
    watched.enter("c2", "sales")
    watched.drop("c1")
    watched.enter("c3", "sales")
    watched.leave("c3", "sales")
    watched.enter("c2", "news")
    watched.leave("c2", "news")
    assert await watched.turn() == []
    watched.roster.tell()
    assert watched.told == []
    watched.roster.is_heard = True
    watched.roster.tell()
    assert watched.told == [
        [here("c3"), ClientGone("c1"), ClientMoved("c2", ("sales",), ("news",))]
    ]


async def test_what_has_changed_before_a_cut_in_the_same_turn_is_not_lost() -> None:
    watched = Watched()
    watched.connect("c1")
    watched.roster.is_heard = False
    assert await watched.turn() == []
    watched.roster.is_heard = True
    watched.connect("c2")
    assert await watched.turn() == [[here("c1"), here("c2")]]


async def test_a_new_process_is_told_of_all() -> None:
    watched = Watched()
    watched.connect("c1", "c2")
    watched.enter("c2", "sales")
    await watched.turn()
    watched.roster.introduce()
    assert watched.told == [[here("c1"), here("c2", "sales")]]


async def test_so_many_are_told_together_and_no_more() -> None:
    watched = Watched()
    watched.connect(*(f"c{at}" for at in range(450)))
    told = await watched.turn()
    assert [len(some) for some in told] == [200, 200, 50]


async def test_another_transport_is_told_when_it_is_looked_at() -> None:
    watched = Watched()
    watched.connect("c1", "c2")
    watched.transport.drop("c1")
    assert await watched.turn() == [[here("c1", transport="polling"), here("c2")]]
    watched.roster.look_at_transports()
    assert watched.told == []
    watched.transport.connect("c1")
    watched.roster.look_at_transports()
    assert watched.told == [[here("c1")]]
