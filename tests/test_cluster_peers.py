"""What processes ask and tell each other, through inboxes in memory and at virtual times."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import Any

import pytest

from gtower_realtime.ack_waits import AckWaits
from gtower_realtime.cluster.nodes import Nodes
from gtower_realtime.cluster.peers import ClusterPeers
from gtower_realtime.errors import Forbidden, InternalError, Overloaded, UnknownClient
from gtower_realtime.futures import cancelled
from gtower_realtime.peers import Told
from gtower_realtime.records import EventAcknowledged, EventRelayed, SharedChange
from tests.fake_redis import FakeLink, FakeRedis
from tests.fakes import an_event
from tests.virtual_time import run_virtually


def virtual(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test at virtual times."""

    @wraps(test)
    def run(**fixtures: Any) -> None:
        async def whole() -> None:
            await test(**fixtures)

        run_virtually(whole())

    return run


class FakeLog:
    """A log as peers see it."""

    def __init__(self) -> None:
        self.last_number = 0
        self.is_cut_off = False
        self.told: list[list[SharedChange]] = []
        self.settles = 0
        self.reached: list[tuple[int, float]] = []

    def tell(self, changes: list[SharedChange]) -> None:
        self.told.append(changes)

    async def settled(self) -> None:
        self.settles += 1

    async def reach(self, number: int, seconds: float) -> None:
        self.reached.append((number, round(seconds, 3)))


class Process:
    """One of several processes that know each other."""

    def __init__(self, redis: FakeRedis, node: str, others: list[str]) -> None:
        self.node = node
        self.log = FakeLog()
        self.introductions = 0
        self._link = FakeLink(redis, node)
        nodes = Nodes(node, self._link, dict)  # type: ignore[arg-type]
        for other in others:
            nodes.heard(other, {"name": f"host-{other}:3000"})
        self.peers = ClusterPeers(
            link=self._link,  # type: ignore[arg-type]
            nodes=nodes,
            log=self.log,
            tell_changes=self._introduce,
        )
        self.tasks = [asyncio.create_task(self.peers.send())]

    def _introduce(self) -> None:
        self.introductions += 1

    def listen(self) -> None:
        """Read the inbox from now on."""
        self.tasks.append(asyncio.create_task(self._listen()))

    async def _listen(self) -> None:
        inbox_id = "0-0"
        while True:
            _, messages = await self._link.read("9999999999999-0", inbox_id)
            inbox_id = messages[-1][0]
            for _, text in messages:
                self.peers.hear(text)


class Cluster:
    """Processes n1, n2, …; those that are named in ``silent`` hear nothing."""

    def __init__(self, count: int = 3, silent: tuple[str, ...] = ()) -> None:
        self.redis = FakeRedis()
        names = [f"n{at + 1}" for at in range(count)]
        self.processes = {
            name: Process(self.redis, name, [other for other in names if other != name])
            for name in names
        }
        for name in names:
            if name not in silent:
                self.processes[name].listen()

    async def __aenter__(self) -> dict[str, Process]:
        return self.processes

    async def __aexit__(self, *_: object) -> None:
        await cancelled(task for one in self.processes.values() for task in one.tasks)


def now() -> float:
    return asyncio.get_running_loop().time()


# Events


@virtual
async def test_the_recipients_of_all_are_added_up() -> None:
    async with Cluster() as processes:
        one, two, three = processes.values()
        tally = one.peers.expect("p1", None)
        assert tally is not None
        two.peers.told("n1", "p1", 4, [])
        two.peers.told("n1", "another", 9, [])
        three.peers.told("n1", "p1", 3, [])
        two.peers.flush()
        three.peers.flush()
        began = now()
        assert await tally.outcome() == Told(7, None)
        assert now() - began < 0.01
        tally.end()


@virtual
async def test_who_does_not_tell_within_a_tenth_of_a_second_is_missing() -> None:
    async with Cluster(silent=("n3",)) as processes:
        one, two, _ = processes.values()
        tally = one.peers.expect("p1", None)
        assert tally is not None
        two.peers.told("n1", "p1", 4, [])
        two.peers.flush()
        began = now()
        assert await tally.outcome() == Told(4, ("host-n3:3000",))
        assert 0.08 <= now() - began < 0.09


@virtual
async def test_what_took_long_to_be_recorded_waits_less_for_the_others() -> None:
    async with Cluster(silent=("n3",)) as processes:
        one, *_ = processes.values()
        began = now()
        tally = one.peers.expect("p1", None)
        assert tally is not None
        await asyncio.sleep(0.05)
        await tally.outcome()
        assert 0.08 <= now() - began < 0.09
        tally = one.peers.expect("p2", None)
        assert tally is not None
        await asyncio.sleep(0.5)
        late = now()
        await tally.outcome()
        assert 0.02 <= now() - late < 0.03


@virtual
async def test_what_is_told_twice_or_by_a_stranger_counts_once_or_not_at_all() -> None:
    async with Cluster(2) as processes:
        one, two = processes.values()
        tally = one.peers.expect("p1", None)
        assert tally is not None
        for node in ("n9", "n2", "n2"):
            tally.hear(node, 5, [])
        assert await tally.outcome() == Told(5, None)
        two.peers.told("n9", "p1", 1, [])
        two.peers.flush()


@virtual
async def test_a_single_process_expects_nothing() -> None:
    async with Cluster(1) as processes:
        peers = processes["n1"].peers
        assert peers.count == 0
        assert peers.expect("p1", None) is None
        assert await peers.roll_call() is None
        assert await peers.ask_all("any", {}) == ([], None)


@virtual
async def test_without_redis_a_receipt_is_partial_at_once() -> None:
    async with Cluster(silent=("n2", "n3")) as processes:
        one = processes["n1"]
        one.log.is_cut_off = True
        tally = one.peers.expect("p1", None)
        assert tally is not None
        began = now()
        assert await tally.outcome() == Told(0, ("host-n2:3000", "host-n3:3000"))
        assert now() == began


@virtual
async def test_without_redis_also_one_that_knows_no_other_is_partial() -> None:
    async with Cluster(1) as processes:
        one = processes["n1"]
        one.log.is_cut_off = True
        tally = one.peers.expect("p1", None)
        assert tally is not None
        assert await tally.outcome() == Told(0, ())


@virtual
async def test_who_waits_when_redis_is_lost_waits_no_longer() -> None:
    async with Cluster(silent=("n2", "n3")) as processes:
        one = processes["n1"]
        tally = one.peers.expect("p1", None)
        assert tally is not None
        outcome = asyncio.ensure_future(tally.outcome())
        await asyncio.sleep(0.01)
        one.log.is_cut_off = True
        one.peers.abandon()
        began = now()
        assert await outcome == Told(0, ("host-n2:3000", "host-n3:3000"))
        assert now() - began < 0.001


@virtual
async def test_what_is_told_after_the_end_is_for_nobody() -> None:
    async with Cluster(2) as processes:
        one, two = processes.values()
        first = one.peers.expect("p1", None)
        second = one.peers.expect("p1", None)
        assert first is not None
        assert second is not None
        first.end()
        first.end()
        two.peers.told("n1", "p1", 2, [])
        two.peers.flush()
        # The same id once more: the one that is expected now hears it.
        assert await second.outcome() == Told(2, None)
        second.end()
        two.peers.told("n1", "p1", 2, [])
        two.peers.heard("n1", "p1", "c1", True)
        await asyncio.sleep(0.01)
        assert one.peers._tallies == {}


@virtual
async def test_acknowledgements_of_all_processes_are_waited_for() -> None:
    async with Cluster() as processes:
        one, two, three = processes.values()
        wait = AckWaits().begin(60.0, deliveries=3)
        tally = one.peers.expect("p1", wait)
        assert tally is not None
        wait.expect(["c1"])
        wait.acknowledge("c1")
        two.peers.told("n1", "p1", 2, ["c2", "c3"])
        # What is told of a client follows what is told of the event, whoever is quicker.
        two.peers.heard("n1", "p1", "c2", True)
        three.peers.told("n1", "p1", 0, [])
        three.peers.flush()
        assert await tally.outcome() == Told(2, None)
        assert not wait.outcome.done()
        two.peers.heard("n1", "p1", "c3", False)
        told = await wait.outcome
        assert (told.acked, told.timed_out, told.disconnected) == (["c1", "c2"], [], ["c3"])


