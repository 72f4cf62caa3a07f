"""The server killed right behind an answer to Meta, and while it publishes: each event once.

``CHAOS_KILLS`` sets how often; the default is for every day.
"""

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.ioloop import IOLoop

from tests.server_process import ServerProcess
from tests.whatsapp_webhooks import (
    ENVIRON,
    a_body,
    a_message,
    a_status,
    a_value,
    signed,
)

KILLS = int(os.environ.get("CHAOS_KILLS", "2"))
MESSAGES = 400


@pytest.fixture(params=["sqlite", "postgresql"])
def store_environ(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    common = {**ENVIRON, "GTOWER_STATE_DIR": str(tmp_path)}
    if request.param == "sqlite":
        return common
    return common | {"GTOWER_DATABASE_URL": request.getfixturevalue("postgresql").new_database()}


@pytest.fixture
def server(io_loop: IOLoop, store_environ: dict[str, str]) -> Iterator[ServerProcess]:
    process = ServerProcess(store_environ)
    io_loop.run_sync(process.start)
    yield process
    io_loop.run_sync(process.kill)


async def post(server: ServerProcess, body: bytes) -> None:
    """Post a signed body, which must be answered with 200."""
    await AsyncHTTPClient().fetch(
        f"{server.url}/whatsapp/webhook", method="POST", body=body, headers=signed(body)
    )


async def published(server: ServerProcess) -> list[dict[str, Any]]:
    """Return the payloads of all events so far."""
    payloads: list[dict[str, Any]] = []
    after = ""
    while True:
        answer = await AsyncHTTPClient().fetch(
            f"{server.url}/websocket/rooms/whatsapp%3Ageneral/history?limit=300{after}"
        )
        page = json.loads(answer.body)
        payloads += [event["data"] for event in page["events"]]
        if not page["more"]:
            return payloads
        after = f"&after={page['events'][-1]['offset']}"


async def published_in_the_end(server: ServerProcess) -> list[dict[str, Any]]:
    """Return the payloads of all events once nothing is waiting any more."""
    while True:
        answer = await AsyncHTTPClient().fetch(f"{server.url}/metrics")
        if b"\ngtower_whatsapp_waiting 0.0\n" in answer.body:
            return await published(server)


@pytest.mark.gen_test(timeout=60 + 10 * KILLS)
async def test_what_was_answered_right_before_a_kill_is_published_once(
    server: ServerProcess,
) -> None:
    bodies = [a_body(a_value([a_message(f"m{kill}")])) for kill in range(KILLS)]
    for body in bodies:
        await post(server, body)
        await server.kill()
        await server.start()
    for body in bodies:
        # Meta may not have seen the answers.
        await post(server, body)
    events = await published_in_the_end(server)
    assert [event["whatsappMessageId"] for event in events] == [f"m{n}" for n in range(KILLS)]


@pytest.mark.gen_test(timeout=60 + 10 * KILLS)
async def test_each_message_and_status_of_a_batch_is_published_once_wherever_the_kill_falls(
    server: ServerProcess,
) -> None:
    chance = random.Random(KILLS)
    for kill in range(KILLS):
        ids = [f"{kill}-{number}" for number in range(MESSAGES)]
        messages = [a_message(message_id) for message_id in ids]
        statuses = [a_status(message_id, "read") for message_id in ids]
        body = a_body(
            a_value(messages[::2], statuses[::2]), a_value(messages[1::2], statuses[1::2])
        )
        already = kill * 2 * MESSAGES
        await post(server, body)
        wanted = already + chance.randrange(2 * MESSAGES)
        while len(await published(server)) < wanted:
            continue
        await server.kill()
        await server.start()
        await post(server, body)
    events = await published_in_the_end(server)
    expected = [
        (f"{kill}-{number}", status)
        for kill in range(KILLS)
        for half in (0, 1)
        for status in (None, "read")
        for number in range(half, MESSAGES, 2)
    ]
    assert [
        (event.get("whatsappMessageId", event.get("messageId")), event_status(event))
        for event in events
    ] == expected
    assert await server.stop() == 0


def event_status(event: dict[str, Any]) -> str | None:
    return event["status"] if "messageId" in event else None
