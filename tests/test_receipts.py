"""The page of receipts: its commands are run, what they print is compared, each field is told."""

import asyncio
import json
import os
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import jwt
import pytest
from tornado.ioloop import IOLoop

from gtower_realtime.application import Application
from gtower_realtime.settings import Settings
from handlers import api, openapi
from tests.conftest import ConnectClient
from tests.fakes import NOW, FakeClock
from tests.socketio_wire import open_wire
from tests.test_readme import DOCUMENTED_SERVER, ROOT, Block, blocks_of, run
from tests.wire import until

PAGE = ROOT / "docs" / "receipts.md"
SECRET = "a secret of 32 letters and more, for tokens"
CAPS = [{"rooms": ["*"], "allow": ["join", "publish", "history", "presence"]}]
BROWSER = "Mozilla/5.0"

SHOWN = {
    "ANN": "aNnNn3xYt8Uf6PqW0001",
    "BEN": "bEnNn3xYt8Uf6PqW0002",
    "EVE": "eVeEe3xYt8Uf6PqW0003",
}
"""The ids that stand on the page for those of the clients."""


@pytest.fixture
def application(io_loop: IOLoop) -> Application:
    settings = {"GTOWER_DATABASE_URL": "memory:", "GTOWER_JWT_SECRET": SECRET}
    # A time that stands makes the minutes of the analytics, and all times, the same each time.
    return Application(Settings.load(settings), clock=FakeClock())


def token(user_id: str, **claims: Any) -> str:
    end = NOW + timedelta(hours=1)
    return jwt.encode({"sub": user_id, "exp": end.timestamp(), "caps": CAPS, **claims}, SECRET)


def pairs(page: str) -> list[tuple[str, str]]:
    """Return each command of the page and the answer behind it."""
    blocks = [Block(*found) for found in re.findall(r"^```(\w+)\n(.*?)^```$", page, re.M | re.S)]
    commands, answers = blocks[::2], blocks[1::2]
    assert {block.language for block in commands} <= {"sh"}
    assert {block.language for block in answers} <= {"json"}
    return [(one.text, other.text) for one, other in zip(commands, answers, strict=True)]


async def answers_to(
    commands: list[str], application: Application, base_url: str, connect_client: ConnectClient
) -> list[Any]:
    """Run the commands where Ann and Eve are connected and Ben is away; return what they print."""
    options = {"headers": {"User-Agent": BROWSER}}
    ann = await connect_client(auth={"token": token("ann", info={"name": "Ann"})}, **options)
    await ann.ask("joinRoom", "desk:1")
    eve = await connect_client(auth={"token": token("eve")}, **options)
    async with open_wire(base_url, **{"User-Agent": BROWSER}) as ben:
        await ben.join(payload={"token": token("ben")})
        await ben.ask("joinRoom", "desk:1")
        # So that the most clients at once are three, whenever the second is over.
        application.service.analytics.tick()
        ben.cut()
        await until(lambda: ben.id not in application.clients)
    ids = {"ANN": ann.id, "BEN": ben.id, "EVE": eve.id}
    answers = []
    event_id = ""
    for command in commands:
        script = command.replace(DOCUMENTED_SERVER, base_url)
        environ = {**os.environ, **ids, "EVENT": event_id}
        printed = await run("sh", "-c", script, stderr=asyncio.subprocess.DEVNULL, env=environ)
        event_id = json.loads(printed).get("id", event_id) if printed[0] == "{" else event_id
        for name, shown in SHOWN.items():
            printed = printed.replace(ids[name], shown)
        answers.append(json.loads(printed))
    return answers


def likeness(value: Any) -> Any:
    """Return ``value`` with ids of events and the epoch of the log, new each time, made equal."""
    if isinstance(value, dict):
        return {
            key: "…" if key == "id" and each not in SHOWN.values() else likeness(each)
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [likeness(each) for each in value]
    if isinstance(value, str):
        # The number behind the epoch is the same each time.
        return re.sub(r"^[0-9a-f]{8}-(?=[0-9a-f]+$)", "…-", value)
    return value


@pytest.mark.gen_test
async def test_the_commands_of_the_page_get_the_answers_that_follow_them(
    application: Application, base_url: str, connect_client: ConnectClient
) -> None:
    documented = pairs(PAGE.read_text(encoding="utf-8"))
    commands = [command for command, _ in documented]
    answers = await answers_to(commands, application, base_url, connect_client)
    for (command, shown), answer in zip(documented, answers, strict=True):
        assert likeness(answer) == likeness(json.loads(shown)), command


def keys_of(value: Any) -> Iterator[str]:
    """Yield the names of all fields of an answer, but not of what clients and users put in."""
    if isinstance(value, list):
        for each in value:
            yield from keys_of(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            yield key
            if key not in {"data", "info", "refusals"} and not (
                key == "events" and isinstance(each, dict)
            ):
                yield from keys_of(each)


def test_each_field_of_each_answer_is_told_in_its_section_or_before() -> None:
    told: set[str] = set()
    sections = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.M)[1:]
    for section in sections:
        cells = re.findall(r"^\| (`.*?) \|", section, re.M)
        cells += re.findall(r"^\|.*\| (.*) \|$", section, re.M)
        told |= set(re.findall(r"`(\w+)`", " ".join(cells)))
        shown = [json.loads(answer) for _, answer in pairs(section)]
        assert set(keys_of(shown)) <= told, section.partition("\n")[0]


def test_every_block_of_the_page_is_a_command_or_its_answer() -> None:
    assert len(blocks_of(PAGE)) == 2 * len(pairs(PAGE.read_text(encoding="utf-8"))) > 0


def test_what_a_cluster_adds_is_told() -> None:
    section = (
        PAGE.read_text(encoding="utf-8").partition("## In a cluster\n")[2].partition("\n## ")[0]
    )
    assert re.findall(r"^\| `(\w+)` \|", section, re.M) == ["partial", "nodesMissing"]
    headers = re.findall(r"`(X-[\w-]+): ", section)
    assert headers == ["X-Partial", "X-Nodes-Missing"]
    assert set(headers) <= set(openapi.document(api.routes())["components"]["headers"])