@virtual
async def test_clients_of_one_that_does_not_tell_are_not_waited_for() -> None:
    async with Cluster(2, silent=("n2",)) as processes:
        one = processes["n1"]
        wait = AckWaits().begin(60.0, deliveries=2)
        tally = one.peers.expect("p1", wait)
        assert tally is not None
        wait.expect(["c1"])
        assert await tally.outcome() == Told(0, ("host-n2:3000",))
        wait.acknowledge("c1")
        assert (await wait.outcome).acked == ["c1"]


@virtual
async def test_what_is_not_stored_is_relayed_while_redis_is_there() -> None:
    async with Cluster(2) as processes:
        one = processes["n1"]
        event = an_event(0)
        one.peers.relay(event, droppable=True)
        one.log.is_cut_off = True
        one.peers.relay(event, droppable=False)
        assert one.log.told == [[EventRelayed(event, is_droppable=True)]]


@virtual
async def test_what_a_client_has_is_told_to_others_if_there_are_any() -> None:
    async with Cluster(2) as processes:
        processes["n1"].peers.acknowledged("c1", 7)
        assert processes["n1"].log.told == [[EventAcknowledged("c1", 7)]]
    async with Cluster(1) as processes:
        processes["n1"].peers.acknowledged("c1", 7)
        assert processes["n1"].log.told == []


# Questions


def answering(told: dict[str, Any]) -> Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]]:
    async def answer(said: Mapping[str, Any]) -> dict[str, Any]:
        return {**told, "said": said}

    return answer


async def hanging(_said: Mapping[str, Any]) -> dict[str, Any]:
    await asyncio.sleep(3600)
    return {}


async def refusing(_said: Mapping[str, Any]) -> dict[str, Any]:
    raise Forbidden("Not here.", fields={"room": ["x"]})


async def failing(_said: Mapping[str, Any]) -> dict[str, Any]:
    raise LookupError("secret")


@virtual
async def test_one_is_asked_and_answers() -> None:
    async with Cluster() as processes:
        one, two, _ = processes.values()
        two.peers.answer("where", answering({"at": "two"}))
        assert await one.peers.ask("n2", "where", {"x": 1}) == {"at": "two", "said": {"x": 1}}


@virtual
async def test_many_questions_at_once_get_their_own_answers() -> None:
    async with Cluster(2) as processes:
        one, two = processes.values()

        async def slowly(said: Mapping[str, Any]) -> dict[str, Any]:
            await asyncio.sleep((5 - said["n"]) / 100)
            return {"n": said["n"]}

        two.peers.answer("slow", slowly)
        answers = await asyncio.gather(*(one.peers.ask("n2", "slow", {"n": n}) for n in range(5)))
        assert [answer["n"] for answer in answers] == [0, 1, 2, 3, 4]


@virtual
async def test_a_refusal_comes_back_as_it_was() -> None:
    async with Cluster(2) as processes:
        one, two = processes.values()
        two.peers.answer("may I", refusing)
        with pytest.raises(Forbidden) as refused:
            await one.peers.ask("n2", "may I", {})
        assert refused.value.as_dict() == {
            "code": "forbidden",
            "message": "Not here.",
            "retryable": False,
            "fields": {"room": ["x"]},
        }


@virtual
async def test_a_fault_there_is_an_error_without_details_here() -> None:
    async with Cluster(2) as processes:
        one, two = processes.values()
        two.peers.answer("fail", failing)
        for question in ("fail", "nobody knows this one"):
            with pytest.raises(InternalError) as failed:
                await one.peers.ask("n2", question, {})
            assert "secret" not in failed.value.message


@virtual
async def test_one_that_does_not_answer_in_half_a_second_is_overloaded() -> None:
    async with Cluster(2) as processes:
        one, two = processes.values()
        two.peers.answer("hang", hanging)
        began = now()
        with pytest.raises(Overloaded, match="host-n2:3000") as late:
            await one.peers.ask("n2", "hang", {})
        assert 0.5 <= now() - began < 0.51
        assert late.value.headers == {"Retry-After": "1"}
        await cancelled(two.peers._answers)


