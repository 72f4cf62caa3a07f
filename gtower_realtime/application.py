"""The composition root: builds every object, hands each what it needs, starts and stops them."""

from pathlib import Path

import tornado.web
from tornado.web import RequestHandler

from gtower_realtime.addresses import TrustedProxies
from gtower_realtime.clients import ClientRegistry
from gtower_realtime.engineio.server import EngineIOConfig
from gtower_realtime.engineio.session import SessionLimits
from gtower_realtime.errors import RealtimeError
from gtower_realtime.gateway.client_events import ClientEvents
from gtower_realtime.gateway.server import SocketIOServer
from gtower_realtime.gateway.transport import SocketIOTransport
from gtower_realtime.identity import ApiKeys
from gtower_realtime.limits import ConnectionLimits
from gtower_realtime.metrics import Metrics
from gtower_realtime.origins import OriginPolicy
from gtower_realtime.ports import Clock
from gtower_realtime.service import RealtimeService
from gtower_realtime.settings import Settings
from gtower_realtime.store.memory import MemoryEventLog
from gtower_realtime.timestamps import SystemClock
from handlers import operations, pages, reads, triggers
from handlers.base import BaseHandler, HttpContext

_SOCKET_IO_PATH = "/socket.io/"

# A log that lives in memory shares it with the connections, so it is bounded more tightly than one
# on disk.
_MEMORY_LOG_BYTES = 64 * 1024 * 1024


class Application:
    """One server: its parts as attributes, its routes as :attr:`tornado_application`."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.settings = settings
        self.clock: Clock = clock or SystemClock()
        self.metrics = Metrics()
        self.clients = ClientRegistry()
        self.origins = OriginPolicy(settings.cors_origin)
        self.socketio = SocketIOServer(
            self._engineio_config(),
            namespaces=settings.namespaces,
            handler_timeout=settings.handler_timeout,
        )
        self.transport = SocketIOTransport(self.socketio)
        self.log = MemoryEventLog(
            self.clock,
            max_events=settings.log_max_events,
            max_bytes=min(settings.log_max_bytes or _MEMORY_LOG_BYTES, _MEMORY_LOG_BYTES),
            max_age_seconds=settings.log_max_age_seconds,
        )
        self.service = RealtimeService(
            transport=self.transport,
            log=self.log,
            clients=self.clients,
            clock=self.clock,
            metrics=self.metrics,
            max_rooms_per_client=settings.max_rooms_per_client,
            announces_clients=settings.announce_clients,
        )
        ClientEvents(self.service, self.transport, self.clock, self.metrics).bind(self.socketio)
        self.tornado_application = self._tornado_application()

    async def start(self) -> None:
        """Make everything ready that must be before the first connection."""

    async def stop(self) -> None:
        """Let go of everybody: new work is refused, all are told, every connection is closed."""
        self.service.drain(self.settings.drain_seconds)
        await self.socketio.shutdown()

    def _engineio_config(self) -> EngineIOConfig:
        settings = self.settings
        return EngineIOConfig(
            limits=SessionLimits(
                ping_interval=settings.ping_interval,
                ping_timeout=settings.ping_timeout,
                connect_timeout=settings.connect_timeout,
                max_message_bytes=settings.max_message_bytes,
                max_client_buffer_bytes=settings.max_client_buffer_bytes,
            ),
            connection_limits=ConnectionLimits(
                settings.max_connections,
                settings.max_connections_per_address,
                settings.rate_connects,
            ),
            origins=self.origins,
            proxies=TrustedProxies(settings.trusted_proxies),
            metrics=self.metrics,
            gate=self._refusal_of_new_connections,
            clock=self.clock.monotonic,
        )

    def _refusal_of_new_connections(self) -> RealtimeError | None:
        return self.service.refusal_of_new_work()

    def _tornado_application(self) -> tornado.web.Application:
        settings = self.settings
        context = HttpContext(
            service=self.service,
            api_keys=ApiKeys(settings.api_keys),
            origins=self.origins,
            metrics=self.metrics,
            max_body_bytes=settings.max_body_bytes,
            checks_host=not settings.api_keys and not settings.insecure,
        )
        routes = (
            *triggers.routes(),
            *reads.routes(),
            *operations.routes(),
            *pages.routes(_static_directory()),
        )
        return tornado.web.Application(
            [
                *(route.url_spec(context) for route in routes),
                *self.socketio.eio.routes(_SOCKET_IO_PATH),
            ],
            default_handler_class=operations.NotFoundHandler,
            default_handler_args={"context": context, "route": "(none)"},
            log_function=self._count_request,
        )

    def _count_request(self, handler: RequestHandler) -> None:
        route = handler.route if isinstance(handler, BaseHandler) else _SOCKET_IO_PATH
        self.metrics.http_requests.labels(route, str(handler.get_status())).inc()


def _static_directory() -> Path:
    """Return where the pages are: in the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    installed = package / "static"
    return installed if installed.is_dir() else package.parent / "static"
