"""The composition root: builds every object, hands each what it needs, starts and stops them."""

import asyncio
import logging
import platform
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog
import tornado.web
from tornado.web import RequestHandler

from gtower_realtime.addresses import TrustedProxies
from gtower_realtime.clients import ClientRegistry
from gtower_realtime.cluster.node import ClusterNode
from gtower_realtime.engineio.server import EngineIOConfig
from gtower_realtime.engineio.session import SessionLimits
from gtower_realtime.errors import RealtimeError, StoreUnavailable
from gtower_realtime.gateway.client_events import ClientEvents
from gtower_realtime.gateway.dashboard import Dashboard
from gtower_realtime.gateway.pace import TOO_MANY_REQUESTS, Pace
from gtower_realtime.gateway.server import SocketIOServer
from gtower_realtime.gateway.transport import SocketIOTransport
from gtower_realtime.health import LoopHealth
from gtower_realtime.identity import ApiKeys, ApiRates
from gtower_realtime.journal import Journal
from gtower_realtime.key_sets import KeySet
from gtower_realtime.limits import ConnectionLimits, Rate
from gtower_realtime.loop_lag import watch_loop_lag
from gtower_realtime.metrics import RELOAD_OUTCOMES, Metrics
from gtower_realtime.origins import OriginPolicy
from gtower_realtime.ports import Clock, EventLog, Store
from gtower_realtime.records import Bounds
from gtower_realtime.service import RealtimeService
from gtower_realtime.sessions import Sessions
from gtower_realtime.settings import Settings, SettingsError
from gtower_realtime.shared_limits import TELL_SECONDS, SharedLimits
from gtower_realtime.store import open_archive, open_store
from gtower_realtime.store.memory import MemoryStore
from gtower_realtime.timestamps import SystemClock, milliseconds
from gtower_realtime.tokens import KeySource, TokenVerifier, VerificationKey
from gtower_realtime.whatsapp.webhook import WhatsAppWebhook
from handlers import api, asyncapi, openapi, operations, pages, typescript
from handlers.base import BaseHandler, HttpContext

logger = structlog.get_logger(__name__)

# Asked before a line is made that nobody will see.
requests = logging.getLogger(__name__)

_SOCKET_IO_PATH = "/socket.io/"

# What replays are answered from without reading the store.
_RECENT_EVENTS = 100_000
_RECENT_BYTES = 64 * 1024 * 1024

_MAX_VIEWERS = 50
"""Of the dashboard."""

_FLOOD_PENALTY_SECONDS = 5.0

_EXPIRE_SECONDS = 1.0
_TRIM_SECONDS = 30.0
_PRESENCE_SECONDS = 0.1
_LET_GO_SECONDS = 0.1


