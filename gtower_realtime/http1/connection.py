"""One HTTP/1.1 connection: requests are parsed by llhttp, and answered by Tornado's handlers.

Takes the place of `tornado.http1connection`, whose reading alone takes a third of the time of a
trigger. What handlers ask of a connection is `tornado.httputil.HTTPConnection`.

Source: RFC 9112. Framing, its limits and its strictness are llhttp's (Node's parser), by httptools.
"""

import asyncio
import re
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast

import httptools
import structlog
from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPInputError,
    HTTPMessageDelegate,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import StreamClosedError

if TYPE_CHECKING:
    from gtower_realtime.http1.server import HttpServer

logger = structlog.get_logger(__name__)

# Requests that may wait for the answer to an earlier one.
_MAX_PIPELINED = 64

# What is still read, and thrown away, of a client that sends on after its answer: to close with
# input unread resets the connection, and the client would see that instead of the answer.
_LINGER_SECONDS = 5.0
_LINGER_BYTES = 100_000_000

# A request line whose method llhttp does not know, as far as the target.
_METHOD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32})(?= )")

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"
_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_FAILED = b"HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_HEADERS_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"Connection: close\r\nContent-Length: 0\r\n\r\n"
)

_IPV4_MAPPED = "::ffff:"

# What Tornado gives a peer on a unix socket.
_NO_ADDRESS = "0.0.0.0"  # noqa: S104


class Context:
    """Who is at the other end, as `HTTPServerRequest` looks for it."""

    __slots__ = ("protocol", "remote_ip")

    def __init__(self, remote_ip: str) -> None:
        self.remote_ip = remote_ip
        self.protocol = "http"


class Detached(NamedTuple):
    """A connection that has left HTTP, and what came after the request that it left with."""

    transport: asyncio.Transport
    unread: bytes


class _Request:
    """A request as far as it has come."""

    __slots__ = (
        "chunks",
        "delegate",
        "expects_continue",
        "headers",
        "is_handed_over",
        "is_whole",
        "keeps_alive",
        "start_line",
    )

    def __init__(self, start_line: RequestStartLine, headers: HTTPHeaders, keeps_alive: bool):
        self.start_line = start_line
        self.headers = headers
        self.keeps_alive = keeps_alive
        self.expects_continue = headers.get("Expect", "").lower() == "100-continue"
        self.chunks: deque[bytes] = deque()
        self.is_whole = False
        self.is_handed_over = False
        self.delegate: HTTPMessageDelegate | None = None


