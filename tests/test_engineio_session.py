import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gtower_realtime.engineio.protocol import EncodedPacket, ProtocolError
from gtower_realtime.engineio.session import (
    LAST_WORD_SECONDS,
    LINGER_SECONDS,
    RequestInfo,
    Session,
    SessionLimits,
    State,
)
from gtower_realtime.metrics import Traffic

LIMITS = SessionLimits(
    ping_interval=25,
    ping_timeout=20,
    upgrade_timeout=10,
    connect_timeout=20,
    max_message_bytes=1000,
    max_client_buffer_bytes=100,
    max_bytes_before_connect=50,
)


class FakeOutput:
    """A transport that keeps what it took, and takes nothing while it is blocked."""

    def __init__(self, name: str = "websocket") -> None:
        self.name = name
        self.unsent_bytes = 0
        self.is_blocked = False
        self.sent: list[str] = []
        self.released_polls = 0
        self.is_aborted = False

    def send_waiting(self, session: Session) -> None:
        if not self.is_blocked:
            self.sent += [packet.in_payload() for packet in session.take(1 << 30)]
        if session.is_closed and not session.has_output:
            session.end()

    def release_poll(self) -> None:
        self.released_polls += 1

    def abort(self) -> None:
        self.is_aborted = True


class FakeEvents:
    """A server that keeps what it is told."""

    def __init__(self) -> None:
        self.traffic = Traffic()
        self.told: list[str] = []
        self.dropped_packets: list[EncodedPacket] = []
        self.mark = 0

    def current_mark(self) -> int:
        return self.mark

    def output_waits(self, session: Session) -> None:
        self.told.append("output_waits")

    def message_arrived(self, session: Session) -> None:
        self.told.append("message_arrived")

    def deadline_moved(self, item: Session) -> None:
        self.told.append("deadline_moved")

    def closed(self, session: Session) -> None:
        self.told.append("closed")

    def ended(self, session: Session) -> None:
        self.told.append("ended")

    def dropped(self, session: Session, packet: EncodedPacket) -> None:
        self.dropped_packets.append(packet)


@dataclass
class World:
    """A session and what is around it."""

    limits: SessionLimits = LIMITS
    transport: str = "websocket"
    now: float = 1000.0
    events: FakeEvents = field(default_factory=FakeEvents)

    def __post_init__(self) -> None:
        self.output = FakeOutput(self.transport)
        self.session = Session(
            "sid", RequestInfo("192.0.2.1"), self.output, self.limits, self.events, lambda: self.now
        )

    def end_turn(self) -> list[str]:
        """Have the transport send what waits; return all that it has sent so far."""
        if self.session.state is not State.CLOSED:
            self.session.output.send_waiting(self.session)
        return self.output.sent

    def pass_time(self, seconds: float) -> None:
        """Move the clock on, and see to the session's deadlines in their order."""
        until = self.now + seconds
        while (deadline := self.session.next_deadline()) <= until:
            self.now = max(self.now, deadline)
            self.session.on_deadline(self.now)
        self.now = until

    def closed_with(self) -> tuple[State, int, str]:
        return self.session.state, self.session.close_code, self.session.close_reason


def message(text: str) -> EncodedPacket:
    return EncodedPacket.message(text)


@pytest.fixture
def world() -> World:
    """Give an accepted session over WebSocket."""
    world = World()
    world.session.accept()
    return world


@pytest.fixture
def polling() -> World:
    """Give an accepted session over polling."""
    world = World(transport="polling")
    world.session.accept()
    return world


# Sending


def test_packets_leave_in_the_order_in_which_they_were_sent(world: World) -> None:
    for text in "abc":
        assert world.session.send(message(text))
    assert world.end_turn() == ["4a", "4b", "4c"]


def test_the_transport_is_told_once_however_many_packets_a_turn_has(world: World) -> None:
    for text in "abc":
        world.session.send(message(text))
    assert world.events.told == ["output_waits"]


