"""What people who watch the server are shown: its metrics, who is slow, and events as they go out.

Costs nothing while nobody watches. No wires.
"""

import os
import platform
from collections import deque
from collections.abc import Callable
from heapq import nlargest
from typing import Any

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
        """Return ``{"timestamp", "status", "node", "samples", "slow"}`` as they are now.

        ``samples`` has each metric by its name and labels, as Prometheus writes them;
        ``slow`` is ``[{"clientId", "bytes"}]``, those for whom the most waits first.
        """
        return {
            "timestamp": format_timestamp(self._clock.now()),
            "status": self._state(),
            "node": {
                "name": f"{platform.node()}:{os.getpid()}",
                "version": __version__,
                "startedAt": format_timestamp(self._started_at),
            },
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

    def _slow(self) -> list[dict[str, Any]]:
        waiting = (
            (self._transport.waiting_bytes(client.id), client.id) for client in self._clients
        )
        most = nlargest(MOST_SLOW, (one for one in waiting if one[0] >= _SLOW_BYTES))
        return [{"clientId": client_id, "bytes": size} for size, client_id in most]
