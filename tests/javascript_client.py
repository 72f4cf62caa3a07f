"""The stock socket.io-client under Node, from the project's node_modules, driven from a test."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.conftest import PATIENCE_SECONDS

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "tests" / "javascript" / "client.mjs"
INSTALLED = ROOT / "node_modules" / "socket.io-client"

Told = dict[str, Any]

Event = tuple[str, list[Any]]
"""The name of an event and everything that its listeners are called with."""


class JavaScriptClient:
    """One socket of the stock client. What it tells comes in order; see `client.mjs`.

    Opening and upgrading the transport is left out of it, and noted in :attr:`transports`.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._number = 0
        self.transports: list[str] = []
        """The transports it has used so far."""

    async def connect(self, url: str, **options: Any) -> Told:
        """Connect, and return what is told first: ``connect`` or ``connect_error``."""
        await self._command("connect", url=url, options=options)
        return await self.told()

    async def upgraded(self) -> None:
        """Wait until the transport is a WebSocket, passing by what is told before."""
        while self.transports[-1:] != ["websocket"]:
            await self._next_line()

    async def emit(self, event: str, *arguments: Any) -> None:
        """Send an event; an argument ``{"bytes": [1, 2]}`` is a Buffer."""
        await self._command("emit", arguments=[event, *arguments])

    async def ask(self, event: str, *arguments: Any) -> list[Any]:
        """Send an event and return the arguments of its acknowledgement, passing events by."""
        return (await self.ask_and_hear(event, *arguments))[0]

    async def ask_and_hear(self, event: str, *arguments: Any) -> tuple[list[Any], list[Event]]:
        """Send an event; return its acknowledgement and the events before it."""
        self._number += 1
        await self._command("ask", number=self._number, arguments=[event, *arguments])
        events = []
        while (told := await self.told())["what"] == "event":
            events.append((told["name"], told["arguments"]))
        assert (told["what"], told["number"]) == ("answer", self._number)
        return list(told["arguments"]), events

    async def acknowledge(self, event: str) -> None:
        """Listen to an event and call the callback each time that there is one."""
        await self._command("acknowledge", event=event)

    def kill(self) -> None:
        """End the process at once, and with it the connection, without a word to the server."""
        self._process.kill()

    async def disconnect(self) -> None:
        """Disconnect as a page does."""
        await self._command("disconnect")

    async def connect_again(self) -> None:
        """Connect the same socket as a page does that has been disconnected."""
        await self._command("connectAgain")

    async def told(self, what: str | None = None) -> Told:
        """Return what is told next, or next of the kind ``what``, passing others by."""
        while True:
            told = await self._next_line()
            if told["what"] in {"open", "upgrade"}:
                continue
            if what is None or told["what"] == what:
                return told

    async def next_event(self, name: str | None = None) -> Event:
        """Return the next event, or the next called ``name``, and its arguments."""
        while True:
            told = await self.told("event")
            if name is None or told["name"] == name:
                return told["name"], told["arguments"]

    async def _next_line(self) -> Told:
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), PATIENCE_SECONDS)
        assert line, "the client has ended"
        told: Told = json.loads(line)
        if told["what"] in {"open", "upgrade"}:
            self.transports.append(told["transport"])
        return told

    async def _command(self, name: str, **details: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": name, **details}).encode() + b"\n")
        await self._process.stdin.drain()


@asynccontextmanager
async def javascript_client(node: str) -> AsyncIterator[JavaScriptClient]:
    """Start a client, not connected yet; it ends with the block, whatever happens in it."""
    assert INSTALLED.is_dir(), "socket.io-client is missing: run `make install`"
    process = await asyncio.create_subprocess_exec(
        node, SCRIPT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield JavaScriptClient(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise
