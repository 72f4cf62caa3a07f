"""`SocketIOServer` with handlers of one's own, that are slow, fail or hang; over real sockets."""

import asyncio
import json
import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import structlog
from socketio import exceptions
from tornado import web
from tornado.ioloop import IOLoop

from gtower_realtime.engineio.server import EngineIOConfig
from gtower_realtime.engineio.session import SessionLimits
from gtower_realtime.errors import Forbidden, StoreUnavailable
from gtower_realtime.gateway.server import PendingConnection, SocketIOServer
from gtower_realtime.http1.server import HttpServer
from gtower_realtime.metrics import Metrics
from gtower_realtime.server import http_server
from tests.socketio_wire import Wire, open_wire

pytestmark = pytest.mark.gen_test

Serve = Callable[..., Awaitable[SocketIOServer]]

INTERNAL_ERROR = {
    "ok": False,
    "error": {
        "code": "internal_error",
        "message": "The server failed; try again later.",
        "retryable": True,
    },
}


@pytest.fixture
def metrics() -> Metrics:
    """Give the metrics of the server."""
    return Metrics()


@pytest.fixture
def serve(io_loop: IOLoop, _unused_port: tuple[Any, int], metrics: Metrics) -> Iterator[Serve]:
    """Give a function that starts the one server of the test, with a handler for `echo`."""
    started: list[tuple[SocketIOServer, HttpServer]] = []

    async def start(limits: SessionLimits | None = None, **options: Any) -> SocketIOServer:
        config = EngineIOConfig(limits=limits or SessionLimits(), metrics=metrics)
        server = SocketIOServer(config, **options)
        server.on("echo", echo)
        application = web.Application(server.eio.routes("/socket.io/"))
        http = http_server(application)
        await http.listen([_unused_port[0]])
        started.append((server, http))
        return server

    yield start
    for server, http in started:
        http.stop()
        io_loop.run_sync(server.shutdown)
        io_loop.run_sync(http.close_all_connections)


class Answers(list[Any]):
    """A list that can be watched for being forgotten."""


async def echo(client_id: str, *arguments: Any) -> Any:
    """Answer with what was said."""
    return arguments


async def joined(wire: Wire, namespace: str = "") -> str:
    """Connect to a namespace that says nothing by itself; return the client id."""
    await wire.say(f"40{namespace}")
    answer = await wire.hear()
    assert answer is not None
    return str(json.loads(answer.removeprefix(f"40{namespace}"))["sid"])


def participants(server: SocketIOServer) -> list[str]:
    """Return the client ids of everybody in the namespace `/`."""
    return [sid for sid, _ in server.manager.get_participants("/", None)]


# Accepted or gone


async def test_a_client_that_is_being_decided_about_gets_nothing_and_is_in_no_list(
    serve: Serve, base_url: str
) -> None:
    server = await serve()
    asked, decided = asyncio.Event(), asyncio.Event()

    async def connect(sid: str, request: Any, auth: Any) -> None:
        await server.enter_room(sid, "early")
        asked.set()
        await decided.wait()

    server.on("connect", connect)
    async with open_wire(base_url) as wire:
        await wire.say("40")
        await asked.wait()
        for target in (None, "early"):
            await server.emit("too early", room=target)
        assert participants(server) == []
        decided.set()
        assert str(await wire.hear()).startswith("40{")
        await server.emit("in time", 1)
        assert await wire.hear() == '42["in time",1]'
        assert server.rooms(participants(server)[0]) == []


REFUSALS = [
    (False, '{"message":"Connection refused by server"}'),
    (ConnectionRefusedError("no"), '{"message":"Connection refused by server"}'),
    (exceptions.ConnectionRefusedError("no", {"a": 1}), '{"message":"no","data":{"a":1}}'),
    (exceptions.ConnectionRefusedError(), '{"message":"Connection rejected by server"}'),
    (Forbidden("Not you."), '{"message":"Not you.","data":{"code":"forbidden","retryable":false}}'),
]


