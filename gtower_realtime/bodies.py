"""Request bodies that are bounded before they are read; for all Tornado handlers of the house."""

from typing import cast

from tornado.http1connection import HTTP1Connection
from tornado.web import RequestHandler, stream_request_body

from gtower_realtime.errors import TooLarge, ValidationFailed

# What a refused body may still send before the connection is cut; it is read and thrown away, so
# that the client gets to see the refusal instead of a reset connection.
_DISCARDED_BYTES = 100_000_000


@stream_request_body
class BoundedBodyHandler(RequestHandler):
    """A handler whose body is refused with 413 as soon as its headers, or its bytes, are too much.

    Tornado's own limit holds for the whole server, is checked after the headers, and answers with a
    bare 400; a body of a handler that does not stream is read whole before the handler exists.
    """

    _chunks: list[bytes]
    _received_bytes: int

    def max_body_bytes(self) -> int:
        """Return how long the body of this request may be."""
        raise NotImplementedError

    def check_declared_body(self) -> None:
        """Check the size that the headers announce; to be called by `prepare`.

        Raises:
            TooLarge: it is over the limit.
            ValidationFailed: it is no size.
        """
        self._chunks = []
        self._received_bytes = 0
        declared = self.request.headers.get("Content-Length", "0")
        if not (declared.isascii() and declared.isdigit() and len(declared) < 16):
            raise ValidationFailed("Content-Length is not a number of bytes.")
        self._check_size(int(declared))
        # The limit is ours from here on, for chunked bodies too.
        self._connection().set_max_body_size(_DISCARDED_BYTES)

    def data_received(self, chunk: bytes) -> None:
        """Keep a piece of the body; refuse at once when it grows beyond the limit after all."""
        if self._finished:
            return
        self._received_bytes += len(chunk)
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

    def _connection(self) -> HTTP1Connection:
        return cast("HTTP1Connection", self.request.connection)

    def _check_size(self, size: int) -> None:
        limit = self.max_body_bytes()
        if size > limit:
            self._connection().set_max_body_size(_DISCARDED_BYTES)
            raise TooLarge(f"The body has more than {limit} bytes, the limit here.")
