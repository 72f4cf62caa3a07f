"""Clients that are sent away or put into rooms, wherever they are connected."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from gtower_realtime.errors import Forbidden, StoreUnavailable, UnknownClient
from gtower_realtime.ports import Target
from tests.common_log import Cluster, Process

pytestmark = pytest.mark.gen_test


async def two(**options: Any) -> tuple[Cluster, Process, Process]:
    """Return two processes; c1 is connected to the first and c2 to the second, both of user u1."""
    cluster = Cluster("n1", "n2", **options)
    await cluster.connect("n1", "c1", user_id="u1")
    await cluster.connect("n2", "c2", user_id="u1")
    for process in cluster.processes.values():
        process.transport.forget()
    return cluster, *cluster.processes.values()


async def done(cluster: Cluster, work: Awaitable[Any]) -> Any:
    """Return what work has come to, once all have heard of it."""
    doing = asyncio.ensure_future(work)
    await cluster.settle()
    return await doing


async def test_a_client_of_another_process_is_put_into_a_room_and_taken_out() -> None:
    cluster, one, other = await two()
    await done(cluster, one.service.control.put_into_room("c2", "sales"))
    assert other.transport.rooms_of("c2") == ["user:u1", "sales"]
    assert one.service.directory.room("sales")["clients"] == 1
    await done(cluster, one.service.control.take_out_of_room("c2", "sales"))
    assert other.events_of("c2") == ["roomJoined", "roomLeft"]
    assert one.service.directory.room("sales")["clients"] == 0
    assert one.peers.asked == ["put into room", "take out of room"]


async def test_a_client_here_is_put_into_a_room_without_asking_anybody() -> None:
    cluster, one, _ = await two()
    await done(cluster, one.service.control.put_into_room("c1", "sales"))
    assert one.transport.rooms_of("c1") == ["user:u1", "sales"]
    assert (one.peers.asked, one.peers.roll_calls) == ([], 0)


async def test_what_the_other_process_refuses_is_refused_here() -> None:
    cluster, one, _ = await two()
    with pytest.raises(Forbidden):
        await done(cluster, one.service.control.put_into_room("c2", "user:u9"))


async def test_a_client_that_nobody_knows_is_looked_for_and_unknown() -> None:
    cluster, one, _ = await two()
    for work in (
        one.service.control.put_into_room("c9", "sales"),
        one.service.control.disconnect_client("c9", "bye", reconnect=False),
    ):
        with pytest.raises(UnknownClient, match="c9"):
            await done(cluster, work)
    assert one.peers.roll_calls == 2


async def test_a_client_of_another_process_is_sent_away_and_cannot_come_back() -> None:
    cluster, one, other = await two()
    assert await done(
        cluster, one.service.control.disconnect_client("c2", "bye", reconnect=False)
    ) == (1, None)
    assert other.transport.closed == {"c2": (4003, "bye")}
    for process in (one, other):
        assert process.sessions.of_client("c2") is None


async def test_a_client_that_may_return_keeps_its_session() -> None:
    cluster, one, other = await two()
    assert await done(
        cluster, one.service.control.disconnect_client("c2", "again", reconnect=True)
    ) == (1, None)
    assert other.transport.closed == {"c2": (4200, "again")}
    assert one.sessions.of_client("c2") is not None


async def test_one_that_is_away_is_sent_away_by_any_process() -> None:
    cluster, one, other = await two()
    other.cut("c2")
    await cluster.settle()
    assert await done(
        cluster, one.service.control.disconnect_client("c2", "bye", reconnect=False)
    ) == (0, None)
    assert other.sessions.of_client("c2") is None
    assert one.peers.asked == []


async def test_all_connections_of_a_user_are_cut_at_all_processes() -> None:
    cluster, one, other = await two()
    await cluster.connect("n2", "c3")
    assert await done(
        cluster, one.service.control.disconnect_user("u1", "bye", reconnect=False)
    ) == (2, None)
    assert one.transport.closed.keys() == {"c1"}
    assert other.transport.closed.keys() == {"c2"}
    assert {session.client_id for session in one.sessions} == {"c3"}


async def test_a_process_that_does_not_tell_is_missing() -> None:
    cluster, one, other = await two()
    other.peers.is_silent = True
    cut, missing = await done(
        cluster, one.service.control.disconnect_user("u1", "bye", reconnect=False)
    )
    assert (cut, missing) == (1, ("n2",))
    # That nobody comes back is in the log all the same.
    assert other.sessions.of_client("c2") is None


async def test_a_client_that_is_not_known_while_redis_is_away_is_not_said_to_be_nowhere() -> None:
    cluster, one, _ = await two()
    one.peers.is_cut_off = True
    for work in (
        one.service.control.put_into_room("c9", "sales"),
        one.service.control.disconnect_client("c9", "bye", reconnect=False),
        one.service.send("ping", {}, Target.client("c9")),
    ):
        with pytest.raises(StoreUnavailable, match="not known while Redis is away"):
            await done(cluster, work)
    assert (await done(cluster, one.service.send("ping", {}, Target.client("c1")))).recipients == 1
