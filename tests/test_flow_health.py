"""What machines ask: is it alive, is it ready. The loop's lag is what the tests say it was."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.ioloop import IOLoop

from gtower_realtime.application import Application
from gtower_realtime.settings import Settings
from tests.fakes import FakeClock

pytestmark = [pytest.mark.gen_test, pytest.mark.usefixtures("http_server")]


async def never_measured(_measured: Callable[[float], None]) -> None:
    await asyncio.Event().wait()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def application(io_loop: IOLoop, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Application:
    monkeypatch.setattr("gtower_realtime.application.watch_loop_lag", never_measured)
    return Application(Settings.load({"GTOWER_DATABASE_URL": "memory:"}), clock)


async def ask(base_url: str, path: str) -> tuple[int, Any]:
    answer = await AsyncHTTPClient().fetch(base_url + path, raise_error=False)
    return answer.code, json.loads(answer.body)


async def test_a_server_that_is_well_is_alive_and_ready(base_url: str) -> None:
    assert await ask(base_url, "/healthz") == (200, {"status": "ok", "loopLagSeconds": 0.0})
    assert await ask(base_url, "/readyz") == (200, {"status": "ready"})


async def test_a_draining_server_is_alive_and_not_ready(
    base_url: str, application: Application
) -> None:
    application.service.drain(0)
    assert (await ask(base_url, "/healthz"))[0] == 200
    assert await ask(base_url, "/readyz") == (
        503,
        {"status": "not ready", "failing": ["draining"]},
    )


async def test_a_loop_that_is_late_is_not_ready_at_once_and_not_alive_after_long(
    base_url: str, application: Application, clock: FakeClock
) -> None:
    application.loop_health.measured(1.25)
    assert await ask(base_url, "/healthz") == (200, {"status": "ok", "loopLagSeconds": 1.25})
    not_ready = (503, {"status": "not ready", "failing": ["loop"]})
    assert await ask(base_url, "/readyz") == not_ready
    clock.advance(30)
    application.loop_health.measured(1.5)
    assert await ask(base_url, "/healthz") == (
        503,
        {"status": "failing", "failing": ["loop"], "loopLagSeconds": 1.5},
    )
    assert await ask(base_url, "/readyz") == not_ready
    application.loop_health.measured(0.0)
    assert (await ask(base_url, "/healthz"))[0] == 200
    assert (await ask(base_url, "/readyz"))[0] == 200
