"""The Python client against the server: each call, each refusal, and what retries are for."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from gtower_realtime.application import Application
from gtower_realtime.client import (
    AsyncRealtimeClient,
    Conflict,
    Forbidden,
    InvalidRequest,
    Publication,
    RealtimeClient,
    RealtimeClientError,
    RetryPolicy,
    ServerUnavailable,
    ServerUnreachable,
    Unauthorized,
    UnknownClient,
)
from gtower_realtime.client.answers import TracedClient
from gtower_realtime.errors import Overloaded
from gtower_realtime.http1.server import HttpServer
from tests.conftest import ConnectClient, ConnectedClient
from tests.server_process import ServerProcess
from tests.socketio_wire import open_wire
from tests.tcp_proxy import TcpProxy

pytestmark = pytest.mark.gen_test

NOTE: Any = {"type": "info", "title": "Order paid", "message": "Order 1042 has been paid."}
CHAT: Any = {"id": "m1", "senderId": "a7", "senderName": "Ana", "content": "Good morning!"}
AGAIN_AT_ONCE = RetryPolicy(tries=5, first_delay=0.01)
ONCE = RetryPolicy(tries=1)

Ask = Callable[..., Awaitable[Any]]


@pytest.fixture(params=["blocking", "asyncio"])
def client_for(request: pytest.FixtureRequest, io_loop: IOLoop) -> Iterator[Callable[..., Ask]]:
    """Give a function that makes a client, and returns what calls it by the name of a method.

    What a call goes through in pages comes as a list.
    """
    made: list[RealtimeClient | AsyncRealtimeClient] = []

    def blocking(url: str, **options: Any) -> Ask:
        client = RealtimeClient(url, **options)
        made.append(client)

        def call(name: str, *arguments: Any, **named: Any) -> Any:
            answer = getattr(client, name)(*arguments, **named)
            return list(answer) if name.startswith("iterate_") else answer

        async def ask(name: str, *arguments: Any, **named: Any) -> Any:
            return await asyncio.to_thread(call, name, *arguments, **named)

        return ask

    def asynchronous(url: str, **options: Any) -> Ask:
        client = AsyncRealtimeClient(url, **options)
        made.append(client)

        async def ask(name: str, *arguments: Any, **named: Any) -> Any:
            answer = getattr(client, name)(*arguments, **named)
            if name.startswith("iterate_"):
                return [item async for item in answer]
            return await answer

        return ask

    yield blocking if request.param == "blocking" else asynchronous

    async def close() -> None:
        for client in made:
            if isinstance(client, RealtimeClient):
                client.close()
            else:
                await client.close()

    io_loop.run_sync(close)


@pytest.fixture
def ask(base_url: str, http_server: HttpServer, client_for: Callable[..., Ask]) -> Ask:
    """Give what calls the server that listens at ``base_url``."""
    return client_for(base_url, retries=AGAIN_AT_ONCE)


async def member_of(connect_client: ConnectClient, room: str) -> ConnectedClient:
    """Return a client that is in a room."""
    client = await connect_client()
    await client.ask("joinRoom", room)
    await client.next_event("roomJoined")
    return client


async def refusal_of(kind: type[RealtimeClientError], answer: Awaitable[Any]) -> Any:
    """Return what a call raises, which must be of this very kind."""
    with pytest.raises(RealtimeClientError) as raised:
        await answer
    assert type(raised.value) is kind
    return raised.value


# Sending


@pytest.mark.parametrize(
    ("name", "arguments", "event", "said"),
    [
        ("notify_client", ("{id}", NOTE), "notification", "Notification sent to client {id}"),
        ("notify_room", ("sales", NOTE), "notification", "Notification sent to room sales"),
        (
            "broadcast_notification",
            (NOTE,),
            "notification",
            "Notification broadcasted to all clients",
        ),
        ("send_chat_to_client", ("{id}", CHAT), "chatMessage", "Chat message sent to client {id}"),
        ("send_chat_to_room", ("sales", CHAT), "chatMessage", "Chat message sent to room sales"),
        (
            "send_event_to_client",
            ("{id}", "tick", {"n": 1}),
            "tick",
            "Custom event 'tick' sent to client {id}",
        ),
        (
            "send_event_to_room",
            ("sales", "tick", {"n": 1}),
            "tick",
            "Custom event 'tick' sent to room sales",
        ),
        ("broadcast_event", ("tick",), "tick", "Custom event 'tick' broadcasted to all clients"),
        (
            "send_whatsapp_status",
            ("{id}", {"status": "online"}),
            "whatsappStatusUpdate",
            "WhatsApp status update sent to client {id}",
        ),
        (
            "send_whatsapp_message_update",
            ("{id}", {"wamid": "w1"}),
            "whatsappMessageUpdate",
            "WhatsApp message update sent to client {id}",
        ),
        (
            "send_conversation_update",
            ("{id}", {"state": "open"}),
            "conversationUpdate",
            "Conversation update sent to client {id}",
        ),
        ("publish", ("tick", {"n": 1}), "tick", "Event 'tick' published"),
    ],
)
async def test_what_is_sent_arrives(
    ask: Ask,
    connect_client: ConnectClient,
    name: str,
    arguments: tuple[Any, ...],
    event: str,
    said: str,
) -> None:
    client = await member_of(connect_client, "sales")
    given = [client.id if argument == "{id}" else argument for argument in arguments]
    named = {"rooms": ["sales"], "clients": [client.id]} if name == "publish" else {}
    receipt = await ask(name, *given, **named)
    assert receipt.message == said.format(id=client.id)
    assert (receipt.recipients, receipt.pending, receipt.is_replayed) == (1, 0, False)
    received = await client.next_event(event)
    body = given[-1] if isinstance(given[-1], dict) else {}
    assert {key: received[key] for key in body} == body


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("notify_user", (NOTE,), "Notification sent to user u/1"),
        ("send_chat_to_user", (CHAT,), "Chat message sent to user u/1"),
        ("send_event_to_user", ("tick",), "Custom event 'tick' sent to user u/1"),
    ],
)
async def test_what_is_for_a_user_who_is_not_there_is_a_success_too(
    ask: Ask, name: str, arguments: tuple[Any, ...], said: str
) -> None:
    receipt = await ask(name, "u/1", *arguments)
    assert (receipt.message, receipt.recipients) == (said, 0)


async def test_a_publish_tells_who_is_not_there_and_leaves_out_who_shall_not_have_it(
    ask: Ask, connect_client: ConnectClient
) -> None:
    ana, ben = await member_of(connect_client, "sales"), await member_of(connect_client, "sales")
    receipt = await ask(
        "publish",
        "tick",
        {"n": 1},
        rooms=["sales"],
        clients=["nobody"],
        excluding=[ben.id],
        ttl=60,
        id="tick-1",
    )
    assert (receipt.id, receipt.recipients) == ("tick-1", 1)
    assert receipt.unknown_clients == ("nobody",)
    assert (await ana.next_event("tick"))["n"] == 1
    again = await ask(
        "publish",
        "tick",
        {"n": 1},
        rooms=["sales"],
        clients=["nobody"],
        excluding=[ben.id],
        ttl=60,
        id="tick-1",
    )
    assert (again.is_replayed, again.offset) == (True, receipt.offset)
    volatile = await ask("publish", "tock", everyone=True, volatile=True)
    assert (volatile.recipients, volatile.offset) == (2, None)
    assert (await ben.next_event())["timestamp"]  # the very next is tock: no tick came before
    assert await ana.next_event("tock")


async def test_a_batch_has_an_outcome_for_each_event(ask: Ask) -> None:
    outcome = await ask(
        "publish_batch",
        [
            Publication(event="tick", rooms=["sales"], data={"n": 1}),
            Publication(event="connect", rooms=["sales"]),
            Publication(event="tick", users=["u1"], volatile=True),
        ],
    )
    assert outcome.success is False
    assert [outcome.results[0].message, outcome.results[2].offset] == [
        "Event 'tick' published",
        None,
    ]
    ((place, refused),) = outcome.refusals.items()
    assert (place, refused.code, refused.status) == (1, "reserved_event", None)


async def test_a_call_waits_for_acknowledgements(
    ask: Ask, base_url: str, connect_client: ConnectClient
) -> None:
    ana = await member_of(connect_client, "sales")
    async with open_wire(base_url) as silent:
        await silent.join()
        receipt = await ask("broadcast_event", "tick", ack_seconds=1)
        assert (receipt.acked, receipt.timed_out) == ((ana.id,), (silent.id,))
        assert receipt.disconnected == ()


# Asking


async def test_the_trace_tells_what_became_of_an_event(
    ask: Ask, connect_client: ConnectClient
) -> None:
    ann = await member_of(connect_client, "sales")
    eve = await connect_client()
    sent = await ask("send_event_to_room", "sales", "tick", {})
    trace = await ask("trace", sent.id)
    assert (trace.id, trace.offset, trace.recipients, trace.more) == (
        sent.id,
        sent.offset,
        1,
        False,
    )
    assert trace.clients == (TracedClient(ann.id, "written", None),)
    asked = await ask("trace", sent.id, client_id=eve.id)
    assert asked.clients == (TracedClient(eve.id, "not_matched", "not in the room"),)


async def test_the_reads_tell_who_is_where(ask: Ask, connect_client: ConnectClient) -> None:
    ana, ben = await member_of(connect_client, "sales"), await member_of(connect_client, "sales")
    assert (await ask("status")).connected_clients == 2
    assert (await ask("status")).status == "active"
    assert (await ask("readiness")).is_ready is True
    assert "gtower_" in await ask("metrics")
    page = await ask("clients")
    assert (page.partial, page.nodes_missing) == (False, ())
    clients = page.clients
    assert [client.id for client in clients] == [ana.id, ben.id]
    assert (clients[0].rooms, clients[0].transport, clients[0].ip) == (
        ("sales",),
        "websocket",
        "127.0.0.1",
    )
    assert datetime.now(UTC) - clients[0].connected_at < timedelta(minutes=5)
    rest = await ask("clients", after=ana.id, limit=1)
    assert [client.id for client in rest.clients] == [ben.id]
    assert [client.id for client in await ask("iterate_clients", page_size=1)] == [ana.id, ben.id]
    assert (await ask("client_status", ana.id)).connected is True
    assert (await ask("client_status", "nobody")).connected is False
    assert (await ask("user", "u1")).clients == ()
    summary = await ask("room", "sales")
    assert (summary.clients, summary.users) == (2, 0)
    presence = await ask("presence", "sales")
    assert (presence.room, presence.partial) == ("sales", False)
    assert [each.client_id for each in presence.clients] == [ana.id, ben.id]


async def test_rooms_are_read_in_pages(ask: Ask, connect_client: ConnectClient) -> None:
    client = await connect_client()
    for room in ("desk:1", "desk:2", "desk:3", "sales"):
        await client.ask("joinRoom", room)
    page = await ask("rooms", prefix="desk:", limit=2)
    assert [(each.room, each.clients) for each in page.rooms] == [("desk:1", 1), ("desk:2", 1)]
    assert page.next == "desk:2"
    every = await ask("iterate_rooms", prefix="desk:", page_size=2)
    assert [each.room for each in every] == ["desk:1", "desk:2", "desk:3"]


async def test_history_is_read_in_pages_and_deleted(ask: Ask) -> None:
    start = await ask("position", "sales")
    for n in range(5):
        await ask("send_event_to_room", "sales", "tick", {"n": n})
    page = await ask("history", "sales", after=start, limit=2)
    assert ([event.data["n"] for event in page.events], page.more) == ([0, 1], True)
    assert (page.events[0].event, page.events[0].timestamp.tzinfo) == ("tick", UTC)
    every = await ask("iterate_history", "sales", page_size=2)
    assert [event.data["n"] for event in every] == [0, 1, 2, 3, 4]
    after = every[3].offset
    assert [event.data["n"] for event in await ask("iterate_history", "sales", after=after)] == [4]
    assert await ask("delete_history", "sales") is None
    assert await ask("iterate_history", "sales") == []


async def test_analytics_are_read(ask: Ask) -> None:
    await ask("send_event_to_room", "sales", "tick")
    end = datetime.now(UTC) + timedelta(minutes=1)
    counted = await ask("analytics", start=end - timedelta(minutes=10), end=end)
    assert counted.step_seconds == 60
    assert sum(point.events.get("tick", 0) for point in counted.points) == 1


# Control


async def test_a_client_is_put_into_a_room_and_out_of_it_and_sent_away(
    ask: Ask, connect_client: ConnectClient
) -> None:
    client = await connect_client()
    await ask("put_into_room", client.id, "sales")
    assert (await client.next_event("roomJoined"))["room"] == "sales"
    await ask("take_out_of_room", client.id, "sales")
    assert (await client.next_event("roomLeft"))["room"] == "sales"
    cut = await ask("disconnect_client", client.id, reason="Gone home")
    assert (cut.connections, cut.partial) == (1, False)
    assert (await client.next_event("exception"))["message"] == "Gone home"
    assert (await ask("disconnect_user", "u1", reconnect=True)).connections == 0


# Refusals


async def test_a_wrong_body_is_refused_with_its_fields(ask: Ask) -> None:
    problem = await refusal_of(InvalidRequest, ask("notify_room", "sales", {"type": "loud"}))
    assert (problem.status, problem.code) == (400, "validation_error")
    assert problem.fields["title"] == ["Missing data for required field."]
    assert problem.request_id


async def test_a_body_that_is_too_large_is_refused_in_the_middle(ask: Ask) -> None:
    problem = await refusal_of(
        InvalidRequest, ask("broadcast_event", "tick", {"text": "x" * 11_000_000})
    )
    assert (problem.status, problem.code) == (413, "too_large")


async def test_a_client_that_is_not_there_is_a_refusal(ask: Ask) -> None:
    problem = await refusal_of(UnknownClient, ask("notify_client", "nobody", NOTE))
    assert (problem.status, problem.message) == (404, "Client nobody is not connected.")


async def test_a_key_of_another_request_is_refused(ask: Ask) -> None:
    first = await ask("broadcast_event", "tick", {"n": 1}, idempotency_key="k1")
    again = await ask("broadcast_event", "tick", {"n": 1}, idempotency_key="k1")
    assert (again.id, again.is_replayed) == (first.id, True)
    problem = await refusal_of(
        Conflict, ask("broadcast_event", "tick", {"n": 2}, idempotency_key="k1")
    )
    assert (problem.status, problem.code) == (422, "idempotency_mismatch")


async def test_a_key_of_a_request_at_work_is_refused_until_that_is_done(
    base_url: str, client_for: Callable[..., Ask], http_server: HttpServer
) -> None:
    ask = client_for(base_url, retries=AGAIN_AT_ONCE)
    ask_once = client_for(base_url, retries=ONCE)
    async with open_wire(base_url) as client:
        await client.join()
        first = asyncio.ensure_future(
            ask("broadcast_event", "tick", ack_seconds=60, idempotency_key="k1")
        )
        heard = await client.hear()
        assert heard is not None
        problem = await refusal_of(
            Conflict, ask_once("broadcast_event", "tick", ack_seconds=60, idempotency_key="k1")
        )
        assert (problem.status, problem.retryable) == (409, True)
    assert (await first).disconnected == (client.id,)


async def test_a_server_without_keys_that_is_not_there_is_unreachable(
    client_for: Callable[..., Ask], io_loop: IOLoop
) -> None:
    proxy = TcpProxy(1)
    await proxy.start()
    await proxy.stop()
    ask = client_for(f"http://127.0.0.1:{proxy.port}", retries=AGAIN_AT_ONCE)
    problem = await refusal_of(ServerUnreachable, ask("status"))
    assert (problem.status, problem.code, problem.retryable) == (None, "unreachable", True)


# Retries


async def test_a_refusal_that_passes_is_not_noticed(
    ask: Ask, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = [Overloaded("There is no room."), Overloaded("There is no room.")]
    monkeypatch.setattr(
        application.service, "refusal_of_new_work", lambda: refusals.pop() if refusals else None
    )
    assert (await ask("send_event_to_room", "sales", "tick")).recipients == 0
    assert refusals == []


async def test_a_server_that_goes_down_refuses_to_the_end(
    base_url: str, client_for: Callable[..., Ask], application: Application, http_server: HttpServer
) -> None:
    application.service.drain(0)
    ask = client_for(base_url, retries=ONCE)
    problem = await refusal_of(ServerUnavailable, ask("broadcast_event", "tick"))
    assert (problem.status, problem.code, problem.retry_after) == (503, "draining", 1.0)
    assert (await ask("readiness")).failing == ("draining",)


async def test_an_answer_that_is_lost_on_the_way_does_not_send_twice(
    tmp_path: Path, client_for: Callable[..., Ask]
) -> None:
    server = ServerProcess({"GTOWER_STATE_DIR": str(tmp_path)})
    await server.start()
    proxy = TcpProxy(server.port)
    await proxy.start()
    try:
        ask = client_for(f"http://127.0.0.1:{proxy.port}", retries=AGAIN_AT_ONCE)
        proxy.answers_to_drop = 2
        receipt = await ask("send_event_to_room", "sales", "tick", {"n": 1})
        assert (receipt.is_replayed, proxy.answers_to_drop) == (True, 0)
        proxy.answers_to_drop = 1
        batch = await ask("publish_batch", [Publication(event="tock", rooms=["sales"])])
        assert batch.results[0].is_replayed is True
        history = await ask("iterate_history", "sales")
        assert [(event.event, event.id) for event in history] == [
            ("tick", receipt.id),
            ("tock", batch.results[0].id),
        ]
    finally:
        await proxy.stop()
        await server.stop()


async def test_a_disconnect_whose_answer_is_lost_is_not_repeated(
    base_url: str,
    client_for: Callable[..., Ask],
    connect_client: ConnectClient,
    http_server: HttpServer,
) -> None:
    client = await connect_client()
    proxy = TcpProxy(int(base_url.rpartition(":")[2]))
    await proxy.start()
    ask = client_for(f"http://127.0.0.1:{proxy.port}", retries=AGAIN_AT_ONCE)
    proxy.answers_to_drop = 1
    problem = await refusal_of(ServerUnreachable, ask("disconnect_client", client.id))
    assert (problem.retryable, problem.idempotency_key) == (True, None)
    assert (await ask("client_status", client.id)).connected is False
    await proxy.stop()


async def test_a_server_that_is_started_again_meanwhile_gets_the_event_once(
    tmp_path: Path, client_for: Callable[..., Ask]
) -> None:
    server = ServerProcess({"GTOWER_STATE_DIR": str(tmp_path)})
    await server.start()
    patient = RetryPolicy(tries=1000, first_delay=0.05, longest_delay=0.05)
    ask = client_for(server.url, retries=patient)
    try:
        await ask("send_event_to_room", "sales", "tick", {"n": 1})
        await server.kill()
        sent = asyncio.ensure_future(ask("send_event_to_room", "sales", "tick", {"n": 2}))
        await server.start()
        await sent
        assert [event.data["n"] for event in await ask("iterate_history", "sales")] == [1, 2]
    finally:
        await server.stop()


async def test_a_server_on_a_unix_socket_is_reached(
    tmp_path: Path, client_for: Callable[..., Ask]
) -> None:
    path = tmp_path / "gtower.sock"
    server = ServerProcess({"GTOWER_STATE_DIR": str(tmp_path), "GTOWER_HOST": f"unix:{path}"})
    await server.start()
    try:
        assert (await client_for(f"unix:{path}")("status")).connected_clients == 0
    finally:
        await server.stop()


async def test_connections_are_kept_for_the_next_call(
    base_url: str, client_for: Callable[..., Ask], http_server: HttpServer
) -> None:
    proxy = TcpProxy(int(base_url.rpartition(":")[2]))
    await proxy.start()
    ask = client_for(f"http://127.0.0.1:{proxy.port}")
    for _ in range(5):
        await ask("status")
    assert proxy.cut() == 2  # both ends of one connection
    await proxy.stop()


async def test_a_server_that_does_not_answer_in_time_is_unreachable(
    base_url: str, client_for: Callable[..., Ask], http_server: HttpServer
) -> None:
    proxy = TcpProxy(int(base_url.rpartition(":")[2]))
    await proxy.start()
    proxy.stall()
    ask = client_for(f"http://127.0.0.1:{proxy.port}", timeout=0.1, retries=ONCE)
    problem = await refusal_of(ServerUnreachable, ask("status"))
    assert problem.code == "timeout"
    await proxy.stop()


# Keys


class TestKeys:
    """With API keys in force."""

    PUBLISHER, LIMITED = "p" * 30, "l" * 30

    @pytest.fixture
    def environ(self) -> dict[str, str]:
        return {
            "GTOWER_API_KEYS": f"shop:publish+read:{self.PUBLISHER},"
            f"bot:publish+read:{self.LIMITED}:desk:",
            "GTOWER_RATE_API": "1/3",
        }

    async def test_a_call_without_a_key_or_with_a_wrong_one_is_refused(
        self, base_url: str, client_for: Callable[..., Ask], http_server: HttpServer
    ) -> None:
        for options in ({}, {"api_key": "w" * 30}):
            problem = await refusal_of(Unauthorized, client_for(base_url, **options)("status"))
            assert (problem.status, problem.code) == (401, "unauthorized")
        assert (await client_for(base_url)("readiness")).is_ready is True

    async def test_a_key_that_may_not_is_refused(
        self, base_url: str, client_for: Callable[..., Ask], http_server: HttpServer
    ) -> None:
        problem = await refusal_of(
            Forbidden, client_for(base_url, api_key=self.PUBLISHER)("delete_history", "sales")
        )
        assert (problem.status, problem.code) == (403, "forbidden")
        bot = client_for(base_url, api_key=self.LIMITED)
        await refusal_of(Forbidden, bot("send_event_to_room", "sales", "tick"))
        assert (await bot("send_event_to_room", "desk:1", "tick")).recipients == 0

    async def test_who_asks_too_much_waits_as_long_as_the_server_says(
        self, base_url: str, client_for: Callable[..., Ask], http_server: HttpServer
    ) -> None:
        ask = client_for(base_url, api_key=self.PUBLISHER, retries=AGAIN_AT_ONCE)
        for _ in range(4):
            assert (await ask("status")).status == "active"
