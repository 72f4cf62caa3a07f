"""What `/metrics` of a server says, read as Prometheus reads it."""

from collections import defaultdict
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families
from tornado.httpclient import AsyncHTTPClient

Labels = frozenset[tuple[str, str]]


@dataclass
class Exposition:
    """One scrape: the samples, and the names of the families in the order of the text."""

    samples: dict[tuple[str, Labels], float] = field(default_factory=dict)
    families: list[str] = field(default_factory=list)

    def __call__(self, name: str, **labels: str) -> float:
        """Return the value of the sample ``gtower_<name>`` with exactly these labels.

        Raises:
            KeyError: there is none.
        """
        return self.samples[f"gtower_{name}", frozenset(labels.items())]

    def by(self, name: str, label: str) -> dict[str, float]:
        """Return the values of the samples ``gtower_<name>`` by one of their labels."""
        return {
            dict(labels)[label]: value
            for (sample, labels), value in self.samples.items()
            if sample == f"gtower_{name}"
        }

    def labels(self) -> dict[str, set[str]]:
        """Return the names of the labels of each sample by its name."""
        found: dict[str, set[str]] = defaultdict(set)
        for name, labels in self.samples:
            found[name] |= {label for label, _ in labels}
        return found


async def scrape(base_url: str) -> Exposition:
    """Ask a server for its metrics."""
    answer = await AsyncHTTPClient().fetch(f"{base_url}/metrics")
    exposition = Exposition()
    for family in text_string_to_metric_families(answer.body.decode()):
        exposition.families.append(family.name)
        for sample in family.samples:
            exposition.samples[sample.name, frozenset(sample.labels.items())] = sample.value
    return exposition
