"""Request bodies that are bounded before they are read; for all Tornado handlers of the house."""

import asyncio
from typing import Any, cast

from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPServerRequest
from tornado.web import Application, RequestHandler, stream_request_body

from gtower_realtime.errors import TooLarge, ValidationFailed

# What the body of a request that is answered already may still send; it is read and thrown away.
_DISCARDED_BYTES = 100_000_000


@stream_request_body
class BoundedBodyHandler(RequestHandler):
    """A handler whose body is refused with 413 as soon as its headers, or its bytes, are too much.

    Tornado's own limit holds for the whole server, is checked after the headers, and answers with a
    bare 400; a body of a handler that does not stream is read whole before the handler exists.

    A request that is answered before its body has come, as refusals are, keeps its connection until
    the body is through: to close with input unread resets the connection, and a client that is busy
    sending would see that instead of the answer. (A chunked body, whose end is not known, and one
    that waits for `100 Continue` are cut off.)
    """

    def __init__(self, application: Application, request: HTTPServerRequest, **row: Any) -> None:
        self._chunks: list[bytes] = []
        self._received_bytes = 0
        self._declared_bytes = _declared_bytes(request)
        self._is_answered = False
        super().__init__(application, request, **row)

    def max_body_bytes(self) -> int:
        """Return how long the body of this request may be."""
        raise NotImplementedError

    def check_declared_body(self) -> None:
        """Check the size that the headers announce; to be called by `prepare`.

        Raises:
            TooLarge: it is over the limit.
            ValidationFailed: it is no size.
        """
        if self._declared_bytes is None:
            raise ValidationFailed("Content-Length is not a number of bytes.")
        self._check_size(self._declared_bytes)
        # The limit is ours from here on, for chunked bodies too.
        self._connection().set_max_body_size(_DISCARDED_BYTES)

    def data_received(self, chunk: bytes) -> None:
        """Keep a piece of the body; refuse at once when it grows beyond the limit after all."""
        self._received_bytes += len(chunk)
        if self._is_answered:
            if not self._is_body_on_its_way():
                super().finish()
            return
        try:
            self._check_size(self._received_bytes)
        except TooLarge as refusal:
            self._chunks.clear()
            self.send_error(refusal.http_status, exc_info=(TooLarge, refusal, None))
            return
        self._chunks.append(chunk)

    def body(self) -> bytes:
        """Return the body, once it is whole."""
        return b"".join(self._chunks)

    def finish(self, chunk: str | bytes | dict[str, Any] | None = None) -> "asyncio.Future[None]":
        """Answer; the end of the request waits for the end of its body."""
        if not self._is_body_on_its_way():
            return super().finish(chunk)
        self._is_answered = True
        self._chunks.clear()
        self._connection().set_max_body_size(_DISCARDED_BYTES)
        if chunk is not None:
            self.write(chunk)
        self.set_header("Content-Length", sum(map(len, self._write_buffer)))
        self.set_header("Connection", "close")
        return self.flush()

    def on_connection_close(self) -> None:
        """End the request when the client does not send the rest of its body."""
        super().on_connection_close()
        if self._is_answered and not self._finished:
            super().finish()

    def _is_body_on_its_way(self) -> bool:
        declared = self._declared_bytes or 0
        return (
            self._received_bytes < declared <= _DISCARDED_BYTES
            and "Expect" not in self.request.headers
            and self.get_status() != 204
        )

    def _connection(self) -> HTTP1Connection:
        return cast("HTTP1Connection", self.request.connection)

    def _check_size(self, size: int) -> None:
        limit = self.max_body_bytes()
        if size > limit:
            raise TooLarge(f"The body has more than {limit} bytes, the limit here.")


def _declared_bytes(request: HTTPServerRequest) -> int | None:
    """Return the `Content-Length`, 0 without one; None if it is no size."""
    declared = request.headers.get("Content-Length", "0")
    if declared.isascii() and declared.isdigit() and len(declared) < 16:
        return int(declared)
    return None
