"""Numbers that a process gives out by itself, and what the log puts in their place."""

from gtower_realtime.cluster.private_epoch import PrivateEpoch
from gtower_realtime.records import EventAppended, RoomEntered, RoomLeft, SessionOpened
from gtower_realtime.sessions import Session, Sessions
from tests.fakes import an_event


def test_a_process_begins_with_a_private_epoch() -> None:
    private = PrivateEpoch(Sessions())
    assert (private.has_begun, private.is_settled) == (True, True)
    offset = private.offset(1)
    assert offset is not None
    assert (len(offset.epoch), offset.number) == (8, 1)
    private.end()
    assert (private.has_begun, private.offset(1)) == (False, None)


def test_each_has_another_name_and_what_was_before_is_not_private() -> None:
    private = PrivateEpoch(Sessions())
    first = private.offset(1)
    private.end()
    private.begin(100)
    assert private.offset(100) is None
    second = private.offset(101)
    private.begin(500)  # it has begun already
    assert private.offset(101) == second
    assert first is not None
    assert second is not None
    assert first.epoch != second.epoch


def test_events_from_here_are_among_those_of_the_log_until_they_have_come_back() -> None:
    private = PrivateEpoch(Sessions())
    own = an_event(0, id="own")
    private.give(15, 1, own)
    assert (own.number, private.has(1), private.is_settled) == (15, True, False)
    log = [an_event(10), an_event(20)]
    assert [event.number for event in private.with_events(log, 0)] == [10, 15, 20]
    assert private.with_events(log, 15) == log
    settled = private.settle(1, [EventAppended(an_event(30, id="own"))], 30)
    assert [event.id for event in settled] == ["own"]
    assert (private.has(1), private.is_settled) == (False, True)
    assert private.with_events(log, 0) == log


def test_what_is_refused_is_forgotten() -> None:
    private = PrivateEpoch(Sessions())
    private.give(15, 1, an_event(0))
    assert private.forget(1) == 15
    assert private.is_settled
    assert private.with_events([], 0) == []


def test_sessions_and_stays_get_the_numbers_of_the_log() -> None:
    sessions = Sessions()
    private = PrivateEpoch(sessions)
    session = Session.open("c1", "/", None, 15)
    session.enter("token", 15)
    sessions.add(session)
    session.enter("sales", 16)
    session.leave("sales", 17)
    for number, sequence in ((15, 1), (16, 2), (17, 3)):
        private.give(number, sequence, None)
    private.settle(1, [SessionOpened(session.stored())], 30)
    private.settle(2, [RoomEntered("c1", "sales", 31)], 31)
    private.settle(3, [RoomLeft("c1", "sales", 32), RoomLeft("unknown", "sales", 32)], 32)
    assert session.opened_at_number == 30
    assert [(stay.room, stay.after, stay.until) for stay in session.memberships] == [
        ("token", 30, None),
        ("sales", 31, 32),
    ]


def test_what_the_log_will_not_tell_of_is_forgotten() -> None:
    private = PrivateEpoch(Sessions())
    for sequence in (1, 2, 3):
        private.give(10 + sequence, sequence, an_event(0))
    private.forget_until(2)
    assert [private.has(sequence) for sequence in (1, 2, 3)] == [False, False, True]
    assert [event.number for event in private.with_events([], 0)] == [13]
