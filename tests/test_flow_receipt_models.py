"""Clients connect, cut, stall and return while events are published: every receipt is exact.

Over real connections; what the receipts have to say is worked out by `receipt_model`.
"""

import asyncio
import json
import random
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from tornado.httpclient import AsyncHTTPClient

from gtower_realtime.application import Application
from gtower_realtime.http1.server import HttpServer
from gtower_realtime.ports import Target
from gtower_realtime.publishing import Delivery
from tests.conftest import PATIENCE_SECONDS
from tests.receipt_model import Model, ModelClient
from tests.wire import EngineIOClient, RawWebSocket, until

SECRET = "a secret of 32 letters and more, for tokens"
CAPS = [{"rooms": ["*"], "allow": ["join"]}]
LIMIT = 100_000
ROOMS = ["desk:1", "desk:2", "sales"]
USERS = ["u1", "u2"]
STEPS = [
    *["join", "leave", "cut", "return", "return", "stall", "connect"],
    *["trigger", "publish", "batch"] * 3,
    *["ask", "goodbye"],
]


@pytest.fixture
def environ() -> dict[str, str]:
    return {
        "GTOWER_JWT_SECRET": SECRET,
        "GTOWER_MAX_CLIENT_BUFFER_BYTES": str(LIMIT),
        "GTOWER_ANNOUNCE_CLIENTS": "false",
        # Nothing is confirmed by pongs, at whatever speed the test runs.
        "GTOWER_PING_INTERVAL": "300",
    }


def token(user_id: str) -> str:
    end = datetime.now(UTC) + timedelta(hours=1)
    return jwt.encode({"sub": user_id, "exp": end.timestamp(), "caps": CAPS}, SECRET)


class Page:
    """A client that reads only when it is told to, and acknowledges only what it is told to."""

    def __init__(self, socket: RawWebSocket) -> None:
        self._socket = socket
        self._asked = 0
        self.id = ""
        self.pid: str | None = None
        self.ticks: list[tuple[int, str]] = []
        """The number and the acknowledgement id of each tick that was read and not looked at."""

    @classmethod
    async def connect(cls, port: int, **auth: Any) -> "Page":
        socket = await EngineIOClient(port).websocket(receive_buffer=4096)
        page = cls(socket)
        assert str(await socket.read_packet()).startswith("0{")
        await socket.send_frame("40" + json.dumps(auth))
        answer = json.loads(str(await socket.read_packet()).removeprefix("40"))
        page.id, page.pid = answer["sid"], answer.get("pid")
        assert str(await socket.read_packet()).startswith('42["connected"')
        return page

    async def ask(self, event: str, argument: Any) -> Any:
        """Send an event, and read up to its acknowledgement."""
        self._asked += 1
        await self._socket.send_frame(f"42{self._asked}{json.dumps([event, argument])}")
        while not (packet := await self._read()).startswith(f"43{self._asked}["):
            pass
        return json.loads(packet[packet.index("[") :])[0]

    async def catch_up(self) -> list[int]:
        """Return the numbers of all ticks that it has been sent and not looked at."""
        assert (await self.ask("leaveRoom", "nowhere"))["ok"]
        ticks, self.ticks = self.ticks, []
        return [number for number, _ in ticks]

    async def next_tick(self) -> tuple[int, str]:
        """Read up to the next tick; return its number and acknowledgement id."""
        while not self.ticks:
            await self._read()
        return self.ticks.pop(0)

    async def _read(self) -> str:
        packet = str(await self._socket.read_packet())
        tick = re.fullmatch(r'42(\d*)(\["tick",.*)', packet)
        if tick is not None:
            self.ticks.append((json.loads(tick[2])[1]["n"], tick[1]))
        return packet

    async def acknowledge(self, ack_id: str) -> None:
        await self._socket.send_frame(f"43{ack_id}[]")

    async def say_goodbye(self) -> None:
        await self._socket.send_frame("41")

    def stop_reading(self) -> None:
        self._socket.stop_reading()

    async def vanish(self) -> None:
        await self._socket.vanish()

    async def close(self) -> None:
        await self._socket.close()


