"""The link to Redis and its scripts, held against a real server and the tests' own in memory."""

import contextlib
import json
import re
from collections.abc import Callable, Iterator

import pytest
from tornado.ioloop import IOLoop

from gtower_realtime.cluster.link import READ_AT_ONCE, Kept, Link, Place, Portion, RedisAway, Sent
from gtower_realtime.cluster.scripts import Keys
from tests.fake_redis import FakeLink, FakeRedis
from tests.redis_server import RedisServer, User, redis_program

pytestmark = pytest.mark.gen_test

MakeLink = Callable[[str], Link | FakeLink]

ID = re.compile(r"\d+-\d+")
KEYS = Keys("gtower:")


@pytest.fixture(params=["redis", "fake"])
def make_link(request: pytest.FixtureRequest, io_loop: IOLoop) -> Iterator[MakeLink]:
    """Give a function that returns the link of a process, all of them to one Redis."""
    if request.param == "fake":
        redis = FakeRedis()
        yield lambda node: FakeLink(redis, node)
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    links: list[Link] = []

    def make(node: str) -> Link:
        links.append(Link(server.url, node))
        return links[-1]

    yield make
    for link in links:
        io_loop.run_sync(link.close)


def sent(sequence: int, text: str = "[]", *kept: Kept, origin: str = "n1") -> Sent:
    return Sent(origin, sequence, text, json.dumps([list(one) for one in kept]) if kept else "")


async def log(link: Link | FakeLink) -> list[tuple[str, int, str]]:
    """Return all of the log, as (origin, sequence, text)."""
    entries, after = [], "0-0"
    while some := await link.slice(after, "+" if isinstance(link, Link) else "9999999999999-0"):
        entries += some
        after = some[-1].id
    return [(entry.origin, entry.sequence, entry.text) for entry in entries]


# Appending


async def test_units_are_in_the_log_in_their_order(make_link: MakeLink) -> None:
    link = make_link("n1")
    outcomes = await link.append([sent(1, "a"), sent(2, "b")])
    outcomes += await link.append([sent(1, "c", origin="n2")])
    assert all(ID.fullmatch(outcome) for outcome in outcomes)
    assert await log(link) == [("n1", 1, "a"), ("n1", 2, "b"), ("n2", 1, "c")]


async def test_a_unit_is_in_the_log_once_however_often_it_is_sent(make_link: MakeLink) -> None:
    link = make_link("n1")
    await link.append([sent(1, "a"), sent(2, "b")])
    assert await link.append([sent(1, "a"), sent(2, "b")]) == ["known", "known"]
    outcomes = await link.append([sent(2, "b"), sent(3, "c"), sent(3, "c")])
    assert outcomes[::2] == ["known", "known"]
    assert await log(link) == [("n1", 1, "a"), ("n1", 2, "b"), ("n1", 3, "c")]


async def test_sequences_may_have_gaps(make_link: MakeLink) -> None:
    link = make_link("n1")
    await link.append([sent(5, "a")])
    assert await link.append([sent(3, "late")]) == ["known"]
    await link.append([sent(70_000_000_000, "b")])
    assert await log(link) == [("n1", 5, "a"), ("n1", 70_000_000_000, "b")]


async def test_what_is_kept_has_the_id_of_its_entry_before_it(make_link: MakeLink) -> None:
    link = make_link("n1")
    [entry_id] = await link.append([sent(1, "a", Kept("gtower:k", "v  1\n2", 60_000, ""))])
    assert await link.values(["gtower:k", "gtower:none"]) == [f"{entry_id} v  1\n2", None]
    assert await link.values([]) == []


async def test_a_first_one_is_refused_where_there_is_one(make_link: MakeLink) -> None:
    link = make_link("n1")
    [first, second] = await link.append(
        [
            sent(1, "a", Kept("gtower:k", "one", 60_000, "!")),
            sent(2, "b", Kept("gtower:k", "two", 60_000, "!")),
        ]
    )
    assert ID.fullmatch(first)
    assert second == "refused"
    assert await link.values(["gtower:k"]) == [f"{first} one"]
    assert await log(link) == [("n1", 1, "a")]


