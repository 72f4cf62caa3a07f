"""A real nginx with the documented configuration in front of a real server."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tornado.httpclient import AsyncHTTPClient

from tests import nginx_site
from tests.conftest import requires_binary
from tests.javascript_client import javascript_client
from tests.nginx_site import BEHIND_IT, ELSEWHERE, Site
from tests.server_process import ServerProcess

nginx = requires_binary("nginx", package="nginx")


@asynccontextmanager
async def running_site(nginx: str, directory: Path) -> AsyncIterator[Site]:
    """Run the server and nginx."""
    server = ServerProcess(BEHIND_IT)
    await server.start()
    try:
        async with nginx_site.running_site(
            nginx, directory, "gtower-realtime.conf", {3000: server.port}
        ) as site:
            yield site
    finally:
        await server.stop()


@pytest.mark.parametrize("transports", [["websocket"], ["polling"], ["polling", "websocket"]])
@pytest.mark.gen_test
async def test_browsers_connect_through_it(
    nginx: str, node: str, tmp_path: Path, transports: list[str]
) -> None:
    async with running_site(nginx, tmp_path) as site, javascript_client(node) as ana:
        ca = site.certificate.read_text(encoding="utf-8")
        assert (await ana.connect(site.url, transports=transports, ca=ca))["what"] == "connect"
        await ana.next_event("connected")
        if len(transports) > 1:
            await ana.upgraded()
        await ana.ask("joinRoom", "sales")
        answer = await site.fetch(
            "/websocket/event/room/sales/dealWon", method="POST", body='{"deal": 7}'
        )
        assert (answer.code, json.loads(answer.body)["recipients"]) == (201, 1)
        assert (await ana.next_event("dealWon"))[1][0]["deal"] == 7


@pytest.mark.gen_test
async def test_clients_keep_their_own_addresses(nginx: str, tmp_path: Path) -> None:
    path = "/socket.io/?EIO=4&transport=polling"
    claimed = {"X-Forwarded-For": "203.0.113.9"}
    async with running_site(nginx, tmp_path) as site:
        _, opening = await site.ask_from_elsewhere("GET", path, **claimed)
        sid = json.loads(opening[1:])["sid"]
        await site.ask_from_elsewhere("POST", f"{path}&sid={sid}", "40", **claimed)
        (client,) = json.loads((await site.fetch("/websocket/clients")).body)
        assert client["metadata"]["ip"] == ELSEWHERE


@pytest.mark.gen_test
async def test_plain_http_is_sent_to_tls(nginx: str, tmp_path: Path) -> None:
    async with running_site(nginx, tmp_path) as site:
        answer = await AsyncHTTPClient().fetch(
            f"{site.plain_url}/websocket/status?x=1", follow_redirects=False, raise_error=False
        )
        assert answer.code == 308
        assert answer.headers["Location"] == "https://localhost/websocket/status?x=1"


@pytest.mark.gen_test
async def test_metrics_are_for_this_machine_only(nginx: str, tmp_path: Path) -> None:
    async with running_site(nginx, tmp_path) as site:
        assert (await site.fetch("/metrics")).code == 200
        assert (await site.ask_from_elsewhere("GET", "/metrics"))[0] == 403


@pytest.mark.gen_test
async def test_a_body_that_is_too_large_is_refused_before_it_is_read(
    nginx: str, tmp_path: Path
) -> None:
    async with running_site(nginx, tmp_path) as site:
        answer = await site.fetch(
            "/websocket/event/broadcast/big", method="POST", body=b"x" * (10 * 1024 * 1024 + 1)
        )
        assert answer.code == 413
