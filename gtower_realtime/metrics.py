"""What the server counts, one line per metric: ``gtower_<noun>_<unit or total>``.

Labels come from closed sets only (names of tables, codes), never from what a client chose: no room
names, client ids or raw paths. Example row:

    self.disconnects = self._counter("disconnects", "Connections ended, by close code", "code")
"""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics
from prometheus_client.exposition import generate_latest


class ByLabel:
    """A counter with one label, whose values are looked up once.

    The library's own look-up takes several times as long as the count.
    """

    def __init__(self, counter: Counter) -> None:
        self.counter = counter
        self._of: dict[str, Counter] = {}

    def labels(self, value: str) -> Counter:
        """Return the count for a value of the label."""
        child = self._of.get(value)
        if child is None:
            child = self._of[value] = self.counter.labels(value)
        return child


OTHER = "other"
"""What names count as that are too many to be counted one by one."""

_MAX_NAMES = 1000


class Names:
    """How often each of many names came; of the first 1,000 different ones, then as `OTHER`.

    For the analytics alone: Prometheus must not get names that somebody else chooses.
    """

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    @property
    def counts(self) -> Mapping[str, int]:
        """The counts by name."""
        return self._counts

    def count(self, name: str) -> None:
        """Count a name once."""
        counts = self._counts
        if name not in counts and len(counts) >= _MAX_NAMES:
            name = OTHER
        counts[name] = counts.get(name, 0) + 1

    def clear(self) -> None:
        """Begin anew."""
        self._counts.clear()


def values(counter: Counter) -> dict[str, int]:
    """Return what a counter has counted, by its label; by the empty one when it has none."""
    return {
        next(iter(sample.labels.values()), ""): int(sample.value)
        for family in counter.collect()
        for sample in family.samples
    }


class Metrics:
    """All metrics of one server, in a registry of its own so that several can live in a process."""

    def __init__(self) -> None:
        # A second sample per counter, the time of its creation, that no dashboard here reads.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.clients = self._gauge("clients", "Clients: accepted namespace connections")
        self.events_received = ByLabel(
            self._counter(
                "events_received", "Events from clients, by name of the client-event table", "event"
            )
        )
        self.events_refused = self._counter(
            "events_refused", "Events from clients that were refused, by error code", "code"
        )
        self.events_published = ByLabel(
            self._counter(
                "events_published", "Events published, by name of the server-event table", "event"
            )
        )
        self.deliveries = self._counter(
            "deliveries", "Copies of published events handed to connections"
        )
        self.payload_bytes = self._counter(
            "payload_bytes", "Bytes of the payloads of these copies, as JSON in UTF-8"
        )
        self.custom_events = Names()
        self.http_requests = self._counter(
            "http_requests", "HTTP requests answered, by route and status", "route", "status"
        )
        self.http_refused = self._counter(
            "http_refused", "HTTP requests that were refused, by error code", "code"
        )
        self.connections = self._gauge("connections", "Engine.IO connections open", "transport")
        self.handshakes_refused = self._counter(
            "handshakes_refused", "Handshakes refused, by reason", "reason"
        )
        self.connects_refused = self._counter(
            "connects_refused", "CONNECTs refused because of the token, by error code", "code"
        )
        self.refusals = (
            self.events_refused,
            self.http_refused,
            self.handshakes_refused,
            self.connects_refused,
        )
        self.rate_limited = self._counter(
            "rate_limited", "Events that had to wait, and requests refused, by the rate", "rate"
        )
        self.store_failing = self._gauge(
            "store_failing", "1 while the event store does not take what is to be recorded"
        )
        self.session_changes_lost = self._counter(
            "session_changes_lost", "Changes of sessions that could not be recorded"
        )
        self.packets_dropped = self._counter(
            "packets_dropped", "Volatile packets that slow clients did not get"
        )
        self.loop_stall_seconds = self._counter(
            "loop_stall_seconds", "Time in which the event loop was stalled by over 0.1 seconds"
        )
        self.disconnects = self._counter("disconnects", "Connections ended, by close code", "code")

    def _counter(self, noun: str, documentation: str, *labels: str) -> Counter:
        return Counter(f"gtower_{noun}", documentation, labels, registry=self.registry)

    def _gauge(self, noun: str, documentation: str, *labels: str) -> Gauge:
        return Gauge(f"gtower_{noun}", documentation, labels, registry=self.registry)

    def exposition(self) -> bytes:
        """Return all values in the Prometheus text format 0.0.4."""
        return generate_latest(self.registry)
