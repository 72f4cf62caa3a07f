"""Engine.IO over WebSocket, on the wire."""

import asyncio
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from gtower_realtime.engineio import frames, websocket
from gtower_realtime.engineio.protocol import EncodedPacket
from gtower_realtime.engineio.server import EngineIOConfig
from gtower_realtime.engineio.session import SessionLimits
from gtower_realtime.limits import ConnectionLimits, Rate
from gtower_realtime.origins import OriginPolicy
from tests.engine import Engine, serve
from tests.wire import ACCEPT, PATIENCE_SECONDS, EngineIOClient, RawWebSocket, frame, until

PAGE = "https://crm.example.com"
TARGET = "/engine.io/?EIO=4&transport=websocket"


@pytest.fixture
def limits(request: pytest.FixtureRequest) -> SessionLimits:
    """Give the limits of the engine: the parameter, or ones that no test runs into."""
    if hasattr(request, "param"):
        return SessionLimits(**request.param)
    return SessionLimits(max_bytes_before_connect=1_000_000)


@pytest.fixture
def engine(
    io_loop: IOLoop, _unused_port: tuple[socket.socket, int], limits: SessionLimits
) -> Iterator[Engine]:
    """Give an engine that echoes."""
    config = EngineIOConfig(
        limits=limits,
        connection_limits=ConnectionLimits(0, 0, Rate(0, 0)),
        origins=OriginPolicy([PAGE]),
    )
    with serve(io_loop, _unused_port, config) as engine:
        yield engine


async def opened(engine: Engine, **options: Any) -> tuple[EngineIOClient, RawWebSocket]:
    """Return a client and its WebSocket, past the handshake packet."""
    client = engine.client()
    connection = await client.websocket(**options)
    packet = await connection.read_packet()
    assert isinstance(packet, str)
    client.sid = json.loads(packet[1:])["sid"]
    return client, connection


# The opening handshake


@pytest.mark.gen_test
async def test_a_session_opens_with_the_keys_of_node(engine: Engine) -> None:
    async with await RawWebSocket.open(engine.port) as connection:
        answer = await connection.handshake(TARGET)
        assert answer.status == 101
        assert answer.headers == {
            "upgrade": "websocket",
            "connection": "Upgrade",
            "sec-websocket-accept": ACCEPT,
        }
        packet = await connection.read_packet()
        assert isinstance(packet, str)
        assert packet[0] == "0"
        shape = json.loads(packet[1:])
        assert len(shape.pop("sid")) == 20
        assert shape == {
            "upgrades": [],
            "pingInterval": 25000,
            "pingTimeout": 20000,
            "maxPayload": 1000000,
        }


@pytest.mark.parametrize(
    ("target", "headers", "status", "message"),
    [
        ("/engine.io/?transport=websocket", {}, 400, "Unsupported protocol version"),
        ("/engine.io/?EIO=3&transport=websocket", {}, 400, "Unsupported protocol version"),
        ("/engine.io/?EIO=4", {}, 400, "Transport unknown"),
        ("/engine.io/?EIO=4&transport=abc", {}, 400, "Transport unknown"),
        ("/engine.io/?EIO=4&transport=polling", {}, 400, "Bad request"),
        (TARGET + "&sid=nobody", {}, 400, "Session ID unknown"),
        (TARGET + "&sid=", {}, 400, "Session ID unknown"),
        (TARGET, {"Origin": "https://evil.example.com"}, 403, "Forbidden"),
        (TARGET, {"Origin": "null"}, 403, "Forbidden"),
        (TARGET, {"Sec-WebSocket-Version": "8"}, 426, "Bad request"),
        (TARGET, {"Sec-WebSocket-Version": ""}, 426, "Bad request"),
        (TARGET, {"Sec-WebSocket-Key": ""}, 400, "Bad request"),
        (TARGET, {"Sec-WebSocket-Key": "short"}, 400, "Bad request"),
        (TARGET, {"Sec-WebSocket-Key": "!" * 24}, 400, "Bad request"),
        (TARGET, {"Connection": "keep-alive"}, 400, "Bad request"),
        (TARGET, {"Transfer-Encoding": "chunked"}, 400, "Bad request"),
    ],
)
@pytest.mark.gen_test
async def test_what_would_not_be_served_is_refused_before_the_101(
    engine: Engine, target: str, headers: dict[str, str], status: int, message: str
) -> None:
    async with await RawWebSocket.open(engine.port) as connection:
        answer = await connection.handshake(target, headers)
        assert answer.status == status
        assert answer.json()["message"] == message
        if status == 426:
            assert answer.headers["sec-websocket-version"] == "13"
    assert engine.connected == []
    assert engine.server.sessions == {}


