"""A Redis with the settings that docs/deployment.md has for it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from time import monotonic, sleep

import redis

from tests.conftest import PATIENCE_SECONDS
from tests.nginx_site import free_port

PAGE = (Path(__file__).parent.parent / "docs" / "deployment.md").read_text(encoding="utf-8")

_PASSWORD = "the-password-of-the-operator"


@dataclass
class DocumentedRedis:
    """``url`` is that of the page, and ``operator`` somebody who may do everything."""

    url: str
    operator: "redis.Redis"


@contextmanager
def running_redis(program: str, directory: Path) -> Iterator[DocumentedRedis]:
    """Run it on a free port, with an operator added who looks at it."""
    (settings,) = re.findall(r"^```text\n(maxmemory .*?)^```$", PAGE, re.M | re.S)
    (url,) = re.findall(r"^echo (redis://\S+) >", PAGE, re.M)
    port = free_port()
    file = directory / "redis.conf"
    file.write_text(
        f"{settings}\nport {port}\nbind 127.0.0.1\ndir {directory}\n"
        f"logfile {directory}/redis.log\nuser operator on >{_PASSWORD} ~* &* +@all\n"
    )
    process = Popen([program, file])
    operator = redis.Redis(
        port=port, username="operator", password=_PASSWORD, decode_responses=True
    )
    try:
        until = monotonic() + PATIENCE_SECONDS
        while not _answers(operator):
            assert process.poll() is None, (directory / "redis.log").read_text()
            assert monotonic() < until, "redis-server does not answer"
            sleep(0.01)  # nothing tells when it listens
        yield DocumentedRedis(f"{url}:{port}", operator)
    finally:
        operator.close()
        process.kill()
        process.wait(PATIENCE_SECONDS)


def _answers(operator: "redis.Redis") -> bool:
    try:
        return bool(operator.ping())
    except redis.ConnectionError:
        return False
