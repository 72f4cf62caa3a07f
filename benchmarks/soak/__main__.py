"""``python -m benchmarks.soak``: clients come and go for some minutes; report what rises, or stays.

Exit status 1 when something rises clearly, stays behind, or was answered with a fault.
"""

import argparse
import asyncio
import json
import os
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

from tornado.httpclient import AsyncHTTPClient

from benchmarks.competitors import CHECKOUT
from benchmarks.soak.backends import Backends
from benchmarks.soak.series import WATCHED, Remains, Series, table
from benchmarks.soak.visitors import Visitors

_LOG = CHECKOUT / "build" / "soak" / "server.log"
_SAMPLE_SECONDS = 2.0
_WARM_UP = 0.25
_EMPTY_SECONDS = 90.0
_STOP_SECONDS = 30.0
_RECOVERY_SECONDS = 10

# Short, so that who has gone without a word is gone within the run.
_SETTINGS = {
    "GTOWER_PORT": "0",
    "GTOWER_LOG_FORMAT": "json",
    "GTOWER_TRUSTED_PROXIES": "127.0.0.1",
    "GTOWER_RECOVERY_SECONDS": str(_RECOVERY_SECONDS),
    "GTOWER_PING_INTERVAL": "4",
    "GTOWER_PING_TIMEOUT": "6",
    "GTOWER_CONNECT_TIMEOUT": "5",
    "GTOWER_PRESENCE_ROOMS": "soak-1",
    "GTOWER_LOG_MAX_EVENTS": "20000",
}


