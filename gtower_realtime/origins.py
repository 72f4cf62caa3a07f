"""Which web pages may talk to this server: the one reading of ``CORS_ORIGIN``.

The Socket.IO handshake, its WebSocket upgrade and the HTTP API all ask the same object.
Knows header values only; no HTTP library.
"""

import re
from collections.abc import Iterable

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""Host names that lead to this machine, whatever a name server says."""

_WILDCARD = "*."
_PORTS_LEFT_OUT = (("https://", ":443"), ("http://", ":80"))


class OriginPolicy:
    """The origins of ``CORS_ORIGIN``: ``*``, or exact origins and ``https://*.example.com`` forms.

    A wildcard stands for one or more whole labels, never for the bare domain. Source of the header
    rules: the Fetch standard, section 3.3 (CORS protocol).
    """

    def __init__(self, allowed: Iterable[str]) -> None:
        self.replace(allowed)

    def replace(self, allowed: Iterable[str]) -> None:
        """Take other origins, for whoever comes from now on."""
        entries = frozenset(_as_browsers_send(origin) for origin in allowed)
        self.allows_any = "*" in entries
        self._exact = frozenset(origin for origin in entries if _WILDCARD not in origin)
        self._patterns = tuple(
            re.compile(re.escape(origin).replace(r"\*\.", r"(?:[a-z0-9_-]+\.)+"))
            for origin in entries
            if _WILDCARD in origin
        )

    def allows(self, origin: str | None) -> bool:
        """Say whether a request with this ``Origin`` header may pass; without one it always may."""
        if origin is None or self.allows_any:
            return True
        # 260: the longest host name is 253 characters; longer input never reaches the patterns.
        if len(origin) > 260:
            return False
        candidate = origin.lower()
        return candidate in self._exact or any(
            pattern.fullmatch(candidate) for pattern in self._patterns
        )

    def response_headers(self, origin: str | None) -> dict[str, str]:
        """Return the CORS headers for an answer to a request that :meth:`allows` let pass."""
        if self.allows_any:
            return {"Access-Control-Allow-Origin": "*"}
        headers = {"Vary": "Origin"}
        if origin is not None and self.allows(origin):
            headers["Access-Control-Allow-Origin"] = origin
            headers["Access-Control-Allow-Credentials"] = "true"
        return headers


def _as_browsers_send(origin: str) -> str:
    """Return a configured origin as the header has it: no last slash, no usual port."""
    origin = origin.lower().rstrip("/")
    for scheme, port in _PORTS_LEFT_OUT:
        if origin.startswith(scheme):
            return origin.removesuffix(port)
    return origin
