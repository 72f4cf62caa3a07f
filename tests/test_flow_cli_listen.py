"""`listen` with a server that runs, goes, and comes back."""

import asyncio
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop

from gtower_realtime import tokens
from gtower_realtime.application import Application
from tests.command import command, running_command
from tests.server_process import ServerProcess, publish_until_acknowledged

PATIENCE_SECONDS = 60
SECRET = "a-secret-of-at-least-32-bytes-for-tests"


async def line_of(stream: asyncio.StreamReader | None, begin: str = "") -> str:
    """Return the next line that begins so, without its end; others are passed over."""
    assert stream is not None
    while True:
        line = await asyncio.wait_for(stream.readline(), PATIENCE_SECONDS)
        assert line, f"it ended without a line that begins with {begin!r}"
        text = line.decode().rstrip("\n")
        if text.startswith(begin):
            return text


async def event_of(process: asyncio.subprocess.Process) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(await line_of(process.stdout))
    return event


@pytest.mark.parametrize("transport", ["websocket", "polling"])
@pytest.mark.gen_test
async def test_events_of_a_room_are_lines_for_people(
    application: Application, base_url: str, http_server: HTTPServer, transport: str
) -> None:
    arguments = ("listen", "--room", "sales", "--url", base_url, "--transport", transport)
    async with running_command(*arguments) as process:
        await line_of(process.stderr, "· joined sales")
        await application.service.send_event_to_room("sales", "order", {"n": 1})
        line = await line_of(process.stdout)
        assert re.fullmatch(r'\d\d:\d\d:\d\d\.\d{3}  order  \{"n": 1, "timestamp": ".*Z"\}', line)
        process.send_signal(signal.SIGINT)
        output, errors = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
        assert (process.returncode, output, errors) == (0, b"", b"")


@pytest.mark.gen_test
async def test_events_are_json_for_programs_and_so_many_are_enough(
    application: Application, base_url: str, http_server: HTTPServer
) -> None:
    arguments = ("listen", "--room", "sales", "--event", "order", "--count", "2", "--json")
    async with running_command(*arguments, "--url", base_url) as process:
        await line_of(process.stderr, "· joined sales")
        for n, event in enumerate(["order", "other", "order", "order"]):
            await application.service.send_event_to_room("sales", event, {"n": n})
        output, _ = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    assert process.returncode == 0
    events = list(map(json.loads, output.splitlines()))
    assert [(each["event"], each["data"]["n"]) for each in events] == [("order", 0), ("order", 2)]
    assert events[0].keys() == {"at", "event", "data", "offset"}
    assert events[0]["offset"] != events[1]["offset"]


@pytest.mark.gen_test
async def test_notes_are_printed_if_they_are_asked_for_by_name(
    base_url: str, http_server: HTTPServer
) -> None:
    ended = await command(
        "listen", "--event", "connected", "--count", "1", "--json", "--url", base_url
    )
    assert ended.status == 0
    assert ended.said["data"]["recovered"] is False


@pytest.mark.parametrize(
    ("count", "status"), [((), os.EX_OK), (("--count", "1"), os.EX_TEMPFAIL)], ids=["time", "count"]
)
@pytest.mark.gen_test
async def test_it_ends_after_a_time(
    base_url: str, http_server: HTTPServer, count: tuple[str, ...], status: int
) -> None:
    ended = await command("listen", "--seconds", "0.1", *count, "--url", base_url)
    assert (ended.status, ended.output) == (status, "")


@pytest.fixture
def server(io_loop: IOLoop, tmp_path: Path) -> Iterator[ServerProcess]:
    process = ServerProcess({"GTOWER_STATE_DIR": str(tmp_path)})
    io_loop.run_sync(process.start)
    yield process
    io_loop.run_sync(process.kill)


@pytest.mark.gen_test(timeout=120)
async def test_after_a_kill_of_the_server_it_comes_back_and_misses_nothing(
    server: ServerProcess,
) -> None:
    arguments = ("listen", "--room", "sales", "--event", "tick", "--json", "--url", server.url)
    async with running_command(*arguments) as process:
        await line_of(process.stderr, "· joined sales")
        for n in range(4):
            if n == 2:
                await server.kill()
                await server.start()
            url = f"{server.url}/websocket/event/room/sales/tick"
            await publish_until_acknowledged(url, json.dumps({"n": n}), f"tick-{n}")
        assert [(await event_of(process))["data"]["n"] for _ in range(4)] == [0, 1, 2, 3]
        await line_of(process.stderr, "· connection lost (")
        assert "recovered, what was missed follows" in await line_of(process.stderr, "· back as ")


@pytest.mark.gen_test
async def test_who_is_sent_away_does_not_come_back(
    application: Application, base_url: str, http_server: HTTPServer
) -> None:
    async with running_command("listen", "--url", base_url) as process:
        client_id = (await line_of(process.stderr, "· connected as ")).split()[-1]
        await application.service.control.disconnect_client(client_id, "", reconnect=False)
        _, errors = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    assert process.returncode == os.EX_UNAVAILABLE
    assert b"the server has ended this client: " in errors


@pytest.mark.gen_test
async def test_a_room_that_is_refused_ends_it_with_77(
    base_url: str, http_server: HTTPServer
) -> None:
    ended = await command("listen", "--room", "user:ann", "--url", base_url)
    assert (ended.status, "user:ann: forbidden: " in ended.errors) == (os.EX_NOPERM, True)


@pytest.mark.parametrize("transport", ["websocket", "polling"])
@pytest.mark.gen_test
async def test_where_nobody_listens_it_ends_with_69(io_loop: IOLoop, transport: str) -> None:
    url = "http://127.0.0.1:1"
    ended = await command("listen", "--url", url, "--transport", transport)
    assert (ended.status, ended.output) == (os.EX_UNAVAILABLE, "")
    assert ended.errors.startswith("Error: not connected: ")
    assert ended.errors.count("\n") == 1


@pytest.mark.gen_test
async def test_a_reader_that_goes_away_ends_it_quietly(
    application: Application, base_url: str, http_server: HTTPServer
) -> None:
    async with running_command("listen", "--room", "sales", "--url", base_url) as process:
        await line_of(process.stderr, "· joined sales")
        assert process.stdout is not None
        process.stdout._transport.close()  # type: ignore[attr-defined]
        await application.service.send_event_to_room("sales", "order", {})
        assert await asyncio.wait_for(process.wait(), PATIENCE_SECONDS) == 0
        assert process.stderr is not None
        assert await process.stderr.read() == b""


class TestWithTokens:
    @pytest.fixture
    def environ(self) -> dict[str, str]:
        return {"GTOWER_JWT_SECRET": SECRET}

    @pytest.mark.gen_test
    async def test_the_token_comes_from_a_file_or_the_environment(
        self, base_url: str, http_server: HTTPServer, tmp_path: Path
    ) -> None:
        token = tokens.sign({"sub": "ann", "exp": int(time.time()) + 600}, SECRET)
        file = tmp_path / "token"
        file.write_text(f"{token}\n")
        arguments = ("listen", "--event", "connected", "--count", "1", "--url", base_url)
        assert (await command(*arguments, "--token-file", str(file))).status == 0
        assert (await command(*arguments, GTOWER_TOKEN=token)).status == 0

    @pytest.mark.gen_test
    async def test_without_a_token_that_is_needed_it_ends_with_77(
        self, base_url: str, http_server: HTTPServer
    ) -> None:
        ended = await command("listen", "--url", base_url)
        assert (ended.status, ended.output) == (os.EX_NOPERM, "")
        assert ended.errors.startswith("Error: not connected: ")
