"""The end of all connections: each client hears when to come back, and is let go about then.

Knows clients and a clock; who calls it how often is not its business.
"""

from collections import deque

from gtower_realtime.clients import ClientRegistry
from gtower_realtime.ports import Clock, Transport
from gtower_realtime.timestamps import format_timestamp

SHUTDOWN = 1012


class Drain:
    """Lets go of clients one after the other, evenly over a time, so that they return so."""

    def __init__(self, transport: Transport, clients: ClientRegistry, clock: Clock) -> None:
        self._transport = transport
        self._clients = clients
        self._clock = clock
        self._due: deque[tuple[float, str]] = deque()
        self.has_begun = False

    def begin(self, seconds: float) -> None:
        """Tell all clients when to come back: the first one at once, all within ``seconds``."""
        self.has_begun = True
        now = self._clock.monotonic()
        timestamp = format_timestamp(self._clock.now())
        for place, client in enumerate(self._clients):
            # Clients of one connection stand side by side, and the first of them ends it.
            wait = seconds * place / len(self._clients)
            self._due.append((now + wait, client.id))
            hint = {"reconnectInMs": round(wait * 1000), "timestamp": timestamp}
            self._transport.send(client.id, "serverShutdown", hint)

    def let_go(self) -> bool:
        """Close whose time has come, after what waits for them; return whether any are left."""
        now = self._clock.monotonic()
        while self._due and (self._due[0][0] <= now or self._due[0][1] not in self._clients):
            _, client_id = self._due.popleft()
            if client_id in self._clients:
                self._transport.disconnect(client_id, SHUTDOWN, "server shutting down")
        return any(client_id in self._clients for _, client_id in self._due)
