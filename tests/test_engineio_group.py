"""Packets for many sessions: shared until they are written, and in order with all others."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtower_realtime.engineio.group import Group
from gtower_realtime.engineio.protocol import EncodedPacket
from gtower_realtime.engineio.session import RequestInfo, Session, SessionLimits
from gtower_realtime.metrics import Traffic

BUDGET = 1000


class Wire:
    """A transport whose kernel takes everything, or nothing while it is blocked."""

    name = "websocket"

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self.unsent = b""
        self.sent = b""
        self.writes = 0
        self.is_blocked = False
        self.session: Session

    @property
    def unsent_bytes(self) -> int:
        return len(self.unsent)

    def write(self, content: bytes) -> int:
        self.writes += 1
        if self.is_blocked:
            raise BlockingIOError
        self.sent += content
        return len(content)

    def write_rest(self, content: bytes, sent: int) -> None:
        self.unsent += content[sent:]
        self.session.hold_output()

    def send_waiting(self, session: Session) -> None:
        if self.unsent:
            return
        if session.has_output:
            content = b"".join(packet.frame for packet in session.take(1 << 30))
            self.traffic.sent += len(content)
            if self.is_blocked:
                self.write_rest(content, 0)
                return
            self.sent += content
        if session.is_closed:
            session.end()
        else:
            session.release_output(self.write)

    def unblock(self) -> None:
        self.is_blocked = False
        self.sent, self.unsent = self.sent + self.unsent, b""
        self.send_waiting(self.session)

    def release_poll(self) -> None:
        pass

    def abort(self) -> None:
        pass


class Turn:
    """What an Engine.IO server does at the end of a turn, for a few sessions."""

    def __init__(self) -> None:
        self.traffic = Traffic()
        self.waiting: list[Session] = []
        self.groups: list[Group] = []

    def output_waits(self, session: Session) -> None:
        self.waiting.append(session)

    def group_waits(self, group: Group) -> None:
        self.groups.append(group)

    def end(self) -> None:
        groups, self.groups = self.groups, []
        for group in groups:
            while not group.flush():
                pass
        waiting, self.waiting = self.waiting, []
        for session in waiting:
            if not session.write_at_once() and not session.is_closed:
                session.output.send_waiting(session)

    def __getattr__(self, _name: str) -> Any:
        return lambda *_arguments: None


class World:
    """A group, its sessions, and what each of them should have been sent."""

    def __init__(self, sessions: int) -> None:
        self.turn = Turn()
        self.group = Group(self.turn.group_waits, self.turn.traffic)
        self.wires = [self._wire(str(number)) for number in range(sessions)]
        self.due: list[list[bytes]] = [[] for _ in self.wires]
        self.members: set[int] = set()
        self._texts: Iterator[int] = count()

    def _wire(self, sid: str) -> Wire:
        wire = Wire(self.turn.traffic)
        limits = SessionLimits(max_client_buffer_bytes=BUDGET)
        wire.session = Session(sid, RequestInfo("a"), wire, limits, self.turn, lambda: 0.0)
        wire.session.release_output(wire.write)
        return wire

    def packet(self) -> EncodedPacket:
        return EncodedPacket.message(f"packet {next(self._texts)};")

    def received(self, number: int) -> bytes:
        return self.wires[number].sent + self.wires[number].unsent

    # Steps of the model test

    def send_to_all(self, excluded: set[int]) -> None:
        packet = self.packet()
        recipients = self.members - excluded
        sessions = [self.wires[number].session for number in excluded]
        assert self.group.send(packet, sessions) == len(recipients)
        for number in recipients:
            self.due[number].append(packet.frame)

    def send_to_one(self, number: int) -> None:
        packet = self.packet()
        assert self.wires[number].session.send(packet)
        self.due[number].append(packet.frame)

    def join(self, number: int) -> None:
        if number not in self.members:
            self.group.add(self.wires[number].session)
            self.members.add(number)

    def leave(self, number: int) -> None:
        self.group.remove(self.wires[number].session)
        self.members.discard(number)

    def block(self, number: int) -> None:
        self.wires[number].is_blocked = True

    def unblock(self, number: int) -> None:
        self.wires[number].unblock()

    def end_turn(self, _nobody: None) -> None:
        self.turn.end()


def test_a_packet_for_all_is_one_write_for_each_at_the_end_of_the_turn() -> None:
    world = World(3)
    for wire in world.wires:
        world.group.add(wire.session)
    packets = [world.packet() for _ in range(5)]
    assert [world.group.send(packet) for packet in packets] == [3] * 5
    assert [wire.writes for wire in world.wires] == [0, 0, 0]
    world.turn.end()
    blob = b"".join(packet.frame for packet in packets)
    assert [(wire.writes, wire.sent) for wire in world.wires] == [(1, blob)] * 3


def test_many_sessions_are_written_to_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gtower_realtime.engineio.group._SLICE_SESSIONS", 2)
    world = World(5)
    for wire in world.wires:
        world.group.add(wire.session)
    first, second = world.packet(), world.packet()
    world.group.send(first)
    assert not world.group.flush()
    world.group.send(second)
    assert [bool(wire.sent) for wire in world.wires] == [True, True, False, False, False]
    while not world.group.flush():
        pass
    assert {wire.sent for wire in world.wires} == {first.frame + second.frame}


def test_a_session_that_does_not_read_is_closed_and_not_counted() -> None:
    world = World(2)
    for wire in world.wires:
        world.group.add(wire.session)
    slow = world.wires[0]
    slow.is_blocked = True
    big = EncodedPacket.message("x" * (BUDGET + 1))
    assert world.group.send(big) == 2
    world.turn.end()
    assert world.group.send(world.packet(), droppable=True) == 1
    assert not slow.session.is_closed
    assert world.group.send(world.packet()) == 1
    assert slow.session.close_code == 4102


def test_a_guest_of_a_second_group_gets_its_packets_too() -> None:
    world = World(1)
    other = Group(world.turn.group_waits, world.turn.traffic)
    world.group.add(world.wires[0].session)
    other.add(world.wires[0].session)
    packets = [world.packet() for _ in range(3)]
    world.group.send(packets[0])
    assert other.send(packets[1]) == 1
    world.group.send(packets[2])
    world.turn.end()
    assert world.wires[0].sent == b"".join(packet.frame for packet in packets)


_SESSIONS = 3
_numbers = st.integers(0, _SESSIONS - 1)
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("send_to_all"), st.sets(_numbers, max_size=2)),
        st.tuples(st.sampled_from(["send_to_one", "join", "leave", "block", "unblock"]), _numbers),
        st.tuples(st.just("end_turn"), st.none()),
    ),
    max_size=40,
)


@given(steps=_steps)
def test_each_session_gets_all_that_is_for_it_in_order(steps: list[tuple[str, Any]]) -> None:
    world = World(_SESSIONS)
    for step, argument in steps:
        getattr(world, step)(argument)
    for wire in world.wires:
        wire.unblock()
    world.turn.end()
    for number in range(_SESSIONS):
        assert world.received(number) == b"".join(world.due[number])
    # All of it was counted, a group's without looking at the sessions one by one.
    assert world.turn.traffic.sent == sum(len(wire.sent) for wire in world.wires)
