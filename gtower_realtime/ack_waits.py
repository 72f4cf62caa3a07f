"""Publishing that waits until the clients' listeners have acknowledged the event. No wires."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gtower_realtime.errors import Overloaded

MAX_WAITING = 1000
"""Requests that may wait at the same time."""

MAX_WAIT_SECONDS = 60.0


@dataclass(slots=True)
class Acknowledged:
    """What became of an event at each client that it was handed to; lists of client ids."""

    acked: list[str]
    timed_out: list[str]
    disconnected: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Return ``{"acked", "timedOut", "disconnected"}``."""
        return {
            "acked": self.acked,
            "timedOut": self.timed_out,
            "disconnected": self.disconnected,
        }


Heard = Callable[[str, bool], None]
"""Called with a client's id, and whether it has acknowledged or is gone."""


class AckWait:
    """One event whose acknowledgements are waited for, from its delivery on.

    It is handed over in as many places as ``deliveries``: each tells whom to expect.
    """

    def __init__(
        self, waits: "AckWaits", seconds: float, deliveries: int, heard: Heard | None = None
    ) -> None:
        self._waits = waits
        self._seconds = seconds
        self._deliveries = deliveries
        self._heard = heard
        self._missing: dict[str, None] = {}
        self._result = Acknowledged([], [], [])
        self._timer: asyncio.TimerHandle | None = None
        self.outcome: asyncio.Future[Acknowledged] = asyncio.get_running_loop().create_future()

    def expect(self, client_ids: Sequence[str]) -> None:
        """Begin to wait for these clients, those of one delivery; silent when it is over."""
        self._deliveries -= 1
        if self.outcome.done():
            return
        self._missing |= dict.fromkeys(client_ids)
        if self._is_complete:
            self.end()
            return
        self._waits.add(self, client_ids)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._seconds, self.end)

    def waits_for(self) -> list[str]:
        """Return the clients that have not answered."""
        return list(self._missing)

    @property
    def _is_complete(self) -> bool:
        return not self._missing and self._deliveries <= 0

    def acknowledge(self, client_id: str) -> None:
        """Take note that a client's listener has called its callback; once, and in time, counts."""
        self._take_out(client_id, self._result.acked, is_here=True)

    def lose(self, client_id: str) -> None:
        """Take note that a client is gone."""
        self._take_out(client_id, self._result.disconnected, is_here=False)

    def end(self) -> None:
        """Wait no longer. Idempotent."""
        self._waits.remove(self, self._missing)
        if self._timer is not None:
            self._timer.cancel()
        if not self.outcome.done():
            self._result.timed_out += self._missing
            self.outcome.set_result(self._result)
        self._missing = {}

    def _take_out(self, client_id: str, where: list[str], *, is_here: bool) -> None:
        if client_id in self._missing:
            del self._missing[client_id]
            self._waits.remove(self, (client_id,))
            where.append(client_id)
            if self._heard is not None:
                self._heard(client_id, is_here)
            if self._is_complete:
                self.end()


class AckWaits:
    """All waits of a process, bounded in number, and which clients they wait for."""

    def __init__(self) -> None:
        self._begun = 0
        self._of_client: dict[str, set[AckWait]] = {}

    def __len__(self) -> int:
        return self._begun

    def begin(self, seconds: float, deliveries: int = 1) -> AckWait:
        """Return a wait for an event that is about to be published; see `AckWait`.

        Raises:
            Overloaded: as many wait as may.
        """
        if self._begun >= MAX_WAITING:
            raise Overloaded(
                f"{MAX_WAITING} requests wait for acknowledgements already; try again later.",
                headers={"Retry-After": "1"},
            )
        wait = AckWait(self, seconds, deliveries)
        self._begun += 1
        wait.outcome.add_done_callback(self._count_out)
        return wait

    def follow(self, heard: Heard) -> AckWait:
        """Return a wait for an event of another process, which is told of each client.

        That process bounds how many there are.
        """
        return AckWait(self, MAX_WAIT_SECONDS, 1, heard)

    def _count_out(self, _outcome: "asyncio.Future[Acknowledged]") -> None:
        self._begun -= 1

    def add(self, wait: AckWait, client_ids: Sequence[str]) -> None:
        """Have a wait hear of these clients; for `AckWait`."""
        for client_id in client_ids:
            self._of_client.setdefault(client_id, set()).add(wait)

    def remove(self, wait: AckWait, client_ids: "Sequence[str] | dict[str, None]") -> None:
        """Have a wait hear of these clients no more; for `AckWait`."""
        for client_id in client_ids:
            waits = self._of_client.get(client_id, set())
            waits.discard(wait)
            if not waits:
                self._of_client.pop(client_id, None)

    def gone(self, client_id: str) -> None:
        """Take note that a client is gone: nothing is to be expected of it."""
        for wait in tuple(self._of_client.get(client_id, ())):
            wait.lose(client_id)
