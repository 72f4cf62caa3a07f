"""What people who watch the server are shown: its metrics, who is slow, and events as they go out.

Costs nothing while nobody watches. No wires.
"""

import os
import platform
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from heapq import nlargest
from typing import Any, Literal

from gtower_realtime import __version__
from gtower_realtime.clients import ClientRegistry
from gtower_realtime.metrics import Metrics
from gtower_realtime.ports import Clock, Target, Transport
from gtower_realtime.publishing import Publisher, Receipt
from gtower_realtime.timestamps import format_timestamp

MOST_SLOW = 20
"""How many slow clients are named: those for whom the most waits."""

MOST_EVENTS = 200
"""Events that are shown between two looks; of the others there is only the number."""

_SLOW_BYTES = 16_384
"""Less is on its way to anybody at times."""

_SHOWN_BODY = 300


RedisState = Literal["none", "together", "alone"]
"""Whether there are other nodes: without Redis none, together with them, or cut off from them."""


@dataclass(frozen=True, slots=True)
class Node:
    """A process that serves clients. One has ``is_here``: that in which the `Monitor` is.

    ``last_seen_ms`` is how long ago it was last heard of, in milliseconds; 0 of the one here.
    """

    name: str
    version: str
    started_at: datetime
    clients: int
    is_here: bool
    last_seen_ms: int

    def as_dict(self) -> dict[str, Any]:
        """Return ``{"name", "version", "startedAt", "clients", "isHere", "lastSeenMs"}``."""
        return {
            "name": self.name,
            "version": self.version,
            "startedAt": format_timestamp(self.started_at),
            "clients": self.clients,
            "isHere": self.is_here,
            "lastSeenMs": self.last_seen_ms,
        }


@dataclass(frozen=True, slots=True)
class Nodes:
    """All nodes as this one knows them now, itself among them."""

    redis: RedisState
    known: Sequence[Node]

    @property
    def here(self) -> Node:
        """The node of this process."""
        return next(node for node in self.known if node.is_here)


class Monitor:
    """Watches while somebody wants to see: :meth:`start`, then :meth:`numbers`, :meth:`events`."""

    def __init__(
        self,
        *,
        publisher: Publisher,
        transport: Transport,
        clients: ClientRegistry,
        clock: Clock,
        metrics: Metrics,
        state: Callable[[], str],
    ) -> None:
        self._publisher = publisher
        self._transport = transport
        self._clients = clients
        self._clock = clock
        self._metrics = metrics
        self._state = state
        self.nodes: Callable[[], Nodes] = self._this_one
        """Tells of all nodes; where there is a cluster, it takes the place of this."""
        self._started_at = clock.now()
        self._seen: deque[dict[str, Any]] = deque(maxlen=MOST_EVENTS)
        self._skipped = 0

    @property
    def is_watching(self) -> bool:
        """Whether events are taken note of."""
        return self._publisher.watcher is not None

    def start(self) -> None:
        """Begin to take note of events."""
        self._publisher.watcher = self._take_note

    def stop(self) -> None:
        """Forget everything; nobody watches any more."""
        self._publisher.watcher = None
        self._seen.clear()
        self._skipped = 0

    def numbers(self) -> dict[str, Any]:
        """Return ``{"timestamp", "status", "node", "nodes", "redis", "samples", "slow"}``.

        As they are now: ``nodes`` is a list of what `Node.as_dict` returns, ``node`` the one of
        this process, ``redis`` a `RedisState`. The others are of this process alone: ``samples``
        has each metric by its name and labels, as Prometheus writes them; ``slow`` is
        ``[{"clientId", "bytes"}]``, those for whom the most waits first.
        """
        nodes = self.nodes()
        return {
            "timestamp": format_timestamp(self._clock.now()),
            "status": self._state(),
            # Pages that were loaded from an older server know this one alone.
            "node": nodes.here.as_dict(),
            "nodes": [node.as_dict() for node in nodes.known],
            "redis": nodes.redis,
            "samples": self._metrics.samples(),
            "slow": self._slow(),
        }

    def events(self) -> dict[str, Any]:
        """Return ``{"events", "skipped"}`` since the last look, oldest first.

        An event is ``{"id", "event", "target", "recipients", "pending", "offset"?, "bytes",
        "data", "timestamp"}``; ``data`` is the beginning of its JSON text.
        """
        seen = {"events": list(self._seen), "skipped": self._skipped}
        self._seen.clear()
        self._skipped = 0
        return seen

    def _take_note(self, event: str, body: str, target: Target, receipt: Receipt) -> None:
        self._skipped += len(self._seen) == MOST_EVENTS
        self._seen.append(
            {
                "event": event,
                "target": target.as_dict(),
                **receipt.as_dict(),
                "bytes": len(body.encode()),
                "data": body[:_SHOWN_BODY],
                "timestamp": format_timestamp(self._clock.now()),
            }
        )

    def _this_one(self) -> Nodes:
        here = Node(
            name=f"{platform.node()}:{os.getpid()}",
            version=__version__,
            started_at=self._started_at,
            clients=len(self._clients),
            is_here=True,
            last_seen_ms=0,
        )
        return Nodes("none", (here,))

    def _slow(self) -> list[dict[str, Any]]:
        waiting = (
            (self._transport.waiting_bytes(client.id), client.id) for client in self._clients
        )
        most = nlargest(MOST_SLOW, (one for one in waiting if one[0] >= _SLOW_BYTES))
        return [{"clientId": client_id, "bytes": size} for size, client_id in most]
