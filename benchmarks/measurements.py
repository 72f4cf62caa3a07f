"""What was measured: samples of several competitors side by side, their medians and ratios."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

GENERATOR_IS_BUSY = 0.95
"""From this share of one core on the generator may have been what was measured."""


@dataclass(frozen=True)
class Sample:
    """One section. ``cost`` is in the unit of its row; ``rate`` is per second of wall time.

    ``generator`` is the CPU time of the load generator as a share of one core.
    """

    cost: float
    rate: float | None = None
    generator: float | None = None


@dataclass(frozen=True)
class Verdict:
    """A target beside the figure that it is for."""

    target: str
    figure: str
    is_met: bool


@dataclass
class Row:
    """One case of a workload: the n-th samples of all competitors were taken one after another."""

    workload: str
    case: str
    unit: str
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    verdicts: list[Verdict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def cost(self, key: str) -> float | None:
        """Return the median cost of a competitor, None if it was not measured."""
        samples = self.samples.get(key)
        return median(sample.cost for sample in samples) if samples else None

    def rate(self, key: str) -> float | None:
        """Return the median rate of a competitor."""
        rates = [sample.rate for sample in self.samples.get(key, []) if sample.rate is not None]
        return median(rates) if rates else None

    def generator(self, key: str) -> float | None:
        """Return the largest share of a core that the generator took beside a competitor."""
        shares = [
            sample.generator for sample in self.samples.get(key, []) if sample.generator is not None
        ]
        return max(shares, default=None)

    def gains(self, key: str, base: "Row | None" = None) -> list[float]:
        """Return, round by round, how many times what ours costs ``key`` costs.

        ``base`` is the row that ``key`` is taken from, this one if it is None.
        """
        theirs = (base or self).samples.get(key, [])
        pairs = zip(theirs, self.samples.get("ours", []), strict=False)
        return [their.cost / our.cost for their, our in pairs if our.cost]

    def rate_shares(self, base: "Row") -> list[float]:
        """Return, round by round, how many times the rate of ours in ``base`` ours has here."""
        pairs = zip(self.samples["ours"], base.samples["ours"], strict=True)
        return [(here.rate or 0) / there.rate for here, there in pairs if there.rate]

    def expect_at_least(self, least: float, target: str, ratios: Sequence[float]) -> None:
        """Note a target that the median of ``ratios`` has to reach."""
        if ratios:
            met = median(ratios) >= least
            self.verdicts.append(Verdict(f"≥ {least:g} times {target}", _range(ratios), met))

    def expect_at_most(self, most: float, target: str, ratios: Sequence[float]) -> None:
        """Note a target that the median of ``ratios`` may not exceed."""
        if ratios:
            met = median(ratios) <= most
            self.verdicts.append(Verdict(f"≤ {most:g} times {target}", _range(ratios), met))

    def expect_gain(self, key: str, least: float, title: str, base: "Row | None" = None) -> None:
        """Note the target that ``key`` costs at least ``least`` times what ours does."""
        self.expect_at_least(least, title, self.gains(key, base))

    def expect_growth(self, base: "Row", most: float, title: str) -> None:
        """Note the target that ours costs at most ``most`` times what it does in ``base``."""
        self.expect_at_most(most, title, [1 / gain for gain in self.gains("ours", base)])

    def expect_share(self, key: str, most: float, title: str) -> None:
        """Note the target that ours costs at most ``most`` times what ``key`` does."""
        self.expect_at_most(most, title, [1 / gain for gain in self.gains(key)])

    def expect_cost(self, most: float) -> None:
        """Note the target that ours costs at most ``most``."""
        cost = self.cost("ours")
        if cost is not None:
            self.verdicts.append(
                Verdict(
                    f"≤ {most:g} {self.unit}",
                    _range([sample.cost for sample in self.samples["ours"]]),
                    cost <= most,
                )
            )

    def expect_never_above(self, most: float) -> None:
        """Note the target that no sample of ours exceeds ``most``."""
        costs = [sample.cost for sample in self.samples.get("ours", [])]
        if costs:
            target = f"≤ {most:g} {self.unit} each time"
            self.verdicts.append(Verdict(target, _range(costs), max(costs) <= most))

    def expect_none_lost(self, lost: int, twice: int, of: int) -> None:
        """Note the target that every delivery came, and came once."""
        figure = f"{lost} lost, {twice} twice of {of:,}"
        self.verdicts.append(Verdict("all once", figure, lost == twice == 0))

    def note_busy_generator(self) -> None:
        """Say so where the generator may have been the bottleneck."""
        busy = [
            key
            for key in self.samples
            if (share := self.generator(key)) is not None and share >= GENERATOR_IS_BUSY
        ]
        if busy:
            self.notes.append(f"the load generator was at its limit beside {', '.join(busy)}")

    def as_dict(self) -> Mapping[str, Any]:
        """Return all of it for JSON."""
        return asdict(self)


def _range(figures: Sequence[float]) -> str:
    """Return the median, and in brackets the smallest and the largest."""
    return f"{median(figures):.2f} ({min(figures):.2f} to {max(figures):.2f})"
