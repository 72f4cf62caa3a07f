"""The load generator's process: commands in, reports out; `load/load.c` says which."""

import json
import subprocess
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from benchmarks.competitors import BUILD, NotAvailable

PROGRAM = BUILD / "load"


@dataclass(frozen=True)
class Report:
    """What the generator tells after a command. Times are seconds, latencies microseconds.

    ``status`` is the HTTP status of the triggers, the first refusal if there was one. ``closed``
    counts connections that the server has closed so far. ``p50_us`` and ``p99_us`` are those of
    deliveries. ``partial`` counts receipts that say so; what came ``twice`` is in ``deliveries``
    once.
    """

    sent: int
    status: int
    deliveries: int
    expected: int
    seconds: float
    cpu_seconds: float
    closed: int
    p50_us: float
    p99_us: float
    twice: int
    partial: int
    receipt_p50_us: float
    receipt_p99_us: float
    receipt_worst_us: float

    @property
    def lost(self) -> int:
        """How many deliveries never came."""
        return self.expected - self.deliveries


class Generator:
    """Clients of one server, or of several in turn, for use in ``with``."""

    def __init__(self, *ports: int) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [str(PROGRAM), *map(str, ports)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.communicate()

    def tell(self, *command: object) -> Report:
        """Have a command done and return its report.

        Raises:
            NotAvailable: it failed, or a part of the deliveries never came.
        """
        self.begin(*command)
        report = self.finish()
        if report.deliveries != report.expected:
            raise NotAvailable(f"{report.deliveries} of {report.expected} deliveries came")
        return report

    def begin(self, *command: object) -> None:
        """Have a command begun. Raises `NotAvailable`."""
        if self._process.stdin is None:
            raise NotAvailable("the load generator has no pipes")
        self._process.stdin.write("\t".join(map(str, command)) + "\n")
        self._process.stdin.flush()

    def finish(self) -> Report:
        """Wait for what was begun and return its report, whatever has been delivered.

        Raises:
            NotAvailable: it failed.
        """
        if self._process.stdout is None:
            raise NotAvailable("the load generator has no pipes")
        line = self._process.stdout.readline()
        if not line:
            _, errors = self._process.communicate()
            raise NotAvailable(f"the load generator failed: {errors.strip()}")
        report = Report(**json.loads(line))
        if report.status not in {0, 200, 201}:
            raise NotAvailable(f"answered with {report.status}")
        return report
