"""What HTTP answers beside the tables: methods, headers, connections, pages, the client bundle."""

import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.httpserver import HTTPServer

from gtower_realtime.application import Application
from tests.socketio_wire import open_client

pytestmark = [pytest.mark.gen_test, pytest.mark.usefixtures("http_server")]

NOTICE = {"type": "info", "title": "t", "message": "m"}

PAGES = ["/", "/websocket-client-example.html"]
BUNDLE = [
    "/socket.io/socket.io.js",
    "/socket.io/socket.io.js.map",
    "/socket.io/socket.io.min.js",
    "/socket.io/socket.io.min.js.map",
    "/socket.io/socket.io.esm.min.js",
    "/socket.io/socket.io.esm.min.js.map",
]


async def fetch(
    url: str, method: str = "GET", content: bytes | None = None, **headers: str
) -> HTTPResponse:
    """Ask, and return whatever is answered."""
    return await AsyncHTTPClient().fetch(
        url,
        method=method,
        body=content,
        headers=headers,
        raise_error=False,
        follow_redirects=False,
        allow_nonstandard_methods=True,
    )


# Pages and the client bundle


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_carries_the_headers_that_protect_it(base_url: str, path: str) -> None:
    answer = await fetch(base_url + path)
    assert answer.code == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    policy = answer.headers["Content-Security-Policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"} <= set(policy)
    assert not any("unsafe" in directive for directive in policy)
    assert "Server" not in answer.headers


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_that_has_not_changed_is_not_sent_again(base_url: str, path: str) -> None:
    first = await fetch(base_url + path)
    again = await fetch(base_url + path, **{"If-None-Match": first.headers["Etag"]})
    assert (again.code, again.body) == (304, b"")


@pytest.mark.parametrize("path", BUNDLE)
async def test_the_client_bundle_is_served_as_nodes_server_does(base_url: str, path: str) -> None:
    answer = await fetch(base_url + path)
    assert answer.code == 200, answer.body
    kind = "application/json" if path.endswith(".map") else "text/javascript"
    assert answer.headers["Content-Type"] == f"{kind}; charset=utf-8"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert len(answer.body) > 10_000


@pytest.mark.parametrize("path", ["/..%2Frun.py", "/page/../../run.py", "/vendor/../run.py"])
async def test_no_file_outside_of_the_pages_is_served(base_url: str, path: str) -> None:
    assert (await fetch(base_url + path)).code == 404


# Methods


@pytest.mark.parametrize("path", ["/", "/websocket/status", "/websocket/clients", "/healthz"])
async def test_head_answers_as_get_without_the_body(base_url: str, path: str) -> None:
    head, get = await fetch(base_url + path, "HEAD"), await fetch(base_url + path)
    assert (head.code, head.body) == (200, b"")
    assert head.headers["Content-Type"] == get.headers["Content-Type"]


async def test_head_of_a_trigger_is_not_allowed(base_url: str) -> None:
    answer = await fetch(f"{base_url}/websocket/notify/broadcast", "HEAD")
    assert (answer.code, answer.headers["Allow"]) == (405, "POST, OPTIONS")


@pytest.mark.parametrize("method", ["BREW", "TRACE", "PROPFIND"])
async def test_a_method_that_nobody_knows_is_not_allowed(base_url: str, method: str) -> None:
    answer = await fetch(f"{base_url}/websocket/status", method)
    assert (answer.code, json.loads(answer.body)["error"]["code"]) == (405, "method_not_allowed")


@pytest.mark.parametrize("method", ["GET", "DELETE", "BREW"])
async def test_what_is_not_there_is_not_found_by_any_method(base_url: str, method: str) -> None:
    answer = await fetch(f"{base_url}/nowhere", method)
    assert (answer.code, json.loads(answer.body)["error"]["code"]) == (404, "not_found")


# Metrics


async def test_metrics_count_requests_by_route_never_by_path(base_url: str) -> None:
    await fetch(f"{base_url}/websocket/clients/secret-id/status")
    metrics = (await fetch(f"{base_url}/metrics")).body.decode()
    labels = 'route="/websocket/clients/:id/status",status="200"'
    assert f"gtower_http_requests_total{{{labels}}} 1.0" in metrics
    assert "secret-id" not in metrics


# Bodies as some clients send them


def untyped_session() -> aiohttp.ClientSession:
    """Return a client that adds no Content-Type of its own."""
    return aiohttp.ClientSession(skip_auto_headers=["Content-Type"])


async def test_a_body_without_a_content_type_is_taken_as_json(base_url: str) -> None:
    url = f"{base_url}/websocket/notify/broadcast"
    content = json.dumps(NOTICE).encode()
    async with untyped_session() as client, client.post(url, data=content) as answer:
        assert answer.request_info.headers.get("Content-Type") is None
        assert answer.status == 201


async def test_a_body_in_chunks_is_taken(base_url: str) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for byte in json.dumps(NOTICE).encode():
            yield bytes([byte])

    url = f"{base_url}/websocket/notify/broadcast"
    async with untyped_session() as client, client.post(url, data=chunks()) as answer:
        assert answer.status == 201


@pytest.mark.parametrize("environ", [{"GTOWER_MAX_BODY_BYTES": "100"}])
async def test_a_body_in_chunks_is_cut_at_the_limit(base_url: str) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 10

    url = f"{base_url}/websocket/notify/broadcast"
    async with untyped_session() as client, client.post(url, data=chunks()) as answer:
        assert answer.status == 413
        assert (await answer.json())["error"]["code"] == "too_large"


async def test_a_connection_serves_on_after_refusals(base_url: str) -> None:
    url = f"{base_url}/websocket/notify/broadcast"
    opened: list[object] = []

    async def count(*details: object) -> None:
        opened.append(details)

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(count)
    statuses = []
    async with aiohttp.ClientSession(trace_configs=[trace]) as client:
        for content in ({}, [], {**NOTICE, "type": "loud"}, NOTICE):
            async with client.post(url, json=content) as answer:
                await answer.read()
                statuses.append(answer.status)
    assert statuses == [400, 400, 400, 201]
    assert len(opened) == 1


async def test_an_empty_body_is_none_whatever_its_declared_type(base_url: str) -> None:
    answer = await fetch(
        f"{base_url}/websocket/event/broadcast/ping",
        "POST",
        b" \n",
        **{"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert answer.code == 201


# What is answered is true


async def test_recipients_are_those_that_got_it(
    base_url: str, http_server: HTTPServer, application: Application
) -> None:
    headers = {"Content-Type": "application/json"}
    async with open_client(base_url) as one, open_client(base_url) as other:
        await one.ask("joinRoom", "sales")
        await other.ask("joinRoom", "sales")
        other.cut()
        assert (await one.events_until("clientLeft")) is not None
        url = f"{base_url}/websocket/notify/room/sales"
        answer = await fetch(url, "POST", json.dumps(NOTICE).encode(), **headers)
        assert json.loads(answer.body)["recipients"] == 1


async def test_offsets_rise_and_ids_differ(base_url: str) -> None:
    receipts = [
        json.loads((await fetch(f"{base_url}/websocket/event/broadcast/e", "POST", b"")).body)
        for _ in range(20)
    ]
    assert len({receipt["id"] for receipt in receipts}) == 20
    numbers = [int(receipt["offset"].rpartition("-")[2], 16) for receipt in receipts]
    assert numbers == list(range(numbers[0], numbers[0] + 20))
