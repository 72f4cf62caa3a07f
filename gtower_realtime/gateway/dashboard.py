"""The dashboard's own Socket.IO server: who watches is no client, and is in no list of them.

It has a path of its own. A viewer says its API key in ``auth``: ``{"key": …}``, which needs the
scope ``admin``. Without any key in the settings, it must come from this machine, and from a page
of the name that it asked for: any web page may open a WebSocket to localhost.
"""

import asyncio
from ipaddress import ip_address
from urllib.parse import urlsplit

from tornado.httputil import HTTPServerRequest
from tornado.routing import Rule

from gtower_realtime import strict_json
from gtower_realtime.addresses import UNIX_SOCKET, TrustedProxies
from gtower_realtime.engineio.handshake import FORBIDDEN, HandshakeRefused
from gtower_realtime.engineio.server import EngineIOConfig, EngineIOServer
from gtower_realtime.engineio.session import SessionLimits
from gtower_realtime.errors import Forbidden, RealtimeError
from gtower_realtime.gateway.server import PendingConnection, SocketIOServer
from gtower_realtime.gateway.transport import SocketIOTransport
from gtower_realtime.identity import ApiKeys
from gtower_realtime.monitor import Monitor
from gtower_realtime.origins import LOCAL_HOSTS
from gtower_realtime.ports import Payload, Target

PATH = "/dashboard/socket.io/"

_COME_AGAIN = 4200

_LOOK_SECONDS = 0.25
_LOOKS_FOR_NUMBERS = 4


class _OwnPages(EngineIOServer):
    """Takes connections only from pages of the host that they are made to."""

    is_for_local_hosts = False

    def check_origin(self, request: HTTPServerRequest) -> None:
        """Check that the page a request comes from is one of ours; see `EngineIOServer`."""
        origin = request.headers.get("Origin")
        is_foreign = origin is not None and urlsplit(origin).netloc != request.host
        if is_foreign or (self.is_for_local_hosts and request.host_name not in LOCAL_HOSTS):
            raise HandshakeRefused(FORBIDDEN, 403)


class _Server(SocketIOServer):
    def _engineio_server_class(self) -> type[EngineIOServer]:
        return _OwnPages


class Dashboard:
    """Shows a `Monitor` to everybody who may see it.

    Each viewer gets the event ``numbers`` once a second and ``events`` as often as there are some,
    at most four times a second. One that is too slow misses some. Client events are refused.
    """

    def __init__(self, config: EngineIOConfig, monitor: Monitor, api_keys: ApiKeys) -> None:
        self._server = _Server(config)
        self._transport = SocketIOTransport(self._server)
        self._monitor = monitor
        self._api_keys = api_keys
        self._showing: asyncio.Task[None] | None = None
        self._viewers: set[str] = set()
        self._guard_against_rebinding()
        self._server.on_connecting(self._connecting)
        self._server.on_departed(self._departed)

    def routes(self) -> list[Rule]:
        """Return the Tornado routes."""
        return self._server.eio.routes(PATH)

    def change_proxies(self, proxies: TrustedProxies) -> None:
        """Take other proxies, for the viewers that come from now on."""
        self._server.eio.change(SessionLimits(), proxies)

    def keys_have_changed(self) -> None:
        """Have all viewers come again, with a key that is good now."""
        self._guard_against_rebinding()
        for viewer in list(self._viewers):
            self._server.close_client(viewer, _COME_AGAIN, "the API keys have changed")

    def _guard_against_rebinding(self) -> None:
        if isinstance(self._server.eio, _OwnPages):
            self._server.eio.is_for_local_hosts = not self._api_keys.are_required

    async def stop(self) -> None:
        """Let go of all viewers."""
        await self._server.shutdown()
        self._end()

    async def _connecting(self, pending: PendingConnection) -> None:
        try:
            self._check(pending)
        except RealtimeError as refusal:
            pending.refuse(refusal)
            return
        if pending.welcome(pending.sid):
            self._viewers.add(pending.sid)
            if self._showing is None:
                self._monitor.start()
                self._showing = asyncio.get_running_loop().create_task(self._show())

    def _check(self, pending: PendingConnection) -> None:
        presented = pending.auth.get("key")
        key = self._api_keys.authorize(presented if isinstance(presented, str) else None, "admin")
        if key is not None and key.room_prefixes:
            raise Forbidden(f"The key {key.name!r} may address its rooms only.")
        if key is None and not _is_local(pending.request.remote_address):
            raise Forbidden("Without API keys the dashboard is for this machine only.")

    def _departed(self, viewer: str, _may_return: bool, _mark: int) -> None:
        self._viewers.discard(viewer)
        if not self._viewers:
            self._end()

    def _end(self) -> None:
        if self._showing is not None:
            self._showing.cancel()
            self._showing = None
            self._monitor.stop()

    async def _show(self) -> None:
        looks = 0
        while True:
            if looks % _LOOKS_FOR_NUMBERS == 0:
                self._tell("numbers", self._monitor.numbers())
            looks += 1
            seen = self._monitor.events()
            if seen["events"]:
                self._tell("events", seen)
            await asyncio.sleep(_LOOK_SECONDS)

    def _tell(self, event: str, payload: Payload) -> None:
        self._transport.deliver(event, strict_json.dumps(payload), Target.all(), droppable=True)


def _is_local(address: str) -> bool:
    return address == UNIX_SOCKET or ip_address(address).is_loopback
