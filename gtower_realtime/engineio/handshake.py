"""What a request to the Engine.IO path asks for, checked before anything is opened or upgraded.

Source: `verify` and `handshake` of the engine.io package, whose codes and messages these are.
"""

import json
from dataclasses import dataclass

from tornado.httputil import HTTPServerRequest
from tornado.web import HTTPError, RequestHandler

from gtower_realtime import strict_json
from gtower_realtime.engineio.session import RequestInfo, Session
from gtower_realtime.errors import InternalError, RealtimeError

_SUPPORTED_REVISION = "4"
_TRANSPORTS = frozenset({"polling", "websocket"})
_KEPT_QUERY_CHARACTERS = 2048

UNKNOWN_TRANSPORT = (0, "Transport unknown")
UNKNOWN_SID = (1, "Session ID unknown")
BAD_METHOD = (2, "Bad handshake method")
BAD_REQUEST = (3, "Bad request")
FORBIDDEN = (4, "Forbidden")
UNSUPPORTED_REVISION = (5, "Unsupported protocol version")


class HandshakeRefused(Exception):
    """The request is refused with an Engine.IO error body ``{"code", "message"}``."""

    def __init__(self, error: tuple[int, str], http_status: int = 400) -> None:
        code, message = error
        super().__init__(message)
        self.http_status = http_status
        self.body = json.dumps({"code": code, "message": message})


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

    def kept(self) -> dict[str, str]:
        """Return what is worth remembering of a handshake; nothing of one that is too long."""
        size = sum(len(name) + len(value) for name, value in self.arguments.items())
        return self.arguments if size <= _KEPT_QUERY_CHARACTERS else {}


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


def write_refusal(handler: RequestHandler, problem: BaseException | None) -> None:
    """Answer Engine.IO's errors in its form, all others in the form of the product."""
    if isinstance(problem, HTTPError):
        problem = HandshakeRefused(BAD_METHOD if problem.status_code == 405 else BAD_REQUEST)
    handler.set_header("Content-Type", "application/json")
    if isinstance(problem, HandshakeRefused):
        handler.set_status(problem.http_status)
        handler.finish(problem.body)
        return
    refusal = (
        problem
        if isinstance(problem, RealtimeError)
        else InternalError("The server failed; try again later.")
    )
    handler.set_status(refusal.http_status)
    for name, value in refusal.headers.items():
        handler.set_header(name, value)
    handler.finish(
        strict_json.dumps(
            {"success": False, "message": refusal.message, "error": refusal.as_dict()}
        )
    )
