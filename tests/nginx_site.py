"""A real nginx with a documented configuration in front of real servers."""

import asyncio
import datetime as dt
import ipaddress
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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

from tests.conftest import PATIENCE_SECONDS

KEY = "backend-key-0123456789abcdef"
ELSEWHERE = "127.0.0.2"
"""An address of loopback that stands for another machine."""

BEHIND_IT = {
    "GTOWER_DATABASE_URL": "memory:",
    "GTOWER_API_KEYS": f"backend:publish+read:{KEY}",
    "GTOWER_TRUSTED_PROXIES": "127.0.0.1",
}
"""The settings of a server behind nginx."""

_DEPLOYED = Path(__file__).parent.parent / "deploy" / "nginx"


@dataclass
class Site:
    """What is served at ``url``; ``certificate`` is the file that vouches for it."""

    url: str
    plain_url: str
    certificate: Path

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
async def running_site(
    nginx: str, directory: Path, configuration: str, ports: Mapping[int, int]
) -> AsyncIterator[Site]:
    """Run nginx with a documented file, but for places and ports.

    ``ports`` has, for each port of a server in the file, the one to use in its place.
    """
    certificate, key = write_certificate(directory)
    port, plain_port = free_port(), free_port()
    replaced = {
        r"listen 80;": f"listen 127.0.0.1:{plain_port};",
        r"listen 443": f"listen 127.0.0.1:{port}",
        r"ssl_certificate     .*;": f"ssl_certificate {certificate};",
        r"ssl_certificate_key .*;": f"ssl_certificate_key {key};",
        r"realtime\.example\.com": "localhost",
        **{rf"127\.0\.0\.1:{old}\b": f"127.0.0.1:{new}" for old, new in ports.items()},
    }
    text = (_DEPLOYED / configuration).read_text(encoding="utf-8")
    for pattern, replacement in replaced.items():
        text, count = re.subn(pattern, replacement, text)
        assert count, pattern
    for old, new in ports.items():
        text = text.replace(f"~{old:05}$", f"~{new:05}$")
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
    process = await asyncio.create_subprocess_exec(
        nginx, "-p", str(directory), "-c", "nginx.conf", stderr=asyncio.subprocess.PIPE
    )
    try:
        await _until_ready(process)
        yield Site(f"https://localhost:{port}", f"http://localhost:{plain_port}", certificate)
    finally:
        process.terminate()
        await process.communicate()


async def _until_ready(process: asyncio.subprocess.Process) -> None:
    assert process.stderr is not None
    said = b""
    # It says so when its workers run, which is after it has begun to listen.
    while b"start worker process " not in said:
        line = await asyncio.wait_for(process.stderr.readline(), PATIENCE_SECONDS)
        assert line, f"nginx has ended: {said.decode()}"
        said += line
