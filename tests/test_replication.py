"""What others record, as it takes effect here: sessions, clients, rooms, presence, events."""

from typing import Any

import pytest

from gtower_realtime.ports import Offset, Target
from gtower_realtime.recovery import Claim
from gtower_realtime.sessions import Session
from tests.common_log import EPOCH, Cluster, Process
from tests.fakes import TS

pytestmark = pytest.mark.gen_test


def two(**options: Any) -> tuple[Cluster, Process, Process]:
    cluster = Cluster("n1", "n2", **options)
    return cluster, *cluster.processes.values()


def session_at(process: Process, client_id: str) -> Session:
    session = process.sessions.of_client(client_id)
    assert session is not None
    return session


def claim_of(process: Process, client_id: str) -> Claim:
    """Return what a client that was connected to a process says when it comes back."""
    pid = session_at(process, client_id).pid
    return Claim(pid, str(Offset(EPOCH, process.log.last_number)))


# Clients elsewhere


async def test_a_client_is_known_everywhere_with_all_that_is_told_of_it() -> None:
    cluster, one, other = two()
    await cluster.connect("n1", "c1", user_id="u1")
    await cluster.join("n1", "sales", "c1")
    expected = [
        {
            "id": "c1",
            "connectedAt": TS,
            "metadata": {"ip": "192.0.2.1"},
            "rooms": ["user:u1", "sales"],
            "transport": "websocket",
            "userId": "u1",
        }
    ]
    assert one.service.directory.clients() == expected
    assert other.service.directory.clients() == expected
    assert other.service.directory.client_status("c1")["connected"] is True
    assert other.service.directory.user("u1") == {
        "userId": "u1",
        "connected": True,
        "clients": ["c1"],
    }


async def test_clients_here_hear_of_those_elsewhere_once() -> None:
    cluster, one, other = two()
    await cluster.connect("n2", "c2")
    await cluster.connect("n1", "c1")
    await cluster.join("n1", "sales", "c1")
    one.cut("c1", may_return=False)
    await cluster.settle()
    heard = [
        (event, payload["clientId"])
        for event, payload in other.transport.connections["c2"].received
        if event in ("clientJoined", "clientLeft")
    ]
    assert heard == [("clientJoined", "c1"), ("clientLeft", "c1")]


async def test_presence_is_told_of_members_elsewhere() -> None:
    cluster, one, other = two(presence_rooms=["desk:"])
    await cluster.connect("n2", "c2")
    await cluster.join("n2", "desk:1", "c2")
    other.transport.forget()
    await cluster.connect("n1", "c1", user_id="u1")
    await cluster.join("n1", "desk:1", "c1")
    cluster.clock.advance(1)
    other.service.tell_presence()
    joins = [p["joins"] for e, p in other.transport.connections["c2"].received if e == "presence"]
    assert joins == [[{"clientId": "c1", "userId": "u1"}]]
    other.transport.forget()
    one.service.leave_room("c1", "desk:1")
    await cluster.settle()
    cluster.clock.advance(4)
    other.service.tell_presence()
    left = [p["leaves"] for e, p in other.transport.connections["c2"].received if e == "presence"]
    assert left == [[{"clientId": "c1", "userId": "u1"}]]
    assert other.service.list_present("desk:1")["clients"] == [{"clientId": "c2"}]


# Events


async def test_an_event_reaches_who_it_is_for_at_every_process() -> None:
    cluster, one, other = two()
    await cluster.connect("n1", "c1")
    await cluster.connect("n2", "c2", "c3")
    await cluster.join("n2", "sales", "c2")
    sending = one.service._publisher.publish("dealWon", {"n": 1}, Target.room("sales"))
    await cluster.settle()
    assert (await sending).recipients == 0
    assert "dealWon" in other.events_of("c2")
    assert "dealWon" not in other.events_of("c3")
    assert other.transport.connections["c2"].offsets[-1] == Offset(EPOCH, one.log.last_number)


# Sessions


async def test_a_session_is_the_same_everywhere_but_for_whose_it_is() -> None:
    cluster, one, other = two()
    await cluster.connect("n1", "c1")
    await cluster.join("n1", "sales", "c1")
    assert session_at(one, "c1").stored() == session_at(other, "c1").stored()
    assert (session_at(one, "c1").node, session_at(other, "c1").node) == (None, "n1")
    one.cut("c1")
    await cluster.settle()
    assert session_at(other, "c1").away_since == session_at(one, "c1").away_since is not None
    assert other.sessions.count_away(Target.room("sales")) == 1
    one.service.end_expired_sessions()
    cluster.clock.advance(121)
    for process in (one, other):
        process.service.end_expired_sessions()
        assert process.sessions.of_client("c1") is None


