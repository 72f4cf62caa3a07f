"""Whether the event loop gets to its work: late for a moment, or for so long that it is stuck.

Is told how late the loop was each time; measures nothing itself.
"""

from collections.abc import Callable

LATE_SECONDS = 1.0
"""A loop that comes as late as this keeps everybody waiting."""

STUCK_SECONDS = 30.0
"""Late every time for as long, it will not mend by itself."""

_REMEMBERED_SECONDS = 30.0


class LoopHealth:
    """What was measured of the loop last. ``monotonic`` returns seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._late_since: float | None = None
        self._period_began = monotonic()
        self._largest = 0.0
        self._largest_before = 0.0

    def measured(self, lag: float) -> None:
        """Take note that the loop came ``lag`` seconds late."""
        now = self._monotonic()
        if lag < LATE_SECONDS:
            self._late_since = None
        elif self._late_since is None:
            self._late_since = now
        if now - self._period_began >= _REMEMBERED_SECONDS:
            self._period_began = now
            self._largest_before, self._largest = self._largest, 0.0
        self._largest = max(self._largest, lag)

    @property
    def largest_lag(self) -> float:
        """The most seconds that it came late in the last half minute, and up to one."""
        return max(self._largest, self._largest_before)

    @property
    def is_late(self) -> bool:
        """Whether it came late the last time: new work had better go elsewhere."""
        return self._late_since is not None

    @property
    def is_stuck(self) -> bool:
        """Whether it has come late every time for long: only a restart will help."""
        since = self._late_since
        return since is not None and self._monotonic() - since >= STUCK_SECONDS
