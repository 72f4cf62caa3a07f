"""The shared log, over a Redis in memory and at virtual times."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

import pytest

from gtower_realtime.cluster import outbox, pending
from gtower_realtime.cluster.log import PATIENCE_SECONDS
from gtower_realtime.cluster.numbers import number_of
from gtower_realtime.cluster.wire import write_changes, write_session
from gtower_realtime.errors import IdempotencyInFlight, Overloaded, StoreUnavailable
from gtower_realtime.records import (
    AnswerGiven,
    CountedMinute,
    EventRelayed,
    GivenAnswer,
    MinuteCounted,
    NodeGone,
    RoomEntered,
    SessionOpened,
    WebhookMark,
    WebhookMarked,
)
from gtower_realtime.sessions import Session
from tests.fake_redis import FakeRedis
from tests.fakes import NOW_MS, an_event
from tests.shared_logs import Node, started
from tests.stores import a_session
from tests.virtual_time import run_virtually


def virtual(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test at virtual times."""

    @wraps(test)
    def run(**fixtures: Any) -> None:
        async def whole() -> None:
            await test(**fixtures)

        run_virtually(whole())

    return run


def now() -> float:
    return asyncio.get_running_loop().time()


async def two() -> tuple[FakeRedis, Node, Node]:
    """Return a Redis and the logs of two processes that are together."""
    redis = FakeRedis()
    first, second = await started("a", "b", redis=redis)
    return redis, first, second


async def close(*nodes: Node) -> None:
    for node in nodes:
        await node.log.close()


# Together


@virtual
async def test_an_event_takes_effect_at_its_place_in_the_stream_and_at_all_processes() -> None:
    redis, first, second = await two()
    published = first.publish()
    assert first.seen == []
    assert await published.outcome == "a-1"
    number = number_of(redis.entries[-1].id)
    assert first.log.last_number == number
    expected = first.log.offset(number)
    assert expected.epoch == redis.state.epoch == second.log.epoch
    await second.log.catch_up()
    for node in (first, second):
        assert [(effect.event_id, effect.offset) for effect in node.effects] == [("a-1", expected)]
        assert [event.id for event in node.log.recent(0)] == ["a-1"]
    # How many had it there is told the process that has published it.
    assert second.audience.of("told") == [("a", "a-1", 3)]
    await close(first, second)


@virtual
async def test_what_is_given_in_one_turn_is_appended_together() -> None:
    _, first, second = await two()
    published = [first.publish() for _ in range(3)]
    await asyncio.gather(*(one.outcome for one in published))
    assert first.seen == ["a-1", "a-2", "a-3"]
    await close(first, second)


@virtual
async def test_what_is_this_process_s_alone_goes_to_its_store() -> None:
    redis, first, second = await two()
    before = len(redis.entries)
    minute = CountedMinute("m", NOW_MS, "{}")
    await first.log.record(lambda _: [MinuteCounted(minute)], lambda _: None)
    assert await first.log.minutes(since=0, before=NOW_MS + 1) == [minute]
    assert len(redis.entries) == before
    await close(first, second)


@virtual
async def test_what_is_relayed_is_delivered_at_the_others_without_an_offset() -> None:
    _, first, second = await two()
    first.log.tell([EventRelayed(an_event(0, id="v1"), is_droppable=True)])
    await first.log.settled()
    await second.log.catch_up()
    assert second.replication.delivered == [("v1", None)]
    assert first.replication.delivered == []
    await close(first, second)


@virtual
async def test_a_change_that_nobody_understands_holds_up_nothing() -> None:
    redis, first, second = await two()
    for text in ('[["Explosion",{}]]', "{", "[]"):
        redis.add("stranger", 0, text)
    await first.publish().outcome
    await second.log.catch_up()
    assert second.seen == ["a-1"]
    await close(first, second)


@virtual
async def test_messages_come_after_what_they_are_about() -> None:
    _, first, second = await two()
    published = first.publish()
    await first.link.tell([("b", "about a-1")])
    await published.outcome
    await second.log.catch_up()
    assert [name for name, _ in second.audience.told_of[-2:]] == ["told", "message"]
    await close(first, second)


@virtual
async def test_a_log_that_is_closed_takes_nothing() -> None:
    _, first, second = await two()
    await close(first, second)
    with pytest.raises(StoreUnavailable, match="closed"):
        await first.publish().outcome
    await first.log.close()


