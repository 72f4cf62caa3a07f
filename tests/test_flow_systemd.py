"""The server as systemd runs it: what it is told, and what it is handed over."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gtower_realtime import server
from gtower_realtime.systemd import ServiceManager
from tests.server_process import ServerProcess
from tests.service_manager import FakeServiceManager
from tests.socketio_wire import open_client

pytestmark = pytest.mark.gen_test


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[FakeServiceManager]:
    """Give a service manager that listens."""
    fake = FakeServiceManager.beneath(tmp_path)
    yield fake
    fake.close()


def managed(manager: FakeServiceManager, **environ: str) -> dict[str, str]:
    """Return the settings of a server that ``manager`` has started."""
    return {
        "NOTIFY_SOCKET": manager.address,
        "GTOWER_DATABASE_URL": "memory:",
        "GTOWER_DRAIN_SECONDS": "0",
        **environ,
    }


async def test_a_server_is_ready_once_it_answers_and_says_how_it_is_until_it_stops(
    manager: FakeServiceManager,
) -> None:
    process = ServerProcess(managed(manager))
    await process.launch()
    try:
        assert await manager.next("READY") == {
            "READY": "1",
            "STATUS": "active: 0 clients in 0 rooms",
        }
        assert manager.told == [manager.told[-1]]
        async with open_client(process.url) as client:
            await client.ask("joinRoom", "sales")
            while (await manager.next("STATUS"))["STATUS"] != "active: 1 clients in 1 rooms":
                pass
        assert await process.stop() == 0
        told = await manager.next("STOPPING")
        assert (told["STOPPING"], sorted(told)) == ("1", ["STATUS", "STOPPING"])
        assert await manager.next("EXTEND_TIMEOUT_USEC") == {"EXTEND_TIMEOUT_USEC": "30000000"}
        assert not any("WATCHDOG" in told for told in manager.told)
    finally:
        await process.kill()


async def test_a_server_feeds_the_watchdog_that_watches_it(manager: FakeServiceManager) -> None:
    process = ServerProcess(managed(manager, WATCHDOG_USEC="200000"))
    await process.start()
    try:
        for _ in range(3):
            assert await manager.next("WATCHDOG") == {"WATCHDOG": "1"}
    finally:
        await process.kill()


async def test_a_loop_that_is_blocked_does_not_feed_the_watchdog(
    manager: FakeServiceManager,
) -> None:
    told = ServiceManager(manager.address, watchdog_seconds=0.02)
    feeding = asyncio.create_task(server._feed_watchdog(told))
    await manager.next("WATCHDOG")
    manager.waiting()
    threading.Event().wait(0.2)  # blocks this very loop; a thread would have fed it ten times
    assert manager.waiting() == []
    await manager.next("WATCHDOG")
    feeding.cancel()


async def test_a_server_that_cannot_start_is_never_ready(
    manager: FakeServiceManager,
) -> None:
    process = ServerProcess(managed(manager, GTOWER_DATABASE_URL="sqlite:////dev/null/x.db"))
    await process.launch()
    assert await process.ended() != 0
    assert manager.waiting() == []
