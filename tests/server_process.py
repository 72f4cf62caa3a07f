"""The server as a process of its own, that tests kill and start again on the same port."""

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path

from tornado.httpclient import AsyncHTTPClient, HTTPClientError
from tornado.testing import bind_unused_port

_ROOT = Path(__file__).parent.parent
_PATIENCE_SECONDS = 60


# What systemd does between fork and exec: the sockets get the numbers from 3 on, and LISTEN_PID is
# the process's own.
_HANDING_OVER = """
import os, sys
descriptor, program = int(sys.argv[1]), sys.argv[2:]
if descriptor != 3:
    os.dup2(descriptor, 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES="test.socket")
os.execv(program[0], program)
"""


class ServerProcess:
    """One server with settings of its own; ``port`` stays the same over restarts.

    A ``listener`` is handed over to it as systemd does; without one it listens itself. ``command``
    is what is run in the place of the checkout's own.
    """

    def __init__(
        self,
        environ: dict[str, str],
        listener: socket.socket | None = None,
        command: list[str] | None = None,
    ) -> None:
        self._command = command or [sys.executable, str(_ROOT / "run.py")]
        self._listener = listener
        if listener is None:
            free, self.port = bind_unused_port()
            free.close()
        else:
            address = listener.getsockname()
            self.port = address[1] if isinstance(address, tuple) else 0
        own = {"GTOWER_PORT": str(self.port), "GTOWER_DRAIN_SECONDS": "0"}
        self._environ = {**os.environ, **own, **environ}
        self._process: asyncio.subprocess.Process | None = None
        self.first_line = ""
        """What the server has said when it was up."""

    @property
    def pid(self) -> int:
        """The number of the process that runs."""
        assert self._process is not None
        return self._process.pid

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start it; return when it has said that it listens."""
        await self.launch()
        assert self._process is not None
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), _PATIENCE_SECONDS)
        self.first_line = line.decode()

    async def launch(self) -> None:
        """Start it and do not wait."""
        program = self._command
        descriptors = []
        if self._listener is not None:
            descriptors = [self._listener.fileno()]
            program = [sys.executable, "-c", _HANDING_OVER, str(descriptors[0]), *program]
        self._process = await asyncio.create_subprocess_exec(
            *program,
            cwd=_ROOT,
            env=self._environ,
            stdin=asyncio.subprocess.DEVNULL,  # on a terminal SIGHUP does not reload
            stdout=asyncio.subprocess.PIPE,
            pass_fds=descriptors,
        )

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def ended(self) -> int:
        """Wait for its end; return its exit status."""
        process, self._process = self._process, None
        assert process is not None
        return await asyncio.wait_for(process.wait(), _PATIENCE_SECONDS)

    async def kill(self) -> None:
        """End it as a crash does: SIGKILL, no word to anybody."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """End it as an operator does; return its exit status."""
        return await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> int:
        if self._process is None:
            return 0
        self.send(number)
        return await self.ended()


async def publish_until_acknowledged(
    url: str, body: str, key: str, refused: list[str] | None = None
) -> None:
    """Post an event again and again, with one idempotency key, until it is acknowledged.

    What kept it from reaching a server is added to ``refused``; an answer is none of it.
    """
    while True:
        try:
            await AsyncHTTPClient().fetch(
                url,
                method="POST",
                body=body,
                headers={"Content-Type": "application/json", "Idempotency-Key": key},
            )
        except (OSError, HTTPClientError) as problem:
            code = getattr(problem, "code", 599)
            if code < 500 and code != 409:
                raise
            if code == 599 and refused is not None:
                refused.append(repr(problem))
            await asyncio.sleep(0.02)  # the server is gone; nothing tells when it is back
        else:
            return


async def numbers_in_history(url: str, room: str) -> list[int]:
    """Return ``n`` of each event in the whole history of a room, oldest first."""
    numbers: list[int] = []
    after = ""
    while True:
        answer = await AsyncHTTPClient().fetch(
            f"{url}/websocket/rooms/{room}/history?limit=300{after}"
        )
        page = json.loads(answer.body)
        numbers += [event["data"]["n"] for event in page["events"]]
        if not page["more"]:
            return numbers
        after = f"&after={page['events'][-1]['offset']}"