@pytest.mark.parametrize("method", ["POST", "PUT", "HEAD"])
@pytest.mark.gen_test
async def test_a_handshake_is_a_get(engine: Engine, method: str) -> None:
    async with await RawWebSocket.open(engine.port) as connection:
        await connection.send_request(
            method, TARGET, headers={"Upgrade": "websocket", "Connection": "Upgrade"}
        )
        assert (await connection.read_answer(has_body=method != "HEAD")).status == 400
    assert engine.connected == []


@pytest.mark.gen_test
async def test_a_handshake_has_no_body(engine: Engine) -> None:
    async with await RawWebSocket.open(engine.port) as connection:
        assert (await connection.handshake(TARGET, {"Content-Length": "5"})).status == 413
    assert engine.connected == []


@pytest.mark.gen_test
async def test_a_page_that_may_connect_does(engine: Engine) -> None:
    async with await RawWebSocket.open(engine.port) as connection:
        answer = await connection.handshake(
            TARGET, {"Origin": PAGE, "Connection": "keep-alive, Upgrade", "Upgrade": "WebSocket"}
        )
        assert answer.status == 101


@pytest.mark.gen_test
async def test_an_http_1_0_request_cannot_be_switched(engine: Engine) -> None:
    async with await RawWebSocket.open(engine.port) as connection:
        headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        headers["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ=="
        await connection.send_request("GET", TARGET, headers=headers, version="HTTP/1.0")
        assert (await connection.read_answer()).status == 400


@pytest.mark.gen_test
async def test_compression_is_not_negotiated(engine: Engine) -> None:
    async with await RawWebSocket.open(engine.port) as connection:
        offer = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}
        answer = await connection.handshake(TARGET, offer)
        assert answer.status == 101
        assert "sec-websocket-extensions" not in answer.headers
        await connection.send_frame(b"\x32\x04\x00", frames.TEXT, reserved=4)
        code, _ = await connection.read_close()
        assert code == 1002


@pytest.mark.gen_test
async def test_frames_that_come_with_the_handshake_are_not_lost(engine: Engine) -> None:
    async with await RawWebSocket.open(engine.port) as connection:
        await connection.send(
            f"GET {TARGET} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
            + frame("4early")
        )
        assert (await connection.read_answer()).status == 101
        assert str(await connection.read_packet())[0] == "0"
        assert await connection.read_packet() == "4early"


@pytest.mark.gen_test
async def test_nagle_is_off_so_that_no_event_waits_for_an_acknowledgement(engine: Engine) -> None:
    client, connection = await opened(engine)
    output = engine.session(client).output
    assert isinstance(output, websocket.WebSocketConnection)
    plain = output._transport.get_extra_info("socket")
    assert plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    await connection.close()


# Messages


@pytest.mark.parametrize(
    "message", ["4hello", "4", "4€", b"\x01\x02\x03\x04", b"", "4" + "x" * 999_999]
)
@pytest.mark.gen_test
async def test_messages_go_both_ways(engine: Engine, message: str | bytes) -> None:
    client, connection = await opened(engine)
    engine.session(client).accept()
    await connection.send_frame(message)
    assert await connection.read_packet() == message
    await connection.close()


@pytest.mark.gen_test
async def test_a_message_may_come_in_fragments_with_pings_between_them(engine: Engine) -> None:
    _, connection = await opened(engine)
    await connection.send_frame(b"4hel", frames.TEXT, is_final=False)
    await connection.send_frame(b"are you there", frames.PING)
    assert await connection.read_frame() == (frames.PONG, b"are you there")
    await connection.send_frame(b"l\xc3", frames.CONTINUATION, is_final=False)
    await connection.send_frame(b"\xb6", frames.CONTINUATION)
    assert await connection.read_packet() == "4hellö"
    await connection.close()


