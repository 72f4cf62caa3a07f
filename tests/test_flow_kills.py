"""The server killed again and again while events come in: what was acknowledged is delivered.

``CHAOS_KILLS`` sets how often; the default is for every day.
"""

import asyncio
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.ioloop import IOLoop

from tests.returning_client import ReturningClient
from tests.server_process import (
    ServerProcess,
    numbers_in_history,
    publish_until_acknowledged,
)
from tests.socketio_wire import open_wire

KILLS = int(os.environ.get("CHAOS_KILLS", "4"))
ROOM = "ledger"


@pytest.fixture(params=["sqlite", "postgresql"])
def store_environ(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    if request.param == "sqlite":
        return {"GTOWER_STATE_DIR": str(tmp_path)}
    return {
        "GTOWER_STATE_DIR": str(tmp_path),
        "GTOWER_DATABASE_URL": request.getfixturevalue("postgresql").new_database(),
    }


@pytest.fixture
def server(io_loop: IOLoop, store_environ: dict[str, str]) -> Iterator[ServerProcess]:
    process = ServerProcess(store_environ)
    io_loop.run_sync(process.start)
    yield process
    io_loop.run_sync(process.kill)


@pytest.mark.gen_test(timeout=60 + 10 * KILLS)
async def test_everything_acknowledged_is_delivered_once_in_order_and_in_the_history(
    server: ServerProcess, node: str
) -> None:
    client = await ReturningClient.start(node, server.url, ROOM)
    chance = random.Random(KILLS)
    acknowledged: list[int] = []
    has_enough = asyncio.Event()

    async def keep_publishing() -> None:
        while not has_enough.is_set():
            n = len(acknowledged)
            await publish_until_acknowledged(
                f"{server.url}/websocket/event/room/{ROOM}/tick", json.dumps({"n": n}), f"tick-{n}"
            )
            acknowledged.append(n)

    publishing = asyncio.create_task(keep_publishing())
    for kill in range(1, KILLS + 1):
        seen = len(client.ticks)
        wanted = chance.randrange(1, 60)
        await client.until(lambda seen=seen, wanted=wanted: len(client.ticks) >= seen + wanted)
        await server.kill()
        await server.start()
        await client.until(lambda kill=kill: len(client.connects) > kill)
    has_enough.set()
    await publishing
    await client.until(lambda: len(client.ticks) >= len(acknowledged))
    assert client.ticks == acknowledged == list(range(len(acknowledged)))
    assert await numbers_in_history(server.url, ROOM) == acknowledged
    assert [report["recovered"] for report in client.connects] == [False, *([True] * KILLS)]
    await client.stop()
    assert await server.stop() == 0


async def connect(server: ServerProcess, claim: dict[str, str]) -> tuple[dict[str, str], bool]:
    """Connect and be cut; return the claim to come back with, and whether this was a recovery."""
    async with open_wire(server.url) as wire:
        await wire.say(f"40{json.dumps(claim)}")
        pid = json.loads((await wire.hear() or "").removeprefix("40"))["pid"]
        _, welcome, offset = json.loads((await wire.hear() or "").removeprefix("42"))
        return {"pid": pid, "offset": offset, "id": welcome["clientId"]}, welcome["recovered"]


@pytest.mark.gen_test(timeout=60 + 10 * KILLS)
async def test_who_was_sent_away_does_not_come_back_after_a_kill_right_behind_the_answer(
    server: ServerProcess,
) -> None:
    for _ in range(KILLS):
        sent_away, _ = await connect(server, {})
        welcome, _ = await connect(server, {})
        await AsyncHTTPClient().fetch(
            f"{server.url}/websocket/clients/{sent_away['id']}/disconnect",
            method="POST",
            headers={"Content-Type": "application/json"},
            body="{}",
        )
        await server.kill()
        await server.start()
        assert [(await connect(server, claim))[1] for claim in (sent_away, welcome)] == [
            False,
            True,
        ]