@virtual
async def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending, "_MAX_WAITING", 2)
    _, first, second = await two()
    published = [first.publish() for _ in range(3)]
    with pytest.raises(Overloaded, match="Too much waits"):
        await published[2].outcome
    await asyncio.gather(published[0].outcome, published[1].outcome)
    assert first.seen == ["a-1", "a-2"]
    await close(first, second)


# Keys


def answered(key: str, answer: str = '{"offset":"-0"}') -> AnswerGiven:
    return AnswerGiven(GivenAnswer(key, "f", answer, NOW_MS + 60_000))


@virtual
async def test_an_answer_is_found_at_every_process_with_the_place_of_its_event() -> None:
    _, first, second = await two()
    await first.publish(also=[answered("k")]).outcome
    for node in (first, second):
        found = await node.log.find_answer("k", NOW_MS)
        assert found is not None
        assert found.answer == f'{{"offset":"{first.effects[0].offset}"}}'
        assert await node.log.find_answer("k", NOW_MS + 60_000) is None
        assert await node.log.find_answer("other", NOW_MS) is None
    await close(first, second)


@virtual
async def test_of_two_with_one_key_only_the_first_takes_effect() -> None:
    _, first, second = await two()
    one, other = first.publish(also=[answered("k")]), second.publish(also=[answered("k")])
    assert await one.outcome == "a-1"
    with pytest.raises(IdempotencyInFlight):
        await other.outcome
    await first.log.catch_up()
    assert first.seen == second.seen == ["a-1"]
    await close(first, second)


@virtual
async def test_a_refused_one_whose_answer_was_lost_does_not_keep_its_process_alone() -> None:
    redis, first, second = await two()
    await first.publish(also=[answered("k")]).outcome
    redis.troubles.append("unanswered")
    # It takes effect here without Redis, which then turns out to have refused it.
    other = second.publish(also=[answered("k")])
    assert await other.outcome == "b-1"
    await asyncio.sleep(2)
    assert second.log.is_cut_off is False
    await first.log.catch_up()
    assert first.seen == ["a-1"]
    await close(first, second)


@virtual
async def test_marks_are_known_to_all_also_without_redis() -> None:
    redis, first, second = await two()
    await first.publish(also=[WebhookMarked(WebhookMark("m", "sent", NOW_MS))]).outcome
    assert await second.log.webhook_marks(["m", "other"]) == {"m": "sent"}
    redis.go_away()
    await asyncio.sleep(0.1)
    assert second.log.is_cut_off
    assert await second.log.webhook_marks(["m", "other"]) == {"m": "sent"}
    redis.come_back()
    await close(first, second)


# Without Redis


@virtual
async def test_without_redis_it_takes_effect_here_and_at_the_others_later() -> None:
    redis, first, second = await two()
    redis.go_away()
    assert await first.publish().outcome == "a-1"
    assert first.log.is_cut_off
    assert first.log.outbox.entries == 1
    offset = first.effects[0].offset
    assert offset is not None
    assert offset.epoch not in ("", first.log.epoch)
    assert [event.id for event in first.log.recent(0)] == ["a-1"]
    redis.come_back()
    await asyncio.sleep(1)
    assert not first.log.is_cut_off
    assert (first.seen, second.seen) == (["a-1"], ["a-1"])
    assert first.log.outbox.entries == first.log.outbox.bytes == 0
    assert [event.number for event in first.log.recent(0)] == [number_of(redis.entries[-1].id)]
    assert first.audience.told_of.count(("together", None)) == 2
    await close(first, second)


@virtual
async def test_a_redis_that_is_slow_is_waited_for_no_longer_than_patience_lasts() -> None:
    redis, first, second = await two()
    redis.hold()
    began = now()
    assert await first.publish().outcome == "a-1"
    assert PATIENCE_SECONDS <= now() - began < 2 * PATIENCE_SECONDS
    assert first.effects[0].was_cut_off
    redis.let()
    await asyncio.sleep(2)
    assert (first.seen, second.seen) == (["a-1"], ["a-1"])
    assert not first.log.is_cut_off
    await close(first, second)


