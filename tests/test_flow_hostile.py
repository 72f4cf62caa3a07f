"""Attackers on the wire against the whole server: what they do is answered, and nothing stays."""

import asyncio
import os
import socket
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop
from tornado.netutil import bind_unix_socket

from gtower_realtime import server as serving
from gtower_realtime.application import Application
from gtower_realtime.engineio import frames
from tests.wire import (
    EngineIOClient,
    RawConnection,
    RawWebSocket,
    frame,
    until,
)

pytestmark = pytest.mark.usefixtures("http_server")


@pytest.fixture
def environ(request: pytest.FixtureRequest) -> dict[str, str]:
    """Give the settings that the test is parametrized with."""
    return getattr(request, "param", {})


@pytest.fixture
def client(http_port: int) -> EngineIOClient:
    """Give a client of the server."""
    return EngineIOClient(http_port)


def settings(**values: str) -> pytest.MarkDecorator:
    """Run the test with these settings, named without their prefix."""
    environ = {f"GTOWER_{name}": value for name, value in values.items()}
    return pytest.mark.parametrize("environ", [environ], indirect=True, ids=[""])


def metric(application: Application, name: str, **labels: str) -> float:
    """Return a metric's value; 0 when it has none yet."""
    return application.metrics.registry.get_sample_value(f"gtower_{name}", labels) or 0.0


def admitted(application: Application) -> int:
    """Return how many connections count towards the limits."""
    limits = application.socketio.eio._config.connection_limits
    assert limits is not None
    return limits.count


async def nothing_left(application: Application, *, of: int = 0) -> None:
    """Wait until no connection is left, but ``of`` that are meant to be; all counts must agree."""
    engineio = application.socketio.eio
    await until(lambda: len(engineio.sessions) == of)
    await until(lambda: len(application.clients) == of)
    assert application.socketio.environ.keys() == engineio.sessions.keys()
    assert admitted(application) == of
    connections = [
        metric(application, "connections", transport=t) for t in ("polling", "websocket")
    ]
    assert sum(connections) == of
    assert len(engineio._tasks) == 0


# Malformed input


def fragments(*frames_: tuple[bytes, int]) -> bytes:
    """Return frames of which none is final."""
    return b"".join(frame(content, opcode, is_final=False) for content, opcode in frames_)


def deep(levels: int) -> str:
    return '42["message",' + "[" * levels + "]" * levels + "]"