async def test_a_next_one_takes_only_the_place_of_the_one_it_knows(make_link: MakeLink) -> None:
    link = make_link("n1")
    rules = ["=none", "!", "=one", "=one", "=t"]
    values = ["-", "one", "two", "-", "-"]
    outcomes = await link.append(
        [
            sent(at, "u", Kept("gtower:k", value, 60_000, rule))
            for at, (rule, value) in enumerate(zip(rules, values, strict=True), 1)
        ]
    )
    assert [outcome == "refused" for outcome in outcomes] == [True, False, False, True, True]
    assert await link.values(["gtower:k"]) == [f"{outcomes[2]} two"]


async def test_a_unit_of_which_one_part_is_refused_has_no_effect(make_link: MakeLink) -> None:
    link = make_link("n1")
    [_, outcome] = await link.append(
        [
            sent(1, "a", Kept("gtower:k", "one", 60_000, "!")),
            sent(2, "b", Kept("gtower:l", "two", 60_000, ""), Kept("gtower:k", "x", 1, "!")),
        ]
    )
    assert outcome == "refused"
    assert await link.values(["gtower:l"]) == [None]


async def test_a_unit_that_was_refused_is_refused_whenever_it_is_sent(make_link: MakeLink) -> None:
    link = make_link("n1")
    refused = sent(2, "b", Kept("gtower:k", "two", 60_000, "!"))
    await link.append([sent(1, "a", Kept("gtower:k", "one", 60_000, "!")), refused])
    await link.append([sent(3, "c")])
    # The answer may have been lost: who sends it again has to know that it is in no log.
    assert await link.append([sent(1, "a"), refused, sent(3, "c")]) == ["known", "refused", "known"]


# Reading


async def test_the_log_and_the_inbox_are_read_together(make_link: MakeLink) -> None:
    link, other = make_link("n1"), make_link("n2")
    [first_id, second_id] = await link.append([sent(1, "a"), sent(2, "b")])
    await other.tell([("n1", "hello"), ("n3", "you"), ("n1", "again")])
    entries, messages = await link.read("0-0", "0-0")
    assert [(entry.id, entry.text) for entry in entries] == [(first_id, "a"), (second_id, "b")]
    assert [text for _, text in messages] == ["hello", "again"]
    entries, messages = await link.read(first_id, messages[0][0])
    assert [entry.text for entry in entries] == ["b"]
    assert [text for _, text in messages] == ["again"]


async def test_an_empty_slice_and_no_last_id(make_link: MakeLink) -> None:
    link = make_link("n1")
    assert await link.slice("0-0", "9999999999999-0") == []
    assert await link.last_id() == "0-0"
    [entry_id] = await link.append([sent(1)])
    assert await link.last_id() == entry_id
    assert await link.slice(entry_id, entry_id) == []


# Joining


async def test_the_first_to_join_begins_an_epoch_and_the_next_find_it(make_link: MakeLink) -> None:
    link = make_link("n1")
    place = await link.join("e1", "", "0-0")
    assert place == Place("e1", "0-0", "0-0", place.now)
    ids = await link.append([sent(1), sent(2)])
    # Ids are given by the clock that it tells.
    assert int(ids[0].partition("-")[0]) >= place.now > 0
    place = await link.join("e2", "", "0-0")
    assert place == Place("e1", ids[1], ids[0], place.now)


async def test_who_has_read_all_or_less_finds_the_epoch_that_was(make_link: MakeLink) -> None:
    link = make_link("n1")
    await link.join("e1", "", "0-0")
    ids = await link.append([sent(1), sent(2)])
    for last_id in ids:
        assert (await link.join("e2", "e1", last_id)).epoch == "e1"


