"""What the server counts, one line per metric: ``gtower_<noun>_<unit or total>``.

Labels come from closed sets only (names of tables, codes), never from what a client chose: no room
names, client ids or raw paths. What can be known by looking is looked at when it is asked for, see
`Metrics.when_asked`; counts of hot paths are resolved once, see `ByLabel` and `Traffic`. Example
row:

    self.disconnects = self._counter("disconnects", "Connections ended, by close code", "code")
"""

import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from gtower_realtime import __version__

PREFIX = "gtower"

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of what all histograms sort times into."""

_Labelled = TypeVar("_Labelled", Counter, Histogram)


class ByLabel(Generic[_Labelled]):
    """A metric with labels, of which each combination of values is looked up once.

    The library's own look-up takes several times as long as the count.
    """

    def __init__(self, metric: _Labelled) -> None:
        self.metric: _Labelled = metric
        self._of: dict[tuple[str, ...], _Labelled] = {}

    def labels(self, *values: str) -> _Labelled:
        """Return the count for values of the labels."""
        child = self._of.get(values)
        if child is None:
            child = self._of[values] = self.metric.labels(*values)
        return child


class Traffic:
    """Bytes that came and went, added up where counting in a metric would cost too much."""

    __slots__ = ("received", "sent")

    def __init__(self) -> None:
        self.received = 0
        self.sent = 0


@dataclass(frozen=True, slots=True)
class MetricRow:
    """What documents tell of a metric; ``name`` is what queries call it by."""

    name: str
    kind: str
    labels: tuple[str, ...]
    documentation: str


RELOAD_OUTCOMES = ("done", "refused")

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
        self._lookouts: list[Callable[[], None]] = []
        self._rows: list[MetricRow] = []
        # Before all others: they show what this has found.
        self.registry.register(_Lookout(self._lookouts))

        # Who is here
        self.clients = self._gauge("clients", "Clients: accepted namespace connections")
        self.users = self._gauge("users", "Different users that are connected with a token")
        self.rooms = self._gauge("rooms", "Rooms that have a member")
        self.room_members = self._gauge("room_members", "Memberships of clients in rooms")
        self.sessions = self._gauge(
            "sessions", "Sessions of clients that are connected, or may come back"
        )
        self.sessions_away = self._gauge("sessions_away", "Sessions whose client is away")

        # Connections
        self.connections = self._gauge("connections", "Engine.IO connections open", "transport")
        self.connections_accepted = ByLabel(
            self._counter(
                "connections_accepted",
                "Engine.IO connections opened, by the transport they began with",
                "transport",
            )
        )
        self.handshakes_refused = self._counter(
            "handshakes_refused", "Handshakes refused, by reason", "reason"
        )
        self.connects_refused = self._counter(
            "connects_refused", "CONNECTs refused because of the token, by error code", "code"
        )
        self.recoveries = self._counter(
            "recoveries",
            "Clients that asked for what they had missed: recovered, or why not",
            "outcome",
        )
        self.disconnects = self._counter("disconnects", "Connections ended, by close code", "code")

        # Events
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
        self.publish_seconds = self._histogram(
            "publish_duration_seconds",
            "Time from taking up an event until it is recorded and handed to all connections",
        )
        self.deliveries = self._counter(
            "deliveries", "Copies of published events handed to connections"
        )
        self.payload_bytes = self._counter(
            "payload_bytes", "Bytes of the payloads of these copies, as JSON in UTF-8"
        )
        self.custom_events = Names()
        """Custom events by name, for the analytics alone."""

        # Slow clients
        self.client_buffer_bytes = self._gauge(
            "client_buffer_bytes", "Bytes that wait for clients inside the process"
        )
        self.client_buffer_max_bytes = self._gauge(
            "client_buffer_max_bytes", "Bytes that wait for the client that most wait for"
        )
        self.slow_clients = self._gauge(
            "slow_clients", "Connections that have not taken all that was for them so far"
        )
        self.packets_dropped = self._counter(
            "packets_dropped", "Volatile packets that slow clients did not get"
        )

        # HTTP
        self.http_requests = ByLabel(
            self._counter(
                "http_requests", "HTTP requests answered, by route and status", "route", "status"
            )
        )
        self.http_seconds = ByLabel(
            self._histogram(
                "http_request_duration_seconds",
                "Time from a request of the API to its answer, by route",
                "route",
            )
        )
        self.http_refused = self._counter(
            "http_refused", "HTTP requests that were refused, by error code", "code"
        )
        self.rate_limited = self._counter(
            "rate_limited", "Events that had to wait, and requests refused, by the rate", "rate"
        )
        self.refusals = (
            self.events_refused,
            self.http_refused,
            self.handshakes_refused,
            self.connects_refused,
        )
        self.http_traffic = Traffic()
        self.websocket_traffic = Traffic()
        self._count_traffic(http=self.http_traffic, websocket=self.websocket_traffic)

        # The store
        self.store_failing = self._gauge(
            "store_failing", "1 while the event store does not take what is to be recorded"
        )
        self.store_queue = self._gauge(
            "store_queue_length", "Changes that wait for the next transaction of the store"
        )
        self.store_commit_seconds = self._histogram(
            "store_commit_duration_seconds", "Time that a transaction of the store has taken"
        )
        self.session_changes_lost = self._counter(
            "session_changes_lost", "Changes of sessions that could not be recorded"
        )

        self._count_cluster()
        self._count_whatsapp()

        # The process
        self.loop_lag_seconds = self._histogram(
            "loop_lag_seconds", "How late the event loop comes to what is due, sampled"
        )
        self.loop_stall_seconds = self._counter(
            "loop_stall_seconds", "Time in which the event loop was stalled by over 0.1 seconds"
        )
        self.tasks = self._gauge("tasks", "Tasks of the event loop")
        self.reloads = self._counter("reloads", "Reloads of the settings, by outcome", "outcome")
        self._tell_build()
        self._watch_process()

    def when_asked(self, look: Callable[[], None]) -> None:
        """Have ``look`` set what can be known by looking, each time before values are collected."""
        self._lookouts.append(look)

    def rows(self) -> list[MetricRow]:
        """Return a row for each metric, in the order of the exposition."""
        return list(self._rows)

    def samples(self) -> dict[str, float]:
        """Return all values by name and labels, as the text format has them."""
        return {
            sample.name + _labels(sample.labels): sample.value
            for family in self.registry.collect()
            for sample in family.samples
        }

    def exposition(self) -> bytes:
        """Return all values in the Prometheus text format 0.0.4."""
        return generate_latest(self.registry)

    def _counter(self, noun: str, documentation: str, *labels: str) -> Counter:
        self._note(f"{noun}_total", "counter", labels, documentation)
        return Counter(f"{PREFIX}_{noun}", documentation, labels, registry=self.registry)

    def _gauge(self, noun: str, documentation: str, *labels: str) -> Gauge:
        self._note(noun, "gauge", labels, documentation)
        return Gauge(f"{PREFIX}_{noun}", documentation, labels, registry=self.registry)

    def _histogram(self, noun: str, documentation: str, *labels: str) -> Histogram:
        self._note(noun, "histogram", labels, documentation)
        return Histogram(
            f"{PREFIX}_{noun}", documentation, labels, registry=self.registry, buckets=_SECONDS
        )

    def _count_traffic(self, **by_protocol: Traffic) -> None:
        for direction, preposition in (("received", "from"), ("sent", "to")):
            noun = f"{direction}_bytes"
            documentation = f"Bytes {direction} {preposition} the network, by protocol"
            self._note(f"{noun}_total", "counter", ("protocol",), documentation)
            collector = _TrafficCollector(f"{PREFIX}_{noun}", documentation, direction, by_protocol)
            self.registry.register(collector)

    def _count_cluster(self) -> None:
        self.cluster_nodes = self._gauge(
            "cluster_nodes", "Processes over the same Redis, this one among them; 0 without Redis"
        )
        self.cluster_cut_off = self._gauge(
            "cluster_cut_off", "1 while Redis is away, and this process goes on by itself"
        )
        self.cluster_cut_offs = self._counter(
            "cluster_cut_offs", "Times that Redis was lost, or was too slow"
        )
        self.cluster_append_seconds = self._histogram(
            "cluster_append_duration_seconds",
            "Time from taking up a change until it is read back from Redis, in its place",
        )
        self.outbox_entries = self._gauge("outbox_entries", "Changes that wait for Redis")
        self.outbox_bytes = self._gauge("outbox_bytes", "Bytes of the changes that wait for Redis")

    def _count_whatsapp(self) -> None:
        self.whatsapp_webhooks = self._counter(
            "whatsapp_webhooks",
            "Webhooks of WhatsApp: how they were received, and what became of those stored",
            "outcome",
        )
        self.whatsapp_updates = self._counter(
            "whatsapp_updates",
            "Messages and statuses in webhooks: published, or why not",
            "outcome",
        )
        self.whatsapp_lookups = self._counter(
            "whatsapp_lookups", "Times that the customer of a number was asked for", "outcome"
        )
        self.whatsapp_waiting = self._gauge(
            "whatsapp_waiting", "Webhooks that are stored and not worked through yet"
        )

    def _tell_build(self) -> None:
        documentation = "1; the labels say what runs"
        self._note("build_info", "gauge", ("version", "python"), documentation)
        info = Info(f"{PREFIX}_build", documentation, registry=self.registry)
        info.info({"version": __version__, "python": platform.python_version()})

    def _watch_process(self) -> None:
        for family in ProcessCollector(namespace=PREFIX, registry=self.registry).collect():
            ending = "_total" if family.type == "counter" else ""
            noun = family.name.removeprefix(f"{PREFIX}_") + ending
            self._note(noun, family.type, (), family.documentation.rstrip("."))

    def _note(self, noun: str, kind: str, labels: tuple[str, ...], documentation: str) -> None:
        self._rows.append(MetricRow(f"{PREFIX}_{noun}", kind, labels, documentation))


class _Lookout(Collector):
    """Has a look around before values are collected, and has none of its own."""

    def __init__(self, lookouts: list[Callable[[], None]]) -> None:
        self._lookouts = lookouts

    def collect(self) -> Iterator[Metric]:
        for look in self._lookouts:
            look()
        return iter(())


class _TrafficCollector(Collector):
    """Shows one direction of traffic by protocol."""

    def __init__(
        self, name: str, documentation: str, direction: str, by_protocol: Mapping[str, Traffic]
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._direction = direction
        self._by_protocol = by_protocol

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(self._name, self._documentation, labels=("protocol",))
        for protocol, traffic in self._by_protocol.items():
            family.add_metric((protocol,), getattr(traffic, self._direction))
        yield family


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{value}"' for name, value in labels.items()) + "}"
