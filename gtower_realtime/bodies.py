"""Request bodies that are bounded before they are read; for all Tornado handlers of the house."""

from typing import Any

from tornado.httputil import HTTPServerRequest
from tornado.web import Application, RequestHandler, stream_request_body

from gtower_realtime.errors import TooLarge, ValidationFailed


@stream_request_body
class BoundedBodyHandler(RequestHandler):
    """A handler whose body is refused with 413 as soon as its headers, or its bytes, are too much.

    A body of a handler that does not stream is read whole before the handler exists. What is still
    on its way when a request has been answered is read and thrown away by the connection.
    """

    def __init__(self, application: Application, request: HTTPServerRequest, **row: Any) -> None:
        self._chunks: list[bytes] = []
        self._received_bytes = 0
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
        declared = self.request.headers.get("Content-Length")
        if declared is None:
            return
        if not (declared.isascii() and declared.isdigit() and len(declared) < 16):
            raise ValidationFailed("Content-Length is not a number of bytes.")
        self._check_size(int(declared))

    def data_received(self, chunk: bytes) -> None:
        """Keep a piece of the body; refuse at once when it grows beyond the limit after all."""
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
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)

    def _check_size(self, size: int) -> None:
        limit = self.max_body_bytes()
        if size > limit:
            raise TooLarge(f"The body has more than {limit} bytes, the limit here.")