@pytest.mark.parametrize(("outcome", "payload"), REFUSALS, ids=lambda value: repr(value)[:50])
async def test_200_refused_connects_leave_nobody_behind(
    serve: Serve, base_url: str, outcome: Any, payload: str
) -> None:
    server, seen, left = await serve(), [], []

    async def connect(sid: str, request: Any, auth: Any) -> Any:
        seen.append(sid)
        if len(seen) > 200:
            return True
        await server.enter_room(sid, "kept")
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    server.on("connect", connect)
    server.on("disconnect", lambda sid, reason: left.append(sid))
    async with open_wire(base_url) as wire:
        for _ in range(200):
            await wire.say("40")
            assert await wire.hear() == f"44{payload}"
            await server.emit("nobody is there")
            await server.emit("nor here", room="kept")
        assert not any(server.manager.is_pre_connected(sid, "/") for sid in seen)
        assert participants(server) == []
        client_id = await joined(wire)
        assert participants(server) == [client_id]
        assert left == []


@pytest.mark.parametrize(
    "fault", [RuntimeError("broken"), StoreUnavailable("The disk is full.")], ids=repr
)
async def test_a_refusal_that_passes_by_itself_closes_so_that_the_client_tries_again(
    serve: Serve, base_url: str, fault: Exception
) -> None:
    server, seen = await serve(), []

    async def connect(sid: str, request: Any, auth: Any) -> None:
        seen.append(sid)
        if len(seen) == 1:
            raise fault

    server.on("connect", connect)
    async with open_wire(base_url) as wire:
        await wire.say("40")
        code = "store_unavailable" if isinstance(fault, StoreUnavailable) else "internal_error"
        assert await wire.closing() == (1013, code)
    async with open_wire(base_url) as wire:
        assert participants(server) == []
        await joined(wire)
        assert participants(server) == seen[1:]


HANG_UPS: dict[str, Any] = {"packet": "1", "close frame": None, "cut": None}


@pytest.mark.parametrize("way", HANG_UPS)
async def test_hanging_up_during_connect_leaves_no_ghost_in_50_races(
    serve: Serve, base_url: str, way: str
) -> None:
    server = await serve()
    accepted: list[str] = []
    left: list[str] = []
    asked, decided = asyncio.Event(), asyncio.Event()

    async def connect(sid: str, request: Any, auth: Any) -> None:
        asked.set()
        await decided.wait()

    async def on_connecting(pending: PendingConnection) -> None:
        if pending.welcome(pending.sid):
            accepted.append(pending.sid)

    server.on("connect", connect)
    server.on("disconnect", lambda sid, reason: left.append(sid))
    server.on_connecting(on_connecting)
    for turns in range(50):
        asked.clear()
        decided.clear()
        async with open_wire(base_url) as wire:
            await wire.say("40")
            await asked.wait()
            if way == "packet":
                await wire.say("1")
            elif way == "close frame":
                wire.close()
            else:
                wire.cut()
            # The decision comes a few turns of the loop before or after the server notices.
            for _ in range(turns % 10):
                await asyncio.get_running_loop().run_in_executor(None, int)
            decided.set()
    asked.clear()
    async with open_wire(base_url) as wire:
        client_id = await joined(wire)
        assert participants(server) == [client_id]
        assert sorted(left) == sorted(accepted[:-1])
        assert len(server.environ) == 1