def test_a_slice_has_at_least_one_packet_and_no_more_bytes_than_asked_for(world: World) -> None:
    for text in ("a" * 30, "b" * 8, "c" * 8, "d"):
        world.session.send(message(text))
    taken = [[packet.in_payload() for packet in world.session.take(20)] for _ in range(3)]
    assert taken == [["4" + "a" * 30], ["4" + "b" * 8], ["4" + "c" * 8, "4d"]]
    assert not world.session.has_output
    assert world.session.waiting_bytes == 0


def test_a_single_packet_always_fits_however_long_it_is(world: World) -> None:
    assert world.session.send(message("x" * 5000))
    assert world.end_turn() == ["4" + "x" * 5000]


def test_the_budget_is_over_when_more_than_it_waits_already(world: World) -> None:
    first = message("x" * 97)
    assert first.size == 100
    assert world.session.send(first)
    assert world.session.send(message("y")), "exactly the limit waits: not over it"
    assert not world.session.send(message("z"))
    assert world.closed_with() == (State.CLOSING, 4102, "slow consumer")


def test_what_the_transport_has_not_sent_yet_counts_like_what_waits(world: World) -> None:
    world.output.unsent_bytes = 101
    assert not world.session.send(message("x"))
    assert world.session.close_code == 4102


def test_a_droppable_packet_is_dropped_and_the_session_stays(world: World) -> None:
    world.session.send(message("x" * 200))
    dropped = message("volatile")
    assert not world.session.send(dropped, droppable=True)
    assert world.events.dropped_packets == [dropped]
    assert not world.session.is_closed
    assert world.end_turn() == ["4" + "x" * 200]
    assert world.session.send(message("later"), droppable=True)


def test_what_a_slow_consumer_did_not_get_is_not_kept(world: World) -> None:
    world.session.send(message("x" * 200))
    world.session.send(message("stored"))
    assert not world.session.has_output
    assert world.session.waiting_bytes == 0


def test_a_ping_is_sent_to_a_slow_consumer_too(world: World) -> None:
    world.session.send(message("x" * 200))
    world.pass_time(25)
    assert not world.session.is_closed
    assert world.end_turn() == ["4" + "x" * 200, "2"]


def test_no_limit_means_no_limit() -> None:
    world = World(limits=SessionLimits(max_client_buffer_bytes=0, max_message_bytes=0))
    world.session.accept()
    for _ in range(5):
        assert world.session.send(message("x" * 1_000_000))
    assert world.session.max_message_bytes > 1 << 60


def test_what_is_exempt_does_not_count_against_the_budget(world: World) -> None:
    world.output.is_blocked = True
    world.session.send(message("x" * 60))
    world.session.send_exempt([message("y" * 1000), message("z" * 1000)])
    assert world.session.send(message("x" * 60))
    assert not world.session.send(message("x"))
    assert world.closed_with() == (State.CLOSING, 4102, "slow consumer")


def test_what_leaves_ahead_of_the_exempt_does_not_use_up_the_exemption(world: World) -> None:
    world.session.send(message("x" * 90))
    world.session.send(message("x" * 90))
    world.session.send_exempt([message("y" * 1000), message("z" * 1000)])
    assert len(world.session.take(500)) == 2
    assert len(world.session.take(500)) == 1
    world.output.unsent_bytes = 1001
    assert world.session.send(message("x"))


def test_the_exempt_that_the_transport_has_not_sent_yet_does_not_count_either(
    world: World,
) -> None:
    world.session.send_exempt([message("y" * 1000)])
    world.session.take(2000)
    world.output.unsent_bytes = 1001
    assert world.session.send(message("x" * 200))
    assert not world.session.send(message("x"))


def test_an_exemption_ends_with_what_was_exempt(world: World) -> None:
    world.session.send_exempt([message("y" * 1000)])
    world.session.take(2000)
    world.session.send(message("x" * 200))
    world.session.take(2000)
    world.output.unsent_bytes = 201
    assert not world.session.send(message("x"))


