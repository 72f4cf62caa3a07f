"""Publishers at all nodes, clients that listen at all nodes, and what must have come to whom.

The model: an event that was begun after a client had joined, and was acknowledged, comes to it
exactly once; those of one publisher come in their order. A client that was told that it is not
recovered has begun anew, and is owed nothing from before.
"""

import asyncio
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tornado.ioloop import IOLoop

from tests.cluster import Node, Unreachable
from tests.roaming_client import RoamingClient

PATIENCE_SECONDS = 60
"""Only what is lost takes as long."""

_PAUSE_SECONDS = 0.02

ROOM = "traffic"

Mark = tuple[int, int]
"""A publisher and the number of its event."""


class Publisher:
    """Sends events at one node, one after the other, each until it is acknowledged."""

    def __init__(self, number: int, node: Node) -> None:
        self.number = number
        self.node = node
        self.begun = 0
        self.acknowledged = 0
        self.partial = 0
        """How many receipts said that nodes were missing."""

    async def send_one(self) -> None:
        """Send the next event, again and again until it is acknowledged."""
        n = self.begun
        self.begun += 1
        key = f"publisher-{self.number}-{n}"
        data = {"p": self.number, "n": n}
        path = f"/websocket/event/room/{ROOM}/tick"
        while True:
            try:
                answer = await self.node.ask("POST", path, data, patience=60, Idempotency_Key=key)
            except Unreachable:
                answer = None
            if answer is not None and answer.status == 201:
                break
            assert answer is None or answer.status in (409, 503), answer
            await asyncio.sleep(_PAUSE_SECONDS)  # nothing tells when it would be taken
        self.partial += answer.body.get("partial", False)
        self.acknowledged += 1


class Traffic:
    """All publishers and all clients. The clients roam: whoever is cut off comes back somewhere."""

    def __init__(self, nodes: Sequence[Node], chance: random.Random) -> None:
        self.nodes = nodes
        self.publishers = [Publisher(number, node) for number, node in enumerate(nodes)]
        self.clients: list[RoamingClient] = []
        self.chance = chance
        self._owed_since: list[list[int]] = []
        self._is_over = False
        self._publishing: list[asyncio.Task[None]] = []

    async def begin(self, *, clients_at_each: int = 2) -> None:
        """Let clients come to each node, and begin to publish."""
        for node in self.nodes:
            for _ in range(clients_at_each):
                client = RoamingClient()
                number = len(self.clients)
                self.clients.append(client)
                self._owed_since.append([0] * len(self.publishers))
                # To its node first, to any later.
                await client.connect(node.url)
                await client.join(ROOM)
                urls = [other.url for other in self.nodes]
                client.roam(
                    urls,
                    ROOM,
                    chance=self.chance,
                    joined=lambda number=number: self._joined(number),
                )
        self._publishing = [
            asyncio.create_task(self._keep_publishing(publisher)) for publisher in self.publishers
        ]

    def _joined(self, number: int) -> None:
        self._owed_since[number] = [publisher.begun for publisher in self.publishers]

    async def _keep_publishing(self, publisher: Publisher) -> None:
        while not self._is_over:
            await publisher.send_one()
            await asyncio.sleep(_PAUSE_SECONDS)

    async def more(self, count: int, *publishers: int) -> None:
        """Wait until so many more events of these publishers, or of all, are acknowledged."""
        chosen = [self.publishers[number] for number in publishers] or self.publishers
        goals = [publisher.acknowledged + count for publisher in chosen]
        async with asyncio.timeout(PATIENCE_SECONDS):
            while any(
                publisher.acknowledged < goal for publisher, goal in zip(chosen, goals, strict=True)
            ):
                self._check_publishing()
                await asyncio.sleep(_PAUSE_SECONDS)

    def _check_publishing(self) -> None:
        for task in self._publishing:
            if task.done():
                task.result()

    async def end(self) -> None:
        """Publish no more; return when everything has come to everybody, or fail."""
        self._is_over = True
        await asyncio.wait_for(asyncio.gather(*self._publishing), PATIENCE_SECONDS)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                for number, client in enumerate(self.clients):
                    await client.until(lambda number=number: not self.missing(number))
        except TimeoutError:
            raise AssertionError("; ".join(self._losses())) from None
        self.check()

    def _losses(self) -> Iterator[str]:
        urls = [node.url for node in self.nodes]
        for number, client in enumerate(self.clients):
            if missing := sorted(self.missing(number)):
                yield (
                    f"client {number} at node {urls.index(client.url)} misses {len(missing)}: "
                    f"{missing[:20]}, of what came after {self._owed_since[number]}; "
                    f"it was told {client.welcomes}"
                )

    def missing(self, number: int) -> set[Mark]:
        """Return what a client is owed and has not got yet."""
        owed = {
            (publisher.number, n)
            for publisher, since in zip(self.publishers, self._owed_since[number], strict=True)
            for n in range(since, publisher.begun)
        }
        client = self.clients[number]
        return owed - set(marks(client, client.session))

    def check(self) -> None:
        """Fail if something came twice within a session, or not in its order."""
        for number, client in enumerate(self.clients):
            for session in range(1, client.session + 1):
                heard = marks(client, session)
                for publisher in self.publishers:
                    of_one = [n for p, n in heard if p == publisher.number]
                    where = f"client {number}, session {session}, publisher {publisher.number}"
                    assert of_one == sorted(set(of_one)), f"{where}: {of_one}"

    def stop(self) -> None:
        """End everything, at once."""
        for task in self._publishing:
            task.cancel()
        for client in self.clients:
            client.stop()


@contextmanager
def traffic_at(io_loop: IOLoop, nodes: Sequence[Node], seed: int) -> Iterator[Traffic]:
    """Give traffic that has not begun; in the end it stops, whatever became of it."""
    traffic = Traffic(nodes, random.Random(seed))
    yield traffic

    async def stop() -> None:
        traffic.stop()

    io_loop.run_sync(stop)


def marks(client: RoamingClient, session: int) -> list[Mark]:
    """Return what has come to a client within one of its sessions, in order."""
    return [
        (heard.payload["p"], heard.payload["n"])
        for heard in client.heard
        if heard.name == "tick" and heard.session == session
    ]
