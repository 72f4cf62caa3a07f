"""Engine.IO over polling, and the upgrade, on the wire."""

import asyncio
import json
import socket
from collections.abc import Iterator

import pytest
from tornado.ioloop import IOLoop
from tornado.web import Application

from gtower_realtime.engineio.server import EngineIOConfig
from gtower_realtime.engineio.session import SessionLimits
from gtower_realtime.limits import ConnectionLimits, Rate
from gtower_realtime.origins import OriginPolicy
from gtower_realtime.server import http_server
from tests.engine import Engine, serve
from tests.wire import PATIENCE_SECONDS, SEPARATOR, Answer, RawConnection, frame, until

PAGE = "https://crm.example.com"
UNKNOWN_SID = {"code": 1, "message": "Session ID unknown"}
UNKNOWN_TRANSPORT = {"code": 0, "message": "Transport unknown"}
BAD_METHOD = {"code": 2, "message": "Bad handshake method"}
BAD_REQUEST = {"code": 3, "message": "Bad request"}
UNSUPPORTED = {"code": 5, "message": "Unsupported protocol version"}


@pytest.fixture
def limits(request: pytest.FixtureRequest) -> SessionLimits:
    """Give the limits of the engine: the parameter, or ones that no test runs into."""
    if hasattr(request, "param"):
        return SessionLimits(**request.param)
    return SessionLimits(max_bytes_before_connect=1_000_000)


@pytest.fixture
def listener(io_loop: IOLoop, _unused_port: tuple[socket.socket, int]) -> tuple[socket.socket, int]:
    """Give a listening socket and its port."""
    return _unused_port


@pytest.fixture
def engine(
    io_loop: IOLoop, listener: tuple[socket.socket, int], limits: SessionLimits
) -> Iterator[Engine]:
    """Give an engine that echoes."""
    config = EngineIOConfig(
        sid_ending="03001",
        limits=limits,
        connection_limits=ConnectionLimits(0, 0, Rate(0, 0)),
        origins=OriginPolicy([PAGE]),
    )
    with serve(io_loop, listener, config) as engine:
        yield engine


# The handshake


@pytest.mark.gen_test
async def test_the_first_packet_is_the_handshake_with_the_keys_of_node(engine: Engine) -> None:
    answer = await engine.client().handshake()
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; charset=UTF-8"
    assert answer.headers["cache-control"] == "no-store"
    assert "server" not in answer.headers
    assert "etag" not in answer.headers
    assert answer.text[0] == "0"
    opened = json.loads(answer.text[1:])
    sid = opened.pop("sid")
    assert (len(sid), sid[15:]) == (20, "03001")
    assert opened == {
        "upgrades": ["websocket"],
        "pingInterval": 25000,
        "pingTimeout": 20000,
        "maxPayload": 1000000,
    }


@pytest.mark.gen_test
async def test_what_stands_before_the_ending_of_a_session_id_is_new_each_time(
    engine: Engine,
) -> None:
    sids = [(await engine.polling_client()).sid for _ in range(20)]
    assert len({sid[:15] for sid in sids}) == 20
    assert [len(set(column)) > 1 for column in zip(*sids, strict=True)] == [True] * 15 + [False] * 5


@pytest.mark.parametrize(
    ("method", "query", "body"),
    [
        ("GET", "transport=polling", UNSUPPORTED),
        ("GET", "EIO=3&transport=polling", UNSUPPORTED),
        ("GET", "EIO=4", UNKNOWN_TRANSPORT),
        ("GET", "EIO=4&transport=abc", UNKNOWN_TRANSPORT),
        ("GET", "EIO=4&transport=websocket", BAD_REQUEST),
        ("GET", "EIO=4&transport=polling&sid=nobody", UNKNOWN_SID),
        ("POST", "EIO=4&transport=polling&sid=nobody", UNKNOWN_SID),
        ("POST", "EIO=4&transport=polling", BAD_METHOD),
        ("PUT", "EIO=4&transport=polling", BAD_METHOD),
        ("DELETE", "EIO=4&transport=polling", BAD_METHOD),
        ("PATCH", "EIO=4&transport=polling", BAD_METHOD),
        ("BREW", "EIO=4&transport=polling", BAD_METHOD),
    ],
)
@pytest.mark.gen_test
async def test_a_request_that_makes_no_sense_is_answered_as_node_does(
    engine: Engine, method: str, query: str, body: dict[str, object]
) -> None:
    answer = await engine.client().request(method, f"/engine.io/?{query}", headers={"Origin": PAGE})
    assert (answer.status, answer.json()) == (400, body)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["vary"] == "Origin"
    assert engine.server.sessions == {}


