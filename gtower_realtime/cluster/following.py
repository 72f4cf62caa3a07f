"""What other processes have recorded, each change in its turn, as it takes effect here."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from gtower_realtime.cluster.audience import Audience
from gtower_realtime.cluster.replica import Replica
from gtower_realtime.ports import Offset
from gtower_realtime.records import (
    AnswerGiven,
    ClientGone,
    ClientHere,
    ClientMoved,
    EventAppended,
    EventRelayed,
    HistoryDeleted,
    NodeGone,
    NodeStarted,
    SessionEnded,
    SessionTaken,
    SharedChange,
    StoredEvent,
    WebhookMarked,
)
from gtower_realtime.replication import Replication

logger = structlog.get_logger(__name__)

_ONLY_FOR_OTHERS = (EventRelayed, ClientHere, ClientMoved, ClientGone)
"""What has taken effect at the process that says so before it says so."""


class Following:
    """Hands events to the clients here, and everything else to whom it concerns.

    ``offset`` returns what clients are told of a number, ``mark`` records that something of
    WhatsApp is published, ``declared_dead`` is called when the others believe this process to be.
    ``is_returning`` says of a client whether it has come back here since, as the log will say.
    """

    def __init__(
        self,
        *,
        node: str,
        replica: Replica,
        replication: Replication,
        audience: Audience,
        offset: Callable[[int], Offset],
        mark: Callable[[WebhookMarked], None],
        declared_dead: Callable[[], Awaitable[None]],
        is_returning: Callable[[str], bool],
    ) -> None:
        self._node = node
        self._replica = replica
        self._replication = replication
        self._audience = audience
        self._offset = offset
        self._mark = mark
        self._declared_dead = declared_dead
        self._is_returning = is_returning
        self._coming_to_life: asyncio.Future[None] | None = None
        self.older: set[str] = set()
        """Processes that had ended before any of the clients here came: nothing is for those."""

    async def follow(self, change: SharedChange, node: str, number: int) -> None:
        """Let a change of another process take effect, at its place; a fault is logged.

        It may be one of this process that was said to have failed, and is in the log all the same.
        """
        if node == self._node and isinstance(change, _ONLY_FOR_OTHERS):
            return
        try:
            await self._follow(change, node, number)
        except Exception:  # the edge: what fails must not hold up what is behind it
            logger.exception("cluster_change_failed", kind=type(change).__name__)

    async def _follow(self, change: SharedChange, node: str, number: int) -> None:
        match change:
            case EventAppended(event):
                self._replica.keep(event)
                if node not in self.older:
                    self._deliver(event, node, self._offset(number))
            case EventRelayed(event, is_droppable):
                self._deliver(event, node, None, droppable=is_droppable)
            case AnswerGiven():
                self._replica.keep_answer(change)
            case WebhookMarked():
                self._mark(change)
            case HistoryDeleted(room):
                self._replica.delete(room, number)
            case NodeStarted() | NodeGone():
                self._follow_node(change, node)
            case SessionTaken(session) if self._is_returning(session.client_id):
                pass
            case _:
                self._replication.apply(change, node)
                if isinstance(change, SessionEnded):
                    self._audience.session_changed(change.client_id)

    def _follow_node(self, change: NodeStarted | NodeGone, node: str) -> None:
        if isinstance(change, NodeStarted):
            self._audience.node_started(node, dict(change.details))
        elif change.node == self._node:
            # What it does comes after what is read now.
            self._coming_to_life = asyncio.ensure_future(self._declared_dead())
        else:
            self._replication.apply(change, node)
            self._audience.node_gone(change.node)

    def _deliver(
        self, event: StoredEvent, node: str, offset: Offset | None, *, droppable: bool = False
    ) -> None:
        def heard(client_id: str, has_acknowledged: bool) -> None:
            self._audience.heard(node, event.id, client_id, has_acknowledged)

        recipients, asked = self._replication.deliver(event, offset, heard, droppable=droppable)
        self._audience.told(node, event.id, recipients, asked)
