"""What people who watch are shown, on fakes."""

import os
import platform
from datetime import timedelta

import pytest

from gtower_realtime import __version__
from gtower_realtime.monitor import Node, Nodes
from gtower_realtime.ports import Target
from tests.fakes import NOW, TS, make_world


@pytest.mark.gen_test
async def test_events_are_noted_only_while_somebody_watches() -> None:
    world = await make_world()
    monitor = world.service.monitor
    await world.service.send("before", {}, Target.room("sales"))
    monitor.start()
    await world.service.send("meanwhile", {}, Target.room("sales"))
    monitor.stop()
    await world.service.send("after", {}, Target.room("sales"))
    monitor.start()
    assert monitor.events() == {"events": [], "skipped": 0}


@pytest.mark.gen_test
async def test_an_event_is_shown_with_its_target_and_receipt() -> None:
    world = await make_world()
    await world.connect("ana", "ben")
    monitor = world.service.monitor
    monitor.start()
    receipt = await world.service.send(
        "dealWon", {"deal": 7}, Target(rooms=("sales",), everyone=True, excluded=frozenset({"ben"}))
    )
    data = f'{{"deal":7,"timestamp":"{TS}"}}'
    assert monitor.events()["events"] == [
        {
            "event": "dealWon",
            "target": {"rooms": ["sales"], "all": True, "except": ["ben"]},
            "id": receipt.id,
            "recipients": 1,
            "pending": 0,
            "offset": str(world.offset(1)),
            "bytes": len(data),
            "data": data,
            "timestamp": TS,
        }
    ]


@pytest.mark.gen_test
async def test_of_too_many_events_the_newest_are_shown_and_the_others_counted() -> None:
    world = await make_world()
    monitor = world.service.monitor
    monitor.start()
    for number in range(203):
        await world.service.send(f"e{number}", {}, Target.all())
    seen = monitor.events()
    assert [event["event"] for event in seen["events"]] == [f"e{n}" for n in range(3, 203)]
    assert seen["skipped"] == 3
    assert monitor.events() == {"events": [], "skipped": 0}


@pytest.mark.gen_test
async def test_long_data_is_cut() -> None:
    world = await make_world()
    monitor = world.service.monitor
    monitor.start()
    await world.service.send("long", {"text": "ä" * 1000}, Target.all())
    (event,) = monitor.events()["events"]
    assert event["data"] == '{"text":"' + "ä" * 291
    assert event["bytes"] > 2000


@pytest.mark.gen_test
async def test_slow_clients_are_named_and_those_with_a_little_are_not() -> None:
    world = await make_world()
    await world.connect("ana", "ben", "cem")
    world.transport.waiting = {"ana": 16_384, "ben": 900_000, "cem": 16_383}
    assert world.service.monitor.numbers()["slow"] == [
        {"clientId": "ben", "bytes": 900_000},
        {"clientId": "ana", "bytes": 16_384},
    ]


@pytest.mark.gen_test
async def test_samples_have_their_labels_as_prometheus_writes_them() -> None:
    world = await make_world()
    await world.connect("ana")
    await world.service.send("dealWon", {}, Target.all())
    numbers = world.service.monitor.numbers()
    assert numbers["status"] == "active"
    assert numbers["samples"]["gtower_clients"] == 1
    assert numbers["samples"]['gtower_events_published_total{event="custom"}'] == 1


@pytest.mark.gen_test
async def test_a_process_alone_is_the_only_node() -> None:
    world = await make_world()
    await world.connect("ana", "ben")
    world.clock.advance(60)
    numbers = world.service.monitor.numbers()
    here = {
        "name": f"{platform.node()}:{os.getpid()}",
        "version": __version__,
        "startedAt": TS,
        "clients": 2,
        "isHere": True,
        "lastSeenMs": 0,
    }
    assert (numbers["redis"], numbers["nodes"], numbers["node"]) == ("none", [here], here)


@pytest.mark.gen_test
async def test_of_a_cluster_all_nodes_are_told() -> None:
    world = await make_world()
    monitor = world.service.monitor
    bee = Node("bee:3002", "0.1.1", NOW, 4, is_here=False, last_seen_ms=900)
    ant = Node("ant:3001", "0.1.0", NOW - timedelta(hours=1), 3, is_here=True, last_seen_ms=0)
    monitor.nodes = lambda: Nodes("alone", (bee, ant))
    numbers = monitor.numbers()
    assert numbers["redis"] == "alone"
    assert numbers["nodes"] == [
        {
            "name": "bee:3002",
            "version": "0.1.1",
            "startedAt": TS,
            "clients": 4,
            "isHere": False,
            "lastSeenMs": 900,
        },
        {
            "name": "ant:3001",
            "version": "0.1.0",
            "startedAt": "2026-11-23T11:28:18.953Z",
            "clients": 3,
            "isHere": True,
            "lastSeenMs": 0,
        },
    ]
    assert numbers["node"]["name"] == "ant:3001"