BROKEN_FRAMES = {
    "unmasked text": (frame('42["message"]', is_masked=False), 1002),
    "unmasked ping": (frame(b"", frames.PING, is_masked=False), 1002),
    "unmasked close": (frame(b"\x03\xe8", frames.CLOSE, is_masked=False), 1002),
    "first reserved bit": (frame("3", reserved=4), 1002),
    "second reserved bit": (frame("3", reserved=2), 1002),
    "third reserved bit": (frame("3", reserved=1), 1002),
    "all reserved bits on a ping": (frame(b"", frames.PING, reserved=7), 1002),
    **{f"opcode {opcode}": (frame(b"", opcode), 1002) for opcode in (3, 5, 7, 11, 13, 15)},
    "ping in fragments": (frame(b"", frames.PING, is_final=False), 1002),
    "pong in fragments": (frame(b"", frames.PONG, is_final=False), 1002),
    "close in fragments": (frame(b"", frames.CLOSE, is_final=False), 1002),
    "ping of 126 bytes": (frame(b"x" * 126, frames.PING), 1002),
    "pong of 70,000 bytes": (frame(b"x" * 70_000, frames.PONG), 1002),
    "close of 126 bytes": (frame(b"\x03\xe8" + b"x" * 124, frames.CLOSE), 1002),
    "continuation of nothing": (frame(b"x", frames.CONTINUATION), 1002),
    "open continuation of nothing": (fragments((b"x", frames.CONTINUATION)), 1002),
    "text inside of text": (fragments((b"4", frames.TEXT)) + frame("3"), 1002),
    "binary inside of text": (fragments((b"4", frames.TEXT), (b"x", frames.BINARY)), 1002),
    "continuation after the end": (
        fragments((b"3", frames.TEXT))
        + frame(b"", frames.CONTINUATION)
        + frame(b"", frames.CONTINUATION),
        1002,
    ),
    "no UTF-8": (frame(b"4\xff\xfe", frames.TEXT), 1007),
    "overlong UTF-8": (frame(b"4\xc0\xaf", frames.TEXT), 1007),
    "UTF-8 surrogate": (frame(b"4\xed\xa0\x80", frames.TEXT), 1007),
    "UTF-8 cut short": (frame(b"4\xf0\x9f", frames.TEXT), 1007),
    "no UTF-8 over two fragments": (
        fragments((b"4\xe2", frames.TEXT)) + frame(b"x", frames.CONTINUATION),
        1007,
    ),
    "close of one byte": (frame(b"\x03", frames.CLOSE), 1002),
    **{
        f"close code {code}": (frame(code.to_bytes(2, "big"), frames.CLOSE), 1002)
        for code in (0, 999, 1005, 1006, 1015, 2000, 5000)
    },
    "close reason without UTF-8": (frame(b"\x03\xe8\xff", frames.CLOSE), 1007),
    "a message over the limit": (b"\x81\xff" + (1_000_001).to_bytes(8, "big"), 1009),
    "a message of 2^63 bytes": (b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff", 1009),
    "fragments over the limit": (
        fragments((b"4" * 600_000, frames.TEXT), (b"x" * 600_000, frames.CONTINUATION)),
        1009,
    ),
}

BROKEN_PACKETS = {
    "empty": frame(""),
    "unknown Engine.IO type": frame("7"),
    "letter for a type": frame("abc"),
    "open": frame('0{"sid":"x"}'),
    "ping": frame("2"),
    "probe outside of an upgrade": frame("2probe"),
    "probe's pong": frame("3probe"),
    "upgrade outside of an upgrade": frame("5"),
    "noop": frame("6"),
    "close with something": frame("1now"),
    "base64 over WebSocket": frame("bAQID"),
    "message without a packet": frame("4"),
    "unknown Socket.IO type": frame("47"),
    "letter for a Socket.IO type": frame("4x"),
    "second connect": frame("40"),
    "connect error": frame('44{"message":"x"}'),
    "event without payload": frame("42"),
    "event that is no array": frame('42{"a":1}'),
    "event without name": frame("42[]"),
    "event with a number for a name": frame("42[1]"),
    "event with half of its JSON": frame('42["message"'),
    "two JSON values": frame('42["message"]["message"]'),
    "reserved event": frame('42["disconnect"]'),
    "reserved event connect": frame('42["connect",{}]'),
    "event for a namespace that is not connected": frame('42/admin,["message"]'),
    "acknowledgement without id": frame("43[]"),
    "acknowledgement that is no array": frame('431{"a":1}'),
    "an id beyond all bounds": frame("42" + "9" * 400 + '["message"]'),
    "binary out of nowhere": frame(b"\x00\x01"),
    "empty binary out of nowhere": frame(b""),
    "text where an attachment is due": frame(
        '451-["message",{"_placeholder":true,"num":0}]'
    ) + frame('42["message"]'),
    "an attachment count of 10^10": frame("4510000000000-[]"),
    "more attachments than may be": frame('4511-["message"]'),
    "one attachment referenced twice": frame(
        '451-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]'
    ),
    "an attachment nobody has": frame('451-["message",{"_placeholder":true,"num":7}]'),
    "NaN": frame('42["message",NaN]'),
    "infinity": frame('42["message",-Infinity]'),
    "1e999": frame('42["message",1e999]'),
    "a lone surrogate": frame('42["message","\\ud800"]'),
    "33 levels": frame(deep(33)),
    "100,000 levels": frame(deep(100_000)),
}  # fmt: skip

MALFORMED = {
    **BROKEN_FRAMES,
    **{name: (content, 1002) for name, content in BROKEN_PACKETS.items()},
}


def test_the_list_of_malformed_input_is_long() -> None:
    assert len(MALFORMED) >= 80


@pytest.mark.parametrize("name", MALFORMED)
@pytest.mark.gen_test
async def test_malformed_input_closes_with_a_code_and_leaves_nothing(
    application: Application, client: EngineIOClient, name: str
) -> None:
    content, code = MALFORMED[name]
    connection = await client.connected_websocket()
    await connection.send(content)
    assert (await connection.read_close())[0] == code
    await nothing_left(application)
    assert metric(application, "disconnects_total", code=str(code)) == 1


@pytest.mark.parametrize("name", MALFORMED)
@pytest.mark.gen_test
async def test_malformed_input_before_connect_closes_and_leaves_nothing(
    application: Application, client: EngineIOClient, name: str
) -> None:
    content, code = MALFORMED[name]
    if name == "second connect":
        content *= 2
    connection = await client.websocket()
    await connection.send(content)
    told, _ = await connection.read_close()
    assert told == (4006 if code == 1009 or name == "100,000 levels" else code)
    await nothing_left(application)


@pytest.mark.parametrize("name", BROKEN_PACKETS)
@pytest.mark.gen_test
async def test_malformed_packets_over_polling_end_the_session(
    application: Application, client: EngineIOClient, name: str
) -> None:
    await client.connect()
    reader = frames.FrameReader()
    reader.feed(BROKEN_PACKETS[name])
    packets = []
    while (item := reader.next(1_000_000)) is not None:
        packets.append(item[1] if isinstance(item[1], str) else "b" + item[1].hex())
    await client.post("\x1e".join(packets))
    assert (await client.poll()).json() == {"code": 1, "message": "Session ID unknown"}
    await nothing_left(application)


@pytest.mark.gen_test
async def test_the_deepest_json_that_may_be_is_served(client: EngineIOClient) -> None:
    connection = await client.connected_websocket()
    await connection.send_frame(deep(32))
    assert str(await connection.read_packet()).startswith('42["messageReceived"')
    await connection.close()


# Before CONNECT


@pytest.mark.gen_test
async def test_big_messages_before_connect_are_refused_by_their_header(
    application: Application, client: EngineIOClient
) -> None:
    for _ in range(20):
        connection = await client.websocket()
        await connection.send(b"\x81\xff" + (10_000_000).to_bytes(8, "big") + b"mask" + b"x" * 9000)
        assert await connection.read_close() == (4006, "too much before CONNECT")
    await nothing_left(application)


@pytest.mark.gen_test
async def test_many_small_messages_before_connect_are_too_much_in_the_end(
    application: Application, client: EngineIOClient
) -> None:
    connection = await client.websocket()
    await connection.send(frame("3") * 16_384)
    await connection.send_frame("3")
    assert (await connection.read_close())[0] == 4006
    polling = EngineIOClient(client.port)
    await polling.handshake()
    assert (await polling.post("4" + "x" * 16_384)).status == 413
    await nothing_left(application)


@settings(CONNECT_TIMEOUT="0.05")
@pytest.mark.gen_test
async def test_a_handshake_without_connect_does_not_last(
    application: Application, client: EngineIOClient
) -> None:
    connection = await client.websocket()
    assert await connection.read_close() == (4006, "no CONNECT in time")
    await client.handshake()
    await nothing_left(application)
    assert (await client.poll()).status == 400
    assert metric(application, "disconnects_total", code="4006") == 2


@settings(CONNECT_TIMEOUT="0.05")
@pytest.mark.gen_test
async def test_a_client_that_connects_in_time_lasts(
    application: Application, client: EngineIOClient
) -> None:
    connection = await client.connected_websocket()
    late = await EngineIOClient(client.port).websocket()
    assert (await late.read_close())[0] == 4006
    await connection.send_frame('421["joinRoom","r"]')
    assert str(await connection.read_packet()).startswith('42["roomJoined"')
    await connection.close()


# HTTP bodies and headers


@pytest.mark.parametrize(
    "target",
    [
        "/socket.io/?EIO=4&transport=polling",
        "/socket.io/?EIO=4&transport=polling&sid=nobody",
        "/websocket/notify/broadcast",
        "/websocket/status",
        "/healthz",
        "/metrics",
        "/",
        "/nowhere",
    ],
)
@pytest.mark.gen_test
async def test_a_big_body_is_refused_wherever_it_is_sent(http_port: int, target: str) -> None:
    before = resident_bytes()
    connections = [await RawConnection.open(http_port) for _ in range(8)]
    for connection in connections:
        await connection.send_request("POST", target, headers={"Content-Length": "50000000"})
        for _ in range(5):
            await connection.send(b"x" * 1_000_000)
        assert 400 <= (await connection.read_answer()).status < 500
    assert resident_bytes() - before < 20_000_000
    for connection in connections:
        await connection.close()


@pytest.mark.gen_test
async def test_a_header_without_end_is_refused(http_port: int) -> None:
    async with await RawConnection.open(http_port) as connection:
        await connection.send("GET /socket.io/ HTTP/1.1\r\nX: " + "x" * 20_000)
        assert (await connection.read_answer()).status == 431
        assert await connection.read_end() == b""
    async with await RawConnection.open(http_port) as connection:
        query = "x=" + "y" * 20_000
        await connection.send(f"GET /socket.io/?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await connection.read_answer()).status == 431
        assert await connection.read_end() == b""


@pytest.mark.gen_test
async def test_thousands_of_arguments_in_a_query_are_an_ordinary_refusal(
    client: EngineIOClient,
) -> None:
    answer = await client.request("GET", "/socket.io/?" + "&".join(["a=b"] * 3000))
    assert answer.status == 400


@pytest.mark.parametrize(
    "begun",
    [
        "",
        "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: l",
        "POST /websocket/status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{",
        "POST /websocket/notify/broadcast HTTP/1.1\r\nHost: localhost\r\n"
        "Content-Length: 9\r\n\r\n{",
    ],
)
@pytest.mark.gen_test
async def test_a_request_that_does_not_come_to_its_end_is_cut_off(
    application: Application, io_loop: IOLoop, monkeypatch: pytest.MonkeyPatch, begun: str
) -> None:
    monkeypatch.setattr(serving, "_IDLE_SECONDS", 0.05)
    monkeypatch.setattr(serving, "_BODY_SECONDS", 0.05)
    server = serving.http_server(application.tornado_application)
    listener = socket.create_server(("127.0.0.1", 0))
    await server.listen([listener])
    async with await RawConnection.open(listener.getsockname()[1]) as connection:
        await connection.send(begun)
        assert await connection.read_end() == b""
    server.stop()


# Slow readers


@settings(MAX_CLIENT_BUFFER_BYTES="200000", ANNOUNCE_CLIENTS="false")
@pytest.mark.gen_test
async def test_a_reader_that_stops_costs_its_budget_and_nobody_else(
    application: Application, client: EngineIOClient
) -> None:
    witness = await client.connected_websocket()
    slow = EngineIOClient(client.port)
    slow_connection = await slow.connected_websocket(receive_buffer=4096)
    poller = EngineIOClient(client.port)
    await poller.connect()
    slow_connection.stop_reading()
    sessions = application.socketio.eio.sessions
    gone = {slow.sid: sessions[slow.sid], poller.sid: sessions[poller.sid]}
    most = 0
    while not all(session.is_closed for session in gone.values()):
        receipt = await application.service.broadcast_event("news", {"text": "x" * 10_000})
        assert receipt.recipients + receipt.pending == 3, "who is cut off comes back for it"
        waiting = [session.waiting_bytes for session in gone.values() if not session.is_closed]
        most = max(most, *waiting, 0)
        assert str(await witness.read_packet()).startswith('42["news"')
    assert most <= 210_200
    assert [session.close_code for session in gone.values()] == [4102, 4102]
    assert metric(application, "disconnects_total", code="4102") >= 1
    slow_connection.start_reading()
    assert await slow_connection.read_close() == (4102, "slow consumer")
    assert (await poller.poll()).status == 400
    await nothing_left(application, of=1)
    await witness.close()


# Limits of connections


@settings(MAX_CONNECTIONS="2")
@pytest.mark.gen_test
async def test_one_connection_too_many_is_told_to_come_back_later(
    application: Application, client: EngineIOClient
) -> None:
    connection = await client.connected_websocket()
    poller = EngineIOClient(client.port)
    await poller.connect()
    async with await RawWebSocket.open(client.port) as other:
        answer = await other.handshake(EngineIOClient(client.port).target("websocket"))
        assert (answer.status, answer.json()["error"]["code"]) == (503, "overloaded")
        assert answer.headers["retry-after"] == "5"
    polled = await EngineIOClient(client.port).handshake()
    assert (polled.status, polled.headers["retry-after"]) == (503, "5")
    assert polled.headers["access-control-allow-origin"] == "*"
    assert metric(application, "handshakes_refused_total", reason="overloaded") == 2
    await connection.close()
    await until(lambda: admitted(application) == 1)
    assert (await client.handshake()).status == 400, "it still has the sid of its last session"
    client.sid = ""
    assert (await client.handshake()).status == 200
    await client.post("1")
    await poller.post("1")


@settings(MAX_CONNECTIONS_PER_ADDRESS="1", TRUSTED_PROXIES="127.0.0.1")
@pytest.mark.gen_test
async def test_one_connection_too_many_of_an_address_is_refused(
    application: Application, client: EngineIOClient
) -> None:
    first = {"X-Forwarded-For": "192.0.2.1"}
    assert (await client.handshake(headers=first)).status == 200
    answer = await EngineIOClient(client.port).handshake(headers=first)
    assert (answer.status, answer.json()["error"]["code"]) == (429, "rate_limited")
    assert int(answer.headers["retry-after"]) >= 1
    other = {"X-Forwarded-For": "192.0.2.1, 192.0.2.2"}
    another = EngineIOClient(client.port)
    assert (await another.handshake(headers=other)).status == 200
    await client.post("1")
    await another.post("1")
    assert metric(application, "handshakes_refused_total", reason="rate_limited") == 1


@settings(RATE_CONNECTS="0.001/3")
@pytest.mark.gen_test
async def test_an_address_that_connects_too_fast_is_slowed_down(client: EngineIOClient) -> None:
    for _ in range(3):
        connection = await EngineIOClient(client.port).websocket()
        await connection.close()
    answer = await EngineIOClient(client.port).handshake()
    assert answer.status == 429
    assert answer.json() == {
        "success": False,
        "message": "Your address connects too fast.",
        "error": {
            "code": "rate_limited",
            "message": "Your address connects too fast.",
            "retryable": True,
        },
        "requestId": answer.headers["x-request-id"],
    }
    assert 900 <= int(answer.headers["retry-after"]) <= 1000


ENDS = {
    "tcp": b"",
    "close frame": frame(b"\x03\xe8", frames.CLOSE),
    "close packet": frame("1"),
    "broken frame": frame("x", is_masked=False),
    "too big": b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff",
}


@pytest.mark.gen_test
async def test_connections_are_counted_down_however_they_end(
    application: Application, client: EngineIOClient
) -> None:
    for content in ENDS.values():
        connection = await EngineIOClient(client.port).connected_websocket()
        await connection.send(content)
        await connection.close()
    for body in ("1", "x", "4" * 2_000_000):
        polling = EngineIOClient(client.port)
        await polling.connect()
        await polling.post(body)
    by_server = await client.connected_websocket()
    application.socketio.eio.sessions[client.sid].close(4200, "come back")
    assert await by_server.read_close() == (4200, "come back")
    refused = await RawWebSocket.open(client.port)
    await refused.handshake("/socket.io/?EIO=3&transport=websocket")
    await refused.close()
    await nothing_left(application)
    assert (
        metric(application, "handshakes_refused_total", reason="unsupported_protocol_version") == 1
    )


# Addresses


@pytest.mark.parametrize(
    ("environ", "forwarded", "address"),
    [
        ({}, "192.0.2.7", "127.0.0.1"),
        ({"GTOWER_TRUSTED_PROXIES": "10.0.0.0/8"}, "192.0.2.7", "127.0.0.1"),
        ({"GTOWER_TRUSTED_PROXIES": "127.0.0.1"}, "192.0.2.7", "192.0.2.7"),
        ({"GTOWER_TRUSTED_PROXIES": "127.0.0.1"}, "203.0.113.1, 192.0.2.7", "192.0.2.7"),
        ({"GTOWER_TRUSTED_PROXIES": "127.0.0.1"}, "garbage", "127.0.0.1"),
    ],
    indirect=["environ"],
)
@pytest.mark.gen_test
async def test_an_address_is_the_sockets_unless_a_trusted_proxy_says_another(
    application: Application, client: EngineIOClient, forwarded: str, address: str
) -> None:
    await client.handshake(headers={"X-Forwarded-For": forwarded, "X-Real-Ip": "198.51.100.1"})
    await client.post("40")
    listed = await client.request("GET", "/websocket/clients")
    assert [entry["metadata"]["ip"] for entry in listed.json()] == [address]
    await client.post("1")


@pytest.mark.gen_test
async def test_a_client_on_a_unix_socket_has_no_address(
    application: Application, client: EngineIOClient, tmp_path: Path
) -> None:
    server = serving.http_server(application.tornado_application)
    await server.listen([bind_unix_socket(str(tmp_path / "gtower.sock"))])
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "gtower.sock"))
    connection = RawWebSocket(reader, writer)
    answer = await connection.handshake("/socket.io/?EIO=4&transport=websocket")
    assert answer.status == 101
    await connection.read_packet()
    await connection.send_frame("40")
    await until(lambda: len(application.clients) == 1)
    listed = await client.request("GET", "/websocket/clients")
    assert [entry["metadata"]["ip"] for entry in listed.json()] == ["unix"]
    await connection.close()
    server.stop()