class Application:
    """One server: its parts as attributes, its routes as :attr:`tornado_application`."""

    def __init__(
        self, settings: Settings, clock: Clock | None = None, store: Store | None = None
    ) -> None:
        self.settings = settings
        self.clock: Clock = clock or SystemClock()
        self.metrics = Metrics()
        self.loop_health = LoopHealth(self.clock.monotonic)
        self.clients = ClientRegistry()
        self.origins = OriginPolicy(settings.cors_origin)
        self.connection_limits = ConnectionLimits(
            settings.max_connections,
            settings.max_connections_per_address,
            settings.rate_connects,
        )
        self.socketio = SocketIOServer(
            self._engineio_config(),
            namespaces=settings.namespaces,
            handler_timeout=settings.handler_timeout,
        )
        self.transport = SocketIOTransport(self.socketio)
        self.sessions = Sessions()
        own = Journal(
            store or open_store(settings),
            recent_events=_RECENT_EVENTS,
            recent_bytes=_RECENT_BYTES,
            committed=self.metrics.store_commit_seconds.observe,
        )
        self.cluster = self._cluster(own)
        self.journal: EventLog = own if self.cluster is None else self.cluster.log
        self._verifier = token_verifier(settings, self.clock)
        self.service = RealtimeService(
            transport=self.transport,
            journal=self.journal,
            sessions=self.sessions,
            recovery_seconds=settings.recovery_seconds,
            clients=self.clients,
            clock=self.clock,
            metrics=self.metrics,
            verifier=self._verifier,
            presence_rooms=settings.presence_rooms,
            max_rooms_per_client=settings.max_rooms_per_client,
            announces_clients=settings.announce_clients,
            peers=None if self.cluster is None else self.cluster.peers,
        )
        if self.cluster is not None:
            self.service.monitor.nodes = self.cluster.known_nodes
        self._pace = Pace(
            _client_rates(settings),
            self.clock.monotonic,
            self._stop_flood,
            lambda rate: self.metrics.rate_limited.labels(rate).inc(),
        )
        ClientEvents(
            service=self.service,
            transport=self.transport,
            pace=self._pace,
            clock=self.clock,
            metrics=self.metrics,
        ).bind(self.socketio)
        self._api_keys = ApiKeys(settings.api_keys)
        self.dashboard = Dashboard(self._dashboard_config(), self.service.monitor, self._api_keys)
        # From the start, so that a rise from nothing is seen as one.
        for outcome in RELOAD_OUTCOMES:
            self.metrics.reloads.labels(outcome)
        self.whatsapp = self._whatsapp_webhook()
        self._housekeeping: list[asyncio.Task[None]] = []
        api_rates = ApiRates(settings.rate_api, self.clock.monotonic)
        self._shared_limits = SharedLimits(self.service.peers, api_rates, self._penalise)
        self._http_context = HttpContext(
            service=self.service,
            api_keys=self._api_keys,
            api_rates=api_rates,
            origins=self.origins,
            metrics=self.metrics,
            loop=self.loop_health,
            max_body_bytes=settings.max_body_bytes,
            checks_host=_checks_host(settings),
        )
        self.tornado_application = self._tornado_application()

    async def start(self) -> None:
        """Make everything ready that must be before the first connection.

        Raises:
            StoreUnavailable: the event store cannot be reached.
            StoreUnusable: the event store is not for this process.
        """
        if self.cluster is not None:
            self.cluster.start(self.service.replication)
        self.service.restore(await self.journal.open())
        if self.whatsapp is not None:
            await self.whatsapp.start()
        loop = asyncio.get_running_loop()
        self.metrics.tasks.set_function(lambda: len(asyncio.all_tasks(loop)))
        self._housekeeping = [
            asyncio.create_task(watch_loop_lag(self._loop_came)),
            asyncio.create_task(self._every(_EXPIRE_SECONDS, self._expire)),
            asyncio.create_task(self._every(_TRIM_SECONDS, self._trim)),
        ]
        if self.cluster is not None:
            limits = self._every(TELL_SECONDS, self._tell_limits)
            self._housekeeping.append(asyncio.create_task(limits))
        if self.settings.presence_rooms:
            presence = self._every(_PRESENCE_SECONDS, self._tell_presence)
            self._housekeeping.append(asyncio.create_task(presence))

    def reload(self, settings: Settings) -> None:
        """Take what `Settings.reloaded` has read anew, all of it or nothing.

        Limits hold for whoever is connected already, except those that were announced to a
        connection when it was opened; nobody is cut off.

        Raises:
            SettingsError: tokens cannot be checked with the new key. Everything is as before.
        """
        before = self.settings
        if _token_settings(settings) != _token_settings(before):
            self._verifier = token_verifier(settings, self.clock)
        self.settings = settings
        self.service.change(self._verifier, settings.max_rooms_per_client)
        self.origins.replace(settings.cors_origin)
        self.connection_limits.change(
            settings.max_connections, settings.max_connections_per_address, settings.rate_connects
        )
        proxies = TrustedProxies(settings.trusted_proxies)
        self.socketio.eio.change(_session_limits(settings), proxies)
        self.dashboard.change_proxies(proxies)
        if _client_rates(settings) != _client_rates(before):
            self._pace.change(_client_rates(settings))
        context = self._http_context
        if settings.api_keys != before.api_keys:
            self._api_keys.replace(settings.api_keys)
            self.dashboard.keys_have_changed()
        if settings.rate_api != before.rate_api:
            context.api_rates.change(settings.rate_api)
        context.max_body_bytes = settings.max_body_bytes
        context.checks_host = _checks_host(settings)

    def summary(self) -> str:
        """Say in one line how the server is, and for how many."""
        population = self.service.directory.population()
        said = f"{self.service.state}: {population.clients} clients in {population.rooms} rooms"
        return said if self.cluster is None else f"{said}, {self.cluster.summary()}"

    async def stop(self) -> None:
        """Let go of everybody over the drain time: new work is refused, all are told and closed.

        It ends earlier when nobody is left.
        """
        self.service.drain(self.settings.drain_seconds)
        while True:
            if not self.service.let_go():
                break
            await asyncio.sleep(_LET_GO_SECONDS)
        if self.whatsapp is not None:
            await self.whatsapp.stop()
        await self.socketio.shutdown()
        await self.dashboard.stop()
        for task in self._housekeeping:
            task.cancel()
        self.service.analytics.record()
        if self.cluster is not None:
            await self.cluster.stop()
        await self.journal.close()

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
            except StoreUnavailable as problem:
                logger.warning("housekeeping_put_off", reason=problem.message)

    def _loop_came(self, late_seconds: float) -> None:
        self.metrics.loop_lag_seconds.observe(late_seconds)
        self.loop_health.measured(late_seconds)

    async def _expire(self) -> None:
        self.service.end_expired_sessions()
        self.service.mind_tokens()
        self.service.analytics.tick()

    async def _tell_limits(self) -> None:
        self._shared_limits.tell()

    async def _tell_presence(self) -> None:
        self.service.tell_presence()

    async def _trim(self) -> None:
        bounds = Bounds(
            self.settings.log_max_events,
            self.settings.log_max_bytes,
            self.settings.log_max_age_seconds,
        )
        await self.journal.trim(bounds, milliseconds(self.clock.now()))

    def _stop_flood(self, client_id: str) -> None:
        client = self.clients.get(client_id)
        if client is not None:
            self._shared_limits.penalise(client.user_id, client.address)
            self.transport.disconnect(client_id, TOO_MANY_REQUESTS, "too many requests")

    def _penalise(self, user_id: str | None, address: str) -> None:
        if user_id is None:
            now = self.clock.monotonic()
            self.connection_limits.penalise(address, _FLOOD_PENALTY_SECONDS, now)
        else:
            # Others may share the address.
            self._pace.penalise(user_id, _FLOOD_PENALTY_SECONDS)

    def _cluster(self, own: Journal) -> ClusterNode | None:
        settings = self.settings
        if settings.redis_url is None:
            return None
        return ClusterNode(
            name=f"{platform.node()}:{settings.unix_socket or settings.port}",
            redis_url=settings.redis_url,
            own=own,
            store=MemoryStore(),
            archive=open_archive(settings),
            clients=self.clients,
            sessions=self.sessions,
            transport=self.transport,
            clock=self.clock,
            metrics=self.metrics,
            recovery_seconds=settings.recovery_seconds,
        )

    def _engineio_config(self) -> EngineIOConfig:
        settings = self.settings
        return EngineIOConfig(
            limits=_session_limits(settings),
            connection_limits=self.connection_limits,
            origins=self.origins,
            proxies=TrustedProxies(settings.trusted_proxies),
            metrics=self.metrics,
            gate=self._refusal_of_new_connections,
            clock=self.clock.monotonic,
            current_mark=lambda: self.journal.last_number,
            sid_ending=_sid_ending(settings),
        )

    def _dashboard_config(self) -> EngineIOConfig:
        # Viewers are not counted with the clients: what they see would change by their looking.
        return EngineIOConfig(
            connection_limits=ConnectionLimits(
                _MAX_VIEWERS, _MAX_VIEWERS, self.settings.rate_connects
            ),
            origins=OriginPolicy([]),
            proxies=TrustedProxies(self.settings.trusted_proxies),
            clock=self.clock.monotonic,
            sid_ending=_sid_ending(self.settings),
        )

    def _whatsapp_webhook(self) -> WhatsAppWebhook | None:
        settings = self.settings
        if not settings.whatsapp_app_secret or settings.whatsapp_verify_token is None:
            return None
        return WhatsAppWebhook(
            app_secrets=settings.whatsapp_app_secret,
            verify_token=settings.whatsapp_verify_token,
            resolver_url=settings.whatsapp_resolver_url,
            journal=self.journal,
            publish=self.service.begin_whatsapp_event,
            clock=self.clock,
            metrics=self.metrics,
        )

    def _refusal_of_new_connections(self) -> RealtimeError | None:
        return self.service.refusal_of_new_work()

    def _tornado_application(self) -> tornado.web.Application:
        context = self._http_context
        endpoints = api.routes(self.whatsapp)
        routes = (
            *endpoints,
            *openapi.routes(endpoints),
            *asyncapi.routes(),
            *typescript.routes(),
            *pages.routes(_static_directory()),
        )
        return tornado.web.Application(
            [
                # In the order in which most requests come.
                *self.socketio.eio.routes(_SOCKET_IO_PATH),
                *self.dashboard.routes(),
                *(route.url_spec(context) for route in routes),
            ],
            default_handler_class=operations.NotFoundHandler,
            default_handler_args={"context": context, "route": "(none)"},
            log_function=self._count_request,
            traffic=self.metrics.http_traffic,
        )

    def _count_request(self, handler: RequestHandler) -> None:
        if requests.isEnabledFor(logging.DEBUG):
            _tell_request(handler)
        status = str(handler.get_status())
        if not isinstance(handler, BaseHandler):
            # A poll waits on purpose, so that its time says nothing.
            self.metrics.http_requests.labels(_SOCKET_IO_PATH, status).inc()
            return
        self.metrics.http_requests.labels(handler.route, status).inc()
        self.metrics.http_seconds.labels(handler.route).observe(handler.request.request_time())