async def test_a_log_that_is_behind_what_was_read_begins_a_new_epoch(make_link: MakeLink) -> None:
    link = make_link("n1")
    await link.join("e1", "", "0-0")
    [last_id] = await link.append([sent(1)])
    milliseconds, _, count = last_id.partition("-")
    for ahead in (f"{milliseconds}-{int(count) + 1}", f"{int(milliseconds) + 1}-0"):
        other = make_link("n2")
        epoch = (await link.join("e1", "", "0-0")).epoch
        assert (await other.join(f"after {ahead}", epoch, ahead)).epoch == f"after {ahead}"


async def test_only_the_first_to_find_out_begins_the_new_epoch(make_link: MakeLink) -> None:
    link, other = make_link("n1"), make_link("n2")
    await link.join("e1", "", "0-0")
    assert (await link.join("e2", "e1", "9999999999999-0")).epoch == "e2"
    assert (await other.join("e3", "e1", "9999999999999-0")).epoch == "e2"


# Values and sessions


async def test_sessions_are_kept_and_deleted(make_link: MakeLink) -> None:
    link = make_link("n1")
    kept = [(KEYS.session(f"c{at}"), f"s{at}", 60_000) for at in range(1200)]
    await link.keep(kept, [], [])
    await link.keep([("gtower:other", "x", 60_000)], [(kept[0][0], 90_000)], [kept[1][0]])
    expected = {f"s{at}" for at in range(1200)} - {"s1"}
    assert set(await link.sessions()) == expected
    await link.keep([], [], [])


# Other processes


async def test_who_beats_is_told_of_all_who_did(make_link: MakeLink) -> None:
    link, other = make_link("n1"), make_link("n2")
    first = await link.beat('{"name":"one"}')
    second = await other.beat('{"name":"two"}')
    assert first.heard == {"n1": first.now}
    assert second.heard == {"n1": first.now, "n2": second.now}
    assert second.details == {"n1": '{"name":"one"}', "n2": '{"name":"two"}'}
    assert second.now >= first.now


async def test_a_process_is_buried_once_and_the_log_says_so(make_link: MakeLink) -> None:
    link, other = make_link("n1"), make_link("n2")
    heard = (await other.beat("{}")).heard["n2"]
    await link.tell([("n2", "hello")])
    assert await link.bury("n2", heard, "gone") is True
    assert await link.bury("n2", heard, "gone") is False
    assert await log(link) == [("", 0, "gone")]
    assert (await link.beat("{}")).heard.keys() == {"n1"}
    assert (await link.beat("{}")).details.keys() == {"n1"}


async def test_a_process_that_was_heard_of_meanwhile_is_not_buried(make_link: MakeLink) -> None:
    link, other = make_link("n1"), make_link("n2")
    heard = (await other.beat("{}")).heard["n2"]
    assert await link.bury("n2", heard - 1, "gone") is False
    assert await log(link) == []
    assert await link.bury("n2", None, "signed off") is True
    assert await log(link) == [("", 0, "signed off")]


async def test_nothing_is_told_to_nobody(make_link: MakeLink) -> None:
    await make_link("n1").tell([])


# A real Redis only


async def test_a_log_is_trimmed_to_whole_parts(redis_server: RedisServer) -> None:
    link = Link(redis_server.url, "n1")
    redis_server.say("CONFIG", "SET", "stream-node-max-entries", "10")
    ids = await link.append([sent(at) for at in range(1, 101)])
    await link.trim(ids[55])
    kept = [sequence for _, sequence, _ in await log(link)]
    assert kept == list(range(51, 101))
    place = await link.join("e1", "", "0-0")
    assert (place.first_id, place.last_id) == (ids[50], ids[99])
    await link.close()


async def test_what_is_kept_ends(redis_server: RedisServer) -> None:
    link = Link(redis_server.url, "n1")
    await link.append([sent(1, "a", Kept("gtower:k", "v", 691_200_000, ""))])
    await link.keep([("gtower:session:c", "s", 130_000)], [], [])
    await link.keep([], [("gtower:session:c", 250_000)], [])
    await link.tell([("n2", "hello")])
    keys = ["gtower:k", "gtower:session:c", "gtower:inbox:n2", "gtower:sequence:n1"]
    lifetimes = [redis_server.say("PTTL", key) for key in keys]
    for lifetime, bound in zip(lifetimes, [691_200_000, 250_000, 60_000, 604_800_000], strict=True):
        assert bound - 30_000 < lifetime <= bound
    await link.close()


