"""How fast one client may go: what is over its rate waits, and with it everything it sends next.

While an event waits the transport stops reading, so a flood stays in the kernel of the one who
sends it.
"""

import asyncio
from collections.abc import Callable, Mapping

from gtower_realtime.errors import RateLimited
from gtower_realtime.limits import Rate, TokenBucket

TOO_MANY_REQUESTS = 4101

MAX_SECONDS_OVER = 10.0
"""A client that is over its rate for as long, without a break, is a flood."""

_BREAK_SECONDS = 1.0
"""How long nothing may have had to wait. Less is none: a busy loop takes up an event late, and
those behind it find tokens that came meanwhile."""


class _Over:
    """Since when a client has been over a rate, and until when something of it had to wait."""

    __slots__ = ("since", "waited_until")

    def __init__(self, now: float) -> None:
        self.since = now
        self.waited_until = now


class Pace:
    """The token buckets of each client, by the name of the rate; an unlimited rate has none.

    ``on_flood`` is called with the id of a client that does not stop, ``on_wait`` with the rate of
    each event that has to wait.
    """

    def __init__(
        self,
        rates: Mapping[str, Rate],
        clock: Callable[[], float],
        on_flood: Callable[[str], None],
        on_wait: Callable[[str], None] = lambda _rate: None,
    ) -> None:
        self._rates = _limited(rates)
        self._clock = clock
        self._on_flood = on_flood
        self._on_wait = on_wait
        self._penalised: dict[str, float] = {}
        self._buckets: dict[str, dict[str, TokenBucket]] = {}
        self._over: dict[tuple[str, str], _Over] = {}

    def change(self, rates: Mapping[str, Rate]) -> None:
        """Take other rates, for those who are connected as well; each begins anew with them."""
        self._rates = _limited(rates)
        self._buckets.clear()
        self._over.clear()

    async def keep(self, client_id: str, name: str) -> None:
        """Return when the client may go on under a rate.

        Raises:
            RateLimited: it was over its rate for too long; `on_flood` has been called.
        """
        if not self._rates:
            return
        buckets = self._buckets.get(client_id)
        if buckets is None:
            buckets = {name: TokenBucket(rate) for name, rate in self._rates.items()}
            self._buckets[client_id] = buckets
        bucket = buckets.get(name)
        if bucket is None:
            return
        has_waited = False
        while (wait := bucket.take(self._clock())) > 0:
            if not has_waited:
                self._on_wait(name)
            has_waited = True
            self._check_flood(client_id, name)
            await asyncio.sleep(wait)
        over = self._over.get((client_id, name))
        if over is not None:
            now = self._clock()
            if has_waited:
                over.waited_until = now
            elif now - over.waited_until >= _BREAK_SECONDS:
                del self._over[client_id, name]

    def penalise(self, user_id: str, seconds: float) -> None:
        """Have a user's connections refused for a while; who connects asks :meth:`is_penalised`."""
        now = self._clock()
        self._penalised = {user: until for user, until in self._penalised.items() if until > now}
        self._penalised[user_id] = now + seconds

    def is_penalised(self, user_id: str) -> bool:
        """Say whether a user is to stay away at the moment."""
        return self._penalised.get(user_id, 0.0) > self._clock()

    def forget(self, client_id: str) -> None:
        """Drop what is kept of a client that is gone."""
        self._buckets.pop(client_id, None)
        for name in self._rates:
            self._over.pop((client_id, name), None)

    def _check_flood(self, client_id: str, name: str) -> None:
        now = self._clock()
        over = self._over.get((client_id, name))
        if over is None:
            over = self._over[client_id, name] = _Over(now)
        if now - over.since >= MAX_SECONDS_OVER:
            self._on_flood(client_id)
            raise RateLimited("You send too much; slow down.")


def _limited(rates: Mapping[str, Rate]) -> dict[str, Rate]:
    return {name: rate for name, rate in rates.items() if not rate.is_unlimited}
