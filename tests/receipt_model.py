"""What receipts and traces have to say, worked out anew, event by event and client by client.

Knows nothing of how the server does it: it moves each fate along as things happen.
"""

from dataclasses import dataclass, field
from typing import Literal

from gtower_realtime.ports import Target

Fate = tuple[str, str | None]
"""The state of an event at a client, and the reason."""

Place = Literal["here", "closing", "away", "gone"]

SLOW = "dropped as slow"
CUT_OFF = "cut off before it was confirmed"


@dataclass
class ModelEvent:
    """An event: ``number`` is its own in the log, or that of the last one before a volatile one."""

    id: str
    target: Target
    is_stored: bool
    number: int


@dataclass
class ModelClient:
    """A client and what became of all events at it.

    ``seen`` is the last number that it got, ``claimed`` what it said it had when it came back last.
    """

    id: str
    user_id: str
    can_return: bool
    place: Place = "here"
    is_stalled: bool = False
    rooms: set[str] = field(default_factory=set)
    fates: dict[str, Fate] = field(default_factory=dict)
    seen: int = 0
    claimed: int = 0
    confirmed: int = 0

    def is_addressed(self, target: Target) -> bool:
        return (
            target.everyone
            or self.id in target.clients
            or self.user_id in target.users
            or not self.rooms.isdisjoint(target.rooms)
        )


class Model:
    """All clients that there ever were, and all events."""

    def __init__(self, first_number: int = 0) -> None:
        self.clients: dict[str, ModelClient] = {}
        self.events: dict[str, ModelEvent] = {}
        self.number = first_number

    def those(self, *places: Place) -> list[ModelClient]:
        return [client for client in self.clients.values() if client.place in places]

    def connect(self, client: ModelClient) -> None:
        client.seen = client.claimed = client.confirmed = self.number
        self.clients[client.id] = client
        for event_id in self.events:
            client.fates[event_id] = ("not_matched", "not connected then")

    def publish(self, target: Target, *, is_stored: bool) -> tuple[list[str], list[str]]:
        """Publish an event whose id is not known yet; return who is handed it and who awaits it."""
        self.number += is_stored
        event = ModelEvent("", target, is_stored, self.number)
        self.events[""] = event
        for client in self.clients.values():
            client.fates[""] = self._fate(client, event)
        awaiting = [
            client.id
            for client in self.clients.values()
            if client.fates[""][0] == "pending" and client.place in {"away", "closing"}
        ]
        handed = [one.id for one in self.clients.values() if one.fates[""] == ("written", None)]
        return handed, awaiting

    def named(self, event_id: str) -> None:
        """Take note of the id of the event that was published last."""
        event = self.events.pop("")
        event.id = event_id
        self.events[event_id] = event
        for client in self.clients.values():
            client.fates[event_id] = client.fates.pop("")

    def _fate(self, client: ModelClient, event: ModelEvent) -> Fate:
        if client.place == "gone":
            return ("not_matched", "not connected then")
        if not client.is_addressed(event.target):
            return ("not_matched", "not in the room" if event.target.rooms else "not addressed")
        if client.id in event.target.excluded:
            return ("not_matched", "excepted")
        if client.place == "here":
            return self._hand_over(client, event)
        return ("pending" if event.is_stored and client.can_return else "dropped", "away")

    def _hand_over(self, client: ModelClient, event: ModelEvent) -> Fate:
        if client.is_stalled and not event.is_stored:
            return ("dropped", SLOW)
        if client.is_stalled:
            self._lose(client, "closing")
            return ("pending" if client.can_return else "dropped", SLOW)
        if event.is_stored:
            client.seen = event.number
        return ("written", None)

    def acknowledge(self, client: ModelClient, event_id: str) -> None:
        client.fates[event_id] = ("acknowledged", None)

    def pong(self, client: ModelClient) -> None:
        """A pong confirms what the client was handed before; its ping knew the last number."""
        client.confirmed = self.number
        for event_id, (state, reason) in client.fates.items():
            event = self.events[event_id]
            is_covered = event.is_stored or event.number < self.number
            if state == "written" and is_covered:
                client.fates[event_id] = ("acknowledged", reason)

    def cut(self, client: ModelClient) -> None:
        """The connection breaks."""
        self._lose(client, "away" if client.can_return else "gone")

    def departed(self, client: ModelClient) -> None:
        """A connection that was closing is gone."""
        client.place = "away" if client.can_return else "gone"

    def _lose(self, client: ModelClient, place: Place) -> None:
        client.place, client.is_stalled = place, False
        for event_id, (state, _) in client.fates.items():
            if state == "written":
                waits = place != "gone" and client.can_return and self.events[event_id].is_stored
                client.fates[event_id] = ("pending" if waits else "dropped", CUT_OFF)

    def end(self, client: ModelClient) -> None:
        """The client cannot come back any more, or has said good-bye."""
        self._lose(client, "gone")
        for event_id, (state, reason) in client.fates.items():
            if state == "pending":
                client.fates[event_id] = ("dropped", reason)

    def come_back(self, client: ModelClient, claimed: int) -> list[str]:
        """The client is back and has everything up to a number; return what it is sent."""
        client.place = "here"
        sent = []
        for event_id, (state, _) in client.fates.items():
            if state != "pending":
                continue
            if self.events[event_id].number <= max(claimed, client.confirmed):
                client.fates[event_id] = ("acknowledged", None)
            else:
                sent.append(event_id)
                client.fates[event_id] = ("written", "recovered")
                client.seen = max(client.seen, self.events[event_id].number)
        return sent