@virtual
async def test_what_was_appended_and_not_answered_is_not_appended_again() -> None:
    redis, first, second = await two()
    redis.troubles.append("unanswered")
    await first.publish().outcome
    await asyncio.sleep(2)
    texts = [entry.text for entry in redis.entries]
    assert sum('"a-1"' in text for text in texts) == 1
    assert (first.seen, second.seen) == (["a-1"], ["a-1"])
    await close(first, second)


@virtual
async def test_a_full_outbox_refuses_and_nobody_has_seen_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    redis, first, second = await two()
    redis.go_away()
    await asyncio.sleep(0.1)
    monkeypatch.setattr(outbox, "MAX_ENTRIES", 2)
    published = [first.publish() for _ in range(3)]
    with pytest.raises(Overloaded, match="Redis is away") as full:
        await published[2].outcome
    assert full.value.headers == {"Retry-After": "5"}
    assert await asyncio.gather(published[0].outcome, published[1].outcome) == ["a-1", "a-2"]
    redis.come_back()
    await asyncio.sleep(1)
    assert await first.publish().outcome == "a-4"
    await second.log.catch_up()
    assert second.seen == ["a-1", "a-2", "a-4"]
    await close(first, second)


@virtual
async def test_a_full_outbox_is_also_one_with_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    redis, first, second = await two()
    redis.go_away()
    await asyncio.sleep(0.1)
    monkeypatch.setattr(outbox, "MAX_BYTES", 1000)
    small, large = first.publish(), first.publish('{"x":"' + "y" * 900 + '"}')
    with pytest.raises(Overloaded):
        await large.outcome
    assert await small.outcome == "a-1"
    redis.come_back()
    await close(first, second)


@virtual
async def test_who_has_an_outbox_from_before_sends_it_first() -> None:
    redis, first, second = await two()
    redis.go_away()
    for _ in range(3):
        await first.publish().outcome
    await first.kill()
    redis.come_back()
    await asyncio.sleep(1)
    successor = Node("c", redis, first.store)
    await successor.log.open()
    await successor.publish().outcome
    await second.log.catch_up()
    assert second.seen == ["a-1", "a-2", "a-3", "c-1"]
    await close(successor, second)


@virtual
async def test_a_process_begins_without_redis_after_five_seconds() -> None:
    redis = FakeRedis()
    redis.go_away()
    node = Node("a", redis)
    began = now()
    assert await node.log.open() == []
    assert 5 <= now() - began < 5.1
    assert (node.log.is_cut_off, node.log.epoch) == (True, "")
    assert await node.publish().outcome == "a-1"
    redis.come_back()
    await asyncio.sleep(1)
    assert not node.log.is_cut_off
    assert node.log.epoch == redis.state.epoch
    assert node.seen == ["a-1"]
    await close(node)


@virtual
async def test_rooms_and_sessions_of_the_time_alone_get_their_places_later() -> None:
    redis, first, second = await two()
    redis.go_away()
    await asyncio.sleep(0.1)
    opened = Session.open("c1", "/", None, 0)

    def begin(number: int) -> None:
        opened.place(number)
        first.sessions.add(opened)

    await first.log.record(lambda _: [SessionOpened(opened.stored())], begin)
    entered = [RoomEntered("c1", "sales", 0)]
    await first.log.record(lambda _: entered, lambda number: opened.enter("sales", number))
    private = [opened.opened_at_number, opened.memberships[0].after]
    redis.come_back()
    await asyncio.sleep(1)
    places = [number_of(entry.id) for entry in redis.entries[-2:]]
    assert [opened.opened_at_number, opened.memberships[0].after] == places
    assert private[0] < private[1] < places[0] < places[1]
    applied = [change for change, _ in second.replication.applied]
    assert applied[-1] == RoomEntered("c1", "sales", places[1])
    await close(first, second)


# Redis has lost something


@virtual
async def test_a_redis_that_is_empty_again_gets_what_it_has_lost_and_nothing_twice() -> None:
    redis, first, second = await two()
    await first.publish().outcome
    await second.publish().outcome
    epoch = first.log.epoch
    await asyncio.sleep(1)
    redis.go_away()
    await asyncio.sleep(0.1)
    redis.set_back()
    redis.now += 10_000
    redis.come_back()
    await asyncio.sleep(2)
    assert first.log.epoch == second.log.epoch != epoch
    await first.publish().outcome
    await second.log.catch_up()
    assert first.seen == second.seen == ["a-1", "b-1", "a-2"]
    # Who is new finds all of it there.
    third = Node("c", redis)
    await third.log.open()
    assert {event.id for event in third.log.recent(0)} == {"a-1", "b-1", "a-2"}
    for node in (first, second):
        assert ("introduced", None) in node.audience.told_of
    await close(first, second, third)


