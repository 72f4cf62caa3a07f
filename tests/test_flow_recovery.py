"""Cuts of all kinds between the stock JavaScript client and the server: nothing lost, none twice.

``CHAOS_CUTS`` sets how often; the default is for every day.
"""

import asyncio
import os
import random
from collections.abc import Iterator

import pytest
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop

from gtower_realtime.application import Application
from tests.returning_client import ReturningClient
from tests.tcp_proxy import TcpProxy

CUTS = int(os.environ.get("CHAOS_CUTS", "30"))
ROOM = "chaos"
TRANSPORTS = ["websocket", "polling", "polling,websocket"]


@pytest.fixture
def environ() -> dict[str, str]:
    return {"GTOWER_PING_INTERVAL": "0.4", "GTOWER_PING_TIMEOUT": "0.4"}


@pytest.fixture
def proxy(io_loop: IOLoop, http_server: HTTPServer, http_port: int) -> Iterator[TcpProxy]:
    proxy = TcpProxy(http_port)
    io_loop.run_sync(proxy.start)
    yield proxy
    io_loop.run_sync(proxy.stop)


async def publish(application: Application, numbers: range) -> None:
    for n in numbers:
        await application.service.send_event_to_room(ROOM, "tick", {"n": n})


@pytest.mark.gen_test(timeout=30 + CUTS)
@pytest.mark.parametrize("transports", TRANSPORTS)
async def test_after_each_of_many_cuts_the_client_has_everything_once_and_in_order(
    application: Application, proxy: TcpProxy, node: str, transports: str
) -> None:
    client = await ReturningClient.start(node, f"http://127.0.0.1:{proxy.port}", ROOM, transports)
    chance = random.Random(transports)
    sent = 0
    for cut in range(1, CUTS + 1):
        count = chance.randrange(1, 12)
        publishing = asyncio.create_task(publish(application, range(sent, sent + count)))
        sent += count
        if chance.random() < 0.3:
            await publishing
        await client.is_cut_off(proxy)
        await publishing
        await client.until(lambda cut=cut: len(client.connects) > cut)
    await client.until(lambda: len(client.ticks) >= sent)
    await client.stop()
    assert client.ticks == list(range(sent))
    assert [report["recovered"] for report in client.connects] == [False, *([True] * CUTS)]
    assert len({report["connected"] for report in client.connects}) == 1


@pytest.mark.gen_test
@pytest.mark.parametrize("transports", TRANSPORTS)
async def test_a_client_whose_old_connection_still_looks_alive_takes_it_over(
    application: Application, proxy: TcpProxy, node: str, transports: str
) -> None:
    client = await ReturningClient.start(node, f"http://127.0.0.1:{proxy.port}", ROOM, transports)
    await publish(application, range(3))
    await client.until(lambda: len(client.ticks) == 3)
    abandon = await proxy.forget()
    await publish(application, range(3, 6))
    await client.until(lambda: len(client.connects) == 2)
    await publish(application, range(6, 9))
    await client.until(lambda: len(client.ticks) >= 9)
    abandon()
    await client.stop()
    assert client.ticks == list(range(9))
    assert client.connects[1]["recovered"] is True
    assert client.connects[1]["connected"] == client.connects[0]["connected"]


@pytest.mark.gen_test
@pytest.mark.parametrize("transports", TRANSPORTS)
async def test_a_line_that_stalls_for_longer_than_a_ping_loses_nothing(
    application: Application, proxy: TcpProxy, node: str, transports: str
) -> None:
    client = await ReturningClient.start(node, f"http://127.0.0.1:{proxy.port}", ROOM, transports)
    await publish(application, range(3))
    await client.until(lambda: len(client.ticks) == 3)
    proxy.stall()
    await publish(application, range(3, 6))
    await client.until(lambda: client.disconnects == 1)
    proxy.resume()
    await client.until(lambda: len(client.connects) == 2)
    await publish(application, range(6, 9))
    await client.until(lambda: len(client.ticks) >= 9)
    await client.stop()
    assert client.ticks == list(range(9))
    assert client.connects[1]["recovered"] is True


@pytest.mark.gen_test
@pytest.mark.parametrize("transports", TRANSPORTS)
async def test_over_a_line_that_trickles_everything_comes_in_order(
    application: Application, proxy: TcpProxy, node: str, transports: str
) -> None:
    proxy.bytes_per_turn = 7
    client = await ReturningClient.start(node, f"http://127.0.0.1:{proxy.port}", ROOM, transports)
    await publish(application, range(40))
    await client.is_cut_off(proxy)
    await publish(application, range(40, 80))
    await client.until(lambda: len(client.ticks) >= 80)
    await client.stop()
    assert client.ticks == list(range(80))
