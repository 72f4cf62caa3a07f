"""Which other processes there are, and which are dead."""

from types import SimpleNamespace

import pytest

from gtower_realtime.cluster import nodes as module
from gtower_realtime.cluster.link import RedisAway
from gtower_realtime.cluster.nodes import Nodes
from tests.fake_redis import FakeLink, FakeRedis

pytestmark = pytest.mark.gen_test


class Cluster:
    """Processes with one Redis, whose clock and theirs go on together."""

    def __init__(self, seconds: list[float]) -> None:
        self.redis = FakeRedis()
        self._seconds = seconds

    def nodes(self, node: str, name: str | None = None) -> Nodes:
        link = FakeLink(self.redis, node)
        details = {"name": name or f"host-{node}:3000"}
        return Nodes(node, link, lambda: details)  # type: ignore[arg-type]

    def wait(self, seconds: float) -> None:
        self._seconds[0] += seconds
        self.redis.now += round(seconds * 1000)

    @property
    def buried(self) -> list[str]:
        return [entry.text for entry in self.redis.entries]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """Give a cluster without a process."""
    seconds = [1000.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: seconds[0]))
    return Cluster(seconds)


GONE = '[["NodeGone",{"node":"n2"}]]'


async def test_who_beats_knows_who_has(cluster: Cluster) -> None:
    one, two = cluster.nodes("n1"), cluster.nodes("n2")
    assert await one.beat() == {"n1"}
    assert await two.beat() == {"n1", "n2"}
    assert await one.beat() == {"n1", "n2"}
    assert list(one.others) == ["n2"]
    assert (one.name_of("n2"), one.name_of("n3")) == ("host-n2:3000", "n3")


async def test_who_is_silent_for_nine_seconds_is_dead(cluster: Cluster) -> None:
    one, two = cluster.nodes("n1"), cluster.nodes("n2")
    await two.beat()
    await one.beat()
    cluster.wait(8.9)
    await one.beat()
    await one.bury()
    assert cluster.buried == []
    cluster.wait(0.1)
    await one.beat()
    await one.bury()
    assert cluster.buried == [GONE]
    # It is told by the log; the next beat does not know it either.
    assert await one.beat() == {"n1"}
    assert one.others == {}


async def test_a_process_at_the_same_place_is_dead_sooner(cluster: Cluster) -> None:
    before, now = cluster.nodes("n2", "host:3000"), cluster.nodes("n3", "host:3000")
    await before.beat()
    cluster.wait(4.9)
    await now.beat()
    await now.bury()
    assert cluster.buried == []
    cluster.wait(0.2)
    await now.bury()
    assert cluster.buried == [GONE]


async def test_who_beats_is_not_dead(cluster: Cluster) -> None:
    one, two = cluster.nodes("n1"), cluster.nodes("n2")
    for _ in range(10):
        cluster.wait(5)
        await two.beat()
        await one.beat()
        await one.bury()
    assert cluster.buried == []


async def test_two_that_find_it_out_bury_it_once(cluster: Cluster) -> None:
    one, two, three = map(cluster.nodes, ("n1", "n2", "n3"))
    await two.beat()
    await one.beat()
    await three.beat()
    cluster.wait(9)
    for nodes in (one, three):
        await nodes.beat()
    for nodes in (one, three):
        await nodes.bury()
    assert cluster.buried == [GONE]


async def test_one_that_beats_in_the_last_moment_lives(cluster: Cluster) -> None:
    one, two = cluster.nodes("n1"), cluster.nodes("n2")
    await two.beat()
    await one.beat()
    cluster.wait(9)
    await two.beat()
    await one.bury()
    assert cluster.buried == []


async def test_a_new_one_counts_from_when_others_heard_it(cluster: Cluster) -> None:
    one, two = cluster.nodes("n1"), cluster.nodes("n2")
    await two.beat()
    cluster.wait(8)
    await one.beat()
    cluster.wait(1)
    await one.bury()
    assert cluster.buried == [GONE]


async def test_a_clock_of_redis_that_goes_back_kills_nobody(cluster: Cluster) -> None:
    one, two = cluster.nodes("n1"), cluster.nodes("n2")
    await two.beat()
    cluster.redis.now -= 60_000
    await one.beat()
    await one.bury()
    assert cluster.buried == []


async def test_nobody_is_dead_because_redis_was_away(cluster: Cluster) -> None:
    one, two = cluster.nodes("n1"), cluster.nodes("n2")
    await two.beat()
    await one.beat()
    cluster.redis.go_away()
    with pytest.raises(RedisAway):
        await one.beat()
    cluster.wait(60)
    cluster.redis.come_back()
    await one.beat()
    one.forgive()
    await one.bury()
    assert cluster.buried == []
    cluster.wait(9)
    await one.bury()
    assert cluster.buried == [GONE]


async def test_one_that_has_just_joined_is_known_before_the_next_beat(cluster: Cluster) -> None:
    one = cluster.nodes("n1")
    one.heard("n2", {"name": "new:3000"})
    one.heard("n1", {"name": "itself"})
    assert [node.name for node in one.others.values()] == ["new:3000"]
    one.gone("n2")
    one.gone("n3")
    assert one.others == {}


async def test_who_ends_says_so(cluster: Cluster) -> None:
    one, two = cluster.nodes("n1"), cluster.nodes("n2")
    await two.beat()
    await one.beat()
    await two.leave()
    assert cluster.buried == [GONE]
    assert await one.beat() == {"n1"}


async def test_one_that_says_nothing_of_itself_has_no_name(cluster: Cluster) -> None:
    one = cluster.nodes("n1")
    cluster.redis.state.heard["n2"] = cluster.redis.now
    await one.beat()
    assert one.name_of("n2") == "?"
