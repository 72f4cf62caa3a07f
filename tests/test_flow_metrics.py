"""What a scrape of a whole server says after traffic that is known to the last event."""

import asyncio
import json
import platform
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPResponse

from gtower_realtime import __version__, errors
from gtower_realtime.application import Application
from gtower_realtime.errors import RealtimeError
from gtower_realtime.events.client import CLIENT_EVENTS
from gtower_realtime.events.server import SERVER_EVENTS
from handlers import api, openapi, pages
from tests.exposition import Exposition, scrape
from tests.socketio_wire import Wire, open_client, open_wire
from tests.test_flow_logs import TOKEN_SECRET, a_token
from tests.wire import EngineIOClient, until

pytestmark = [pytest.mark.gen_test, pytest.mark.usefixtures("http_server")]

NOTICE = {"type": "info", "title": "t", "message": "m"}
STATIC = Path(__file__).parent.parent / "static"
HOSTILE = 'evil"}\n gtower_clients 9'


async def fetch(
    base_url: str, path: str, body: Any = None, method: str | None = None
) -> HTTPResponse:
    """Ask for a path, with POST if there is a body; return the answer, whatever its status."""
    method = method or ("GET" if body is None else "POST")
    return await AsyncHTTPClient().fetch(
        base_url + path,
        method=method,
        body=None if body is None else json.dumps(body),
        headers={"Content-Type": "application/json"},
        raise_error=False,
        allow_nonstandard_methods=True,
    )


async def come_back(base_url: str, pid: str, offset: str) -> Any:
    """Connect as who comes back; return what `connected` says."""
    async with open_wire(base_url) as wire:
        _, connected = await wire.join(payload={"pid": pid, "offset": offset})
        return connected


async def cut_off(application: Application, base_url: str) -> tuple[str, str]:
    """Connect and lose the connection; return the secret and the offset to come back with."""
    async with open_wire(base_url) as wire:
        await wire.say("40")
        answer = json.loads((await wire.hear() or "").removeprefix("40"))
        connected = json.loads((await wire.hear() or "").removeprefix("42"))
        wire.cut()
        await until(lambda: answer["sid"] not in application.clients)
        return answer["pid"], connected[2]


async def test_the_population_and_what_it_has_sent(base_url: str) -> None:
    async with open_client(base_url) as first, open_client(base_url) as second:
        for room in ("sales", "support"):
            await first.ask("joinRoom", room)
        await second.ask("joinRoom", "sales")
        await second.ask("message", "hello")
        await second.ask("joinRoom", "")
        seen = await scrape(base_url)
    assert {
        name: seen(name)
        for name in ("clients", "users", "rooms", "room_members", "sessions", "sessions_away")
    } == {
        "clients": 2,
        "users": 0,
        "rooms": 2,
        "room_members": 3,
        "sessions": 2,
        "sessions_away": 0,
    }
    assert seen.by("connections", "transport") == {"polling": 0, "websocket": 2}
    assert seen.by("connections_accepted_total", "transport") == {"polling": 0, "websocket": 2}
    assert seen.by("events_received_total", "event") == {"joinRoom": 4, "message": 1}
    assert seen.by("events_refused_total", "code") == {"validation_error": 1}
    assert seen.by("events_published_total", "event") == {"messageBroadcast": 1}
    assert seen("deliveries_total") == 1


class TestUsers:
    @pytest.fixture
    def environ(self) -> dict[str, str]:
        return {"GTOWER_JWT_SECRET": TOKEN_SECRET}

    async def test_users_count_once_and_their_own_rooms_not_at_all(
        self, application: Application, base_url: str
    ) -> None:
        async with AsyncExitStack() as stack:
            wires = []
            for user_id in ("ann", "ann", "bob"):
                wire = await stack.enter_async_context(open_wire(base_url))
                await wire.join(payload={"token": a_token(user_id)})
                await wire.ask("joinRoom", "sales")
                wires.append(wire)
            assert await population(base_url) == {
                "clients": 3,
                "users": 2,
                "rooms": 1,
                "room_members": 3,
            }
            wires[0].close()
            await until(lambda: wires[0].id not in application.clients)
            assert await population(base_url) == {
                "clients": 2,
                "users": 2,
                "rooms": 1,
                "room_members": 2,
            }
            for wire in wires[1:]:
                wire.cut()
            await until(lambda: not len(application.clients))
            assert await population(base_url) == {
                "clients": 0,
                "users": 0,
                "rooms": 0,
                "room_members": 0,
            }


async def population(base_url: str) -> dict[str, float]:
    seen = await scrape(base_url)
    return {name: seen(name) for name in ("clients", "users", "rooms", "room_members")}