@pytest.mark.gen_test
async def test_bytes_may_come_one_by_one(engine: Engine) -> None:
    _, connection = await opened(engine)
    for byte in frame("4slow"):
        await connection.send(bytes([byte]))
        await asyncio.sleep(0)
    assert await connection.read_packet() == "4slow"
    await connection.close()


@pytest.mark.gen_test
async def test_packets_of_one_turn_leave_in_their_order(engine: Engine) -> None:
    client, connection = await opened(engine)
    for number in range(1000):
        await engine.server.send(client.sid, str(number))
    assert [await connection.read_packet() for _ in range(1000)] == [f"4{n}" for n in range(1000)]
    await connection.close()


@pytest.mark.gen_test
async def test_a_message_longer_than_the_sockets_buffer_arrives_whole(engine: Engine) -> None:
    client, connection = await opened(engine)
    big = "x" * 20_000_000
    await engine.server.send(client.sid, big)
    assert await connection.read_packet() == "4" + big
    await engine.server.send(client.sid, "after")
    assert await connection.read_packet() == "4after"
    assert engine.session(client).waiting_bytes == 0
    await connection.close()


@pytest.mark.gen_test
async def test_messages_are_taken_up_one_at_a_time_and_in_order(engine: Engine) -> None:
    at_work, most_at_work, order = 0, 0, []

    async def work(_sid: str, data: str | bytes) -> None:
        nonlocal at_work, most_at_work
        at_work += 1
        most_at_work = max(most_at_work, at_work)
        if len(order) % 3:
            await asyncio.sleep(0)
        order.append(data)
        at_work -= 1

    engine.on_message = work
    _, connection = await opened(engine)
    await connection.send(b"".join(frame(f"4{number}") for number in range(500)))
    await until(lambda: len(order) == 500)
    assert order == [str(number) for number in range(500)]
    assert most_at_work == 1
    await connection.close()


@pytest.mark.gen_test
async def test_a_client_is_not_read_from_while_its_messages_wait(engine: Engine) -> None:
    go_on = asyncio.Event()

    async def work(_sid: str, _data: object) -> None:
        await go_on.wait()

    engine.on_message = work
    client, connection = await opened(engine)
    engine.session(client).accept()
    flood = asyncio.create_task(
        connection.send(b"".join(frame(f"4{n}".ljust(1000)) for n in range(20_000)))
    )
    await until(lambda: not engine.session(client).is_readable)
    other, other_connection = await opened(engine)
    assert engine.session(other).is_readable
    assert not flood.done()
    assert len(engine.session(client).inbox) == 32
    assert len(engine.messages) == 1
    go_on.set()
    await until(lambda: len(engine.messages) == 20_000)
    assert [str(m).strip() for m in engine.messages] == [str(n) for n in range(20_000)]
    await flood
    await connection.close()
    await other_connection.close()


@pytest.mark.gen_test
async def test_a_flood_of_small_frames_does_not_hold_up_the_loop(engine: Engine) -> None:
    turn, per_turn = 0, {}

    def count_turns() -> None:
        nonlocal turn
        turn += 1
        ticking[0] = asyncio.get_running_loop().call_soon(count_turns)

    async def work(_sid: str, _data: object) -> None:
        per_turn[turn] = per_turn.get(turn, 0) + 1

    engine.on_message = work
    _, connection = await opened(engine)
    ticking = [asyncio.get_running_loop().call_soon(count_turns)]
    await connection.send(frame("4") * 8000)
    await until(lambda: sum(per_turn.values()) == 8000)
    ticking[0].cancel()
    assert max(per_turn.values()) <= 64
    await connection.close()


# Control frames and closing


@pytest.mark.gen_test
async def test_a_flood_of_pings_is_answered_with_pongs_that_do_not_pile_up(engine: Engine) -> None:
    client, connection = await opened(engine, receive_buffer=4096)
    session = engine.session(client)
    connection.stop_reading()
    await engine.server.send(client.sid, "x" * 10_000_000)
    await until(lambda: session.waiting_bytes > 0 and not session.has_output)
    waiting = session.waiting_bytes
    await connection.send(frame(b"x" * 125, frames.PING) * 20_000)
    await connection.send_frame("1")
    await until(lambda: session.is_closed)
    assert session.waiting_bytes <= waiting
    connection.start_reading()
    assert (await connection.read_close())[0] == 1000


