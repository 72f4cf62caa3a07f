import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gtower_realtime import server

ROOT = Path(__file__).parent.parent
# Only a hang takes as long.
PATIENCE_SECONDS = 30

STUCK_SERVER = """
import asyncio, sys
from tornado.web import Application
from gtower_realtime import server
from gtower_realtime.settings import Settings

class Stuck:
    cluster = None
    def __init__(self, settings):
        self.settings = settings
        self.tornado_application = Application()
    async def start(self):
        pass
    def summary(self):
        return "stuck"
    async def stop(self):
        print("draining", flush=True)
        await asyncio.Event().wait()

server.Application = Stuck
sys.exit(server.serve(Settings(port=0), {}))
"""


@pytest.fixture
def file_limits() -> Iterator[tuple[int, int]]:
    """Give the limits of open files, and put them back in the end."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield limits
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_a_server_that_cannot_let_go(second: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STUCK_SERVER], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("GTower Realtime ")
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "draining\n"
        process.send_signal(second)
        assert process.wait(PATIENCE_SECONDS) == -second


def test_files_are_allowed_for_all_connections(file_limits: tuple[int, int]) -> None:
    _, hard = file_limits
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    server._allow_open_files(300)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (400, hard)


def test_a_limit_of_files_that_is_enough_is_left_alone(file_limits: tuple[int, int]) -> None:
    _, hard = file_limits
    resource.setrlimit(resource.RLIMIT_NOFILE, (500, hard))
    server._allow_open_files(300)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (500, hard)
