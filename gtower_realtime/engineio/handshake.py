"""What a request to the Engine.IO path asks for, checked before anything is opened or upgraded.

Source: `verify` and `handshake` of the engine.io package, whose codes and messages these are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tornado.httputil import HTTPServerRequest

from gtower_realtime.engineio.session import RequestInfo, Session

_SUPPORTED_REVISION = "4"
_TRANSPORTS = frozenset({"polling", "websocket"})
_OWN_ARGUMENTS = frozenset({"EIO", "transport", "sid", "t", "b64", "j"})
_KEPT_QUERY_CHARACTERS = 2048
_NOTHING: Mapping[str, str] = MappingProxyType({})

UNKNOWN_TRANSPORT = (0, "Transport unknown")
UNKNOWN_SID = (1, "Session ID unknown")
BAD_METHOD = (2, "Bad handshake method")
BAD_REQUEST = (3, "Bad request")
FORBIDDEN = (4, "Forbidden")
UNSUPPORTED_REVISION = (5, "Unsupported protocol version")


class HandshakeRefused(Exception):
    """The request is refused with an Engine.IO error body ``{"code", "message"}``.

    ``code`` is the refusal's name in the metrics.
    """

    def __init__(
        self,
        error: tuple[int, str],
        http_status: int = 400,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.number, message = error
        super().__init__(message)
        self.code = message.lower().replace(" ", "_")
        self.http_status = http_status
        self.headers = dict(headers or {})

    def as_dict(self) -> dict[str, object]:
        """Return the body of the answer."""
        return {"code": self.number, "message": str(self)}


@dataclass(frozen=True, slots=True)
class Query:
    """The query of a request; of an argument given twice the first counts."""

    arguments: dict[str, str]

    @classmethod
    def of(cls, request: HTTPServerRequest) -> "Query":
        """Return the query of ``request``; bytes that are no UTF-8 are replaced."""
        return cls(
            {
                name: values[0].decode("utf-8", "replace")
                for name, values in request.query_arguments.items()
                if values
            }
        )

    @property
    def sid(self) -> str | None:
        """The session that the request belongs to; None asks for a new one."""
        return self.arguments.get("sid")

    def check(self, transport: str) -> None:
        """Check revision and transport of a request that came in over ``transport``.

        Raises:
            HandshakeRefused: one of them is missing, unknown, or not what the request uses.
        """
        asked_for = self.arguments.get("transport")
        if asked_for not in _TRANSPORTS:
            raise HandshakeRefused(UNKNOWN_TRANSPORT)
        if self.arguments.get("EIO") != _SUPPORTED_REVISION:
            raise HandshakeRefused(UNSUPPORTED_REVISION)
        if asked_for != transport:
            raise HandshakeRefused(BAD_REQUEST)

    def kept(self) -> Mapping[str, str]:
        """Return what is the application's; nothing of a query that is too long."""
        kept = {name: value for name, value in self.arguments.items() if name not in _OWN_ARGUMENTS}
        size = sum(len(name) + len(value) for name, value in kept.items())
        return kept if 0 < size <= _KEPT_QUERY_CHARACTERS else _NOTHING


def session_of(query: Query, sessions: dict[str, Session]) -> Session | None:
    """Return the open session that the query names, None for a handshake.

    Raises:
        HandshakeRefused: there is no such session.
    """
    if query.sid is None:
        return None
    session = sessions.get(query.sid)
    if session is None:
        raise HandshakeRefused(UNKNOWN_SID)
    return session


@dataclass(frozen=True, slots=True)
class Admission:
    """A handshake that was let in and counted, and has no session yet."""

    sid: str
    request: RequestInfo
