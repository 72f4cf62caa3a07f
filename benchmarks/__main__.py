"""``python -m benchmarks``: measure, print tables and ratios, leave a report in `results/`."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from benchmarks import generator, report
from benchmarks.arena import Bench
from benchmarks.competitors import ALL, BUILD, HERE, NotAvailable, most_connections
from benchmarks.workloads import WORKLOADS


def main(arguments: Sequence[str]) -> int:
    """Run what the arguments say; return the exit status."""
    options = _parser().parse_args(arguments)
    chosen = [name.strip().upper() for name in options.workloads.split(",") if name.strip()]
    unknown = [name for name in chosen if name not in WORKLOADS]
    if unknown:
        _say(f"There is no workload {', '.join(unknown)}; there are {', '.join(WORKLOADS)}.")
        return os.EX_USAGE
    if not generator.PROGRAM.exists():
        _say("The load generator was not built, as there is no C compiler; nothing is measured.")
        return os.EX_UNAVAILABLE
    BUILD.mkdir(parents=True, exist_ok=True)
    settings = {"GTOWER_DATABASE_URL": options.store} if options.store else {}
    unavailable = {one.key: reason for one in ALL if (reason := one.missing())}
    bench = Bench(
        pairs=options.pairs,
        seconds=options.seconds,
        sizes=tuple(int(size) for size in options.sizes.split(",") if size),
        settings=settings,
        most_connections=most_connections(),
        say=_say,
        unavailable=frozenset(unavailable),
    )
    for reason in unavailable.values():
        bench.miss(reason)
    run = report.Run(datetime.now(UTC), options.pairs, options.seconds, settings)
    began, load = time.monotonic(), os.getloadavg()[0]
    for name in chosen or WORKLOADS:
        try:
            for row in WORKLOADS[name](bench):
                run.rows.append(row)
        except (NotAvailable, OSError) as problem:
            bench.miss(f"{name}: {problem}")
    run.missing = bench.missing
    run.took_seconds = time.monotonic() - began
    run.load = (load, os.getloadavg()[0])
    for table in (report.cost_table, report.target_table, report.rate_table):
        _say("\n" + report.text_table(table(run.rows)))
    suffix = "-" + "-".join(chosen) if chosen else ""
    _say(f"\nTook {run.took_seconds:.0f} s; see {run.write(HERE / 'results', suffix)}")
    return os.EX_OK


def _say(sentence: str) -> None:
    sys.stdout.write(sentence + "\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--workloads", default="", help="which of W1 to W9, like W1,W3; default all"
    )
    parser.add_argument("--sizes", default="", help="numbers of clients, like 1000,5000")
    parser.add_argument("--pairs", type=int, default=3, help="interleaved rounds (default 3)")
    parser.add_argument("--seconds", type=float, default=1.2, help="of each section (default 1.2)")
    parser.add_argument("--store", default="", help="GTOWER_DATABASE_URL of our server")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
