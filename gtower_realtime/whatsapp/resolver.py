"""Whose number it is: asked of the back-end by HTTP, remembered, and never waited for in vain."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import structlog
from tornado.httputil import url_concat

from gtower_realtime import strict_json
from gtower_realtime.fetching import NotThere, fetch
from gtower_realtime.metrics import Metrics
from gtower_realtime.names import MAX_CUSTOMER_ID, problem_with_name
from gtower_realtime.ports import Clock

TIMEOUT_SECONDS = 2.0
KNOWN_SECONDS = 600.0
"""How long an answer is good."""
UNKNOWN_SECONDS = 60.0
"""How long a 404 is good: somebody may be entering the customer right now."""
MAX_REMEMBERED = 10_000
MAX_AT_ONCE = 10
FAILURES_TO_PAUSE = 5
PAUSE_SECONDS = 30.0

_MAX_ANSWER_BYTES = 64 * 1024

logger = structlog.get_logger(__name__)

Fetch = Callable[[str], Awaitable[bytes | None]]
"""Returns the body behind a URL, None for a 404; raises OSError when it cannot be had."""


async def fetch_over_http(url: str, timeout_seconds: float = TIMEOUT_SECONDS) -> bytes | None:
    """Return the body behind ``url``, None for a 404; see `fetching.fetch`."""
    try:
        return await fetch(url, timeout_seconds=timeout_seconds, max_bytes=_MAX_ANSWER_BYTES)
    except NotThere:
        return None


class _Remembered(NamedTuple):
    customer_id: str | None
    until: float


class Resolver:
    """Asks the back-end's URL with ``?waId=<number>`` for ``{"customerId": "…"}``.

    Of several who ask for one number at a time one goes. After five failures in a row nobody is
    asked for 30 s, and after that one failure is enough for the next pause.
    """

    def __init__(
        self, url: str, clock: Clock, metrics: Metrics, fetch: Fetch = fetch_over_http
    ) -> None:
        self._url = url
        self._clock = clock
        self._count = metrics.whatsapp_lookups.labels
        self._fetch = fetch
        self._remembered: OrderedDict[str, _Remembered] = OrderedDict()
        self._asking: dict[str, asyncio.Task[str | None]] = {}
        self._seats = asyncio.Semaphore(MAX_AT_ONCE)
        self._failures = 0
        self._paused_until = 0.0

    async def find(self, number: str) -> str | None:
        """Return the customer's id; None when there is none, or nobody can say."""
        known = self._remembered.get(number)
        if known is not None and self._clock.monotonic() < known.until:
            self._count("remembered").inc()
            return known.customer_id
        task = self._asking.get(number)
        if task is None:
            task = self._asking[number] = asyncio.create_task(self._ask(number))
            task.add_done_callback(lambda _: self._asking.pop(number, None))
        # Who gives up waiting must not take the answer from the others.
        return await asyncio.shield(task)

    async def _ask(self, number: str) -> str | None:
        async with self._seats:
            if self._clock.monotonic() < self._paused_until:
                self._count("skipped").inc()
                return None
            try:
                body = await self._fetch(url_concat(self._url, {"waId": number}))
                customer_id = None if body is None else read_answer(body)
            except (OSError, ValueError) as problem:
                self._fail(problem)
                return None
        self._failures = 0
        self._count("unknown" if customer_id is None else "found").inc()
        self._remember(number, customer_id)
        return customer_id

    def _fail(self, problem: Exception) -> None:
        self._count("failed").inc()
        self._failures += 1
        logger.warning("whatsapp_customer_not_resolved", reason=str(problem))
        if self._failures >= FAILURES_TO_PAUSE:
            self._paused_until = self._clock.monotonic() + PAUSE_SECONDS

    def _remember(self, number: str, customer_id: str | None) -> None:
        seconds = UNKNOWN_SECONDS if customer_id is None else KNOWN_SECONDS
        self._remembered[number] = _Remembered(customer_id, self._clock.monotonic() + seconds)
        self._remembered.move_to_end(number)
        if len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)


def read_answer(body: bytes) -> str:
    """Return the id in ``{"customerId": "…"}``.

    Raises:
        ValueError: it is no such object, or the id cannot be part of a room's name.
    """
    try:
        answer = strict_json.loads(body)
    except ValueError:
        raise ValueError("the answer is not JSON") from None
    customer_id = answer.get("customerId") if isinstance(answer, dict) else None
    if not isinstance(customer_id, str):
        raise ValueError("the answer has no customerId")  # noqa: TRY004 - one kind of error
    if problem := problem_with_name(customer_id, MAX_CUSTOMER_ID):
        raise ValueError(f"the customerId {problem}")
    return customer_id
