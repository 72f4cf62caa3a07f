"""Analytics over HTTP, and what is left of them after a restart and after a crash."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.ioloop import IOLoop

from gtower_realtime.application import Application
from gtower_realtime.settings import Settings
from tests.conftest import ConnectClient
from tests.fakes import FakeClock
from tests.server_process import ServerProcess


async def ask(url: str, method: str = "GET") -> tuple[int, Any]:
    """Return the status and the body of an answer."""
    answer = await AsyncHTTPClient().fetch(
        url, method=method, raise_error=False, allow_nonstandard_methods=True
    )
    return answer.code, json.loads(answer.body)


class TestRead:
    @pytest.fixture
    def application(self, io_loop: IOLoop) -> Application:
        return Application(Settings.load({"GTOWER_DATABASE_URL": "memory:"}), clock=FakeClock())

    @pytest.mark.gen_test
    async def test_the_minute_that_has_begun_is_told(
        self, base_url: str, connect_client: ConnectClient
    ) -> None:
        client = await connect_client()
        assert (await ask(f"{base_url}/websocket/event/broadcast/dealWon", "POST"))[0] == 201
        assert (await ask(f"{base_url}/websocket/event/client/nobody/dealWon", "POST"))[0] == 404
        assert (await client.ask("joinRoom", ""))["error"]["code"] == "validation_error"
        status, answer = await ask(f"{base_url}/websocket/analytics")
        assert status == 200
        assert answer == {
            "from": "2026-11-23T11:28:00.000Z",
            "to": "2026-11-23T12:28:18.953Z",
            "step": 60,
            "points": [
                {
                    "at": "2026-11-23T12:28:00.000Z",
                    "connections": 1,
                    "events": {"dealWon": 1},
                    "recipients": 1,
                    "bytes": len('{"timestamp":"2026-11-23T12:28:18.953Z"}'),
                    "refusals": {"unknown_client": 1, "validation_error": 1},
                }
            ],
        }

    @pytest.mark.gen_test
    async def test_from_and_to_choose_the_minutes(self, http_server: object, base_url: str) -> None:
        status, answer = await ask(
            f"{base_url}/websocket/analytics/?from=2026-11-22T23:59:59Z&to=2026-11-23"
        )
        assert (status, answer) == (
            200,
            {
                "from": "2026-11-22T23:59:00.000Z",
                "to": "2026-11-23T00:00:00.000Z",
                "step": 60,
                "points": [],
            },
        )

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ("from=yesterday", "from"),
            ("to=1795436898953", "to"),
            ("from=", "from"),
            ("from=2026-11-23T12:30:00Z", "from"),
            ("from=2026-11-20T12:30:00Z", "from"),
            ("from=0001-01-01&to=9999-12-31", "from"),
        ],
    )
    @pytest.mark.gen_test
    async def test_wrong_times_are_refused(
        self, http_server: object, base_url: str, query: str, field: str
    ) -> None:
        status, answer = await ask(f"{base_url}/websocket/analytics?{query}")
        assert (status, answer["error"]["code"]) == (400, "validation_error")
        assert list(answer["error"]["fields"]) == [field]

    @pytest.mark.gen_test
    async def test_the_earliest_times_there_are_can_be_asked_for(
        self, http_server: object, base_url: str
    ) -> None:
        status, answer = await ask(f"{base_url}/websocket/analytics?to=0001-01-01")
        assert (status, answer["points"]) == (200, [])


# A real process


@pytest.fixture(params=["sqlite", "postgresql"])
def server(
    request: pytest.FixtureRequest, io_loop: IOLoop, tmp_path: Path
) -> Iterator[ServerProcess]:
    environ = {"GTOWER_STATE_DIR": str(tmp_path)}
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql").new_database()
        environ["GTOWER_DATABASE_URL"] = url
    process = ServerProcess(environ)
    io_loop.run_sync(process.start)
    yield process
    io_loop.run_sync(process.kill)


async def events_counted(server: ServerProcess) -> dict[str, int]:
    """Return the events of all minutes together, since midnight may pass while a test runs."""
    _, answer = await ask(f"{server.url}/websocket/analytics")
    counted: dict[str, int] = {}
    for point in answer["points"]:
        for event, count in point["events"].items():
            counted[event] = counted.get(event, 0) + count
    return counted


@pytest.mark.gen_test(timeout=60)
async def test_a_restart_loses_nothing_and_a_kill_at_most_what_was_not_recorded(
    server: ServerProcess,
) -> None:
    await ask(f"{server.url}/websocket/event/broadcast/beforeRestart", "POST")
    assert await server.stop() == 0
    await server.start()
    assert await events_counted(server) == {"beforeRestart": 1}
    await ask(f"{server.url}/websocket/event/broadcast/beforeKill", "POST")
    assert await events_counted(server) == {"beforeRestart": 1, "beforeKill": 1}
    await server.kill()
    await server.start()
    assert (await events_counted(server))["beforeRestart"] == 1
