"""Whatever clients and processes do, and however late each hears of it, all agree in the end."""

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gtower_realtime.ports import Offset, Target
from gtower_realtime.recovery import Claim
from tests.common_log import EPOCH, Cluster, Process

NODES = ["n1", "n2", "n3"]
CLIENTS = ["a", "b", "c"]
ROOMS = ["sales", "news"]

nodes = st.sampled_from(NODES)
clients = st.sampled_from(CLIENTS)
steps_of_processes = st.lists(
    st.one_of(
        st.tuples(st.just("connect"), clients, nodes),
        st.tuples(st.sampled_from(["join", "leave"]), clients, st.sampled_from(ROOMS)),
        st.tuples(st.sampled_from(["cut", "goodbye", "revoke"]), clients, st.none()),
        st.tuples(st.just("return"), clients, nodes),
        st.tuples(st.just("publish"), nodes, st.sampled_from(ROOMS)),
        st.tuples(st.just("hear"), nodes, st.integers(1, 4)),
        st.tuples(st.just("turn"), nodes, st.none()),
        st.tuples(st.just("kill"), nodes, st.none()),
    ),
    max_size=40,
)


class Model:
    """Clients that connect to any of three processes, and come back to any other."""

    def __init__(self) -> None:
        self.cluster = Cluster(*NODES, presence_rooms=["sales"])
        self.connecting: list[asyncio.Task[Any]] = []
        self.begun: set[str] = set()
        self.pids: dict[str, tuple[str, str]] = {}
        """What each client comes back with: its secret and its offset."""

    def where(self, client: str) -> list[Process]:
        """Return the processes that believe to have a connection of a client, newest last."""
        return [one for one in self.cluster.processes.values() if client in one.clients]

    def learn(self) -> None:
        """Let clients remember their secrets."""
        for process in self.cluster.processes.values():
            for client in process.clients:
                session = process.sessions.of_client(client.id)
                if session is not None:
                    offset = Offset(EPOCH, session.opened_at_number)
                    self.pids[client.id] = session.pid, str(offset)

    async def do(self, step: str, what: Any, more: Any) -> None:
        processes = self.cluster.processes
        if step == "hear":
            for _ in range(more if what in processes else 0):
                processes[what].log.step()
        elif step == "turn":
            await asyncio.sleep(0)
        elif step == "kill" and len(processes) == len(NODES):
            self.cluster.kill(what)
        elif step == "publish" and what in processes:
            processes[what].service._publisher.publish("tick", {}, Target.room(more))
        elif step in ("connect", "return") and more in processes:
            self.come(step, what, processes[more])
        elif step in ("join", "leave", "cut", "goodbye", "revoke"):
            for process in self.where(what)[:1]:
                self.act(step, what, process, more)
        self.learn()

    def come(self, step: str, client: str, process: Process) -> None:
        if step == "return" and client in self.pids:
            # Who is not known any more is a new client, and always another.
            new_id = f"{client}{len(self.connecting)}"
            self.connecting.append(process.call(new_id, Claim(*self.pids[client])))
        elif step == "connect" and client not in self.begun:
            self.begun.add(client)
            self.connecting.append(process.call(client))

    def act(self, step: str, client: str, process: Process, room: str) -> None:
        service = process.service
        if step == "join":
            service.join_room(client, room)
        elif step == "leave":
            service.leave_room(client, room)
        elif step == "revoke":
            session = process.sessions.of_client(client)
            if session is not None:
                service._connections.revoke(session)
        else:
            process.cut(client, may_return=step == "cut")


def sessions_at(process: Process) -> dict[str, Any]:
    return {
        session.client_id: (
            session.pid,
            session.node or process.node,
            session.opened_at_number,
            session.away_since,
            session.memberships,
        )
        for session in process.sessions
    }


def away_at(process: Process) -> list[int]:
    return [process.sessions.count_away(Target.room(room)) for room in (*ROOMS, *CLIENTS)]


def clients_at(process: Process) -> list[dict[str, Any]]:
    # All have come at the same time: then the order is not the same everywhere.
    listed = process.service.directory.clients()
    return sorted(listed, key=lambda client: str(client["id"]))


async def check(steps: list[tuple[str, Any, Any]]) -> None:
    model = Model()
    for step in steps:
        await model.do(*step)
    await model.cluster.settle()
    for connecting in model.connecting:
        connecting.cancel()  # only of a process that was killed any is left
    first, *others = model.cluster.processes.values()
    for other in others:
        assert sessions_at(other) == sessions_at(first)
        assert away_at(other) == away_at(first)
        assert clients_at(other) == clients_at(first)
        assert other.service.directory.rooms() == first.service.directory.rooms()
    for process in model.cluster.processes.values():
        check_that_members_are_where_their_sessions_say(process)


def check_that_members_are_where_their_sessions_say(process: Process) -> None:
    for client in process.clients:
        session = process.sessions.of_client(client.id)
        if session is not None:
            assert (session.node, session.away_since) == (None, None)
            assert set(process.transport.rooms_of(client.id)) == set(session.rooms())


@settings(max_examples=150, deadline=None)
@given(steps=steps_of_processes)
def test_all_processes_agree_on_who_is_where_and_whose_session_it_is(
    steps: list[tuple[str, Any, Any]],
) -> None:
    asyncio.run(check(steps))
