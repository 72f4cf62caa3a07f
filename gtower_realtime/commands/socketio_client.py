"""A Socket.IO client for the commands: python-socketio's, which comes back as the stock one does.

Knows the protocol and prints nothing.
"""

from collections.abc import Callable
from typing import Any

import aiohttp
import socketio

from gtower_realtime import __version__

_SOCKET = "unix:"
_HEADERS = {"User-Agent": f"gtower-realtime-cli/{__version__}"}
"""aiohttp's own name tells the server that offsets cannot be taken."""

_SECONDS_TO_CONNECT = 10.0

Told = Callable[[str, Any, str | None], None]
"""Is told an event, its payload, and its offset if it has one."""

Lost = Callable[[str, bool], None]
"""Is called when a connection ends: why, and whether there is to be another."""


class NotConnected(Exception):
    """The server was not reached, or has refused: then ``is_refused``, and trying again is vain."""

    def __init__(self, message: str, *, is_refused: bool = False) -> None:
        super().__init__(message)
        self.is_refused = is_refused


class RecoveringClient(socketio.AsyncClient):  # type: ignore[misc]
    """A client that keeps its session: after a cut it asks for what it has missed.

    ``url`` is ``http://…``, ``https://…`` or ``unix:/path``; ``token`` is asked for one at each
    connect. ``told`` hears every event, `connected` as well, in their order.
    """

    def __init__(
        self,
        url: str,
        *,
        transport: str,
        namespace: str,
        token: Callable[[], str | None],
        told: Told,
        lost: Lost = lambda reason, comes_back: None,
        comes_back: bool = True,
    ) -> None:
        super().__init__(
            reconnection=comes_back,
            reconnection_delay=0.5,
            reconnection_delay_max=5,
            handle_sigint=False,
            http_session=self._new_session,
        )
        self._sessions: list[aiohttp.ClientSession] = []
        self._address = url
        self.url = "http://localhost" if url.startswith(_SOCKET) else url
        self.transport_name = transport
        self.namespace = namespace
        self.session_pid: str | None = None
        self.offset: str | None = None
        """Of the newest event that had one."""
        self._token = token
        self._told = told
        self._lost = lost
        self._refusal: NotConnected | None = None
        self.on("*", self._hear, namespace=namespace)
        self.on("connect_error", self._refused, namespace=namespace)
        self.on("disconnect", self._cut, namespace=namespace)

    async def open(self) -> None:
        """Connect, and return when the server has accepted.

        Raises:
            NotConnected: it was not reached, or refuses.
        """
        try:
            await self.connect(
                self.url,
                headers=dict(_HEADERS),
                auth=self._credentials,
                transports=[self.transport_name],
                namespaces=[self.namespace],
                wait_timeout=_SECONDS_TO_CONNECT,
            )
        except (socketio.exceptions.ConnectionError, aiohttp.ClientError, OSError) as problem:
            raise self._refusal or NotConnected(str(problem)) from problem

    async def ask(self, event: str, payload: Any, seconds: float) -> Any:
        """Send an event and return its acknowledgement.

        Raises:
            TimeoutError: none came in so many seconds.
        """
        try:
            return await self.call(event, payload, namespace=self.namespace, timeout=seconds)
        except socketio.exceptions.TimeoutError as problem:
            raise TimeoutError from problem

    async def close(self) -> None:
        """Say good-bye, and let go of everything."""
        await self.shutdown()
        # A session whose first request failed is left open by python-engineio.
        for session in self._sessions:
            await session.close()

    def _new_session(self) -> aiohttp.ClientSession:
        self._sessions = [session for session in self._sessions if not session.closed]
        self._sessions.append(aiohttp.ClientSession(connector=_connector(self._address)))
        return self._sessions[-1]

    def _credentials(self) -> dict[str, str]:
        said = {"token": self._token(), "pid": self.session_pid, "offset": self.offset}
        return {name: value for name, value in said.items() if value is not None}

    async def _handle_connect(self, namespace: str, data: Any) -> None:
        self.session_pid = (data or {}).get("pid")
        await super()._handle_connect(namespace, data)

    def _hear(self, event: str, payload: Any = None, *more: Any) -> None:
        offset = more[-1] if more and isinstance(more[-1], str) else None
        self.offset = offset or self.offset
        self._told(event, payload, offset)

    def _refused(self, said: Any = None) -> None:
        # A CONNECT_ERROR, or what a handshake was answered, which passes by itself.
        if not isinstance(said, dict):
            return
        is_refused = "success" not in said
        self._refusal = NotConnected(str(said.get("message", said)), is_refused=is_refused)
        if is_refused and self.session_pid is not None:
            self._lost(str(self._refusal), False)

    def _cut(self, reason: str) -> None:
        is_final = reason in {self.reason.SERVER_DISCONNECT, self.reason.CLIENT_DISCONNECT}
        self._lost(reason, self.reconnection and not is_final)


def _connector(url: str) -> aiohttp.BaseConnector | None:
    if url.startswith(_SOCKET):
        return aiohttp.UnixConnector(path=url.removeprefix(_SOCKET))
    return None
