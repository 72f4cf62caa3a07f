"""HTTP/1.1 on real sockets: framing, pipelining, early answers, and what ends a connection."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator

import pytest
import structlog
from tornado.ioloop import IOLoop
from tornado.web import Application, RequestHandler, stream_request_body

from gtower_realtime.http1.connection import HttpConnection
from gtower_realtime.http1.server import HttpServer
from gtower_realtime.metrics import Traffic
from tests.wire import PATIENCE_SECONDS, until

pytestmark = pytest.mark.gen_test

MAX_HEADER_BYTES = 4096


class EchoHandler(RequestHandler):
    """Answers with method, query and body, without a type or a date to get in the way."""

    def set_default_headers(self) -> None:
        self._headers.clear()

    def compute_etag(self) -> None:
        return None

    def get(self) -> None:
        self.finish(f"{self.request.method} {self.request.query} {self.request.body.decode()}")

    post = put = head = get


@stream_request_body
class RefusingHandler(RequestHandler):
    """Refuses as soon as it has the headers, or, with `?late`, at the first piece of the body."""

    def prepare(self) -> None:
        if "late" not in self.request.query:
            self.set_status(413)
            self.finish("too large")

    def data_received(self, chunk: bytes) -> None:
        self.set_status(413)
        self.finish("too large")


class StreamHandler(RequestHandler):
    """Answers in pieces, whose total nobody knows beforehand."""

    async def get(self) -> None:
        for piece in ("one", "two"):
            self.write(piece)
            await self.flush()


class WaitHandler(RequestHandler):
    """Waits until the client has gone."""

    gone: "asyncio.Future[None]"

    async def get(self) -> None:
        await self.gone

    def on_connection_close(self) -> None:
        self.gone.set_result(None)


class SlowHandler(RequestHandler):
    """Says that it was asked, and answers when it may."""

    asked: "asyncio.Future[None]"
    go_on: "asyncio.Future[None]"

    async def get(self) -> None:
        self.asked.set_result(None)
        await self.go_on
        self.finish("at last")


class BrokenHandler(RequestHandler):
    """Cannot even be made."""

    def initialize(self) -> None:
        raise LookupError("not today")


class BigHandler(RequestHandler):
    """Answers with more than the kernel takes."""

    SIZE = 8_000_000
    asked = 0

    def get(self) -> None:
        BigHandler.asked += 1
        self.finish(b"x" * self.SIZE)


Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@pytest.fixture
def server(io_loop: IOLoop) -> Iterator[HttpServer]:
    server = HttpServer(
        Application(
            [
                ("/", EchoHandler),
                ("/refuse", RefusingHandler),
                ("/stream", StreamHandler),
                ("/wait", WaitHandler),
                ("/slow", SlowHandler),
                ("/big", BigHandler),
                ("/broken", BrokenHandler),
            ],
            log_function=lambda _handler: None,
        ),
        max_header_bytes=MAX_HEADER_BYTES,
        idle_seconds=PATIENCE_SECONDS,
        body_seconds=PATIENCE_SECONDS,
        backlog=8,
        traffic=Traffic(),
    )
    yield server
    server.stop()
    io_loop.run_sync(server.close_all_connections)
    assert server.connections == set()


@pytest.fixture
def connect(io_loop: IOLoop, server: HttpServer) -> Iterator[Connect]:
    """Give a function that opens a connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    io_loop.run_sync(lambda: server.listen([listener]))
    writers: list[asyncio.StreamWriter] = []

    async def open_connection() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writers.append(writer)
        return reader, writer

    yield open_connection
    for writer in writers:
        writer.close()


async def ask(connect: Connect, request: bytes) -> bytes:
    """Send ``request`` on a connection of its own and return all that comes until its end."""
    reader, writer = await connect()
    writer.write(request)
    return await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)


