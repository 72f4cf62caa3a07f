"""The shape of the fan-out, by counting, and the order of each client, whatever happens to it."""

import asyncio
from typing import Any

import pytest

from gtower_realtime.application import Application
from gtower_realtime.engineio.session import Session
from gtower_realtime.engineio.websocket import WebSocketConnection
from gtower_realtime.gateway import transport
from gtower_realtime.http1.server import HttpServer
from gtower_realtime.ports import Target
from tests.conftest import ConnectClient, ConnectedClient
from tests.javascript_client import javascript_client

pytestmark = pytest.mark.gen_test

CLIENTS = 12


async def test_an_event_is_encoded_once_and_takes_no_task(
    application: Application,
    connect_client: ConnectClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clients = [await connect_client() for _ in range(CLIENTS)]
    for client in clients:
        await client.ask("joinRoom", "sales")
    encoded: list[str] = []
    encode = transport.encode_event

    def count(namespace: str, event: str, body: str, offset: str | None = None) -> str:
        encoded.append(event)
        return encode(namespace, event, body, offset)

    monkeypatch.setattr(transport, "encode_event", count)
    ours: list[str] = []

    def note_task(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> Any:
        if "gtower_realtime" in work.cr_code.co_filename:
            ours.append(work.__qualname__)
        return asyncio.Task(work, loop=loop, **options)

    asyncio.get_running_loop().set_task_factory(note_task)
    for target in (Target.all(), Target.room("sales"), Target(rooms=("sales",), users=("u1",))):
        encoded.clear()
        receipt = await application.service.send("tick", {}, target)
        assert receipt.recipients == CLIENTS
        assert encoded == ["tick"]
    for client in clients:
        assert len([await client.next_event("tick") for _ in range(3)]) == 3
    assert ours == []


async def test_what_one_turn_has_for_a_client_is_one_write(
    application: Application, connect_client: ConnectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = [await connect_client() for _ in range(CLIENTS)]
    for client in clients:
        await client.ask("joinRoom", "sales")
    written: dict[Session, list[int]] = {}
    for session in application.socketio.eio.sessions.values():
        assert isinstance(session.output, WebSocketConnection)
        sizes = written[session] = []

        def write(content: bytes, sizes: list[int] = sizes, session: Session = session) -> int:
            sizes.append(len(content))
            sent: int = session.output._write(content)  # type: ignore[attr-defined]
            return sent

        session.write = write
    sent = [
        application.service.begin_send("tick", {"n": n}, target)
        for n, target in enumerate([Target.all(), Target.room("sales"), Target.all()] * 5)
    ]
    await asyncio.gather(*sent)
    for client in clients:
        assert [(await client.next_event("tick"))["n"] for _ in range(15)] == list(range(15))
    assert {len(sizes) for sizes in written.values()} == {1}


async def test_leaving_touches_the_rooms_of_the_client_only(
    application: Application, connect_client: ConnectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, ben = await connect_client(), await connect_client()
    for number in range(30):
        await ann.ask("joinRoom", f"room-{number}")
    await ben.ask("joinRoom", "room-7")
    index = application.socketio.manager.index
    touched: list[str] = []
    drop = index._drop

    def count(client_id: str, audience: Any, room: str) -> None:
        touched.append(room)
        drop(client_id, audience, room)

    monkeypatch.setattr(index, "_drop", count)
    await ben.socket.disconnect()
    await ann.next_event("clientLeft")
    assert touched == ["room-7"]


# Order


async def say_everything(application: Application, count: int) -> None:
    """Publish numbered events of all kinds: to all, to a room, volatile ones, without waiting."""
    service = application.service
    for number in range(count):
        target = Target.room("desk") if number % 3 == 1 else Target.all()
        await service.send("tick", {"n": number}, target)
        await asyncio.sleep(0)


async def numbers(client: ConnectedClient, last: int) -> list[int]:
    """Return the numbers of all ticks and acknowledgements up to ``last``."""
    received: list[int] = []
    while not received or received[-1] != last:
        received.append((await client.next_event("tick"))["n"])
    return received


async def test_events_of_all_kinds_keep_their_order_while_others_come_and_go(
    application: Application, connect_client: ConnectClient
) -> None:
    steady = await connect_client()
    polling = await connect_client("polling")
    for client in (steady, polling):
        await client.ask("joinRoom", "desk")
    saying = asyncio.ensure_future(say_everything(application, 300))
    answers = []
    for number in range(40):
        answers.append(await steady.ask("roomMessage", {"room": "nowhere", "message": number}))
        if number % 10 == 0:
            passing = await connect_client()
            await passing.ask("joinRoom", "desk")
            await passing.socket.disconnect()
    await saying
    assert await numbers(steady, 299) == list(range(300))
    assert await numbers(polling, 299) == list(range(300))
    offsets = [int(answer["offset"].rpartition("-")[2], 16) for answer in answers]
    assert offsets == sorted(set(offsets))


async def test_the_stock_client_gets_everything_in_order_while_it_upgrades(
    application: Application, http_server: HttpServer, base_url: str, node: str
) -> None:
    async with javascript_client(node) as client:
        await client.connect(base_url)
        saying = asyncio.ensure_future(say_everything(application, 200))
        received: list[int] = []
        while not received or received[-1] != 198:
            _, (tick, *_) = await client.next_event("tick")
            received.append(tick["n"])
        await saying
        assert received == [n for n in range(200) if n % 3 != 1]
        assert client.transports == ["polling", "websocket"]
