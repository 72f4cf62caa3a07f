"""What python-socketio asks of its manager, kept by ours without a socket."""

import itertools
from types import SimpleNamespace
from typing import Any

import pytest

from gtower_realtime.engineio.group import Group
from gtower_realtime.gateway.client_manager import MAX_WAITING_ACKNOWLEDGEMENTS, ClientManager
from gtower_realtime.gateway.packets import StrictPacket
from gtower_realtime.metrics import Traffic

pytestmark = pytest.mark.gen_test


class RecordingSession:
    """Stands in for an Engine.IO session: keeps the payloads it is sent."""

    def __init__(self, sid: str) -> None:
        self.sid = sid
        self.group = self.write = None
        self.place = 0
        self.sent: list[str] = []

    def catch_up(self) -> None:
        pass

    def send(self, packet: Any) -> bool:
        self.sent.append(packet.in_payload())
        return True


class World:
    """A manager and the Engine.IO sessions it is told of."""

    def __init__(self) -> None:
        numbers = itertools.count(1)
        self.sessions: dict[str, RecordingSession] = {}
        self.manager = ClientManager()
        eio = SimpleNamespace(
            sessions=self.sessions,
            generate_id=lambda: f"c{next(numbers)}",
            new_group=lambda: Group(lambda _group: None, Traffic()),
        )
        self.manager.set_server(SimpleNamespace(eio=eio, packet_class=StrictPacket))

    async def pre_connect(self, eio_sid: str, namespace: str = "/") -> str | None:
        """Let a client be pending."""
        self.sessions.setdefault(eio_sid, RecordingSession(eio_sid))
        return await self.manager.pre_connect(eio_sid, namespace)

    async def connect(self, eio_sid: str, namespace: str = "/") -> str:
        """Let a client be accepted, and return its id."""
        sid = await self.pre_connect(eio_sid, namespace)
        assert sid is not None
        return await self.manager.connect(sid, namespace)

    def received(self) -> dict[str, list[str]]:
        """Return and forget what each session was sent, without those that were sent nothing."""
        received = {sid: session.sent for sid, session in self.sessions.items() if session.sent}
        for session in self.sessions.values():
            session.sent = []
        return received

    def members(self, room: Any = None, namespace: str = "/") -> list[str]:
        """Return the client ids in a room."""
        return [sid for sid, _ in self.manager.get_participants(namespace, room)]


@pytest.fixture
def world() -> World:
    return World()


# Pending, accepted, gone


async def test_a_forgotten_client_leaves_nothing_and_its_id_can_be_accepted_anew(
    world: World,
) -> None:
    sid = await world.connect("e1")
    world.manager.forget(sid)
    world.manager.forget(sid)
    assert world.manager.namespaces_of("e1") == {}
    assert world.manager._client_ids == {}
    pending = await world.pre_connect("e2")
    assert pending is not None
    world.manager.accept(pending, sid)
    assert world.manager.sid_from_eio_sid("e2", "/") == sid
    await world.manager.disconnect(sid, "/")
    assert world.members() == []


async def test_forgetting_one_client_leaves_the_other_namespace_of_its_connection(
    world: World,
) -> None:
    sid = await world.connect("e1")
    other = await world.connect("e1", "/other")
    world.manager.forget(sid)
    assert dict(world.manager.namespaces_of("e1")) == {"/other": other}


async def test_a_pending_client_is_in_no_room_and_gets_nothing(world: World) -> None:
    sid = await world.pre_connect("e1")
    assert sid == "c1"
    manager = world.manager
    assert manager.is_pre_connected(sid, "/")
    assert not manager.is_pre_connected(sid, "/other")
    assert not manager.is_connected(sid, "/")
    assert manager.sid_from_eio_sid("e1", "/") == sid
    await manager.enter_room(sid, "/", "sales")
    await manager.emit("news", 1, "/")
    await manager.emit("news", 1, "/", room="sales")
    await manager.emit("news", 1, "/", to=sid)
    assert world.received() == {}
    assert list(manager.get_namespaces()) == []
    assert manager.get_rooms(sid, "/") == []


