"""One process that serves: listens, starts the application, and ends it on a signal."""

import asyncio
import faulthandler
import gc
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import structlog
from tornado import web

from gtower_realtime import __version__, logs
from gtower_realtime.application import Application, token_verifier
from gtower_realtime.errors import StoreUnavailable, StoreUnusable
from gtower_realtime.http1.server import HttpServer
from gtower_realtime.limits import open_files_for
from gtower_realtime.listeners import (
    BACKLOG,
    ListenError,
    inherited,
    is_local,
    listen_tcp,
    listen_unix,
    place,
    reachable_name,
)
from gtower_realtime.metrics import Traffic
from gtower_realtime.settings import Settings, SettingsError
from gtower_realtime.systemd import ServiceManager
from gtower_realtime.timestamps import SystemClock

TEST_PAGE = "/websocket-client-example.html"

_MAX_HEADER_BYTES = 16_384
_IDLE_SECONDS = 75.0
"""How long a connection may take to send a request's headers, and stay open between requests."""
_BODY_SECONDS = 60.0

_STATUS_SECONDS = 5.0

# How much longer than the drain time the end may take: last words, handlers, the store.
_SECONDS_BESIDE_DRAIN = 30.0

# How long an answer may take that is under way when everything has ended.
_ANSWER_SECONDS = 5.0

logger = structlog.get_logger(__name__)


def serve(settings: Settings, environ: Mapping[str, str]) -> int:
    """Serve until SIGTERM or SIGINT and return the exit status; a second signal ends at once.

    ``environ`` is what ``settings`` were read from; SIGHUP reads them anew (`Settings.reloaded`).
    The port is taken before anything else is started, unless systemd hands sockets over: then those
    are used, whatever host and port are set. One line on standard output says where the server is,
    once it answers there. Status: 0 after a signal, EX_UNAVAILABLE (69) when it cannot listen or
    reach its store, EX_CONFIG (78) when tokens cannot be checked with the key that is set or
    strangers could reach a server without keys, EX_TEMPFAIL (75) when the store is not for this
    process.
    """
    # The watchdog ends a process by SIGABRT: the journal shows then where the loop was blocked.
    faulthandler.enable()
    logs.configure(settings.log_level, settings.log_format)
    manager = ServiceManager.from_environment(os.environ)
    try:
        with _listeners(settings) as listeners:
            _allow_open_files(settings.max_connections)
            asyncio.run(_serve_on(listeners, settings, environ, manager))
    except SettingsError as problem:
        sys.stderr.write("\n".join(problem.problems) + "\n")
        return os.EX_CONFIG
    except StoreUnusable as problem:
        sys.stderr.write(f"{problem.message}\n")
        return os.EX_TEMPFAIL
    except StoreUnavailable as problem:
        sys.stderr.write(f"{problem.message}\n")
        return os.EX_UNAVAILABLE
    except ListenError as problem:
        sys.stderr.write(f"{problem}\n")
        return os.EX_UNAVAILABLE
    return os.EX_OK


def check(settings: Settings) -> None:
    """Check what can be known of settings only by building what they are for.

    Raises:
        SettingsError: the server would not start with them.
    """
    token_verifier(settings, SystemClock())


def http_server(application: web.Application) -> HttpServer:
    """Return a server for ``application`` that slow and greedy clients cannot hold up.

    Each route bounds its bodies itself, and answers 413. What comes and goes is counted in
    ``traffic`` of the application's settings, if that is there.
    """
    return HttpServer(
        application,
        max_header_bytes=_MAX_HEADER_BYTES,
        idle_seconds=_IDLE_SECONDS,
        body_seconds=_BODY_SECONDS,
        backlog=BACKLOG,
        traffic=application.settings.get("traffic") or Traffic(),
    )


class _Listeners(NamedTuple):
    sockets: list[socket.socket]
    are_inherited: bool
    """Whether they stay open when this process ends, and what connects then waits in them."""


@contextmanager
def _listeners(settings: Settings) -> Iterator[_Listeners]:
    """Give what to listen on; a file that was made for it is gone in the end."""
    sockets = inherited(os.environ)
    if sockets:
        _check_reach(sockets, settings)
        yield _Listeners(sockets, are_inherited=True)
    elif settings.unix_socket:
        sockets = [listen_unix(settings.unix_socket)]
        try:
            yield _Listeners(sockets, are_inherited=False)
        finally:
            settings.unix_socket.unlink(missing_ok=True)
    else:
        yield _Listeners(listen_tcp(settings.host, settings.port), are_inherited=False)


def _check_reach(sockets: Iterable[socket.socket], settings: Settings) -> None:
    """Check of sockets that somebody else has made what `Settings.load` checks of the host.

    Raises:
        SettingsError: other machines reach one of them, and there is no API key.
    """
    if settings.api_keys or settings.insecure:
        return
    problems = [
        f"{place(listener)}, from systemd: other machines can reach this address and no API key is "
        "set: set GTOWER_API_KEYS, or GTOWER_INSECURE=true to serve everybody"
        for listener in sockets
        if not is_local(listener)
    ]
    if problems:
        raise SettingsError(problems)


