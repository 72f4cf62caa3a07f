"""The order of a cluster: what any process records takes effect at all of them in stream order.

With Redis, a process appends to the stream, reads back what it has appended between what the others
have, and only then lets it take effect. Without Redis it goes on by itself: what it records waits
in the outbox of its own store, and takes effect for its own clients at once, with numbers and
offsets of its own (`private_epoch`). When Redis is back the outbox is sent, in its order; when the
last of it has been read back, the process is together with the others again.
"""

import asyncio
import contextvars
import secrets
import time
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, TypeVar

import structlog

from gtower_realtime import strict_json
from gtower_realtime.cluster.audience import Audience
from gtower_realtime.cluster.following import Following
from gtower_realtime.cluster.link import READ_AT_ONCE, Entry, Link, Place, RedisAway, Sent
from gtower_realtime.cluster.loading import Loading
from gtower_realtime.cluster.numbers import number_of, stream_id
from gtower_realtime.cluster.outbox import Outbox
from gtower_realtime.cluster.pending import Pending, Retained
from gtower_realtime.cluster.position import Position
from gtower_realtime.cluster.private_epoch import PrivateEpoch
from gtower_realtime.cluster.replica import STREAM_BYTES, Replica
from gtower_realtime.cluster.returns import Returns
from gtower_realtime.cluster.units import Unit, kept_with, session_of
from gtower_realtime.cluster.waiters import Waiters
from gtower_realtime.cluster.wire import (
    changes_of,
    placed_answer,
    read_changes,
    write_changes,
)
from gtower_realtime.errors import Overloaded, StoreUnavailable
from gtower_realtime.futures import cancelled
from gtower_realtime.journal import Journal
from gtower_realtime.metrics import Metrics
from gtower_realtime.ports import Addresses, Changes, Clock, Offset, Past
from gtower_realtime.records import (
    AnswerGiven,
    Bounds,
    Change,
    CountedMinute,
    EventAppended,
    GivenAnswer,
    HistoryDeleted,
    MinuteCounted,
    NodeStarted,
    OutboxEntry,
    SessionResumed,
    SessionTaken,
    SharedChange,
    StoredEvent,
    StoredSession,
    StoredWebhook,
    WebhookBacklog,
    WebhookMarked,
    WebhookReceived,
    WebhookSettled,
)
from gtower_realtime.replication import Replication
from gtower_realtime.sessions import Sessions
from gtower_realtime.timestamps import milliseconds

logger = structlog.get_logger(__name__)

Answer = TypeVar("Answer")

PATIENCE_SECONDS = 0.05
"""How long Redis may take for what was appended, until this process goes on without it."""

_DOUBT_SECONDS = 0.02
"""How long it may take to say something else, until it is seen from the log whether it is there."""

_BYTES_PER_SECOND = 50_000_000
"""As fast as large events go there and back at the least."""

_LATE_SECONDS = 2.5
"""Who has not read for as long has stood still."""

_RETRY_SECONDS = 0.3
_CATCH_UP_SECONDS = 1.0
_LAST_WORDS_SECONDS = 2.0

# What takes effect in one turn of the loop; see `journal`.
_TURN_BYTES = 256 * 1024
_TURN_SECONDS = 0.01

_RETRY_AFTER = {"Retry-After": "1"}

_OWN_CHANGES = (MinuteCounted, WebhookReceived, WebhookSettled)
"""What no other process needs to know."""