def _tell_request(handler: RequestHandler) -> None:
    """Write a line about an answered request; nothing that stood in its URL, headers or body."""
    of_ours = (
        {"route": handler.route, "request_id": handler.request_id()}
        if isinstance(handler, BaseHandler)
        else {"route": _SOCKET_IO_PATH}
    )
    logger.debug(
        "request",
        method=handler.request.method,
        status=handler.get_status(),
        seconds=round(handler.request.request_time(), 6),
        **of_ours,
    )


def _session_limits(settings: Settings) -> SessionLimits:
    return SessionLimits(
        ping_interval=settings.ping_interval,
        ping_timeout=settings.ping_timeout,
        connect_timeout=settings.connect_timeout,
        max_message_bytes=settings.max_message_bytes,
        max_client_buffer_bytes=settings.max_client_buffer_bytes,
    )


def _sid_ending(settings: Settings) -> str:
    """Return what tells a proxy which process a session is of: its port, in five digits."""
    return f"{settings.port:05}"


def _client_rates(settings: Settings) -> dict[str, Rate]:
    return {
        "events": settings.rate_events,
        "broadcasts": settings.rate_broadcasts,
        "joins": settings.rate_joins,
    }


def _checks_host(settings: Settings) -> bool:
    return not settings.api_keys and not settings.insecure


