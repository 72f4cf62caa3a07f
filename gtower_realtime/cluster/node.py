"""One process of a cluster: its log, the others, and what is told between them, put together."""

import asyncio
import secrets
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import structlog

from gtower_realtime import __version__
from gtower_realtime.clients import ClientRegistry
from gtower_realtime.cluster.kept_sessions import KeptSessions
from gtower_realtime.cluster.link import Link, RedisAway
from gtower_realtime.cluster.log import SharedLog
from gtower_realtime.cluster.nodes import BEAT_SECONDS, Nodes
from gtower_realtime.cluster.peers import ClusterPeers
from gtower_realtime.cluster.replica import Replica
from gtower_realtime.cluster.roster import Roster
from gtower_realtime.futures import cancelled
from gtower_realtime.journal import Journal
from gtower_realtime.metrics import Metrics
from gtower_realtime.monitor import Node
from gtower_realtime.monitor import Nodes as MonitoredNodes
from gtower_realtime.ports import Clock, SharedHistory, Store, Transport
from gtower_realtime.replication import Replication
from gtower_realtime.sessions import Sessions
from gtower_realtime.timestamps import format_timestamp, milliseconds, parse_timestamp

logger = structlog.get_logger(__name__)

_TRANSPORTS_SECONDS = 1.0


class ClusterNode:
    """What goes on between this process and the others, from :meth:`start` to :meth:`stop`."""

    def __init__(
        self,
        *,
        name: str,
        redis_url: str,
        own: Journal,
        store: Store,
        archive: SharedHistory | None,
        clients: ClientRegistry,
        sessions: Sessions,
        transport: Transport,
        clock: Clock,
        metrics: Metrics,
        recovery_seconds: float,
    ) -> None:
        self.name = name
        # Not that of an earlier process at the same place: its clients and its numbers are others.
        node = secrets.token_hex(8)
        link = Link(redis_url, node)
        log = self.log = SharedLog(
            node=node,
            link=link,
            own=own,
            replica=Replica(store, archive),
            sessions=sessions,
            clock=clock,
            metrics=metrics,
        )
        self._clients = clients
        self._sessions = sessions
        self._clock = clock
        self._started_at: datetime = clock.now()
        self.nodes = Nodes(node, link, self.describe)
        self._roster = Roster(clients, transport, log.tell)
        self.peers = ClusterPeers(
            link=link, nodes=self.nodes, log=log, tell_changes=self._roster.tell
        )
        self._kept = KeptSessions(
            node=node,
            link=link,
            sessions=sessions,
            recovery_seconds=recovery_seconds,
            now=lambda: milliseconds(clock.now()),
        )
        self._tasks: list[asyncio.Task[None]] = []
        metrics.cluster_cut_off.set_function(lambda: log.is_cut_off)
        metrics.cluster_nodes.set_function(lambda: 1 + len(self.nodes.others))
        metrics.outbox_entries.set_function(lambda: log.outbox.entries)
        metrics.outbox_bytes.set_function(lambda: log.outbox.bytes)

    def describe(self) -> dict[str, Any]:
        """Return what the others are told of this process: ``{"name", "version", …}``."""
        return {
            "name": self.name,
            "version": __version__,
            "startedAt": format_timestamp(self._started_at),
            "clients": len(self._clients),
        }

    def summary(self) -> str:
        """Say in a few words how this process stands to the others."""
        if self.log.is_cut_off:
            return "Redis is away"
        others = len(self.nodes.others)
        return f"together with {others or 'no'} other node{'' if others == 1 else 's'}"

    def known_nodes(self) -> MonitoredNodes:
        """Return this process and the others, for people who watch."""
        now = time.monotonic()
        here = Node(self.name, __version__, self._started_at, len(self._clients), True, 0)
        others = [
            Node(
                one.name,
                one.details["version"],
                parse_timestamp(one.details["startedAt"]),
                one.details["clients"],
                is_here=False,
                last_seen_ms=round((now - one.since) * 1000),
            )
            for one in self.nodes.others.values()
            if one.details
        ]
        return MonitoredNodes("alone" if self.log.is_cut_off else "together", [here, *others])

    # Life

    def start(self, replication: Replication) -> None:
        """Begin, before the log is opened."""
        self.log.attach(replication, self)
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self.peers.send()),
            loop.create_task(self._every(BEAT_SECONDS, self._beat)),
            loop.create_task(self._every(_TRANSPORTS_SECONDS, self._look_at_transports)),
        ]

    async def stop(self) -> None:
        """Tell the others that nobody is here any more, and keep the sessions for them."""
        self._roster.tell()
        await self.log.settled()
        await cancelled(self._tasks)
        if self.log.is_cut_off:
            return
        try:
            await self._kept.keep(self.log.last_number)
            await self.nodes.leave()
        except RedisAway as problem:
            logger.warning("not_signed_off", reason=str(problem))

    async def _every(self, seconds: float, work: Callable[[], Any]) -> None:
        while True:
            await asyncio.sleep(seconds)
            if self.log.is_cut_off:
                continue
            try:
                await work()
            except RedisAway as problem:
                logger.warning("cluster_work_put_off", reason=str(problem))
            except Exception:  # the edge: a fault must not end the work for good
                logger.exception("cluster_work_failed")

    async def _beat(self) -> None:
        await self.nodes.beat()
        await self.nodes.bury()
        await self._kept.keep(self.log.last_number)

    async def _look_at_transports(self) -> None:
        self._roster.look_at_transports()

    # What the log has to tell; see `audience.Audience`

    def told(self, node: str, event_id: str, recipients: int, asked: list[str]) -> None:
        """Have a process told how many had its event."""
        self.peers.told(node, event_id, recipients, asked)

    def heard(self, node: str, event_id: str, client_id: str, has_acknowledged: bool) -> None:
        """Have a process told that a client has acknowledged its event, or is gone."""
        self.peers.heard(node, event_id, client_id, has_acknowledged)

    def message(self, text: str) -> None:
        """Take what another process has put into the inbox."""
        self.peers.hear(text)

    def flush(self) -> None:
        """Send what has been told since the last time."""
        self.peers.flush()

    def node_started(self, node: str, details: dict[str, Any]) -> None:
        """Tell a new process who is here."""
        if node != self.nodes.node:
            self.nodes.heard(node, details)
            self._roster.introduce()

    def node_gone(self, node: str) -> None:
        """Take note that a process is dead."""
        self.nodes.gone(node)

    def introduced(self) -> None:
        """Tell all others of this process, and who is here."""
        self._kept.all_changed()
        self._roster.introduce()

    def session_changed(self, client_id: str) -> None:
        """Have a session kept anew."""
        self._kept.changed(client_id)

    def is_first(self) -> bool:
        """Say whether this process does what one of all has to do: while it is by itself, no."""
        node = self.nodes.node
        return not self.log.is_cut_off and all(node < other for other in self.nodes.others)

    async def joining(self) -> set[str]:
        """Have the others know of this process; return which there are."""
        alive = await self.nodes.beat()
        self.nodes.forgive()
        return alive

    def together(self) -> None:
        """Tell the others what has changed while they could not be told."""
        self._roster.is_heard = True
        self._roster.tell()

    def cut_off(self) -> None:
        """Keep what there is to tell, and wait for nobody."""
        self._roster.is_heard = False
        self.peers.abandon()