def ok(body: bytes, *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join([*lines, b"", body])


CLOSING = b"Connection: close\r\n"


@pytest.mark.parametrize(
    ("body", "read"),
    [
        (b"Content-Length: 5\r\n\r\nhello", b"hello"),
        (b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n0\r\nX: trailer\r\n\r\n", b"he"),
        (b"\r\n", b""),
    ],
)
async def test_a_body_is_read_whole(connect: Connect, body: bytes, read: bytes) -> None:
    head = b"POST /?a=1 HTTP/1.1\r\nHost: localhost\r\n" + CLOSING
    assert await ask(connect, head + body) == ok(b"POST a=1 " + read, b"Connection: close")


async def test_requests_in_one_piece_are_answered_in_their_order(connect: Connect) -> None:
    requests = [
        b"POST /?%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx" % n for n in range(9)
    ]
    last = b"GET /?last HTTP/1.1\r\nHost: localhost\r\n" + CLOSING + b"\r\n"
    assert await ask(connect, b"".join(requests) + last) == b"".join(
        [
            *(ok(b"POST %d x" % number) for number in range(9)),
            ok(b"GET last ", b"Connection: close"),
        ]
    )


async def test_a_request_may_come_byte_by_byte(connect: Connect) -> None:
    reader, writer = await connect()
    for byte in b"POST /?a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi":
        writer.write(bytes([byte]))
        await asyncio.sleep(0)
    expected = ok(b"POST a hi")
    assert await asyncio.wait_for(reader.readexactly(len(expected)), PATIENCE_SECONDS) == expected


async def test_too_many_requests_at_once_end_the_connection(connect: Connect) -> None:
    request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    received = await ask(connect, request * 1000)
    assert received.count(b"200 OK") < 100


async def test_http_1_0_is_closed_unless_it_asks_otherwise(connect: Connect) -> None:
    assert await ask(connect, b"GET / HTTP/1.0\r\n\r\n") == ok(b"GET  ")
    received = await ask(
        connect, b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /?2 HTTP/1.0\r\n\r\n"
    )
    assert received == ok(b"GET  ", b"Connection: keep-alive") + ok(b"GET 2 ")


async def test_an_answer_of_unknown_length_is_chunked(connect: Connect) -> None:
    received = await ask(
        connect, b"GET /stream HTTP/1.1\r\nHost: localhost\r\n" + CLOSING + b"\r\n"
    )
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in head
    assert body == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"


async def test_head_has_the_headers_of_a_body_and_no_body(connect: Connect) -> None:
    received = await ask(connect, b"HEAD /?a HTTP/1.1\r\nHost: localhost\r\n" + CLOSING + b"\r\n")
    assert received == b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\n"


async def test_who_asks_before_sending_a_body_is_told_to_go_on(connect: Connect) -> None:
    reader, writer = await connect()
    writer.write(
        b"PUT / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 2\r\n"
        + CLOSING
        + b"\r\n"
    )
    told = b"HTTP/1.1 100 Continue\r\n\r\n"
    assert await asyncio.wait_for(reader.readexactly(len(told)), PATIENCE_SECONDS) == told
    writer.write(b"hi")
    received = await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)
    assert received == ok(b"PUT  hi", b"Connection: close")


@pytest.mark.parametrize("path", [b"/refuse", b"/refuse?late"])
@pytest.mark.parametrize("framing", [b"Content-Length: 9000000", b"Transfer-Encoding: chunked"])
async def test_an_early_answer_reaches_a_client_that_sends_on(
    connect: Connect, path: bytes, framing: bytes
) -> None:
    reader, writer = await connect()
    writer.write(b"POST %b HTTP/1.1\r\nHost: localhost\r\n%b\r\n\r\n" % (path, framing))
    chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    for _ in range(100):
        writer.write(chunk)
        await writer.drain()
    received = await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)
    assert received.startswith(b"HTTP/1.1 413 ")
    assert received.endswith(b"too large")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"what is this\r\n\r\n",
        b"GET / HTTP/3.0\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n folded\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
async def test_what_is_no_request_is_refused(connect: Connect, request_bytes: bytes) -> None:
    received = await ask(connect, request_bytes)
    assert received.startswith(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n")


async def test_a_request_before_nonsense_gets_its_answer(connect: Connect) -> None:
    received = await ask(connect, b"GET /?a HTTP/1.1\r\nHost: localhost\r\n\r\nnonsense\r\n\r\n")
    assert received == ok(b"GET a ", b"Connection: close")


async def test_an_unknown_method_is_for_the_handlers_to_refuse(connect: Connect) -> None:
    received = await ask(connect, b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 405 ")


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * MAX_HEADER_BYTES + b"\r\n\r\n",
        b"GET /?" + b"x" * MAX_HEADER_BYTES + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"x" * 2 * MAX_HEADER_BYTES,
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * MAX_HEADER_BYTES,
    ],
    ids=["a header", "a target", "a header without end", "many headers"],
)
async def test_a_head_over_the_limit_is_refused(connect: Connect, head: bytes) -> None:
    received = await ask(connect, head)
    assert received.startswith(b"HTTP/1.1 431 ")