async def test_a_log_that_was_emptied_is_behind(redis_server: RedisServer) -> None:
    link = Link(redis_server.url, "n1")
    await link.join("e1", "", "0-0")
    [last_id] = await link.append([sent(1)])
    redis_server.empty()
    place = await link.join("e2", "e1", last_id)
    assert place == Place("e2", "0-0", "0-0", place.now)
    # It has lost also which units it knew.
    assert await link.append([sent(1)]) != ["known"]
    await link.close()


async def test_an_entry_that_is_missing_between_others_begins_a_new_epoch(
    redis_server: RedisServer,
) -> None:
    link = Link(redis_server.url, "n1")
    await link.join("e1", "", "0-0")
    ids = await link.append([sent(1), sent(2), sent(3)])
    redis_server.say("XDEL", "gtower:log", ids[1])
    assert (await link.join("e2", "e1", ids[2])).epoch == "e1"
    assert (await link.join("e2", "e1", ids[1])).epoch == "e2"
    # What is before the first has only been trimmed.
    redis_server.say("XDEL", "gtower:log", ids[0])
    assert (await link.join("e3", "e2", ids[0])).epoch == "e2"
    assert await link.first_id() == ids[2]
    await link.close()


async def test_nobody_is_there(io_loop: IOLoop) -> None:
    link = Link("redis://:secret-word@127.0.0.1:1/0", "n1")
    with pytest.raises(RedisAway, match="ConnectionError") as away:
        await link.join("e1", "", "0-0")
    assert "secret-word" not in str(away.value)
    with pytest.raises(RedisAway):
        await link.read("0-0", "0-0")
    await link.close()
    await link.close()


async def test_what_is_wrong_says_no_password(io_loop: IOLoop) -> None:
    server = RedisServer(redis_program(), user=User("gtower", "right-word"))
    server.start()
    try:
        link = Link(server.url.replace("right-word", "wrong-word"), "n1")
        with pytest.raises(RedisAway, match="AuthenticationError") as away:
            await link.append([sent(1)])
        assert "word@" not in str(away.value)
        assert "wrong-word" not in str(away.value)
        await link.close()
    finally:
        server.remove()


async def test_a_redis_that_is_full_refuses_and_takes_again(own_redis: RedisServer) -> None:
    link = Link(own_redis.url, "n1")
    await link.join("e1", "", "0-0")
    own_redis.fill()
    with pytest.raises(RedisAway, match=r"OOM|OutOfMemory"):
        await link.append([sent(1, "a")])
    own_redis.enlarge()
    assert ID.fullmatch((await link.append([sent(1, "a")]))[0])
    await link.close()


async def test_a_redis_that_comes_back_is_used_again(own_redis: RedisServer) -> None:
    link = Link(own_redis.url, "n1")
    [entry_id] = await link.append([sent(1, "a")])
    own_redis.kill()
    with pytest.raises(RedisAway):
        await link.append([sent(2, "b")])
    own_redis.start()
    outcomes = await link.append([sent(1, "a"), sent(2, "b")])
    assert outcomes[0] == "known"
    assert await link.slice(entry_id, outcomes[1]) != []
    await link.close()


# Portions


def portions(*outcomes: type[Exception] | None) -> list[int]:
    portion, counts = Portion(), []
    for outcome in outcomes:
        with contextlib.suppress(RedisAway), portion as count:
            counts.append(count)
            if outcome is not None:
                raise outcome("TimeoutError: no answer within 1 s")
    return counts


async def test_what_did_not_come_in_time_is_asked_for_in_smaller_portions() -> None:
    assert portions(None, None) == [READ_AT_ONCE, READ_AT_ONCE]
    late = RedisAway
    assert portions(late, late, None, None, late, None) == [500, 62, 7, 8, 9, 1]
    assert portions(late, late, late, late, None)[-1] == 1