@pytest.mark.parametrize("decided_by", ["connect", "on_connecting"])
async def test_nobody_is_accepted_who_hung_up_while_being_decided_about(
    serve: Serve, base_url: str, decided_by: str
) -> None:
    server = await serve()
    accepted: list[str] = []
    asked, decided, over = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def decide() -> None:
        asked.set()
        await decided.wait()
        over.set()

    async def connect(sid: str, request: Any, auth: Any) -> None:
        if decided_by == "connect":
            await decide()

    async def on_connecting(pending: PendingConnection) -> None:
        if decided_by == "on_connecting":
            await decide()
        if pending.welcome(pending.sid):
            accepted.append(pending.sid)

    server.on("connect", connect)
    server.on_connecting(on_connecting)
    async with open_wire(base_url) as wire:
        await wire.say("40")
        await asked.wait()
        (session,) = server.eio.sessions.values()
        # Closing, and not yet forgotten: the peer has still to take what waits for it.
        session.close(4200, "away")
        decided.set()
        await over.wait()
        assert await wire.closing() == (4200, "away")
    assert accepted == []
    assert participants(server) == []


# Bounded in time


async def test_a_connect_handler_that_hangs_closes_so_that_the_client_tries_again(
    serve: Serve, base_url: str
) -> None:
    server = await serve(handler_timeout=0.05)
    cancelled = asyncio.Event()

    async def connect(sid: str, request: Any, auth: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    server.on("connect", connect)
    async with open_wire(base_url) as wire:
        await wire.say("40")
        assert await wire.closing() == (1013, "internal_error")
    await asyncio.wait_for(cancelled.wait(), 10)
    assert participants(server) == []


async def test_an_event_handler_that_hangs_is_cancelled_and_the_client_goes_on(
    serve: Serve, base_url: str
) -> None:
    server = await serve(handler_timeout=0.05)
    cancelled = asyncio.Event()

    async def hang(sid: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    server.on("hang", hang)
    async with open_wire(base_url) as wire:
        await joined(wire)
        assert await wire.ask("hang") == [INTERNAL_ERROR]
        assert cancelled.is_set()
        assert await wire.ask("echo", 1) == [1]


async def test_an_event_handler_that_resists_its_end_is_left_alone(
    serve: Serve, base_url: str
) -> None:
    server = await serve(handler_timeout=0.05)
    resisted, let_go = asyncio.Event(), asyncio.Event()

    async def resist(sid: str) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            resisted.set()
            await let_go.wait()

    server.on("resist", resist)
    async with open_wire(base_url) as wire:
        await joined(wire)
        assert await wire.ask("resist") == [INTERNAL_ERROR]
        assert await wire.ask("echo", 1) == [1]
        assert resisted.is_set()
        let_go.set()


async def test_a_handler_that_waits_in_time_answers(serve: Serve, base_url: str) -> None:
    server = await serve(handler_timeout=0.05)

    async def wait(sid: str, turns: int) -> int:
        for _ in range(turns):
            await asyncio.get_running_loop().run_in_executor(None, int)
        return turns

    async def fail_late(sid: str) -> None:
        await asyncio.get_running_loop().run_in_executor(None, int)
        raise Forbidden("Not that.")

    server.on("wait", wait)
    server.on("fail late", fail_late)
    async with open_wire(base_url) as wire:
        await joined(wire)
        assert [await wire.ask("wait", turns) for turns in range(4)] == [[0], [1], [2], [3]]
        assert (await wire.ask("fail late"))[0]["error"]["code"] == "forbidden"


async def test_a_disconnect_handler_that_hangs_is_cancelled(serve: Serve, base_url: str) -> None:
    server = await serve(handler_timeout=0.05)
    cancelled = asyncio.Event()

    async def hang(sid: str, reason: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    server.on("disconnect", hang)
    async with open_wire(base_url) as wire:
        await joined(wire)
    await asyncio.wait_for(cancelled.wait(), 10)


async def test_without_a_limit_a_handler_may_take_its_time(serve: Serve, base_url: str) -> None:
    server = await serve(handler_timeout=0)

    async def wait(sid: str) -> str:
        await asyncio.get_running_loop().run_in_executor(None, int)
        return "done"

    server.on("wait", wait)
    async with open_wire(base_url) as wire:
        await joined(wire)
        assert await wire.ask("wait") == ["done"]


# One at a time, in order


async def test_events_of_a_client_are_handled_in_order_one_at_a_time_without_a_task_each(
    serve: Serve, base_url: str
) -> None:
    server = await serve()
    log: list[str] = []
    begun, let_go = asyncio.Event(), asyncio.Event()

    async def work(sid: str, number: int) -> int:
        log.append(f"begin {number}")
        if number == 0:
            begun.set()
            await let_go.wait()
        elif number % 2:
            await asyncio.get_running_loop().run_in_executor(None, int)
        log.append(f"end {number}")
        return number

    server.on("work", work)
    async with open_wire(base_url) as wire, open_wire(base_url) as other:
        await joined(wire)
        await joined(other)
        await wire.say('420["work",0]')
        await begun.wait()
        tasks = len(asyncio.all_tasks())
        for number in range(1, 200):
            await wire.say(f'42{number}["work",{number}]')
        # Another client is served meanwhile, so all that could be read has been read.
        assert await other.ask("echo", 1) == [1]
        assert len(asyncio.all_tasks()) <= tasks + 1
        assert log == ["begin 0"]
        let_go.set()
        assert [await wire.hear() for _ in range(200)] == [f"43{n}[{n}]" for n in range(200)]
    assert log == [f"{step} {number}" for number in range(200) for step in ("begin", "end")]


# Handlers that fail


async def test_a_handler_that_fails_is_answered_once_and_logged_once_a_second(
    serve: Serve, base_url: str, metrics: Metrics
) -> None:
    server = await serve()

    async def fail(sid: str, argument: Any) -> None:
        raise RuntimeError("broken")

    server.on("fail", fail)
    with structlog.testing.capture_logs() as logs:
        async with open_wire(base_url) as wire:
            await joined(wire)
            for _ in range(50):
                assert await wire.ask("fail", "a secret payload") == [INTERNAL_ERROR]
            await wire.emit("fail", "a secret payload")
            assert await wire.ask("echo", 1) == [1]
    failures = [entry for entry in logs if entry["event"] == "event_handler_failed"]
    assert 1 <= len(failures) < 10
    assert failures[0]["subject"] == "fail"
    assert "secret" not in str(failures)
    refused = {"code": "internal_error"}
    assert metrics.registry.get_sample_value("gtower_events_refused_total", refused) == 51


@pytest.mark.parametrize(
    "answer", [object(), {1j: 2}, {"a": {object()}}], ids=["object", "key", "set"]
)
async def test_an_answer_that_json_cannot_say_is_a_fault_of_the_handler(
    serve: Serve, base_url: str, answer: Any
) -> None:
    server = await serve()

    async def fail(sid: str) -> Any:
        return answer

    server.on("fail", fail)
    async with open_wire(base_url) as wire:
        await joined(wire)
        assert await wire.ask("fail") == [INTERNAL_ERROR]
        assert await wire.ask("echo", 1) == [1]


ANSWERS = [
    (None, []),
    ((), []),
    (1, [1]),
    ((1, "two"), [1, "two"]),
    ([1, 2], [[1, 2]]),
    (False, [False]),
    ({"ok": True}, [{"ok": True}]),
]


@pytest.mark.parametrize(("answer", "acknowledged"), ANSWERS)
async def test_an_answer_is_the_acknowledgements_arguments(
    serve: Serve, base_url: str, answer: Any, acknowledged: list[Any]
) -> None:
    server = await serve()

    async def say(sid: str) -> Any:
        return answer

    server.on("say", say)
    async with open_wire(base_url) as wire:
        await joined(wire)
        assert await wire.ask("say") == acknowledged


async def test_a_disconnect_handler_that_fails_in_one_namespace_spares_the_other(
    serve: Serve, base_url: str
) -> None:
    server = await serve(namespaces=("/", "/other"))
    left = asyncio.Event()

    async def fail(sid: str, reason: str) -> None:
        raise RuntimeError("broken")

    server.on("disconnect", fail)
    server.on("disconnect", lambda sid, reason: left.set(), namespace="/other")
    async with open_wire(base_url) as wire:
        await joined(wire)
        await joined(wire, "/other,")
    await asyncio.wait_for(left.wait(), 10)
    assert list(server.manager.get_namespaces()) == []
    assert server.environ == {}


async def test_a_disconnect_handler_that_fails_spares_a_connection_that_stays(
    serve: Serve, base_url: str
) -> None:
    server = await serve(namespaces=("/", "/other"))

    async def fail(sid: str, reason: str) -> None:
        raise RuntimeError("broken")

    server.on("disconnect", fail, namespace="/other")
    async with open_wire(base_url) as wire:
        await joined(wire)
        await joined(wire, "/other,")
        await wire.say("41/other,")
        assert await wire.ask("echo", 1) == [1]


# Leaving the last namespace


async def test_a_client_that_has_left_its_last_namespace_must_connect_again_in_time(
    serve: Serve, base_url: str
) -> None:
    await serve(SessionLimits(connect_timeout=0.05))
    async with open_wire(base_url) as wire:
        await joined(wire)
        await wire.say("41")
        assert await wire.closing() == (4006, "no CONNECT in time")


async def test_a_client_that_comes_back_to_a_namespace_stays(serve: Serve, base_url: str) -> None:
    server = await serve(SessionLimits(connect_timeout=0.05))
    async with open_wire(base_url) as wire, open_wire(base_url) as stale:
        await joined(wire)
        await wire.say("41")
        client_id = await joined(wire)
        assert await stale.closing() == (4006, "no CONNECT in time")
        assert participants(server) == [client_id]
        assert await wire.ask("echo", 1) == [1]


async def test_the_budget_before_connect_counts_from_the_last_namespace_left(
    serve: Serve, base_url: str
) -> None:
    await serve(namespaces=("/", "/other"))
    large = "x" * 20_000
    async with open_wire(base_url) as wire:
        await joined(wire)
        await joined(wire, "/other,")
        await wire.say("41/other,")
        assert await wire.ask("echo", large) == [large]
        await wire.say("41")
        await wire.say(f'40{{"token":"{large}"}}')
        assert await wire.closing() == (4006, "too much before CONNECT")


# Acknowledgements of clients


async def test_an_acknowledgement_calls_what_waits_for_it_once(serve: Serve, base_url: str) -> None:
    server = await serve()
    answers: list[Any] = []

    async def answered(*arguments: Any) -> None:
        answers.append(arguments)

    async with open_wire(base_url) as wire, open_wire(base_url) as thief:
        client_id = await joined(wire)
        await joined(thief)
        await server.emit("question", 1, to=client_id, callback=answered)
        assert await wire.hear() == '421["question",1]'
        await thief.say('431["stolen"]')
        assert await thief.ask("echo", 1) == [1]
        for packet in ('437["unknown"]', '431["yes",2]', '431["again"]'):
            await wire.say(packet)
        assert await wire.ask("echo", 1) == [1]
    assert answers == [("yes", 2)]


async def test_an_acknowledgement_that_its_callback_cannot_take_harms_nobody(
    serve: Serve, base_url: str
) -> None:
    server = await serve()
    async with open_wire(base_url) as wire:
        client_id = await joined(wire)
        with structlog.testing.capture_logs() as logs:
            for number in range(1, 21):
                await server.emit("question", to=client_id, callback=lambda one: None)
                assert await wire.hear() == f'42{number}["question"]'
                await wire.say(f"43{number}[1,2,3]")
            assert await wire.ask("echo", 1) == [1]
    failures = [entry for entry in logs if entry["event"] == "acknowledgement_handler_failed"]
    assert 1 <= len(failures) < 10


async def test_a_client_that_never_acknowledges_takes_a_bounded_number_of_callbacks(
    serve: Serve, base_url: str
) -> None:
    server = await serve()
    answered: list[int] = []
    async with open_wire(base_url) as wire:
        client_id = await joined(wire)
        for number in range(1, 1502):
            await server.emit(
                "q", to=client_id, callback=lambda number=number: answered.append(number)
            )
            await wire.hear()
        for number in range(1, 1502):
            await wire.say(f"43{number}[]")
        assert await wire.ask("echo", 1) == [1]
    assert answered == list(range(502, 1502))


async def test_callbacks_are_forgotten_when_their_client_is_gone(
    serve: Serve, base_url: str
) -> None:
    server = await serve()
    left = asyncio.Event()
    server.on("disconnect", lambda sid, reason: left.set())
    async with open_wire(base_url) as wire:
        client_id = await joined(wire)
        answers = Answers()
        for _ in range(10):
            await server.emit("q", to=client_id, callback=answers.append)
        kept = weakref.ref(answers)
        del answers
        assert kept() is not None
    await asyncio.wait_for(left.wait(), 10)
    assert kept() is None


# Sending to nobody, and disconnecting


@pytest.mark.parametrize("nobody", ["", [], (), "no such room", ["no", "such"]])
async def test_an_empty_target_is_nobody_and_not_everybody(
    serve: Serve, base_url: str, nobody: Any
) -> None:
    server = await serve()
    async with open_wire(base_url) as wire:
        await joined(wire)
        await server.emit("wrong", to=nobody)
        await server.emit("wrong", room=nobody)
        await server.send("wrong", to=nobody)
        await server.emit("right")
        assert await wire.hear() == '42["right"]'


async def test_a_client_that_is_disconnected_for_good_is_told_and_then_closed(
    serve: Serve, base_url: str
) -> None:
    server = await serve(namespaces=("/", "/other"))
    reasons: list[str] = []
    server.on("disconnect", lambda sid, reason: reasons.append(reason), namespace="/other")
    async with open_wire(base_url) as wire:
        client_id = await joined(wire, "/other,")
        await server.emit("last", namespace="/other", to=client_id)
        await server.disconnect(client_id, namespace="/other")
        await server.emit("too late", namespace="/other", to=client_id)
        assert await wire.hear() == '42/other,["last"]'
        assert await wire.hear() == "41/other,"
        assert await wire.closing() == (4003, "disconnected by the server")
    assert reasons == ["server disconnect"]


async def test_disconnecting_who_is_not_there_is_silent(serve: Serve, base_url: str) -> None:
    server = await serve()
    await server.disconnect("nobody")
    server.close_client("nobody", 4200, "x")
    async with open_wire(base_url) as wire:
        await joined(wire)
        assert await wire.ask("echo", 1) == [1]


# Binary, where it is carried


async def test_a_server_that_carries_binary_gets_and_gives_it(serve: Serve, base_url: str) -> None:
    server = await serve(carries_binary=True)
    received: list[Any] = []

    async def take(sid: str, *arguments: Any) -> int:
        received.append(arguments)
        return len(arguments)

    server.on("take", take)
    async with open_wire(base_url) as wire:
        await joined(wire)
        await wire.say(
            '452-1["take",{"a":{"_placeholder":true,"num":1}},{"_placeholder":true,"num":0}]'
        )
        await wire.say(b"zero")
        await wire.say(b"one")
        assert await wire.acknowledgement(1) == [2]
    assert received == [({"a": b"one"}, b"zero")]


async def test_attachments_together_are_bounded_as_one_message(serve: Serve, base_url: str) -> None:
    await serve(SessionLimits(max_message_bytes=1000), carries_binary=True)
    placeholders = '{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}'
    async with open_wire(base_url) as wire:
        await joined(wire)
        await wire.say(f'452-1["echo",{placeholders}]')
        await wire.say(b"x" * 600)
        await wire.say(b"x" * 401)
        assert await wire.closing() == (1009, "message too big")