@virtual
async def test_a_refused_unit_is_refused_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    redis, first, second = await two()
    await first.publish(also=[answered("k")]).outcome
    with pytest.raises(IdempotencyInFlight):
        await second.publish(also=[answered("k")]).outcome
    await asyncio.sleep(1)
    await close(first)
    redis.go_away()
    await asyncio.sleep(0.1)
    redis.set_back()
    redis.now += 10_000
    redis.come_back()
    await asyncio.sleep(2)
    # The key is lost with the rest; what was refused must not come out now.
    assert second.seen == ["a-1"]
    assert not any('"b-1"' in entry.text for entry in redis.entries)
    await close(second)


# Joining


@virtual
async def test_a_new_process_takes_up_what_there_is_and_delivers_nothing_of_it() -> None:
    redis, first, second = await two()
    await first.publish().outcome
    stored = a_session("c1")
    await first.link.keep(
        [("gtower:session:c1", write_session(stored, "a", first.log.last_number), 60_000)], [], []
    )
    third = Node("c", redis)
    await third.log.open()
    assert [event.id for event in third.log.recent(0)] == ["a-1"]
    assert third.seen == []
    assert third.replication.taken == [("c1", "a")]
    await first.log.catch_up()
    assert first.audience.of("started")[-1] == "c"
    assert (await third.publish().outcome) == "c-1"
    await close(first, second, third)


@virtual
async def test_a_process_that_is_dead_is_forgotten_by_all() -> None:
    redis, first, second = await two()
    await second.kill()
    redis.add("", 0, write_changes([NodeGone("b")]))
    await first.publish().outcome
    assert first.audience.of("gone") == ["b"]
    assert first.replication.applied[-1] == (NodeGone("b"), "")
    await close(first)


@virtual
async def test_a_process_that_was_taken_for_dead_says_that_it_is_not() -> None:
    redis, first, second = await two()
    redis.add("", 0, write_changes([NodeGone("a")]))
    await first.log.catch_up()
    await asyncio.sleep(1)
    assert ("introduced", None) in first.audience.told_of
    assert first.audience.of("gone") == []
    await close(first, second)


# Waiting


@virtual
async def test_it_is_waited_for_a_number_and_not_for_longer_than_said() -> None:
    _, first, second = await two()
    began = now()
    await first.log.reach(first.log.last_number, 1.0)
    assert now() == began
    await first.log.reach(first.log.last_number + 10**9, 0.3)
    assert 0.3 <= now() - began < 0.31
    waiting = asyncio.ensure_future(first.log.reach(first.log.last_number + 1, 5.0))
    await asyncio.sleep(0)
    await second.publish().outcome
    await waiting
    assert now() - began < 0.4
    await close(first, second)


@virtual
async def test_nobody_is_waited_for_while_redis_is_away() -> None:
    redis, first, second = await two()
    waiting = asyncio.ensure_future(first.log.reach(first.log.last_number + 10**9, 60.0))
    await asyncio.sleep(0)
    redis.go_away()
    began = now()
    await waiting
    await first.log.catch_up()
    await first.log.reach(first.log.last_number + 10**9, 60.0)
    assert now() - began < 0.1
    redis.come_back()
    await close(first, second)


# History


@virtual
async def test_history_is_that_of_all_and_is_deleted_for_all() -> None:
    _, first, second = await two()
    await first.publish().outcome
    await second.publish().outcome
    await first.log.catch_up()

    async def history(node: Node) -> list[str]:
        events = await node.log.history("sales", after=0, limit=10, now=NOW_MS)
        return [event.id for event in events]

    assert await history(first) == await history(second) == ["a-1", "b-1"]
    assert await first.log.delete_history("sales") == 2
    await second.log.catch_up()
    await first.publish().outcome
    await second.log.catch_up()
    assert await history(first) == await history(second) == ["a-2"]
    assert [event.id for event in second.log.recent(0)] == ["a-2"]
    await close(first, second)
