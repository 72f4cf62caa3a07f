"""The opening handshake of a WebSocket (RFC 6455, section 4.2): refused with HTTP, or switched."""

import base64
import binascii
import hashlib
from typing import cast

from tornado.httputil import HTTPServerRequest
from tornado.iostream import StreamClosedError

from gtower_realtime.engineio.handler import EngineIOHandler
from gtower_realtime.engineio.handshake import (
    BAD_METHOD,
    BAD_REQUEST,
    HandshakeRefused,
    Query,
    session_of,
)
from gtower_realtime.engineio.websocket import WebSocketConnection
from gtower_realtime.http1.connection import Detached

_VERSION = "13"
_KEY_BYTES = 16
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

_SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: %b\r\n"
    b"\r\n"
)


class WebSocketHandshakeHandler(EngineIOHandler):
    """Refuses, before the 101, what would not be served after it; else lets go of the request.

    Nothing of Tornado's request stays in memory beyond the handshake, only the stream.
    """

    def max_body_bytes(self) -> int:
        """Allow none."""
        return 0

    async def prepare(self) -> None:
        """Do it all; no method of the handler runs after this."""
        self._engineio.check_origin(self.request)
        self.check_declared_body()
        query = Query.of(self.request)
        query.check("websocket")
        head = _SWITCHING % _accept(self.request).encode()
        session = session_of(query, self._engineio.sessions)
        if session is not None:
            self._engineio.expire_if_due(session)
            transport, unread = self._leave_http()
            connection = WebSocketConnection(transport, self._engineio)
            connection.probe(session, head)
            connection.begin(unread)
            return
        admission = await self._engineio.admit(self.request)
        try:
            transport, unread = self._leave_http()
        except StreamClosedError:
            # The client has gone meanwhile.
            self._engineio.withdraw(admission)
            return
        connection = WebSocketConnection(transport, self._engineio)
        connection.carry(self._engineio.open_session(admission, connection), head)
        connection.begin(unread)

    def _leave_http(self) -> Detached:
        """Take the connection out of Tornado's hands."""
        detached = cast("Detached", self.detach())
        self.set_status(101)
        self.application.log_request(self)
        return detached


def _accept(request: HTTPServerRequest) -> str:
    """Return the `Sec-WebSocket-Accept` for a request.

    Raises:
        HandshakeRefused: it is not an opening handshake, or of another version than 13.
    """
    headers = request.headers
    if request.method != "GET":
        raise HandshakeRefused(BAD_METHOD)
    options = [option.strip() for option in headers.get("Connection", "").lower().split(",")]
    key = headers.get("Sec-WebSocket-Key", "")
    if (
        request.version != "HTTP/1.1"
        or "upgrade" not in options
        or "Transfer-Encoding" in headers
        or not _is_key(key)
    ):
        raise HandshakeRefused(BAD_REQUEST)
    if headers.get("Sec-WebSocket-Version") != _VERSION:
        raise HandshakeRefused(BAD_REQUEST, 426, {"Sec-WebSocket-Version": _VERSION})
    # RFC 6455 names SHA-1 here; nothing rests on its strength.
    digest = hashlib.sha1((key + _GUID).encode(), usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == _KEY_BYTES
    except (binascii.Error, ValueError):
        return False
