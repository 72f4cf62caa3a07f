"""The contract of `ports.Store`, which every store keeps, across restarts too.

What it says of events, the archive of a cluster keeps as well.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from gtower_realtime.ports import Store
from gtower_realtime.records import (
    EVERYONE,
    AnswerGiven,
    Bounds,
    Change,
    CountedMinute,
    EventAppended,
    Membership,
    MinuteCounted,
    OutboxBacklog,
    OutboxEntry,
    OutboxSent,
    RoomEntered,
    RoomLeft,
    SessionAway,
    SessionEnded,
    SessionOpened,
    SessionResumed,
    Snapshot,
    StoredSession,
    StoredWebhook,
    WebhookBacklog,
    WebhookSettled,
)
from gtower_realtime.store.bounds import MARKS_KEPT_SECONDS, MINUTES_KEPT_SECONDS, WEBHOOKS_KEPT
from gtower_realtime.store.memory import MemoryStore
from tests.stores import (
    NO_BOUNDS,
    NOW,
    PLENTY,
    ArchiveOfEvents,
    Place,
    a_session,
    an_answer,
    an_event,
    appended,
    marked,
    numbers_for,
    put,
    received,
    sequences_in_outbox,
    some_events,
    sql_store,
)


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def new_place(
    request: pytest.FixtureRequest, io_loop: IOLoop, tmp_path: Path
) -> Iterator[Callable[[], Place]]:
    """Give a function that makes an empty place for a store of each kind, not opened yet."""
    places: list[Place] = []

    def make() -> Place:
        place = Place(maker_of_stores(request, tmp_path / str(len(places))))
        places.append(place)
        return place

    yield make
    for place in places:
        io_loop.run_sync(place.store.close)


def maker_of_stores(request: pytest.FixtureRequest, directory: Path) -> Callable[[], Store]:
    if request.param == "memory":
        memory = MemoryStore()
        return lambda: memory
    if request.param == "sqlite":
        return lambda: sql_store(str(directory / "gtower.db"))
    url = request.getfixturevalue("postgresql").new_database()
    if request.param == "archive":
        return lambda: ArchiveOfEvents(url)  # type: ignore[return-value]
    return lambda: sql_store(url)


of_events = pytest.mark.parametrize(
    "new_place", ["memory", "sqlite", "postgresql", "archive"], indirect=True
)
"""For tests of what is said of events alone."""


@pytest.fixture
def place(new_place: Callable[[], Place], io_loop: IOLoop) -> Place:
    place = new_place()
    io_loop.run_sync(place.open)
    return place


# Opening


@pytest.mark.gen_test
async def test_a_new_store_is_empty(new_place: Callable[[], Place]) -> None:
    snapshot = await new_place().open()
    assert snapshot == Snapshot(snapshot.epoch, 1, 0, [], [])
    assert snapshot.epoch


@pytest.mark.gen_test
async def test_two_stores_have_two_epochs(new_place: Callable[[], Place]) -> None:
    assert (await new_place().open()).epoch != (await new_place().open()).epoch


@pytest.mark.gen_test
async def test_an_epoch_stays_when_the_store_is_opened_again(place: Place) -> None:
    assert (await place.reopen()).epoch == (await place.reopen()).epoch


@of_events
@pytest.mark.gen_test
async def test_events_are_found_again_as_they_were(place: Place) -> None:
    events = [
        an_event(1, "sales", "user:ü", EVERYONE, payload='{"text":"grüße \U0001f600\\u0000"}'),
        an_event(2, "c9", excluded=("c2", "c1"), expires_at=NOW + 5, published_at=NOW + 1),
        an_event(3, event="x" * 128, id="i" * 128),
    ]
    await place.store.commit(appended(*events))
    snapshot = await place.reopen()
    assert snapshot.recent == events
    assert (snapshot.first_number, snapshot.last_number) == (1, 3)


@pytest.mark.gen_test
async def test_the_recent_events_are_as_many_of_the_newest_as_were_asked_for(place: Place) -> None:
    await place.store.commit(some_events(1, 2, 3, 4))
    snapshot = await place.reopen(recent_events=2)
    assert [event.number for event in snapshot.recent] == [3, 4]
    assert (await place.reopen(recent_events=0)).recent == []


@pytest.mark.gen_test
async def test_the_recent_events_fit_into_as_many_bytes_as_were_asked_for(place: Place) -> None:
    small, large = an_event(1), an_event(2, payload='"%s"' % ("ä" * 1000))
    await place.store.commit(appended(small, large, an_event(3), an_event(4)))
    size = small.size
    for limit, numbers in ((2 * size, [3, 4]), (2 * size - 1, [4]), (size - 1, [])):
        snapshot = await place.reopen(recent_bytes=limit)
        assert [event.number for event in snapshot.recent] == numbers
    # What is older than an event that does not fit is not recent either.
    snapshot = await place.reopen(recent_bytes=large.size + 2 * size - 1)
    assert [event.number for event in snapshot.recent] == [3, 4]


@pytest.mark.gen_test
async def test_a_store_is_closed_as_often_as_one_likes(new_place: Callable[[], Place]) -> None:
    place = new_place()
    await place.store.close()
    await place.open()
    await place.store.close()
    await place.store.close()


# Numbers


@pytest.mark.gen_test
async def test_a_number_is_not_used_twice(place: Place) -> None:
    await place.store.commit(some_events(1, 2))
    for numbers in ((2,), (1,), (4, 3), (3, 3)):
        with pytest.raises(ValueError, match="given out before"):
            await place.store.commit(some_events(*numbers))
    assert await numbers_for(place.store) == [1, 2]


@pytest.mark.gen_test
async def test_a_number_is_not_used_twice_when_its_event_is_gone(place: Place) -> None:
    await place.store.commit(some_events(1, 2))
    assert await place.store.delete_history("sales") == 2
    snapshot = await place.reopen()
    assert (snapshot.last_number, snapshot.recent) == (2, [])
    with pytest.raises(ValueError, match="given out before"):
        await place.store.commit(some_events(2))


@of_events
@pytest.mark.gen_test
async def test_numbers_may_be_left_out(place: Place) -> None:
    await place.store.commit(some_events(5))
    await place.store.commit(some_events(7, 9))
    assert await numbers_for(place.store) == [5, 7, 9]
    assert (await place.reopen()).last_number == 9


# Commits


@pytest.mark.gen_test
async def test_a_commit_that_fails_records_nothing(place: Place) -> None:
    await place.store.commit([*some_events(1), SessionOpened(a_session())])
    for wrong in (EventAppended(an_event(1)), SessionOpened(a_session())):
        with pytest.raises(ValueError, match=r"before|has a session"):
            await place.store.commit(
                [
                    *some_events(2),
                    AnswerGiven(an_answer()),
                    RoomEntered("c1", "sales", 2),
                    SessionOpened(a_session("c2")),
                    wrong,
                ]
            )
    assert await place.store.find_answer("k1", NOW) is None
    snapshot = await place.reopen()
    assert (snapshot.last_number, len(snapshot.recent)) == (1, 1)
    assert snapshot.sessions == [a_session()]


@pytest.mark.gen_test
async def test_a_commit_of_nothing_succeeds(place: Place) -> None:
    await place.store.commit([])
    assert (await place.reopen()).last_number == 0


# Sessions


async def sessions_after(place: Place, *commits: list[Change]) -> list[StoredSession]:
    for changes in commits:
        await place.store.commit(changes)
    return sorted((await place.reopen()).sessions, key=lambda session: session.client_id)


@pytest.mark.gen_test
async def test_a_session_is_found_again_as_it_was(place: Place) -> None:
    session = a_session(
        namespace="/websocket",
        user_id="u1",
        opened_at_number=7,
        memberships=[Membership("b", 7), Membership("a", 7), Membership("c", 2, 5)],
    )
    assert await sessions_after(place, [SessionOpened(session)]) == [session]


@pytest.mark.gen_test
async def test_a_session_tells_since_when_its_client_is_away(place: Place) -> None:
    opened: list[Change] = [SessionOpened(a_session("c1")), SessionOpened(a_session("c2"))]
    first, second = await sessions_after(
        place, opened, [SessionAway("c1", NOW), SessionAway("c2", NOW)], [SessionResumed("c2")]
    )
    assert (first.away_since, second.away_since) == (NOW, None)


@pytest.mark.gen_test
async def test_a_session_that_has_ended_is_gone_with_its_memberships(place: Place) -> None:
    assert not await sessions_after(
        place, [SessionOpened(a_session()), RoomEntered("c1", "a", 0)], [SessionEnded("c1")]
    )
    again = a_session(pid="other")
    assert await sessions_after(place, [SessionOpened(again)]) == [again]


@pytest.mark.gen_test
async def test_memberships_are_in_the_order_of_entering(place: Place) -> None:
    (session,) = await sessions_after(
        place,
        [SessionOpened(a_session()), RoomEntered("c1", "b", 0), RoomEntered("c1", "a", 0)],
        [RoomEntered("c1", "c", 3), RoomLeft("c1", "b", 5)],
        [RoomEntered("c1", "b", 6)],
    )
    assert session.memberships == [
        Membership("b", 0, 5),
        Membership("a", 0),
        Membership("c", 3),
        Membership("b", 6),
    ]


@pytest.mark.gen_test
async def test_who_enters_twice_is_a_member_since_the_first_time(place: Place) -> None:
    (session,) = await sessions_after(
        place,
        [SessionOpened(a_session()), RoomEntered("c1", "a", 1)],
        [RoomEntered("c1", "a", 2)],
        [RoomLeft("c1", "a", 3)],
        [RoomLeft("c1", "a", 4)],
    )
    assert session.memberships == [Membership("a", 1, 3)]


@pytest.mark.gen_test
async def test_what_happens_to_a_client_without_a_session_is_ignored(place: Place) -> None:
    assert not await sessions_after(
        place,
        [
            SessionAway("c1", NOW),
            SessionResumed("c1"),
            RoomEntered("c1", "a", 0),
            RoomLeft("c1", "a", 0),
            SessionEnded("c1"),
        ],
    )
    assert await sessions_after(place, [SessionOpened(a_session())]) == [a_session()]


@pytest.mark.gen_test
async def test_changes_of_one_commit_are_made_in_their_order(place: Place) -> None:
    first, second = await sessions_after(
        place,
        [
            SessionOpened(a_session("c1")),
            RoomEntered("c1", "a", 0),
            SessionOpened(a_session("c2")),
            RoomLeft("c1", "a", 1),
            SessionAway("c2", NOW),
            RoomEntered("c1", "a", 2),
            SessionResumed("c2"),
            SessionEnded("c1"),
            RoomEntered("c2", "b", 2),
            SessionOpened(a_session("c1", pid="new")),
            SessionAway("c2", NOW + 1),
            RoomEntered("c1", "b", 3),
        ],
    )
    assert first == a_session("c1", pid="new", memberships=[Membership("b", 3)])
    assert second == a_session("c2", away_since=NOW + 1, memberships=[Membership("b", 2)])


@pytest.mark.gen_test
async def test_what_was_committed_is_no_longer_the_callers(place: Place) -> None:
    session = a_session(memberships=[Membership("a", 0)])
    await place.store.commit([SessionOpened(session)])
    session.memberships[0].until = 3
    (found,) = (await place.reopen()).sessions
    assert found.memberships == [Membership("a", 0)]
    found.memberships.clear()
    (found,) = (await place.reopen()).sessions
    assert found.memberships == [Membership("a", 0)]


# Answers


@pytest.mark.gen_test
async def test_an_answer_is_found_until_it_expires(place: Place) -> None:
    answer = an_answer(fingerprint="f1", answer='{"ok":true}')
    await place.store.commit([AnswerGiven(answer)])
    await place.reopen()
    assert await place.store.find_answer("k1", NOW) == answer
    assert await place.store.find_answer("k1", NOW + 1) is None
    assert await place.store.find_answer("k2", NOW) is None


@pytest.mark.gen_test
async def test_the_last_answer_to_a_key_counts(place: Place) -> None:
    first, second, third = (an_answer(answer=text) for text in "123")
    await place.store.commit([AnswerGiven(first)])
    await place.store.commit([AnswerGiven(second), AnswerGiven(third)])
    assert await place.store.find_answer("k1", NOW) == third


# Reading


@of_events
@pytest.mark.gen_test
async def test_the_events_for_several_addresses_come_once_and_in_order(place: Place) -> None:
    events = [
        an_event(1, "a", "b"),
        an_event(2, "c"),
        an_event(3, "b"),
        an_event(4, EVERYONE),
        an_event(5, "a", "a"),
    ]
    await place.store.commit(appended(*events))
    assert await numbers_for(place.store, "b", "a", EVERYONE) == [1, 3, 4, 5]
    assert await numbers_for(place.store, "a", "x") == [1, 5]
    assert await numbers_for(place.store, "x") == []
    found = await place.store.events_for({"a", "b"}, after=0, until=9, limit=1)
    assert found == events[:1]


@of_events
@pytest.mark.gen_test
async def test_events_are_read_after_one_number_and_up_to_another(place: Place) -> None:
    await place.store.commit(some_events(1, 2, 3, 4, 5))
    found = await place.store.events_for(["sales"], after=1, until=4, limit=9)
    assert [event.number for event in found] == [2, 3, 4]
    found = await place.store.events_for(["sales"], after=1, until=4, limit=2)
    assert [event.number for event in found] == [2, 3]
    assert await place.store.events_for(["sales"], after=4, until=4, limit=2) == []
    assert await place.store.events_for([], after=0, until=9, limit=9) == []


@of_events
@pytest.mark.gen_test
async def test_events_that_are_far_from_each_other_are_found(place: Place) -> None:
    numbers = [1, 9_999, 10_001, 10_002, 40_000, 123_456]
    await place.store.commit(some_events(*numbers))
    assert await numbers_for(place.store) == numbers
    found = await place.store.events_for(["sales"], after=1, until=PLENTY, limit=4)
    assert [event.number for event in found] == numbers[1:5]


@of_events
@pytest.mark.gen_test
async def test_events_for_everything_that_a_client_may_be_in_are_found(place: Place) -> None:
    rooms = [f"room{number}" for number in range(1000)]
    await place.store.commit(appended(*(an_event(n, f"room{n}") for n in range(1, 1000))))
    assert await numbers_for(place.store, *rooms) == list(range(1, 1000))


@of_events
@pytest.mark.gen_test
async def test_the_history_of_a_room_has_what_was_for_it_and_has_not_expired(place: Place) -> None:
    events = [
        an_event(1, "a"),
        an_event(2, "b"),
        an_event(3, "b", "a"),
        an_event(4, EVERYONE),
        an_event(5, "a", expires_at=NOW),
        an_event(6, "a", expires_at=NOW + 1),
    ]
    await place.store.commit(appended(*events))
    history = await place.store.history("a", after=0, limit=9, now=NOW)
    assert history == [events[0], events[2], events[5]]
    history = await place.store.history("a", after=1, limit=1, now=NOW)
    assert history == [events[2]]
    assert await place.store.history("x", after=0, limit=9, now=NOW) == []


@of_events
@pytest.mark.gen_test
async def test_a_read_of_a_history_ends_with_the_event_that_makes_it_too_much(place: Place) -> None:
    long = [replace(an_event(n, "a"), payload=f'{{"x":"{"y" * 400_000}"}}') for n in (1, 2, 3, 4)]
    await place.store.commit(appended(*long))
    assert await place.store.history("a", after=0, limit=9, now=NOW) == long[:3]
    assert await place.store.history("a", after=3, limit=9, now=NOW) == long[3:]


# Deleting


@of_events
@pytest.mark.gen_test
async def test_a_deleted_history_is_gone_for_its_room_only(place: Place) -> None:
    shared = an_event(3, "b", "a", "c")
    await place.store.commit(appended(an_event(1, "a"), an_event(2, "b"), shared))
    assert await place.store.delete_history("a") == 2
    assert await place.store.delete_history("a") == 0
    snapshot = await place.reopen()
    assert snapshot.recent == [an_event(2, "b"), an_event(3, "b", "c")]
    assert await numbers_for(place.store, "a") == []
    assert await numbers_for(place.store, "b", "c") == [2, 3]
    assert await place.store.delete_history("b") == 2
    assert await numbers_for(place.store, "c") == [3]


@of_events
@pytest.mark.gen_test
async def test_a_long_history_is_deleted_in_full(place: Place) -> None:
    await place.store.commit(appended(*(an_event(n, "a") for n in range(1, 1202))))
    assert await place.store.delete_history("a") == 1201
    assert (await place.reopen()).recent == []


@of_events
@pytest.mark.gen_test
async def test_nothing_is_trimmed_without_bounds(place: Place) -> None:
    await place.store.commit(some_events(1, 2, 3))
    assert await place.store.trim(NO_BOUNDS, NOW * 2) == 1
    assert await numbers_for(place.store) == [1, 2, 3]


@of_events
@pytest.mark.parametrize("kept", [1, 2, 3])
@pytest.mark.gen_test
async def test_trimming_keeps_as_many_of_the_newest_events_as_allowed(
    place: Place, kept: int
) -> None:
    await place.store.commit(some_events(1, 2, 3))
    assert await place.store.trim(Bounds(kept, 0, 0), NOW) == 4 - kept
    assert await numbers_for(place.store) == [1, 2, 3][-kept:]


@of_events
@pytest.mark.gen_test
async def test_trimming_keeps_as_many_bytes_of_the_newest_events_as_allowed(place: Place) -> None:
    await place.store.commit(some_events(1, 2, 3))
    size = an_event(1).size
    assert await place.store.trim(Bounds(0, 3 * size, 0), NOW) == 1
    assert await place.store.trim(Bounds(0, 3 * size - 1, 0), NOW) == 2
    await place.reopen()
    assert await place.store.trim(Bounds(0, 2 * size - 1, 0), NOW) == 3
    assert await place.store.trim(Bounds(0, 1, 0), NOW) == 4
    assert (await place.reopen()).first_number == 4


@of_events
@pytest.mark.gen_test
async def test_trimming_deletes_what_is_too_old_from_the_oldest_event_on(place: Place) -> None:
    times = [NOW - 1001, NOW - 1001, NOW - 1000, NOW - 5000]
    events = [an_event(n, published_at=time) for n, time in enumerate(times, 1)]
    await place.store.commit(appended(*events))
    assert await place.store.trim(Bounds(0, 0, 1.0), NOW) == 3
    assert await numbers_for(place.store) == [3, 4]


@pytest.mark.gen_test
async def test_trimming_goes_on_until_all_is_done(place: Place) -> None:
    events = [an_event(n, *(f"room{r}" for r in range(n % 7))) for n in range(1, 3001)]
    await place.store.commit(appended(*events))
    await place.store.commit([AnswerGiven(an_answer(f"k{n}")) for n in range(1200)])
    assert await place.store.trim(Bounds(10, 0, 0), NOW + 1) == 2991
    assert await place.store.find_answer("k1199", NOW) is None
    snapshot = await place.reopen()
    assert snapshot.recent == events[-10:]
    assert (snapshot.first_number, snapshot.last_number) == (2991, 3000)


@of_events
@pytest.mark.gen_test
async def test_trimming_deletes_an_event_for_very_many_addresses(place: Place) -> None:
    await place.store.commit(appended(an_event(1, *map(str, range(3000))), an_event(2)))
    assert await place.store.trim(Bounds(1, 0, 0), NOW) == 2
    assert await numbers_for(place.store, "7", "sales") == [2]


@of_events
@pytest.mark.gen_test
async def test_trimming_deletes_what_has_expired_and_calls_nothing_before_it_gone(
    place: Place,
) -> None:
    alive = an_event(3, expires_at=NOW + 1)
    gone = [an_event(1, expires_at=NOW), an_event(2, expires_at=NOW - 9)]
    await place.store.commit(appended(*gone, alive, an_event(4)))
    assert await place.store.trim(NO_BOUNDS, NOW) == 1
    assert (await place.reopen()).recent == [alive, an_event(4)]
    assert await place.store.trim(Bounds(2, 0, 0), NOW) == 1
    assert await place.store.trim(Bounds(1, 0, 0), NOW) == 4


@pytest.mark.gen_test
async def test_trimming_deletes_expired_answers_and_keeps_newer_ones(place: Place) -> None:
    await place.store.commit([AnswerGiven(an_answer("k1")), AnswerGiven(an_answer("k2"))])
    await place.store.commit([AnswerGiven(an_answer("k1", expires_at=NOW + 9))])
    await place.store.trim(NO_BOUNDS, NOW + 1)
    # Asked as of before: an answer that was only skipped would be found.
    assert await place.store.find_answer("k2", NOW) is None
    assert await place.store.find_answer("k1", NOW) == an_answer("k1", expires_at=NOW + 9)


@pytest.mark.gen_test
async def test_trimming_deletes_memberships_that_no_event_is_left_for(place: Place) -> None:
    stays = [Membership("a", 0, 2), Membership("b", 0, 3), Membership("c", 0)]
    opened: list[Change] = [SessionOpened(a_session(memberships=stays))]
    await place.store.commit([*some_events(1, 2, 3, 4), *opened])
    other: list[Change] = [SessionOpened(a_session("c2")), RoomEntered("c2", "d", 1)]
    await place.store.commit([*other, RoomEntered("c2", "e", 1), RoomLeft("c2", "d", 2)])
    await place.store.trim(Bounds(2, 0, 0), NOW)
    first, second = await sessions_after(place)
    assert first.memberships == stays[1:]
    assert second.memberships == [Membership("e", 1)]


@pytest.mark.gen_test
async def test_a_commit_does_not_wait_until_all_is_trimmed(place: Place) -> None:
    await place.store.commit(some_events(*range(1, 6001)))
    ends: list[str] = []

    async def trim() -> None:
        await place.store.trim(Bounds(1, 0, 0), NOW)
        ends.append("trim")

    async def commit() -> None:
        await place.store.commit(some_events(6001))
        ends.append("commit")

    await asyncio.gather(trim(), commit())
    assert ends == ["commit", "trim"]
    assert (await place.reopen()).last_number == 6001


# Counted minutes


def counted(*minutes: tuple[int, str]) -> list[Change]:
    return [MinuteCounted(CountedMinute(name, at, f'{{"n":"{name}"}}')) for at, name in minutes]


async def names_of_minutes(store: Store, since: int = 0, before: int = NOW * 2) -> list[str]:
    return [minute.id for minute in await store.minutes(since=since, before=before)]


@pytest.mark.gen_test
async def test_counted_minutes_are_found_again_as_they_were(place: Place) -> None:
    await place.store.commit(counted((NOW, "m1")))
    await place.reopen()
    assert await place.store.minutes(since=NOW, before=NOW + 1) == [
        CountedMinute("m1", NOW, '{"n":"m1"}')
    ]


@pytest.mark.gen_test
async def test_minutes_are_read_from_a_time_on_and_until_before_another(place: Place) -> None:
    await place.store.commit(counted((3, "c"), (1, "a"), (2, "b2"), (2, "b1"), (4, "d")))
    assert await names_of_minutes(place.store) == ["a", "b1", "b2", "c", "d"]
    assert await names_of_minutes(place.store, 2, 4) == ["b1", "b2", "c"]


@pytest.mark.gen_test
async def test_trimming_deletes_minutes_of_long_ago_without_any_bounds(place: Place) -> None:
    oldest = NOW - MINUTES_KEPT_SECONDS * 1000
    await place.store.commit(counted((oldest - 1, "gone"), (oldest, "kept")))
    await place.store.trim(NO_BOUNDS, NOW)
    assert await names_of_minutes(place.store) == ["kept"]


# Webhooks

ONE_DAY = 86_400_000
BYTES = bytes(range(256))


async def waiting_numbers(store: Store) -> list[int]:
    """Return the numbers of what is waiting, in the order of being taken up; all is done then."""
    numbers = []
    while webhook := await store.next_webhook():
        numbers.append(webhook.number)
        await store.commit([WebhookSettled(webhook.number, "done")])
    return numbers


@pytest.mark.gen_test
async def test_a_webhook_waits_byte_for_byte_until_it_is_settled(place: Place) -> None:
    assert await place.store.next_webhook() is None
    await place.store.commit([received(1, body=BYTES), received(2)])
    await place.reopen()
    assert await place.store.next_webhook() == StoredWebhook(1, NOW, BYTES)
    await place.store.commit([WebhookSettled(1, "done")])
    assert await place.store.next_webhook() == StoredWebhook(2, NOW, b"{}")
    await place.store.commit([WebhookSettled(2, "set_aside")])
    await place.reopen()
    assert await place.store.next_webhook() is None


@pytest.mark.gen_test
async def test_webhooks_are_taken_up_in_the_order_of_their_numbers(place: Place) -> None:
    await place.store.commit([received(2), received(10), received(1)])
    assert await waiting_numbers(place.store) == [1, 2, 10]


@pytest.mark.gen_test
async def test_the_backlog_is_what_is_waiting_and_the_last_number_that_is_kept(
    place: Place,
) -> None:
    assert await place.store.webhook_backlog() == WebhookBacklog(0, 0, 0)
    await place.store.commit([received(1, body=b"123"), received(4, body=b"4"), received(7)])
    await place.store.commit([WebhookSettled(7, "done")])
    await place.reopen()
    assert await place.store.webhook_backlog() == WebhookBacklog(7, 2, 4)


@pytest.mark.gen_test
async def test_what_was_set_aside_waits_again_when_it_is_replayed(place: Place) -> None:
    await place.store.commit([received(1), received(2), received(3)])
    await place.store.commit([WebhookSettled(1, "set_aside"), WebhookSettled(2, "done")])
    assert await place.store.replay_webhooks(None) == 1
    assert await place.store.replay_webhooks(None) == 0
    assert await waiting_numbers(place.store) == [1, 3]


@pytest.mark.gen_test
async def test_all_that_came_since_a_time_waits_again_when_it_is_replayed(place: Place) -> None:
    await place.store.commit([received(1, at=5), received(2, at=6), received(3, at=7)])
    await place.store.commit([received(4, at=8)])
    await place.store.commit(
        [WebhookSettled(1, "done"), WebhookSettled(2, "done"), WebhookSettled(3, "set_aside")]
    )
    assert await place.store.replay_webhooks(6) == 2
    assert await waiting_numbers(place.store) == [2, 3, 4]


@pytest.mark.gen_test
async def test_a_commit_that_fails_keeps_no_webhook_and_no_mark(place: Place) -> None:
    await place.store.commit([*some_events(1), received(1), marked("k1", "sent")])
    with pytest.raises(ValueError, match="given out before"):
        await place.store.commit(
            [received(2), marked("k1", "read"), WebhookSettled(1, "done"), *some_events(1)]
        )
    assert await place.store.webhook_backlog() == WebhookBacklog(1, 1, 2)
    assert await place.store.webhook_marks(["k1"]) == {"k1": "sent"}


@pytest.mark.gen_test
async def test_the_last_mark_with_a_key_counts(place: Place) -> None:
    await place.store.commit([marked("k1", "sent"), marked("k2"), marked("k1", "read")])
    await place.store.commit([marked("k2", "played"), marked("k3")])
    await place.reopen()
    assert await place.store.webhook_marks({"k1", "k2", "k4"}) == {"k1": "read", "k2": "played"}
    assert await place.store.webhook_marks([]) == {}


@pytest.mark.gen_test
async def test_marks_are_trimmed_by_their_own_age(place: Place) -> None:
    oldest = NOW - MARKS_KEPT_SECONDS * 1000
    await place.store.commit([marked("a", at=oldest - 1), marked("b", at=oldest)])
    await place.store.commit([marked("c", at=oldest - 1)])
    await place.store.commit([marked("c", "read", at=oldest)])
    await place.store.trim(Bounds(1, 1, 1), NOW)
    assert await place.store.webhook_marks(["a", "b", "c"]) == {"b": "", "c": "read"}


@pytest.mark.gen_test
async def test_webhooks_are_trimmed_by_their_own_age_and_never_while_they_wait(
    place: Place,
) -> None:
    a_week, a_month = NOW - 7 * ONE_DAY, NOW - 30 * ONE_DAY
    times = {1: 0, 2: a_month - 1, 3: a_month, 4: a_week - 1, 5: a_week}
    await place.store.commit([received(number, at=at) for number, at in times.items()])
    await place.store.commit([WebhookSettled(2, "set_aside"), WebhookSettled(3, "set_aside")])
    await place.store.commit([WebhookSettled(4, "done"), WebhookSettled(5, "done")])
    await place.store.trim(Bounds(1, 1, 1), NOW)
    assert await place.store.replay_webhooks(0) == 2
    assert await waiting_numbers(place.store) == [1, 3, 5]


@pytest.mark.gen_test
async def test_the_oldest_webhooks_go_when_there_are_too_many(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(WEBHOOKS_KEPT, "done", Bounds(3, 7, 0))  # type: ignore[arg-type]
    await place.store.commit([received(number) for number in range(1, 6)])
    await place.store.commit([received(6, body=b"123")])
    await place.store.commit([WebhookSettled(number, "done") for number in (1, 2, 3, 4)])
    await place.store.trim(NO_BOUNDS, NOW)
    assert await place.store.replay_webhooks(0) == 3
    assert await waiting_numbers(place.store) == [2, 3, 4, 5, 6]
    await place.store.trim(NO_BOUNDS, NOW)
    await place.store.replay_webhooks(0)
    assert await waiting_numbers(place.store) == [4, 5, 6]


# The outbox


@pytest.mark.gen_test
async def test_what_is_put_into_the_outbox_waits_in_its_order_until_it_was_sent(
    place: Place,
) -> None:
    text = '[{"grüße":"\U0001f600\\u0000"}]'
    await place.store.commit([put(7, text), put(9, origin="n0")])
    await place.store.commit([put(8)])
    await place.reopen()
    assert await place.store.outbox(limit=9, max_bytes=PLENTY) == [
        OutboxEntry("n1", 7, text),
        OutboxEntry("n0", 9, "{}"),
        OutboxEntry("n1", 8, "{}"),
    ]
    await place.store.commit([OutboxSent("n1", 7)])
    assert await sequences_in_outbox(place.store) == [("n0", 9), ("n1", 8)]
    await place.store.commit([OutboxSent("n1", 9), OutboxSent("n2", 9)])
    await place.reopen()
    assert await sequences_in_outbox(place.store) == [("n0", 9)]


@pytest.mark.gen_test
async def test_what_is_put_into_an_outbox_from_which_all_was_sent_is_behind_the_rest(
    place: Place,
) -> None:
    await place.store.commit([put(1), put(2), put(5, origin="n0"), put(3)])
    await place.store.commit([OutboxSent("n1", 3), put(4)])
    await place.store.commit([OutboxSent("n0", 5), put(6, origin="n0"), put(5)])
    assert await sequences_in_outbox(place.store) == [("n1", 4), ("n0", 6), ("n1", 5)]


@pytest.mark.gen_test
async def test_a_read_of_the_outbox_ends_at_its_limit_and_with_what_is_too_long(
    place: Place,
) -> None:
    await place.store.commit([put(1, "1234"), put(2, "ä4"), put(3, "1234"), put(4, "1")])
    reads = {(9, 99): [1, 2, 3, 4], (3, 99): [1, 2, 3], (0, 99): []}
    reads |= {(9, 3): [1], (9, 4): [1, 2], (9, 6): [1, 2], (9, 7): [1, 2, 3]}
    for (limit, max_bytes), sequences in reads.items():
        entries = await place.store.outbox(limit=limit, max_bytes=max_bytes)
        assert [entry.sequence for entry in entries] == sequences


@pytest.mark.gen_test
async def test_the_backlog_of_the_outbox_is_in_bytes_of_utf_8(place: Place) -> None:
    assert await place.store.outbox_backlog() == OutboxBacklog(0, 0)
    await place.store.commit([put(1, "ä"), put(2, "1234"), put(1, "\U0001f600", origin="n0")])
    assert await place.store.outbox_backlog() == OutboxBacklog(3, 10)
    await place.store.commit([OutboxSent("n1", 1)])
    await place.reopen()
    assert await place.store.outbox_backlog() == OutboxBacklog(2, 8)


@pytest.mark.gen_test
async def test_changes_of_the_outbox_in_one_commit_are_made_in_their_order(place: Place) -> None:
    await place.store.commit([put(1), put(2)])
    await place.store.commit(
        [
            put(3),
            put(1, origin="n0"),
            OutboxSent("n1", 3),
            put(4),
            OutboxSent("n1", 1),
            put(2, origin="n0"),
            put(5),
        ]
    )
    assert await sequences_in_outbox(place.store) == [("n0", 1), ("n1", 4), ("n0", 2), ("n1", 5)]
    assert await place.store.outbox_backlog() == OutboxBacklog(4, 8)


@pytest.mark.gen_test
async def test_an_entry_of_the_outbox_is_put_once(place: Place) -> None:
    await place.store.commit([put(1)])
    for twice in ([put(1, "other")], [put(2), put(2)], [OutboxSent("n1", 1), put(3), put(3)]):
        with pytest.raises(ValueError, match="outbox"):
            await place.store.commit([put(1, origin="n0"), *twice])
    assert await place.store.outbox(limit=9, max_bytes=9) == [OutboxEntry("n1", 1, "{}")]
    await place.store.commit([OutboxSent("n1", 1), put(1, "again")])
    assert await place.store.outbox(limit=9, max_bytes=9) == [OutboxEntry("n1", 1, "again")]


@pytest.mark.gen_test
async def test_a_commit_that_fails_leaves_the_outbox_as_it_was(place: Place) -> None:
    await place.store.commit([*some_events(1), put(1)])
    with pytest.raises(ValueError, match="given out before"):
        await place.store.commit([put(2), OutboxSent("n1", 1), *some_events(1)])
    assert await sequences_in_outbox(place.store) == [("n1", 1)]
    assert await place.store.outbox_backlog() == OutboxBacklog(1, 2)


@pytest.mark.gen_test
async def test_trimming_leaves_the_outbox_alone(place: Place) -> None:
    await place.store.commit([put(1), put(2)])
    await place.store.trim(Bounds(1, 1, 1), NOW * 2)
    assert await sequences_in_outbox(place.store) == [("n1", 1), ("n1", 2)]
