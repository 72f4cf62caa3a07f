"""Whatever is done to a store in a database, it holds what the one in memory does."""

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gtower_realtime.ports import Store
from gtower_realtime.records import (
    EVERYONE,
    AnswerGiven,
    Bounds,
    Change,
    CountedMinute,
    EventAppended,
    Membership,
    MinuteCounted,
    OutboxSent,
    RoomEntered,
    RoomLeft,
    SessionAway,
    SessionEnded,
    SessionOpened,
    SessionResumed,
    WebhookSettled,
)
from gtower_realtime.store.memory import MemoryStore
from tests.postgresql import PostgresqlServer
from tests.stores import (
    NOW,
    Place,
    a_session,
    an_answer,
    an_event,
    marked,
    put,
    received,
    sql_store,
)

ROOMS = ("a", "b", "c", EVERYONE)
CLIENTS = ("c1", "c2", "c3")
KEYS = ("k1", "k2")
ORIGINS = ("n1", "n2")

clients = st.sampled_from(CLIENTS)
rooms = st.sampled_from(ROOMS)
moments = st.integers(NOW - 3, NOW + 3)
skips = st.integers(1, 2)

# What has a number gets it when the sequence is carried out, so that numbers rise.
changes = st.one_of(
    st.tuples(
        st.just("append"),
        skips,
        st.lists(rooms, min_size=1, max_size=3).map(tuple),
        st.none() | moments,
        moments,
        st.text("xä", max_size=9),
    ),
    st.tuples(st.just("open"), clients, st.lists(rooms, max_size=2, unique=True)),
    st.tuples(st.sampled_from(["away", "resume", "end"]), clients),
    st.tuples(st.sampled_from(["enter", "leave"]), clients, rooms),
    st.tuples(st.just("count"), moments),
    st.tuples(st.just("receive"), moments),
    st.tuples(st.just("settle"), st.integers(1, 4), st.sampled_from(["done", "set_aside"])),
    st.tuples(st.just("mark"), st.sampled_from(KEYS), st.text("xy", max_size=2), moments),
    st.tuples(st.just("put"), st.sampled_from(ORIGINS), st.text("xä", max_size=3)),
    st.tuples(st.just("send"), st.sampled_from(ORIGINS), st.integers(0, 6)),
    st.tuples(st.just("answer"), st.sampled_from(KEYS), st.text("xy", max_size=2), moments),
)
bounds = st.builds(Bounds, st.integers(0, 5), st.integers(0, 600), st.sampled_from([0, 0.001]))
steps = st.one_of(
    st.tuples(st.just("commit"), st.lists(changes, max_size=8)),
    st.tuples(st.just("trim"), bounds, moments),
    st.tuples(st.just("delete"), rooms),
    st.tuples(st.just("replay"), st.none() | moments),
    st.tuples(st.just("reopen"), st.integers(0, 6), st.integers(0, 700)),
)


class Script:
    """Makes the changes that a sequence asks for, as far as its own past allows them."""

    def __init__(self) -> None:
        self._number = 0
        self._minutes = 0
        self._webhooks = 0
        self._sequence = 0
        self._clients: set[str] = set()

    def change(self, name: str, *arguments: Any) -> Change | None:
        """Return the change, or None when a client would have two sessions."""
        others: dict[str, Callable[..., Change]] = {
            "append": self._append,
            "answer": lambda key, text, at: AnswerGiven(an_answer(key, answer=text, expires_at=at)),
            "count": self._count,
            "receive": self._receive,
            "settle": WebhookSettled,
            "put": self._put,
            "send": OutboxSent,
            "mark": lambda key, value, at: marked(key, value, at=at),
        }
        if name in others:
            return others[name](*arguments)
        return self._change_of_session(name, *arguments)

    def _append(
        self, skip: int, addresses: Any, expires_at: Any, published_at: int, text: str
    ) -> Change:
        self._number += skip
        details = {"expires_at": expires_at, "published_at": published_at, "payload": text}
        return EventAppended(an_event(self._number, *addresses, **details))

    def _count(self, at: int) -> Change:
        self._minutes += 1
        return MinuteCounted(CountedMinute(f"m{self._minutes}", at, "{}"))

    def _receive(self, at: int) -> Change:
        self._webhooks += 1
        return received(self._webhooks, at=at)

    def _put(self, origin: str, text: str) -> Change:
        self._sequence += 1
        return put(self._sequence, text, origin=origin)

    def _change_of_session(self, name: str, client_id: str, *others: Any) -> Change | None:
        if name == "open":
            if client_id in self._clients:
                return None
            self._clients.add(client_id)
            stays = [Membership(room, self._number) for room in others[0]]
            return SessionOpened(a_session(client_id, memberships=stays))
        if name == "end":
            self._clients.discard(client_id)
        return {
            "end": lambda: SessionEnded(client_id),
            "away": lambda: SessionAway(client_id, NOW),
            "resume": lambda: SessionResumed(client_id),
            "enter": lambda: RoomEntered(client_id, others[0], self._number),
            "leave": lambda: RoomLeft(client_id, others[0], self._number),
        }[name]()


async def outcomes(place: Place, sequence: list[tuple[Any, ...]]) -> list[Any]:
    """Carry out ``sequence`` and return all that the store says meanwhile and in the end."""
    script = Script()
    said: list[Any] = [shown(await place.open())]
    for name, *arguments in sequence:
        if name == "commit":
            made = [script.change(*change) for change in arguments[0]]
            await place.store.commit([change for change in made if change])
        elif name == "trim":
            said.append(await place.store.trim(*arguments))
        elif name == "replay":
            said.append(await place.store.replay_webhooks(*arguments))
        elif name == "delete":
            said.append(await place.store.delete_history(*arguments))
        else:
            recent_events, recent_bytes = arguments
            snapshot = await place.reopen(recent_events=recent_events, recent_bytes=recent_bytes)
            said.append(shown(snapshot))
        said.append(await readings(place.store))
    said.append(shown(await place.reopen()))
    await place.store.close()
    return said


def shown(snapshot: Any) -> tuple[Any, ...]:
    """Return what does not depend on which store it is."""
    by_id = sorted(snapshot.sessions, key=lambda session: session.client_id)
    return snapshot.first_number, snapshot.last_number, snapshot.recent, by_id


async def readings(store: Store) -> list[Any]:
    return [
        await store.events_for(ROOMS[:2], after=1, until=20, limit=3),
        await store.events_for(ROOMS, after=0, until=99, limit=99),
        *[await store.history(room, after=1, limit=3, now=NOW) for room in ROOMS],
        await store.minutes(since=NOW - 2, before=NOW + 3),
        *[await store.find_answer(key, NOW) for key in KEYS],
        await store.webhook_backlog(),
        await store.next_webhook(),
        await store.webhook_marks(KEYS),
        *[await store.outbox(limit=3, max_bytes=size) for size in (0, 2, 9)],
        await store.outbox_backlog(),
    ]


@pytest.fixture(params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest) -> PostgresqlServer | None:
    return request.getfixturevalue("postgresql") if request.param == "postgresql" else None


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(steps, max_size=12))
def test_a_database_holds_what_memory_does(
    server: PostgresqlServer | None, sequence: list[tuple[Any, ...]]
) -> None:
    memory = MemoryStore()
    with tempfile.TemporaryDirectory() as directory:
        location = server.new_database() if server else str(Path(directory, "gtower.db"))
        found = asyncio.run(outcomes(Place(lambda: sql_store(location)), sequence))
    assert found == asyncio.run(outcomes(Place(lambda: memory), sequence))
