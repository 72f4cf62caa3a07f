"""Who clients are and what they may, over joins, renewed tokens, ends and returns; no sockets."""

import asyncio
import weakref
from collections.abc import Coroutine, Sequence
from datetime import timedelta
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtower_realtime.authentication import Authentication
from gtower_realtime.errors import (
    Forbidden,
    InvalidToken,
    RealtimeError,
    StoreUnavailable,
    TokenExpired,
)
from gtower_realtime.ports import Target
from gtower_realtime.recovery import Claim
from gtower_realtime.tokens import Identity, TokenVerifier, VerificationKey
from tests.fakes import FakeClock, FakeWorld, make_world

SECRET = "a-secret-of-at-least-32-bytes-for-tests"
LIFE = timedelta(minutes=5)


class Info(dict[str, Any]):
    """What a token shows of its client, of a class that can be watched being forgotten."""


def caps(*rooms: str, allow: Sequence[str] = ("join", "publish", "history")) -> list[Any]:
    return [{"rooms": list(rooms), "allow": list(allow)}]


def token(clock: FakeClock, sub: str = "ann", life: timedelta = LIFE, **claims: Any) -> str:
    end = clock.now() + life
    return jwt.encode({"sub": sub, "exp": end.timestamp(), **claims}, SECRET, algorithm="HS256")


async def a_world() -> FakeWorld:
    clock = FakeClock()
    verifier = TokenVerifier(VerificationKey.from_secret(SECRET), clock)
    return await make_world(clock=clock, verifier=verifier)


async def connect(world: FakeWorld, client_id: str, **claims: Any) -> Identity:
    identity = await world.service.identify(token(world.clock, **claims))
    assert identity is not None
    await world.call(client_id, identity=identity)
    return identity


async def refusal_of(answer: Coroutine[Any, Any, Any] | Any) -> str:
    with pytest.raises(RealtimeError) as caught:
        await answer
    return caught.value.code


@pytest.mark.gen_test
async def test_rooms_of_the_token_are_joined_and_told_of_after_connected() -> None:
    world = await a_world()
    await connect(world, "c1", rooms=["sales", "desk"])
    assert world.transport.events_of("c1") == ["connected", "roomJoined", "roomJoined"]
    assert world.transport.rooms_of("c1") == ["user:ann", "sales", "desk"]
    assert world.session("c1").rooms() == ["sales", "desk"]


@pytest.mark.gen_test
async def test_what_no_cap_covers_is_forbidden() -> None:
    world = await a_world()
    await connect(world, "c1", rooms=["own"], caps=caps("shop:*"))
    service = world.service
    for attempt in (
        lambda: service.join_room("c1", "hr"),
        lambda: service.relay_room_message("c1", "hr", "hi"),
        lambda: service.relay_room_message("c1", "own", "hi"),
        lambda: service.relay_message("c1", "hi"),
        lambda: service.join_room("c1", "user:ann"),
        lambda: service.join_room("c1", "c1"),
        lambda: service.join_whatsapp_general("c1"),
        lambda: service.join_whatsapp_customer("c1", "c42"),
    ):
        with pytest.raises(Forbidden):
            attempt()
    assert await refusal_of(service.read_room_history("c1", "hr")) == "forbidden"
    await service.join_room("c1", "shop:1")
    await service.leave_room("c1", "hr")
    await service.relay_room_message("c1", "shop:1", "hi")
    assert (await service.read_room_history("c1", "shop:1"))["events"][0]["data"]["message"] == "hi"


@pytest.mark.gen_test
async def test_a_renewed_token_ends_what_it_does_not_allow_at_once() -> None:
    world = await a_world()
    await connect(world, "c1", caps=caps("sales", "desk"))
    for room in ("sales", "desk"):
        await world.service.join_room("c1", room)
    world.transport.forget()
    answer = await world.service.refresh_token("c1", token(world.clock, caps=caps("desk")))
    assert answer == {"expiresAt": "2026-11-23T12:33:18.953Z"}
    assert world.transport.connections["c1"].received == [
        (
            "roomLeft",
            {
                "room": "sales",
                "reason": "not allowed by the token",
                "timestamp": "2026-11-23T12:28:18.953Z",
            },
        )
    ]
    assert world.transport.rooms_of("c1") == ["user:ann", "desk"]
    await world.journal.settled()
    assert world.session("c1").rooms() == ["desk"]