def test_a_closed_session_takes_nothing_exempt(world: World) -> None:
    world.session.close(4200, "away")
    world.session.send_exempt([message("x")])
    assert world.end_turn() == []


# Receiving


def test_messages_wait_in_the_order_of_their_arrival(world: World) -> None:
    world.session.receive(("4", "a"))
    world.session.receive(("4", b"b"))
    assert world.session.inbox == ["a", b"b"]
    assert world.events.told == ["message_arrived"] * 2


@pytest.mark.parametrize("packet", [("2", ""), ("2", "probe"), ("5", "")])
def test_a_packet_out_of_place_is_against_the_protocol(
    world: World, packet: tuple[str, str]
) -> None:
    with pytest.raises(ProtocolError):
        world.session.receive(packet)


def test_a_broken_protocol_closes_with_its_code_and_throws_away_what_waits(world: World) -> None:
    world.session.send(message("x"))
    world.session.fail(ProtocolError("not text", 1007))
    assert world.closed_with() == (State.CLOSING, 1007, "not text")
    assert world.end_turn() == []
    assert world.session.state is State.CLOSED


def test_a_client_that_says_close_is_let_go_and_its_poll_with_it(polling: World) -> None:
    polling.session.receive(("1", ""))
    assert polling.closed_with() == (State.CLOSING, 1000, "transport close")
    assert polling.output.released_polls == 1
    polling.end_turn()
    assert polling.session.state is State.CLOSED


def test_reading_stops_while_too_many_messages_wait_and_goes_on_after(world: World) -> None:
    calls: list[str] = []
    for _ in range(31):
        world.session.receive(("4", "x"))
    assert world.session.is_readable
    world.session.receive(("4", "x"))
    assert not world.session.is_readable
    world.session.when_readable(lambda: calls.append("go on"))
    world.session.check_readable()
    assert calls == []
    world.session.inbox.pop(0)
    world.session.check_readable()
    world.session.check_readable()
    assert calls == ["go on"]


def test_reading_that_was_paused_goes_on_when_it_is_resumed(world: World) -> None:
    calls: list[str] = []
    world.session.pause_reading()
    assert not world.session.is_readable
    world.session.when_readable(lambda: calls.append("go on"))
    world.session.check_readable()
    assert calls == []
    world.session.resume_reading()
    assert calls == ["go on"]


def test_whoever_waits_to_read_is_told_when_the_session_closes(world: World) -> None:
    calls: list[str] = []
    world.session.pause_reading()
    world.session.when_readable(lambda: calls.append("go on"))
    world.session.close(1012, "")
    assert calls == ["go on"]


def test_nothing_is_taken_from_a_client_once_the_session_is_closed(world: World) -> None:
    world.session.receive(("4", "before"))
    world.session.close(4003, "")
    world.session.receive(("4", "after"))
    world.session.receive(("1", ""))
    world.session.receive(("2", "against the protocol"))
    assert world.session.inbox == []
    assert world.session.close_code == 4003


# Before CONNECT


def test_before_connect_a_message_is_short_and_so_are_all_together() -> None:
    world = World()
    assert world.session.max_message_bytes == 50
    world.session.count_received("4" + "x" * 49)
    assert not world.session.is_closed
    world.session.count_received("3")
    assert world.closed_with() == (State.CLOSING, 4006, "too much before CONNECT")


def test_bytes_count_and_not_characters() -> None:
    world = World()
    world.session.count_received("€" * 17)
    assert world.session.close_code == 4006


def test_after_connect_only_the_single_message_is_bounded(world: World) -> None:
    assert world.session.max_message_bytes == 1000
    for _ in range(10):
        world.session.count_received("x" * 1000)
    assert not world.session.is_closed
    world.session.too_big()
    assert world.closed_with() == (State.CLOSING, 1009, "message too big")


