"""The stock JavaScript client in a Node process, coming back whenever it is cut off."""

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.tcp_proxy import TcpProxy

_SCRIPT = Path(__file__).parent / "javascript" / "returning_client.mjs"
_PATIENCE_SECONDS = 30


class ReturningClient:
    """What one such client has reported: ``ticks`` are the numbers of its events, in order."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._news = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())
        self.ticks: list[int] = []
        self.connects: list[dict[str, Any]] = []
        self.joined = 0
        self.disconnects = 0
        self.refusals: list[str] = []
        """Why attempts to come back failed; to wait for too long is none."""
        self.reports: list[dict[str, Any]] = []

    @classmethod
    async def start(
        cls, node: str, url: str, room: str, transports: str = "websocket"
    ) -> "ReturningClient":
        """Start one and wait until it has joined ``room``."""
        process = await asyncio.create_subprocess_exec(
            node,
            str(_SCRIPT),
            url,
            transports,
            room,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 22,
        )
        client = cls(process)
        await client.until(lambda: client.joined >= 1)
        return client

    async def until(self, holds: Any) -> None:
        """Wait until ``holds()``; it is asked after each report."""

        async def held() -> None:
            async with self._news:
                await self._news.wait_for(holds)

        await asyncio.wait_for(held(), _PATIENCE_SECONDS)

    async def is_cut_off(self, proxy: TcpProxy) -> None:
        """Cut the line until the client has noticed: a polling one has none at some moments."""
        before = self.disconnects
        noticed = asyncio.create_task(self.until(lambda: self.disconnects > before))
        while not noticed.done():
            proxy.cut()
            reconnected = asyncio.create_task(proxy.next_connection())
            await asyncio.wait({noticed, reconnected}, return_when=asyncio.FIRST_COMPLETED)
            reconnected.cancel()
        await noticed

    async def stop(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await asyncio.wait_for(self._process.wait(), _PATIENCE_SECONDS)
        await self._reader

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            report = json.loads(line)
            async with self._news:
                self.reports.append(report)
                if "n" in report:
                    self.ticks.append(report["n"])
                elif "connected" in report:
                    self.connects.append(report)
                elif "joined" in report:
                    self.joined += 1
                elif "disconnected" in report:
                    self.disconnects += 1
                elif report.get("refused", "timeout") != "timeout":
                    self.refusals.append(report["refused"])
                self._news.notify_all()
