"""What processes tell each other, written and read again."""

from dataclasses import fields, replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtower_realtime.cluster.wire import (
    placed_answer,
    read_changes,
    read_session,
    write_changes,
    write_session,
)
from gtower_realtime.records import (
    AnswerGiven,
    ClientGone,
    ClientHere,
    ClientMoved,
    EventAcknowledged,
    EventAppended,
    EventRelayed,
    GivenAnswer,
    HistoryDeleted,
    Membership,
    MinuteCounted,
    NodeGone,
    NodeStarted,
    OutboxPut,
    OutboxSent,
    RoomEntered,
    RoomLeft,
    SessionAway,
    SessionEnded,
    SessionOpened,
    SessionResumed,
    SessionTaken,
    SharedChange,
    StoredEvent,
    StoredSession,
    WebhookMark,
    WebhookMarked,
    WebhookReceived,
    WebhookSettled,
)

NUMBER = 4711
OWN_CHANGES = {
    MinuteCounted,
    WebhookReceived,
    WebhookSettled,
    SessionResumed,
    OutboxPut,
    OutboxSent,
}
"""What no process tells another: one that resumes a session says `SessionTaken`."""

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.integers(0, 2**63 - 1)
times = st.integers(0, 2**43)
names = st.lists(texts, max_size=3).map(tuple)
maybe = st.none() | texts
details = st.dictionaries(texts, texts | st.integers(-9, 9) | st.none(), max_size=3)

events = st.builds(
    StoredEvent,
    number=numbers,
    id=texts,
    event=texts,
    payload=texts,
    addresses=names,
    excluded=names,
    published_at=times,
    expires_at=st.none() | times,
    wants_acknowledgements=st.booleans(),
)
sessions = st.builds(
    StoredSession,
    client_id=texts,
    pid=texts,
    namespace=texts,
    user_id=maybe,
    opened_at_number=numbers,
    away_since=st.none() | times,
    memberships=st.lists(st.builds(Membership, texts, numbers, st.none() | numbers), max_size=3),
)
answers = st.builds(GivenAnswer, texts, texts, texts, times)
marks = st.builds(WebhookMark, texts, texts, times, maybe)

changes: dict[type[SharedChange], st.SearchStrategy[Any]] = {
    EventAppended: st.builds(EventAppended, events),
    EventRelayed: st.builds(EventRelayed, events, st.booleans()),
    EventAcknowledged: st.builds(EventAcknowledged, texts, numbers),
    SessionOpened: st.builds(SessionOpened, sessions),
    SessionTaken: st.builds(SessionTaken, sessions),
    SessionAway: st.builds(SessionAway, texts, times),
    SessionEnded: st.builds(SessionEnded, texts, st.booleans()),
    RoomEntered: st.builds(RoomEntered, texts, texts, numbers),
    RoomLeft: st.builds(RoomLeft, texts, texts, numbers),
    AnswerGiven: st.builds(AnswerGiven, answers),
    WebhookMarked: st.builds(WebhookMarked, marks),
    HistoryDeleted: st.builds(HistoryDeleted, texts),
    ClientHere: st.builds(
        ClientHere, texts, times, texts, maybe, maybe, st.none() | details, texts, names
    ),
    ClientMoved: st.builds(ClientMoved, texts, names, names),
    ClientGone: st.builds(ClientGone, texts),
    NodeStarted: st.builds(NodeStarted, details),
    NodeGone: st.builds(NodeGone, texts),
}


def placed(change: Any) -> Any:
    """Return a change as whoever reads it at :data:`NUMBER` of the log is to have it."""
    match change:
        case EventAppended(event) | EventRelayed(event, _):
            return replace(change, event=replace(event, number=NUMBER))
        case RoomEntered() | RoomLeft():
            return replace(change, number=NUMBER)
        case SessionOpened(session):
            stays = [replace(stay, after=NUMBER) for stay in session.memberships]
            opened = replace(session, opened_at_number=NUMBER, memberships=stays)
            return SessionOpened(opened)
    return change


def asks(change: Any) -> bool:
    """Say whether clients are to acknowledge the event of a change: events compare without that."""
    return hasattr(change, "event") and change.event.wants_acknowledgements


def test_there_is_a_strategy_for_each_kind_of_change_that_is_told() -> None:
    assert set(changes) == set(get_args(SharedChange)) - OWN_CHANGES


@pytest.mark.parametrize("kind", changes, ids=lambda kind: kind.__name__)
def test_a_change_is_read_as_it_was_written_at_the_place_that_it_has_got(
    kind: type[SharedChange],
) -> None:
    @given(change=changes[kind])
    def check(change: Any) -> None:
        (read,) = read_changes(write_changes([change]), NUMBER, "epoch")
        assert type(read) is kind
        assert read == placed(change)
        assert asks(read) == asks(change)

    check()


@given(several=st.lists(st.one_of(*changes.values()), max_size=5))
def test_changes_that_belong_together_stay_together_and_in_order(several: list[Any]) -> None:
    assert read_changes(write_changes(several), NUMBER, "epoch") == list(map(placed, several))


def test_a_change_is_its_kind_and_its_fields() -> None:
    assert write_changes([RoomEntered("c1", "sales", 0), NodeGone("n2")]) == (
        '[["RoomEntered",{"client_id":"c1","room":"sales","number":0}],["NodeGone",{"node":"n2"}]]'
    )


def test_the_offset_of_an_answer_is_put_in_when_its_place_is_known() -> None:
    answer = GivenAnswer("k", "f", '{"id":"a","offset":"e0-0","recipients":2}', 5)
    (read,) = read_changes(write_changes([AnswerGiven(answer)]), 255, "e1")
    assert read == AnswerGiven(replace(answer, answer='{"id":"a","offset":"e1-ff","recipients":2}'))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"offset":"-0"}', '{"offset":"e-1f"}'),
        ('{"offset":"a1b2-0"}', '{"offset":"e-1f"}'),
        ('{"offset":"a1b2-7"}', '{"offset":"a1b2-7"}'),
        ('{"id":"a1b2-0"}', '{"id":"a1b2-0"}'),
        (r'{"id":"\"offset\":\"a-0\""}', r'{"id":"\"offset\":\"a-0\""}'),
        ("{}", "{}"),
    ],
)
def test_only_an_offset_without_a_place_is_placed(text: str, expected: str) -> None:
    assert placed_answer(text, 31, "e") == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "7",
        "[7]",
        '{"RoomLeft":{}}',
        '[["Explosion",{}]]',
        '[["SessionResumed",{"client_id":"c1"}]]',
        '[["RoomLeft",{"room":"sales"}]]',
        '[["RoomLeft"]]',
        '[["NodeGone",{"node":"n2","since":1}]]',
        '[["SessionOpened",{"session":{"client_id":"c1"}}]]',
        "[" * 65 + "]" * 65,
    ],
)
def test_what_is_something_else_is_told_by_an_error_that_the_reader_expects(text: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        read_changes(text, NUMBER, "epoch")


@given(session=sessions, node=texts, number=numbers)
def test_a_session_is_read_as_it_was_written(
    session: StoredSession, node: str, number: int
) -> None:
    assert read_session(write_session(session, node, number)) == (session, node, number)


def test_all_fields_of_an_event_are_told() -> None:
    # It is read by place, so one that is added has to be added there too.
    assert len(fields(StoredEvent)) == 9
