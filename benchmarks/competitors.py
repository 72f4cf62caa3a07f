"""Who is measured, and a running server of each: its address, CPU time and memory."""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.request import urlopen

HERE = Path(__file__).parent
CHECKOUT = HERE.parent
BUILD = CHECKOUT / "build" / "bench"

_STOP_SECONDS = 15.0
_ADDRESS = re.compile(r"http://[^/\s:]+:(\d+)")

# Above any load that is measured, so that every limit is on and none is met.
_HIGH_LIMITS = {
    "GTOWER_MAX_CONNECTIONS": "100000",
    "GTOWER_MAX_CONNECTIONS_PER_ADDRESS": "100000",
    **{
        f"GTOWER_RATE_{what}": "1000000/1000000"
        for what in ("CONNECTS", "EVENTS", "BROADCASTS", "JOINS", "API")
    },
}


class NotAvailable(Exception):
    """Something cannot be measured; the message says why."""


@dataclass(frozen=True)
class Competitor:
    """One server that is measured. ``needs`` are files without which it cannot run."""

    key: str
    title: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[Path, ...] = ()

    def missing(self) -> str | None:
        """Return why it cannot be started, None if it can."""
        if shutil.which(self.command[0]) is None:
            return f"{self.title}: {self.command[0]} is not installed"
        for file in self.needs:
            if not file.exists():
                return f"{self.title}: {file.name} is not installed"
        return None


_NODE = ("node", str(HERE / "servers" / "node.js"))
_MODULES = HERE / "peers" / "node_modules"
_PRODUCTION = {"NODE_ENV": "production"}

OURS = Competitor("ours", "GTower Realtime", (sys.executable, "-m", "benchmarks.servers.ours"))
NODE = Competitor("node", "Node socket.io", _NODE, _PRODUCTION, (_MODULES / "socket.io",))
EXPRESS = Competitor(
    "express",
    "Node + Express",
    _NODE,
    {**_PRODUCTION, "EXPRESS": "1"},
    (_MODULES / "socket.io", _MODULES / "express"),
)
STOCK = Competitor("stock", "python-socketio", (sys.executable, "-m", "benchmarks.servers.stock"))
LIMIT = Competitor("limit", "C send()", (str(BUILD / "limit"),))

ALL = (OURS, NODE, EXPRESS, STOCK, LIMIT)


class Server:
    """A running server of one competitor, for use in ``with``.

    ``settings`` are environment variables for ours, ignored by all others; ``announces`` has it
    tell clients of each other's coming and going.

    Raises:
        NotAvailable: it does not start; of ours, because it does not know a setting.
    """

    def __init__(
        self,
        competitor: Competitor,
        *,
        announces: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.competitor = competitor
        self._state = tempfile.TemporaryDirectory(prefix="gtower-bench-")
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith("GTOWER_")
        }
        environment = {
            **inherited,
            **_HIGH_LIMITS,
            "GTOWER_HOST": "localhost",
            "GTOWER_PORT": "0",
            "GTOWER_STATE_DIR": self._state.name,
            "GTOWER_ANNOUNCE_CLIENTS": "true" if announces else "false",
            **(settings or {}),
            **competitor.environment,
            "ANNOUNCE": "1" if announces else "0",
        }
        log = BUILD / f"{competitor.key}.log"
        with log.open("ab") as errors:
            self._process = subprocess.Popen(  # noqa: S603 - our own programs
                competitor.command,
                cwd=CHECKOUT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        line = self._process.stdout.readline() if self._process.stdout else ""
        address = _ADDRESS.search(line)
        if address is None:
            status = self._process.wait(_STOP_SECONDS)
            self._state.cleanup()
            if status == os.EX_CONFIG:
                raise NotAvailable("not in this version")
            raise NotAvailable(f"{competitor.title} did not start (status {status}); see {log}")
        self.port = int(address[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()
        self._state.cleanup()

    def cpu_seconds(self) -> float:
        """Return the CPU time of all its threads so far, in user and kernel mode."""
        return cpu_seconds_of(self._process.pid)

    def resident_bytes(self) -> int:
        """Return its resident memory now."""
        return self._memory("VmRSS")

    def peak_resident_bytes(self) -> int:
        """Return its largest resident memory since the start or :meth:`forget_peak`."""
        return self._memory("VmHWM")

    def forget_peak(self) -> None:
        """Take the memory of now as the peak."""
        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5", encoding="ascii")

    def connected_clients(self) -> int:
        """Return how many clients it believes to have."""
        url = f"http://127.0.0.1:{self.port}/websocket/status"
        with urlopen(url, timeout=60) as answer:
            return int(json.load(answer)["connectedClients"])

    def _memory(self, line: str) -> int:
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        match = re.search(rf"^{line}:\s+(\d+) kB$", status, re.MULTILINE)
        if match is None:
            raise NotAvailable(f"{line} is not in /proc")
        return int(match[1]) * 1024


def cpu_seconds_of(pid: int) -> float:
    """Return the CPU time of all threads of another process so far, in user and kernel mode."""
    # What /proc/<pid>/stat has as utime + stime, in nanoseconds and not in ticks of 10 ms: the
    # clock of another process, as clock_getcpuclockid(3) makes its number.
    return time.clock_gettime((~pid << 3) | 2)


def most_connections() -> int:
    """Return how many connections a process may hold, and raise the limit of open files to it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard - 200
