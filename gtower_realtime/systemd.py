"""What this process tells systemd: how it is, that its loop turns, that it needs more time.

The protocol is datagrams of `NAME=value` lines to the socket that `NOTIFY_SOCKET` names. Sources:
sd_notify(3), sd_watchdog_enabled(3). Without such a socket nobody is told anything.
"""

import os
import socket
import time
from collections.abc import MutableMapping

import structlog

logger = structlog.get_logger(__name__)

_NOTIFY_SOCKET = "NOTIFY_SOCKET"
_WATCHDOG_USEC = "WATCHDOG_USEC"
_WATCHDOG_PID = "WATCHDOG_PID"

# A manager that does not read must not hold up the loop for longer.
_SEND_SECONDS = 1.0


class ServiceManager:
    """Whoever started this process and wants to know how it is.

    ``address`` is a path, or ``@name`` for an abstract socket. ``watchdog_seconds`` is how long the
    process may be silent before it is taken for dead; None when nobody watches.
    """

    def __init__(self, address: str | None = None, watchdog_seconds: float | None = None) -> None:
        self.watchdog_seconds = watchdog_seconds
        self._address = address.replace("@", "\0", 1) if address else None
        self._has_failed = False

    @property
    def is_there(self) -> bool:
        """Whether anybody is told anything."""
        return self._address is not None

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> "ServiceManager":
        """Take the manager's variables out of ``environ``: they are not for children."""
        address = environ.pop(_NOTIFY_SOCKET, "")
        interval = environ.pop(_WATCHDOG_USEC, "")
        watched = environ.pop(_WATCHDOG_PID, "") or str(os.getpid())
        is_watched = interval.isdecimal() and int(interval) > 0 and watched == str(os.getpid())
        if address and not address.startswith(("/", "@")):
            logger.warning("notify_socket_unknown", address=address)
            address = ""
        return cls(address or None, int(interval) / 1e6 if is_watched else None)

    def ready(self, status: str) -> None:
        """Say that the service answers from now on, or again."""
        self._tell("READY=1", f"STATUS={status}")

    def status(self, status: str) -> None:
        """Say in one line how the service is."""
        self._tell(f"STATUS={status}")

    def alive(self) -> None:
        """Feed the watchdog; to be called from the event loop, at half its time."""
        self._tell("WATCHDOG=1")

    def reloading(self) -> None:
        """Say that the configuration is read anew; :meth:`ready` ends that."""
        # CLOCK_MONOTONIC, which systemd compares with the moment of its own signal.
        microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._tell("RELOADING=1", f"MONOTONIC_USEC={microseconds}")

    def stopping(self, status: str) -> None:
        """Say that the service has begun to stop."""
        self._tell("STOPPING=1", f"STATUS={status}")

    def extend_timeout(self, seconds: float) -> None:
        """Ask for ``seconds`` from now before the stop is taken for stuck."""
        self._tell(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

    def _tell(self, *lines: str) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(_SEND_SECONDS)
                sender.sendto("\n".join(lines).encode(), self._address)
        except OSError as problem:
            if not self._has_failed:
                logger.warning("service_manager_not_told", reason=problem.strerror or str(problem))
            self._has_failed = True