@pytest.mark.gen_test
async def test_a_head_request_is_refused_without_a_body(engine: Engine) -> None:
    answer = await engine.client().request("HEAD")
    assert answer.status == 400
    assert engine.server.sessions == {}


@pytest.mark.gen_test
async def test_the_path_is_served_with_and_without_its_last_slash(engine: Engine) -> None:
    answer = await engine.client().request("GET", "/engine.io?EIO=4&transport=polling")
    assert answer.status == 200
    assert (await engine.client().request("GET", "/engine.io/x/?EIO=4")).status == 404


@pytest.mark.gen_test
async def test_of_an_argument_given_twice_the_first_counts(engine: Engine) -> None:
    client = await engine.polling_client()
    await engine.server.send(client.sid, "x")
    target = f"{client.target()}&sid=nobody&EIO=3&transport=websocket"
    assert (await client.request("GET", target)).text == "4x"


@pytest.mark.gen_test
async def test_a_page_of_another_origin_is_refused_everywhere(engine: Engine) -> None:
    stranger = {"Origin": "https://evil.example.com"}
    client = await engine.polling_client()
    answers = [
        await engine.client().handshake(headers=stranger),
        await client.request("GET", headers=stranger),
        await client.request("POST", headers=stranger, body="4x"),
        await client.request("OPTIONS", headers=stranger),
    ]
    for answer in answers:
        assert (answer.status, answer.json()) == (403, {"code": 4, "message": "Forbidden"})
        assert "access-control-allow-origin" not in answer.headers
    assert engine.messages == []
    assert not engine.session(client).is_closed


@pytest.mark.gen_test
async def test_a_preflight_request_is_answered_for_a_page_that_may_connect(engine: Engine) -> None:
    answer = await engine.client().request("OPTIONS", headers={"Origin": PAGE})
    assert answer.status == 204
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["access-control-allow-methods"] == "GET, POST"
    assert "content-length" not in answer.headers


# Packets


@pytest.mark.parametrize(
    "body",
    ["4hello", "4test1\x1e4test2\x1e4test3", "4hello\x1ebAQIDBA==", "4€", "4", "b"],
)
@pytest.mark.gen_test
async def test_messages_go_both_ways(engine: Engine, body: str) -> None:
    client = await engine.polling_client()
    posted = await client.post(body)
    assert (posted.status, posted.text) == (200, "ok")
    assert posted.headers["content-type"] == "text/html"
    polled = await client.poll()
    assert (polled.status, polled.text) == (200, body)


@pytest.mark.gen_test
async def test_a_poll_waits_for_the_next_packet(engine: Engine) -> None:
    client = await engine.polling_client()
    polling = asyncio.create_task(client.poll())
    await client.post("4hello")
    assert (await polling).text == "4hello"


@pytest.mark.gen_test
async def test_nothing_of_many_messages_is_lost(engine: Engine) -> None:
    client = await engine.polling_client()
    texts = [f"4{number}" for number in range(200)]
    for text in texts[:50]:
        assert (await client.post(text)).status == 200
    assert (await client.post(SEPARATOR.join(texts[50:]))).status == 200
    assert (await client.poll()).text.split(SEPARATOR) == texts


@pytest.mark.gen_test
async def test_a_payload_has_256_packets_at_most(engine: Engine) -> None:
    client = await engine.polling_client()
    whole = SEPARATOR.join(f"4{number}" for number in range(256))
    assert (await client.post(whole)).status == 200
    assert (await client.poll()).text == whole
    refused = await client.post(whole + SEPARATOR + "4x")
    assert (refused.status, refused.json()) == (400, BAD_REQUEST)
    assert len(engine.messages) == 256
    assert await engine.departures(1) == ["transport error"]