@virtual
async def test_an_answer_that_is_late_is_for_nobody() -> None:
    async with Cluster(2) as processes:
        one, two = processes.values()

        async def late(_said: Mapping[str, Any]) -> dict[str, Any]:
            await asyncio.sleep(0.7)
            return {}

        two.peers.answer("late", late)
        two.peers.answer("quick", answering({}))
        with pytest.raises(Overloaded):
            await one.peers.ask("n2", "late", {})
        await asyncio.sleep(0.3)
        assert await one.peers.ask("n2", "quick", {}) == {"said": {}}


@virtual
async def test_without_redis_nobody_is_asked() -> None:
    async with Cluster() as processes:
        one = processes["n1"]
        one.log.is_cut_off = True
        began = now()
        with pytest.raises(Overloaded):
            await one.peers.ask("n2", "where", {})
        named = ("host-n2:3000", "host-n3:3000")
        assert await one.peers.ask_all("where", {}) == ([], named)
        assert await one.peers.roll_call() == named
        assert now() == began
        assert one.peers._outgoing == []


@virtual
async def test_of_all_that_are_asked_those_that_do_not_answer_are_missing() -> None:
    async with Cluster(4) as processes:
        one, two, three, four = processes.values()
        two.peers.answer("where", answering({"at": "two"}))
        three.peers.answer("where", refusing)
        four.peers.answer("where", hanging)
        assert await one.peers.ask_all("where", {}) == (
            [{"at": "two", "said": {}}],
            ("host-n3:3000", "host-n4:3000"),
        )
        two.peers.answer("who", answering({}))
        await cancelled(four.peers._answers)


@virtual
async def test_a_roll_call_waits_for_what_the_others_have_recorded() -> None:
    async with Cluster() as processes:
        one, two, three = processes.values()
        two.log.last_number, three.log.last_number = 70, 50
        assert await one.peers.roll_call() is None
        assert one.log.reached == [(70, 0.5)]
        # They have told what had changed with their clients, and recorded that.
        assert (two.introductions, two.log.settles) == (1, 1)
        assert (three.introductions, three.log.settles) == (1, 1)


@virtual
async def test_a_roll_call_names_who_is_silent_and_goes_on_with_the_others() -> None:
    async with Cluster(silent=("n3",)) as processes:
        one, two, _ = processes.values()
        two.log.last_number = 70
        assert await one.peers.roll_call() == ("host-n3:3000",)
        assert one.log.reached == [(70, 0.05)]


@virtual
async def test_a_client_that_is_unknown_there_is_unknown_here() -> None:
    async with Cluster(2) as processes:
        one, two = processes.values()

        async def unknown(_said: Mapping[str, Any]) -> dict[str, Any]:
            raise UnknownClient("Client c1 is not connected.")

        two.peers.answer("cut", unknown)
        with pytest.raises(UnknownClient, match="c1"):
            await one.peers.ask("n2", "cut", {})


# Inboxes


@virtual
async def test_what_cannot_be_sent_is_lost_and_the_next_is_sent() -> None:
    async with Cluster(2, silent=("n1", "n2")) as processes:
        one, two = processes.values()
        two.peers.answer("where", answering({}))
        one._link.redis.is_away = True
        asking = asyncio.ensure_future(one.peers.ask("n2", "where", {}))
        await asyncio.sleep(0.01)
        one._link.redis.is_away = False
        one.listen()
        two.listen()
        with pytest.raises(Overloaded):
            await asking
        assert await one.peers.ask("n2", "where", {}) == {"said": {}}


@virtual
async def test_counts_of_many_events_go_in_one_message() -> None:
    async with Cluster(2, silent=("n1",)) as processes:
        one, two = processes.values()
        for at in range(3):
            two.peers.told("n1", f"p{at}", at, [])
        two.peers.flush()
        two.peers.flush()
        await asyncio.sleep(0.01)
        [(_, text)] = one._link.redis.inboxes["n1"]
        assert text == (
            '{"kind":"counts","from":"n2","counts":[["p0",0,[]],["p1",1,[]],["p2",2,[]]]}'
        )


@virtual
async def test_a_message_that_says_nothing_known_is_a_fault_of_whoever_reads() -> None:
    async with Cluster(1) as processes:
        for text in ("{", '{"kind":"explosion"}', "[]"):
            with pytest.raises((ValueError, KeyError, TypeError)):
                processes["n1"].peers.hear(text)
