"""Sessions: what was for a client by its memberships at the time, and who is awaited where."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtower_realtime.ports import Target
from gtower_realtime.records import Membership, StoredEvent
from gtower_realtime.sessions import Session, Sessions, addresses, missed
from tests.fakes import NOW_MS, an_event


def a_session(client_id: str = "c1", *, user_id: str | None = None, number: int = 0) -> Session:
    return Session.open(client_id, "/", user_id, number)


def some_sessions(*sessions: Session) -> Sessions:
    kept = Sessions()
    for session in sessions:
        kept.add(session)
    return kept


def is_for(session: Session, numbers: Iterable[int], *to: str, **details: Any) -> list[int]:
    return [number for number in numbers if session.is_for(an_event(number, *to, **details))]


# What is for a client


def test_an_event_is_for_who_was_a_member_at_its_number() -> None:
    session = a_session()
    session.enter("sales", 2)
    session.leave("sales", 4)
    session.enter("sales", 6)
    assert is_for(session, range(1, 9), "sales") == [3, 4, 7, 8]
    assert is_for(session, range(1, 9), "other") == []
    assert is_for(session, range(1, 9), "other", "sales") == [3, 4, 7, 8]


def test_everyone_the_own_id_and_the_own_user_need_no_membership() -> None:
    session = a_session(user_id="u1")
    for address in ("", "c1", "user:u1"):
        assert is_for(session, [1], address) == [1]
    for address in ("c2", "user:u2", "user:"):
        assert is_for(session, [1], address) == []
    assert is_for(a_session(), [1], "user:None") == []


def test_nothing_from_before_a_session_was_opened_is_for_it() -> None:
    session = a_session(number=5)
    assert is_for(session, range(4, 8), "") == [6, 7]


def test_who_is_excluded_is_not_meant() -> None:
    session = a_session()
    assert is_for(session, [1], "", excluded=("c2", "c1")) == []
    assert is_for(session, [1], "", excluded=("c2",)) == [1]


def test_what_has_expired_was_not_missed() -> None:
    events = [
        an_event(1, ""),
        an_event(2, "", expires_at=NOW_MS),
        an_event(3, "", expires_at=NOW_MS + 1),
    ]
    assert [event.number for event in missed(a_session(), events, NOW_MS)] == [1, 3]


def test_entering_twice_is_entering_once_and_leaving_what_one_is_not_in_is_nothing() -> None:
    session = a_session()
    session.leave("sales", 1)
    session.enter("sales", 2)
    session.enter("sales", 3)
    session.leave("sales", 4)
    session.leave("sales", 5)
    assert session.memberships == [Membership("sales", 2, 4)]


def test_the_rooms_are_those_it_is_in_in_the_order_of_joining() -> None:
    session = a_session()
    for room in ("b", "a", "c"):
        session.enter(room, 1)
    session.leave("b", 2)
    session.enter("b", 3)
    assert session.rooms() == ["a", "c", "b"]


def test_what_is_covered_needs_no_memory_of_ended_stays() -> None:
    session = a_session(number=1)
    session.enter("sales", 2)
    session.leave("sales", 5)
    session.enter("other", 3)
    session.cover(4)
    assert session.memberships == [Membership("sales", 2, 5), Membership("other", 3)]
    session.cover(5)
    session.cover(2)
    assert (session.covered, session.memberships) == (5, [Membership("other", 3)])


@settings(derandomize=True, max_examples=100, deadline=None, database=None)
@given(st.lists(st.tuples(st.sampled_from(["enter", "leave", "event"]), st.sampled_from("ab"))))
def test_membership_at_the_time_is_what_a_list_of_who_was_there_says(
    steps: list[tuple[str, str]],
) -> None:
    session = a_session()
    number = 0
    inside: set[str] = set()
    expected: list[int] = []
    events: list[StoredEvent] = []
    for step, room in steps:
        if step == "enter":
            session.enter(room, number)
            inside.add(room)
        elif step == "leave":
            session.leave(room, number)
            inside.discard(room)
        else:
            number += 1
            events.append(an_event(number, room))
            expected += [number] if room in inside else []
    assert [event.number for event in missed(session, events, NOW_MS)] == expected
    assert set(session.rooms()) == inside


def test_a_session_is_restored_as_it_was_stored() -> None:
    session = a_session(user_id="u1", number=7)
    session.enter("a", 8)
    session.leave("a", 9)
    session.enter("b", 9)
    session.away_since = NOW_MS
    restored = Session.restored(session.stored())
    assert restored == session


def test_a_pid_is_a_secret_of_its_own() -> None:
    pids = {a_session().pid for _ in range(100)}
    assert len(pids) == 100
    assert all(len(pid) == 20 for pid in pids)


# Who is awaited where


def test_sessions_are_found_by_client_and_by_secret() -> None:
    session = a_session()
    sessions = some_sessions(session, a_session("c2"))
    assert sessions.of_client("c1") is session
    assert sessions.of_pid(session.pid) is session
    assert len(sessions) == len(list(sessions)) == 2
    sessions.remove(session)
    sessions.remove(session)
    assert (sessions.of_client("c1"), sessions.of_pid(session.pid)) == (None, None)
    assert len(sessions) == 1


@pytest.mark.parametrize(
    ("target", "count"),
    [
        (Target.room("sales"), 1),
        (Target.room("other"), 0),
        (Target.user("u1"), 2),
        (Target.client("c1"), 1),
        (Target.client("c3"), 0),
        (Target.all(), 2),
        (Target.all(excluded=frozenset({"c1"})), 1),
        (Target(rooms=("sales",), users=("u1",), clients=("c1", "c2")), 2),
        (Target(rooms=("sales",), users=("u1",), excluded=frozenset({"c1", "c2"})), 0),
        (Target(), 0),
    ],
)
def test_who_is_away_is_counted_once_however_often_it_is_meant(target: Target, count: int) -> None:
    c1, c2, c3 = a_session("c1", user_id="u1"), a_session("c2", user_id="u1"), a_session("c3")
    sessions = some_sessions(c1, c2, c3)
    for session in (c1, c3):
        sessions.enter(session, "sales", 0)
    sessions.mark_away(c1, NOW_MS)
    sessions.mark_away(c2, NOW_MS)
    assert sessions.count_away(target) == count


def test_who_is_back_or_ended_is_awaited_no_more() -> None:
    back, ended = a_session("c1"), a_session("c2")
    sessions = some_sessions(back, ended)
    for session in (back, ended):
        sessions.enter(session, "sales", 0)
        sessions.mark_away(session, NOW_MS)
    assert sessions.count_away(Target.room("sales")) == 2
    sessions.mark_back(back)
    assert sessions.count_away(Target.room("sales")) == 1
    sessions.remove(ended)
    for target in (Target.room("sales"), Target.all(), Target.client("c1"), Target.client("c2")):
        assert sessions.count_away(target) == 0
    assert back.away_since is None


def test_joins_and_leaves_that_are_recorded_while_a_client_is_away_count() -> None:
    session = a_session()
    sessions = some_sessions(session)
    sessions.enter(session, "left", 0)
    sessions.mark_away(session, NOW_MS)
    sessions.leave(session, "left", 1)
    sessions.enter(session, "joined", 1)
    assert sessions.count_away(Target.room("left")) == 0
    assert sessions.count_away(Target.room("joined")) == 1
    sessions.remove(session)
    assert sessions.count_away(Target.room("joined")) == 0


def test_joins_of_who_is_here_await_nobody() -> None:
    session = a_session()
    sessions = some_sessions(session)
    sessions.enter(session, "sales", 0)
    assert sessions.count_away(Target.room("sales")) == 0
    sessions.remove(session)
    sessions.enter(session, "other", 0)
    assert sessions.count_away(Target.room("other")) == 0


def test_a_restored_session_that_was_away_is_away() -> None:
    session = a_session()
    session.enter("sales", 0)
    session.away_since = NOW_MS
    sessions = some_sessions(session)
    assert sessions.count_away(Target.room("sales")) == 1
    assert sessions.expired(NOW_MS + 1) == [session]


def test_only_who_has_been_away_for_too_long_has_expired() -> None:
    here, long, short = a_session("c1"), a_session("c2"), a_session("c3")
    sessions = some_sessions(here, long, short)
    sessions.mark_away(long, NOW_MS - 1)
    sessions.mark_away(short, NOW_MS)
    assert sessions.expired(NOW_MS) == [long]


def test_the_addresses_of_a_target_are_named_once() -> None:
    assert addresses(Target.all()) == ("",)
    target = Target(rooms=("a", "b", "a"), users=("u1",), clients=("c1", "a"))
    assert addresses(target) == ("a", "b", "user:u1", "c1")


# Places that are known late


def test_a_session_begins_where_the_log_has_put_it() -> None:
    session = a_session()
    session.enter("sales", 0)
    session.place(7)
    assert (session.opened_at_number, session.covered) == (7, 7)
    assert is_for(session, range(5, 10), "sales") == [8, 9]
    assert is_for(session, range(5, 10), "c1") == [8, 9]


def test_a_session_that_is_placed_anew_takes_with_it_what_began_with_it() -> None:
    session = a_session(number=7)
    session.enter("token", 7)
    session.enter("later", 9)
    session.place_anew(7, 20)
    assert session.opened_at_number == 20
    assert [(stay.room, stay.after) for stay in session.memberships] == [
        ("token", 20),
        ("later", 9),
    ]
    session.place_anew(7, 30)
    assert session.opened_at_number == 20


def test_a_stay_begins_and_ends_where_the_log_has_put_it() -> None:
    session = a_session()
    session.enter("sales", 7)
    session.leave("sales", 8)
    session.enter("sales", 8)
    session.enter("news", 7)
    session.renumber("sales", 7, 20)
    session.renumber("sales", 8, 30)
    assert [(stay.room, stay.after, stay.until) for stay in session.memberships] == [
        ("sales", 20, 30),
        ("sales", 30, None),
        ("news", 7, None),
    ]
