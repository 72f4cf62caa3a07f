"""What this process has appended, or is about to, until it has read it back. No I/O."""

from collections import deque
from collections.abc import Iterator

from gtower_realtime.cluster.link import Sent
from gtower_realtime.cluster.units import Unit

_MAX_WAITING = 20_000
_MAX_WAITING_BYTES = 64 * 1024 * 1024

BATCH_UNITS = 500
BATCH_BYTES = 1_000_000
"""What is appended in one go, at the most, but for its last unit."""

_RETAINED_UNITS = 10_000
_RETAINED_BYTES = 16 * 1024 * 1024


class Pending:
    """Units in the order of their sequences, each until :meth:`take` or :meth:`take_all`."""

    def __init__(self) -> None:
        self._units: dict[int, Unit] = {}
        self.bytes = 0
        """What the units have together."""
        self._unsent: deque[Unit] = deque()

    def __len__(self) -> int:
        return len(self._units)

    def __iter__(self) -> Iterator[Unit]:
        return iter(self._units.values())

    @property
    def is_full(self) -> bool:
        """Whether as much waits as may: 20,000 units or 64 MiB."""
        return len(self._units) >= _MAX_WAITING or self.bytes >= _MAX_WAITING_BYTES

    @property
    def oldest(self) -> Unit:
        """The one that waits for the longest; there must be one."""
        return next(iter(self))

    def add(self, unit: Unit) -> None:
        """Take up a unit that is to be sent."""
        self._units[unit.sequence] = unit
        self.bytes += unit.size
        self._unsent.append(unit)

    def next_batch(self) -> list[Unit]:
        """Return the units that are to be sent next; none when all have been."""
        batch: list[Unit] = []
        size = 0
        while self._unsent and len(batch) < BATCH_UNITS and size < BATCH_BYTES:
            batch.append(self._unsent.popleft())
            size += batch[-1].size
        return batch

    def take(self, sequence: int) -> Unit | None:
        """Return a unit, which waits no more; None when it does not wait here."""
        unit = self._units.pop(sequence, None)
        if unit is not None:
            self.bytes -= unit.size
        return unit

    def take_all(self) -> list[Unit]:
        """Return all units, in their order; none of them waits here any more."""
        units = list(self)
        self._units.clear()
        self._unsent.clear()
        self.bytes = 0
        return units


class Retained:
    """What was sent last, in case that Redis loses it: 10,000 units or 16 MiB."""

    def __init__(self) -> None:
        self._sent: deque[Sent] = deque()
        self._bytes = 0

    def add(self, sent: Sent) -> None:
        """Remember what Redis has taken."""
        self._sent.append(sent)
        self._bytes += len(sent.text)
        while len(self._sent) > _RETAINED_UNITS or self._bytes > _RETAINED_BYTES:
            self._bytes -= len(self._sent.popleft().text)

    def first_of(self, origin: str) -> int:
        """Return the first sequence of a process that is here; beyond all when there is none."""
        return next((one.sequence for one in self._sent if one.origin == origin), 1 << 62)

    def batches(self) -> Iterator[list[Sent]]:
        """Yield all of it, in its order, in parts that are sent together."""
        sent = list(self._sent)
        for at in range(0, len(sent), BATCH_UNITS):
            yield sent[at : at + BATCH_UNITS]
