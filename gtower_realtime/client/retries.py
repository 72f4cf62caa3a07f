"""How often a call is tried, and when again; one call's way from its first try to its outcome.

Knows no clock and sends nothing: both clients do what it says.
"""

import logging
import math
import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Generic, TypeVar

import httpx

from gtower_realtime.client import answers
from gtower_realtime.client.calls import Answer, Call
from gtower_realtime.client.problems import (
    RateLimited,
    RealtimeClientError,
    Refused,
    ServerUnavailable,
    ServerUnreachable,
    UnexpectedAnswer,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")

_JITTER = random.SystemRandom()

_MOST_DOUBLINGS = 64
"""More would not be a number any more, in the end."""

_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
"""Failures before anything of the request has left."""

_PASSING = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
"""What proxies answer while the server behind them is away."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """At most ``tries`` tries for each call, 1 for none again.

    Between them a random time of up to ``first_delay`` seconds, twice as long each time, at most
    ``longest_delay``; what the server asks for with Retry-After is added. If it asks for more than
    ``longest_retry_after`` the call fails at once.
    """

    tries: int = 5
    first_delay: float = 0.2
    longest_delay: float = 5.0
    longest_retry_after: float = 30.0

    def __post_init__(self) -> None:
        """Raise ValueError for a policy that never asks, or waits for less than no time."""
        if self.tries < 1:
            raise ValueError(f"tries must be at least 1, not {self.tries}")
        if min(self.first_delay, self.longest_delay, self.longest_retry_after) < 0:
            raise ValueError("a delay must not be negative")

    def delay(self, tries: int, retry_after: float | None) -> float:
        """Return how many seconds to wait after so many tries."""
        # All that wait for the same server would come back at the same moment without jitter,
        # those that it has told when to come as well.
        longest = min(self.longest_delay, self.first_delay * 2.0 ** min(tries - 1, _MOST_DOUBLINGS))
        return (retry_after or 0.0) + _JITTER.uniform(0.0, longest)


class Exchange(Generic[T]):
    """One call, try by try. `result` is there once :meth:`settle` has returned None."""

    result: T

    def __init__(self, call: Call[T], policy: RetryPolicy) -> None:
        self._call = call
        self._policy = policy
        self._tries = 0

    def settle(self, outcome: httpx.Response | httpx.RequestError) -> float | None:
        """Take what came of a try; return the seconds until the next one, None if all is well.

        Raises:
            RealtimeClientError: it is not to be tried again.
        """
        self._tries += 1
        if isinstance(outcome, httpx.RequestError):
            problem: RealtimeClientError = self._unreachable(outcome)
            is_safe = self._call.is_repeatable or isinstance(outcome, _NEVER_SENT)
        elif outcome.is_success or outcome.status_code in self._call.accepted:
            self.result = self._read(outcome)
            return None
        else:
            problem = self._refusal(outcome)
            # The server's own word that nothing was done.
            is_safe = self._call.is_repeatable or isinstance(
                problem, RateLimited | ServerUnavailable
            )
        if not (problem.retryable and is_safe and self._tries < self._policy.tries):
            raise problem
        if (problem.retry_after or 0.0) > self._policy.longest_retry_after:
            raise problem
        delay = self._policy.delay(self._tries, problem.retry_after)
        logger.info(
            "%s %s: %s; trying again in %.2f s (%d of %d)",
            self._call.method,
            self._call.path,
            problem.code,
            delay,
            self._tries + 1,
            self._policy.tries,
        )
        return delay

    def _read(self, response: httpx.Response) -> T:
        headers = response.headers
        answer = Answer(
            response.text,
            is_replayed=headers.get("Idempotency-Replayed") == "true",
            partial=headers.get("X-Partial") == "true",
            nodes_missing=_names(headers.get("X-Nodes-Missing", "")),
        )
        try:
            return self._call.read(answer)
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            raise self._unexpected(response) from problem

    def _refusal(self, response: httpx.Response) -> Refused | UnexpectedAnswer:
        try:
            return answers.refusal(
                response.json(),
                response.status_code,
                retry_after=_retry_after(response),
                idempotency_key=self._call.idempotency_key,
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            return self._unexpected(response)

    def _unexpected(self, response: httpx.Response) -> UnexpectedAnswer:
        status = response.status_code
        where = response.headers.get("Location")
        advice = f"it leads to {where}" if where else "look at the URL, and at proxies before it"
        return UnexpectedAnswer(
            f"The answer, {status} {response.reason_phrase}, is not one of GTower Realtime; "
            f"{advice}.",
            code=f"http_{status}",
            status=status,
            retryable=status in _PASSING,
            retry_after=_retry_after(response),
            request_id=response.headers.get("X-Request-Id"),
            idempotency_key=self._call.idempotency_key,
        )

    def _unreachable(self, problem: httpx.RequestError) -> ServerUnreachable:
        is_timeout = isinstance(problem, httpx.TimeoutException)
        error = ServerUnreachable(
            f"No answer to {self._call.method} {self._call.path} "
            f"({type(problem).__name__}{f': {problem}' if str(problem) else ''}).",
            code="timeout" if is_timeout else "unreachable",
            retryable=True,
            idempotency_key=self._call.idempotency_key,
        )
        error.__cause__ = problem
        return error


def _retry_after(response: httpx.Response) -> float | None:
    """Return the seconds of Retry-After, which may be a number or a date; None without one."""
    text = response.headers.get("Retry-After")
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _names(text: str) -> tuple[str, ...]:
    """Return the names in a header, which stand between commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
