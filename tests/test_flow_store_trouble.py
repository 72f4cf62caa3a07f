"""A store that fails while the server serves: the truth to everybody, and back by itself."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop

from gtower_realtime.application import Application
from gtower_realtime.errors import StoreUnavailable
from gtower_realtime.settings import Settings
from tests.conftest import ConnectClient
from tests.fakes import FakeStore

pytestmark = pytest.mark.gen_test

Ask = Callable[..., Awaitable[HTTPResponse]]


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def application(io_loop: IOLoop, store: FakeStore) -> Application:
    return Application(Settings.load({}), store=store)


@pytest.fixture
def ask(http_server: HTTPServer, base_url: str) -> Ask:
    async def ask(path: str, body: object = None) -> HTTPResponse:
        return await AsyncHTTPClient().fetch(
            base_url + path,
            method="GET" if body is None else "POST",
            body=None if body is None else json.dumps(body),
            headers={"Content-Type": "application/json"},
            raise_error=False,
        )

    return ask


async def works_again(store: FakeStore, ask: Ask) -> None:
    """Mend the store and wait until the server has noticed, without anybody sending anything."""
    store.problem = None
    store.asked.clear()
    await store.asked.wait()
    while (await ask("/readyz")).code != 200:
        continue


async def test_a_trigger_is_refused_and_nobody_sees_its_event(
    store: FakeStore, ask: Ask, connect_client: ConnectClient
) -> None:
    client = await connect_client()
    store.problem = StoreUnavailable("The disk is full.")
    refused = await ask("/websocket/event/broadcast/tick", {"n": 1})
    await works_again(store, ask)
    accepted = await ask("/websocket/event/broadcast/tick", {"n": 2})
    assert (refused.code, refused.headers["Retry-After"]) == (503, "1")
    assert json.loads(refused.body)["error"] == {
        "code": "store_unavailable",
        "message": "The disk is full.",
        "retryable": True,
    }
    assert accepted.code == 201
    assert (await client.next_event("tick"))["n"] == 2


async def test_readiness_and_status_tell_of_it(store: FakeStore, ask: Ask) -> None:
    store.problem = StoreUnavailable("The disk is full.")
    await ask("/websocket/event/broadcast/tick", {"n": 1})
    ready, healthy, status = [
        await ask(path) for path in ("/readyz", "/healthz", "/websocket/status")
    ]
    assert (ready.code, json.loads(ready.body)["failing"]) == (503, ["store"])
    assert healthy.code == 200
    assert json.loads(status.body)["status"] == "degraded"
    assert b"gtower_store_failing 1.0" in (await ask("/metrics")).body
    await works_again(store, ask)
    assert b"gtower_store_failing 0.0" in (await ask("/metrics")).body
    assert json.loads((await ask("/websocket/status")).body)["status"] == "active"


async def test_a_client_is_told_and_stays(
    store: FakeStore, ask: Ask, connect_client: ConnectClient
) -> None:
    client = await connect_client()
    store.problem = StoreUnavailable("The disk is full.")
    said: dict[str, Any] = await client.ask("message", "hello")
    await works_again(store, ask)
    again = await client.ask("message", "hello")
    assert (said["ok"], said["error"]["code"], said["error"]["retryable"]) == (
        False,
        "store_unavailable",
        True,
    )
    assert again["ok"] is True


async def test_new_connections_are_asked_to_come_later(store: FakeStore, ask: Ask) -> None:
    store.problem = StoreUnavailable("The disk is full.")
    await ask("/websocket/event/broadcast/tick", {"n": 1})
    refused = await ask("/socket.io/?EIO=4&transport=polling")
    await works_again(store, ask)
    accepted = await ask("/socket.io/?EIO=4&transport=polling")
    assert (refused.code, refused.headers["Retry-After"]) == (503, "1")
    assert json.loads(refused.body)["error"]["code"] == "store_unavailable"
    assert accepted.code == 200


async def test_a_store_that_hangs_holds_up_nobody_but_who_waits_for_it(
    store: FakeStore, ask: Ask
) -> None:
    store.hold()
    waiting = asyncio.ensure_future(ask("/websocket/event/broadcast/tick", {"n": 1}))
    await store.asked.wait()
    assert (await ask("/websocket/status")).code == 200
    assert not waiting.done()
    store.let()
    assert (await waiting).code == 201