def test_a_message_that_is_too_big_before_connect_is_too_much() -> None:
    world = World()
    world.session.too_big()
    assert world.session.close_code == 4006


def test_a_handshake_without_connect_is_closed_in_time() -> None:
    world = World()
    world.pass_time(19.9)
    assert not world.session.is_closed
    world.pass_time(0.1)
    assert world.closed_with() == (State.CLOSING, 4006, "no CONNECT in time")


def test_a_client_that_connected_in_time_is_not_asked_again(world: World) -> None:
    world.pass_time(24.9)
    assert not world.session.is_closed


def test_a_client_that_left_its_last_namespace_must_connect_again(world: World) -> None:
    world.session.expect_connect()
    assert world.session.max_message_bytes == 50
    world.pass_time(20)
    assert world.session.close_code == 4006


def test_without_a_connect_timeout_a_handshake_may_wait() -> None:
    world = World(limits=SessionLimits(connect_timeout=0))
    world.pass_time(24)
    assert not world.session.is_closed


# Heartbeat


def test_a_ping_is_sent_in_each_interval_and_answered(world: World) -> None:
    for round_ in range(1, 4):
        world.pass_time(25)
        assert world.end_turn() == ["2"] * round_
        world.session.receive(("3", ""))
    assert not world.session.is_closed


def test_a_pong_confirms_the_mark_of_its_ping(world: World) -> None:
    world.events.mark = 5
    world.pass_time(25)
    world.events.mark = 9
    assert world.session.confirmed_mark == 0
    world.session.receive(("3", ""))
    assert world.session.confirmed_mark == 5


def test_marks_from_before_a_connect_say_nothing_about_its_client(world: World) -> None:
    world.events.mark = 5
    world.pass_time(25)
    world.session.receive(("3", ""))
    world.pass_time(25)
    world.session.accept()
    assert world.session.confirmed_mark == 0
    world.session.receive(("3", ""))
    assert world.session.confirmed_mark == 0
    world.pass_time(25)
    world.session.receive(("3", ""))
    assert world.session.confirmed_mark == 5


def test_a_client_that_does_not_answer_a_ping_is_closed(world: World) -> None:
    world.pass_time(44.9)
    assert not world.session.is_closed
    world.pass_time(0.1)
    assert world.closed_with() == (State.CLOSING, 4201, "no pong")


def test_messages_do_not_stand_in_for_a_pong(world: World) -> None:
    world.pass_time(26)
    world.session.receive(("4", "x"))
    world.pass_time(19)
    assert world.session.close_code == 4201


def test_a_pong_that_nobody_asked_for_puts_off_the_next_ping_only(world: World) -> None:
    for _ in range(1000):
        world.session.receive(("3", ""))
    world.pass_time(24.9)
    assert world.end_turn() == []
    world.pass_time(0.2)
    assert world.end_turn() == ["2"]


def test_a_client_that_is_not_read_from_is_not_blamed_for_its_pong(world: World) -> None:
    world.session.pause_reading()
    world.pass_time(25 + 20 + 15)
    assert not world.session.is_closed
    world.session.resume_reading()
    world.pass_time(5)
    assert world.session.close_code == 4201


def test_a_client_is_not_blamed_while_what_it_sent_is_taken_up_one_by_one(world: World) -> None:
    for number in range(32):
        world.session.receive(("4", str(number)))
    world.session.when_readable(lambda: None)
    # There is room for more by now, but nobody has been told to read it.
    world.session.inbox.clear()
    world.pass_time(25)
    world.pass_time(20)
    assert not world.session.is_closed
    world.session.check_readable()
    world.pass_time(20)
    assert world.closed_with() == (State.CLOSING, 4201, "no pong")


# Upgrading


