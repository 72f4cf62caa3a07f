"""Public keys that an issuer of tokens publishes: a JSON Web Key Set (RFC 7517) behind a URL.

A `tokens.KeySource` that fetches by HTTP; knows nothing of the tokens themselves.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from gtower_realtime import strict_json
from gtower_realtime.errors import Overloaded
from gtower_realtime.fetching import fetch
from gtower_realtime.limits import Rate, TokenBucket
from gtower_realtime.ports import Clock
from gtower_realtime.setting_values import key_set_url
from gtower_realtime.tokens import PUBLIC_KEY_ALGORITHMS, VerificationKey

MAX_KEY_SET_BYTES = 256 * 1024
MAX_KEYS = 100

FETCH_TIMEOUT_SECONDS = 5.0
FRESH_SECONDS = 600.0
"""How long a set is used before it is asked for again; a withdrawn key is good for as long."""

REFRESH_RATE = Rate(per_second=0.05, burst=3)
"""How often tokens can make the server fetch: anybody may send one with an unknown key id."""

logger = structlog.get_logger(__name__)

Fetch = Callable[[str], Awaitable[bytes]]
"""Returns what is behind a URL; raises OSError when it cannot be had."""


async def fetch_over_http(url: str, timeout_seconds: float = FETCH_TIMEOUT_SECONDS) -> bytes:
    """Return the body behind ``url``, of at most 256 KB; see `fetching.fetch`."""
    return await fetch(url, timeout_seconds=timeout_seconds, max_bytes=MAX_KEY_SET_BYTES)


class KeySet:
    """The keys behind one URL, https or on this machine.

    They are fetched by the first who asks, and again when they are ten minutes old or a token names
    a key that is not among them; then who asks waits, at most five seconds. While the URL is down
    the keys that were there stay good.
    """

    def __init__(self, url: str, clock: Clock, fetch: Fetch = fetch_over_http) -> None:
        """Raise ValueError when the URL is neither https nor on this machine."""
        self._url = key_set_url(url)
        self._clock = clock
        self._fetch = fetch
        self._keys: tuple[VerificationKey, ...] = ()
        self._fetched_at: float | None = None
        self._bucket = TokenBucket(REFRESH_RATE)
        self._refreshing: asyncio.Task[bool] | None = None

    @property
    def is_loaded(self) -> bool:
        """Whether keys were fetched at least once; until then no token can be checked."""
        return self._fetched_at is not None

    async def find(self, algorithm: str, key_id: str | None) -> VerificationKey | None:
        """Return the key as `tokens.KeySource` says. Without ``key_id`` the only one will do.

        Raises:
            Overloaded: the key is not among those known, and there is no asking now.
        """
        if algorithm not in PUBLIC_KEY_ALGORITHMS:
            return None
        keys = self._matching(algorithm, key_id)
        if not keys or self._is_stale():
            is_current = await self._refresh_if_due()
            keys = self._matching(algorithm, key_id)
            if not keys and not is_current:
                raise Overloaded(
                    "The keys that check tokens cannot be had at the moment; try again.",
                    headers={"Retry-After": "5"},
                )
        return keys[0] if len(keys) == 1 else None

    async def refresh(self) -> bool:
        """Fetch the keys now and return whether that went well. Who comes meanwhile shares it."""
        if self._refreshing is None:
            self._refreshing = asyncio.create_task(self._replace_keys())
        # Who gives up waiting must not take the keys from the others.
        return await asyncio.shield(self._refreshing)

    async def _refresh_if_due(self) -> bool:
        if self._refreshing is None and self._bucket.take(self._clock.monotonic()) > 0:
            return False
        return await self.refresh()

    async def _replace_keys(self) -> bool:
        try:
            self._keys = read_key_set(await self._fetch(self._url))
        except (OSError, ValueError) as problem:
            logger.warning("key_set_not_fetched", reason=str(problem))
            return False
        finally:
            self._refreshing = None
        self._fetched_at = self._clock.monotonic()
        return True

    def _matching(self, algorithm: str, key_id: str | None) -> list[VerificationKey]:
        return [
            key
            for key in self._keys
            if algorithm in key.algorithms and key_id in {None, key.key_id}
        ]

    def _is_stale(self) -> bool:
        if self._fetched_at is None:
            return True
        return self._clock.monotonic() - self._fetched_at >= FRESH_SECONDS


def read_key_set(document: bytes) -> tuple[VerificationKey, ...]:
    """Return the keys of a JSON Web Key Set that tokens can be checked with.

    Others are passed over, as RFC 7517 (5) asks; so there may be none.

    Raises:
        ValueError: it is no such set, or has more than 100 entries.
    """
    try:
        key_set = strict_json.loads(document)
    except ValueError:
        raise ValueError("the answer is not JSON") from None
    entries = key_set.get("keys") if isinstance(key_set, dict) else None
    if not isinstance(entries, list):
        raise ValueError("the answer is not a JSON Web Key Set")  # noqa: TRY004
    if len(entries) > MAX_KEYS:
        raise ValueError(f"the answer has more than {MAX_KEYS} keys")
    return tuple(key for key in map(VerificationKey.from_jwk, entries) if key is not None)
