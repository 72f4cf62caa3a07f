"""The other processes of a cluster, as the service asks them. A single process has none."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from gtower_realtime.ack_waits import AckWait
from gtower_realtime.errors import UnknownClient
from gtower_realtime.records import StoredEvent

Missing = tuple[str, ...] | None
"""The names of the processes that have not answered in time; None when all have."""

Arguments = Mapping[str, Any]
"""What is said in JSON."""

Answering = Callable[[Arguments], Awaitable[dict[str, Any]]]
"""Answers a question of another process; what it raises of `RealtimeError` is told that one."""

Hearing = Callable[[Arguments], None]
"""Takes note of what another process has spread."""


def told_missing(missing: Missing) -> dict[str, Any]:
    """Return ``{"partial": True, "nodesMissing": [name]}``; nothing when nobody is missing."""
    return {} if missing is None else {"partial": True, "nodesMissing": list(missing)}


def missing_of(*parts: Missing) -> Missing:
    """Return who is missing from an answer that is made of several."""
    told = [part for part in parts if part is not None]
    return tuple(dict.fromkeys(name for part in told for name in part)) if told else None


@dataclass(frozen=True, slots=True)
class Told:
    """To how many connections of other processes an event was handed, and who has not told."""

    recipients: int
    missing: Missing


class Tally(Protocol):
    """What the other processes tell of one event."""

    async def outcome(self) -> Told:
        """Return it; to be called once the event is delivered here, and waits 100 ms at most."""

    def end(self) -> None:
        """Wait no longer. Idempotent."""


class Peers(Protocol):
    """Asks the other processes, and tells them what no log has."""

    @property
    def count(self) -> int:
        """How many others there are."""

    @property
    def is_cut_off(self) -> bool:
        """Whether none of them can be reached at the moment."""

    def answer(self, question: str, answering: Answering) -> None:
        """Have ``answering`` answer a question that others may ask."""

    def hear_of(self, subject: str, hearing: Hearing) -> None:
        """Have ``hearing`` called with what others spread about a subject."""

    def spread(self, subject: str, arguments: Arguments) -> None:
        """Tell all others something that does no harm if it is lost."""

    def expect(self, event_id: str, wait: AckWait | None) -> Tally | None:
        """Be told of an event that is about to be published; None when there is nobody to tell.

        ``wait`` is told of the clients that were asked to acknowledge it.
        """

    def relay(self, event: StoredEvent, *, droppable: bool) -> None:
        """Have the others deliver an event that is not stored."""

    def acknowledged(self, client_id: str, number: int) -> None:
        """Have the others know that a client has acknowledged an event that is in the log."""

    async def roll_call(self) -> Missing:
        """Wait until all that has happened at the others is known here, 500 ms at most."""

    async def ask(self, node: str, question: str, arguments: Arguments) -> dict[str, Any]:
        """Have one of the others answer a question.

        Raises:
            Overloaded: it does not within 500 ms.
            RealtimeError: what it answers with.
        """

    async def ask_all(
        self, question: str, arguments: Arguments
    ) -> tuple[list[dict[str, Any]], Missing]:
        """Have all others answer a question, within 500 ms."""


class NoPeers:
    """What a single process has in their place; see `Peers`."""

    count = 0
    is_cut_off = False

    def answer(self, question: str, answering: Answering) -> None:
        """Do nothing: nobody asks."""

    def hear_of(self, subject: str, hearing: Hearing) -> None:
        """Do nothing: nobody spreads anything."""

    def spread(self, subject: str, arguments: Arguments) -> None:
        """Do nothing: there is nobody else."""

    def expect(self, event_id: str, wait: AckWait | None) -> Tally | None:
        """Return None: nobody tells anything."""
        return None

    def relay(self, event: StoredEvent, *, droppable: bool) -> None:
        """Do nothing: there is nobody else."""

    def acknowledged(self, client_id: str, number: int) -> None:
        """Do nothing: nobody else could send it again."""

    async def roll_call(self) -> Missing:
        """Return None: nobody is missing."""
        return None

    async def ask(self, node: str, question: str, arguments: Arguments) -> dict[str, Any]:
        """Refuse: there is nobody to ask."""
        raise UnknownClient("There is no other process.")

    async def ask_all(
        self, question: str, arguments: Arguments
    ) -> tuple[list[dict[str, Any]], Missing]:
        """Return no answer, and nobody who is missing."""
        return [], None