def test_an_upgrade_moves_what_waits_to_the_websocket_in_its_order(polling: World) -> None:
    probe = FakeOutput("websocket")
    polling.output.is_blocked = True
    polling.session.send(message("before"))
    assert polling.session.begin_upgrade(probe)
    polling.session.send(message("meanwhile"))
    polling.session.probe_arrived()
    assert polling.output.released_polls == 1
    polling.end_turn()
    polling.session.complete_upgrade(probe)
    polling.session.send(message("after"))
    polling.end_turn()
    assert probe.sent == ["4before", "4meanwhile", "4after"]
    assert polling.output.sent == []
    assert polling.session.transport_name == "websocket"


def test_polling_is_served_until_the_upgrade_is_complete(polling: World) -> None:
    polling.session.begin_upgrade(FakeOutput("websocket"))
    polling.session.probe_arrived()
    polling.session.send(message("still polling"))
    assert polling.end_turn() == ["4still polling"]


def test_there_is_one_upgrade_at_a_time_and_none_of_a_websocket(polling: World) -> None:
    first, second = FakeOutput("websocket"), FakeOutput("websocket")
    assert polling.session.begin_upgrade(first)
    assert not polling.session.begin_upgrade(second)
    polling.session.complete_upgrade(first)
    assert not polling.session.begin_upgrade(second)


def test_only_the_one_that_was_let_in_takes_over(polling: World) -> None:
    polling.session.begin_upgrade(FakeOutput("websocket"))
    with pytest.raises(ProtocolError):
        polling.session.complete_upgrade(FakeOutput("websocket"))
    assert polling.session.transport_name == "polling"


def test_an_upgrade_that_takes_too_long_is_dropped_and_polling_goes_on(polling: World) -> None:
    probe = FakeOutput("websocket")
    polling.session.begin_upgrade(probe)
    polling.pass_time(9.9)
    assert not probe.is_aborted
    polling.pass_time(0.1)
    assert probe.is_aborted
    assert not polling.session.is_closed
    with pytest.raises(ProtocolError):
        polling.session.complete_upgrade(probe)
    assert polling.session.begin_upgrade(FakeOutput("websocket"))


def test_a_websocket_that_is_gone_before_it_took_over_leaves_polling_alone(polling: World) -> None:
    probe = FakeOutput("websocket")
    polling.session.begin_upgrade(probe)
    polling.session.lost(probe, "transport close")
    assert not polling.session.is_closed
    assert polling.session.begin_upgrade(FakeOutput("websocket"))


def test_the_polling_that_was_left_may_end_without_harm(polling: World) -> None:
    probe = FakeOutput("websocket")
    polling.session.begin_upgrade(probe)
    polling.session.complete_upgrade(probe)
    polling.session.lost(polling.output, "transport close")
    assert not polling.session.is_closed


def test_a_session_that_closes_drops_the_websocket_that_wanted_to_take_over(
    polling: World,
) -> None:
    probe = FakeOutput("websocket")
    polling.session.begin_upgrade(probe)
    polling.session.close(1012, "")
    assert probe.is_aborted
    with pytest.raises(ProtocolError):
        polling.session.complete_upgrade(probe)
    assert not polling.session.begin_upgrade(FakeOutput("websocket"))


# Closing


def test_a_close_hands_over_what_waits_first(world: World) -> None:
    world.session.send(message("last words"))
    world.session.close(4003, "disconnected by the server")
    assert not world.session.send(message("too late"))
    assert world.end_turn() == ["4last words"]
    assert world.session.state is State.CLOSED


def test_a_close_that_discards_does_not(world: World) -> None:
    world.session.send(message("last words"))
    world.session.close(4201, "no pong", discard=True)
    assert world.end_turn() == []


def test_the_first_close_counts(world: World) -> None:
    world.session.close(4003, "first")
    world.session.close(1012, "second", discard=True)
    world.session.fail(ProtocolError("third"))
    world.session.too_big()
    assert world.closed_with() == (State.CLOSING, 4003, "first")
    assert not world.session.is_discarded


