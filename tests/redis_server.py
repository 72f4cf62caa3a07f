"""A Redis server of the tests' own, on a free port, that may be hurt in all the ways there are."""

import datetime as dt
import ipaddress
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_PATIENCE_SECONDS = 30


@dataclass(frozen=True)
class User:
    """Who may log in, and nobody else, if a server has one: ``rights`` as Redis' ACL has them."""

    name: str
    password: str
    rights: str = "~* &* +@all"


class RedisServer:
    """One server in a directory of its own; ``port`` stays the same over restarts.

    It keeps what it has in an append-only file, as one does that must not lose anything. With
    ``is_encrypted`` it speaks TLS only, by a certificate of its own for ``localhost``.
    """

    def __init__(
        self, program: str, *, user: User | None = None, is_encrypted: bool = False
    ) -> None:
        self._program = program
        self._user = user
        self._directory = Path(tempfile.mkdtemp(prefix="gtower-redis-"))
        self._is_encrypted = is_encrypted
        self.certificate = self._directory / "certificate.pem"
        """What clients of an encrypted one must trust."""
        if is_encrypted:
            _make_certificate(self.certificate, self._directory / "key.pem")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is reached, and by whom."""
        return self.url_through(self.port)

    def url_through(self, port: int) -> str:
        """Return the URL for those who reach it over another port."""
        scheme = "rediss" if self._is_encrypted else "redis"
        login = f"{self._user.name}:{self._user.password}@" if self._user else ""
        host = "localhost" if self._is_encrypted else "127.0.0.1"
        return f"{scheme}://{login}{host}:{port}/0"

    def start(self) -> None:
        """Start, with what it had before; return when it answers."""
        ports = ["--port", str(self.port)]
        if self._is_encrypted:
            ports = ["--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no"]
            ports += ["--tls-cert-file", str(self.certificate)]
            ports += ["--tls-key-file", str(self._directory / "key.pem")]
        logins = []
        if self._user is not None:
            logins = [
                *("--user", "default", "off"),
                *("--user", self._user.name, "on", f">{self._user.password}"),
                *self._user.rights.split(),
            ]
        self._process = subprocess.Popen(
            [
                self._program,
                *ports,
                *("--bind", "127.0.0.1", "--dir", str(self._directory)),
                *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
                *("--logfile", str(self._directory / "log")),
                *logins,
            ],
            stdin=subprocess.DEVNULL,
        )
        with suppress(PermissionError):
            # On a busy machine it would be slow, which is another test's subject.
            os.setpriority(os.PRIO_PROCESS, self._process.pid, -10)
        until = time.monotonic() + _PATIENCE_SECONDS
        while not self._answers():
            assert self._process.poll() is None, (self._directory / "log").read_text()
            assert time.monotonic() < until, "redis-server does not answer"
            time.sleep(0.01)  # nothing tells when it has read its file

    def kill(self) -> None:
        """End it as a crash does: SIGKILL, no word to anybody."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it as an operator does."""
        self._end(signal.SIGTERM)

    def forget(self) -> None:
        """Delete what it has kept; it must not be running."""
        assert self._process is None
        shutil.rmtree(self._directory / "appendonlydir")

    def freeze(self) -> None:
        """Let it do nothing more, with all connections open."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._send(signal.SIGCONT)

    def fill(self) -> None:
        """Let it refuse whatever would take memory."""
        self.say("CONFIG", "SET", "maxmemory", "1")

    def enlarge(self) -> None:
        """Let it take what comes again."""
        self.say("CONFIG", "SET", "maxmemory", "0")

    def empty(self) -> None:
        """Delete all that is in it."""
        self.say("FLUSHALL")

    def say(self, *command: str) -> Any:
        """Return what it answers to a command."""
        with self.client() as client:
            return client.execute_command(*command)

    def client(self) -> redis.Redis:
        """Return a client, to be closed by the caller."""
        trust = {"ssl_ca_certs": str(self.certificate)} if self._is_encrypted else {}
        return redis.Redis.from_url(self.url, socket_timeout=_PATIENCE_SECONDS, **trust)

    def remove(self) -> None:
        """Kill it if it runs, and delete all that is left of it."""
        if self._process is not None:
            self.kill()
        shutil.rmtree(self._directory)

    def _answers(self) -> bool:
        try:
            self.say("PING")
        except redis.ConnectionError:  # a server that still reads its file is one of these too
            return False
        return True

    def _send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        self._send(number)
        assert self._process is not None
        self._process.wait(_PATIENCE_SECONDS)
        self._process = None


def _make_certificate(certificate: Path, key: Path) -> None:
    own = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    names: list[x509.GeneralName] = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(own, hashes.SHA256())
    )
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        own.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


def redis_program() -> str:
    """Return the path of the program; without it the test is skipped, or fails if CI=true."""
    found = shutil.which("redis-server")
    if found is None:
        reason = "redis-server is not on PATH; apt-get install redis-server"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return found


@pytest.fixture(scope="session")
def lasting_redis() -> Iterator[RedisServer]:
    """Give the server of all tests that do it no harm."""
    server = RedisServer(redis_program())
    server.start()
    yield server
    server.remove()


@pytest.fixture
def redis_server(lasting_redis: RedisServer) -> RedisServer:
    """Give a running server that has nothing in it."""
    lasting_redis.empty()
    return lasting_redis


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """Give a running server that the test may stop, freeze, fill and kill."""
    server = RedisServer(redis_program())
    server.start()
    yield server
    server.remove()