@pytest.mark.gen_test
async def test_what_a_renewed_token_shows_of_its_user_is_told_where_there_is_presence() -> None:
    clock = FakeClock()
    verifier = TokenVerifier(VerificationKey.from_secret(SECRET), clock)
    world = await make_world(clock=clock, verifier=verifier, presence_rooms=["desk"])
    await connect(world, "c1", caps=caps("desk"), info={"name": "Ana"})
    await connect(world, "c2", sub="ben", caps=caps("desk"))
    for client_id in ("c1", "c2"):
        await world.service.join_room(client_id, "desk")
    clock.advance(1)
    world.service.tell_presence()
    world.transport.forget()
    renewed = token(clock, caps=caps("desk"), info={"name": "Ana B."})
    await world.service.refresh_token("c1", renewed)
    clock.advance(1)
    world.service.tell_presence()
    [(event, payload)] = world.transport.connections["c2"].received
    shown = {"clientId": "c1", "userId": "ann", "info": {"name": "Ana B."}}
    assert (event, payload["joins"], payload["leaves"]) == ("presence", [shown], [])
    assert world.service.directory.present("desk")["clients"][0] == shown


@pytest.mark.gen_test
async def test_a_join_that_a_renewed_token_overtakes_does_not_happen() -> None:
    world = await a_world()
    await connect(world, "c1", caps=caps("sales"))
    world.store.hold()
    joining = world.service.join_room("c1", "sales")
    await world.store.asked.wait()
    await world.service.refresh_token("c1", token(world.clock, caps=caps("desk")))
    world.store.let()
    assert await refusal_of(joining) == "forbidden"
    await world.journal.settled()
    assert world.transport.rooms_of("c1") == ["user:ann"]
    again = await make_world(store=world.store)
    assert again.session("c1").rooms() == []


@pytest.mark.gen_test
async def test_a_token_that_is_refused_leaves_the_one_before_in_force() -> None:
    world = await a_world()
    await connect(world, "c1", caps=caps("sales"))
    refresh = world.service.refresh_token
    assert await refusal_of(refresh("c1", token(world.clock, sub="ben"))) == "forbidden"
    assert await refusal_of(refresh("c1", "nonsense")) == "invalid_token"
    assert await refusal_of(refresh("c1", None)) == "missing_token"
    assert await refusal_of(refresh("c1", token(world.clock, life=-LIFE))) == "token_expired"
    await world.service.join_room("c1", "sales")


@pytest.mark.gen_test
async def test_while_tokens_are_off_none_is_looked_at() -> None:
    world = await make_world()
    assert await world.service.identify("nonsense") is None
    await world.connect("c1")
    assert await refusal_of(world.service.refresh_token("c1", "nonsense")) == "forbidden"


@pytest.mark.gen_test
async def test_the_end_of_a_token_is_announced_once_and_closes_later() -> None:
    world = await a_world()
    await connect(world, "c1")
    world.transport.forget()
    world.clock.advance(LIFE.total_seconds() - 31)
    world.service.mind_tokens()
    assert world.transport.events_of("c1") == []
    world.clock.advance(1)
    world.service.mind_tokens()
    world.service.mind_tokens()
    assert world.transport.connections["c1"].received == [
        ("tokenExpiring", {"expiresAt": "2026-11-23T12:33:18.953Z", "expiresIn": 30})
    ]
    world.clock.advance(30 + 24)
    world.service.mind_tokens()
    assert world.transport.closed == {}
    world.clock.advance(1)
    world.service.mind_tokens()
    assert world.transport.closed == {"c1": (4202, "token expired")}


@pytest.mark.gen_test
async def test_a_token_that_ends_soon_is_announced_at_once() -> None:
    world = await a_world()
    await connect(world, "c1", life=timedelta(seconds=10))
    assert world.transport.events_of("c1") == ["connected", "tokenExpiring"]


@pytest.mark.gen_test
async def test_a_renewed_token_puts_off_the_end() -> None:
    world = await a_world()
    await connect(world, "c1")
    world.clock.advance(200)
    await world.service.refresh_token("c1", token(world.clock))
    world.clock.advance(200)
    world.service.mind_tokens()
    assert world.transport.closed == {}


