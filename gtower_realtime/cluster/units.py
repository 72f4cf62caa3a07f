"""What belongs together: changes that other processes see all at once, or not at all."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gtower_realtime import strict_json
from gtower_realtime.cluster.link import Kept
from gtower_realtime.cluster.scripts import Keys
from gtower_realtime.errors import IdempotencyInFlight, RealtimeError, StoreUnavailable
from gtower_realtime.records import (
    AnswerGiven,
    EventAcknowledged,
    EventAppended,
    EventRelayed,
    RoomEntered,
    RoomLeft,
    SessionAway,
    SessionEnded,
    SessionOpened,
    SessionTaken,
    SharedChange,
    StoredEvent,
    WebhookMarked,
)

_MARKS_KEPT_MS = 8 * 86_400_000
"""Longer than Meta sends a webhook again; the stores of the processes keep marks for longer."""


@dataclass(slots=True)
class Unit:
    """Changes of this process on their way, and what waits until they have taken effect.

    ``stored`` is the event among them; ``began`` is monotonic.
    """

    sequence: int
    changes: Sequence[SharedChange]
    text: str
    kept: str
    stored: StoredEvent | None
    apply: Callable[[int], Any]
    outcome: "asyncio.Future[Any]"
    began: float

    @property
    def size(self) -> int:
        """What it counts against the bounds of what waits, in bytes, about."""
        return len(self.text) + len(self.kept)

    @property
    def is_fleeting(self) -> bool:
        """Whether it is of use only at once."""
        return any(isinstance(change, EventRelayed) for change in self.changes)

    def take_effect(self, number: int) -> None:
        """Apply it, and tell who waits for it."""
        try:
            result = self.apply(number)
        except Exception as fault:  # noqa: BLE001 - told to the one who waits
            self.fail(fault)
        else:
            if not self.outcome.done():
                self.outcome.set_result(result)

    def fail(self, problem: Exception) -> None:
        """Tell who waits for it that it has not taken effect."""
        if not self.outcome.done():
            self.outcome.set_exception(problem)

    def refusal(self) -> RealtimeError:
        """Return why Redis did not take it: somebody else has done the same meanwhile."""
        if any(isinstance(change, AnswerGiven) for change in self.changes):
            return IdempotencyInFlight("A request with this key is being worked on.")
        return StoreUnavailable(
            "Another process has published this meanwhile.", headers={"Retry-After": "1"}
        )


def kept_with(changes: Sequence[SharedChange], keys: Keys, now: int) -> str:
    """Return what is to be kept by key with a unit, as JSON for `scripts.APPEND`.

    An answer that comes with its event is the first one or none; a mark is set only if nobody has
    changed it since it was looked at.
    """
    is_event = any(isinstance(change, EventAppended) for change in changes)
    kept: list[Kept] = []
    for change in changes:
        if isinstance(change, AnswerGiven):
            answer = change.answer
            key = keys.answer(answer.key)
            lifetime = max(1, answer.expires_at - now)
            kept.append(Kept(key, strict_json.dumps(answer), lifetime, "!" if is_event else ""))
        elif isinstance(change, WebhookMarked):
            mark = change.mark
            rule = "!" if mark.before is None else f"={mark.before}"
            kept.append(Kept(keys.mark(mark.key), mark.value, _MARKS_KEPT_MS, rule))
    return strict_json.dumps([list(one) for one in kept]) if kept else ""


def session_of(change: SharedChange) -> str | None:
    """Return whose session a change is about; None when it is about none."""
    match change:
        case SessionOpened(session) | SessionTaken(session):
            return session.client_id
        case (
            SessionAway(client_id)
            | SessionEnded(client_id)
            | RoomEntered(client_id)
            | RoomLeft(client_id)
            | EventAcknowledged(client_id)
        ):
            return client_id
    return None