async def _serve_on(
    listeners: _Listeners,
    settings: Settings,
    environ: Mapping[str, str],
    manager: ServiceManager,
) -> None:
    application = Application(settings)
    server = http_server(application.tornado_application)
    stopping = _signalled()

    def reload() -> None:
        _reload(application, listeners, environ, manager)

    _on_hangup(_do_nothing)
    await application.start()
    await server.listen(listeners.sockets)
    _spare_the_garbage_collector()
    told = [_start_line(settings, listeners)]
    if application.cluster is not None:
        told.append(application.cluster.summary())
    sys.stdout.write(" · ".join(told) + "\n")
    sys.stdout.flush()
    manager.ready(application.summary())
    _on_hangup(reload)
    reports = [
        asyncio.create_task(_report(application, manager)),
        asyncio.create_task(_feed_watchdog(manager)),
    ]
    await stopping.wait()
    _on_hangup(_do_nothing)
    logger.info("stopping")
    manager.stopping(application.summary())
    # Once, and not again and again: an end that is stuck is to be found out.
    manager.extend_timeout(application.settings.drain_seconds + _SECONDS_BESIDE_DRAIN)
    if listeners.are_inherited:
        # What connects from now on waits in the socket for the next process.
        server.stop()
    # Else it is answered to the end: polls on new connections, health checks, and 503 for what is
    # new, where there would be refused connections.
    await application.stop()
    server.stop()
    # What was recorded last is being answered.
    await server.finish_answers(_ANSWER_SECONDS)
    await server.close_all_connections()
    for report in reports:
        report.cancel()


def _reload(
    application: Application,
    listeners: _Listeners,
    environ: Mapping[str, str],
    manager: ServiceManager,
) -> None:
    """Take the settings anew, all or none of them, and say what came of it."""
    manager.reloading()
    try:
        settings = application.settings.reloaded(environ)
        if listeners.are_inherited:
            _check_reach(listeners.sockets, settings)
        application.reload(settings)
    except SettingsError as error:
        application.metrics.reloads.labels("refused").inc()
        logger.error(  # noqa: TRY400 - the problems say it all
            "reload_refused", problems=error.problems, warnings=error.warnings
        )
    else:
        application.metrics.reloads.labels("done").inc()
        file = settings.settings_file and str(settings.settings_file)
        logger.info("reloaded", settings_file=file, warnings=settings.warnings)
        _allow_open_files(settings.max_connections)
    finally:
        manager.ready(application.summary())


async def _report(application: Application, manager: ServiceManager) -> None:
    """Tell the service manager every few seconds how the server is."""
    while manager.is_there:
        manager.status(application.summary())
        await asyncio.sleep(_STATUS_SECONDS)


async def _feed_watchdog(manager: ServiceManager) -> None:
    """Show that the loop turns, as often as the service manager wants to see it.

    A task of the loop and not a thread: a loop that is blocked is to be found out.
    """
    while manager.watchdog_seconds is not None:
        manager.alive()
        await asyncio.sleep(manager.watchdog_seconds / 2)


def _signalled() -> asyncio.Event:
    """Return an event that the first SIGTERM or SIGINT sets; the next one ends the process."""
    loop = asyncio.get_running_loop()
    event = asyncio.Event()

    def on_signal() -> None:
        event.set()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    return event


def _on_hangup(callback: Callable[[], None]) -> None:
    """Have SIGHUP call ``callback``, unless it would say that our terminal is gone."""
    if not os.isatty(0):
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, callback)


def _do_nothing() -> None:
    """Let the moment pass: nothing can be read anew before the server is ready, nor at its end."""


def _spare_the_garbage_collector() -> None:
    # What exists now stays for the life of the process; going through it again and again took a
    # third of the time of a broadcast.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 1000)


def _allow_open_files(connections: int) -> None:
    """Raise the limit of open files to what ``connections`` (0: no limit) take, or near to it.

    Systems start processes with 1,024, and leave it to those that need more to ask for it.
    """
    wanted = open_files_for(connections)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    granted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))
    if granted < wanted and connections:
        logger.warning("too_few_open_files", limit=granted, max_connections=connections)


def _start_line(settings: Settings, listeners: _Listeners) -> str:
    if listeners.are_inherited:
        where = place(listeners.sockets[0])
    elif settings.unix_socket:
        where = settings.host
    else:
        port = listeners.sockets[0].getsockname()[1]
        where = f"http://{reachable_name(settings.host)}:{port}"
    page = where + TEST_PAGE if where.startswith("http") else TEST_PAGE
    return f"GTower Realtime {__version__} on {where} · test page {page}"