async def test_a_client_comes_back_to_another_process_with_its_rooms_and_what_it_missed() -> None:
    cluster, one, other = two()
    await cluster.connect("n1", "c1")
    await cluster.join("n1", "sales", "c1")
    claim = claim_of(one, "c1")
    one.cut("c1")
    one.service._publisher.publish("dealWon", {"n": 1}, Target.room("sales"))
    coming = other.call("new", claim)
    await cluster.settle()
    caller = await coming
    assert (caller.client_id, caller.pid) == ("c1", claim.pid)
    assert other.transport.rooms_of("c1") == ["sales"]
    assert other.events_of("c1") == ["connected", "dealWon"]
    assert (session_at(one, "c1").node, session_at(other, "c1").node) == ("n2", None)
    for process in (one, other):
        assert session_at(process, "c1").away_since is None
        assert [client["id"] for client in process.service.directory.clients()] == ["c1"]


async def test_a_connection_that_still_looks_alive_is_cut_when_its_client_is_elsewhere() -> None:
    cluster, one, other = two()
    await cluster.connect("n1", "c1", "c2")
    claim = claim_of(one, "c1")
    one.transport.forget()
    coming = other.call("new", claim)
    await cluster.settle()
    await coming
    assert one.transport.released == ["c1"]
    assert "c1" not in one.clients
    # It has gone there and come here: in this order.
    assert one.events_of("c2") == ["clientLeft", "clientJoined"]
    assert other.service.directory.clients() == one.service.directory.clients()


async def test_a_connection_that_still_looks_alive_is_cut_when_its_client_begins_anew() -> None:
    cluster, one, other = two()
    await cluster.connect("n1", "c1")
    claim = claim_of(one, "c1")
    coming = other.call("new", Claim(claim.pid, str(Offset("another", 1))))
    await cluster.settle()
    await coming
    assert one.transport.released == ["c1"]
    for process in (one, other):
        assert [client["id"] for client in process.service.directory.clients()] == ["new"]


async def test_what_the_old_process_says_late_changes_nothing() -> None:
    cluster, one, other = two()
    await cluster.connect("n1", "c1")
    await cluster.join("n1", "sales", "c1")
    claim = claim_of(one, "c1")
    coming = other.call("new", claim)
    await cluster.settle("n2")
    assert "c1" in other.clients
    one.cut("c1")  # it has not read yet that its client is elsewhere
    await cluster.settle()
    await coming
    for process in (one, other):
        assert session_at(process, "c1").away_since is None
        assert process.service.directory.is_connected("c1")
        assert process.sessions.count_away(Target.room("sales")) == 0


async def test_the_end_of_a_session_is_the_end_everywhere() -> None:
    cluster, one, other = two()
    await cluster.connect("n1", "c1")
    claim = claim_of(one, "c1")
    one.cut("c1", may_return=False)
    await cluster.settle()
    assert other.sessions.of_client("c1") is None
    coming = other.call("new", claim)
    await cluster.settle()
    assert (await coming).client_id == "new"
    assert other.transport.connections["new"].received[0][1]["reason"] == "expired"


async def test_a_revoked_session_is_revoked_everywhere() -> None:
    cluster, one, other = two()
    await cluster.connect("n1", "c1")
    claim = claim_of(one, "c1")
    revoked = one.service._connections.revoke(session_at(one, "c1"))
    await cluster.settle()
    await revoked
    coming = other.call("new", claim)
    await cluster.settle()
    await coming
    assert other.transport.connections["new"].received[0][1]["reason"] == "revoked"


async def test_clients_of_a_dead_process_are_gone_and_may_come_back() -> None:
    cluster, one, other = two()
    await cluster.connect("n1", "c1")
    await cluster.join("n1", "sales", "c1")
    await cluster.connect("n2", "c2")
    other.transport.forget()
    claim = claim_of(one, "c1")
    cluster.kill("n1")
    await cluster.settle()
    assert other.events_of("c2") == ["clientLeft"]
    assert [client["id"] for client in other.service.directory.clients()] == ["c2"]
    assert other.sessions.count_away(Target.room("sales")) == 1
    coming = other.call("new", claim)
    await cluster.settle()
    assert (await coming).client_id == "c1"
    assert other.sessions.count_away(Target.room("sales")) == 0


async def test_all_are_sent_away_when_what_was_for_them_is_not_known() -> None:
    cluster, one, _ = two()
    await cluster.connect("n1", "c1", "c2")
    one.service.replication.begin_anew()
    await cluster.settle()
    code, _ = one.transport.closed["c1"]
    assert (code, one.transport.closed.keys()) == (4200, {"c1", "c2"})
    assert list(one.sessions) == []


# Traces


async def test_of_a_session_that_ends_elsewhere_the_trail_ends_here() -> None:
    cluster, one, other = two()
    await cluster.connect("n1", "c1")
    claim = claim_of(one, "c1")
    one.cut("c1")
    coming = other.call("new", claim)
    await cluster.settle()
    await coming
    other.cut("c1", may_return=False)
    await cluster.settle()
    trail = one.service._trails.of_client("c1")
    # Without an end it would be kept for ever.
    assert trail is not None
    assert trail.ended is not None
