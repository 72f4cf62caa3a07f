"""What the clients of a soak do: each visit is one way of coming, staying and going."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest

from benchmarks.soak.wire import Connection, Gone, Refused

ROOMS = [f"soak-{number}" for number in range(20)]
STALLED_ROOM = "soak-stalled"

_FLOOD_EVENTS = 3000
_STALL_SECONDS = 15.0
_VISIT_SECONDS = 120.0
_FLOOD_SECONDS = 15.0
_SEPARATOR = "\x1e"


class Visitors:
    """Seats that are always taken: who leaves is followed by another, from another address."""

    def __init__(self, port: int, chance: random.Random) -> None:
        self._port = port
        self._chance = chance
        self._numbers = itertools.count()
        self._is_open = True
        self._http = AsyncHTTPClient(force_instance=True, max_clients=500)
        self.outcomes: Counter[str] = Counter()
        """How visits went; `faults` are those that no visit should have."""
        self.faults: Counter[str] = Counter()

    async def keep_seats(self, seats: int) -> None:
        """Fill all seats until `leave`; return when the last visitor has gone."""
        async with asyncio.TaskGroup() as group:
            for _ in range(seats):
                group.create_task(self._keep_seat())

    def leave(self) -> None:
        """Let nobody come any more."""
        self._is_open = False

    async def _keep_seat(self) -> None:
        visits: list[tuple[Callable[[], Awaitable[None]], float]] = [
            (self._agent, 60),
            (self._poller, 12),
            (self._staller, 12),
            (self._flooder, 4),
            (self._stranger, 6),
            (self._ghost, 6),
        ]
        while self._is_open:
            (visit,) = self._chance.choices(
                [visit for visit, _ in visits], [weight for _, weight in visits]
            )
            try:
                async with asyncio.timeout(_VISIT_SECONDS):
                    await visit()
            except Gone:
                self.outcomes["gone"] += 1
            except (Refused, HTTPClientError, OSError, TimeoutError) as problem:
                self.faults[f"{visit.__name__.strip('_')}: {type(problem).__name__} {problem}"] += 1
            await asyncio.sleep(self._chance.uniform(0, 0.2))

    def _address(self) -> str:
        number = next(self._numbers)
        return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"

    async def _agent(self) -> None:
        """Join rooms, say something, perhaps lose the line and come back, and go."""
        connection = await Connection.open(self._port, self._address())
        try:
            await self._stay(connection)
            for _ in range(self._chance.choice((0, 0, 1, 3))):
                connection.cut()
                await asyncio.sleep(self._chance.uniform(0, 1))
                connection = await self._return(connection)
                await connection.listen(self._chance.uniform(0.5, 2))
            going = self._chance.random()
            if going < 0.4:
                await connection.say("41")  # good-bye: nobody waits for it
            if going < 0.8:
                await connection.close()
            self.outcomes["left"] += 1
        finally:
            connection.cut()

    async def _stay(self, connection: Connection) -> None:
        await connection.join()
        for room in self._chance.sample(ROOMS, 2):
            await connection.ask("joinRoom", room)
        await connection.ask("joinRoom", f"soak-own-{next(self._numbers)}")
        for _ in range(self._chance.randrange(3)):
            message = {"room": self._chance.choice(ROOMS), "message": {"text": "x" * 100}}
            await connection.ask("roomMessage", message)
        await connection.ask("leaveRoom", ROOMS[0])
        if self._chance.random() < 0.05:
            await connection.ask("message", "hello")
        await connection.listen(self._chance.uniform(1, 6))

    async def _return(self, lost: Connection) -> Connection:
        connection = await Connection.open(self._port, self._address())
        connection.pid, connection.offset = lost.pid, lost.offset
        connected = await connection.join()
        self.outcomes["recovered" if connected["recovered"] else connected["reason"]] += 1
        return connection

    async def _poller(self) -> None:
        """Poll for a while, then say good-bye or never come again."""
        address = self._address()
        opening = await self._poll("", address)
        sid = opening.partition('"sid":"')[2].partition('"')[0]
        await self._post(sid, address, "40")
        until = asyncio.get_running_loop().time() + self._chance.uniform(1, 6)
        while asyncio.get_running_loop().time() < until:
            packets = (await self._poll(sid, address)).split(_SEPARATOR)
            if "2" in packets:
                await self._post(sid, address, "3")
        if self._chance.random() < 0.5:
            await self._post(sid, address, "1")
        self.outcomes["polled"] += 1

    async def _poll(self, sid: str, address: str) -> str:
        return await self._fetch(sid, address, "GET", None)

    async def _post(self, sid: str, address: str, packets: str) -> str:
        return await self._fetch(sid, address, "POST", packets)

    async def _fetch(self, sid: str, address: str, method: str, body: str | None) -> str:
        query = f"EIO=4&transport=polling{f'&sid={sid}' if sid else ''}"
        answer = await self._http.fetch(
            HTTPRequest(
                f"http://127.0.0.1:{self._port}/socket.io/?{query}",
                method=method,
                body=body,
                headers={"X-Forwarded-For": address, "Content-Type": "text/plain"},
                request_timeout=60,
            )
        )
        return answer.body.decode()

    async def _staller(self) -> None:
        """Stop reading in a room that gets a lot, until long after the server has had enough."""
        connection = await Connection.open(self._port, self._address(), receive_buffer=8192)
        try:
            await connection.join()
            await connection.ask("joinRoom", STALLED_ROOM)
            await asyncio.sleep(self._chance.uniform(1, _STALL_SECONDS))
            self.outcomes["stalled"] += 1
        finally:
            connection.cut()

    async def _flooder(self) -> None:
        """Send faster than anybody may, and read nothing meanwhile, until the server closes."""
        connection = await Connection.open(self._port, self._address())
        try:
            await connection.join()
            for number in range(_FLOOD_EVENTS):
                await connection.say(f'42{number}["joinRoom","soak-flood-{number % 50}"]')
            await connection.listen(_FLOOD_SECONDS)
            self.outcomes["flooded"] += 1
        finally:
            if connection.close_code is not None:
                self.outcomes[f"flooder closed {connection.close_code}"] += 1
            connection.cut()

    async def _stranger(self) -> None:
        """Speak no Socket.IO."""
        connection = await Connection.open(self._port, self._address())
        try:
            await connection.say(
                self._chance.choice(("hello", "40{", "42[]", "451-[1]", "6", "40/no,"))
            )
            await connection.listen(3)
        finally:
            self.outcomes["strange"] += 1
            connection.cut()

    async def _ghost(self) -> None:
        """Open a connection, and be gone in the middle of something."""
        _, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(
            self._chance.choice(
                (
                    b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: localhost\r\n\r\n",
                    b"POST /websocket/publish HTTP/1.1\r\nHost: localhost\r\n"
                    b"Content-Length: 90\r\n\r\n{",
                    b"GET /websocket/sta",
                )
            )
        )
        await asyncio.sleep(self._chance.uniform(0, 3))
        writer.transport.abort()
        self.outcomes["ghost"] += 1