def test_a_client_that_does_not_take_its_last_packets_is_dropped_in_the_end(world: World) -> None:
    world.output.is_blocked = True
    world.session.send(message("last words"))
    world.session.close(1012, "")
    world.pass_time(LINGER_SECONDS - 0.1)
    assert world.session.state is State.CLOSING
    world.pass_time(0.1)
    assert world.output.is_aborted
    assert world.session.state is State.CLOSED
    assert world.session.next_deadline() == math.inf


def test_a_client_for_whom_only_the_word_close_waits_has_a_moment_to_hear_it(
    polling: World,
) -> None:
    polling.output.is_blocked = True
    polling.session.send(message("last words"))
    polling.session.close(1012, "")
    polling.session.hand_over_soon()
    polling.pass_time(LAST_WORD_SECONDS - 0.1)
    polling.session.hand_over_soon()
    assert polling.session.state is State.CLOSING
    polling.pass_time(0.1)
    assert polling.session.state is State.CLOSED


def test_closed_and_ended_are_told_once_and_in_this_order(world: World) -> None:
    world.session.close(4003, "")
    world.session.end()
    world.session.end()
    world.session.close(1012, "")
    world.session.lost(world.output, "transport close")
    told = [event for event in world.events.told if event in {"closed", "ended"}]
    assert told == ["closed", "ended"]


def test_a_session_whose_transport_is_gone_has_ended(world: World) -> None:
    world.session.send(message("unread"))
    world.session.lost(world.output, "transport close")
    assert world.closed_with() == (State.CLOSED, 1000, "transport close")
    assert not world.session.has_output


ENDINGS: list[Callable[[World], Any]] = [
    lambda world: world.session.close(4003, ""),
    lambda world: world.session.close(4003, "", discard=True),
    lambda world: world.session.fail(ProtocolError("")),
    lambda world: world.session.too_big(),
    lambda world: world.session.receive(("1", "")),
    lambda world: world.session.lost(world.output, ""),
    lambda world: world.session.end(),
    lambda world: world.pass_time(100),
]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("state", ["new", "accepted", "upgrading", "awaits pong", "paused"])
def test_every_end_in_every_state_leaves_nothing_behind(
    state: str, ending: Callable[[World], Any]
) -> None:
    world = World(transport="polling")
    probe = FakeOutput("websocket")
    resumed: list[str] = []
    if state != "new":
        world.session.accept()
    if state == "upgrading":
        world.session.begin_upgrade(probe)
    if state == "awaits pong":
        world.pass_time(25)
    if state == "paused":
        world.session.pause_reading()
        world.session.when_readable(lambda: resumed.append("go on"))
    world.session.send(message("x"))
    ending(world)
    if state == "paused" and not world.session.is_closed:
        world.session.resume_reading()  # pausing alone never ends a session
        world.pass_time(100)
    world.end_turn()
    world.pass_time(LINGER_SECONDS)
    assert world.session.state is State.CLOSED
    assert [e for e in world.events.told if e in {"closed", "ended"}] == ["closed", "ended"]
    assert world.session.next_deadline() == math.inf
    assert not world.session.has_output
    assert world.session.inbox == []
    assert probe.is_aborted == (state == "upgrading")
    assert resumed == (["go on"] if state == "paused" else [])