async def test_a_handler_hears_that_its_client_has_gone(connect: Connect) -> None:
    WaitHandler.gone = asyncio.get_running_loop().create_future()
    _, writer = await connect()
    writer.write(b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await writer.drain()
    writer.close()
    await asyncio.wait_for(WaitHandler.gone, PATIENCE_SECONDS)


async def test_a_client_that_does_not_read_gets_no_second_answer(
    connect: Connect, server: HttpServer
) -> None:
    reader, writer = await connect()
    request = b"GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n"
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    BigHandler.asked = 0
    writer.write(request * 3)
    await until(lambda: BigHandler.asked == 1)
    for _ in range(3):
        writer.write(request)
        await asyncio.sleep(0)
    (connection,) = server.connections
    assert BigHandler.asked == 1
    assert connection._transport is not None
    assert connection._transport.get_write_buffer_size() <= BigHandler.SIZE
    writer.transport.resume_reading()  # type: ignore[attr-defined]
    for _ in range(6):
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_SECONDS)
        assert head.startswith(b"HTTP/1.1 200 OK")
        await asyncio.wait_for(reader.readexactly(BigHandler.SIZE), PATIENCE_SECONDS)
    assert BigHandler.asked == 6


async def test_a_handler_that_cannot_be_made_is_a_fault_of_ours_and_logged_once(
    connect: Connect,
) -> None:
    with structlog.testing.capture_logs() as logged:
        received = await ask(connect, b"GET /broken HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 500 ")
    assert [(entry["event"], type(entry["exc_info"])) for entry in logged] == [
        ("request_not_begun", LookupError)
    ]


async def test_a_body_that_nobody_took_does_not_disturb_the_next_request(connect: Connect) -> None:
    refused = b"POST /refuse HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi"
    wanted = b"POST /?b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n" + CLOSING + b"\r\nho"
    received = await ask(connect, refused + wanted)
    assert received.startswith(b"HTTP/1.1 413 ")
    assert received.endswith(ok(b"POST b ho", b"Connection: close"))


async def test_the_end_waits_for_answers_that_are_under_way(
    server: HttpServer, connect: Connect
) -> None:
    loop = asyncio.get_running_loop()
    SlowHandler.asked, SlowHandler.go_on = loop.create_future(), loop.create_future()
    reader, writer = await connect()
    writer.write(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
    await SlowHandler.asked
    idle, _ = await connect()
    finishing = asyncio.create_task(server.finish_answers(PATIENCE_SECONDS))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not finishing.done()
    SlowHandler.go_on.set_result(None)
    await finishing
    await server.close_all_connections()
    answer = await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)
    assert answer.endswith(b"at last")
    assert await asyncio.wait_for(idle.read(), PATIENCE_SECONDS) == b""


async def test_the_end_does_not_wait_for_an_answer_that_never_comes(
    server: HttpServer, connect: Connect
) -> None:
    loop = asyncio.get_running_loop()
    SlowHandler.asked, SlowHandler.go_on = loop.create_future(), loop.create_future()
    _, writer = await connect()
    writer.write(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
    await SlowHandler.asked
    await asyncio.wait_for(server.finish_answers(0.05), PATIENCE_SECONDS)
    SlowHandler.go_on.set_result(None)


class Peer(asyncio.Transport):
    """A transport whose other end has an address."""

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__({"peername": address})

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Take any limits."""


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8::ffff:7", "2001:db8::ffff:7"),
    ],
)
async def test_an_ipv4_client_has_its_address_on_a_socket_for_both_families(
    server: HttpServer, address: str, shown: str
) -> None:
    await server.listen([])
    connection = HttpConnection(server)
    connection.connection_made(Peer((address, 1)))
    assert connection.context.remote_ip == shown
    connection.connection_lost(None)
