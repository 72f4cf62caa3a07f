"""What `doctor` looks at, check by check. Prints nothing."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple
from uuid import uuid4

from gtower_realtime.client import (
    AsyncRealtimeClient,
    Forbidden,
    RealtimeClientError,
    RetryPolicy,
    Unauthorized,
)
from gtower_realtime.client.calls import Call
from gtower_realtime.commands.socketio_client import NotConnected, RecoveringClient
from gtower_realtime.timestamps import parse_timestamp

State = Literal["ok", "warn", "fail", "skip"]

TRANSPORTS = ("websocket", "polling")
EVENT = "gtowerDoctor"

_TTL_SECONDS = 60
_FILES = re.compile(r"^gtower_process_(open|max)_fds (\S+)$", re.MULTILINE)
_BEARABLE_CLOCK_SECONDS = 2.0


class Finding(NamedTuple):
    """What a check has found; ``advice`` is what to do, empty if nothing."""

    check: str
    state: State
    finding: str
    advice: str = ""
    milliseconds: float | None = None
    """How long the server took, where that says something."""


@dataclass(frozen=True, slots=True)
class Examination:
    """The examination of the server at ``url``; each step takes at most ``seconds``."""

    url: str
    namespace: str
    api_key: str | None
    token: Callable[[], str | None]
    seconds: float
    open_files: int
    """How many the server may need, by the settings here."""

    async def findings(self) -> AsyncIterator[Finding]:
        """Yield what is found, in the order in which it is looked for.

        Raises:
            ValueError: the URL is none, or the key.
        """
        client = AsyncRealtimeClient(
            self.url, api_key=self.api_key, timeout=self.seconds, retries=RetryPolicy(tries=1)
        )
        async with client as api:
            health = await self._health(api)
            yield health
            if health.state == "fail":
                return
            for finding in (*await self._readiness(api), await self._key(api)):
                yield finding
            clock: Finding | None = None
            for transport in TRANSPORTS:
                visit = _Visit(self, transport)
                for finding in await visit.findings(api):
                    yield finding
                clock = clock or visit.clock()
            yield clock or Finding("clock", "skip", "nobody could be asked for the time")
            yield await self._files(api)

    async def _health(self, api: AsyncRealtimeClient) -> Finding:
        begin = time.monotonic()
        try:
            await api.perform(Call("GET", "/healthz", lambda answer: answer.said["status"]))
        except RealtimeClientError as problem:
            cause = problem.__cause__ or problem
            return Finding(
                "health",
                "fail",
                f"no answer from {self.url}: {cause}",
                "Is it running, and is this its address? Try --url.",
            )
        return _took("health", "answers", begin)

    async def _readiness(self, api: AsyncRealtimeClient) -> list[Finding]:
        try:
            readiness = await api.readiness()
        except RealtimeClientError as problem:
            return [Finding("readiness", "fail", str(problem), "Look at the server's log.")]
        failing = readiness.failing
        return [
            Finding("readiness", "ok", "takes new connections")
            if readiness.is_ready
            else Finding(
                "readiness",
                "fail",
                "goes on without Redis: other processes do not hear of its events for now",
                "Its log says why; nothing that it takes is lost.",
            )
            if failing == ("redis",)
            else Finding(
                "readiness",
                "fail",
                f"takes no new connections: {', '.join(failing)}",
                "Its log says why; while it goes down this is as it should be.",
            ),
            Finding(
                "store",
                "fail",
                "events cannot be recorded",
                "Look at its disk, or at PostgreSQL; the log names the reason.",
            )
            if "store" in failing
            else Finding("store", "ok", "takes events"),
        ]

    async def _key(self, api: AsyncRealtimeClient) -> Finding:
        try:
            await api.status()
        except Unauthorized:
            said = "an unknown key was given" if self.api_key else "a key is needed"
            return Finding("API key", "fail", said, "Set GTOWER_API_KEY, or give --key-file.")
        except Forbidden:
            return Finding("API key", "ok", "accepted, without the scope read")
        except RealtimeClientError as problem:
            return Finding("API key", "fail", str(problem))
        return Finding("API key", "ok", "accepted" if self.api_key else "none is needed")

    async def _files(self, api: AsyncRealtimeClient) -> Finding:
        try:
            counts = {
                name: int(float(count)) for name, count in _FILES.findall(await api.metrics())
            }
        except RealtimeClientError:
            counts = {}
        if counts.keys() != {"open", "max"}:
            advice = "A key with the scope read shows more."
            return Finding("open files", "skip", "it does not say how many it may have", advice)
        said = f"{counts['open']:.0f} of at most {counts['max']:.0f}"
        if counts["max"] >= self.open_files:
            return Finding("open files", "ok", said)
        return Finding(
            "open files",
            "warn",
            f"{said}, and GTOWER_MAX_CONNECTIONS takes {self.open_files}",
            "Raise its `ulimit -Hn`, or systemd's LimitNOFILE=.",
        )


class _Visit:
    """One client on one transport: connect, have an event published to it, hear it, go."""

    def __init__(self, examination: Examination, transport: str) -> None:
        loop = asyncio.get_running_loop()
        self._transport = transport
        self._seconds = examination.seconds
        self._probe = uuid4().hex
        self._welcome: asyncio.Future[tuple[Any, datetime]] = loop.create_future()
        self._arrival: asyncio.Future[float] = loop.create_future()
        self._client = RecoveringClient(
            examination.url,
            transport=transport,
            namespace=examination.namespace,
            token=examination.token,
            told=self._hear,
            comes_back=False,
        )

    async def findings(self, api: AsyncRealtimeClient) -> list[Finding]:
        """Return what is found about the handshake, and about the way of an event."""
        handshake, round_trip = (f"{self._transport} {name}" for name in ("connect", "round trip"))
        begin = time.monotonic()
        try:
            async with asyncio.timeout(self._seconds):
                await self._client.open()
                await self._welcome
            connected = _took(handshake, "connected", begin)
            return [connected, await self._round_trip(round_trip, api)]
        except NotConnected as problem:
            if problem.is_refused:
                advice = "Give --token-file; `make-token` makes a token. Look at --namespace too."
            else:
                advice = "A proxy in between must pass this on; the server's log names refusals."
            why = str(problem)
        except TimeoutError:
            why, advice = f"not within {self._seconds:g} seconds", "Look at the proxy in between."
        finally:
            await self._client.close()
        return [
            Finding(handshake, "fail", why, advice),
            Finding(round_trip, "skip", "not connected"),
        ]

    def clock(self) -> Finding | None:
        """Return how far the server's clock is from ours; None if it was not heard of."""
        if not self._welcome.done():
            return None
        said, heard_at = self._welcome.result()
        apart = abs((heard_at - parse_timestamp(said["timestamp"])).total_seconds())
        if apart <= _BEARABLE_CLOCK_SECONDS:
            return Finding("clock", "ok", "as ours")
        return Finding(
            "clock",
            "warn",
            f"{apart:.0f} seconds from ours",
            "Tokens end by it. Have both machines set their clocks by NTP.",
        )

    def _hear(self, event: str, payload: Any, _offset: str | None) -> None:
        if event == "connected" and not self._welcome.done():
            self._welcome.set_result((payload, datetime.now(UTC)))
        is_ours = event == EVENT and payload.get("probe") == self._probe
        if is_ours and not self._arrival.done():
            self._arrival.set_result(time.monotonic())

    async def _round_trip(self, name: str, api: AsyncRealtimeClient) -> Finding:
        client_id = self._welcome.result()[0]["clientId"]
        begin = time.monotonic()
        try:
            await api.publish(EVENT, {"probe": self._probe}, clients=[client_id], ttl=_TTL_SECONDS)
            arrived = await asyncio.wait_for(self._arrival, self._seconds)
        except (Unauthorized, Forbidden) as problem:
            return Finding(
                name, "skip", problem.message, "A key that may publish to clients shows more."
            )
        except RealtimeClientError as problem:
            return Finding(name, "fail", str(problem), "Nobody has seen the event.")
        except TimeoutError:
            return Finding(
                name,
                "fail",
                f"an event that was published did not arrive within {self._seconds:g} seconds",
                "Does a proxy in between hold answers back?",
            )
        milliseconds = round((arrived - begin) * 1000, 1)
        said = f"published and received in {milliseconds} ms"
        return Finding(name, "ok", said, milliseconds=milliseconds)


def _took(check: str, said: str, begin: float) -> Finding:
    milliseconds = round((time.monotonic() - begin) * 1000, 1)
    return Finding(check, "ok", f"{said} in {milliseconds} ms", milliseconds=milliseconds)
