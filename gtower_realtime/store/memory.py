"""The event log in memory: what is recorded lives as long as the process."""

import secrets
from collections import deque

from gtower_realtime import strict_json
from gtower_realtime.ports import Clock, Offset, Publication


class MemoryEventLog:
    """An `EventLog` bounded by events, bytes of JSON and age, 0 for no bound; oldest go first."""

    def __init__(
        self, clock: Clock, *, max_events: int, max_bytes: int, max_age_seconds: float
    ) -> None:
        self._clock = clock
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._max_age_seconds = max_age_seconds
        self._epoch = secrets.token_hex(4)
        self._last_number = 0
        self._records: deque[tuple[float, int, Publication]] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._records)

    async def append(self, publication: Publication) -> Offset:
        """Record ``publication`` and return its offset; see `EventLog.append`."""
        size = len(strict_json.dumps(publication.payload).encode())
        self._last_number += 1
        self._records.append((self._clock.monotonic(), size, publication))
        self._bytes += size
        self._trim()
        return Offset(self._epoch, self._last_number)

    def _trim(self) -> None:
        expired = self._clock.monotonic() - self._max_age_seconds
        while self._records:
            recorded_at, size, _ = self._records[0]
            is_over = (
                0 < self._max_events < len(self._records)
                or 0 < self._max_bytes < self._bytes
                or (self._max_age_seconds > 0 and recorded_at < expired)
            )
            if not is_over:
                return
            self._records.popleft()
            self._bytes -= size
