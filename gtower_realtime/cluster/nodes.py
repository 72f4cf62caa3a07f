"""Which other processes there are: each tells every two seconds that it is alive."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from gtower_realtime import strict_json
from gtower_realtime.cluster.link import Link
from gtower_realtime.cluster.wire import write_changes
from gtower_realtime.records import NodeGone

logger = structlog.get_logger(__name__)

BEAT_SECONDS = 2.0
DEAD_SECONDS = 9.0
"""Who is not heard of for as long while Redis is there is declared dead."""
PREDECESSOR_SECONDS = 5.0
"""The same for one of this process's own name: it most likely stood here before."""


@dataclass(slots=True)
class Node:
    """Another process: what it tells of itself, and when it was heard of."""

    details: dict[str, Any]
    score: int
    """By the clock of Redis, in milliseconds."""
    since: float
    """Monotonic, here."""

    @property
    def name(self) -> str:
        """What people call it."""
        return str(self.details.get("name", "?"))


class Nodes:
    """The others, by their ids. ``describe`` returns what this process tells of itself."""

    def __init__(self, node: str, link: Link, describe: Callable[[], dict[str, Any]]) -> None:
        self.node = node
        self._link = link
        self._describe = describe
        self.others: dict[str, Node] = {}

    def heard(self, node: str, details: dict[str, Any]) -> None:
        """Take note of a process that has just joined."""
        if node != self.node:
            self.others[node] = Node(details, 0, time.monotonic())

    def gone(self, node: str) -> None:
        """Take note that a process is dead."""
        self.others.pop(node, None)

    def name_of(self, node: str) -> str:
        """Return what people call a process."""
        known = self.others.get(node)
        return node if known is None else known.name

    def forgive(self) -> None:
        """Begin to count anew for how long the others have not been heard of."""
        for other in self.others.values():
            other.since = time.monotonic()

    async def beat(self) -> set[str]:
        """Tell that this process is alive, find out who else is, and return their ids, its own too.

        Raises:
            RedisAway: nobody knows.
        """
        roster = await self._link.beat(strict_json.dumps(self._describe()))
        now = time.monotonic()
        for node in self.others.keys() - roster.heard.keys():
            del self.others[node]
        for node, score in roster.heard.items():
            if node == self.node:
                continue
            other = self.others.get(node)
            details = _details(roster.details.get(node, ""))
            if other is None:
                # Redis's clock tells how long it has been silent already.
                age = max(0, roster.now - score) / 1000
                self.others[node] = Node(details, score, now - age)
            elif other.score != score:
                self.others[node] = Node(details, score, now)
        return set(roster.heard)

    async def bury(self) -> None:
        """Declare dead who was not heard of for too long. Raises as :meth:`beat` does."""
        now = time.monotonic()
        own_name = self._describe()["name"]
        for node, other in list(self.others.items()):
            patience = PREDECESSOR_SECONDS if other.name == own_name else DEAD_SECONDS
            if now - other.since >= patience:
                unit = write_changes([NodeGone(node)])
                if await self._link.bury(node, other.score, unit):
                    logger.warning("node_dead", node=other.name)

    async def leave(self) -> None:
        """Tell the others that this process has ended. Raises as :meth:`beat` does."""
        await self._link.bury(self.node, None, write_changes([NodeGone(self.node)]))


def _details(text: str) -> dict[str, Any]:
    """Read what a process tells of itself; nothing, if it is not that."""
    try:
        details = strict_json.loads(text)
    except ValueError:
        return {}
    return details if isinstance(details, dict) else {}
