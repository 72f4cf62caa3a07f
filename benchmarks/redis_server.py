"""A Redis of the benchmark's own, on a free port of the loopback interface, which keeps no file."""

import shutil
import signal
import socket
import subprocess
import tempfile
from types import TracebackType
from typing import Self

from benchmarks.competitors import NotAvailable, cpu_seconds_of

_PROGRAM = "redis-server"
_STOP_SECONDS = 15.0


class RedisServer:
    """A running Redis, for use in ``with``.

    Raises:
        NotAvailable: it is not installed, or does not start.
    """

    def __init__(self) -> None:
        if shutil.which(_PROGRAM) is None:
            raise NotAvailable(f"{_PROGRAM} is not installed")
        self._directory = tempfile.TemporaryDirectory(prefix="gtower-bench-")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port: int = free.getsockname()[1]
        self._process = self._started()

    @property
    def url(self) -> str:
        """Where it is, as GTOWER_REDIS_URL."""
        return f"redis://127.0.0.1:{self._port}/0"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()
        self._directory.cleanup()

    def cpu_seconds(self) -> float:
        """Return the CPU time of all its threads since it was started last."""
        return cpu_seconds_of(self._process.pid)

    def freeze(self) -> None:
        """Have it stand still with all its connections open."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Have it go on."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, with all that it has."""
        self._process.kill()
        self._process.wait(_STOP_SECONDS)
        if self._process.stdout:
            self._process.stdout.close()

    def start_again(self) -> None:
        """Start it anew after :meth:`kill`, empty, at the same place. Raises `NotAvailable`."""
        self._process = self._started()

    def _started(self) -> "subprocess.Popen[str]":
        options = {
            "port": self._port,
            "bind": "127.0.0.1",
            "save": "",
            "appendonly": "no",
            "dir": self._directory.name,
        }
        command = [_PROGRAM]
        for name, value in options.items():
            command += (f"--{name}", str(value))
        process = subprocess.Popen(  # noqa: S603 - a program that is installed
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for line in process.stdout or ():
            if "Ready to accept connections" in line:
                return process
        raise NotAvailable(f"{_PROGRAM} did not start (status {process.wait(_STOP_SECONDS)})")