async def test_an_accepted_client_is_connected(world: World) -> None:
    sid = await world.connect("e1")
    manager = world.manager
    assert manager.is_connected(sid, "/")
    assert not manager.is_connected(sid, "/other")
    assert not manager.is_connected(None, "/")
    assert not manager.is_pre_connected(sid, "/")
    assert manager.eio_sid_from_sid(sid, "/") == "e1"
    assert manager.eio_sid_from_sid("nobody", "/") is None
    assert manager.sid_from_eio_sid("e1", "/") == sid
    assert manager.sid_from_eio_sid("e1", "/other") is None
    assert await manager.can_disconnect(sid, "/")
    assert list(manager.get_namespaces()) == ["/"]
    assert dict(manager.namespaces_of("e1")) == {"/": sid}


async def test_a_connection_is_in_a_namespace_once(world: World) -> None:
    await world.connect("e1")
    assert await world.pre_connect("e1") is None
    other = await world.connect("e1", "/other")
    assert dict(world.manager.namespaces_of("e1")) == {"/": "c1", "/other": other}


@pytest.mark.parametrize("is_accepted", [True, False])
async def test_a_client_that_is_disconnected_leaves_nothing(
    world: World, is_accepted: bool
) -> None:
    sid = await (world.connect if is_accepted else world.pre_connect)("e1")
    assert sid is not None
    await world.manager.enter_room(sid, "/", "sales")
    await world.manager.disconnect(sid, "/", ignore_queue=True)
    manager = world.manager
    assert not manager.is_connected(sid, "/")
    assert not manager.is_pre_connected(sid, "/")
    assert manager.sid_from_eio_sid("e1", "/") is None
    assert dict(manager.namespaces_of("e1")) == {}
    assert list(manager.get_namespaces()) == []
    assert world.members() == world.members("sales") == []
    assert not await manager.can_disconnect(sid, "/")
    await manager.disconnect(sid, "/")
    assert await world.connect("e1") == "c2"


async def test_leaving_one_namespace_keeps_the_other(world: World) -> None:
    first, other = await world.connect("e1"), await world.connect("e1", "/other")
    await world.manager.disconnect(first, "/")
    assert world.manager.is_connected(other, "/other")
    assert dict(world.manager.namespaces_of("e1")) == {"/other": other}


# Rooms


async def test_rooms_are_entered_left_and_closed(world: World) -> None:
    one, two = await world.connect("e1"), await world.connect("e2")
    manager = world.manager
    for sid in (one, two):
        await manager.enter_room(sid, "/", "sales")
    await manager.enter_room(one, "/", "desk")
    await manager.enter_room(one, "/", "desk")
    assert manager.get_rooms(one, "/") == ["sales", "desk"]
    assert world.members("sales") == [one, two]
    await manager.leave_room(one, "/", "sales")
    await manager.leave_room(one, "/", "never entered")
    assert world.members("sales") == [two]
    await manager.close_room("sales", "/")
    await manager.close_room("no such room", "/")
    assert world.members("sales") == []
    assert manager.get_rooms(one, "/") == ["desk"]


async def test_closing_a_room_ends_the_memberships_of_one_namespace(world: World) -> None:
    one, other = await world.connect("e1"), await world.connect("e2", "/other")
    for sid, namespace in ((one, "/"), (other, "/other")):
        await world.manager.enter_room(sid, namespace, "sales")
    await world.manager.close_room("sales", "/")
    assert world.members("sales") == []
    assert world.members("sales", "/other") == [other]


async def test_participants_of_several_rooms_are_distinct(world: World) -> None:
    one, two = await world.connect("e1"), await world.connect("e2")
    await world.connect("e3")
    for sid, room in ((one, "a"), (one, "b"), (two, "b")):
        await world.manager.enter_room(sid, "/", room)
    participants = list(world.manager.get_participants("/", ["a", "b", "c"]))
    assert participants == [(one, "e1"), (two, "e2")]


# Emitting


NEWS = '42["news",1]'