class Server:
    """The server that is watched: a process of its own, asked for its metrics."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._http = AsyncHTTPClient(force_instance=True)

    async def figures(self) -> dict[str, float]:
        """Return each watched figure as the server exposes it, added up over its labels."""
        answer = await self._http.fetch(f"http://127.0.0.1:{self.port}/metrics", request_timeout=60)
        text = answer.body.decode()
        return {
            watched.metric: sum(
                float(value)
                for value in re.findall(rf"^gtower_{watched.metric}(?:{{.*}})? (\S+)$", text, re.M)
            )
            for watched in WATCHED
        }


@asynccontextmanager
async def running_server(settings: Mapping[str, str]) -> AsyncIterator[Server]:
    """Start a server with a state directory of its own, and stop it in the end."""
    _LOG.parent.mkdir(parents=True, exist_ok=True)
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("GTOWER_")}
    with tempfile.TemporaryDirectory(prefix="gtower-soak-") as state, _LOG.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(CHECKOUT / "run.py"),
            cwd=CHECKOUT,
            env={**inherited, "GTOWER_STATE_DIR": state, **settings},
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
        try:
            line = (await process.stdout.readline()).decode() if process.stdout else ""
            port = re.search(r"http://[^/\s:]+:(\d+)", line)
            if port is None:
                raise SystemExit(f"The server did not start; see {_LOG}")
            yield Server(int(port[1]))
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            await asyncio.wait_for(process.wait(), _STOP_SECONDS)


class Soak:
    """One run, and what it found."""

    def __init__(self, server: Server, minutes: float, seats: int, seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311 - the same visits each time
        self._server = server
        self._seconds = minutes * 60
        self._seats = seats
        self._visitors = Visitors(server.port, chance)
        self._backends = Backends(server.port, chance)
        self._series = [Series(watched) for watched in WATCHED]
        self._before: dict[str, float] = {}
        self._after: dict[str, float] = {}

    async def run(self) -> None:
        """Let them come, sample, let them go, and wait until nothing is left of them."""
        _say("Filling what the server keeps of its newest events …")
        await self._backends.fill()
        self._before = await self._server.figures()
        _say(f"{self._seats} visitors at a time for {self._seconds / 60:g} minutes …")
        visiting = asyncio.create_task(self._visitors.keep_seats(self._seats))
        working = asyncio.create_task(self._backends.work())
        await self._sample()
        self._visitors.leave()
        await visiting
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working
        _say("All have gone; waiting until nothing is left of them …")
        self._after = await self._emptied()

    async def _sample(self) -> None:
        began = time.monotonic()
        while (seconds := time.monotonic() - began) < self._seconds:
            figures = await self._server.figures()
            if seconds >= _WARM_UP * self._seconds:
                for series in self._series:
                    series.add(seconds, figures[series.watched.metric])
            await asyncio.sleep(_SAMPLE_SECONDS)

    async def _emptied(self) -> dict[str, float]:
        until = time.monotonic() + _EMPTY_SECONDS
        while True:
            self._after = await self._server.figures()
            is_over = time.monotonic() > until
            if is_over or not any(remains.is_too_much for remains in self.remains()):
                return self._after
            await asyncio.sleep(1)

    def remains(self) -> list[Remains]:
        """Return what there was before, and what there is now."""
        return [
            Remains(
                watched,
                self._before[watched.metric] / watched.unit,
                self._after[watched.metric] / watched.unit,
            )
            for watched in WATCHED
        ]

    def report(self) -> str:
        """Return all figures in Markdown."""
        rows = [["", "first third", "last third", "slope per hour", "before", "after", ""]]
        for series, remains in zip(self._series, self.remains(), strict=True):
            third = max(1, len(series.samples) // 3)
            verdict = [
                *(["rises"] if series.rises() else []),
                *(["stays behind"] if remains.is_too_much else []),
            ]
            rows.append(
                [
                    series.watched.title,
                    _figure(_middle(series.values[:third])),
                    _figure(_middle(series.values[-third:])),
                    f"{series.slope_per_hour():+,.1f}",
                    _figure(remains.before),
                    _figure(remains.after),
                    ", ".join(verdict) or "ok",
                ]
            )
        told = [
            table(rows),
            _listed("Visits", self._visitors.outcomes),
            _listed("Answers", self._backends.statuses),
            _listed("Warnings and errors in the log", self.logged()),
            _listed("Faults", self._visitors.faults),
        ]
        return "\n".join(told)

    def logged(self) -> Counter[str]:
        """Return what the server has logged from warnings up, by event."""
        lines = [json.loads(line) for line in _LOG.read_text(encoding="utf-8").splitlines()]
        return Counter(
            f"{line['level']} {line['event']}"
            for line in lines
            if line["level"] in {"warning", "error", "critical"}
        )

    def problems(self) -> list[str]:
        """Return what must not be, one sentence each."""
        rising = [series.watched for series in self._series if series.rises()]
        staying = [remains.watched for remains in self.remains() if remains.is_too_much]
        failed = {status: n for status, n in self._backends.statuses.items() if status >= 500}
        return [
            *(f"{watched.title}: rises" for watched in rising),
            *(f"{watched.title}: stays behind" for watched in staying),
            *(f"{n} answers with {status}" for status, n in failed.items()),
            *(f"{n} visits failed: {fault}" for fault, n in self._visitors.faults.items()),
            *(f"{n} times in the log: {line}" for line, n in self.logged().items()),
        ]


def _middle(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return ordered[len(ordered) // 2] if ordered else 0.0


def _figure(value: float) -> str:
    return f"{value:,.1f}" if value % 1 else f"{value:,.0f}"


def _listed(title: str, counts: Counter[str] | Counter[int]) -> str:
    counted = ", ".join(f"{what} {n:,}" for what, n in counts.most_common()) or "none"
    return f"{title}: {counted}."


def _say(sentence: str) -> None:
    sys.stdout.write(sentence + "\n")
    sys.stdout.flush()


async def soak(minutes: float, seats: int, seed: int) -> int:
    """Run one, say what it found, and return the exit status."""
    async with running_server(_SETTINGS) as server:
        run = Soak(server, minutes, seats, seed)
        await run.run()
    _say("\n" + run.report())
    problems = run.problems()
    for problem in problems:
        _say(f"! {problem}")
    return 1 if problems else 0


def main(arguments: Sequence[str]) -> int:
    """Run what the arguments say; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long (default 5)")
    parser.add_argument("--visitors", type=int, default=100, help="at a time (default 100)")
    parser.add_argument("--seed", type=int, default=1, help="of all chances (default 1)")
    options = parser.parse_args(arguments)
    return asyncio.run(soak(options.minutes, options.visitors, options.seed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