@pytest.mark.gen_test
async def test_the_last_of_many_pings_is_answered_for_all(engine: Engine) -> None:
    _, connection = await opened(engine)
    await connection.send(b"".join(frame(str(n).encode(), frames.PING) for n in range(1000)))
    answered = []
    while answered[-1:] != [999]:
        opcode, content = await connection.read_frame()
        assert opcode == frames.PONG
        answered.append(int(content))
    assert answered == sorted(answered)
    assert len(answered) < 200
    await connection.close()


@pytest.mark.gen_test
async def test_a_pong_that_nobody_asked_for_is_ignored(engine: Engine) -> None:
    _, connection = await opened(engine)
    await connection.send(frame(b"", frames.PONG) * 1000)
    await connection.send_frame("4hello")
    assert await connection.read_packet() == "4hello"
    await connection.close()


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        (b"", b""),
        (b"\x03\xe8", b"\x03\xe8"),
        (b"\x03\xe9", b"\x03\xe9"),
        (b"\x0f\xa0bye", b"\x0f\xa0"),
    ],
)
@pytest.mark.gen_test
async def test_a_close_frame_is_answered_and_the_connection_closed(
    engine: Engine, content: bytes, answer: bytes
) -> None:
    _, connection = await opened(engine)
    await connection.send_frame(content, frames.CLOSE)
    assert await connection.read_frame() == (frames.CLOSE, answer)
    assert await connection.read_end() == b""
    assert await engine.departures(1) == ["transport close"]
    await connection.close()


@pytest.mark.gen_test
async def test_a_client_that_says_close_in_a_packet_is_let_go(engine: Engine) -> None:
    _, connection = await opened(engine)
    await connection.send_frame("1")
    assert (await connection.read_close())[0] == 1000
    assert await engine.departures(1) == ["transport close"]


@pytest.mark.gen_test
async def test_a_close_by_the_server_comes_after_what_waits_with_code_and_reason(
    engine: Engine,
) -> None:
    client, connection = await opened(engine)
    big = "x" * 10_000_000
    await engine.server.send(client.sid, "last words")
    await engine.server.send(client.sid, big)
    engine.session(client).close(4003, "x" * 200)
    assert await connection.read_packet() == "4last words"
    assert await connection.read_packet() == "4" + big
    assert await connection.read_close() == (4003, "x" * 123)
    await engine.departures(1)
    await until(lambda: not engine.server.sessions)
    assert engine.disconnects(4003) == 1


@pytest.mark.gen_test
async def test_what_a_client_sends_while_we_close_is_thrown_away(engine: Engine) -> None:
    client, connection = await opened(engine)
    engine.session(client).close(4003, "bye")
    await connection.send(frame("4too late") * 1000)
    await connection.send_frame(b"", frames.PING)
    assert await connection.read_close() == (4003, "bye")
    await until(lambda: not engine.server.sessions)
    assert engine.messages == []


@pytest.mark.gen_test
async def test_the_connection_ends_when_the_client_has_answered_our_close(engine: Engine) -> None:
    client, connection = await opened(engine)
    engine.session(client).close(1012, "")
    assert await connection.read_frame() == (frames.CLOSE, b"\x03\xf4")
    await connection.send_frame(b"\x03\xf4", frames.CLOSE)
    assert await connection.read_end() == b""
    await connection.close()


@pytest.mark.gen_test
async def test_a_client_that_does_not_answer_our_close_is_dropped(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "_CLOSE_SECONDS", 0.05)
    client, connection = await opened(engine)
    engine.session(client).close(1012, "")
    assert await connection.read_frame() == (frames.CLOSE, b"\x03\xf4")
    assert await connection.read_end() == b""
    await connection.close()


