"""Who a back-end is and what it may: API keys. Knows no HTTP beyond the text of a key."""

import hashlib
import hmac
from typing import Literal

from gtower_realtime.errors import Forbidden, Unauthorized
from gtower_realtime.ports import Target
from gtower_realtime.setting_values import ApiKey

Scope = Literal["publish", "read", "admin"]


class ApiKeys:
    """The configured keys. Without any, everybody who reaches the server is let through."""

    def __init__(self, keys: tuple[ApiKey, ...]) -> None:
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


def check_may_address(key: ApiKey | None, target: Target) -> None:
    """Check that ``key`` may send to all of ``target``.

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
