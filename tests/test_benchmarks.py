"""The workloads of `make bench` run: tiny, and without a look at how long anything takes."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from benchmarks import cluster, competitors, generator
from benchmarks.arena import Bench
from benchmarks.measurements import Row

LOAD = Path(generator.__file__).parent / "load" / "load.c"


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Return what measures with twenty clients, once and for a moment."""
    program = tmp_path / "load"
    subprocess.run(["cc", "-o", program, LOAD], check=True)
    monkeypatch.setattr(generator, "PROGRAM", program)
    monkeypatch.setattr(competitors, "BUILD", tmp_path)
    for name in ("WARM_UP_SECONDS", "_BEFORE_SECONDS", "_AWAY_SECONDS", "_AFTER_SECONDS"):
        monkeypatch.setattr(cluster, name, 0.2)
    return Bench(
        pairs=1, seconds=0.2, sizes=(20,), settings={}, most_connections=1000, say=lambda _: None
    )


def test_one_process_and_two_nodes_deliver_all_of_the_benchmark_once(bench: Bench) -> None:
    rows = list(cluster.cluster(bench))
    once = {row.case: row.verdicts[0].is_met for row in rows if row.verdicts}
    assert once == {
        "rooms of 10, 1 trigger at a time: 1 process, no Redis": True,
        "rooms of 10, 1 trigger at a time: 1 node": True,
        "rooms of 10, 1 trigger at a time: 2 nodes": True,
        "rooms of 10, 16 triggers in flight: 1 process, no Redis": True,
        "rooms of 10, 16 triggers in flight: 1 node": True,
        "rooms of 10, 16 triggers in flight: 2 nodes": True,
        "Redis there, 200 events/s: worst receipt": True,
        "Redis frozen for 0.2 s, 200 events/s: worst receipt": True,
        "Redis killed for 0.2 s, then empty, 200 events/s: worst receipt": True,
    }
    assert _sections(rows) == {row.case: 1 for row in rows}


def _sections(rows: list[Row]) -> Mapping[str, int]:
    return {row.case: len(row.samples["ours"]) for row in rows}