# Closing by the server


@pytest.mark.gen_test
async def test_a_disconnect_by_the_server_really_ends_both_transports(
    application: Application, client: EngineIOClient
) -> None:
    connection = await client.connected_websocket()
    polling = EngineIOClient(client.port)
    await polling.connect()
    for client_id in [entry.id for entry in application.clients]:
        application.transport.disconnect(client_id, 4003, "you are out")
    said, told = [], None
    while told is None:
        opcode, content = await connection.read_frame()
        if opcode == frames.CLOSE:
            told = int.from_bytes(content[:2], "big"), content[2:].decode()
        else:
            said.append(content.decode())
    assert told == (4003, "you are out")
    assert said[-2].startswith('42["exception",{"')
    assert said[-1] == "41"
    await connection.close()
    packets = (await polling.poll()).text.split("\x1e")
    assert packets[-1] == "41"
    assert (await polling.poll()).text == "1"
    assert (await polling.poll()).status == 400
    await nothing_left(application)


# Storms


@settings(RATE_CONNECTS="0", ANNOUNCE_CLIENTS="false")
@pytest.mark.gen_test
async def test_a_storm_leaves_no_descriptor_task_or_count(
    application: Application, client: EngineIOClient
) -> None:
    await (await client.connected_websocket()).close()
    await nothing_left(application)
    descriptors, tasks = open_descriptors(), len(asyncio.all_tasks())

    async def come_and_go(number: int) -> None:
        visitor = EngineIOClient(client.port)
        match number % 6:
            case 0:
                await (await visitor.connected_websocket()).vanish()
            case 1:
                await (await visitor.connected_websocket()).close()
            case 2:
                await visitor.connect()
                await visitor.post("1")
            case 3:
                await visitor.connect()
                half = await visitor.websocket()
                await half.send_frame("2probe")
                await half.vanish()
                await visitor.post("1")
            case 4:
                connection = await visitor.websocket()
                await connection.send(b"\xff" * 100)
                await connection.read_close()
            case 5:
                connection = await RawWebSocket.open(client.port)
                await connection.handshake(visitor.target("websocket") + "&sid=nobody")
                await connection.close()

    for _ in range(3):
        await asyncio.gather(*(come_and_go(number) for number in range(60)))
    await nothing_left(application)
    await until(lambda: open_descriptors() <= descriptors)
    await until(lambda: len(asyncio.all_tasks()) <= tasks)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - as cheap as can be, it is polled


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