async def test_an_event_goes_to_whom_it_is_for(world: World) -> None:
    one, two, three = [await world.connect(eio_sid) for eio_sid in ("e1", "e2", "e3")]
    await world.connect("e4", "/other")
    for sid, room in ((one, "a"), (one, "b"), (two, "b")):
        await world.manager.enter_room(sid, "/", room)
    cases: list[tuple[dict[str, Any], set[str]]] = [
        ({}, {"e1", "e2", "e3"}),
        ({"room": "a"}, {"e1"}),
        ({"to": "b"}, {"e1", "e2"}),
        ({"room": ["a", "b"]}, {"e1", "e2"}),
        ({"room": ("a", "b")}, {"e1", "e2"}),
        ({"room": three}, {"e3"}),
        ({"to": three, "room": "a"}, {"e3"}),
        ({"to": [three, "a"]}, {"e1", "e3"}),
        ({"skip_sid": one}, {"e2", "e3"}),
        ({"room": "b", "skip_sid": [one, three]}, {"e2"}),
        ({"room": "b", "skip_sid": (one, two)}, set()),
        ({"room": "nobody"}, set()),
        ({"room": ""}, set()),
        ({"to": []}, set()),
    ]
    for target, receivers in cases:
        await world.manager.emit("news", 1, "/", **target)
        assert world.received() == {eio_sid: [NEWS] for eio_sid in receivers}, target


@pytest.mark.parametrize(
    ("arguments", "payload"),
    [
        (None, '42["e"]'),
        ((), '42["e"]'),
        ("a", '42["e","a"]'),
        (["a", 1], '42["e",["a",1]]'),
        (("a", {"b": 2}), '42["e","a",{"b":2}]'),
        (False, '42["e",false]'),
    ],
)
async def test_a_tuple_is_several_arguments(world: World, arguments: Any, payload: str) -> None:
    await world.connect("e1")
    await world.manager.emit("e", arguments, "/")
    assert world.received() == {"e1": [payload]}


async def test_the_namespace_is_named_in_the_packet(world: World) -> None:
    await world.connect("e1", "/other")
    await world.manager.emit("news", 1, "/other")
    assert world.received() == {"e1": ['42/other,["news",1]']}


async def test_binary_goes_out_as_attachments(world: World) -> None:
    await world.connect("e1")
    await world.manager.emit("e", b"hi", "/")
    packets = world.received()["e1"]
    assert packets == ['451-["e",{"_placeholder":true,"num":0}]', "baGk="]


async def test_what_json_cannot_say_reaches_nobody(world: World) -> None:
    await world.connect("e1")
    with pytest.raises(ValueError, match="not JSON serializable"):
        await world.manager.emit("e", object(), "/")
    assert world.received() == {}


# Acknowledgements


async def test_each_receiver_acknowledges_under_an_id_of_its_own(world: World) -> None:
    one, two = await world.connect("e1"), await world.connect("e2")
    answers: list[Any] = []
    await world.manager.emit("q", 1, "/", callback=lambda *values: answers.append(values))
    assert world.received() == {"e1": ['421["q",1]'], "e2": ['422["q",1]']}
    await world.manager.trigger_callback(two, 2, ["from two"])
    await world.manager.trigger_callback(one, 2, ["not its own"])
    await world.manager.trigger_callback(two, 2, ["again"])
    await world.manager.trigger_callback("nobody", 1, [])
    await world.manager.trigger_callback(one, 1, [])
    assert answers == [("from two",), ()]


async def test_a_callback_may_be_a_coroutine(world: World) -> None:
    sid = await world.connect("e1")
    answers: list[Any] = []

    async def answered(value: Any) -> None:
        answers.append(value)

    await world.manager.emit("q", 1, "/", callback=answered)
    await world.manager.trigger_callback(sid, 1, ["yes"])
    assert answers == ["yes"]


async def test_the_oldest_of_too_many_callbacks_is_forgotten(world: World) -> None:
    sid = await world.connect("e1")
    answers: list[int] = []
    count = MAX_WAITING_ACKNOWLEDGEMENTS + 1
    for number in range(1, count + 1):
        await world.manager.emit("q", 1, "/", callback=lambda number=number: answers.append(number))
    for number in range(1, count + 1):
        await world.manager.trigger_callback(sid, number, [])
    assert answers == list(range(2, count + 1))


async def test_callbacks_of_a_client_that_is_gone_are_forgotten(world: World) -> None:
    sid = await world.connect("e1")
    answers: list[Any] = []
    await world.manager.emit("q", 1, "/", callback=lambda: answers.append(1))
    await world.manager.disconnect(sid, "/")
    await world.manager.trigger_callback(sid, 1, [])
    assert answers == []
