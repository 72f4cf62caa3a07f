"""Who is connected to other processes, and in which rooms."""

from datetime import timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gtower_realtime import elsewhere as module
from gtower_realtime.clients import Client
from gtower_realtime.elsewhere import Elsewhere, FarClient
from tests.fakes import NOW, a_client


def far(client_id: str, *rooms: str, node: str = "n2", **details: Any) -> FarClient:
    return FarClient(a_client(client_id, **details), node, "websocket", dict.fromkeys(rooms))


def ids(clients: list[Client]) -> list[str]:
    return [client.id for client in clients]


def test_of_a_single_process_nobody_is_elsewhere() -> None:
    elsewhere = Elsewhere()
    assert not elsewhere
    assert "c1" not in elsewhere
    assert elsewhere.get("c1") is None
    assert elsewhere.remove("c1") is None
    assert elsewhere.connected_at("c1") is None
    assert elsewhere.members_of("sales") == []


def test_clients_are_found_by_their_node_and_by_their_user() -> None:
    elsewhere = Elsewhere()
    for one in (far("c1", user_id="u1"), far("c2", node="n3", user_id="u1"), far("c3")):
        assert elsewhere.put(one) is None
    assert elsewhere.of_node("n2") == ["c1", "c3"]
    assert elsewhere.of_user("u1") == ["c1", "c2"]
    assert list(elsewhere.users) == ["u1"]
    assert len(elsewhere) == 3


def test_a_room_has_its_members_in_the_order_of_joining() -> None:
    elsewhere = Elsewhere()
    elsewhere.put(far("c1"))
    elsewhere.put(far("c2", "sales"))
    elsewhere.move("c1", ["sales", "news"], [])
    assert ids(elsewhere.members_of("sales")) == ["c2", "c1"]
    assert sorted(elsewhere.rooms()) == ["news", "sales"]
    elsewhere.move("c1", [], ["news", "never"])
    assert list(elsewhere.rooms()) == ["sales"]


def test_the_id_of_a_client_is_a_room_with_it_alone() -> None:
    elsewhere = Elsewhere()
    elsewhere.put(far("c1"))
    elsewhere.put(far("c2", "c1"))
    assert ids(elsewhere.members_of("c1")) == ["c1"]


def test_what_is_new_of_a_client_takes_the_place_of_what_was() -> None:
    elsewhere = Elsewhere()
    before = far("c1", "sales", user_id="u1")
    elsewhere.put(before)
    assert elsewhere.put(far("c1", "news", node="n3")) is before
    assert ids(elsewhere.members_of("news")) == ["c1"]
    assert list(elsewhere.rooms()) == ["news"]
    assert list(elsewhere.users) == []
    assert elsewhere.of_node("n2") == []


def test_moves_of_an_unknown_client_are_silent() -> None:
    elsewhere = Elsewhere()
    elsewhere.move("c1", ["sales"], ["news"])
    assert list(elsewhere.rooms()) == []


def test_when_one_had_connected_is_known_for_a_while(monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "_DEPARTED_KEPT", 2)
    elsewhere = Elsewhere()
    for at in range(4):
        client = Client(f"c{at}", NOW + timedelta(seconds=at), "192.0.2.1")
        elsewhere.put(FarClient(client, "n2", "websocket"))
    assert elsewhere.connected_at("c0") == NOW
    for at in range(3):
        elsewhere.remove(f"c{at}")
    assert elsewhere.connected_at("c0") is None
    assert elsewhere.connected_at("c1") == NOW + timedelta(seconds=1)
    assert elsewhere.connected_at("c3") == NOW + timedelta(seconds=3)


CLIENTS = st.sampled_from(["c1", "c2", "c3"])
NODES = st.sampled_from(["n2", "n3"])
USERS = st.sampled_from([None, "u1", "u2"])
ROOMS = st.lists(st.sampled_from(["r1", "r2", "r3"]), unique=True)


class ElsewhereMachine(RuleBasedStateMachine):
    """A plain dictionary of the same clients says the same."""

    def __init__(self) -> None:
        super().__init__()
        self.elsewhere = Elsewhere()
        self.known: dict[str, tuple[str, str | None, set[str]]] = {}

    @rule(client=CLIENTS, node=NODES, user=USERS, rooms=ROOMS)
    def put(self, client: str, node: str, user: str | None, rooms: list[str]) -> None:
        before = self.elsewhere.put(far(client, *rooms, node=node, user_id=user))
        assert (before is not None) == (client in self.known)
        self.known[client] = (node, user, set(rooms))

    @rule(client=CLIENTS, entered=ROOMS, left=ROOMS)
    def move(self, client: str, entered: list[str], left: list[str]) -> None:
        self.elsewhere.move(client, entered, left)
        if client in self.known:
            rooms = self.known[client][2]
            rooms.difference_update(left)
            rooms.update(entered)

    @rule(client=CLIENTS)
    def remove(self, client: str) -> None:
        gone = self.elsewhere.remove(client)
        assert (gone is not None) == (self.known.pop(client, None) is not None)

    @invariant()
    def all_say_the_same(self) -> None:
        known, elsewhere = self.known, self.elsewhere
        assert {one.client.id for one in elsewhere} == known.keys()
        assert len(elsewhere) == len(known)
        assert set(elsewhere.users) == {user for _, user, _ in known.values() if user}
        assert set(elsewhere.rooms()) == {room for *_, rooms in known.values() for room in rooms}
        for name in ("n2", "n3"):
            assert set(elsewhere.of_node(name)) == {c for c, one in known.items() if one[0] == name}
        for name in ("r1", "r2", "r3"):
            members = {client for client, one in known.items() if name in one[2]}
            assert set(ids(elsewhere.members_of(name))) == members


TestElsewhere = ElsewhereMachine.TestCase
TestElsewhere.settings = settings(max_examples=60, deadline=None)
