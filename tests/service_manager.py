"""The part of systemd that a service sees: a socket that it tells its state to."""

import asyncio
import socket
from pathlib import Path

_PATIENCE_SECONDS = 30


class FakeServiceManager:
    """Takes what a service tells, datagram by datagram, each as a dictionary of its lines."""

    def __init__(self, address: str) -> None:
        """Listen on ``address``: a path, or ``@name`` for an abstract socket."""
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0", 1))
        self._socket.setblocking(False)
        self.told: list[dict[str, str]] = []
        """Everything that has been taken so far."""

    @classmethod
    def beneath(cls, directory: Path) -> "FakeServiceManager":
        """Listen on a socket in ``directory``."""
        return cls(str(directory / "notify"))

    async def next(self, name: str) -> dict[str, str]:
        """Return the next datagram that has a line ``name=…``, passing others by."""
        loop = asyncio.get_running_loop()
        while True:
            content = await asyncio.wait_for(
                loop.sock_recv(self._socket, 65_536), _PATIENCE_SECONDS
            )
            if name in self._take(content):
                return self.told[-1]

    def waiting(self) -> list[dict[str, str]]:
        """Return what has come and was not taken yet."""
        before = len(self.told)
        while True:
            try:
                self._take(self._socket.recv(65_536))
            except BlockingIOError:
                return self.told[before:]

    def _take(self, content: bytes) -> dict[str, str]:
        lines = content.decode().split("\n")
        self.told.append(dict(line.split("=", 1) for line in lines))
        return self.told[-1]

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()
