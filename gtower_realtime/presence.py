"""Who has come to a room and who has left it, told to its members. No wires.

Only rooms whose names begin with one of the prefixes have presence; others cost nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gtower_realtime.clients import Client
from gtower_realtime.directory import introduction
from gtower_realtime.ports import Clock, Target, Transport
from gtower_realtime.publishing import Publisher
from gtower_realtime.timestamps import format_timestamp

LEAVE_AFTER_SECONDS = 3.0
"""Who is back within this time has never been away."""

INTERVAL_SECONDS = 0.1
"""A room is told at most this often; what happens meanwhile is told together."""

# Adding up floats, a whole interval may seem a hair short.
_SHORTEST_SECONDS = INTERVAL_SECONDS - 1e-6

Told = dict[str, dict[str, Any]]
"""Introductions by client id."""


@dataclass(slots=True)
class _Room:
    members: Told = field(default_factory=dict)
    """Whom the room believes to be there."""
    leaving: dict[str, float] = field(default_factory=dict)
    """Who has gone, and when that is to be told."""
    joins: Told = field(default_factory=dict)
    leaves: Told = field(default_factory=dict)
    missed: set[str] = field(default_factory=set)
    """Of those who have gone untold, who was missing from a list that somebody has read."""
    told_at: float = float("-inf")

    @property
    def is_idle(self) -> bool:
        return not (self.members or self.leaving or self.joins or self.leaves)


class Presence:
    """Keeps who is where, and tells it; :meth:`tick` must be called a few times a second."""

    def __init__(
        self, prefixes: Sequence[str], publisher: Publisher, transport: Transport, clock: Clock
    ) -> None:
        self._prefixes = tuple(prefixes)
        self._publisher = publisher
        self._transport = transport
        self._clock = clock
        self._rooms: dict[str, _Room] = {}
        self._rooms_of: dict[str, set[str]] = {}

    def is_on(self, room: str) -> bool:
        """Say whether a room tells who is in it."""
        return bool(self._prefixes) and room.startswith(self._prefixes)

    def entered(self, client: Client | None, room: str) -> None:
        """Take note that a client is in a room; silent when it was believed to be there."""
        if client is None or not self.is_on(room):
            return
        state = self._rooms.setdefault(room, _Room())
        self._rooms_of.setdefault(client.id, set()).add(room)
        state.leaving.pop(client.id, None)
        believed = state.leaves.pop(client.id, None) or state.members.get(client.id)
        told = state.members[client.id] = introduction(client)
        if told != believed or client.id in state.missed:
            state.missed.discard(client.id)
            state.joins[client.id] = told
            self._tell_if_due(room, state)

    def left(self, client_id: str, room: str) -> None:
        """Take note that a client is in a room no more; it is told unless it is soon back."""
        rooms = self._rooms_of.get(client_id)
        if rooms is None or room not in rooms:
            return
        rooms.discard(room)
        if not rooms:
            del self._rooms_of[client_id]
        self._rooms[room].leaving[client_id] = self._clock.monotonic() + LEAVE_AFTER_SECONDS

    def gone(self, client_id: str) -> None:
        """Take note that a client is in no room any more."""
        for room in tuple(self._rooms_of.get(client_id, ())):
            self.left(client_id, room)

    def listed(self, room: str) -> None:
        """Take note that somebody reads who is in a room: it must hear of who comes back."""
        state = self._rooms.get(room)
        if state is not None:
            state.missed.update(state.leaving, state.leaves)

    def tick(self) -> None:
        """Tell what has become due."""
        now = self._clock.monotonic()
        for room, state in list(self._rooms.items()):
            # Before the leaves, so that nobody comes and goes in one event.
            self._tell_if_due(room, state)
            for client_id in [one for one, at in state.leaving.items() if at <= now]:
                del state.leaving[client_id]
                state.leaves[client_id] = state.members.pop(client_id)
            self._tell_if_due(room, state)
            if state.is_idle:
                del self._rooms[room]

    def _tell_if_due(self, room: str, state: _Room) -> None:
        now = self._clock.monotonic()
        if not (state.joins or state.leaves) or now - state.told_at < _SHORTEST_SECONDS:
            return
        joins, leaves = state.joins, state.leaves
        state.missed.difference_update(leaves)
        state.joins, state.leaves, state.told_at = {}, {}, now
        payload = {
            "room": room,
            "joins": list(joins.values()),
            "leaves": list(leaves.values()),
            "timestamp": format_timestamp(self._clock.now()),
        }
        # Nobody is told of itself: who comes is told of the others that came with it.
        target = Target(rooms=(room,), excluded=frozenset(joins))
        self._publisher.announce("presence", payload, target)
        for client_id in joins:
            others = [told for one, told in joins.items() if one != client_id]
            if (others or leaves) and client_id not in state.leaving:
                self._transport.send(client_id, "presence", {**payload, "joins": others})
