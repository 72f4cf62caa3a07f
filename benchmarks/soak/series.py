"""What was measured over time, whether it rises, and what is left in the end. Pure figures."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median


@dataclass(frozen=True)
class Watched:
    """A figure of a server that must not rise while the number of clients stays what it is.

    It has risen clearly if the median of the last third of the samples is above that of the first
    by more than ``allowance`` and by more than the share ``noise`` of it. ``is_left`` says how much
    more than before the first client there may be when all have gone; None that it is not asked.
    """

    metric: str
    title: str
    allowance: float
    noise: float = 0.1
    is_left: float | None = 0.0
    unit: float = 1.0


WATCHED = (
    Watched("process_resident_memory_bytes", "memory, MB", 16, is_left=None, unit=1e6),
    Watched("process_open_fds", "descriptors", 30, 0.25, 2.0),
    Watched("tasks", "tasks", 20, 0.5, 2.0),
    Watched("connections", "connections", 30, 0.25),
    Watched("clients", "clients", 30, 0.25),
    Watched("sessions", "sessions", 60, 0.25),
    Watched("room_members", "members of rooms", 300, 0.5),
    Watched("rooms", "rooms", 60, 0.25),
    Watched("client_buffer_bytes", "buffers, MB", 16, 0.5, unit=1e6),
    Watched("store_queue_length", "store queue", 200, 0.5),
)


@dataclass
class Series:
    """The samples of one figure, as (seconds, value), oldest first."""

    watched: Watched
    samples: list[tuple[float, float]] = field(default_factory=list)

    def add(self, seconds: float, value: float) -> None:
        """Take a sample."""
        self.samples.append((seconds, value / self.watched.unit))

    @property
    def values(self) -> list[float]:
        """The values alone."""
        return [value for _, value in self.samples]

    def slope_per_hour(self) -> float:
        """Return the slope of the straight line with the least squares; 0 for under two samples."""
        if len(self.samples) < 2:
            return 0.0
        middle = sum(seconds for seconds, _ in self.samples) / len(self.samples)
        mean = sum(self.values) / len(self.samples)
        spread = sum((seconds - middle) ** 2 for seconds, _ in self.samples)
        common = sum((seconds - middle) * (value - mean) for seconds, value in self.samples)
        return 3600 * common / spread

    def rise(self) -> float:
        """Return by how much the median of the last third is above that of the first."""
        third = max(1, len(self.samples) // 3)
        return median(self.values[-third:]) - median(self.values[:third])

    def rises(self) -> bool:
        """Say whether that is more than chance makes it."""
        third = max(1, len(self.samples) // 3)
        base = median(self.values[:third])
        return self.rise() > max(self.watched.allowance, self.watched.noise * base)


@dataclass(frozen=True)
class Remains:
    """How much of a figure there was before the first client came, and after the last had gone."""

    watched: Watched
    before: float
    after: float

    @property
    def is_too_much(self) -> bool:
        """Whether something has stayed that should have gone."""
        allowed = self.watched.is_left
        return allowed is not None and self.after - self.before > allowed


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as a Markdown table, the first of them as its head."""
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