class SharedLog:
    """The `ports.EventLog` of one process of a cluster.

    ``own`` is the journal of what is this process's alone, its outbox among it. ``node`` is a name
    that no process has had before. ``waits_seconds`` is for how long it waits for Redis at first.
    """

    def __init__(
        self,
        *,
        node: str,
        link: Link,
        own: Journal,
        replica: Replica,
        sessions: Sessions,
        clock: Clock,
        metrics: Metrics,
        waits_seconds: float = 5.0,
    ) -> None:
        self._node = node
        self._link = link
        self._own = own
        self._replica = replica
        self._sessions = sessions
        self._clock = clock
        self._metrics = metrics
        self._waits_seconds = waits_seconds
        self._now = time.monotonic
        self._replication: Replication
        self._audience: Audience
        self._following: Following
        self._tasks: list[asyncio.Task[None]] = []
        self._is_closed = False
        self._epoch = ""
        self.last_number = 0
        """The last number that has taken effect."""

        # On the way to Redis
        self._sequences = count(1)
        self._pending = Pending()
        self._retained = Retained()
        self._sends_directly = False
        self._wake = asyncio.Event()
        self._patience: asyncio.TimerHandle | None = None
        # What the timer logs has nothing to do with the request that happened to start it.
        self._context = contextvars.Context()
        self._is_joined = asyncio.Event()

        # Without Redis
        self.outbox = Outbox(node, own)
        self._private = PrivateEpoch(sessions)
        self._away_because = ""
        self._returns = Returns()
        self._began_alone = False
        self._opened_at = 0.0

        # Read from Redis
        self._may_read = asyncio.Event()
        self._must_load = True
        """Whether it has to be taken up first what Redis has already."""
        self._at = Position()
        self._appended_until = 0
        """Up to which sequence Redis has had what was in the outbox."""
        self._is_unknown = True
        """Whether the others have to be told that this process is there."""
        self._has_lost = False
        """Whether Redis has lost something, and has not got it again."""
        self._seen: dict[str, int] = {}
        self._waiters = Waiters()
        self._bounds = Bounds(0, 0, 0)
        self._bytes_since_trim = 0

    def attach(self, replication: Replication, audience: Audience) -> None:
        """Take who is to hear of what the others record; before :meth:`open`."""
        self._replication = replication
        self._audience = audience
        self._following = Following(
            node=self._node,
            replica=self._replica,
            replication=replication,
            audience=audience,
            offset=self.offset,
            mark=self._mark,
            declared_dead=self._come_to_life,
            is_returning=self._returns.__contains__,
        )

    # Life

    async def open(self) -> list[StoredSession]:
        """Begin; wait 5 s for Redis, then go on without it. See `EventLog.open`."""
        await self._own.open()
        await self._replica.open()
        await self.outbox.open()
        filling = self._replica.long_history.fill(lambda: self._epoch, self._audience.is_first)
        self._opened_at = self._now()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(work) for work in (self._live(), self._read(), filling)]
        try:
            await asyncio.wait_for(self._is_joined.wait(), self._waits_seconds)
        except TimeoutError:
            self._began_alone = True
            logger.warning("redis_not_there", waited_seconds=self._waits_seconds)
        return []

    async def close(self) -> None:
        """Wait 2 s for what is on its way; what is left then stays in the outbox. Idempotent."""
        if self._sends_directly and self._pending:
            outcomes = [unit.outcome for unit in self._pending]
            await asyncio.wait(outcomes, timeout=_LAST_WORDS_SECONDS)
        self._is_closed = True
        await cancelled(self._tasks)
        self._go_alone()
        await self._own.close()
        await self._replica.close()
        await self._link.close()

    async def _live(self) -> None:
        """Join, send what there is to send, and begin anew when Redis is lost."""
        while True:
            try:
                await self._join()
                await self._send()
            except RedisAway as problem:
                self._lose(str(problem))
            except (StoreUnavailable, Overloaded) as problem:
                self._lose(problem.message)
            except Exception:  # the edge: a fault must not end the work for good
                logger.exception("cluster_failed")
                self._lose("a fault of this process")
            await asyncio.sleep(_RETRY_SECONDS)

    @property
    def is_cut_off(self) -> bool:
        """Whether this process is by itself."""
        return self._private.has_begun

    @property
    def epoch(self) -> str:
        """The epoch that all processes share; empty before Redis was there for the first time."""
        return self._epoch

    @property
    def is_failing(self) -> bool:
        """Whether there is neither Redis nor a store for the outbox."""
        return self.is_cut_off and self._own.is_failing

    @property
    def queue_length(self) -> int:
        """How many changes wait to be recorded."""
        return len(self._pending) + self._own.queue_length

    def offset(self, number: int) -> Offset:
        """Return the offset of a number; without Redis that of new events is private."""
        return self._private.offset(number) or Offset(self._epoch, number)

    # Recording

    def append(
        self,
        make_event: Callable[[int], StoredEvent],
        apply: Callable[[StoredEvent], Any],
        also: Callable[[StoredEvent], Sequence[Change]] | None = None,
        *,
        size: int = 0,
    ) -> "asyncio.Future[Any]":
        """Record an event, then apply it; see `EventLog.append`."""
        stored = make_event(0)
        changes = [EventAppended(stored), *(() if also is None else also(stored))]
        return self._put(changes, lambda _: apply(stored), stored)

    def record(
        self, changes: Changes, apply: Callable[[int], Any], *, size: int = 0
    ) -> "asyncio.Future[Any]":
        """Record changes and apply them; see `EventLog.record`."""
        made = list(changes(0))
        if made and all(isinstance(change, _OWN_CHANGES) for change in made):
            return self._own.record(lambda _: made, apply, size=size)
        return self._put(list(map(self._shared, made)), apply)

    def tell(self, changes: Sequence[SharedChange]) -> None:
        """Tell the others something; nobody waits for it."""
        self._put(changes, lambda _: None).add_done_callback(_ignored)

    async def settled(self) -> None:
        """Wait until all that was given before has been recorded, or has failed."""
        await asyncio.gather(self.record(lambda _: (), lambda _: None), return_exceptions=True)

    def _shared(self, change: Change) -> SharedChange:
        """Return a change as others have to know it: they may not have the session any more."""
        if isinstance(change, SessionResumed):
            session = self._sessions.of_client(change.client_id)
            if session is not None:
                return SessionTaken(session.stored())
        return change

    def _put(
        self,
        changes: Sequence[SharedChange],
        apply: Callable[[int], Any],
        stored: StoredEvent | None = None,
    ) -> "asyncio.Future[Any]":
        outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        unit = Unit(
            sequence=next(self._sequences),
            changes=changes,
            text=write_changes(changes),
            kept=kept_with(changes, self._link.keys, milliseconds(self._clock.now())),
            stored=stored,
            apply=apply,
            outcome=outcome,
            began=self._now(),
        )
        for change in changes:
            if isinstance(change, SessionTaken):
                self._returns.begin(change.session.client_id, unit)
        if self._is_closed:
            unit.fail(StoreUnavailable("The event log is closed.", headers=_RETRY_AFTER))
        elif not self._sends_directly:
            self.outbox.put(unit, self._apply_privately)
        elif self._pending.is_full:
            unit.fail(Overloaded("Too much waits to be recorded.", headers=_RETRY_AFTER))
        else:
            self._pending.add(unit)
            self._wake.set()
            if self._patience is None:
                self._watch(PATIENCE_SECONDS)
        return outcome

    # With Redis

    async def _send(self) -> None:
        """Send what comes, together what has come meanwhile, until Redis is lost."""
        while self._sends_directly:
            await self._wake.wait()
            self._wake.clear()
            while batch := self._pending.next_batch():
                sent = [Sent(self._node, one.sequence, one.text, one.kept) for one in batch]
                outcomes = await self._append(sent)
                for unit, outcome in zip(batch, outcomes, strict=True):
                    if outcome == "refused" and self._pending.take(unit.sequence) is not None:
                        unit.fail(unit.refusal())

    async def _append(self, sent: Sequence[Sent]) -> list[str]:
        """Append units, and retain what has been; see `Link.append`."""
        outcomes = await self._append_again(sent)
        for one, outcome in zip(sent, outcomes, strict=True):
            if outcome != "refused":
                self._retained.add(one)
        return outcomes

    async def _append_again(self, sent: Sequence[Sent]) -> list[str]:
        """Append units that may have been before, and know of the last entry; see `Link.append`."""
        outcomes = await self._link.append(sent)
        for outcome in outcomes:
            self._at.know_of(outcome)
        if "known" in outcomes:
            # Redis does not say where it is: not behind the end of the log.
            self._at.know_of(await self._link.last_id())
        return outcomes

    def _watch(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        self._patience = loop.call_at(due, self._look, due, context=self._context)

    def _look(self, due: float) -> None:
        """Go on without Redis when what was appended has not come back in time."""
        self._patience = None
        if not self._pending:
            return
        if asyncio.get_running_loop().time() - due > PATIENCE_SECONDS / 2:
            # It was this process that was late; the answer may be waiting to be read.
            self._watch(PATIENCE_SECONDS)
            return
        patience = PATIENCE_SECONDS + self._pending.bytes / _BYTES_PER_SECOND
        left = self._pending.oldest.began + patience - self._now()
        if left > 0:
            self._watch(left)
        else:
            self._lose("it does not answer in time")

    # Without Redis

    def _lose(self, reason: str) -> None:
        """Go on without Redis, and say why if it is news. Idempotent."""
        if self._sends_directly:
            self._metrics.cluster_cut_offs.inc()
            self._go_alone()
        elif reason == self._away_because:
            return
        self._away_because = reason
        logger.warning("redis_away", reason=reason)

    def _go_alone(self) -> None:
        self._sends_directly = False
        self._may_read.clear()
        self._wake.set()
        self._private.begin(self.last_number)
        self._waiters.give_up()
        for unit in self._pending.take_all():
            if not unit.is_fleeting:
                self.outbox.put(unit, self._apply_privately)
        self._audience.cut_off()

    def _apply_privately(self, unit: Unit) -> None:
        """Let a unit take effect here that is in the outbox now."""
        number = self.last_number = self.last_number + 1
        self._private.give(number, unit.sequence, unit.stored)
        self._keep_answers(unit.changes, number, self.offset(number).epoch)
        self._note_sessions(unit.changes)
        unit.take_effect(number)

    def _settle_privately(
        self, sequence: int, changes: Sequence[SharedChange], number: int
    ) -> None:
        """Take note of the number that the log has given to what had a private one."""
        for event in self._private.settle(sequence, changes, number):
            self._replica.keep(replace(event, number=number))
        for change in changes:
            if isinstance(change, HistoryDeleted):
                self._replica.delete(change.room, number)
        self._note_sessions(changes)
        self._come_together()

    def _come_together(self) -> None:
        """Be one of the cluster again, once the last that was private is in the log."""
        if self._sends_directly and self.is_cut_off and self._private.is_settled:
            self._private.end()
            logger.info("redis_back")
            self._audience.together()

    # Joining

    async def _join(self) -> None:
        """Find out where the log is, and send what has waited for it."""
        reads_failed = self._at.failed
        place = await self._link.join(secrets.token_hex(4), self._epoch, self._at.last_known)
        others = await self._audience.joining()
        if place.epoch != self._epoch != "":
            logger.error("redis_lost_data", epoch=place.epoch)
            self._has_lost = True
            self._at.lose()
        elif not self._must_load and self._at.is_before(place.first_id):
            self._pass_by(place.first_id)
        if self._must_load:
            await self._load(place, others)
            self._is_unknown = True
        self._epoch = place.epoch
        self._at.read_at = self._now()
        self._may_read.set()
        if self._has_lost:
            # Whoever has had it leaves it out.
            for batch in self._retained.batches():
                await self._append_again(batch)
            self._forget_until(self._retained.first_of(self._node) - 1)
        await self.outbox.send(self._send_entries, self._forget_refused)
        if self._at.failed != reads_failed:
            raise RedisAway("it was lost while this process joined")
        self._sends_directly = True
        self._is_joined.set()
        self._present()
        self._began_alone = False
        self._come_together()

    def _present(self) -> None:
        """Tell the others that this process is there, and what Redis has lost of it."""
        if self._is_unknown:
            self.tell([NodeStarted(self._audience.describe())])
        if self._has_lost:
            self._introduce()
        self._is_unknown = self._has_lost = False

    async def _send_entries(self, entries: Sequence[OutboxEntry]) -> list[str]:
        now = milliseconds(self._clock.now())
        sent: list[Sent] = []
        for entry in entries:
            if self._began_alone and entry.origin != self._node:
                # What an earlier process has left here is older than all clients of this one.
                self._following.older.add(entry.origin)
            changes = read_changes(entry.text, 0, self._epoch)
            kept = kept_with(changes, self._link.keys, now)
            sent.append(Sent(entry.origin, entry.sequence, entry.text, kept))
        outcomes = await self._append(sent)
        own = [entry.sequence for entry in entries if entry.origin == self._node]
        self._appended_until = max((self._appended_until, *own))
        return outcomes

    def _forget_until(self, sequence: int) -> None:
        """Wait no longer to read back what Redis has had, and has no more."""
        self._private.forget_until(min(sequence, self._appended_until))

    def _forget_refused(self, entry: OutboxEntry) -> None:
        if entry.origin == self._node and self._private.has(entry.sequence):
            self._private.forget(entry.sequence)

    async def _come_to_life(self) -> None:
        """Tell the others that this process is there, which they have declared dead.

        Not before everything has been read: its clients may have gone to others meanwhile.
        """
        await self.catch_up()
        self.tell([NodeStarted(self._audience.describe())])
        self._introduce()

    def _introduce(self) -> None:
        """Tell the others once more who is here: they have lost it, or believe nobody is."""
        sessions = [session for session in self._sessions if session.node is None]
        here = [session.stored() for session in sessions if session.away_since is None]
        if here:
            self.tell([SessionTaken(session, is_return=False) for session in here])
        self._audience.introduced()

    def _pass_by(self, first_id: str) -> None:
        """Begin anew: what was before the log begins is not known, and clients must know."""
        logger.error("log_passed_by", last_id=self._at.log_id, first_id=first_id)
        self._must_load = True
        self._replication.begin_anew()

    async def _load(self, place: Place, others: set[str]) -> None:
        """Take up what Redis has of the log and of the sessions."""
        last_id = self._last_before_clients(place)
        loading = Loading(
            self._link, self._replica, self._replication, self._sessions, self._take_own
        )
        await loading.load(place.first_id, last_id, place.epoch, others)
        self._epoch = place.epoch
        self._must_load = False
        self._seen |= loading.seen
        self._at.log_id = last_id
        self._at.know_of(loading.last_id)
        self._forget_until(self._appended_until)
        self.last_number = max(self.last_number, number_of(last_id))

    def _last_before_clients(self, place: Place) -> str:
        """Return up to where the log can be taken up without telling anybody.

        What is newer than this process, if that began alone, is for clients that are here already.
        """
        if not self._began_alone:
            return place.last_id
        began = place.now - round((self._now() - self._opened_at) * 1000)
        return min(place.last_id, f"{began}-0", key=number_of)

    # Reading

    async def _read(self) -> None:
        """Read what follows, whoever has appended it, and let it take effect."""
        while True:
            await self._may_read.wait()
            try:
                log_id, losses = self._at.log_id, self._at.losses
                entries, messages = await self._link.read(log_id, self._at.inbox_id)
                if self._must_load or (self._at.log_id, self._at.losses) != (log_id, losses):
                    continue  # all this is taken up otherwise
                await self._check_for_gap(entries)
                await self._take_all(entries)
                for message_id, text in messages:
                    self._at.inbox_id = message_id
                    self._audience.message(text)
            except RedisAway as problem:
                self._at.failed += 1
                self._lose(str(problem))
                await asyncio.sleep(_RETRY_SECONDS)
            except Exception:  # the edge: a fault must not end the reading for good
                logger.exception("cluster_entry_failed")
                await asyncio.sleep(0)

    async def _check_for_gap(self, entries: Sequence[Entry]) -> None:
        """See after a long time, and when there is much to read, whether the log was trimmed.

        Raises:
            RedisAway: it was, beyond what was read; this process has to join anew.
        """
        is_late = self._now() - self._at.read_at > _LATE_SECONDS
        self._at.read_at = self._now()
        if (is_late or len(entries) >= READ_AT_ONCE) and self._at.is_before(
            await self._link.first_id()
        ):
            raise RedisAway("it has trimmed the log beyond what was read of it")

    async def _take_all(self, entries: Sequence[Entry]) -> None:
        size, until = 0, self._now() + _TURN_SECONDS
        losses = self._at.losses
        for entry in entries:
            if size > _TURN_BYTES or self._now() > until:
                await self._end_turn()
                await asyncio.sleep(0)
                size, until = 0, self._now() + _TURN_SECONDS
            if self._must_load or self._at.losses != losses:
                return  # a join has begun anew meanwhile
            size += len(entry.text)
            self._bytes_since_trim += len(entry.text)
            self._at.log_id = entry.id
            self._at.know_of(entry.id)
            number = number_of(entry.id)
            self.last_number = max(self.last_number, number)
            # What Redis tells by itself has no sequence, and is there once.
            if entry.sequence == 0 or entry.sequence > self._seen.get(entry.origin, 0):
                self._seen[entry.origin] = entry.sequence
                await self._take(entry, number)
            self._waiters.come_to(self.last_number)
        await self._end_turn()
        if self._bytes_since_trim > STREAM_BYTES // 4:
            await self._trim_stream()

    async def _end_turn(self) -> None:
        await self._replica.settle()
        self._audience.flush()

    async def _take(self, entry: Entry, number: int) -> None:
        """Let an entry take effect, whose turn it is."""
        if entry.origin == self._node and self._take_own(entry, number):
            return
        for change in changes_of(entry.id, entry.text, number, self._epoch):
            await self._following.follow(change, entry.origin, number)

    def _take_own(self, entry: Entry, number: int) -> bool:
        """Take what this process has appended; False when it believes that it has not."""
        sequence = entry.sequence
        # In the log is in the log, even while it is being put into the outbox.
        unit = self._pending.take(sequence) or self.outbox.take(sequence)
        if unit is not None:
            changes = unit.changes
            self._settle(unit, number)
        elif self._private.has(sequence):
            changes = changes_of(entry.id, entry.text, number, self._epoch)
            self._settle_privately(sequence, changes, number)
        else:
            return False
        for change in changes:
            if isinstance(change, SessionTaken):
                self._returns.had(change.session.client_id, sequence)
        return True

    def _settle(self, unit: Unit, number: int) -> None:
        """Let a unit of this process take effect, now that it has its place."""
        self._metrics.cluster_append_seconds.observe(self._now() - unit.began)
        if unit.stored is not None:
            unit.stored.number = number
            self._replica.keep(unit.stored)
        self._keep_answers(unit.changes, number, self._epoch)
        for change in unit.changes:
            if isinstance(change, WebhookMarked):
                self._mark(change)
        unit.take_effect(number)
        self._note_sessions(unit.changes)

    def _keep_answers(self, changes: Sequence[SharedChange], number: int, epoch: str) -> None:
        for change in changes:
            if isinstance(change, AnswerGiven):
                self._replica.keep_answer(AnswerGiven(_placed(change.answer, number, epoch)))

    def _mark(self, marked: WebhookMarked) -> None:
        # For the time without Redis: what others have published is not to be published once more.
        self._own.record(lambda _: [marked], lambda _: None).add_done_callback(_ignored)

    def _note_sessions(self, changes: Sequence[SharedChange]) -> None:
        for change in changes:
            client_id = session_of(change)
            if client_id is not None:
                self._audience.session_changed(client_id)

    # Waiting for the others

    async def catch_up(self) -> None:
        """Wait until what is in the log now has taken effect here, a second at most.

        At once while Redis is away.
        """
        if self.is_cut_off:
            return
        try:
            last_id = await self._asked(self._link.last_id())
        except RedisAway as problem:
            self._lose(str(problem))
        else:
            await self.reach(number_of(last_id), _CATCH_UP_SECONDS)

    async def _asked(self, asking: Coroutine[Any, Any, Answer]) -> Answer:
        """Return what Redis says, as long as it is there. Raises `RedisAway`."""
        answer = asyncio.ensure_future(asking)
        answer.add_done_callback(_ignored)
        try:
            await asyncio.wait((answer,), timeout=_DOUBT_SECONDS)
            if not answer.done():
                probe = self.record(lambda _: (), lambda _: None)
                probe.add_done_callback(_ignored)
                await asyncio.wait((answer, probe), return_when=asyncio.FIRST_COMPLETED)
                if self.is_cut_off and not answer.done():
                    raise RedisAway("it does not answer in time")
            return await answer
        finally:
            answer.cancel()

    async def reach(self, number: int, seconds: float) -> None:
        """Wait until everything up to a number has taken effect here, for so long at most."""
        if self.last_number < number and not self.is_cut_off:
            await self._waiters.wait(number, seconds)

    # Reading what was recorded

    @property
    def first_number(self) -> int:
        """The oldest number whose event is kept."""
        return self._replica.first_number

    @property
    def window_after(self) -> int:
        """The number after which every event is in memory."""
        return self._replica.window_after

    def recent(self, after: int) -> list[StoredEvent]:
        """Return the events after a number that is not before :attr:`window_after`."""
        return self._private.with_events(self._replica.recent(after), after)

    async def past(
        self, addresses: Addresses, after: int, *, max_events: int, max_bytes: int
    ) -> Past:
        """Return the events that only the archive has; see `EventLog.past`."""
        return await self._replica.past(
            addresses, after, max_events=max_events, max_bytes=max_bytes
        )

    async def find_answer(self, key: str, now: int) -> GivenAnswer | None:
        """Return the answer given to an idempotency key by any process."""
        try:
            [text] = await self._values([self._link.keys.answer(key)])
        except RedisAway:
            return await self._replica.find_answer(key, now)
        if text is None:
            return None
        entry_id, _, said = text.partition(" ")
        answer = GivenAnswer(**strict_json.loads(said))
        given = _placed(answer, number_of(entry_id), self._epoch)
        return given if given.expires_at > now else None

    async def _values(self, keys: Sequence[str]) -> list[str | None]:
        """Return what Redis keeps by keys. Raises `RedisAway`."""
        if self.is_cut_off:
            raise RedisAway("it was lost before")
        try:
            return await self._asked(self._link.values(keys))
        except RedisAway as problem:
            self._lose(str(problem))
            raise

    async def history(self, room: str, *, after: int, limit: int, now: int) -> list[StoredEvent]:
        """Return the oldest events of a room after a number; see `Store.history`."""
        return await self._replica.history(room, after=after, limit=limit, now=now)

    async def delete_history(self, room: str) -> int:
        """Delete the history of a room at all processes; how many events it had."""

        def apply(number: int) -> "tuple[int, asyncio.Future[int]]":
            return number, self._replica.delete(room, number)

        until, deleted = await self._put([HistoryDeleted(room)], apply)
        await self._replica.settle()
        here: int = await deleted
        return max(here, await self._replica.long_history.delete(room, until))

    async def minutes(self, *, since: int, before: int) -> list[CountedMinute]:
        """Return the minutes that this process has counted. Raises as the store does."""
        return await self._own.minutes(since=since, before=before)

    async def webhook_backlog(self) -> WebhookBacklog:
        """Return how much waits in the inbox of this process. Raises as the store does."""
        return await self._own.webhook_backlog()

    async def next_webhook(self) -> StoredWebhook | None:
        """Return the oldest webhook that waits at this process. Raises as the store does."""
        return await self._own.next_webhook()

    async def webhook_marks(self, keys: Collection[str]) -> dict[str, str]:
        """Return the values of marks, those of any process while Redis is there."""
        marks = await self._own.webhook_marks(keys)
        wanted = list(keys)
        try:
            texts = await self._values([self._link.keys.mark(key) for key in wanted])
        except RedisAway:
            return marks
        found = zip(wanted, texts, strict=True)
        return marks | {key: text.partition(" ")[2] for key, text in found if text is not None}

    async def replay_webhooks(self, since: int | None) -> int:
        """Let webhooks of this process wait again; how many. Raises as the store does."""
        return await self._own.replay_webhooks(since)

    async def trim(self, bounds: Bounds, now: int) -> None:
        """Delete what is beyond the bounds, here and in Redis. Raises as the store does."""
        self._bounds = bounds
        await self._own.trim(bounds, now)
        await self._replica.long_history.trim(bounds, now)
        await self._trim_stream()

    async def _trim_stream(self) -> None:
        self._bytes_since_trim = 0
        first = await self._replica.trim(self._bounds, milliseconds(self._clock.now()))
        if not self.is_cut_off and first > 1:
            try:
                await self._link.trim(stream_id(first))
            except RedisAway as problem:
                self._lose(str(problem))


def _placed(answer: GivenAnswer, number: int, epoch: str) -> GivenAnswer:
    return replace(answer, answer=placed_answer(answer.answer, number, epoch))


def _ignored(outcome: "asyncio.Future[Any]") -> None:
    """Take note of a failure that makes no difference: it is logged where it happened."""
    if not outcome.cancelled():
        outcome.exception()
