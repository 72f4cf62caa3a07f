"""A PostgreSQL server of the tests' own, on a free port, that may be stopped at any time."""

import getpass
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest


class PostgresqlServer:
    """A cluster in a directory of its own. It refuses to run as root, so root lends it a user."""

    def __init__(self, programs: Path) -> None:
        self.programs = programs
        self._user = _unprivileged_user()
        self._directory = Path(tempfile.mkdtemp(prefix="gtower-postgresql-"))
        shutil.chown(self._directory, self._user)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self._numbers = count(1)
        self._run("initdb", "--auth=trust", "--username=gtower", "--no-sync", "--encoding=UTF8")

    def start(self) -> None:
        """Start, and return when it answers."""
        options = f"-p {self._port} -k '' -c listen_addresses=127.0.0.1 -c fsync=off"
        log = str(self._directory / "log")
        self._run("pg_ctl", "start", "--wait", "--silent", f"--log={log}", f"--options={options}")

    def stop(self) -> None:
        """Stop at once; whoever is connected finds the connection closed."""
        self._run("pg_ctl", "stop", "--mode=immediate", "--silent")

    def remove(self) -> None:
        """Delete all that is left of it."""
        shutil.rmtree(self._directory)

    def new_database(self) -> str:
        """Return the URL of a schema where nothing is yet, which is as good as a database."""
        schema = f"test{next(self._numbers)}"
        self._say(f"CREATE SCHEMA {schema}")
        return f"postgresql://gtower@127.0.0.1:{self._port}/postgres?search_path={schema}"

    def new_whole_database(self) -> str:
        """Return the URL of a database of its own, as PostgreSQL's programs take it; it is slow."""
        name = f"whole{next(self._numbers)}"
        self._say(f"CREATE DATABASE {name}")
        return f"postgresql://gtower@127.0.0.1:{self._port}/{name}"

    def _say(self, command: str) -> None:
        address = ("--host=127.0.0.1", f"--port={self._port}", "--username=gtower")
        program = self.programs / "psql"
        subprocess.run(
            [program, *address, "--quiet", f"--command={command}", "postgres"], check=True
        )

    def _run(self, program: str, *arguments: str) -> None:
        data = f"--pgdata={self._directory / 'data'}"
        subprocess.run(
            [self.programs / program, data, *arguments],
            check=True,
            user=self._user,
            cwd=self._directory,
            stdout=subprocess.DEVNULL,
        )


def _unprivileged_user() -> str:
    if os.geteuid() != 0:
        return getpass.getuser()
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _programs() -> Path | None:
    found = shutil.which("initdb")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    path = Path(found).resolve() if found else (debian[-1] if debian else None)
    return path.parent if path else None


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """Give a running server."""
    programs = _programs()
    if programs is None:
        reason = "initdb is not installed; apt-get install postgresql"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    server = PostgresqlServer(programs)
    server.start()
    yield server
    server.stop()
    server.remove()
