"""The workloads W1 to W9 of `make bench`, and how cost grows with the number of clients.

Each is a function that takes a `Bench` and yields rows.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from tempfile import TemporaryDirectory

from benchmarks.arena import (
    PAYLOAD,
    PER_DELIVERY,
    ROOM_SIZE,
    SETTLE_SECONDS,
    TO_ROOM,
    WARM_UP_SECONDS,
    Arena,
    Bench,
    Turn,
    arenas,
    compare,
    interleave,
)
from benchmarks.cluster import cluster
from benchmarks.competitors import EXPRESS, LIMIT, NODE, OURS, STOCK, NotAvailable
from benchmarks.measurements import Row, Sample

PER_EVENT = "µs CPU per event"
PER_CONNECTION = "µs CPU per connection"
PER_IDLE = "KB per idle connection"

_BROADCAST = "/websocket/event/broadcast/orderUpdated"
_TO_CLIENT = "/websocket/event/client/{client}/orderUpdated"
_BATCHES = "/websocket/batch"
_BATCH = 100
_ROUNDS = 5

_FLOODED = 20
_FLOOD_EVENT_BYTES = 50_000
_FLOOD_EVENTS = 2000
_FLOOD_SECONDS = 60
_FLOOD_PAIRS = 5

# Node's compiler takes as many before it has made up its mind.
_FIRST_CLIENTS = 1000
_STORED_CLIENTS = 100
_LEAVING = 300
_LEFT_BEHIND = 30_000

_WITHOUT_STOCK = "stock python-socketio is left out for the sake of time"


def _triggers(in_flight: int, each: int, path: str) -> Callable[[Arena, float], Sample]:
    return lambda arena, seconds: arena.trigger(seconds, in_flight, each, path)


def broadcast(bench: Bench) -> Iterator[Row]:
    """W1: an event to everybody, by one HTTP trigger at a time, and by eight."""
    for clients in bench.sizes_or(1000, 5000):
        with arenas(bench, bench.available(OURS, NODE, STOCK, LIMIT)) as running:
            for arena in running:
                arena.connect(clients)
            row = Row("W1", f"broadcast to {clients:,} clients, 1 trigger at a time", PER_DELIVERY)
            compare(bench, row, running, _triggers(1, clients, _BROADCAST))
            row.expect_gain("node", 2.3, "Node")
            row.expect_share("limit", 1.35, "C send()")
            yield row
            if clients <= 1000:
                case = f"broadcast to {clients:,} clients, 8 triggers in flight"
                row = Row("W1", case, PER_DELIVERY)
                some = [arena for arena in running if arena.key in {"ours", "node"}]
                yield compare(bench, row, some, _triggers(8, clients, _BROADCAST))


def rooms(bench: Bench) -> Iterator[Row]:
    """W2: events to rooms of ten, emitted inside of the process, and over HTTP."""
    clients = bench.sizes_or(1000)[0]
    with arenas(bench, bench.available(OURS, NODE, EXPRESS, STOCK, LIMIT)) as running:
        for arena in running:
            arena.connect(clients, ROOM_SIZE)
        row = Row("W2", f"rooms of {ROOM_SIZE}, emitted in process", PER_DELIVERY)
        emitting = [arena for arena in running if arena.key != "express"]
        emits = _triggers(1, _ROUNDS * clients, f"/bench/emit?rounds={_ROUNDS}")
        compare(bench, row, emitting, emits)
        row.expect_gain("node", 2.3, "Node")
        yield row
        row = Row("W2", f"rooms of {ROOM_SIZE}, HTTP triggers, 16 in flight", PER_DELIVERY)
        over_http = [arena for arena in running if arena.key != "limit"]
        compare(bench, row, over_http, _triggers(16, ROOM_SIZE, TO_ROOM))
        row.expect_gain("express", 1.3, "Express")
        yield row


def messages(bench: Bench) -> Iterator[Row]:
    """W3: clients say `message`: to all others, and an echo."""
    clients = 100
    with arenas(bench, bench.available(OURS, NODE, STOCK)) as running:
        for arena in running:
            arena.connect(clients)
        row = Row("W3", f"`message` of each of {clients} clients to all", PER_DELIVERY)
        compare(
            bench,
            row,
            running,
            lambda arena, seconds: arena.measure("say", seconds, clients, PAYLOAD),
        )
        row.expect_gain("node", 8, "Node")
        yield row


def single_triggers(bench: Bench) -> Iterator[Row]:
    """W4: HTTP triggers to one client each, and in batches."""
    clients = bench.sizes_or(1000)[0]
    with arenas(bench, bench.available(OURS, NODE, EXPRESS, STOCK, LIMIT)) as running:
        for arena in running:
            arena.connect(clients)
        row = Row("W4", "HTTP trigger to one client, 32 in flight", PER_EVENT)
        compare(bench, row, running, _triggers(32, 1, _TO_CLIENT))
        row.expect_gain("express", 1.3, "Express")
        yield row
        item = f'{{"event":"orderUpdated","data":{PAYLOAD},"clients":["{{client}}"]}}'
        body = f'{{"publish":[{",".join([item] * _BATCH)}]}}'
        batch = Row("W4", f"HTTP batches of {_BATCH}, 4 in flight", PER_EVENT)
        ours = [arena for arena in running if arena.key == OURS.key]
        try:
            compare(
                bench,
                batch,
                ours,
                lambda arena, seconds: arena.trigger(seconds, 4, _BATCH, _BATCHES, body),
            )
        except NotAvailable as refusal:
            bench.miss(f"W4, POST {_BATCHES}: not in this version ({refusal})")
            return
        batch.expect_gain("node", 5, "Node's single triggers", base=row)
        yield batch


def connects(bench: Bench) -> Iterator[Row]:
    """W5: from the TCP connection to the answer to joinRoom; with and without announcements."""
    for clients in bench.sizes_or(1000, 5000):
        is_large = clients > 1000
        competitors = bench.available(OURS, NODE, *([] if is_large else [STOCK]))
        with arenas(bench, competitors) as running:
            case = f"connect until joined, {clients:,} clients"
            row = _compare_connects(bench, case, running, clients, 0)
        row.expect_gain("node", 1.0 if is_large else 1.3, "Node")
        if is_large:
            row.notes.append(_WITHOUT_STOCK)
        yield row
    clients = bench.sizes_or(1000)[0]
    announcements = clients * (clients - 1) // 2
    with arenas(bench, bench.available(OURS, NODE), announces=True) as running:
        case = f"the same, {clients:,} clients and {announcements:,} `clientJoined`"
        row = _compare_connects(bench, case, running, clients, announcements)
    row.expect_gain("node", 5, "Node")
    row.notes.append(_WITHOUT_STOCK)
    yield row


def _compare_connects(
    bench: Bench, case: str, running: Sequence[Arena], clients: int, announcements: int
) -> Row:
    bench.say(f"W5 {case}")
    row = Row("W5", case, PER_CONNECTION)
    for arena in running:
        arena.connect(_FIRST_CLIENTS, ROOM_SIZE)
        arena.disconnect(_FIRST_CLIENTS)
    interleave(
        bench,
        [
            (row, arena.key, partial(_connect_all, arena, clients, announcements))
            for arena in running
        ],
    )
    return row


def _connect_all(arena: Arena, clients: int, announcements: int) -> Sample:
    cpu, began = arena.server.cpu_seconds(), time.monotonic()
    generator = arena.connect(clients, ROOM_SIZE).cpu_seconds
    if announcements:
        generator += arena.generator.tell("announced", announcements).cpu_seconds
    used, seconds = arena.server.cpu_seconds() - cpu, time.monotonic() - began
    arena.disconnect(clients)
    return Sample(used * 1e6 / clients, clients / seconds, generator / seconds)


def idle_memory(bench: Bench) -> Iterator[Row]:
    """W6: memory of connections that do nothing, in fresh processes."""
    bench.say("W6 memory of idle connections")
    sizes = sorted(bench.sizes_or(1000, 5000))
    rows = {
        clients: Row("W6", f"memory of {clients:,} idle connections", PER_IDLE) for clients in sizes
    }
    for _ in range(bench.pairs):
        for competitor in bench.available(OURS, NODE, STOCK):
            with arenas(bench, [competitor]) as (arena,):
                for clients, kilobytes in _memory_of(arena, sizes).items():
                    samples = rows[clients].samples.setdefault(competitor.key, [])
                    samples.append(Sample(kilobytes))
    for clients, most in {1000: 22, 5000: 18}.items():
        if clients in rows:
            rows[clients].expect_cost(most)
    yield from rows.values()


def _memory_of(arena: Arena, sizes: Sequence[int]) -> dict[int, float]:
    """Return KB per connection, by how many there are; ``sizes`` rise."""
    # No warm-up: what its connections leave free would be taken by the next ones, and not counted.
    time.sleep(SETTLE_SECONDS)
    empty, connected, kilobytes = arena.server.resident_bytes(), 0, {}
    for clients in sizes:
        arena.connect(clients - connected)
        connected = clients
        time.sleep(SETTLE_SECONDS)
        kilobytes[clients] = (arena.server.resident_bytes() - empty) / 1024 / clients
    return kilobytes


def slow_reader(bench: Bench) -> Iterator[Row]:
    """W7: one of twenty clients does not read while 100 MB are sent to each."""
    what = f"1 of {_FLOODED} clients does not read 100 MB"
    bench.say(f"W7 {what}")
    memory = Row("W7", f"{what}: memory for it", "MB")
    late = Row("W7", f"{what}: p99 of the others", "ms")
    usual = Row("W7", "all read: p99", "ms")
    with arenas(bench, bench.available(OURS, NODE)) as running:
        for arena in running:
            arena.connect(_FLOODED - 1)
            _flood(arena)
        # The slowest hundredth is what other processes disturb most.
        for _ in range(max(_FLOOD_PAIRS, bench.pairs)):
            for arena in running:
                peak_without, p99_without = _flood(arena)
                arena.connect(1)
                arena.generator.tell("stall", 1)
                peak, p99 = _flood(arena)
                arena.disconnect(1, _FLOODED - 1)
                for row, figure in (
                    (memory, peak - peak_without),
                    (late, p99),
                    (usual, p99_without),
                ):
                    row.samples.setdefault(arena.key, []).append(Sample(figure))
    memory.expect_cost(2)
    late.expect_growth(usual, 1.1, "that without it")
    late.notes.append(_WITHOUT_STOCK)
    yield from (memory, late, usual)


def _flood(arena: Arena) -> tuple[float, float]:
    """Send 100 MB to each client; return the peak of the memory in MB and the p99 in ms."""
    arena.server.forget_peak()
    body = json.dumps({"blob": "x" * _FLOOD_EVENT_BYTES})
    reading = _FLOODED - 1
    command = ("trigger", _FLOOD_SECONDS, _FLOOD_EVENTS, 1, reading, _BROADCAST, body)
    report = arena.generator.tell(*command)
    return arena.server.peak_resident_bytes() / 1e6, report.p99_us / 1000


def durable(bench: Bench) -> Iterator[Row]:
    """W8: triggers that are answered after the commit in SQLite, beside those kept in memory."""
    in_memory = Row("W8", "publish to one client, 32 in flight, `memory:`", PER_EVENT)
    on_disk = Row("W8", "publish to one client, 32 in flight, SQLite", PER_EVENT)
    bench.say("W8 durable publish")
    with TemporaryDirectory(prefix="gtower-bench-") as directory, ExitStack() as stack:
        turns: list[Turn] = []
        for row, url in (
            (in_memory, "memory:"),
            (on_disk, f"sqlite:///{directory}/durable.db"),
        ):
            settings = {"GTOWER_DATABASE_URL": url}
            try:
                (arena,) = stack.enter_context(arenas(bench, [OURS], settings=settings))
            except NotAvailable as refusal:
                bench.miss(f"W8, durable publish: {refusal}")
                return
            arena.connect(_STORED_CLIENTS)
            arena.trigger(WARM_UP_SECONDS, 32, 1, _TO_CLIENT)
            turns.append((row, arena.key, partial(arena.trigger, bench.seconds, 32, 1, _TO_CLIENT)))
        interleave(bench, turns)
    on_disk.expect_at_least(0.7, "the rate with memory:", on_disk.rate_shares(in_memory))
    yield from (in_memory, on_disk)


def growth(bench: Bench) -> Iterator[Row]:
    """What a delivery costs with ten times the clients, and what leaving costs among many."""
    few, many = 1000, 10_000
    if many > bench.most_connections:
        bench.miss(f"GROWTH: {many:,} clients: too few open files are allowed")
        return
    bench.say(f"GROWTH broadcast to {few:,} and {many:,} clients")
    rows = {
        size: Row("GROWTH", f"broadcast to {size:,} clients", PER_DELIVERY) for size in (few, many)
    }
    turns: list[Turn] = []
    with ExitStack() as stack:
        for size, row in rows.items():
            for arena in stack.enter_context(arenas(bench, bench.available(OURS, LIMIT))):
                arena.connect(size)
                arena.trigger(WARM_UP_SECONDS, 1, size, _BROADCAST)
                measure = partial(arena.trigger, bench.seconds, 1, size, _BROADCAST)
                turns.append((row, arena.key, measure))
        interleave(bench, turns)
    rows[many].expect_growth(rows[few], 1.2, f"that at {few:,}")
    rows[many].notes.append("what C send() grows by is the machine's own: its caches are full")
    yield from rows.values()
    yield from _leaving(bench)


def _leaving(bench: Bench) -> Iterator[Row]:
    sizes = (_LEAVING, min(_LEFT_BEHIND, bench.most_connections))
    bench.say(f"GROWTH leaving among {sizes[1]:,} clients")
    rows = [
        Row("GROWTH", f"{_LEAVING} of {size:,} clients leave", "µs CPU per leave") for size in sizes
    ]
    with arenas(bench, [OURS, OURS]) as running:
        turns: list[Turn] = []
        for arena, row, size in zip(running, rows, sizes, strict=True):
            arena.connect(size, ROOM_SIZE)
            _leave(arena, size)
            turns.append((row, arena.key, partial(_leave, arena, size)))
        interleave(bench, turns)
    rows[1].expect_growth(rows[0], 1.2, f"that of {_LEAVING}, which is the same but for noise")
    if sizes[1] < _LEFT_BEHIND:
        rows[1].notes.append(f"of {_LEFT_BEHIND:,} in the target: too few open files are allowed")
    yield from rows


def _leave(arena: Arena, size: int) -> Sample:
    before = arena.server.cpu_seconds()
    arena.disconnect(_LEAVING, size - _LEAVING)
    used = arena.server.cpu_seconds() - before
    arena.connect(_LEAVING, ROOM_SIZE)
    return Sample(used * 1e6 / _LEAVING)


WORKLOADS: Mapping[str, Callable[[Bench], Iterator[Row]]] = {
    "W1": broadcast,
    "W2": rooms,
    "W3": messages,
    "W4": single_triggers,
    "W5": connects,
    "W6": idle_memory,
    "W7": slow_reader,
    "W8": durable,
    "W9": cluster,
    "GROWTH": growth,
}
