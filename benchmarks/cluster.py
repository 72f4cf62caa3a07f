"""The workload W9: two processes over one Redis beside one, and what an outage of Redis costs.

The same clients and events go to one process without Redis, to one node with it, and to two nodes
that share one, half of each room at either. Every event has a number, so that what is lost or comes
twice is counted.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median

from benchmarks.arena import (
    PAYLOAD,
    PER_DELIVERY,
    ROOM_SIZE,
    SETTLE_SECONDS,
    TO_ROOM,
    WARM_UP_SECONDS,
    Bench,
)
from benchmarks.competitors import OURS, Server
from benchmarks.generator import Generator, Report
from benchmarks.measurements import Row, Sample
from benchmarks.redis_server import RedisServer

_CLIENTS = 1000
_AT_ONCE = 64
_NUMBERED = PAYLOAD.replace("{", '{"number":{number},', 1)

_LOADS = {1: "1 trigger at a time", 16: "16 triggers in flight"}

_PACE = 200
_BEFORE_SECONDS = 1.0
_AWAY_SECONDS = 3.0
_AFTER_SECONDS = 2.0
_WORST_MS = 100


@dataclass
class _Section:
    """One section of one deployment: CPU in seconds of its servers and of Redis."""

    report: Report
    servers: float
    redis: float


@dataclass
class _Deployment:
    """So many processes with the generator of their clients, and their Redis if they have one."""

    title: str
    servers: Sequence[Server]
    generator: Generator
    redis: RedisServer | None
    sections: list[_Section] = field(default_factory=list)

    def connect(self, clients: int) -> None:
        """Connect clients to the servers in turn, each room at all of them."""
        self.generator.tell("connect", clients, _AT_ONCE, ROOM_SIZE)
        time.sleep(SETTLE_SECONDS)

    def measure(self, seconds: float, in_flight: int) -> _Section:
        """Send triggers to the servers in turn."""
        servers, redis = self._cpu_seconds()
        self.generator.begin("trigger", seconds, 0, in_flight, ROOM_SIZE, TO_ROOM, _NUMBERED)
        report = self.generator.finish()
        servers_then, redis_then = self._cpu_seconds()
        return _Section(report, servers_then - servers, redis_then - redis)

    def _cpu_seconds(self) -> tuple[float, float]:
        servers = sum(server.cpu_seconds() for server in self.servers)
        return servers, self.redis.cpu_seconds() if self.redis else 0.0


def cluster(bench: Bench) -> Iterator[Row]:
    """W9: one process, one node and two nodes of a cluster; and the two while Redis is away."""
    clients = bench.sizes_or(_CLIENTS)[0] // ROOM_SIZE * ROOM_SIZE
    with ExitStack() as stack:
        deployments = [
            _deployed(bench, stack, "1 process, no Redis", 1),
            _deployed(bench, stack, "1 node", 1, stack.enter_context(RedisServer())),
        ]
        redis = stack.enter_context(RedisServer())
        two = _deployed(bench, stack, "2 nodes", 2, redis)
        deployments.append(two)
        for deployment in deployments:
            deployment.connect(clients)
        for in_flight, load in _LOADS.items():
            yield from _compare(bench, deployments, in_flight, load)
        # First without an outage: what is late then is so by the machine.
        yield _paced(bench, two, "there", _nothing, _nothing)
        away = f"for {_AWAY_SECONDS:g} s"
        for what, begin, end in (
            (f"frozen {away}", redis.freeze, redis.thaw),
            (f"killed {away}, then empty", redis.kill, redis.start_again),
        ):
            row = _paced(bench, two, what, begin, end)
            row.expect_never_above(_WORST_MS)
            yield row


def _deployed(
    bench: Bench, stack: ExitStack, title: str, count: int, redis: RedisServer | None = None
) -> _Deployment:
    settings = {**bench.settings, **({"GTOWER_REDIS_URL": redis.url} if redis else {})}
    servers = [stack.enter_context(Server(OURS, settings=settings)) for _ in range(count)]
    generator = stack.enter_context(Generator(*(server.port for server in servers)))
    return _Deployment(title, servers, generator, redis)


def _compare(
    bench: Bench, deployments: Sequence[_Deployment], in_flight: int, load: str
) -> Iterator[Row]:
    bench.say(f"W9 rooms of {ROOM_SIZE}, {load}")
    for deployment in deployments:
        deployment.sections.clear()
        deployment.measure(WARM_UP_SECONDS, in_flight)
    for _ in range(bench.pairs):
        for deployment in deployments:
            deployment.sections.append(deployment.measure(bench.seconds, in_flight))
    costs = [_cost_row(deployment, load) for deployment in deployments]
    alone = costs[0]
    for row in costs[1:]:
        times = [1 / gain for gain in row.gains(OURS.key, alone)]
        row.notes.append(f"{median(times):.2f} times the CPU of one process without Redis")
    yield from costs
    for deployment in deployments:
        if deployment.redis:
            case = f"{load}: Redis beside {deployment.title}"
            yield _row(
                case,
                PER_DELIVERY,
                [one.redis * 1e6 / one.report.deliveries for one in deployment.sections],
            )
    for deployment in deployments:
        yield _receipt_row(deployment, load)


def _cost_row(deployment: _Deployment, load: str) -> Row:
    row = Row("W9", f"rooms of {ROOM_SIZE}, {load}: {deployment.title}", PER_DELIVERY)
    reports = [section.report for section in deployment.sections]
    row.samples[OURS.key] = [
        Sample(
            cost=section.servers * 1e6 / section.report.deliveries,
            rate=section.report.deliveries / section.report.seconds,
            generator=section.report.cpu_seconds / section.report.seconds,
        )
        for section in deployment.sections
    ]
    row.note_busy_generator()
    _expect_all_once(row, reports)
    return row


def _receipt_row(deployment: _Deployment, load: str) -> Row:
    reports = [section.report for section in deployment.sections]
    row = _row(
        f"{load}: p99 of receipts, {deployment.title}",
        "ms",
        [report.receipt_p99_us / 1000 for report in reports],
    )
    usual = median(report.receipt_p50_us for report in reports) / 1000
    rate = median(report.sent / report.seconds for report in reports)
    row.notes.append(f"p50 {usual:.2f} ms, {rate:,.0f} events/s; {_partial(reports)}")
    return row


def _paced(
    bench: Bench,
    deployment: _Deployment,
    what: str,
    begin: Callable[[], None],
    end: Callable[[], None],
) -> Row:
    case = f"Redis {what}, {_PACE} events/s: worst receipt"
    bench.say(f"W9 {case}")
    reports = []
    for _ in range(bench.pairs):
        seconds = _BEFORE_SECONDS + _AWAY_SECONDS + _AFTER_SECONDS
        deployment.generator.begin("pace", seconds, _PACE, ROOM_SIZE, TO_ROOM, _NUMBERED)
        time.sleep(_BEFORE_SECONDS)
        begin()
        try:
            time.sleep(_AWAY_SECONDS)
        finally:
            end()
        reports.append(deployment.generator.finish())
    row = _row(case, "ms", [report.receipt_worst_us / 1000 for report in reports])
    _expect_all_once(row, reports)
    usual = median(report.receipt_p50_us for report in reports) / 1000
    late = median(report.receipt_p99_us for report in reports) / 1000
    row.notes.append(f"p50 {usual:.2f} ms, p99 {late:.2f} ms; {_partial(reports)}")
    return row


def _nothing() -> None:
    """Leave Redis as it is."""


def _row(case: str, unit: str, costs: Sequence[float]) -> Row:
    return Row("W9", case, unit, {OURS.key: [Sample(cost) for cost in costs]})


def _expect_all_once(row: Row, reports: Sequence[Report]) -> None:
    row.expect_none_lost(
        sum(report.lost for report in reports),
        sum(report.twice for report in reports),
        sum(report.expected for report in reports),
    )


def _partial(reports: Sequence[Report]) -> str:
    partial, sent = (sum(getattr(one, name) for one in reports) for name in ("partial", "sent"))
    return f"{partial:,} of {sent:,} receipts partial"
