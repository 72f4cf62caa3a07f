"""Recovery: exactly what was missed, in order, once; or a reason, and then nothing of it."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gtower_realtime.errors import StoreUnavailable
from gtower_realtime.ports import Offset, Target
from gtower_realtime.records import Bounds, StoredEvent
from gtower_realtime.recovery import Claim
from gtower_realtime.sessions import addresses
from gtower_realtime.timestamps import milliseconds
from tests.fakes import FakeCaller, FakeClock, FakeStore, FakeWorld, an_event, make_world


async def publish(world: FakeWorld, n: int, target: Target | None = None) -> None:
    await world.service.send("dealWon", {"n": n}, target or Target.all())


def heard(world: FakeWorld, client_id: str) -> list[Any]:
    """Return the n of each dealWon that a client has received, and the names of all else."""
    return [payload.get("n", event) for event, payload in world.received(client_id)]


def reason(world: FakeWorld, client_id: str = "new") -> Any:
    """Return why a client was not recovered; it has heard nothing but that."""
    [(event, payload)] = world.received(client_id)
    assert (event, payload["recovered"]) == ("connected", False)
    return payload["reason"]


async def a_world_with_c1_away(**options: Any) -> FakeWorld:
    world = await make_world(**options)
    await world.connect("c1")
    world.cut("c1")
    return world


# Reasons


@pytest.mark.gen_test
async def test_an_unknown_pid_has_expired() -> None:
    world = await make_world()
    await world.call("new", Claim("no such pid", str(world.offset(0))))
    assert reason(world) == "expired"


@pytest.mark.gen_test
async def test_an_unknown_pid_with_an_offset_of_another_log_is_told_of_that() -> None:
    world = await make_world()
    await world.call("new", Claim("no such pid", "0badc0de-1"))
    assert reason(world) == "epoch_changed"


@pytest.mark.gen_test
async def test_a_session_of_another_namespace_is_not_known_here_and_stays() -> None:
    world = await a_world_with_c1_away()
    claim = Claim(world.session("c1").pid, str(world.offset(0)))
    await world.call("new", claim, namespace="/websocket")
    assert reason(world) == "expired"
    await world.call("other", claim)
    assert heard(world, "c1") == ["connected"]


@pytest.mark.gen_test
async def test_who_has_been_away_for_too_long_has_expired_before_anybody_swept() -> None:
    world = await a_world_with_c1_away(recovery_seconds=120)
    world.clock.advance(120.001)
    await world.come_back("c1", world.offset(0))
    assert reason(world) == "expired"


@pytest.mark.gen_test
@pytest.mark.parametrize("offset", ["another-0", "nonsense", ""])
async def test_an_offset_of_another_log_is_of_another_epoch(offset: str) -> None:
    world = await a_world_with_c1_away()
    await world.come_back("c1", offset)
    assert reason(world) == "epoch_changed"


@pytest.mark.gen_test
async def test_an_offset_of_the_future_is_a_gap() -> None:
    world = await a_world_with_c1_away()
    await world.come_back("c1", world.offset(1))
    assert reason(world) == "gap"


@pytest.mark.gen_test
@pytest.mark.parametrize("recent_events", [1000, 0])
async def test_what_was_trimmed_is_a_gap(recent_events: int) -> None:
    world = await a_world_with_c1_away(recent_events=recent_events)
    for number in (1, 2, 3):
        await publish(world, number)
    bounds = Bounds(max_events=1, max_bytes=0, max_age_seconds=0)
    await world.journal.trim(bounds, milliseconds(world.clock.now()))
    await world.come_back("c1", world.offset(1))
    assert reason(world) == "gap"


@pytest.mark.gen_test
@pytest.mark.parametrize("recent_events", [1000, 100, 0])
async def test_up_to_three_hundred_events_come_back_and_one_more_is_too_much(
    recent_events: int,
) -> None:
    world = await make_world(recent_events=recent_events)
    await world.connect("c1", "c2")
    world.cut("c1")
    world.cut("c2")
    others = Target.all(excluded=frozenset({"c1", "c2"}))
    await asyncio.gather(*(publish(world, number) for number in range(300)))
    await asyncio.gather(*(publish(world, number, others) for number in range(300)))
    await world.come_back("c1", world.offset(0))
    assert heard(world, "c1") == ["connected", *range(300)]
    await publish(world, 300)
    await world.come_back("c2", world.offset(0))
    assert reason(world) == "too_much"


@pytest.mark.gen_test
@pytest.mark.parametrize("recent_events", [1000, 2, 0])
async def test_up_to_four_megabytes_come_back_and_more_is_too_much(recent_events: int) -> None:
    world = await make_world(recent_events=recent_events)
    await world.connect("c1", "c2")
    world.cut("c1")
    world.cut("c2")
    payload = '"' + "x" * (1_000_000 - an_event(1).size) + '"'
    for _ in range(4):
        await world.journal.append(lambda n: an_event(n, "", payload=payload), lambda _: None)
    await world.come_back("c1", world.offset(0))
    assert len(world.received("c1")) == 5
    await publish(world, 5)
    await world.come_back("c2", world.offset(0))
    assert reason(world) == "too_much"


# Against a plain memory of who should have got what

CLIENTS = ("c0", "c1", "c2")
ROOMS = ("a", "b")
RECOVERY_SECONDS = 120


@dataclass
class Due:
    """An event that a client should get, and until when."""

    number: int
    expires_at: int | None


@dataclass
class Person:
    """What is plainly known of one client: its rooms, what it should get, what has arrived."""

    name: str
    id: str
    pid: str
    opened_at: int
    caller: FakeCaller
    is_here: bool = True
    rooms: set[str] = field(default_factory=set)
    due: list[Due] = field(default_factory=list)
    expected: list[int] = field(default_factory=list)
    """What the present connection must have carried, once everything has settled."""
    mark: int = 0
    covered: int = 0
    away_since: int = 0
    is_drop_recorded: bool = False
    claim: Offset | None = None

    def owe(self, event: Due) -> None:
        self.due.append(event)
        if self.is_here:
            self.expected.append(event.number)


class Model:
    """Does things to a world and remembers, without cleverness, what must come of them."""

    def __init__(self, world: FakeWorld, recent_events: int) -> None:
        self.world = world
        self.recent_events = recent_events
        self.number = 0
        self.connections = 0
        self.dead: list[FakeWorld] = []
        """Kept, so that nobody complains of tasks that died with them."""
        self.people: dict[str, Person] = {}

    @classmethod
    async def begin(cls, recent_events: int) -> "Model":
        world = await make_world(
            store=FakeStore(),
            clock=FakeClock(),
            recent_events=recent_events,
            recovery_seconds=RECOVERY_SECONDS,
        )
        model = cls(world, recent_events)
        for name in CLIENTS:
            await model.arrive(name, None)
        return model

    @property
    def now(self) -> int:
        return milliseconds(self.world.clock.now())

    async def arrive(self, name: str, claim: Claim | None) -> FakeCaller:
        self.connections += 1
        new_id = f"{name}-{self.connections}"
        opened_at = self.number
        user_id = "u1" if name in {"c0", "c1"} else None
        caller = await self.world.call(new_id, claim, user_id=user_id)
        if caller.client_id == new_id:
            assert caller.pid is not None
            person = Person(name, new_id, caller.pid, opened_at, caller, covered=opened_at)
            self.people[name] = person
        return caller

    def is_for(self, person: Person, target: Target) -> bool:
        return person.id not in target.excluded and (
            target.everyone
            or person.id in target.clients
            or (person.name in {"c0", "c1"} and "u1" in target.users)
            or not person.rooms.isdisjoint(target.rooms)
        )

    def target(self, whom: str) -> Target:
        if whom in ROOMS:
            return Target.room(whom)
        if whom == "both":
            return Target(rooms=ROOMS)
        if whom == "u1":
            return Target.user("u1")
        if whom == "others":
            return Target.all(excluded=frozenset({self.people["c0"].id}))
        return Target.client(self.people[whom].id)

    # Steps. What goes through the journal is not waited for: its order is that of the calls.

    async def publish(self, whom: str, ttl: int | None) -> None:
        target = self.target(whom)
        expires_at = None if ttl is None else self.now + ttl * 1000
        self.world.journal.append(
            lambda number: an_event(
                number,
                *addresses(target),
                payload=f'{{"n": {number}}}',
                excluded=tuple(target.excluded),
                expires_at=expires_at,
            ),
            lambda event: self.deliver(event, target),
        )
        self.number += 1
        for person in self.people.values():
            if self.is_for(person, target):
                person.owe(Due(self.number, expires_at))

    def deliver(self, event: StoredEvent, target: Target) -> None:
        offset = self.world.offset(event.number)
        self.world.transport.deliver(event.event, event.payload, target, offset=offset)

    async def join(self, name: str, room: str) -> None:
        person = self.people[name]
        if person.is_here:
            self.world.service.join_room(person.id, room)
            person.rooms.add(room)

    async def leave(self, name: str, room: str) -> None:
        person = self.people[name]
        if person.is_here:
            self.world.service.leave_room(person.id, room)
            person.rooms.discard(room)

    async def fail(self, name: str, room: str) -> None:
        await self.settle()
        self.world.store.problem = StoreUnavailable("The disk is full.")
        attempts: list[Any] = [self.world.journal.append(an_event, lambda _: None)]
        person = self.people[name]
        if person.is_here:
            attempts.append(self.world.service.join_room(person.id, room))
            attempts.append(self.world.service.leave_room(person.id, room))
        outcomes = await asyncio.gather(*attempts, return_exceptions=True)
        assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
        self.world.store.problem = None
        self.number += 1

    async def pong(self, name: str) -> None:
        person = self.people[name]
        if person.is_here:
            person.mark = self.world.journal.last_number
            self.world.transport.connections[person.id].mark = person.mark

    async def cut(self, name: str, lost: int) -> None:
        person = self.people[name]
        if person.is_here:
            self.lose(person, lost)
            person.away_since, person.is_drop_recorded = self.now, True
            self.world.service.client_has_everything(person.id, person.mark)
            self.world.cut(person.id)

    def lose(self, person: Person, lost: int) -> None:
        """Let the last ``lost`` offsets not arrive, unless a pong has confirmed them."""
        connection = self.world.transport.connections[person.id]
        arrived = [offset for offset in connection.offsets if offset is not None]
        certain = 1 + sum(offset.number <= person.mark for offset in arrived[1:])
        kept = arrived[: max(len(arrived) - lost, certain if person.mark else 0)]
        person.claim = kept[-1] if kept else person.claim
        person.is_here = False
        person.covered = max(person.covered, person.mark)

    async def come_back(self, name: str, lost: int) -> None:
        """Return; while the old connection looks alive, of which ``lost`` have not arrived."""
        person = self.people[name]
        is_away = not person.is_here
        if not is_away:
            self.lose(person, lost)
        offset = None if person.claim is None else str(person.claim)
        begin = person.opened_at if person.claim is None else person.claim.number
        is_expired = is_away and self.now - person.away_since > RECOVERY_SECONDS * 1000
        is_gap = max(begin, person.covered) < self.world.journal.first_number - 1
        applied = self.world.journal.last_number
        caller = await self.arrive(name, Claim(person.pid, offset))
        connected = self.world.received(caller.client_id or "")[0][1]
        why = "expired" if is_expired else "gap" if is_gap else None
        assert (connected["recovered"], connected.get("reason")) == (why is None, why)
        if why is not None:
            return
        assert (caller.client_id, caller.pid) == (person.id, person.pid)
        person.is_here, person.is_drop_recorded, person.mark = True, False, 0
        begin = max(begin, person.covered)
        person.expected = [
            due.number
            for due in person.due
            if due.number > begin
            and (due.number > applied or due.expires_at is None or due.expires_at > self.now)
        ]

    async def restart(self) -> None:
        """Die without a word, and begin anew on what was recorded."""
        await self.settle()
        for person in self.people.values():
            if person.is_here:
                self.lose(person, 1)
            if not person.is_drop_recorded:
                person.away_since = self.now
            person.covered = person.opened_at
        self.dead.append(self.world)
        self.world = await make_world(
            store=self.world.store,
            clock=self.world.clock,
            recent_events=self.recent_events,
            recovery_seconds=RECOVERY_SECONDS,
        )
        self.number = self.world.journal.last_number

    async def wait(self, seconds: int) -> None:
        await self.settle()
        self.world.clock.advance(seconds)

    async def trim(self, max_events: int) -> None:
        await self.settle()
        bounds = Bounds(max_events=max_events, max_bytes=0, max_age_seconds=0)
        await self.world.journal.trim(bounds, self.now)

    async def settle(self) -> None:
        await self.world.journal.settled()
        for person in self.people.values():
            if person.is_here:
                self.check(person)

    def check(self, person: Person) -> None:
        """Check that the present connection has carried what it should, in order, once."""
        received = self.world.received(person.id)
        assert received[0][0] == "connected"
        numbers = [payload["n"] for event, payload in received if event == "dealWon"]
        assert numbers == person.expected, person
        assert set(self.world.transport.rooms_of(person.id)) - {"user:u1"} == person.rooms


names = st.sampled_from(CLIENTS)
rooms = st.sampled_from(ROOMS)
lost = st.integers(0, 3)
steps = st.one_of(
    st.tuples(
        st.just("publish"),
        st.sampled_from(["a", "a", "b", "both", "u1", "others", "c1"]),
        st.sampled_from([None, None, 30]),
    ),
    st.tuples(st.just("join"), names, rooms),
    st.tuples(st.just("leave"), names, rooms),
    st.tuples(st.just("pong"), names),
    st.tuples(st.just("cut"), names, lost),
    st.tuples(st.just("come_back"), names, lost),
    st.tuples(st.just("settle")),
    st.tuples(st.just("fail"), names, rooms),
    st.tuples(st.just("restart")),
    st.tuples(st.just("wait"), st.sampled_from([31, 121])),
    st.tuples(st.just("trim"), st.integers(1, 6)),
)

Step = Callable[..., Coroutine[Any, Any, None]]


async def act(recent_events: int, story: list[tuple[Any, ...]]) -> None:
    model = await Model.begin(recent_events)
    for name, *arguments in story:
        step: Step = getattr(model, name)
        await step(*arguments)
    await model.settle()
    for name in CLIENTS:
        await model.come_back(name, 2)
    await model.settle()


@settings(derandomize=True, max_examples=60, deadline=None, database=None)
@given(st.sampled_from([0, 1, 3, 1000]), st.lists(steps, min_size=5, max_size=40))
@example(0, [("join", "c0", "a"), ("cut", "c0", 0), ("publish", "a", None)])
def test_whatever_happens_a_client_gets_what_it_missed_once_and_in_order_or_is_told_why(
    recent_events: int, story: list[tuple[Any, ...]]
) -> None:
    asyncio.run(act(recent_events, story))
