"""The server as systemd runs it: what it is told, and what it is handed over."""

import asyncio
import os
import re
import shlex
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.testing import bind_unused_port

from gtower_realtime import server, unit_files
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


# Sockets that are handed over


@pytest.fixture
def unix_listener(tmp_path: Path) -> Iterator[socket.socket]:
    """Give a unix socket that systemd might hold."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "gtower.sock"))
        listener.listen()
        yield listener


def is_socket(path: str) -> bool:
    return Path(path).is_socket()


async def test_a_tcp_socket_of_systemd_is_used_whatever_port_is_set() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = ServerProcess({"GTOWER_DATABASE_URL": "memory:", "GTOWER_PORT": "1"}, listener)
        await process.start()
        assert f" on http://127.0.0.1:{process.port} · " in process.first_line
        async with open_client(process.url) as client:
            assert await client.ask("joinRoom", "sales") == [{"ok": True, "room": "sales"}]
        assert await process.stop() == 0


async def test_a_unix_socket_of_systemd_is_used_and_never_removed(
    unix_listener: socket.socket,
) -> None:
    path = unix_listener.getsockname()
    process = ServerProcess({"GTOWER_DATABASE_URL": "memory:"}, unix_listener)
    for _ in range(2):
        await process.start()
        assert f" on unix:{path} · " in process.first_line
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        writer.close()
        assert await process.stop() == 0
        assert is_socket(path)


async def test_without_a_key_a_socket_that_strangers_reach_is_refused() -> None:
    with socket.create_server(("0.0.0.0", 0)) as listener:
        process = ServerProcess({"GTOWER_DATABASE_URL": "memory:"}, listener)
        await process.launch()
        assert await process.ended() == os.EX_CONFIG
        process = ServerProcess(
            {"GTOWER_DATABASE_URL": "memory:", "GTOWER_INSECURE": "true"}, listener
        )
        await process.start()
        assert await process.stop() == 0


# All that the unit says, put together


def value_of(unit: str, name: str) -> str:
    """Return the one value of ``name`` in a unit."""
    (value,) = re.findall(rf"^{name}=(.*)$", unit, re.M)
    return str(value)


async def test_the_unit_starts_reloads_and_stops_a_server_with_its_credentials(
    manager: FakeServiceManager, tmp_path: Path
) -> None:
    unit = unit_files.service(Path(sys.executable).parent / unit_files.NAME)
    directories = {name: tmp_path / name for name in ("etc", "state", "credentials")}
    for directory in directories.values():
        directory.mkdir()
    variable, _, file = value_of(unit, "Environment").partition("=")
    settings = directories["etc"] / Path(file).name
    settings.write_text("GTOWER_DRAIN_SECONDS=0\nCORS_ORIGIN=https://a.example\n")
    key = "0123456789abcdefghij"
    (directories["credentials"] / "api_keys").write_text(f"crm:read:{key}\n")
    environ = {
        variable: str(settings),
        "NOTIFY_SOCKET": manager.address,
        "WATCHDOG_USEC": "30000000",
        "STATE_DIRECTORY": str(directories["state"]),
        "CREDENTIALS_DIRECTORY": str(directories["credentials"]),
    }
    # Strangers reach it: the credential has to be read for the start.
    with socket.create_server(("0.0.0.0", 0)) as listener:
        command = shlex.split(value_of(unit, "ExecStart"))
        process = ServerProcess(environ, listener, command)
        await process.launch()
        await manager.next("READY")
        await manager.next("WATCHDOG")
        assert await status(process, key, "https://b.example") == 403
        settings.write_text("CORS_ORIGIN=https://b.example\n")
        reload = shlex.split(value_of(unit, "ExecReload").replace("$MAINPID", str(process.pid)))
        reloading = await asyncio.create_subprocess_exec(*reload)
        assert await reloading.wait() == 0
        await manager.next("RELOADING")
        await manager.next("READY")
        assert await status(process, key, "https://b.example") == 200
        assert await status(process, "", "https://b.example") == 401
        assert await process.stop() == 0
        await manager.next("STOPPING")
    assert (directories["state"] / "gtower.db").exists()


async def test_the_template_starts_processes_by_their_ports_with_one_settings_file(
    tmp_path: Path,
) -> None:
    settings = tmp_path / "settings.env"
    settings.write_text("GTOWER_PORT=3000\nGTOWER_DRAIN_SECONDS=0\n")
    unit = unit_files.template(Path(sys.executable).parent / unit_files.NAME)
    command = shlex.split(value_of(unit, "ExecStart"))
    processes = []
    for _ in range(2):
        free, port = bind_unused_port()
        free.close()
        instance = unit.replace("%i", str(port)).replace("%E/gtower-realtime", str(tmp_path))
        state = tmp_path / value_of(instance, "StateDirectory")
        state.mkdir()
        set_by_it = dict(re.findall("^Environment=(.*?)=(.*)$", instance, re.M))
        process = ServerProcess({**set_by_it, "STATE_DIRECTORY": str(state)}, command=command)
        process.port = port
        processes.append(process)
        await process.start()
    for process in processes:
        assert await status(process, "", process.url) == 200
        assert await process.stop() == 0
        assert (tmp_path / f"gtower-realtime-{process.port}" / "gtower.db").exists()


async def status(process: ServerProcess, key: str, origin: str) -> int:
    """Ask for the status; return that of the answer."""
    answer = await AsyncHTTPClient().fetch(
        f"{process.url}/websocket/status",
        headers={"X-API-Key": key, "Origin": origin},
        raise_error=False,
    )
    return answer.code