class HttpConnection(asyncio.BufferedProtocol, HTTPConnection):
    """The server's end of one connection; requests are answered in their order, one at a time.

    While a handler does not want more of a body, or an earlier request is being answered, nothing
    is read.
    """

    __slots__ = (
        "_answer_is_chunked",
        "_arriving",
        "_close_callback",
        "_deadline",
        "_drained",
        "_head",
        "_head_bytes",
        "_is_broken",
        "_is_held",
        "_is_reading",
        "_is_upgrading",
        "_lingering_bytes",
        "_method",
        "_parser",
        "_pipelined",
        "_request",
        "_server",
        "_timer",
        "_transport",
        "_unread",
        "_uri",
        "context",
    )

    def __init__(self, server: "HttpServer") -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._method: bytes | None = None
        self._uri = b""
        self._head: list[tuple[bytes, bytes]] | None = []
        self._head_bytes = 0
        self._arriving: _Request | None = None
        self._request: _Request | None = None
        self._pipelined: deque[_Request] = deque()
        self._is_held = False
        self._is_reading = True
        self._is_upgrading = False
        self._is_broken = False
        self._lingering_bytes: int | None = None
        self._unread = b""
        self._answer_is_chunked = False
        self._close_callback: Callable[[], None] | None = None
        self._drained: list[asyncio.Future[None]] = []
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.context = Context(_NO_ADDRESS)

    # What asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to read requests."""
        self._transport = cast("asyncio.Transport", transport)
        # An answer counts as written when nothing of it is left here.
        self._transport.set_write_buffer_limits(high=0)
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            # A socket for both families, as systemd makes them, shows IPv4 addresses within IPv6.
            self.context.remote_ip = peer[0].removeprefix(_IPV4_MAPPED)
        self._server.connections.add(self)
        self._await_until(self._server.idle_seconds)
        self._timer = self._server.loop.call_later(self._server.idle_seconds, self._check_time)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where to put what comes: one buffer serves all, as it is used up at once."""
        return self._server.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take up what has come."""
        self._server.traffic.received += nbytes
        if self._lingering_bytes is not None:
            self._linger_on(nbytes)
            return
        arrived = self._server.buffer[:nbytes]
        if self._is_broken:
            return
        if self._is_upgrading:
            self._unread += arrived
            self._see_to_reading()
            return
        if self._head is not None:
            self._head_bytes += nbytes
        try:
            self._feed(arrived)
        except httptools.HttpParserUpgrade as upgrade:
            # Whatever follows is of another protocol, and not read before that is chosen.
            self._is_upgrading = True
            self._unread = bytes(arrived[upgrade.args[0] :])
        except httptools.HttpParserCallbackError as problem:
            # What was called back is ours, or a handler's that could not even be made.
            logger.exception("request_not_begun", exc_info=problem.__context__ or problem)
            self._arriving = self._request  # there is nobody who would answer it
            self._refuse(_FAILED)
            return
        except httptools.HttpParserError:
            self._refuse(_BAD_REQUEST)
            return
        if self._head is not None and self._head_bytes > self._server.max_header_bytes:
            self._refuse(_HEADERS_TOO_LARGE)
            return
        self._see_to_reading()

    def _feed(self, arrived: memoryview) -> None:
        try:
            self._parser.feed_data(arrived)
        except httptools.HttpParserInvalidMethodError:
            method = _METHOD.match(arrived)
            if self._method is not None or method is None or self._head_bytes != len(arrived):
                raise
            # It is for the handlers to say that they do not take it; the rest is read as usual.
            self._method = method[1]
            self._parser = httptools.HttpRequestParser(self)
            self._parser.feed_data(b"GET" + bytes(arrived[method.end() :]))

    def pause_writing(self) -> None:
        """Do nothing: whoever writes looks at the buffer."""

    def resume_writing(self) -> None:
        """Tell those who wait for it that all is written."""
        drained, self._drained = self._drained, []
        for future in drained:
            if not future.done():
                future.set_result(None)
        self._take_up_next()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the handler that is at work."""
        self._leave()
        drained, self._drained = self._drained, []
        for future in drained:
            _fail(future)
        callback, self._close_callback = self._close_callback, None
        self._request = None
        self._pipelined.clear()
        if callback is not None:
            callback()

    # What the parser finds

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._head, self._uri = [], b""

    def on_url(self, url: bytes) -> None:
        """Take the target, or a piece of it."""
        self._uri += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; a trailer is passed over."""
        if self._head is not None:
            self._head.append((name, value))

    def on_headers_complete(self) -> None:
        """Hand the request over, unless an earlier one is still being answered."""
        head, self._head = self._head or [], None
        size = len(self._uri) + sum(len(name) + len(value) + 4 for name, value in head)
        self._head_bytes = 0
        if size > self._server.max_header_bytes:
            self._refuse(_HEADERS_TOO_LARGE)
            return
        parser = self._parser
        start_line = RequestStartLine(
            (self._method or parser.get_method()).decode("latin-1"),
            self._uri.decode("latin-1"),
            f"HTTP/{parser.get_http_version()}",
        )
        keeps_alive = parser.should_keep_alive() and not (parser.should_upgrade() or self._method)
        arriving = self._arriving = _Request(start_line, _headers(head), keeps_alive)
        if self._request is None and not self._is_clogged():
            self._begin(arriving)
        else:
            self._pipelined.append(arriving)

    def on_body(self, chunk: bytes) -> None:
        """Take a piece of a body."""
        if self._arriving is not None:
            self._arriving.chunks.append(chunk)
            self._hand_over()

    def on_message_complete(self) -> None:
        """Take note that the request is whole."""
        if self._arriving is not None:
            self._arriving.is_whole = True
            self._arriving = None
            self._head = []
            self._hand_over()

    # Requests on their way to a handler

    def _begin(self, request: _Request) -> None:
        self._request = request
        self._await_until(self._server.body_seconds)
        delegate = request.delegate = self._server.application.start_request(self._server, self)
        try:
            prepared = delegate.headers_received(request.start_line, request.headers)
        except HTTPInputError:
            self._request = None
            self._refuse(_BAD_REQUEST)
            return
        self._is_held = False
        if prepared is not None:
            self._hold(request, asyncio.ensure_future(prepared))
        if not self._is_held:
            self._invite_body(request)

    def _invite_body(self, request: _Request) -> None:
        if request.expects_continue and not request.is_whole:
            self._send(_CONTINUE)
        request.expects_continue = False

    def _hold(self, request: _Request, until: "asyncio.Future[None]") -> None:
        """Keep the rest of the body until the handler is ready for it."""
        if not until.done():
            self._is_held = True
            until.add_done_callback(partial(self._go_on, request))

    def _go_on(self, request: _Request, _ready: "asyncio.Future[None]") -> None:
        if self._request is not request:
            return  # it was answered without its body
        self._is_held = False
        self._invite_body(request)
        self._hand_over()
        self._see_to_reading()

    def _hand_over(self) -> None:
        """Give the handler what has come of the body of its request."""
        request = self._request
        while request is not None and request.delegate is not None and not self._is_held:
            if not request.chunks:
                if request.is_whole and not request.is_handed_over:
                    request.is_handed_over = True
                    self._deadline = float("inf")
                    request.delegate.finish()
                return
            held = request.delegate.data_received(request.chunks.popleft())
            if held is not None:
                self._hold(request, asyncio.ensure_future(held))
            request = self._request

    def _see_to_reading(self) -> None:
        transport, request = self._transport, self._request
        if transport is None or transport.is_closing() or self._lingering_bytes is not None:
            return
        if len(self._pipelined) > _MAX_PIPELINED:
            self._refuse(_BAD_REQUEST)
            return
        # One piece may wait: mostly it is the whole body, and its handler is about to begin.
        is_full = self._is_held and request is not None and len(request.chunks) > 1
        is_full = is_full or len(self._unread) > self._server.max_header_bytes
        # Of a client that asks without reading the answers, one more request at the most is read.
        wants_more = not (is_full or self._pipelined or (request is None and self._is_clogged()))
        if wants_more != self._is_reading:
            self._is_reading = wants_more
            (transport.resume_reading if wants_more else transport.pause_reading)()

    # What handlers ask for: `tornado.httputil.HTTPConnection`

    def write_headers(
        self,
        start_line: RequestStartLine | ResponseStartLine,
        headers: HTTPHeaders,
        chunk: bytes | None = None,
    ) -> "asyncio.Future[None]":
        """Send the head of an answer, and the beginning of its body."""
        request = self._request
        code = cast("ResponseStartLine", start_line).code
        if request is None:
            return self._failed()
        method, _, version = request.start_line
        has_body = not (method == "HEAD" or code in {204, 304} or code < 200)
        self._answer_is_chunked = (
            has_body and "Content-Length" not in headers and version == "HTTP/1.1"
        )
        if self._answer_is_chunked:
            headers["Transfer-Encoding"] = "chunked"
        if not request.is_whole or headers.get("Connection") == "close":
            request.keeps_alive = False
        if has_body and not self._answer_is_chunked and "Content-Length" not in headers:
            request.keeps_alive = False  # its end is the end of the connection
        if version == "HTTP/1.0" and request.keeps_alive:
            headers["Connection"] = "keep-alive"
        elif version == "HTTP/1.1" and not request.keeps_alive:
            headers["Connection"] = "close"
        reason = cast("ResponseStartLine", start_line).reason
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.get_all()])
        head = f"HTTP/1.1 {code} {reason}\r\n{lines}\r\n".encode("latin-1")
        return self._send(head + self._framed(chunk) if chunk else head)

    def write(self, chunk: bytes) -> "asyncio.Future[None]":
        """Send more of a body."""
        return self._send(self._framed(chunk))

    def finish(self) -> None:
        """End the answer, and take up the next request."""
        request = self._request
        if request is None:
            return
        if self._answer_is_chunked:
            self._send(_LAST_CHUNK)
            self._answer_is_chunked = False
        self._request = None
        if request.delegate is not None and not request.is_handed_over:
            # The handler may wait for a body that nobody will read; it is not in its call here.
            self._server.loop.call_soon(request.delegate.on_connection_close)
        if self._is_broken or not request.is_whole:
            self._linger()
            return
        if not request.keeps_alive:
            self._end()
            return
        self._await_until(self._server.idle_seconds)
        self._take_up_next()

    def _take_up_next(self) -> None:
        """Begin the next request, once the client has read the answer to the last one."""
        if self._pipelined and self._request is None and not self._is_clogged():
            self._begin(self._pipelined.popleft())
            self._hand_over()
        self._see_to_reading()

    def _is_clogged(self) -> bool:
        return self._transport is not None and self._transport.get_write_buffer_size() > 0

    @property
    def is_answering(self) -> bool:
        """Whether a request that is whole has not been answered, or the answer has not left."""
        request = self._request
        return (request is not None and request.is_handed_over) or self._is_clogged()

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        """Have ``callback`` called when the client goes away before its answer has ended."""
        self._close_callback = callback

    def detach(self) -> Detached:
        """Leave HTTP: the caller sets another protocol at once.

        Raises:
            StreamClosedError: the client has gone.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            raise StreamClosedError
        unread, self._unread = self._unread, b""
        self._close_callback = None
        self._request = None
        self._leave()
        return Detached(transport, unread)

    def _framed(self, chunk: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(chunk), chunk) if self._answer_is_chunked and chunk else chunk

    def _send(self, content: bytes) -> "asyncio.Future[None]":
        """Write, at once if the kernel takes it; the future is done when nothing is left here."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return self._failed()
        self._server.traffic.sent += len(content)
        transport.write(content)
        if not transport.get_write_buffer_size():
            return self._server.written
        sending: asyncio.Future[None] = self._server.loop.create_future()
        self._drained.append(sending)
        return sending

    def _failed(self) -> "asyncio.Future[None]":
        future: asyncio.Future[None] = self._server.loop.create_future()
        _fail(future)
        return future

    # The end

    def close(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()

    def _refuse(self, answer: bytes) -> None:
        """Answer bytes that are no request, once what came before them has its answer."""
        self._is_broken = True
        self._pipelined.clear()
        request = self._request
        if request is not None and request is not self._arriving:
            request.keeps_alive = False
            return
        self._request = None
        if request is not None and request.delegate is not None:
            # It waits for a body that will never be whole, if it was made at all.
            callback, self._close_callback = self._close_callback, None
            if callback is not None:
                self._server.loop.call_soon(callback)
        if self._transport is not None and not self._transport.is_closing():
            self._server.traffic.sent += len(answer)
            self._transport.write(answer)
            self._linger()

    def _linger(self) -> None:
        """Close this direction, and read what the client still sends."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._lingering_bytes = 0
        self._await_until(_LINGER_SECONDS)
        transport.write_eof()
        if not self._is_reading:
            self._is_reading = True
            transport.resume_reading()

    def _linger_on(self, nbytes: int) -> None:
        self._lingering_bytes = (self._lingering_bytes or 0) + nbytes
        self._await_until(_LINGER_SECONDS)
        if self._lingering_bytes > _LINGER_BYTES:
            self.close()

    def _end(self) -> None:
        """Close, once what was written has gone."""
        self._await_until(self._server.idle_seconds)
        if self._transport is not None:
            self._transport.close()

    def _leave(self) -> None:
        self._transport = None
        self._server.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def _await_until(self, seconds: float) -> None:
        self._deadline = self._server.loop.time() + seconds

    def _check_time(self) -> None:
        """Cut a connection that takes too long to send, to read, or to be of use."""
        left = self._deadline - self._server.loop.time()
        if left <= 0:
            self.close()
            return
        # The deadline has moved, as it does with each request; one timer serves them all.
        delay = min(left, self._server.idle_seconds)
        self._timer = self._server.loop.call_later(delay, self._check_time)


def _headers(head: list[tuple[bytes, bytes]]) -> HTTPHeaders:
    headers = HTTPHeaders()
    for raw_name, raw_value in head:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        # What llhttp lets pass needs no second look, unless the header has come before.
        if name in headers:
            headers.add(name, value)
        else:
            headers[name] = value
    return headers


def _fail(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_exception(StreamClosedError())
        future.exception()  # nobody has to ask
