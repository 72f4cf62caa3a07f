"""Who a back-end is and what it may: API keys. Knows no HTTP beyond the text of a key."""

import hashlib
import hmac
import secrets
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Literal

from gtower_realtime.errors import Forbidden, RateLimited, Unauthorized
from gtower_realtime.limits import Rate, TokenBucket, retry_after
from gtower_realtime.ports import Target
from gtower_realtime.setting_values import ApiKey, api_key

_KEY_BYTES = 32

Scope = Literal["publish", "read", "admin"]


class ApiKeys:
    """The configured keys. Without any, everybody who reaches the server is let through."""

    def __init__(self, keys: tuple[ApiKey, ...]) -> None:
        self._keys = keys

    def replace(self, keys: tuple[ApiKey, ...]) -> None:
        """Take other keys, from the next request on."""
        self._keys = keys

    @property
    def are_required(self) -> bool:
        """Whether a caller needs a key at all."""
        return bool(self._keys)

    def authorize(self, presented: str | None, scope: Scope) -> ApiKey | None:
        """Return the key that ``presented`` is; None when no key is required.

        All keys are compared, each in constant time, so that an answer's delay tells nothing.

        Raises:
            Unauthorized: no key was presented, or an unknown one.
            Forbidden: the key does not have ``scope``.
        """
        if not self._keys:
            return None
        if presented is None:
            raise Unauthorized("An API key is needed; send it as X-API-Key.")
        digest = hashlib.sha256(presented.encode("utf-8", "surrogatepass")).digest()
        known = [key for key in self._keys if hmac.compare_digest(key.digest, digest)]
        if not known:
            raise Unauthorized("This API key is not known.")
        if scope not in known[0].scopes:
            raise Forbidden(f"The key {known[0].name!r} does not have the scope {scope!r}.")
        return known[0]


def make_api_key(
    name: str, scopes: Iterable[str], room_prefixes: Iterable[str] = ()
) -> tuple[str, str]:
    """Return a new key, and the item of `GTOWER_API_KEYS` for it, which has only its hash.

    Raises:
        ValueError: name, scopes or prefixes are not as that setting wants them.
    """
    key = secrets.token_urlsafe(_KEY_BYTES)
    digest = hashlib.sha256(key.encode()).hexdigest()
    parts = [name, "+".join(scopes), f"sha256-{digest}"]
    prefixes = "|".join(room_prefixes)
    item = ":".join([*parts, prefixes] if prefixes else parts)
    api_key(item)
    return key, item


class ApiRates:
    """How fast each API key may be used. ``monotonic`` returns seconds."""

    def __init__(self, rate: Rate, monotonic: Callable[[], float]) -> None:
        self._rate = rate
        self._monotonic = monotonic
        self._buckets: dict[str, TokenBucket] = {}
        self._used: Counter[str] = Counter()

    def change(self, rate: Rate) -> None:
        """Take another rate; every key begins anew with it."""
        self._rate = rate
        self._buckets.clear()

    def check(self, key: ApiKey) -> None:
        """Count one request with ``key``.

        Raises:
            RateLimited: it is used too fast; the headers say what is allowed and how long to wait.
        """
        wait = self._bucket(key.name).take(self._monotonic())
        if wait == 0:
            self._used[key.name] += 1
        else:
            raise RateLimited(
                f"The key {key.name!r} is used too fast; wait a little.",
                headers={
                    **retry_after(wait),
                    "X-RateLimit-Limit": str(self._rate.burst),
                    "X-RateLimit-Remaining": "0",
                },
            )

    def take_used(self) -> Counter[str]:
        """Return how often each key was used since the last time."""
        used, self._used = self._used, Counter()
        return used

    def used_elsewhere(self, key_name: str, times: int) -> None:
        """Take note that a key was used with another process."""
        self._bucket(key_name).spend(times, self._monotonic())

    def _bucket(self, key_name: str) -> TokenBucket:
        bucket = self._buckets.get(key_name)
        if bucket is None:
            bucket = self._buckets[key_name] = TokenBucket(self._rate)
        return bucket


def check_may_address(key: ApiKey | None, target: Target) -> None:
    """Check that ``key`` may send to all of ``target``, or read about it.

    Raises:
        Forbidden: the key is limited to room prefixes and the target goes beyond them.
    """
    if key is None or not key.room_prefixes:
        return
    if target.everyone or target.users or target.clients:
        raise Forbidden(f"The key {key.name!r} may address rooms only.")
    for room in target.rooms:
        if not room.startswith(key.room_prefixes):
            raise Forbidden(f"The key {key.name!r} may not address the room {room!r}.")
