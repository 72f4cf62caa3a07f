"""How workloads measure: servers with their load generators, side by side and in turns.

All servers of a case run at the same time and are measured A B A B …, so that whatever else the
machine does meets all of them.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType

from benchmarks.competitors import Competitor, NotAvailable, Server
from benchmarks.generator import Generator, Report
from benchmarks.measurements import Row, Sample

PER_DELIVERY = "µs CPU per delivery"

# About 200 bytes of JSON.
PAYLOAD = json.dumps(
    {
        "orderId": 1042,
        "state": "shipped",
        "customer": "c-20011",
        "note": "The parcel has left the warehouse and will be with you within two working days; "
        "its number is on the way to you as well.",
    },
    separators=(",", ":"),
)
ROOM_SIZE = 10
TO_ROOM = "/websocket/event/room/{room}/orderUpdated"

WARM_UP_SECONDS = 0.7
SETTLE_SECONDS = 0.3
_AT_ONCE = 64
_GONE_SECONDS = 120.0

_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass
class Bench:
    """How to measure. ``sizes`` replaces the numbers of clients of W1, W2, W4, W5, W6 and W9.

    ``settings`` are environment variables for our server. What could not be measured is collected
    in ``missing``, one sentence each.
    """

    pairs: int
    seconds: float
    sizes: tuple[int, ...]
    settings: Mapping[str, str]
    most_connections: int
    say: Callable[[str], None]
    unavailable: frozenset[str] = frozenset()
    missing: list[str] = field(default_factory=list)

    def sizes_or(self, *usual: int) -> list[int]:
        """Return the numbers of clients to measure with, as far as the system allows them."""
        wanted = self.sizes or usual
        possible = [size for size in wanted if size <= self.most_connections]
        for size in wanted:
            if size not in possible:
                self.miss(f"{size:,} clients: too few open files are allowed")
        return possible

    def available(self, *competitors: Competitor) -> list[Competitor]:
        """Return those that can be started."""
        return [one for one in competitors if one.key not in self.unavailable]

    def miss(self, sentence: str) -> None:
        """Note what is not measured."""
        if sentence not in self.missing:
            self.missing.append(sentence)
            self.say(f"  not measured: {sentence}")


class Arena:
    """One running server with its own load generator."""

    def __init__(self, server: Server, generator: Generator) -> None:
        self.server = server
        self.generator = generator

    @property
    def key(self) -> str:
        """Whose server it is."""
        return self.server.competitor.key

    def connect(self, clients: int, room_size: int = 0) -> Report:
        """Connect clients and wait until all are connected, and joined to their rooms."""
        return self.generator.tell("connect", clients, _AT_ONCE, room_size)

    def disconnect(self, clients: int, remaining: int = 0) -> None:
        """Cut off the clients that came last and wait until the server knows it."""
        self.generator.tell("disconnect", clients)
        deadline = time.monotonic() + _GONE_SECONDS
        while self.server.connected_clients() > remaining:
            if time.monotonic() > deadline:
                raise NotAvailable("clients that are gone are still counted")
            time.sleep(0.05)
        time.sleep(SETTLE_SECONDS)

    def measure(self, *command: object, units: int | None = None) -> Sample:
        """Have the generator do something; return CPU µs per delivery, or per unit."""
        before = self.server.cpu_seconds()
        report = self.generator.tell(*command)
        used = self.server.cpu_seconds() - before
        count = units or report.deliveries
        return Sample(
            cost=used * 1e6 / count,
            rate=count / report.seconds,
            generator=report.cpu_seconds / report.seconds,
        )

    def trigger(
        self, seconds: float, in_flight: int, each: int, path: str, body: str = PAYLOAD
    ) -> Sample:
        """Send triggers over HTTP, each of them ``each`` deliveries."""
        return self.measure("trigger", seconds, 0, in_flight, each, path, body)


@contextmanager
def arenas(
    bench: Bench,
    competitors: Sequence[Competitor],
    *,
    announces: bool = False,
    settings: Mapping[str, str] = _NOTHING,
) -> Iterator[list[Arena]]:
    """Start servers of all competitors."""
    with ExitStack() as stack:
        running = []
        for competitor in competitors:
            server = stack.enter_context(
                Server(competitor, announces=announces, settings={**bench.settings, **settings})
            )
            running.append(Arena(server, stack.enter_context(Generator(server.port))))
        yield running


Turn = tuple[Row, str, Callable[[], Sample]]
"""Where a sample belongs, whose it is, and what takes it."""


def interleave(bench: Bench, turns: Sequence[Turn]) -> None:
    """Take the samples in turns: A B A B …"""
    for _ in range(bench.pairs):
        for row, key, measure in turns:
            row.samples.setdefault(key, []).append(measure())
    for row, _, _ in turns:
        row.note_busy_generator()


def compare(
    bench: Bench, row: Row, running: Sequence[Arena], measure: Callable[[Arena, float], Sample]
) -> Row:
    """Fill a row: ``measure`` is called with an arena and the seconds to take, first to warm up."""
    bench.say(f"{row.workload} {row.case}")
    for arena in running:
        measure(arena, WARM_UP_SECONDS)
    interleave(
        bench, [(row, arena.key, partial(measure, arena, bench.seconds)) for arena in running]
    )
    return row
