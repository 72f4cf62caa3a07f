"""What the back-ends of a soak do: publish, ask and make mistakes, at a steady rate."""

import asyncio
import itertools
import json
import random
from collections import Counter
from collections.abc import Coroutine
from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPRequest

from benchmarks.soak.visitors import ROOMS, STALLED_ROOM

_SMALL = {"text": "x" * 200}
_LARGE = {"text": "x" * 60_000}
_NOTICE = {"type": "info", "title": "soak", "message": "x" * 100}

_EVENTS_PER_ROUND = 8
_LARGE_PER_ROUND = 3
_ROUNDS_PER_SECOND = 5
_FILL_BYTES = 80_000_000

Body = dict[str, Any]


class Backends:
    """Requests at a steady rate; what each round has is the same, but for whom it is."""

    def __init__(self, port: int, chance: random.Random) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._chance = chance
        self._numbers = itertools.count()
        self._http = AsyncHTTPClient(force_instance=True, max_clients=100)
        self.statuses: Counter[int] = Counter()

    async def fill(self) -> None:
        """Do everything once, and publish what a server keeps of its newest events in memory.

        So what grows to a certain size, and what is opened at its first use, is there beforehand.
        """
        await asyncio.gather(*self._round())
        large = [{"event": "soakLarge", "data": _LARGE, "rooms": ["nobody"]}] * 30
        small = [{"event": "soakSmall", "data": _SMALL, "rooms": ["nobody"]}] * 80
        batch = {"publish": large + small}
        for _ in range(_FILL_BYTES // len(json.dumps(batch))):
            await self._post("/websocket/batch", batch)

    async def work(self) -> None:
        """Go on until cancelled."""
        while True:
            async with asyncio.TaskGroup() as group:
                for request in self._round():
                    group.create_task(request)
                group.create_task(asyncio.sleep(1 / _ROUNDS_PER_SECOND))

    def _round(self) -> list[Coroutine[Any, Any, None]]:
        number = next(self._numbers)
        room = self._chance.choice(ROOMS)
        requests: list[Coroutine[Any, Any, None]] = [
            self._post(f"/websocket/event/room/{self._chance.choice(ROOMS)}/soakSmall", _SMALL)
            for _ in range(_EVENTS_PER_ROUND)
        ]
        requests += [
            self._post(f"/websocket/event/room/{STALLED_ROOM}/soakLarge", _LARGE)
            for _ in range(_LARGE_PER_ROUND)
        ]
        requests += [
            self._post("/websocket/notify/broadcast", {**_NOTICE, "type": "odd"}),
            self._post("/websocket/chat/client/nobody", {}),
            self._post(f"/websocket/event/broadcast/soak{number}", {}, volatile=True),
            self._get(f"/websocket/rooms/{room}/history?limit=20"),
            self._get(f"/websocket/rooms/{room}/presence"),
            self._get("/websocket/rooms?limit=50"),
            self._get("/websocket/clients?limit=50"),
            self._get(f"/nowhere/{number}"),
            self._post(
                "/websocket/notify/broadcast",
                _NOTICE,
                headers={"Idempotency-Key": f"k{number // 2}"},
            ),
        ]
        return requests

    async def _get(self, path: str) -> None:
        await self._send(HTTPRequest(self._url + path))

    async def _post(
        self,
        path: str,
        body: Body,
        *,
        headers: dict[str, str] | None = None,
        volatile: bool = False,
    ) -> None:
        if volatile:
            event = path.rpartition("/")[2]
            path, body = "/websocket/publish", {"event": event, "all": True, "volatile": True}
        await self._send(
            HTTPRequest(
                self._url + path,
                method="POST",
                body=json.dumps(body),
                headers={"Content-Type": "application/json", **(headers or {})},
                request_timeout=60,
            )
        )

    async def _send(self, request: HTTPRequest) -> None:
        answer = await self._http.fetch(request, raise_error=False)
        self.statuses[answer.code] += 1