@pytest.mark.parametrize("body", ["", "abc", "4a\x1e", "2probe", "5", "6", "0{}", "b!", b"4\xff"])
@pytest.mark.gen_test
async def test_a_payload_against_the_protocol_ends_the_session(
    engine: Engine, body: bytes | str
) -> None:
    client = await engine.polling_client()
    refused = await client.post(body)
    assert (refused.status, refused.json()) == (400, BAD_REQUEST)
    answer = await client.poll()
    assert (answer.status, answer.json()) == (400, UNKNOWN_SID)
    assert await engine.departures(1) == ["transport error"]
    assert engine.disconnects(1002) == 1


@pytest.mark.gen_test
async def test_a_large_answer_comes_in_slices_and_in_order(engine: Engine) -> None:
    client = await engine.polling_client()
    for letter in "abcde":
        await engine.server.send(client.sid, letter * 150_000)
    lengths, letters = [], ""
    while len(letters) < 5:
        packets = (await client.poll()).text.split(SEPARATOR)
        lengths.append(len(packets))
        letters += "".join(packet[1] for packet in packets)
    assert letters == "abcde"
    assert lengths == [1, 1, 1, 1, 1]


# Overlaps and cut requests


@pytest.mark.gen_test
async def test_overlapping_polls_end_the_session(engine: Engine) -> None:
    client = await engine.polling_client()
    first = asyncio.create_task(client.poll())
    await until_polled(engine, client.sid)
    second = await client.poll()
    assert (second.status, second.json()) == (400, BAD_REQUEST)
    assert ((await first).status, (await first).text) == (200, "1")
    assert (await client.poll()).json() == UNKNOWN_SID
    assert await engine.departures(1) == ["transport error"]


@pytest.mark.gen_test
async def test_overlapping_posts_end_the_session_before_the_second_is_read(engine: Engine) -> None:
    client = await engine.polling_client()
    async with await RawConnection.open(engine.port) as first:
        await first.send_request("POST", client.target(), headers={"Content-Length": "9"})
        await until(lambda: engine.session(client).output.is_receiving)  # type: ignore[attr-defined]
        async with await RawConnection.open(engine.port) as second:
            await second.send_request("POST", client.target(), headers={"Content-Length": "9"})
            answer = await second.read_answer()
        assert (answer.status, answer.json()) == (400, BAD_REQUEST)
        await first.send("4hello...")
        assert (await first.read_answer()).status == 400
    assert engine.messages == []
    assert await engine.departures(1) == ["transport error"]


@pytest.mark.gen_test
async def test_a_poll_that_is_cut_ends_the_session(engine: Engine) -> None:
    client = await engine.polling_client()
    polling = await RawConnection.open(engine.port)
    await polling.send_request("GET", client.target())
    await until_polled(engine, client.sid)
    await polling.close()
    assert await engine.departures(1) == ["transport close"]
    assert (await client.poll()).json() == UNKNOWN_SID


@pytest.mark.gen_test
async def test_a_post_that_is_cut_ends_the_session(engine: Engine) -> None:
    client = await engine.polling_client()
    posting = await RawConnection.open(engine.port)
    await posting.send_request(
        "POST", client.target(), headers={"Content-Length": "100"}, body="4half of"
    )
    await until(lambda: engine.session(client).output.is_receiving)  # type: ignore[attr-defined]
    await posting.close()
    assert await engine.departures(1) == ["transport error"]
    assert engine.messages == []


@pytest.mark.gen_test
async def test_requests_that_come_in_one_piece_are_answered_in_order(engine: Engine) -> None:
    client = await engine.polling_client()
    async with await RawConnection.open(engine.port) as connection:
        await connection.send_request("POST", client.target(), body="4a")
        await connection.send_request("GET", client.target())
        await connection.send_request("POST", client.target(), body="4b")
        await connection.send_request("GET", client.target())
        answers = [(await connection.read_answer()).text for _ in range(4)]
    assert answers == ["ok", "4a", "ok", "4b"]


# Sizes


@pytest.mark.gen_test
async def test_a_post_that_is_too_big_is_refused_before_it_is_sent(engine: Engine) -> None:
    client = await engine.polling_client()
    engine.session(client).accept()
    async with await RawConnection.open(engine.port) as connection:
        await connection.send_request(
            "POST", client.target(), headers={"Content-Length": "1000001"}
        )
        assert (await connection.read_answer()).status == 413
    assert await engine.departures(1) == ["transport error"]
    assert engine.disconnects(1009) == 1