class SessionAgainstModel(RuleBasedStateMachine):
    """Any order of what may happen to a polling session that may be upgraded.

    The model is the list of texts that were accepted, and what is known of its end.
    """

    def __init__(self) -> None:
        super().__init__()
        self.world = World(transport="polling")
        self.session = self.world.session
        self.probe: FakeOutput | None = None
        self.accepted: list[str] = []
        self.first_close: tuple[int, str] | None = None
        self.count = 0

    def sent(self) -> list[str]:
        outputs = [self.world.output]
        if self.session.output is not self.world.output:
            outputs.append(self.session.output)  # type: ignore[arg-type]
        return [text for output in outputs for text in output.sent if text != "2"]

    def note_close(self) -> None:
        if self.session.is_closed and self.first_close is None:
            self.first_close = (self.session.close_code, self.session.close_reason)

    @rule(size=st.integers(1, 60), droppable=st.booleans())
    def send(self, size: int, droppable: bool) -> None:
        self.count += 1
        text = f"{self.count}:".ljust(size, "x")
        was_open, over = not self.session.is_closed, self.session.waiting_bytes > 100
        taken = self.session.send(message(text), droppable)
        assert taken == (was_open and not over)
        if taken:
            self.accepted.append("4" + text)
        assert self.session.is_closed == (not was_open or (over and not droppable))
        self.note_close()

    @rule()
    def end_turn(self) -> None:
        self.world.end_turn()

    @rule(is_blocked=st.booleans())
    def block(self, is_blocked: bool) -> None:
        self.session.output.is_blocked = is_blocked  # type: ignore[attr-defined]

    @rule(
        packet=st.sampled_from([("4", "x"), ("3", ""), ("1", ""), ("2", ""), ("5", ""), ("4", b"")])
    )
    def receive(self, packet: tuple[str, str | bytes]) -> None:
        try:
            self.session.receive(packet)
        except ProtocolError as problem:
            self.session.fail(problem)
        self.session.inbox.clear()
        self.session.check_readable()
        self.note_close()

    @rule()
    def accept(self) -> None:
        self.session.accept()

    @rule()
    def begin_upgrade(self) -> None:
        probe = FakeOutput("websocket")
        may_begin = (
            self.probe is None
            and not self.session.is_closed
            and self.session.transport_name == "polling"
        )
        assert self.session.begin_upgrade(probe) == may_begin
        if may_begin:
            self.probe = probe

    @precondition(lambda self: self.probe is not None)
    @rule(how=st.sampled_from(["complete", "lost", "abandon"]))
    def settle_upgrade(self, how: str) -> None:
        assert self.probe is not None
        probe, self.probe = self.probe, None
        if how == "lost":
            self.session.lost(probe, "transport close")
        elif how == "abandon":
            self.session.abandon_upgrade(probe)
        elif probe.is_aborted:
            with pytest.raises(ProtocolError):
                self.session.complete_upgrade(probe)
        else:
            self.session.complete_upgrade(probe)

    @rule(seconds=st.floats(0.1, 30))
    def pass_time(self, seconds: float) -> None:
        self.world.pass_time(seconds)
        if self.probe is not None and self.probe.is_aborted:
            self.probe = None
        self.note_close()

    @rule(discard=st.booleans(), code=st.sampled_from([1012, 4003]))
    def close(self, discard: bool, code: int) -> None:
        self.session.close(code, "by the server", discard=discard)
        if self.probe is not None and self.probe.is_aborted:
            self.probe = None
        self.note_close()

    @rule()
    def lose(self) -> None:
        self.session.lost(self.session.output, "transport close")
        self.note_close()

    @invariant()
    def nothing_is_lost_doubled_or_out_of_order(self) -> None:
        sent = self.sent()
        assert sent == self.accepted[: len(sent)]
        if not self.session.is_closed:
            waiting = self.session.waiting_bytes
            kept = sum(message(text[1:]).size for text in self.accepted[len(sent) :])
            assert waiting - kept in {0, 3, 6}, "all that was not sent waits, and pings"

    @invariant()
    def it_ends_once_with_its_first_reason(self) -> None:
        told = [event for event in self.world.events.told if event in {"closed", "ended"}]
        assert told == ["closed", "ended"][: self.session.state.value - 1]
        if self.first_close is not None:
            assert (self.session.close_code, self.session.close_reason) == self.first_close

    @invariant()
    def it_always_has_a_next_deadline_until_it_has_ended(self) -> None:
        has_ended = self.session.state is State.CLOSED
        assert (self.session.next_deadline() == math.inf) == has_ended

    def teardown(self) -> None:
        self.session.resume_reading()
        self.world.pass_time(200)
        assert self.session.state is State.CLOSED


TestSessionAgainstModel = SessionAgainstModel.TestCase