def _token_settings(settings: Settings) -> tuple[str | None, ...]:
    return (
        settings.jwt_secret,
        settings.jwt_public_key,
        settings.jwt_jwks_url,
        settings.jwt_audience,
        settings.jwt_issuer,
    )


def token_verifier(settings: Settings, clock: Clock) -> TokenVerifier | None:
    """Return what checks clients' tokens; None when they need none.

    Raises:
        SettingsError: the key is not one that tokens can be checked with.
    """
    if not settings.requires_tokens:
        return None
    return TokenVerifier(
        _token_keys(settings, clock),
        clock,
        audience=settings.jwt_audience,
        issuer=settings.jwt_issuer,
    )


def _token_keys(settings: Settings, clock: Clock) -> KeySource:
    if settings.jwt_jwks_url is not None:
        return KeySet(settings.jwt_jwks_url, clock)
    try:
        if settings.jwt_secret is not None:
            return VerificationKey.from_secret(settings.jwt_secret)
        return VerificationKey.from_pem(settings.jwt_public_key or "")
    except ValueError as problem:
        name = "GTOWER_JWT_SECRET" if settings.jwt_secret else "GTOWER_JWT_PUBLIC_KEY"
        raise SettingsError([f"{name}: {problem}"]) from None


def _static_directory() -> Path:
    """Return where the pages are: in the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    installed = package / "static"
    return installed if installed.is_dir() else package.parent / "static"