class Play:
    """Does the same to a server and to the model, and compares what both say."""

    def __init__(self, application: Application, base_url: str, port: int, seed: int) -> None:
        self.application = application
        self.base_url = base_url
        self.port = port
        self.chance = random.Random(seed)
        self.model = Model()
        self.pages: dict[str, Page] = {}
        self.expected: dict[str, list[int]] = {}
        """The numbers that a client is to have been sent since it looked last."""
        self.published = 0
        self.number_of: dict[str, int] = {}

    async def do(self, step: str) -> None:
        await getattr(self, f"_{step}")()

    def one_of(self, clients: list[ModelClient]) -> ModelClient | None:
        return self.chance.choice(clients) if clients else None

    def some_of(self, names: list[str]) -> list[str]:
        return self.chance.sample(names, self.chance.randrange(len(names) + 1))

    def reading(self) -> list[ModelClient]:
        return [client for client in self.model.those("here") if not client.is_stalled]

    # What clients do

    async def _connect(self) -> None:
        if len(self.model.clients) < 8:
            can_return = len(self.model.clients) % 3 != 2
            user_id = self.chance.choice(USERS)
            options = {} if can_return else {"recovery": "0"}
            page = await Page.connect(self.port, token=token(user_id), **options)
            assert (page.pid is not None) == can_return
            self.pages[page.id], self.expected[page.id] = page, []
            self.model.connect(ModelClient(page.id, user_id, can_return))

    async def _join(self) -> None:
        client = self.one_of(self.reading())
        if client is not None:
            room = self.chance.choice(ROOMS)
            assert (await self.pages[client.id].ask("joinRoom", room))["ok"]
            client.rooms.add(room)

    async def _leave(self) -> None:
        client = self.one_of([one for one in self.reading() if one.rooms])
        if client is not None:
            room = self.chance.choice(sorted(client.rooms))
            assert (await self.pages[client.id].ask("leaveRoom", room))["ok"]
            client.rooms.discard(room)

    async def _cut(self) -> None:
        client = self.one_of(self.model.those("here"))
        if client is not None:
            if not client.is_stalled:
                await self._catch_up(client)
            await self._break(client.id)
            self.model.cut(client)

    async def _break(self, client_id: str) -> None:
        await self.pages[client_id].vanish()
        await until(lambda: client_id not in self.application.clients)

    async def _goodbye(self) -> None:
        client = self.one_of(self.reading())
        if client is not None:
            await self._catch_up(client)
            await self.pages[client.id].say_goodbye()
            await until(lambda: client.id not in self.application.clients)
            await self.pages[client.id].vanish()
            self.model.end(client)

    async def _return(self) -> None:
        client = self.one_of(self.model.those("away"))
        if client is not None:
            client.claimed = claimed = self.chance.randint(client.claimed, client.seen)
            pid, offset = self.pages[client.id].pid, str(self.application.journal.offset(claimed))
            page = await Page.connect(
                self.port, token=token(client.user_id), pid=pid, offset=offset
            )
            assert page.id == client.id
            self.pages[client.id] = page
            sent = self.model.come_back(client, claimed)
            self.expected[client.id] = [self.number_of[event_id] for event_id in sent]
            await self._catch_up(client)

    async def _stall(self) -> None:
        """Let a client stop reading, and send it so much that its buffer is full."""
        client = self.one_of(self.reading())
        if client is not None:
            await self._catch_up(client)
            self.pages[client.id].stop_reading()
            waiting_bytes = self.application.transport.waiting_bytes
            target, volatile = Target.client(client.id), Delivery(is_volatile=True)
            while waiting_bytes(client.id) <= LIMIT:
                padding = {"text": "x" * 20_000}
                await self.application.service.send("padding", padding, target, volatile)
                await asyncio.sleep(0)
            client.is_stalled = True

    async def _catch_up(self, client: ModelClient) -> None:
        """Let a client read, and see that it was sent what it should have been, and no more."""
        expected, self.expected[client.id] = self.expected[client.id], []
        assert await self.pages[client.id].catch_up() == expected

    # What back-ends do

    async def _trigger(self) -> None:
        targets = {
            "broadcast": Target.all(),
            **{f"room/{room}": Target.room(room) for room in ROOMS},
            **{f"user/{user}": Target.user(user) for user in USERS},
            **{f"client/{one}": Target.client(one) for one in self.model.clients},
        }
        path = self.chance.choice(list(targets))
        gone = {client.id for client in self.model.those("gone")}
        status, answer = await self._post(f"event/{path}/tick", {"n": self._next_number()})
        if gone.intersection(targets[path].clients):
            assert (status, answer["error"]["code"]) == (404, "unknown_client")
        else:
            self._compare(answer, targets[path], is_stored=True)
        await self._depart()

    def _next_number(self) -> int:
        self.published += 1
        return self.published

    def _any_publish(self) -> tuple[dict[str, Any], Target, list[str]]:
        """Return a request to publish, its target, and those of its clients that are not there."""
        clients = self.some_of([*self.model.clients, "nobody"])
        gone = {client.id for client in self.model.those("gone")} | {"nobody"}
        target = Target(
            rooms=tuple(self.some_of(ROOMS)) or ("empty",),
            users=tuple(self.some_of(USERS)) if self.chance.random() < 0.3 else (),
            clients=tuple(one for one in clients if one not in gone),
            everyone=self.chance.random() < 0.1,
            excluded=frozenset(self.some_of(list(self.model.clients)))
            if self.chance.random() < 0.3
            else frozenset(),
        )
        body = {
            "event": "tick",
            "data": {"n": self._next_number()},
            "rooms": list(target.rooms),
            "users": list(target.users),
            "clients": clients,
            "all": target.everyone,
            "except": sorted(target.excluded),
        }
        return body, target, [one for one in clients if one in gone]

    async def _publish(self) -> None:
        body, target, unknown = self._any_publish()
        is_stored = self.chance.random() < 0.6
        status, answer = await self._post("publish", {**body, "volatile": not is_stored})
        assert (status, answer["unknownClients"]) == (201, unknown)
        self._compare(answer, target, is_stored=is_stored)
        await self._depart()

    async def _batch(self) -> None:
        wanted = [self._any_publish() for _ in range(3)]
        bodies = [body for body, _, _ in wanted]
        status, answer = await self._post("batch", {"publish": bodies})
        assert (status, answer["success"]) == (201, True)
        self.published -= len(wanted)
        for (_, target, unknown), result in zip(wanted, answer["results"], strict=True):
            self.published += 1
            assert result["unknownClients"] == unknown
            self._compare(result, target, is_stored=True)
        await self._depart()

    async def _ask(self) -> None:
        """Publish and wait: some acknowledge, some are cut, and at times the others stay silent."""
        body, target, unknown = self._any_publish()
        for client in self.reading():
            await self._catch_up(client)
        asking = asyncio.ensure_future(self._post("publish?wait=ack&timeout=3000", body))
        asked, awaiting = self.model.publish(target, is_stored=True)
        seeing = self.some_of(asked) if self.chance.random() < 0.3 else asked
        cut = self.some_of([one for one in asked if one not in seeing])
        for client_id in asked:
            number, ack_id = await self.pages[client_id].next_tick()
            assert number == self.published
            if client_id in seeing:
                await self.pages[client_id].acknowledge(ack_id)
            elif client_id in cut:
                await self._break(client_id)
        _, answer = await asking
        self._named(answer["id"])
        assert (sorted(answer["acked"]), sorted(answer["disconnected"])) == (
            sorted(seeing),
            sorted(cut),
        )
        silent = set(asked) - {*seeing, *cut}
        assert set(answer["timedOut"]) == silent
        assert (answer["recipients"], answer["pending"]) == (len(asked), len(awaiting))
        assert answer["unknownClients"] == unknown
        for client_id in seeing:
            self.model.acknowledge(self.model.clients[client_id], answer["id"])
        for client_id in cut:
            self.model.cut(self.model.clients[client_id])
        await self._depart()

    async def _post(self, path: str, body: Any) -> tuple[int, dict[str, Any]]:
        answer = await AsyncHTTPClient().fetch(
            f"{self.base_url}/websocket/{path}",
            method="POST",
            body=json.dumps(body),
            headers={"Content-Type": "application/json"},
            raise_error=False,
        )
        return answer.code, json.loads(answer.body)

    def _named(self, event_id: str) -> None:
        self.model.named(event_id)
        self.number_of[event_id] = self.published

    def _compare(self, receipt: dict[str, Any], target: Target, *, is_stored: bool) -> None:
        handed, awaiting = self.model.publish(target, is_stored=is_stored)
        self._named(receipt["id"])
        for client_id in handed:
            self.expected[client_id].append(self.published)
        assert (receipt["recipients"], receipt["pending"]) == (len(handed), len(awaiting))

    async def _depart(self) -> None:
        """See off the connections that the server has closed as too slow."""
        for client in self.model.those("closing"):
            await self._break(client.id)
            self.model.departed(client)

    # What both say

    async def compare_all(self) -> None:
        for client in self.reading():
            await self._catch_up(client)
        for event_id, event in self.model.events.items():
            status, told = await self._get(f"events/{event_id}?limit=1000")
            assert status == 200
            fates = {one.id: one.fates[event_id] for one in self.model.clients.values()}
            assert {
                one["clientId"]: (one["state"], one.get("reason")) for one in told["clients"]
            } == {one: fate for one, fate in fates.items() if fate[0] != "not_matched"}, event
            for client_id, fate in fates.items():
                _, told = await self._get(f"events/{event_id}?client={client_id}")
                (one,) = told["clients"]
                assert (one["state"], one.get("reason")) == fate, event
        for room in ROOMS:
            _, told = await self._get(f"rooms/{room}/presence")
            there = [one.id for one in self.model.those("here") if room in one.rooms]
            assert {one["clientId"] for one in told["clients"]} == set(there)
        _, status = await self._get("status")
        assert status["connectedClients"] == len(self.model.those("here"))

    async def _get(self, path: str) -> tuple[int, dict[str, Any]]:
        answer = await AsyncHTTPClient().fetch(f"{self.base_url}/websocket/{path}")
        return answer.code, json.loads(answer.body)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.gen_test(timeout=6 * PATIENCE_SECONDS)
async def test_every_count_and_every_trace_is_what_the_model_says(
    application: Application, http_server: HttpServer, base_url: str, http_port: int, seed: int
) -> None:
    play = Play(application, base_url, http_port, seed)
    try:
        for step in ["connect"] * 4 + ["join"] * 4:
            await play.do(step)
        for _ in range(30):
            await play.do(play.chance.choice(STEPS))
        await play.compare_all()
    finally:
        for page in play.pages.values():
            await page.close()
