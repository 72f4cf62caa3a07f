"""Questions and answers between processes, and what each tells of the events of another.

All of it goes through the inboxes: a stream for each process, read together with the log and after
it, so that an answer never comes before what it is about. What is lost with a cut is asked for in
vain, and the time for an answer ends.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from itertools import count
from typing import Any, Protocol

import structlog

from gtower_realtime import strict_json
from gtower_realtime.ack_waits import AckWait
from gtower_realtime.cluster.link import Link, RedisAway
from gtower_realtime.cluster.nodes import Nodes
from gtower_realtime.errors import InternalError, Overloaded, RealtimeError, refusal_of
from gtower_realtime.peers import Answering, Arguments, Hearing, Missing, Told
from gtower_realtime.records import EventAcknowledged, EventRelayed, SharedChange, StoredEvent

logger = structlog.get_logger(__name__)

RECEIPT_SECONDS = 0.08
"""From the publishing on, so that with the rest of an answer it is less than 100 ms."""
_LEAST_RECEIPT_SECONDS = 0.02
READ_SECONDS = 0.5

_ROLL_CALL = "roll call"
_TOLD_TOGETHER = 500

# As deep as what it tells of may be, and some more.
_MAX_DEPTH = 64

Message = dict[str, Any]


class Log(Protocol):
    """What is needed of the log; see `log.SharedLog`."""

    last_number: int

    @property
    def is_cut_off(self) -> bool: ...

    def tell(self, changes: list[SharedChange]) -> None: ...

    async def settled(self) -> None: ...

    async def reach(self, number: int, seconds: float) -> None: ...


class Tally:
    """What the others tell of one event; see `peers.Tally`."""

    def __init__(self, peers: "ClusterPeers", event_id: str, wait: AckWait | None) -> None:
        self._peers = peers
        self.event_id = event_id
        self.wait = wait
        self._silent = dict.fromkeys(peers.nodes.others)
        self._recipients = 0
        loop = asyncio.get_running_loop()
        self._due = loop.time() + RECEIPT_SECONDS
        self._complete: asyncio.Future[None] = loop.create_future()
        if not self._silent:
            self._complete.set_result(None)

    def hear(self, node: str, recipients: int, asked: list[str]) -> None:
        """Take note of what a process tells."""
        if node not in self._silent:
            return
        del self._silent[node]
        self._recipients += recipients
        if self.wait is not None:
            self.wait.expect(asked)
        if not self._silent:
            self.abandon()

    def abandon(self) -> None:
        """Wait for nobody any more: nobody can tell, or not in time."""
        if not self._complete.done():
            self._complete.set_result(None)

    async def outcome(self) -> Told:
        """Return what was told within the time of a receipt; at once without Redis."""
        if not self._complete.done() and not self._peers.is_cut_off:
            loop = asyncio.get_running_loop()
            due = max(self._due, loop.time() + _LEAST_RECEIPT_SECONDS)
            patience = loop.call_at(due, self.abandon)
            try:
                await self._complete
            finally:
                patience.cancel()
        if self.wait is not None:
            for _ in self._silent:
                self.wait.expect(())
        is_whole = not self._silent and not self._peers.is_cut_off
        return Told(self._recipients, None if is_whole else self._peers.named(self._silent))

    def end(self) -> None:
        """Wait no longer. Idempotent."""
        self.abandon()
        self._peers.forget(self)


class ClusterPeers:
    """See `peers.Peers`. ``introduce`` has what has changed here told to the others."""

    def __init__(
        self, *, link: Link, nodes: Nodes, log: Log, tell_changes: Callable[[], None]
    ) -> None:
        self._link = link
        self.nodes = nodes
        self._log = log
        self._tell_changes = tell_changes
        self._answering: dict[str, Answering] = {_ROLL_CALL: self._answer_roll_call}
        self._hearing: dict[str, Hearing] = {}
        self._tallies: dict[str, Tally] = {}
        self._counts: dict[str, list[tuple[str, int, list[str]]]] = {}
        self._asked: dict[int, asyncio.Future[Message]] = {}
        self._ids = count(1)
        self._outgoing: list[tuple[str, str]] = []
        self._wake = asyncio.Event()
        self._answers: set[asyncio.Task[None]] = set()

    @property
    def count(self) -> int:
        """How many others there are."""
        return len(self.nodes.others)

    @property
    def is_cut_off(self) -> bool:
        """Whether Redis is away."""
        return self._log.is_cut_off

    def named(self, nodes: Iterable[str]) -> tuple[str, ...]:
        """Return what people call processes."""
        return tuple(sorted(map(self.nodes.name_of, nodes)))

    # Events

    def expect(self, event_id: str, wait: AckWait | None) -> Tally | None:
        """Be told of an event that is about to be published; see `Peers.expect`."""
        if not self.nodes.others and not self.is_cut_off:
            return None
        tally = self._tallies[event_id] = Tally(self, event_id, wait)
        return tally

    def forget(self, tally: Tally) -> None:
        """Forget what was expected."""
        if self._tallies.get(tally.event_id) is tally:
            del self._tallies[tally.event_id]

    def relay(self, event: StoredEvent, *, droppable: bool) -> None:
        """Have the others deliver an event that is not stored; without Redis nobody does."""
        if not self.is_cut_off:
            self._log.tell([EventRelayed(event, droppable)])

    def acknowledged(self, client_id: str, number: int) -> None:
        """Have the others know that a client has acknowledged an event."""
        if self.nodes.others:
            self._log.tell([EventAcknowledged(client_id, number)])

    def told(self, node: str, event_id: str, recipients: int, asked: list[str]) -> None:
        """Have a process told how many had its event, and who is asked to acknowledge it."""
        if node in self.nodes.others:
            self._counts.setdefault(node, []).append((event_id, recipients, asked))

    def heard(self, node: str, event_id: str, client_id: str, has_acknowledged: bool) -> None:
        """Have a process told that a client has acknowledged its event, or is gone."""
        self.flush()  # so that it knows first that the client was asked
        message = {"event": event_id, "client": client_id, "acknowledged": has_acknowledged}
        self._send(node, "heard", message)

    def flush(self) -> None:
        """Send what has been told since the last time."""
        counts, self._counts = self._counts, {}
        for node, told in counts.items():
            self._send(node, "counts", {"counts": told})

    def abandon(self) -> None:
        """Wait for nobody any more: Redis is away."""
        for tally in self._tallies.values():
            tally.abandon()

    # What does no harm if it is lost

    def hear_of(self, subject: str, hearing: Hearing) -> None:
        """Have ``hearing`` called with what others spread about a subject."""
        self._hearing[subject] = hearing

    def spread(self, subject: str, arguments: Arguments) -> None:
        """Tell all others something."""
        for node in self.nodes.others:
            self._send(node, "news", {"subject": subject, "arguments": arguments})

    def _hear_news(self, message: Message) -> None:
        self._hearing[message["subject"]](message["arguments"])

    # Questions

    def answer(self, question: str, answering: Answering) -> None:
        """Have ``answering`` answer a question of the others."""
        self._answering[question] = answering

    async def roll_call(self) -> Missing:
        """Wait until all that has happened at the others is known here, 500 ms at most."""
        if self.is_cut_off:
            return self.named(self.nodes.others)
        if not self.nodes.others:
            return None
        began = asyncio.get_running_loop().time()
        answers, missing = await self.ask_all(_ROLL_CALL, {})
        number = max((answer["number"] for answer in answers), default=0)
        left = began + READ_SECONDS - asyncio.get_running_loop().time()
        await self._log.reach(number, max(left, 0.05))
        return missing

    async def _answer_roll_call(self, _arguments: Arguments) -> dict[str, Any]:
        self._tell_changes()
        await self._log.settled()
        return {"number": self._log.last_number}

    async def ask(self, node: str, question: str, arguments: Arguments) -> dict[str, Any]:
        """Have one of the others answer a question; see `Peers.ask`."""
        answer = None
        if not self.is_cut_off:
            answer = await self._ask(node, question, arguments)
        if answer is None:
            raise Overloaded(
                f"The process that has the client, {self.nodes.name_of(node)}, does not answer.",
                headers={"Retry-After": "1"},
            )
        if "error" in answer:
            raise refusal_of(answer["error"])
        told: dict[str, Any] = answer["told"]
        return told

    async def ask_all(
        self, question: str, arguments: Arguments
    ) -> tuple[list[dict[str, Any]], Missing]:
        """Have all others answer a question, within 500 ms; a refusal is no answer."""
        others = list(self.nodes.others)
        if self.is_cut_off:
            return [], self.named(others)
        answers = await asyncio.gather(*(self._ask(one, question, arguments) for one in others))
        silent = [
            node
            for node, answer in zip(others, answers, strict=True)
            if answer is None or "error" in answer
        ]
        told = [answer["told"] for answer in answers if answer is not None and "told" in answer]
        return told, self.named(silent) if silent else None

    async def _ask(self, node: str, question: str, arguments: Arguments) -> Message | None:
        question_id = next(self._ids)
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._asked[question_id] = answer
        asked = {"id": question_id, "question": question, "arguments": arguments}
        self._send(node, "question", asked)
        try:
            return await asyncio.wait_for(answer, READ_SECONDS)
        except TimeoutError:
            return None
        finally:
            del self._asked[question_id]

    async def _answer(self, node: str, question_id: int, question: str, said: Arguments) -> None:
        answer: Message = {"id": question_id}
        try:
            answer["told"] = await self._answering[question](said)
        except RealtimeError as refusal:
            answer["error"] = refusal.as_dict()
        except Exception:  # the edge: who asks is told that it failed here
            logger.exception("question_failed", question=question)
            answer["error"] = InternalError("The server failed; try again later.").as_dict()
        self._send(node, "answer", answer)

    # Inboxes

    def hear(self, text: str) -> None:
        """Take what another process has put into the inbox."""
        message = strict_json.loads(text, _MAX_DEPTH)
        _TAKEN[message["kind"]](self, message)

    def _hear_counts(self, message: Message) -> None:
        for event_id, recipients, asked in message["counts"]:
            tally = self._tallies.get(event_id)
            if tally is not None:
                tally.hear(message["from"], recipients, asked)

    def _hear_of_client(self, message: Message) -> None:
        tally = self._tallies.get(message["event"])
        if tally is not None and tally.wait is not None:
            take_note = tally.wait.acknowledge if message["acknowledged"] else tally.wait.lose
            take_note(message["client"])

    def _hear_question(self, message: Message) -> None:
        answered = asyncio.create_task(
            self._answer(message["from"], message["id"], message["question"], message["arguments"])
        )
        self._answers.add(answered)
        answered.add_done_callback(self._answers.discard)

    def _hear_answer(self, message: Message) -> None:
        answer = self._asked.get(message["id"])
        if answer is not None and not answer.done():
            answer.set_result(message)

    def _send(self, node: str, kind: str, message: Mapping[str, Any]) -> None:
        text = strict_json.dumps({"kind": kind, "from": self.nodes.node, **message})
        self._outgoing.append((node, text))
        self._wake.set()

    async def send(self) -> None:
        """Send what there is to send, as long as this runs. What cannot be sent is lost."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._outgoing:
                some = self._outgoing[:_TOLD_TOGETHER]
                del self._outgoing[:_TOLD_TOGETHER]
                try:
                    await self._link.tell(some)
                except RedisAway as problem:
                    logger.debug("not_told", reason=str(problem), messages=len(some))
                except Exception:  # the edge: a fault must not end the work for good
                    logger.exception("telling_failed", messages=len(some))


_TAKEN: dict[str, Callable[[ClusterPeers, Message], None]] = {
    "counts": ClusterPeers._hear_counts,
    "heard": ClusterPeers._hear_of_client,
    "news": ClusterPeers._hear_news,
    "question": ClusterPeers._hear_question,
    "answer": ClusterPeers._hear_answer,
}
