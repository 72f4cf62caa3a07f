"""Sessions as Redis keeps them."""

from types import SimpleNamespace

import pytest

from gtower_realtime.cluster import kept_sessions as module
from gtower_realtime.cluster.kept_sessions import KeptSessions
from gtower_realtime.cluster.link import RedisAway
from gtower_realtime.cluster.wire import read_session
from gtower_realtime.sessions import Session, Sessions
from tests.fake_redis import FakeLink, FakeRedis
from tests.fakes import NOW_MS

pytestmark = pytest.mark.gen_test


class Keeping:
    """Sessions of the process n1, and the Redis that keeps them for 120 s after the last."""

    def __init__(self) -> None:
        self.redis = FakeRedis()
        self.sessions = Sessions()
        self.kept = KeptSessions(
            node="n1",
            link=FakeLink(self.redis, "n1"),  # type: ignore[arg-type]
            sessions=self.sessions,
            recovery_seconds=120.0,
            now=lambda: NOW_MS,
        )

    def open(self, client_id: str) -> Session:
        session = Session.open(client_id, "/", None, 3)
        self.sessions.add(session)
        self.kept.changed(client_id)
        return session

    @property
    def lifetimes(self) -> dict[str, int]:
        """For how many milliseconds the clients' sessions are kept."""
        return {
            key.removeprefix("gtower:session:"): milliseconds
            for key, milliseconds in self.redis.lifetimes.items()
            if key in self.redis.values
        }


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Give the monotonic time, to be changed."""
    now = [1000.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


async def test_a_session_is_kept_as_it_is_and_as_of_when() -> None:
    keeping = Keeping()
    session = keeping.open("c1")
    session.enter("sales", 5)
    await keeping.kept.keep(9)
    [text] = keeping.redis.values.values()
    assert read_session(text) == (session.stored(), "n1", 9)
    assert keeping.lifetimes == {"c1": 240_000}


async def test_only_what_has_changed_is_kept_anew() -> None:
    keeping = Keeping()
    keeping.open("c1")
    keeping.open("c2")
    await keeping.kept.keep(9)
    keeping.redis.values.clear()
    keeping.kept.changed("c2")
    await keeping.kept.keep(10)
    assert keeping.lifetimes == {"c2": 240_000}


async def test_a_session_that_has_ended_is_deleted() -> None:
    keeping = Keeping()
    session = keeping.open("c1")
    await keeping.kept.keep(9)
    keeping.sessions.remove(session)
    keeping.kept.changed("c1")
    await keeping.kept.keep(10)
    assert keeping.redis.values == {}


async def test_a_session_that_another_process_has_taken_is_left_to_that_one() -> None:
    keeping = Keeping()
    session = keeping.open("c1")
    await keeping.kept.keep(9)
    kept = dict(keeping.redis.values)
    session.node = "n2"
    session.enter("sales", 10)
    keeping.kept.changed("c1")
    await keeping.kept.keep(11)
    assert keeping.redis.values == kept


async def test_one_that_is_away_is_kept_until_it_has_expired_everywhere() -> None:
    keeping = Keeping()
    for client_id, since in (("c1", NOW_MS - 20_000), ("c2", NOW_MS - 500_000)):
        keeping.sessions.mark_away(keeping.open(client_id), since)
    await keeping.kept.keep(9)
    assert keeping.lifetimes == {"c1": 110_000, "c2": 1}


async def test_what_could_not_be_kept_is_kept_the_next_time() -> None:
    keeping = Keeping()
    keeping.open("c1")
    keeping.redis.go_away()
    with pytest.raises(RedisAway):
        await keeping.kept.keep(9)
    keeping.redis.come_back()
    keeping.open("c2")
    await keeping.kept.keep(10)
    assert set(keeping.lifetimes) == {"c1", "c2"}


async def test_after_redis_has_lost_them_all_are_kept() -> None:
    keeping = Keeping()
    keeping.open("c1")
    keeping.open("c2").node = "n2"
    await keeping.kept.keep(9)
    keeping.redis.set_back()
    keeping.kept.all_changed()
    await keeping.kept.keep(10)
    assert set(keeping.lifetimes) == {"c1"}


async def test_whoever_is_connected_is_kept_for_longer_once_a_minute(seconds: list[float]) -> None:
    keeping = Keeping()
    keeping.open("c1")
    keeping.open("c2")
    await keeping.kept.keep(9)
    keeping.sessions.mark_away(keeping.sessions.of_client("c2"), NOW_MS)  # type: ignore[arg-type]
    keeping.redis.lifetimes.clear()
    seconds[0] += 59
    await keeping.kept.keep(10)
    assert keeping.lifetimes == {}
    seconds[0] += 1
    await keeping.kept.keep(11)
    assert keeping.lifetimes == {"c1": 240_000}
    keeping.redis.lifetimes.clear()
    await keeping.kept.keep(12)
    assert keeping.lifetimes == {}
