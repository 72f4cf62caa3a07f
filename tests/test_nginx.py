"""A real nginx with the documented configuration in front of a real server."""

import asyncio
import datetime as dt
import ipaddress
import json
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID
from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.testing import bind_unused_port

from tests.conftest import PATIENCE_SECONDS, requires_binary
from tests.javascript_client import javascript_client
from tests.server_process import ServerProcess

CONFIGURATION = Path(__file__).parent.parent / "deploy" / "nginx" / "gtower-realtime.conf"
KEY = "backend-key-0123456789abcdef"
ELSEWHERE = "127.0.0.2"
"""An address of loopback that stands for another machine."""

nginx = requires_binary("nginx", package="nginx")


@dataclass
class Site:
    """What is served at ``url``; ``certificate`` is the file that vouches for it."""

    url: str
    plain_url: str
    certificate: Path
    server: ServerProcess

    async def fetch(self, path: str, **options: Any) -> HTTPResponse:
        """Make a back-end's request."""
        return await AsyncHTTPClient().fetch(
            self.url + path,
            headers={"X-API-Key": KEY, "Content-Type": "application/json"},
            ca_certs=str(self.certificate),
            raise_error=False,
            **options,
        )

    async def ask_from_elsewhere(
        self, method: str, path: str, body: str = "", **headers: str
    ) -> tuple[int, str]:
        """Make a request as another machine; return the status and the body."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        port = int(self.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname="localhost", local_addr=(ELSEWHERE, 0)
        )
        lines = {"Host": "localhost", "Connection": "close", "Content-Length": len(body), **headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n{body}".encode())
        answer = (await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)).decode()
        writer.close()
        status, _, content = answer.partition("\r\n\r\n")
        return int(status.split()[1]), content


def free_port() -> int:
    """Return a port that is free now."""
    listener, port = bind_unused_port()
    listener.close()
    return int(port)


def write_certificate(directory: Path) -> tuple[Path, Path]:
    """Make a certificate for localhost; return its file and that of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = directory / "certificate.pem", directory / "key.pem"
    files[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


@asynccontextmanager
async def running_site(nginx: str, directory: Path) -> AsyncIterator[Site]:
    """Run the server and nginx, with the documented file but for places and ports."""
    server = ServerProcess(
        {
            "GTOWER_DATABASE_URL": "memory:",
            "GTOWER_API_KEYS": f"backend:publish+read:{KEY}",
            "GTOWER_TRUSTED_PROXIES": "127.0.0.1",
        }
    )
    certificate, key = write_certificate(directory)
    port, plain_port = free_port(), free_port()
    replaced = {
        r"127\.0\.0\.1:3000": f"127.0.0.1:{server.port}",
        r"listen 80;": f"listen 127.0.0.1:{plain_port};",
        r"listen 443": f"listen 127.0.0.1:{port}",
        r"ssl_certificate     .*;": f"ssl_certificate {certificate};",
        r"ssl_certificate_key .*;": f"ssl_certificate_key {key};",
        r"realtime\.example\.com": "localhost",
    }
    text = CONFIGURATION.read_text(encoding="utf-8")
    for pattern, replacement in replaced.items():
        text, count = re.subn(pattern, replacement, text)
        assert count, pattern
    (directory / "site.conf").write_text(text, encoding="utf-8")
    places = " ".join(
        f"{kind}_temp_path {directory}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (directory / "nginx.conf").write_text(
        f"daemon off; pid {directory}/pid; error_log stderr notice; worker_processes 1;\n"
        f"events {{}}\nhttp {{ access_log off; {places} include {directory}/site.conf; }}\n",
        encoding="utf-8",
    )
    await server.start()
    process = await asyncio.create_subprocess_exec(
        nginx, "-p", str(directory), "-c", "nginx.conf", stderr=asyncio.subprocess.PIPE
    )
    try:
        await _until_ready(process)
        yield Site(
            f"https://localhost:{port}", f"http://localhost:{plain_port}", certificate, server
        )
    finally:
        process.terminate()
        await process.communicate()
        await server.stop()


async def _until_ready(process: asyncio.subprocess.Process) -> None:
    assert process.stderr is not None
    said = b""
    # It says so when its workers run, which is after it has begun to listen.
    while b"start worker process " not in said:
        line = await asyncio.wait_for(process.stderr.readline(), PATIENCE_SECONDS)
        assert line, f"nginx has ended: {said.decode()}"
        said += line


@pytest.mark.parametrize("transports", [["websocket"], ["polling"], ["polling", "websocket"]])
@pytest.mark.gen_test
async def test_browsers_connect_through_it(
    nginx: str, node: str, tmp_path: Path, transports: list[str]
) -> None:
    async with running_site(nginx, tmp_path) as site, javascript_client(node) as ana:
        ca = site.certificate.read_text(encoding="utf-8")
        assert (await ana.connect(site.url, transports=transports, ca=ca))["what"] == "connect"
        await ana.next_event("connected")
        if len(transports) > 1:
            await ana.upgraded()
        await ana.ask("joinRoom", "sales")
        answer = await site.fetch(
            "/websocket/event/room/sales/dealWon", method="POST", body='{"deal": 7}'
        )
        assert (answer.code, json.loads(answer.body)["recipients"]) == (201, 1)
        assert (await ana.next_event("dealWon"))[1][0]["deal"] == 7


@pytest.mark.gen_test
async def test_clients_keep_their_own_addresses(nginx: str, tmp_path: Path) -> None:
    path = "/socket.io/?EIO=4&transport=polling"
    claimed = {"X-Forwarded-For": "203.0.113.9"}
    async with running_site(nginx, tmp_path) as site:
        _, opening = await site.ask_from_elsewhere("GET", path, **claimed)
        sid = json.loads(opening[1:])["sid"]
        await site.ask_from_elsewhere("POST", f"{path}&sid={sid}", "40", **claimed)
        (client,) = json.loads((await site.fetch("/websocket/clients")).body)
        assert client["metadata"]["ip"] == ELSEWHERE


@pytest.mark.gen_test
async def test_plain_http_is_sent_to_tls(nginx: str, tmp_path: Path) -> None:
    async with running_site(nginx, tmp_path) as site:
        answer = await AsyncHTTPClient().fetch(
            f"{site.plain_url}/websocket/status?x=1", follow_redirects=False, raise_error=False
        )
        assert answer.code == 308
        assert answer.headers["Location"] == "https://localhost/websocket/status?x=1"


@pytest.mark.gen_test
async def test_metrics_are_for_this_machine_only(nginx: str, tmp_path: Path) -> None:
    async with running_site(nginx, tmp_path) as site:
        assert (await site.fetch("/metrics")).code == 200
        assert (await site.ask_from_elsewhere("GET", "/metrics"))[0] == 403


@pytest.mark.gen_test
async def test_a_body_that_is_too_large_is_refused_before_it_is_read(
    nginx: str, tmp_path: Path
) -> None:
    async with running_site(nginx, tmp_path) as site:
        answer = await site.fetch(
            "/websocket/event/broadcast/big", method="POST", body=b"x" * (10 * 1024 * 1024 + 1)
        )
        assert answer.code == 413