@pytest.mark.gen_test
async def test_who_returns_gets_only_what_its_present_token_allows() -> None:
    world = await a_world()
    await connect(world, "c1", caps=caps("sales", "desk"))
    for room in ("sales", "desk"):
        await world.service.join_room("c1", room)
    offset = world.offset(0)
    world.cut("c1")
    for room in ("sales", "desk", "user"):
        target = Target.user("ann") if room == "user" else Target.room(room)
        await world.service.send("tick", {"for": room}, target)
    identity = await world.service.identify(token(world.clock, caps=caps("desk")))
    await world.come_back("c1", offset, identity=identity)
    received = world.transport.connections["c1"].received
    assert [payload.get("for", name) for name, payload in received] == [
        "connected",
        "desk",
        "user",
        "roomLeft",
    ]
    assert received[0][1]["recovered"] is True
    assert world.transport.rooms_of("c1") == ["desk", "user:ann"]


@pytest.mark.gen_test
async def test_a_session_is_for_nobody_but_its_user() -> None:
    world = await a_world()
    await connect(world, "c1", sub="ann")
    world.cut("c1")
    identity = await world.service.identify(token(world.clock, sub="ben"))
    await world.come_back("c1", world.offset(0), identity=identity)
    assert world.transport.connections["new"].received[0][1]["reason"] == "expired"
    assert world.sessions.of_client("c1") is not None


@pytest.mark.gen_test
async def test_a_user_that_is_sent_away_does_not_come_back_with_an_old_session() -> None:
    world = await a_world()
    await connect(world, "here")
    identity = await connect(world, "away")
    await connect(world, "other", sub="ben")
    pid = world.session("away").pid
    world.cut("away")
    assert await world.service.control.disconnect_user("ann", "locked out", reconnect=False) == (
        1,
        None,
    )
    assert world.transport.closed == {"here": (4003, "locked out")}
    await world.journal.settled()
    assert [session.client_id for session in world.sessions] == ["other"]
    await world.call("new", Claim(pid, None), identity=identity)
    assert world.transport.connections["new"].received[0][1]["reason"] == "revoked"


@pytest.mark.gen_test
async def test_who_may_reconnect_keeps_its_session() -> None:
    world = await a_world()
    await connect(world, "c1")
    assert await world.service.control.disconnect_client("c1", "moved", reconnect=True) == (1, None)
    assert world.transport.closed == {"c1": (4200, "moved")}
    assert world.sessions.of_client("c1") is not None
    with pytest.raises(RealtimeError, match="nobody is not connected"):
        await world.service.control.disconnect_client("nobody", "x", reconnect=True)


@pytest.mark.gen_test
async def test_sending_a_user_away_is_done_when_a_restart_cannot_bring_the_session_back() -> None:
    world = await a_world()
    identity = await connect(world, "here")
    await connect(world, "away")
    pid = world.session("away").pid
    world.cut("away")
    await world.journal.settled()
    world.store.hold()
    sent = asyncio.ensure_future(
        world.service.control.disconnect_user("ann", "locked out", reconnect=False)
    )
    await world.store.asked.wait()
    # Cut off at once, and no session to come back to; but it is not said to be done.
    assert (world.transport.closed, sent.done()) == ({"here": (4003, "locked out")}, False)
    claim = Claim(pid, None)
    assert world.service.control.unknown_clients(["away"]) == []
    world.store.let()
    assert await sent == (1, None)
    await world.call("new", claim, identity=identity)
    assert world.transport.connections["new"].received[0][1]["reason"] == "revoked"
    again = await make_world(store=world.store)
    assert [session.client_id for session in again.sessions if session.client_id != "new"] == []


@pytest.mark.gen_test
async def test_sending_a_user_away_says_so_when_it_cannot_be_recorded_and_can_be_repeated() -> None:
    world = await a_world()
    await connect(world, "here")
    await connect(world, "away")
    world.cut("away")
    await world.journal.settled()
    world.store.problem = OSError("no space left")
    with pytest.raises(StoreUnavailable):
        await world.service.control.disconnect_user("ann", "locked out", reconnect=False)
    assert world.transport.closed == {"here": (4003, "locked out")}
    world.store.problem = None
    await world.service.control.disconnect_user("ann", "locked out", reconnect=False)
    assert list((await make_world(store=world.store)).sessions) == []