@pytest.mark.gen_test
async def test_a_post_that_grows_too_big_is_refused_when_it_does(engine: Engine) -> None:
    client = await engine.polling_client()
    engine.session(client).accept()
    async with await RawConnection.open(engine.port) as connection:
        await connection.send_request(
            "POST", client.target(), headers={"Transfer-Encoding": "chunked"}
        )
        await connection.send(b"f4240\r\n" + b"4" * 1_000_000 + b"\r\n1\r\n4\r\n")
        assert (await connection.read_answer()).status == 413
    assert engine.disconnects(1009) == 1


@pytest.mark.gen_test
async def test_a_post_of_just_the_limit_is_taken(engine: Engine) -> None:
    client = await engine.polling_client()
    engine.session(client).accept()
    assert (await client.post("4" + "x" * 999_999)).status == 200
    assert (await client.poll()).text == "4" + "x" * 999_999


@pytest.mark.parametrize("limits", [{"max_bytes_before_connect": 100}], indirect=True)
@pytest.mark.gen_test
async def test_before_connect_much_less_is_too_much(engine: Engine) -> None:
    one, many = await engine.polling_client(), await engine.polling_client()
    assert (await one.post("4" + "x" * 100)).status == 413
    for _ in range(10):
        assert (await many.post("4" + "x" * 9)).status == 200
    assert (await many.post("4x")).status == 400
    await engine.departures(2)
    assert engine.disconnects(4006) == 2


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
@pytest.mark.gen_test
async def test_only_packets_have_a_body(engine: Engine, method: str) -> None:
    client = engine.client()
    body = {"Content-Length": "1"}
    assert (await client.request(method, headers=body, body="x")).status == 413
    assert engine.server.sessions == {}


@pytest.mark.parametrize("length", ["-1", "abc", "1e3", "5, 5", "9" * 30, "٣", ""])
@pytest.mark.gen_test
async def test_a_length_that_is_none_is_refused(engine: Engine, length: str) -> None:
    client = await engine.polling_client()
    async with await RawConnection.open(engine.port) as connection:
        await connection.send_request("POST", client.target(), headers={"Content-Length": length})
        assert (await connection.read_answer()).status == 400
    assert engine.messages == []


@pytest.mark.gen_test
async def test_a_client_that_asks_before_it_sends_is_told_to_go_on_or_not(engine: Engine) -> None:
    client = await engine.polling_client()
    engine.session(client).accept()
    asking = {"Expect": "100-continue"}
    async with await RawConnection.open(engine.port) as connection:
        await connection.send_request(
            "POST", client.target(), headers={"Content-Length": "2"} | asking
        )
        assert (await connection.read_answer()).status == 100
        await connection.send("4x")
        assert (await connection.read_answer()).text == "ok"
    async with await RawConnection.open(engine.port) as connection:
        await connection.send_request(
            "POST", client.target(), headers={"Content-Length": "2000000"} | asking
        )
        assert (await connection.read_answer()).status == 413
        assert await connection.read_end() == b""


@pytest.mark.gen_test
async def test_a_client_that_is_busy_sending_gets_to_see_why_it_is_refused(engine: Engine) -> None:
    client = await engine.polling_client()
    engine.session(client).accept()
    async with await RawConnection.open(engine.port) as connection:
        await connection.send_request(
            "POST", client.target(), headers={"Content-Length": "30000000"}
        )
        for _ in range(30):
            await connection.send(b"x" * 1_000_000)
        answer = await connection.read_answer()
        assert answer.status == 413
        assert answer.headers["connection"] == "close"
        assert await connection.read_end() == b""


# Heartbeat


@pytest.mark.parametrize("limits", [{"ping_interval": 0.05, "ping_timeout": 10}], indirect=True)
@pytest.mark.gen_test
async def test_a_ping_comes_in_each_interval_and_is_answered(engine: Engine) -> None:
    client = await engine.polling_client()
    for _ in range(3):
        assert (await client.poll()).text == "2"
        assert (await client.post("3")).text == "ok"
    assert engine.disconnected == []


@pytest.mark.parametrize("limits", [{"ping_interval": 0.05, "ping_timeout": 0.05}], indirect=True)
@pytest.mark.gen_test
async def test_a_session_without_pong_expires(engine: Engine) -> None:
    client = await engine.polling_client()
    assert await engine.departures(1) == ["ping timeout"]
    answer = await client.poll()
    assert (answer.status, answer.json()) == (400, UNKNOWN_SID)
    assert engine.disconnects(4201) == 1


