"""Reads that every process can answer a part of, put together."""

from typing import Any

import pytest

from gtower_realtime.ports import Target
from gtower_realtime.publishing import Receipt
from tests.common_log import Cluster, Process
from tests.fakes import TS

pytestmark = pytest.mark.gen_test


async def two() -> tuple[Cluster, Process, Process]:
    """Return two processes; c1 and c3 are connected to the first, c2 and c4 to the second."""
    cluster = Cluster("n1", "n2")
    await cluster.connect("n1", "c1", "c3")
    await cluster.connect("n2", "c2", "c4")
    return cluster, *cluster.processes.values()


async def publish(cluster: Cluster, process: Process, target: Target) -> Receipt:
    published = process.service._publisher.publish("tick", {}, target)
    await cluster.settle()
    return await published


async def trace(process: Process, receipt: Receipt, **asked: Any) -> dict[str, Any]:
    event = process.service.traces.find(receipt.id)
    return await process.service.gathering.trace(event, **asked)


def ids(told: dict[str, Any]) -> list[str]:
    return [entry["clientId"] for entry in told["clients"]]


async def test_a_trace_has_the_clients_of_all_processes_at_whichever_it_is_asked() -> None:
    cluster, one, other = await two()
    receipt = await publish(cluster, one, Target.all())
    expected = {
        "id": receipt.id,
        "event": "tick",
        "offset": str(receipt.offset),
        "target": {"all": True},
        "timestamp": TS,
        "recipients": 4,
        "pending": 0,
        "clients": [
            {"clientId": client_id, "state": "written"} for client_id in ("c1", "c2", "c3", "c4")
        ],
        "more": False,
    }
    assert await trace(one, receipt) == expected
    assert await trace(other, receipt) == expected


async def test_a_trace_is_paged_by_ids_across_processes() -> None:
    cluster, one, other = await two()
    receipt = await publish(cluster, one, Target.all())
    first = await trace(one, receipt, limit=3)
    assert (ids(first), first["more"]) == (["c1", "c2", "c3"], True)
    rest = await trace(other, receipt, after="c3", limit=3)
    assert (ids(rest), rest["more"]) == (["c4"], False)
    exact = await trace(one, receipt, limit=4)
    assert exact["more"] is False


async def test_the_process_that_has_had_a_client_says_why_it_was_not_for_it() -> None:
    cluster, one, other = await two()
    receipt = await publish(cluster, one, Target.room("sales"))
    entry = {"clientId": "c2", "state": "not_matched", "reason": "not in the room"}
    for process in (one, other):
        assert (await trace(process, receipt, client_id="c2"))["clients"] == [entry]
        assert (await trace(process, receipt, client_id="c9"))["clients"] == [
            {"clientId": "c9", "state": "not_matched", "reason": "unknown client"}
        ]


async def test_who_is_silent_is_missing_from_a_trace() -> None:
    cluster, one, other = await two()
    receipt = await publish(cluster, one, Target.all())
    other.peers.is_silent = True
    told = await trace(one, receipt)
    assert (ids(told), told["recipients"]) == (["c1", "c3"], 2)
    assert (told["partial"], told["nodesMissing"]) == (True, ["n2"])


async def test_a_process_that_does_not_know_the_event_has_nothing_to_say() -> None:
    cluster, one, other = await two()
    receipt = await publish(cluster, one, Target.all())
    other.service.traces._by_id.clear()
    told = await trace(one, receipt)
    assert ids(told) == ["c1", "c3"]
    assert "partial" not in told


async def test_an_event_that_is_just_forgotten_is_told_of_all_the_same() -> None:
    cluster, one, _ = await two()
    receipt = await publish(cluster, one, Target.all())
    event = one.service.traces.find(receipt.id)
    one.service.traces._by_id.clear()
    told = await one.service.gathering.trace(event)
    assert ids(told) == ["c1", "c2", "c3", "c4"]


async def test_a_single_process_answers_by_itself() -> None:
    cluster = Cluster("n1")
    one = cluster.processes["n1"]
    await cluster.connect("n1", "c2", "c1")
    receipt = await publish(cluster, one, Target.all())
    assert ids(await trace(one, receipt)) == ["c2", "c1"]
    assert one.peers.asked == []


async def test_what_all_have_counted_in_a_minute_is_added_up() -> None:
    cluster, one, other = await two()
    await publish(cluster, one, Target.all())
    await publish(cluster, other, Target.client("c1"))
    told = [
        await process.service.gathering.points(start=None, end=None) for process in (one, other)
    ]
    assert told[0] == told[1]
    [point] = told[0]["points"]
    assert (point["connections"], point["events"]) == (4, {"tick": 2})
    other.peers.is_silent = True
    partial = await one.service.gathering.points(start=None, end=None)
    assert partial["points"][0]["connections"] == 2
    assert (partial["partial"], partial["nodesMissing"]) == (True, ["n2"])


async def test_minutes_that_not_all_have_counted_are_in_order() -> None:
    cluster, one, other = await two()
    cluster.clock.advance(60)
    one.service.analytics.tick()
    told = await one.service.gathering.points(start=None, end=None)
    assert [point["at"] for point in told["points"]] == sorted(
        {point["at"] for point in told["points"]}
    )
    assert len(told["points"]) == 2
    assert len((await other.service.gathering.points(start=None, end=None))["points"]) == 2


async def test_it_waits_until_what_happened_elsewhere_is_known() -> None:
    _, one, other = await two()
    assert await one.service.gathering.roll_call() is None
    other.peers.is_silent = True
    assert await one.service.gathering.roll_call() == ("n2",)
    assert one.peers.roll_calls == 2