def test_tokens_that_were_replaced_or_whose_clients_are_gone_are_not_kept() -> None:
    clock = FakeClock()
    verifier = TokenVerifier(VerificationKey.from_secret(SECRET), clock)
    authentication = Authentication(verifier, clock, lambda _name: False)
    infos: list[weakref.ref[Info]] = []

    def grant(client_id: str, life: timedelta) -> None:
        ends = clock.now() + life
        info = Info(name="Ann")
        infos.append(weakref.ref(info))
        authentication.grant(client_id, Identity("ann", (), (), info, ends))

    grant("stays", LIFE)
    for _ in range(1000):
        grant("renews", 2 * LIFE)
    for number in range(1000):
        grant(f"c{number}", 2 * LIFE)
        authentication.forget(f"c{number}")
    assert 2 <= sum(info() is not None for info in infos) < 100
    clock.advance(LIFE.total_seconds() + 60)
    assert authentication.due()[1] == ["stays"]


@pytest.mark.gen_test
async def test_a_bad_token_is_told_from_one_that_has_ended() -> None:
    world = await a_world()
    with pytest.raises(TokenExpired):
        await world.service.identify(token(world.clock, life=-LIFE))
    with pytest.raises(InvalidToken):
        await world.service.identify(token(world.clock)[:-2])


# Whatever happens

_ROOMS = ["a", "b", "c"]
_granted = st.sets(st.sampled_from(_ROOMS))
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("join"), st.sampled_from(_ROOMS)),
        st.tuples(st.just("leave"), st.sampled_from(_ROOMS)),
        st.tuples(st.just("renew"), _granted),
        st.tuples(st.just("return"), _granted),
        st.tuples(st.just("hold"), st.booleans()),
        st.tuples(st.just("pass"), st.integers(0, 400)),
    ),
    max_size=25,
)


class Agent:
    """One user whose token changes; at each step it is in no room that its token does not allow."""

    def __init__(self, world: FakeWorld) -> None:
        self.world = world
        self.granted: set[str] = set()
        self.id = "c0"
        self._returns = 0

    @property
    def is_here(self) -> bool:
        return self.id in self.world.clients

    def token(self, granted: set[str]) -> str:
        return token(self.world.clock, caps=caps(*granted) if granted else [])

    async def take(self, step: str, what: Any) -> None:
        await getattr(self, f"_{step}")(what)
        await asyncio.sleep(0)
        if self.is_here:
            rooms = set(self.world.transport.rooms_of(self.id)) - {"user:ann"}
            assert rooms <= self.granted, (step, what)

    async def _join(self, room: str) -> None:
        try:
            self.world.service.join_room(self.id, room).add_done_callback(_look_at)
        except Forbidden:
            assert not self.is_here or room not in self.granted

    async def _leave(self, room: str) -> None:
        self.world.service.leave_room(self.id, room).add_done_callback(_look_at)

    async def _renew(self, granted: set[str]) -> None:
        if self.is_here:
            await self.world.service.refresh_token(self.id, self.token(granted))
            self.granted = granted

    async def _return(self, granted: set[str]) -> None:
        self.world.store.let()
        await self.world.journal.settled()
        self.world.service.end_expired_sessions()
        identity = await self.world.service.identify(self.token(granted))
        if self.is_here:
            self.world.cut(self.id)
        self._returns += 1
        new_id = f"c{self._returns}"
        if self.world.sessions.of_client(self.id) is None:
            await self.world.call(new_id, identity=identity)
        else:
            offset = self.world.offset(0)
            await self.world.come_back(self.id, offset, new_id=new_id, identity=identity)
        if not self.is_here:
            self.id = new_id
        self.granted = granted

    async def _hold(self, holds: bool) -> None:
        (self.world.store.hold if holds else self.world.store.let)()

    async def _pass(self, seconds: int) -> None:
        self.world.clock.advance(seconds)
        self.world.service.mind_tokens()
        for client_id in self.world.transport.closed:
            self.world.cut(client_id)


def _look_at(answer: "asyncio.Future[Any]") -> None:
    if not answer.cancelled():
        answer.exception()


@settings(max_examples=200)
@given(steps=_steps)
def test_no_client_is_ever_in_a_room_that_its_token_does_not_allow(
    steps: list[tuple[str, Any]],
) -> None:
    async def live() -> None:
        world = await a_world()
        agent = Agent(world)
        await agent.take("return", {"a"})
        for step, what in steps:
            await agent.take(step, what)
        world.store.let()
        await world.journal.settled()
        await agent.take("hold", False)
        if agent.is_here:
            session = world.session(agent.id)
            assert set(session.rooms()) <= agent.granted
        await world.journal.close()

    asyncio.run(live())
