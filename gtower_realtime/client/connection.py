"""What both clients have httpx do: where the server is, who asks, how long it may take."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Any

import httpx

from gtower_realtime import __version__
from gtower_realtime.client.calls import PRINTABLE, Call

_SOCKET = "unix:"

LIMITS = httpx.Limits(
    max_connections=100,
    max_keepalive_connections=20,
    # Shorter than the server, and the usual proxies, keep a connection on which nothing happens.
    keepalive_expiry=50.0,
)
"""How many connections one client has, and how long it keeps them, in seconds.

When all are in use, a call waits for one as long as for an answer.
"""


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the server is and what is told with each request; the key is in no repr.

    ``shown`` is the address as it may be shown; ``socket`` the path of a Unix socket, or None.
    """

    base_url: str = field(repr=False)
    shown: str
    socket: str | None
    headers: Mapping[str, str] = field(repr=False)
    timeout: float

    @classmethod
    def to(cls, url: str, api_key: str | None, timeout: float) -> "Connection":
        """Return the connection to ``http://…``, ``https://…`` or ``unix:/path``.

        Raises:
            ValueError: the URL is none of these, or the key is none.
        """
        headers = {"User-Agent": f"gtower-realtime-client/{__version__}"}
        if api_key is not None:
            if not PRINTABLE.fullmatch(api_key):
                raise ValueError(
                    "api_key must be printable ASCII without spaces or line ends; "
                    "was it read from a file, with its line end?"
                )
            headers["X-API-Key"] = api_key
        if url.startswith(_SOCKET):
            return cls("http://localhost", url, url.removeprefix(_SOCKET), headers, timeout)
        parsed = httpx.URL(url)
        if parsed.scheme not in {"http", "https"} or not parsed.host:
            raise ValueError("url must be like http://localhost:3000 or unix:/run/gtower.sock")
        shown = str(parsed.copy_with(userinfo=b""))
        return cls(url.rstrip("/"), shown, None, headers, timeout)

    def request(self, call: Call[Any]) -> dict[str, Any]:
        """Return the arguments of httpx's ``request`` for a call."""
        headers = {}
        if call.content is not None:
            headers["Content-Type"] = "application/json"
        if call.idempotency_key is not None:
            headers["Idempotency-Key"] = call.idempotency_key
        return {
            "method": call.method,
            "url": self.base_url + call.path,
            "params": call.query or None,
            "content": call.content,
            "headers": headers,
            "timeout": httpx.Timeout(self.timeout, read=self.timeout + call.seconds),
        }


def presented(method: Callable[..., Any], build: Callable[..., Any]) -> None:
    """Give a method of a client the name, documentation and parameters of the call it makes."""
    wraps(build)(method)
    own = signature(build)
    parameters = [Parameter("self", Parameter.POSITIONAL_ONLY), *own.parameters.values()]
    method.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