@pytest.mark.parametrize("limits", [{"connect_timeout": 0.05}], indirect=True)
@pytest.mark.gen_test
async def test_a_handshake_without_connect_is_closed_in_time(engine: Engine) -> None:
    client = await engine.polling_client()
    polling = await client.poll()
    assert polling.text == "1"
    await engine.departures(1)
    assert engine.disconnects(4006) == 1


@pytest.mark.gen_test
async def test_an_expired_session_is_refused_before_its_timer_has_come(
    listener: tuple[socket.socket, int],
) -> None:
    now = 1000.0
    config = EngineIOConfig(limits=SessionLimits(connect_timeout=0.3), clock=lambda: now)
    engine = Engine(listener[1], config)
    http = http_server(Application(engine.server.routes("/engine.io/")))
    await http.listen([listener[0]])
    client = await engine.polling_client()
    now += 0.3
    assert (await client.poll()).json() == UNKNOWN_SID
    await engine.server.shutdown()
    http.stop()


# Closing


@pytest.mark.gen_test
async def test_a_client_that_says_close_is_let_go(engine: Engine) -> None:
    client = await engine.polling_client()
    polling = asyncio.create_task(client.poll())
    await until_polled(engine, client.sid)
    assert (await client.post("1")).text == "ok"
    assert (await polling).text == "6"
    assert (await client.poll()).json() == UNKNOWN_SID
    assert await engine.departures(1) == ["transport close"]


@pytest.mark.gen_test
async def test_a_close_by_the_server_ends_the_poll_with_the_last_packets(engine: Engine) -> None:
    client = await engine.polling_client()
    polling = asyncio.create_task(client.poll())
    await until_polled(engine, client.sid)
    await engine.server.send(client.sid, "last words")
    await engine.server.disconnect(client.sid)
    assert (await polling).text == "4last words"
    assert (await client.poll()).text == "1"
    assert (await client.poll()).json() == UNKNOWN_SID
    assert engine.disconnects(4003) == 1


@pytest.mark.gen_test
async def test_a_close_by_the_server_waits_a_moment_for_the_next_poll(engine: Engine) -> None:
    client = await engine.polling_client()
    await engine.server.send(client.sid, "last words")
    await engine.server.disconnect(client.sid)
    assert await engine.departures(1) == ["disconnected by the server"]
    assert (await client.poll()).text == "4last words"
    assert (await client.poll()).text == "1"
    assert (await client.poll()).json() == UNKNOWN_SID


@pytest.mark.gen_test
async def test_a_shutdown_ends_polls_at_once_and_takes_in_nobody_new(engine: Engine) -> None:
    client = await engine.polling_client()
    polling = asyncio.create_task(client.poll())
    await until_polled(engine, client.sid)
    await asyncio.wait_for(engine.server.shutdown(), PATIENCE_SECONDS)
    assert (await polling).text == "1"
    refused = await engine.client().handshake()
    assert (refused.status, refused.json()["error"]["code"]) == (503, "draining")
    assert "retry-after" in refused.headers
    assert engine.disconnects(1012) == 1


@pytest.mark.gen_test
async def test_a_shutdown_waits_for_handlers_that_are_at_work(engine: Engine) -> None:
    go_on = asyncio.Event()

    async def work(_sid: str, _data: object) -> None:
        await go_on.wait()

    engine.on_message = work
    client = await engine.polling_client()
    polling = asyncio.create_task(client.poll())
    await client.post("4work")
    shutting_down = asyncio.create_task(engine.server.shutdown())
    assert (await polling).text == "1"
    assert engine.disconnected == []
    await until(lambda: not engine.server.sessions)
    for _ in range(20):
        await asyncio.sleep(0)
    assert not shutting_down.done()
    go_on.set()
    await shutting_down
    assert await engine.departures(1) == ["server shutting down"]


# Back-pressure


