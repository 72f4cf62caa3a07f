"""How far a process has read what Redis has, and how it would see that some of that is missing."""

from dataclasses import dataclass

from gtower_realtime.cluster.numbers import number_of

_NO_ENTRIES = ("known", "refused")
"""What becomes of a unit that is not appended; see `scripts.APPEND`."""


@dataclass(slots=True)
class Position:
    """Ids are those of the stream. What is read next follows ``log_id`` and ``inbox_id``."""

    log_id: str = "0-0"
    inbox_id: str = "0-0"
    last_known: str = "0-0"
    """The last entry that Redis is known to have had, read or appended."""
    read_at: float = 0.0
    """When it was read last, monotonic."""
    failed: int = 0
    """How often it could not be read."""
    losses: int = 0
    """How often Redis has lost something: what was read before that is no part of the log."""
    lost_at: str = ""
    """Where it was when Redis had lost something, until something is read of the new."""

    def know_of(self, entry_id: str) -> None:
        """Take note of an entry that Redis must still have when it is joined again."""
        if entry_id not in _NO_ENTRIES and number_of(entry_id) > number_of(self.last_known):
            self.last_known = entry_id

    def lose(self) -> None:
        """Take note that Redis has lost something."""
        self.losses += 1
        self.lost_at = self.log_id
        self.last_known = "0-0"

    def is_before(self, first_id: str) -> bool:
        """Say whether the log begins behind the next entry: some were not read."""
        if self.log_id == self.lost_at:
            return False  # what Redis has lost was in no place that this one could have missed
        return number_of(first_id) > number_of(self.log_id)