async def test_requests_their_time_and_what_became_of_the_events(base_url: str) -> None:
    async with open_client(base_url) as client:
        await client.ask("joinRoom", "sales")
        for _ in range(3):
            await fetch(base_url, "/websocket/notify/room/sales", NOTICE)
        await fetch(base_url, "/websocket/event/broadcast/ping", {})
        await fetch(base_url, "/websocket/notify/room/sales", {"type": "odd"})
        seen = await scrape(base_url)
    route = "/websocket/notify/room/:roomName"
    assert seen("http_requests_total", route=route, status="201") == 3
    assert seen("http_requests_total", route=route, status="400") == 1
    assert seen("http_request_duration_seconds_count", route=route) == 4
    assert 0 < seen("http_request_duration_seconds_sum", route=route) < 60
    assert seen.by("http_refused_total", "code") == {"validation_error": 1}
    assert seen.by("events_published_total", "event") == {"notification": 3, "custom": 1}
    assert seen("deliveries_total") == 4
    assert seen("publish_duration_seconds_count") == 4
    assert 0 < seen("publish_duration_seconds_sum") < 60
    # The session, its room and four events, some of them perhaps together.
    assert 4 <= seen("store_commit_duration_seconds_count") <= 6
    assert seen("store_queue_length") == 0


async def test_bytes_of_a_websocket_are_counted_to_the_last_one(
    application: Application, base_url: str
) -> None:
    async with open_client(base_url) as first, open_client(base_url):
        before = await scrape(base_url)
        await first.ask("joinRoom", "sales")
        texts = ['42["roomJoined",{"room":"sales","timestamp":"2026-11-23T12:28:18.953Z"}]']
        texts.append('431[{"ok":true,"room":"sales"}]')
        after = await scrape(base_url)
    said = len('421["joinRoom", "sales"]')
    # A client's frames have a mask of four bytes; both have two bytes of header, below 126.
    assert change("received_bytes_total", before, after, protocol="websocket") == said + 6
    assert change("sent_bytes_total", before, after, protocol="websocket") == sum(
        len(text) + 2 for text in texts
    )
    assert change("received_bytes_total", before, after, protocol="http") > 0
    assert change("sent_bytes_total", before, after, protocol="http") > 5000


def change(name: str, before: Exposition, after: Exposition, **labels: str) -> float:
    return after(name, **labels) - before(name, **labels)


async def test_how_returns_end(application: Application, base_url: str) -> None:
    pid, offset = await cut_off(application, base_url)
    assert (await scrape(base_url))("sessions_away") == 1
    assert (await come_back(base_url, pid, offset))["recovered"] is True
    assert (await come_back(base_url, "nobody", offset))["reason"] == "expired"
    pid, offset = await cut_off(application, base_url)
    assert (await come_back(base_url, pid, "other-1"))["reason"] == "epoch_changed"
    pid, offset = await cut_off(application, base_url)
    beyond = f"{offset.partition('-')[0]}-999"
    assert (await come_back(base_url, pid, beyond))["reason"] == "gap"
    pid, offset = await cut_off(application, base_url)
    for number in range(301):
        await application.service.broadcast_event("tick", {"n": number})
    assert (await come_back(base_url, pid, offset))["reason"] == "too_much"
    async with open_wire(base_url) as wire:
        await wire.say("40")
        answer = json.loads((await wire.hear() or "").removeprefix("40"))
        await fetch(base_url, f"/websocket/clients/{answer['sid']}/disconnect", {})
        assert (await come_back(base_url, answer["pid"], offset))["reason"] == "revoked"
    assert (await scrape(base_url)).by("recoveries_total", "outcome") == {
        "recovered": 1,
        "expired": 1,
        "epoch_changed": 1,
        "gap": 1,
        "too_much": 1,
        "revoked": 1,
    }


async def test_what_waits_for_a_polling_client(base_url: str, http_port: int) -> None:
    polling = EngineIOClient(http_port)
    await polling.connect()
    await application_event(base_url, "x" * 5000)
    seen = await scrape(base_url)
    assert seen.by("connections", "transport") == {"polling": 1, "websocket": 0}
    assert seen.by("connections_accepted_total", "transport") == {"polling": 1, "websocket": 0}
    assert 5000 < seen("client_buffer_bytes") < 5500
    await polling.poll()
    seen = await scrape(base_url)
    assert (seen("slow_clients"), seen("client_buffer_bytes")) == (0, 0)
    await polling.post("1")


