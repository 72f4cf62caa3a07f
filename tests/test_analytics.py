"""What is counted in a minute, when it is recorded, and what a read makes of it."""

from datetime import timedelta
from typing import Any

import pytest

from gtower_realtime.errors import StoreUnavailable, UnknownClient, ValidationFailed
from gtower_realtime.ports import Target
from tests.fakes import NOW, FakeStore, FakeWorld, make_world

pytestmark = pytest.mark.gen_test

MINUTE = "2026-11-23T12:28:00.000Z"
NEXT_MINUTE = "2026-11-23T12:29:00.000Z"


async def read(world: FakeWorld) -> list[dict[str, Any]]:
    return list((await world.service.analytics.points(None, None))["points"])


async def say(world: FakeWorld, *events: str) -> None:
    for event in events:
        await world.service.send(event, {}, Target.all())


async def end_minute(world: FakeWorld) -> None:
    """Let the next minute begin, and what was counted be recorded."""
    world.clock.advance(60 - world.clock.now().second)
    world.service.analytics.tick()
    await world.journal.settled()


async def test_a_point_says_what_happened_in_its_minute() -> None:
    world = await make_world()
    await world.connect("c1", "c2")
    await world.service.notify_client("c1", {"type": "info", "title": "T", "message": "ä"})
    await world.service.send("dealWon", {"n": 1}, Target.all())
    world.metrics.events_refused.labels("validation_error").inc()
    world.metrics.http_refused.labels("validation_error").inc()
    world.metrics.handshakes_refused.labels("rate_limited").inc()
    world.metrics.connects_refused.labels("invalid_token").inc()
    notice = '{"type":"info","title":"T","message":"ä","timestamp":"2026-11-23T12:28:18.953Z"}'
    deal = '{"n":1,"timestamp":"2026-11-23T12:28:18.953Z"}'
    point = {
        "at": MINUTE,
        "connections": 2,
        "events": {"notification": 1, "dealWon": 1},
        "recipients": 3,
        "bytes": len(notice.encode()) + 2 * len(deal),
        "refusals": {"validation_error": 2, "rate_limited": 1, "invalid_token": 1},
    }
    assert await read(world) == [point]
    await end_minute(world)
    nothing = {"events": {}, "recipients": 0, "bytes": 0, "refusals": {}}
    assert await read(world) == [point, {"at": NEXT_MINUTE, "connections": 2, **nothing}]


async def test_a_refused_event_is_not_counted_as_one() -> None:
    world = await make_world()
    with pytest.raises(UnknownClient):
        await world.service.send("dealWon", {}, Target.client("nobody"))
    assert (await read(world))[0]["events"] == {}


async def test_connections_are_the_most_at_once() -> None:
    world = await make_world()
    await world.connect("c1", "c2", "c3")
    world.service.analytics.tick()
    for client_id in ("c1", "c2"):
        world.cut(client_id)
    await end_minute(world)
    assert [point["connections"] for point in await read(world)] == [3, 1]


async def test_nothing_is_recorded_before_the_minute_is_over() -> None:
    world = await make_world()
    await say(world, "dealWon")
    world.clock.advance(41)
    world.service.analytics.tick()
    await world.journal.settled()
    assert await world.journal.minutes(since=0, before=2**50) == []
    world.clock.advance(0.047)
    world.service.analytics.tick()
    await world.journal.settled()
    assert len(await world.journal.minutes(since=0, before=2**50)) == 1


async def test_the_most_frequent_custom_names_are_named_and_the_rest_are_other() -> None:
    world = await make_world()
    names = [f"custom{n:02}" for n in range(25)]
    await say(world, *names, *names[5:], "other", "notificationSeen", "notificationSeen")
    expected = dict.fromkeys(names[5:], 2)
    expected["other"] = 5 + 2 + 1
    assert (await read(world))[0]["events"] == expected
    await end_minute(world)
    assert (await read(world))[0]["events"] == expected


async def test_names_without_end_take_no_room_and_are_all_counted() -> None:
    world = await make_world()
    await say(world, *(f"custom{n:04}" for n in range(1200)))
    assert len(world.metrics.custom_events.counts) == 1001
    assert sum((await read(world))[0]["events"].values()) == 1200


async def test_the_parts_of_a_minute_in_which_the_server_was_restarted_are_added() -> None:
    store = FakeStore()
    first = await make_world(store=store)
    await first.connect("c1", "c2")
    await say(first, "dealWon")
    first.service.analytics.record()
    await first.journal.close()
    second = await make_world(store=store, clock=first.clock)
    await second.connect("c3")
    await say(second, "dealWon", "dealLost")
    (point,) = await read(second)
    assert (point["connections"], point["recipients"]) == (2, 4)
    assert point["events"] == {"dealWon": 2, "dealLost": 1}


async def test_what_could_not_be_recorded_is_with_a_later_minute_and_once() -> None:
    world = await make_world()
    await say(world, "dealWon")
    world.store.problem = StoreUnavailable("full")
    await end_minute(world)
    assert [point["events"] for point in await read(world)] == [{"dealWon": 1}, {}]
    world.store.problem = None
    await end_minute(world)
    assert [point["events"] for point in await read(world)] == [{"dealWon": 1}, {}, {}]
    rows = await world.journal.minutes(since=0, before=2**50)
    assert len({row.id for row in rows}) == len(rows) == 2
    assert world.service.analytics._held == {}


async def test_minutes_that_wait_for_the_store_are_recorded_and_read_once() -> None:
    world = await make_world()
    await say(world, "dealWon")
    world.store.hold()
    world.clock.advance(60)
    world.service.analytics.tick()
    await world.store.asked.wait()
    # These two wait for the same commit, as when the server stops at the end of a minute.
    world.clock.advance(60)
    world.service.analytics.tick()
    world.service.analytics.record()
    assert [point["events"] for point in await read(world)] == [{"dealWon": 1}, {}, {}]
    world.store.let()
    await world.journal.settled()
    assert len(await world.journal.minutes(since=0, before=2**50)) == 3
    assert [point["events"] for point in await read(world)] == [{"dealWon": 1}, {}, {}]


async def test_a_store_that_fails_for_a_day_takes_no_room_without_end() -> None:
    world = await make_world()
    world.store.problem = StoreUnavailable("full")
    for _ in range(1445):
        world.service.analytics.record()
    await world.journal.settled()
    assert len(world.service.analytics._held) == 1440


async def test_a_read_is_of_the_minutes_from_one_time_until_before_another() -> None:
    world = await make_world()
    for event in ("one", "two", "three", "four"):
        await say(world, event)
        await end_minute(world)
    start, end = NOW + timedelta(minutes=1), NOW + timedelta(minutes=2)
    answer = await world.service.analytics.points(start, end)
    assert {key: answer[key] for key in ("from", "to", "step")} == {
        "from": NEXT_MINUTE,
        "to": "2026-11-23T12:30:18.953Z",
        "step": 60,
    }
    assert [point["events"] for point in answer["points"]] == [{"two": 1}, {"three": 1}]


@pytest.mark.parametrize(
    ("start", "sentence"),
    [
        (NOW + timedelta(seconds=1), "Must not be after to."),
        (NOW - timedelta(days=1, seconds=1), "Must not be more than a day before to."),
    ],
)
async def test_a_range_that_makes_no_sense_is_refused(start: Any, sentence: str) -> None:
    world = await make_world()
    with pytest.raises(ValidationFailed) as refusal:
        await world.service.analytics.points(start, NOW)
    assert refusal.value.fields == {"from": [sentence]}
