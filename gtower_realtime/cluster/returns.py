"""Clients that have come back here, of which the log does not tell yet. No I/O.

Should another process tell meanwhile that a client came back there, what this one has to tell comes
later, and is the last word.
"""

from functools import partial
from typing import Any

from gtower_realtime.cluster.units import Unit


class Returns:
    """Each from the unit that tells of it until that is in the log, or has failed."""

    def __init__(self) -> None:
        self._sequences: dict[str, int] = {}

    def __contains__(self, client_id: object) -> bool:
        return client_id in self._sequences

    def begin(self, client_id: str, unit: Unit) -> None:
        """Take note of a client whose return a unit tells of."""
        self._sequences[client_id] = unit.sequence
        unit.outcome.add_done_callback(partial(self._forget_failed, client_id, unit.sequence))

    def had(self, client_id: str, sequence: int) -> None:
        """Take note that the log has a return; a later one may still be on its way."""
        if self._sequences.get(client_id) == sequence:
            del self._sequences[client_id]

    def _forget_failed(self, client_id: str, sequence: int, outcome: Any) -> None:
        if outcome.cancelled() or outcome.exception() is not None:
            self.had(client_id, sequence)