@pytest.mark.gen_test
async def test_a_post_is_answered_when_the_messages_before_are_taken_up(engine: Engine) -> None:
    go_on = asyncio.Event()

    async def work(_sid: str, _data: object) -> None:
        await go_on.wait()

    engine.on_message = work
    client = await engine.polling_client()
    posting = asyncio.create_task(client.post(SEPARATOR.join(["4x"] * 40)))
    await until(lambda: len(engine.messages) == 1)
    assert not engine.session(client).is_readable
    overlapping = await client.post("4y")
    assert overlapping.status == 400, "a client does not send before its last was taken"
    assert (await posting).text == "ok"
    go_on.set()


@pytest.mark.parametrize("limits", [{"max_client_buffer_bytes": 1000}], indirect=True)
@pytest.mark.gen_test
async def test_a_poller_that_does_not_poll_is_a_slow_consumer(engine: Engine) -> None:
    slow, other = await engine.polling_client(), await engine.polling_client()
    await engine.server.send(slow.sid, "x" * 2000)
    assert not engine.session(slow).is_closed
    await engine.server.send(slow.sid, "one more")
    await engine.server.send(other.sid, "fine")
    assert (await other.poll()).text == "4fine"
    assert (await slow.poll()).json() == UNKNOWN_SID
    assert engine.disconnects(4102) == 1


@pytest.mark.gen_test
async def test_an_answer_that_is_not_read_counts_and_holds_back_the_next(engine: Engine) -> None:
    client = await engine.polling_client()
    session = engine.session(client)
    session.accept()
    big = "x" * 20_000_000
    async with await RawConnection.open(engine.port, receive_buffer=4096) as slow:
        slow.stop_reading()
        await engine.server.send(client.sid, big)
        await slow.send_request("GET", client.target())
        await until(lambda: session.output.unsent_bytes > 0)
        assert session.waiting_bytes == len(big) + 1
        polling = asyncio.create_task(client.poll())
        await until_polled(engine, client.sid)
        await engine.server.send(client.sid, "one more")
        assert session.is_closed
        assert (await polling).text == "1"
    assert engine.disconnects(4102) == 1


@pytest.mark.parametrize("limits", [{"max_client_buffer_bytes": 0}], indirect=True)
@pytest.mark.gen_test
async def test_the_next_answer_waits_until_the_one_before_it_is_read(engine: Engine) -> None:
    client = await engine.polling_client()
    output = engine.session(client).output
    async with await RawConnection.open(engine.port, receive_buffer=4096) as slow:
        slow.stop_reading()
        await engine.server.send(client.sid, "x" * 20_000_000)
        await slow.send_request("GET", client.target())
        await until(lambda: output.unsent_bytes > 0)
        polling = asyncio.create_task(client.poll())
        await until_polled(engine, client.sid)
        await engine.server.send(client.sid, "one more")
        for _ in range(20):
            await asyncio.sleep(0)
        assert not polling.done()
        slow.start_reading()
        assert len((await slow.read_answer()).body) == 20_000_001
        assert (await polling).text == "4one more"


# Upgrading


@pytest.mark.gen_test
async def test_a_session_moves_to_a_websocket(engine: Engine) -> None:
    client = await engine.polling_client()
    websocket = await client.websocket()
    await websocket.send_frame("2probe")
    assert await websocket.read_packet() == "3probe"
    assert (await client.poll()).text == "6"
    await websocket.send_frame("5")
    await websocket.send_frame("4hello")
    assert await websocket.read_packet() == "4hello"
    assert engine.server.transport(client.sid) == "websocket"
    await websocket.close()
    assert await engine.departures(1) == ["transport close"]


@pytest.mark.gen_test
async def test_polls_and_other_websockets_are_refused_after_the_upgrade(engine: Engine) -> None:
    client = await engine.polling_client()
    async with await client.websocket() as websocket:
        await websocket.send_frame("2probe")
        await websocket.send_frame("5")
        assert await websocket.read_packet() == "3probe"
        await until(lambda: engine.server.transport(client.sid) == "websocket")
        for answer in (await client.poll(), await client.post("4x")):
            assert (answer.status, answer.json()) == (400, BAD_REQUEST)
        other = await client.websocket()
        assert await other.read_close() == (1002, "the session has a WebSocket already")
        await websocket.send_frame("4hello")
        assert await websocket.read_packet() == "4hello"


