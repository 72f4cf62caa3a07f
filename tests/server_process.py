"""The server as a process of its own, that tests kill and start again on the same port."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from tornado.httpclient import AsyncHTTPClient, HTTPClientError
from tornado.testing import bind_unused_port

_ROOT = Path(__file__).parent.parent
_PATIENCE_SECONDS = 30


class ServerProcess:
    """One server with settings of its own; ``port`` stays the same over restarts."""

    def __init__(self, environ: dict[str, str]) -> None:
        listener, self.port = bind_unused_port()
        listener.close()
        self._environ = {**os.environ, "GTOWER_PORT": str(self.port), **environ}
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start it; return when it has said that it listens."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(_ROOT / "run.py"),
            cwd=_ROOT,
            env=self._environ,
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdout is not None
        await asyncio.wait_for(self._process.stdout.readline(), _PATIENCE_SECONDS)

    async def kill(self) -> None:
        """End it as a crash does: SIGKILL, no word to anybody."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """End it as an operator does; return its exit status."""
        return await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        return await asyncio.wait_for(process.wait(), _PATIENCE_SECONDS)


async def publish_until_acknowledged(url: str, body: str, key: str) -> None:
    """Post an event again and again, with one idempotency key, until it is acknowledged."""
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
            await asyncio.sleep(0.02)  # the server is gone; nothing tells when it is back
        else:
            return
