"""What a process takes up of the log and the sessions that were there before it."""

import asyncio
from collections.abc import Callable

import structlog

from gtower_realtime.cluster.link import Entry, Link
from gtower_realtime.cluster.numbers import number_of
from gtower_realtime.cluster.replica import Replica
from gtower_realtime.cluster.units import session_of
from gtower_realtime.cluster.wire import changes_of, read_session
from gtower_realtime.records import AnswerGiven, EventAppended, HistoryDeleted, NodeGone
from gtower_realtime.replication import Replication
from gtower_realtime.sessions import Sessions

logger = structlog.get_logger(__name__)


class Loading:
    """Takes everything up in silence: nobody is told of what happened before it came.

    ``take_own`` takes an entry that this process has appended itself and waits for, at its number;
    it says whether that was so.
    """

    def __init__(
        self,
        link: Link,
        replica: Replica,
        replication: Replication,
        sessions: Sessions,
        take_own: Callable[[Entry, int], bool],
    ) -> None:
        self._link = link
        self._replica = replica
        self._replication = replication
        self._sessions = sessions
        self._take_own = take_own
        self._known_at: dict[str, int] = {}
        self.seen: dict[str, int] = {}
        """The last number of each process whose entries were taken up."""
        self.last_id = "0-0"
        """The id of the last entry that was taken up."""

    async def load(self, first_id: str, last_id: str, epoch: str, others: set[str]) -> None:
        """Take up the sessions that are kept, then the log from one id to another.

        Sessions of processes that are not among ``others`` are away.

        Raises:
            RedisAway: it has to be done again, with a `Loading` of its own.
        """
        self._replica.begin(number_of(first_id))
        for text in await self._link.sessions():
            try:
                session, node, number = read_session(text)
            except (ValueError, KeyError, TypeError):
                logger.exception("kept_session_not_understood")
                continue
            if node == self._link.node and session.away_since is None:
                continue  # its client has just been sent away
            self._known_at[session.client_id] = number
            self._replication.take_session(session, node)
        after = "0-0"
        while entries := await self._link.slice(after, last_id):
            for entry in entries:
                self._take_up(entry, epoch)
            after = self.last_id = entries[-1].id
            await self._replica.settle()
            await asyncio.sleep(0)
        for node in {session.node for session in self._sessions if session.node} - others:
            self._replication.forget_node(node)

    def _take_up(self, entry: Entry, epoch: str) -> None:
        number = number_of(entry.id)
        self.seen[entry.origin] = max(entry.sequence, self.seen.get(entry.origin, 0))
        if entry.origin == self._link.node and self._take_own(entry, number):
            return
        for change in changes_of(entry.id, entry.text, number, epoch):
            match change:
                case EventAppended(event):
                    self._replica.keep(event)
                case AnswerGiven():
                    self._replica.keep_answer(change)
                case HistoryDeleted(room):
                    self._replica.delete(room, number)
                case NodeGone(node):
                    self._replication.forget_node(node)
                case _ if entry.origin != self._link.node:
                    # A session was kept as it was at a number; only what came later changes it.
                    client_id = session_of(change)
                    if client_id is not None and number > self._known_at.get(client_id, 0):
                        self._replication.apply(change, entry.origin)
