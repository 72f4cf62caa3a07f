"""`doctor` at servers that are well, and at servers that are not."""

import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop

from gtower_realtime.application import Application
from gtower_realtime.settings import Settings
from gtower_realtime.timestamps import SystemClock
from tests.command import Ended, command
from tests.server_process import ServerProcess

KEY = "a-key-of-twenty-characters"
SECRET = "a-secret-of-at-least-32-bytes-for-tests"
UNPUBLISHED = {"websocket round trip": "skip", "polling round trip": "skip"}
NAMES = [
    "health",
    "readiness",
    "store",
    "API key",
    "websocket connect",
    "websocket round trip",
    "polling connect",
    "polling round trip",
    "clock",
    "open files",
    "Redis",
]


async def examined(url: str, *arguments: str, **environ: str) -> Ended:
    few = {"GTOWER_MAX_CONNECTIONS": "10"}
    return await command("doctor", "--url", url, *arguments, **few | environ)


def states(ended: Ended) -> dict[str, str]:
    """Return what is not well."""
    assert (ended.said["ok"], ended.errors) == (ended.status == 0, "")
    checks = {check["check"]: check for check in ended.said["checks"]}
    return {name: check["state"] for name, check in checks.items() if check["state"] != "ok"}


def finding(ended: Ended, name: str) -> str:
    (check,) = [check for check in ended.said["checks"] if check["check"] == name]
    return f"{check['finding']} → {check['advice']}"


@pytest.mark.gen_test
async def test_a_server_that_is_well_passes_all_checks(
    base_url: str, http_server: HTTPServer
) -> None:
    ended = await examined(base_url, "--json")
    assert (ended.status, states(ended)) == (0, {})
    assert [check["check"] for check in ended.said["checks"]] == NAMES
    timed = [each["check"] for each in ended.said["checks"] if (each["milliseconds"] or 0) > 0]
    assert timed == ["health", *NAMES[4:8]]


@pytest.mark.gen_test
async def test_people_get_a_table(base_url: str, http_server: HTTPServer) -> None:
    ended = await examined(base_url)
    lines = ended.output.splitlines()
    assert (ended.status, ended.errors) == (0, "")
    assert lines[0].split() == ["CHECK", "STATE", "FINDING"]
    assert [line.split("  ")[0] for line in lines[1:]] == NAMES
    assert "store                 ok     takes events" in lines


@pytest.mark.gen_test
async def test_a_server_on_a_unix_socket_is_found_by_its_settings(
    io_loop: IOLoop, tmp_path: Path
) -> None:
    environ = {"GTOWER_HOST": f"unix:{tmp_path}/socket", "GTOWER_STATE_DIR": str(tmp_path)}
    server = ServerProcess(environ)
    await server.start()
    ended = await command("doctor", "--json", GTOWER_MAX_CONNECTIONS="10", **environ)
    await server.stop()
    assert (ended.status, states(ended)) == (0, {})


@pytest.mark.gen_test
async def test_where_nobody_listens_one_check_fails_and_says_so(io_loop: IOLoop) -> None:
    ended = await examined("http://127.0.0.1:1", "--json")
    assert (ended.status, states(ended)) == (os.EX_UNAVAILABLE, {"health": "fail"})
    assert "no answer from http://127.0.0.1:1: " in finding(ended, "health")
    assert "Try --url." in finding(ended, "health")


@pytest.mark.gen_test
async def test_a_server_that_goes_down_is_said_to(
    application: Application, base_url: str, http_server: HTTPServer
) -> None:
    application.service.drain(60)
    ended = await examined(base_url, "--json")
    assert states(ended) == {
        "readiness": "fail",
        "websocket connect": "fail",
        "websocket round trip": "skip",
        "polling connect": "fail",
        "polling round trip": "skip",
        "clock": "skip",
    }
    assert "takes no new connections: draining" in finding(ended, "readiness")


@pytest.mark.gen_test
async def test_settings_that_no_server_would_start_with_are_mentioned(
    base_url: str, http_server: HTTPServer
) -> None:
    ended = await examined(base_url, "--json", GTOWER_PORT="x")
    assert (ended.status, states(ended)) == (0, {"settings": "warn"})
    assert "`check-config` says all." in finding(ended, "settings")


@pytest.mark.gen_test
async def test_too_few_open_files_are_warned_of(base_url: str, http_server: HTTPServer) -> None:
    ended = await examined(base_url, "--json", GTOWER_MAX_CONNECTIONS=str(10**18 - 100))
    assert (ended.status, states(ended)) == (0, {"open files": "warn"})
    assert "GTOWER_MAX_CONNECTIONS takes 1000000000000000000" in finding(ended, "open files")


@pytest.mark.gen_test
async def test_a_wrong_url_is_a_wrong_line(io_loop: IOLoop) -> None:
    ended = await examined("ftp://x")
    assert (ended.status, ended.output) == (os.EX_USAGE, "")


class TestWithAClockThatIsWrong:
    @pytest.fixture
    def application(self, io_loop: IOLoop) -> Application:
        class Late(SystemClock):
            def now(self) -> datetime:
                return super().now() - timedelta(seconds=90)

        return Application(Settings.load({"GTOWER_DATABASE_URL": "memory:"}), Late())

    @pytest.mark.gen_test
    async def test_it_is_warned_of(self, base_url: str, http_server: HTTPServer) -> None:
        ended = await examined(base_url, "--json")
        assert (ended.status, states(ended)) == (0, {"clock": "warn"})
        assert finding(ended, "clock").startswith("90 seconds from ours → ")


class TestWithKeys:
    @pytest.fixture
    def environ(self) -> dict[str, str]:
        keys = [f"shop:publish:{KEY}1", f"desk:publish:{KEY}2:sales:", f"viewer:read:{KEY}3"]
        return {"GTOWER_API_KEYS": ",".join(keys)}

    @pytest.mark.parametrize(
        ("key", "expected"),
        [
            ("", {"API key": "fail", **UNPUBLISHED, "open files": "skip"}),
            (f"{KEY}1", {"open files": "skip"}),
            (f"{KEY}2", {**UNPUBLISHED, "open files": "skip"}),
            (f"{KEY}3", UNPUBLISHED),
        ],
        ids=["none", "publish", "prefix", "read"],
    )
    @pytest.mark.gen_test
    async def test_what_the_key_allows_is_looked_at(
        self, base_url: str, http_server: HTTPServer, key: str, expected: dict[str, str]
    ) -> None:
        ended = await examined(base_url, "--json", GTOWER_API_KEY=key)
        assert states(ended) == expected
        assert ended.status == (0 if key else os.EX_UNAVAILABLE)


class TestWithTokens:
    @pytest.fixture
    def environ(self) -> dict[str, str]:
        return {"GTOWER_JWT_SECRET": SECRET, "GTOWER_JWT_AUDIENCE": "agents"}

    @pytest.mark.gen_test
    async def test_with_the_servers_settings_it_makes_a_token(
        self, base_url: str, http_server: HTTPServer, environ: dict[str, Any]
    ) -> None:
        ended = await examined(base_url, "--json", **environ)
        assert (ended.status, states(ended)) == (0, {})

    @pytest.mark.gen_test
    async def test_without_a_token_it_says_how_to_get_one(
        self, base_url: str, http_server: HTTPServer
    ) -> None:
        ended = await examined(base_url, "--json")
        assert ended.status == os.EX_UNAVAILABLE
        assert states(ended)["websocket connect"] == "fail"
        assert "`make-token` makes a token" in finding(ended, "polling connect")
