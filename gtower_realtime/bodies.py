"""What all Tornado handlers of the house have: bodies bounded before they are read, and an id."""

import re
import secrets
from typing import Any

from tornado.httputil import HTTPServerRequest
from tornado.web import Application, RequestHandler, stream_request_body

from gtower_realtime.errors import TooLarge, ValidationFailed

_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


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

    def request_id(self) -> str:
        """Return the caller's id of the request, if it is a sane one, else one of our own."""
        proposed = self.request.headers.get("X-Request-Id", "")
        if _SANE_REQUEST_ID.fullmatch(proposed):
            return proposed
        # Made once: Tornado sets the default headers again before an error is written.
        if not hasattr(self, "_own_request_id"):
            self._own_request_id = secrets.token_hex(8)
        return self._own_request_id

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