@pytest.mark.gen_test
async def test_a_client_that_goes_on_sending_after_an_error_is_dropped(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "_DROP_SECONDS", 0.05)
    _, connection = await opened(engine)
    await connection.send(frame("4x", is_masked=False))

    async def flood() -> None:
        while True:
            await connection.send(b"\x00" * 65536)

    flooding = asyncio.create_task(flood())
    assert (await connection.read_frame())[0] == frames.CLOSE
    assert await connection.read_end() == b""
    with pytest.raises(ConnectionError):
        await flooding
    assert await engine.departures(1) == ["transport error"]
    await until(lambda: not engine.server.sessions)
    await connection.close()


@pytest.mark.gen_test
async def test_a_shutdown_closes_everybody_and_waits_for_their_answers(engine: Engine) -> None:
    connections = [(await opened(engine))[1] for _ in range(5)]
    shutting_down = asyncio.create_task(engine.server.shutdown())
    for connection in connections:
        assert await connection.read_close() == (1012, "server shutting down")
    await asyncio.wait_for(shutting_down, PATIENCE_SECONDS)
    assert await engine.departures(5) == ["server shutting down"] * 5
    assert engine.disconnects(1012) == 5


# Heartbeat


@pytest.mark.parametrize("limits", [{"ping_interval": 0.05, "ping_timeout": 10}], indirect=True)
@pytest.mark.gen_test
async def test_a_ping_comes_in_each_interval_and_is_answered(engine: Engine) -> None:
    _, connection = await opened(engine)
    for _ in range(3):
        assert await connection.read_frame() == (frames.TEXT, b"2")
        await connection.send_frame("3")
    assert engine.disconnected == []
    await connection.close()


@pytest.mark.parametrize("limits", [{"ping_interval": 0.05, "ping_timeout": 0.05}], indirect=True)
@pytest.mark.gen_test
async def test_a_client_without_pong_is_closed(engine: Engine) -> None:
    _, connection = await opened(engine)
    assert await connection.read_close() == (4201, "no pong")
    assert await engine.departures(1) == ["ping timeout"]


@pytest.mark.parametrize("limits", [{"connect_timeout": 0.05}], indirect=True)
@pytest.mark.gen_test
async def test_a_handshake_without_connect_is_closed_in_time(engine: Engine) -> None:
    _, connection = await opened(engine)
    assert await connection.read_close() == (4006, "no CONNECT in time")


# Slow readers


@pytest.mark.parametrize("limits", [{"max_client_buffer_bytes": 100_000}], indirect=True)
@pytest.mark.gen_test
async def test_a_client_that_does_not_read_costs_its_budget_and_nobody_else(
    engine: Engine,
) -> None:
    slow, slow_connection = await opened(engine, receive_buffer=4096)
    _, other_connection = await opened(engine)
    sid = slow.sid
    session = engine.session(slow)
    slow_connection.stop_reading()
    most = 0
    while not session.is_closed:
        await engine.server.send(sid, "x" * 10_000)
        most = max(most, session.waiting_bytes)
        await asyncio.sleep(0)
    assert most <= 100_000 + 10_004
    assert session.close_code == 4102
    await other_connection.send_frame("4hello")
    assert await other_connection.read_packet() == "4hello"
    slow_connection.start_reading()
    assert await slow_connection.read_close() == (4102, "slow consumer")
    await engine.departures(1)
    await other_connection.close()


@pytest.mark.parametrize("limits", [{"max_client_buffer_bytes": 1000}], indirect=True)
@pytest.mark.gen_test
async def test_a_slow_client_does_not_get_what_may_be_dropped_and_stays(engine: Engine) -> None:
    client, connection = await opened(engine)
    session = engine.session(client)
    big = "x" * 10_000_000
    assert session.send(EncodedPacket.message(big), droppable=True)
    assert not session.send(EncodedPacket.message("dropped"), droppable=True)
    assert engine.metrics.registry.get_sample_value("gtower_packets_dropped_total") == 1
    assert await connection.read_packet() == "4" + big
    await until(lambda: not session.waiting_bytes)
    assert session.send(EncodedPacket.message("later"), droppable=True)
    assert await connection.read_packet() == "4later"
    await connection.close()


# Handlers that fail, and peers that vanish


class Fault(Exception):
    """What no handler should raise."""


