"""docs/command-line.md: every example is run, in its order, and prints what the page shows."""

import asyncio
import itertools
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from gtower_realtime.cli import main
from tests.server_process import ServerProcess
from tests.test_readme import Block, blocks_of

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "command-line.md"
PATIENCE_SECONDS = 60

_GOES_ON = ("gtower-realtime serve", "gtower-realtime listen")
"""What is ended by a signal, or by what comes next."""

_VARIES = re.compile(
    r"https?://\S+|(?<![\w-])(?![A-Z_]+(?![\w-]))[\w-]{16,}|\b[0-9a-f]{8}-\d+|[\d.:]*\d"
)
"""Ids, keys, offsets, times, sizes and versions."""


@pytest.fixture
def server(io_loop: IOLoop, tmp_path: Path) -> Iterator[ServerProcess]:
    process = ServerProcess({"GTOWER_STATE_DIR": str(tmp_path / "var")})
    yield process
    io_loop.run_sync(process.kill)


def examples() -> list[tuple[str, str | None]]:
    """Return each example, and what it prints if the page shows that."""
    blocks = [*blocks_of(PAGE), Block("end", "")]
    return [
        (block.text, following.text if following.language == "text" else None)
        for block, following in itertools.pairwise(blocks)
        if block.language == "sh"
    ]


def likeness(text: str) -> list[str]:
    """Return the lines with what varies made equal, and columns as wide as they are."""
    return [re.sub(" +", " ", _VARIES.sub("#", line)).rstrip() for line in text.splitlines()]


def test_the_page_has_every_command_and_an_example_of_each() -> None:
    lines = "".join(example for example, _ in examples())
    assert set(re.findall(r"gtower-realtime ([a-z-]+)", lines)) == set(main.commands)
    table = re.findall(r"^\| \[`([a-z-]+)`\]", PAGE.read_text(encoding="utf-8"), re.M)
    assert set(table) == set(main.commands)


@pytest.mark.gen_test(timeout=300)
async def test_every_example_prints_what_the_page_shows(
    server: ServerProcess, tmp_path: Path
) -> None:
    program = tmp_path / "gtower-realtime"
    program.write_text(
        f"#!{sys.executable}\nfrom gtower_realtime.cli import main\n"
        "main(prog_name='gtower-realtime')\n"
    )
    program.chmod(0o755)
    own = {name: value for name, value in os.environ.items() if not name.startswith("GTOWER_")}
    environ = {
        **own,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PYTHONUTF8": "1",
        "GTOWER_PORT": str(server.port),
    }

    async def started(script: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            "bash",
            "-c",
            f"exec {script}" if script.startswith(_GOES_ON) else script,
            cwd=tmp_path,
            env=environ,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def ended(process: asyncio.subprocess.Process, shown: str | None) -> None:
        output, errors = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
        assert process.returncode == 0, errors.decode()
        if shown is not None:
            assert likeness(output.decode()) == likeness(shown)

    listening: tuple[asyncio.subprocess.Process, str | None] | None = None
    for script, shown in examples():
        if "restore" in script:
            await server.stop()
        process = await started(script)
        assert process.stdout is not None
        assert process.stderr is not None
        if "listen" in script:
            listening = process, shown
            while b"joined" not in await asyncio.wait_for(
                process.stderr.readline(), PATIENCE_SECONDS
            ):
                pass
        elif "serve" in script:
            line = await asyncio.wait_for(process.stdout.readline(), PATIENCE_SECONDS)
            assert likeness(line.decode()) == likeness(str(shown))
            process.terminate()
            assert await asyncio.wait_for(process.wait(), PATIENCE_SECONDS) == 0
            # The one that the other examples talk to has the same log.
            await server.start()
        else:
            await ended(process, shown)
            if listening is not None:
                await ended(*listening)
                listening = None
    assert "| `joinRoom` |" in (tmp_path / "tables.md").read_text(encoding="utf-8")
