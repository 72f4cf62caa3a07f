"""How much is allowed in how much time: rates, token buckets, and how many connections at once.

Time is handed in as monotonic seconds; nothing here waits, and nothing knows a transport.
"""

import math
import re
from dataclasses import dataclass

from gtower_realtime.errors import Overloaded, RateLimited

_RATE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)/([0-9]{1,9})")

# Waiting exactly as long as asked must be enough: the sum of two floats may fall a hair short.
_ROUNDING_SECONDS = 1e-6

# When somebody else's connection has to end first, there is no telling when.
_RETRY_WHEN_FULL_SECONDS = 5

_FORGOTTEN_FROM = 1024

_FILES_BESIDE_CONNECTIONS = 100
_UNLIMITED_CONNECTIONS = 1_000_000


@dataclass(frozen=True, slots=True)
class Rate:
    """So many ``per_second`` in the long run, and up to ``burst`` at once after a pause."""

    per_second: float
    burst: int

    @classmethod
    def parse(cls, text: str) -> "Rate":
        """Read ``per second/burst`` as in ``50/200`` or ``0.5/1``; ``0`` is no limit.

        Raises:
            ValueError: it is neither.
        """
        if text in {"0", "0/0"}:
            return cls(0.0, 0)
        parts = _RATE.fullmatch(text)
        if parts is None or float(parts[1]) == 0 or int(parts[2]) == 0:
            raise ValueError("must be per second/burst like 50/200, or 0 for no limit")
        return cls(float(parts[1]), int(parts[2]))

    @property
    def is_unlimited(self) -> bool:
        """Whether everything is allowed at any time."""
        return self.per_second == 0


class TokenBucket:
    """One spender under a :class:`Rate`; full at first."""

    __slots__ = ("_full_at", "_rate")

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._full_at = -math.inf

    def take(self, now: float) -> float:
        """Take one token and return 0.0; take none and return the seconds until there is one.

        Who was told to wait asks again then, and gets it if nobody else took it.
        """
        if self._rate.is_unlimited:
            return 0.0
        interval = 1 / self._rate.per_second
        full_at = max(self._full_at, now)
        wait = full_at - now - (self._rate.burst - 1) * interval
        if wait > _ROUNDING_SECONDS:
            return wait
        self._full_at = full_at + interval
        return 0.0

    def spend(self, tokens: int, now: float) -> None:
        """Take note that somebody else has taken tokens; it is empty at the worst."""
        if self._rate.is_unlimited:
            return
        interval = 1 / self._rate.per_second
        full_at = max(self._full_at, now) + tokens * interval
        self._full_at = min(full_at, now + self._rate.burst * interval)

    def is_full(self, now: float) -> bool:
        """Say whether it is as good as a new one."""
        return self._full_at <= now


class _Address:
    __slots__ = ("bucket", "connections", "refused_until")

    def __init__(self, rate: Rate) -> None:
        self.bucket = TokenBucket(rate)
        self.connections = 0
        self.refused_until = -math.inf

    def is_idle(self, now: float) -> bool:
        return not self.connections and self.refused_until <= now and self.bucket.is_full(now)


class ConnectionLimits:
    """Decides who may connect, and counts the connections.

    ``max_connections`` and ``max_per_address`` are at the same time, 0 for no limit;
    ``rate_connects`` is for each address. An address is remembered only while it makes a
    difference.
    """

    def __init__(self, max_connections: int, max_per_address: int, rate_connects: Rate) -> None:
        self._max_connections = max_connections
        self._max_per_address = max_per_address
        self._rate_connects = rate_connects
        self._addresses: dict[str, _Address] = {}
        self._forget_from = _FORGOTTEN_FROM
        self._count = 0

    def change(self, max_connections: int, max_per_address: int, rate_connects: Rate) -> None:
        """Take other limits. Connections that stand are not touched, were they too many now."""
        self._max_connections = max_connections
        self._max_per_address = max_per_address
        if rate_connects != self._rate_connects:
            self._rate_connects = rate_connects
            for entry in self._addresses.values():
                entry.bucket = TokenBucket(rate_connects)

    @property
    def count(self) -> int:
        """How many connections are admitted now."""
        return self._count

    @property
    def remembered_addresses(self) -> int:
        """How many addresses are in memory."""
        return len(self._addresses)

    def admit(self, address: str, now: float) -> None:
        """Count one more connection from ``address``, to be given back with :meth:`release`.

        A refusal counts nothing, neither as a connection nor towards the rate.

        Raises:
            Overloaded: all connections are taken.
            RateLimited: the address is penalised, has too many, or connects too fast.
        """
        if 0 < self._max_connections <= self._count:
            raise Overloaded(
                "The server has as many connections as it may have.",
                headers=retry_after(_RETRY_WHEN_FULL_SECONDS),
            )
        entry = self._entry(address, now)
        if now < entry.refused_until:
            raise RateLimited(
                "Your address was cut off for too many requests; wait a little.",
                headers=retry_after(entry.refused_until - now),
            )
        if 0 < self._max_per_address <= entry.connections:
            raise RateLimited(
                f"Your address has {entry.connections} connections, as many as it may have.",
                headers=retry_after(_RETRY_WHEN_FULL_SECONDS),
            )
        wait = entry.bucket.take(now)
        if wait > 0:
            raise RateLimited("Your address connects too fast.", headers=retry_after(wait))
        entry.connections += 1
        self._count += 1

    def release(self, address: str) -> None:
        """Give back one connection; to be called exactly once for each :meth:`admit`.

        Raises:
            ValueError: nothing is left to give back, so somebody did so twice.
        """
        entry = self._addresses.get(address)
        if entry is None or not entry.connections:
            raise ValueError("a connection was released that was not admitted")
        entry.connections -= 1
        self._count -= 1

    def penalise(self, address: str, seconds: float, now: float) -> None:
        """Refuse new connections from ``address`` for ``seconds``.

        Of two penalties the one that ends later counts. Connections that stand are not touched.
        """
        entry = self._entry(address, now)
        entry.refused_until = max(entry.refused_until, now + seconds)

    def _entry(self, address: str, now: float) -> _Address:
        entry = self._addresses.get(address)
        if entry is None:
            self._forget_idle_addresses(now)
            entry = self._addresses[address] = _Address(self._rate_connects)
        return entry

    def _forget_idle_addresses(self, now: float) -> None:
        # Amortised: a sweep when twice as many are known as the last sweep left.
        if len(self._addresses) < self._forget_from:
            return
        self._addresses = {
            address: entry for address, entry in self._addresses.items() if not entry.is_idle(now)
        }
        self._forget_from = max(_FORGOTTEN_FROM, 2 * len(self._addresses))


def retry_after(seconds: float) -> dict[str, str]:
    """Return the header that says how long to wait."""
    # The header takes whole seconds only (RFC 9110, 10.2.3).
    return {"Retry-After": str(max(1, math.ceil(seconds)))}


def open_files_for(connections: int) -> int:
    """Return how many files so many connections (0: no limit) and all else of a server take."""
    return (connections or _UNLIMITED_CONNECTIONS) + _FILES_BESIDE_CONNECTIONS