@pytest.mark.gen_test
async def test_nothing_is_lost_doubled_or_out_of_order_while_upgrading(engine: Engine) -> None:
    client = await engine.polling_client()
    received: list[str] = []
    sent = 0

    async def keep(_sid: str, _data: object) -> None:
        return

    async def talk() -> None:
        nonlocal sent
        while sent < 400:
            await engine.server.send(client.sid, f"down {sent}")
            sent += 1
            await asyncio.sleep(0)

    async def poll_until_released() -> None:
        while True:
            packets = (await client.poll()).text.split(SEPARATOR)
            if packets == ["6"]:
                return
            received.extend(packets)

    engine.on_message = keep
    talking = asyncio.create_task(talk())
    for number in range(5):
        assert (await client.post(f"4up {number}")).status == 200
    polling = asyncio.create_task(poll_until_released())
    websocket = await client.websocket()
    assert (await client.post("4up 5\x1e4up 6")).status == 200
    await websocket.send_frame("2probe")
    assert await websocket.read_packet() == "3probe"
    await polling
    assert received, "messages had come over polling before"
    await websocket.send_frame("5")
    for number in range(7, 12):
        await websocket.send_frame(f"4up {number}")
    while len(received) < 400:
        packet = await websocket.read_packet()
        assert isinstance(packet, str)
        received.append(packet)
    await talking
    assert received == [f"4down {number}" for number in range(400)]
    await until(lambda: len(engine.messages) == 12)
    assert engine.messages == [f"up {number}" for number in range(12)]
    await websocket.close()


@pytest.mark.parametrize("packet", ["2", "4hello", "5x", "3probe", b"2probe", ""])
@pytest.mark.gen_test
async def test_a_websocket_that_neither_probes_nor_upgrades_is_closed_and_polling_goes_on(
    engine: Engine, packet: str | bytes
) -> None:
    client = await engine.polling_client()
    websocket = await client.websocket()
    await websocket.send(frame(packet) + frame("5") + frame("4not taken"))
    assert await websocket.read_close() == (1002, "neither probe nor upgrade")
    assert engine.server.transport(client.sid) == "polling"
    await client.post("4hello")
    assert (await client.poll()).text == "4hello"
    assert engine.messages == ["hello"]
    async with await client.websocket() as another:
        await another.send_frame("2probe")
        assert await another.read_packet() == "3probe"


@pytest.mark.gen_test
async def test_a_websocket_that_vanishes_while_probing_leaves_polling_alone(engine: Engine) -> None:
    client = await engine.polling_client()
    for step in ("nothing", "2probe"):
        websocket = await client.websocket()
        if step == "2probe":
            await websocket.send_frame(step)
            assert await websocket.read_packet() == "3probe"
        await websocket.vanish()
    answers: list[Answer] = []
    await client.post("4hello")
    while not answers or answers[-1].text == "6":
        answers.append(await client.poll())
    assert [answer.text for answer in answers[-2:]] in (["6", "4hello"], ["4hello"])


@pytest.mark.parametrize("limits", [{"upgrade_timeout": 0.05}], indirect=True)
@pytest.mark.gen_test
async def test_an_upgrade_that_is_not_completed_in_time_goes_back_to_polling(
    engine: Engine,
) -> None:
    client = await engine.polling_client()
    websocket = await client.websocket()
    await websocket.send_frame("2probe")
    assert await websocket.read_packet() == "3probe"
    assert await websocket.read_end() == b""
    await websocket.close()
    assert (await client.poll()).text == "6"
    polling = asyncio.create_task(client.poll())
    await client.post("4hello")
    assert (await polling).text == "4hello"


@pytest.mark.gen_test
async def test_a_close_while_upgrading_ends_both(engine: Engine) -> None:
    client = await engine.polling_client()
    websocket = await client.websocket()
    await websocket.send_frame("2probe")
    assert await websocket.read_packet() == "3probe"
    await engine.server.disconnect(client.sid)
    assert await websocket.read_end() == b""
    await websocket.close()
    assert await engine.departures(1) == ["disconnected by the server"]
    assert [(await client.poll()).text for _ in range(2)] == ["6", "1"]
    assert (await client.poll()).json() == UNKNOWN_SID


async def until_polled(engine: Engine, sid: str) -> None:
    """Wait until the server holds a poll of the session."""
    session = engine.server.sessions[sid]
    await until(lambda: session.output.is_polled)  # type: ignore[attr-defined]
