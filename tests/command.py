"""The command line as a process of its own, as people and scripts run it."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

_ROOT = Path(__file__).parent.parent
_PATIENCE_SECONDS = 60


class Ended(NamedTuple):
    """How a command ended, and what it has printed."""

    status: int
    output: str
    errors: str

    @property
    def said(self) -> Any:
        """The output as JSON."""
        return json.loads(self.output)


async def command(*arguments: str, given: str = "", **environ: str) -> Ended:
    """Run a command to its end; ``given`` is its standard input."""
    async with running_command(*arguments, **environ) as process:
        output, errors = await asyncio.wait_for(
            process.communicate(given.encode()), _PATIENCE_SECONDS
        )
        assert process.returncode is not None
        return Ended(process.returncode, output.decode(), errors.decode())


@asynccontextmanager
async def running_command(
    *arguments: str, **environ: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a command, which is killed in the end if it still runs; no setting comes from outside."""
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GTOWER_") and name not in {"PORT", "CORS_ORIGIN"}
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(_ROOT / "run.py"),
        *arguments,
        env={**own, "PYTHONUTF8": "1", **environ},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