async def application_event(base_url: str, text: str) -> None:
    await fetch(base_url, "/websocket/event/broadcast/long", {"text": text})


async def test_a_client_that_does_not_read_shows_as_slow_and_then_as_closed(
    application: Application, base_url: str, http_port: int
) -> None:
    async with await EngineIOClient(http_port).connected_websocket(receive_buffer=4096) as slow:
        slow.stop_reading()
        seen = await scrape(base_url)
        while not seen("slow_clients"):
            await application_event(base_url, "x" * 100_000)
            seen = await scrape(base_url)
        assert 0 < seen("client_buffer_bytes") == seen("client_buffer_max_bytes") < 1_200_000
        assert seen("disconnects_total", code="4102") == 0
        while seen("clients"):
            await application_event(base_url, "x" * 100_000)
            seen = await scrape(base_url)
        await slow.vanish()
        value = application.metrics.registry.get_sample_value
        await until(lambda: value("gtower_disconnects_total", {"code": "4102"}) == 1)
    seen = await scrape(base_url)
    assert (seen("slow_clients"), seen("client_buffer_bytes")) == (0, 0)


async def test_what_runs_and_how_it_is(base_url: str) -> None:
    seen = await scrape(base_url)
    assert seen("build_info", version=__version__, python=platform.python_version()) == 1
    assert seen("process_resident_memory_bytes") > 10_000_000
    assert seen("process_open_fds") > 3
    assert 1 <= seen("tasks") < 50
    assert seen("store_failing") == 0


async def test_how_late_the_loop_is_is_sampled(application: Application, base_url: str) -> None:
    value = application.metrics.registry.get_sample_value
    await until(lambda: (value("gtower_loop_lag_seconds_count") or 0) >= 2)


async def test_no_label_ever_takes_a_value_from_outside(base_url: str, http_port: int) -> None:
    """Say hostile names wherever a name can be said; the labels are those of the tables."""
    name = quote(HOSTILE, safe="")
    async with open_client(base_url) as client:
        await say_hostile_names(client)
        for path in (
            f"/websocket/event/broadcast/{name}",
            f"/websocket/event/broadcast/{quote('evil name')}",
            f"/websocket/notify/room/{name}",
            f"/websocket/chat/client/{quote('evil')}",
            f"/{name}",
            "/metrics/evil",
        ):
            await fetch(base_url, path, NOTICE)
        await fetch(base_url, "/websocket/clients/evil/status")
        await fetch(base_url, "/websocket/status", method="EVIL")
        publish = {"event": "evil", "data": {}, "rooms": ["evil"]}
        await fetch(base_url, "/websocket/publish", publish)
    for query in ("EIO=evil", "EIO=4&transport=evil", "EIO=4&transport=polling&sid=evil"):
        await fetch(base_url, f"/socket.io/?{query}")
    async with open_wire(base_url) as wire:
        await wire.say("40/evil,")
        assert "Invalid namespace" in (await wire.hear() or "")
    async with open_wire(base_url) as wire:
        await wire.say("evil")
        await wire.closing()

    answer = await fetch(base_url, "/metrics")
    assert "evil" not in answer.body.decode()
    found: dict[str, set[str]] = {}
    for _, labels in (await scrape(base_url)).samples:
        for label, value in labels:
            found.setdefault(label, set()).add(value)
    codes = {each.code for each in vars(errors).values() if is_refusal(each)}
    endpoints = api.routes()
    tables = [*endpoints, *openapi.routes(endpoints), *pages.routes(STATIC)]
    assert found["route"] <= {route.path for route in tables} | {"/socket.io/", "(none)"}
    assert found["event"] <= {*CLIENT_EVENTS, *SERVER_EVENTS, "custom"}
    assert {code for code in found["code"] if not code.isdigit()} <= codes
    assert {code for code in found["code"] if code.isdigit()} <= {"1000", "1002", "4102"}
    assert found["transport"] == {"polling", "websocket"}
    assert found["reason"] <= {
        "transport_unknown",
        "session_id_unknown",
        "unsupported_protocol_version",
    }


def is_refusal(each: object) -> bool:
    return isinstance(each, type) and issubclass(each, RealtimeError)


async def say_hostile_names(client: Wire) -> None:
    for event, *arguments in (
        [HOSTILE],
        ["evil"],
        ["joinRoom", HOSTILE],
        ["joinRoom", "evil"],
        ["roomMessage", {"room": "evil", "message": {"type": "evil"}}],
        ["message", {"type": HOSTILE[:60]}],
        ["leaveRoom", {"evil": 1}],
    ):
        await asyncio.wait_for(client.ask(event, *arguments), 20)
