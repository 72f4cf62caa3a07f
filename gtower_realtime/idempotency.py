"""The same request twice is one request: answers given once are given again. No wires.

Source: the Idempotency-Key header field (draft-ietf-httpapi-idempotency-key-header), whose status
codes these are.
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from gtower_realtime import strict_json
from gtower_realtime.errors import (
    IdempotencyInFlight,
    IdempotencyMismatch,
    Overloaded,
    StoreUnavailable,
    ValidationFailed,
)
from gtower_realtime.ports import Clock, EventLog
from gtower_realtime.publishing import Receipt
from gtower_realtime.records import AnswerGiven, Change, GivenAnswer, StoredEvent
from gtower_realtime.timestamps import milliseconds

logger = structlog.get_logger(__name__)

KEPT_SECONDS = 300
MAX_KEY_LENGTH = 255

Also = Callable[[StoredEvent], Sequence[Change]]
"""What is to be recorded in the same transaction as an event."""

Publish = Callable[[Also | None], "asyncio.Future[Receipt]"]
Shape = Callable[[dict[str, Any]], dict[str, Any]]
"""Makes an answer of a receipt's dictionary."""


@dataclass(frozen=True, slots=True)
class LookUp:
    """What is known of a key that is being worked on. ``answer`` is None unless one was given."""

    key: str
    fingerprint: str
    now: int
    answer: str | None


def check_key(key: str) -> None:
    """Check the key of a request.

    Raises:
        ValidationFailed: it is empty or longer than 255 characters.
    """
    if not 0 < len(key) <= MAX_KEY_LENGTH:
        sentence = f"An idempotency key has 1 to {MAX_KEY_LENGTH} characters."
        raise ValidationFailed(sentence, fields={"Idempotency-Key": [sentence]})


class OnceOnly:
    """Runs each keyed request once and remembers its answer for 300 s, across restarts.

    The answer is recorded together with the event, so either both are there after a crash or
    neither is. Only successes are kept.
    """

    def __init__(self, journal: EventLog, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._in_flight: set[str] = set()

    async def run(
        self, scope: tuple[str, ...], body: bytes, publish: Publish, shape: Shape
    ) -> tuple[dict[str, Any], bool]:
        """Return the answer, and whether it is one that was given before; see :meth:`begin`."""
        return await (await self.begin(scope, body, publish, shape))

    async def begin(
        self, scope: tuple[str, ...], body: bytes, publish: Publish, shape: Shape
    ) -> "asyncio.Future[tuple[dict[str, Any], bool]]":
        """Look for the answer and, unless it is known, run ``publish``; return what it will be.

        What the caller publishes after this has returned comes later in the log. Raises as
        :meth:`look_up` and :meth:`carry_on` do.
        """
        return self.carry_on(await self.look_up(scope, body), publish, shape)

    async def look_up(self, scope: tuple[str, ...], body: bytes) -> "LookUp":
        """Look for the answer to a key, the last part of ``scope``; :meth:`carry_on` must follow.

        Raises:
            ValidationFailed: the key is empty or longer than 255 characters.
            IdempotencyInFlight: the same key is being worked on.
            IdempotencyMismatch: the key was used with another body, or with another wish to wait.
            StoreUnavailable: nobody can say at the moment.
        """
        check_key(scope[-1])
        key = _digest(*(part.encode("utf-8", "surrogatepass") for part in scope))
        if key in self._in_flight:
            raise IdempotencyInFlight("A request with this key is being worked on.")
        self._in_flight.add(key)
        try:
            now = milliseconds(self._clock.now())
            known = await self._journal.find_answer(key, now)
        except BaseException:
            self._in_flight.discard(key)
            raise
        fingerprint = _digest(body)
        if known is not None and known.fingerprint != fingerprint:
            self._in_flight.discard(key)
            raise IdempotencyMismatch(
                "This key was used with another body, or with another wish to wait."
            )
        return LookUp(key, fingerprint, now, None if known is None else known.answer)

    def carry_on(
        self, found: "LookUp", publish: Publish, shape: Shape
    ) -> "asyncio.Future[tuple[dict[str, Any], bool]]":
        """Run ``publish`` unless the answer is known; return what it will be.

        Raises:
            RealtimeError: whatever ``publish`` raises; the future, whatever its own fails with.
        """
        answered: asyncio.Future[tuple[dict[str, Any], bool]]
        if found.answer is not None:
            self._in_flight.discard(found.key)
            answered = asyncio.get_running_loop().create_future()
            answered.set_result((strict_json.loads(found.answer), True))
            return answered

        def given(receipt: dict[str, Any]) -> AnswerGiven:
            answer = strict_json.dumps(shape(receipt))
            expires_at = found.now + KEPT_SECONDS * 1000
            return AnswerGiven(GivenAnswer(found.key, found.fingerprint, answer, expires_at))

        def with_event(event: StoredEvent) -> list[Change]:
            # Who gets it is known after the delivery; should we die before, nobody has got it.
            offset = self._journal.offset(event.number)
            return [given(Receipt(event.id, recipients=0, pending=0, offset=offset).as_dict())]

        try:
            published = publish(with_event)
        except BaseException:
            self._in_flight.discard(found.key)
            raise
        answered = asyncio.ensure_future(self._finish(published, given, shape))
        answered.add_done_callback(lambda _: self._in_flight.discard(found.key))
        return answered

    async def _finish(
        self,
        published: "asyncio.Future[Receipt]",
        given: Callable[[dict[str, Any]], AnswerGiven],
        shape: Shape,
    ) -> tuple[dict[str, Any], bool]:
        receipt = (await published).as_dict()
        try:
            await self._journal.record(lambda _: [given(receipt)], lambda _: None)
        except (StoreUnavailable, Overloaded):
            # The event is recorded and delivered all the same, and so is an answer for its key.
            logger.warning("answer_not_completed")
        return shape(receipt), False


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()