@pytest.mark.parametrize("problem", [Fault, asyncio.CancelledError])
@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.gen_test
async def test_a_handler_that_fails_closes_its_session_only(
    engine: Engine, problem: type[BaseException], waits: bool
) -> None:
    echo = engine.on_message

    async def fail(sid: str, data: str | bytes) -> None:
        if waits:
            await asyncio.sleep(0)
        if data == "fail":
            raise problem
        await echo(sid, data)

    engine.on_message = fail
    _, connection = await opened(engine)
    _, other = await opened(engine)
    await connection.send_frame("4fail")
    await connection.send_frame("4never taken up")
    assert await connection.read_close() == (1011, "internal error")
    await other.send_frame("4hello")
    assert await other.read_packet() == "4hello"
    assert engine.messages == ["fail", "hello"]
    await engine.departures(1)
    await other.close()


@pytest.mark.gen_test
async def test_a_client_that_goes_while_its_handler_works_leaves_after_it(engine: Engine) -> None:
    go_on = asyncio.Event()

    async def work(_sid: str, _data: object) -> None:
        await go_on.wait()

    engine.on_message = work
    _, connection = await opened(engine)
    await connection.send_frame("4work")
    await until(lambda: engine.messages)
    await connection.vanish()
    await until(lambda: not engine.server.sessions)
    assert engine.disconnected == []
    go_on.set()
    assert await engine.departures(1) == ["transport close"]


@pytest.mark.parametrize("step", ["request", "half a request", "101", "open", "message", "close"])
@pytest.mark.gen_test
async def test_a_peer_may_vanish_at_any_step(engine: Engine, step: str) -> None:
    for _ in range(20):
        connection = await RawWebSocket.open(engine.port)
        if step == "half a request":
            await connection.send(f"GET {TARGET} HTTP/1.1\r\nUpgrade: webs")
        elif step == "request":
            await connection.send_request(
                "GET",
                TARGET,
                headers={
                    "Upgrade": "websocket",
                    "Connection": "Upgrade",
                    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
                    "Sec-WebSocket-Version": "13",
                },
            )
        else:
            assert (await connection.handshake(TARGET)).status == 101
        if step in {"open", "message", "close"}:
            await connection.read_packet()
        if step == "message":
            await connection.send(frame("4hello")[:4])
        if step == "close":
            await connection.send(frame("1") + frame(b"", frames.CLOSE))
        await connection.vanish()
    async with await RawWebSocket.open(engine.port) as last:
        assert (await last.handshake(TARGET)).status == 101
        await until(lambda: len(engine.server.sessions) == 1)
        assert engine.connections.count == 1


@pytest.mark.parametrize("transport", ["websocket", "polling"])
@pytest.mark.gen_test
async def test_a_peer_may_vanish_while_the_application_decides(
    engine: Engine, transport: str
) -> None:
    decided = asyncio.Event()
    asked: list[str] = []

    async def connect(sid: str, _request: object) -> None:
        asked.append(sid)
        await decided.wait()
        engine.connected.append(sid)

    engine.server.on("connect", connect)
    connection = await RawWebSocket.open(engine.port)
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    target = f"/engine.io/?EIO=4&transport={transport}"
    await connection.send_request(
        "GET", target, headers=headers if transport == "websocket" else None
    )
    await until(lambda: asked)
    await connection.vanish()
    decided.set()
    await engine.departures(1)
    await until(lambda: not engine.server.sessions)
    assert engine.connections.count == 0


@pytest.mark.gen_test
async def test_an_application_may_refuse_a_handshake(engine: Engine) -> None:
    async def refuse(_sid: str, _request: object) -> bool:
        return False

    engine.server.on("connect", refuse)
    async with await RawWebSocket.open(engine.port) as connection:
        answer = await connection.handshake(TARGET)
        assert (answer.status, answer.json()) == (401, {"code": 4, "message": "Forbidden"})
    assert engine.connections.count == 0


@pytest.mark.gen_test
async def test_an_application_that_fails_in_a_handshake_is_a_fault_of_ours(engine: Engine) -> None:
    async def fail(_sid: str, _request: object) -> None:
        raise Fault

    engine.server.on("connect", fail)
    async with await RawWebSocket.open(engine.port) as connection:
        answer = await connection.handshake(TARGET)
        assert (answer.status, answer.json()["error"]["code"]) == (500, "internal_error")
        assert "Fault" not in answer.text
    assert engine.connections.count == 0
