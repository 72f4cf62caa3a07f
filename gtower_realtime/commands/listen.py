"""`listen`: what a client hears, a line for each event."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import click

from gtower_realtime.commands.server_access import (
    fail,
    server_url,
    token_from,
    token_option,
    url_option,
)
from gtower_realtime.commands.socketio_client import Lost, NotConnected, RecoveringClient, Told
from gtower_realtime.timestamps import format_timestamp

_ANSWER_SECONDS = 10.0
_NOTED = frozenset({"connected", "roomJoined"})
"""Events that are told as notes, and printed only if they are asked for by name."""


class Ending(NamedTuple):
    """How it ends: the exit status, and what to say."""

    status: int
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class _Wanted:
    rooms: tuple[str, ...]
    events: frozenset[str]
    count: int | None
    as_json: bool


@click.command("listen", short_help="Print what a client hears.")
@click.option("--room", "rooms", multiple=True, metavar="ROOM", help="A room to join.")
@click.option("--event", "events", multiple=True, metavar="NAME", help="Print this event only.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after so many events.")
@click.option(
    "--seconds", type=click.FloatRange(min=0), metavar="SECONDS", help="End after this time."
)
@click.option(
    "--transport",
    type=click.Choice(["websocket", "polling"]),
    default="websocket",
    show_default=True,
    help="How to connect.",
)
@click.option(
    "--namespace", default="/", show_default=True, metavar="NAME", help="Where to connect."
)
@url_option
@token_option
@click.option("--json", "as_json", is_flag=True, help="A JSON object on each line.")
def listen(
    *,
    rooms: tuple[str, ...],
    events: tuple[str, ...],
    count: int | None,
    seconds: float | None,
    transport: str,
    namespace: str,
    url: str | None,
    token_file: Path | None,
    as_json: bool,
) -> None:
    """Connect as a client, join rooms, and print events as they come, until Ctrl-C.

    After a cut it comes back by itself, and gets what it has missed. Notes about the connection are
    on standard error.

    \b
    Exit status: 0 after Ctrl-C or --count, 69 no server or sent away by it,
    75 fewer than --count came in --seconds, 77 the token or a room is refused.
    """
    wanted = _Wanted(rooms, frozenset(events), count, as_json)
    address = server_url(url)

    async def run() -> Ending:
        def make_client(told: Told, lost: Lost) -> RecoveringClient:
            return RecoveringClient(
                address,
                transport=transport,
                namespace=namespace,
                token=token_from(token_file),
                told=told,
                lost=lost,
            )

        return await _Listener(wanted, make_client).run(seconds)

    ending = asyncio.run(run())
    if ending.sentence:
        fail(ending.sentence, ending.status)
    sys.exit(ending.status)


class _Listener:
    """What one `listen` has heard so far, and when it ends."""

    def __init__(
        self, wanted: _Wanted, make_client: Callable[[Told, Lost], RecoveringClient]
    ) -> None:
        self._wanted = wanted
        self._client = make_client(self.hear, self.lose)
        self._printed = 0
        self._connects = 0
        self._ending: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._joining: set[asyncio.Task[None]] = set()

    async def run(self, seconds: float | None) -> Ending:
        """Listen until something ends it."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.end, Ending(os.EX_OK))
        opening = asyncio.create_task(self._open())
        await asyncio.wait({self._ending}, timeout=seconds)
        self.end(Ending(os.EX_OK if self._wanted.count is None else os.EX_TEMPFAIL))
        for task in (opening, *self._joining):
            task.cancel()
        await asyncio.gather(opening, *self._joining, return_exceptions=True)
        await self._client.close()
        return self._ending.result()

    def end(self, ending: Ending) -> None:
        """End, unless it has ended already."""
        if not self._ending.done():
            self._ending.set_result(ending)

    def hear(self, event: str, payload: Any, offset: str | None) -> None:
        """Take an event."""
        if event == "connected":
            self._connected(payload)
        if self._ending.done() or event not in (self._wanted.events or {event} - _NOTED):
            return
        try:
            click.echo(self._line(event, payload, offset))
        except BrokenPipeError:
            # The reader has what it wanted; Python would complain of the same once more at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            self.end(Ending(os.EX_OK))
            return
        self._printed += 1
        if self._printed == self._wanted.count:
            self.end(Ending(os.EX_OK))

    def lose(self, reason: str, comes_back: bool) -> None:
        """Take the end of a connection."""
        if self._ending.done():
            return
        if comes_back:
            _note(f"connection lost ({reason}); coming back")
        else:
            self.end(Ending(os.EX_UNAVAILABLE, f"the server has ended this client: {reason}"))

    async def _open(self) -> None:
        try:
            await self._client.open()
        except NotConnected as problem:
            status = os.EX_NOPERM if problem.is_refused else os.EX_UNAVAILABLE
            self.end(Ending(status, f"not connected: {problem}"))

    def _connected(self, payload: Any) -> None:
        self._connects += 1
        client_id = payload.get("clientId")
        if payload.get("recovered"):
            _note(f"back as {client_id}: recovered, what was missed follows")
            return
        if self._connects > 1:
            reason = payload.get("reason", "no session")
            _note(f"back as {client_id}: not recovered ({reason}), what was missed is lost here")
        else:
            _note(f"connected as {client_id}")
        for room in self._wanted.rooms:
            task = asyncio.create_task(self._join(room))
            self._joining.add(task)
            task.add_done_callback(self._joining.discard)

    async def _join(self, room: str) -> None:
        try:
            answer = await self._client.ask("joinRoom", room, _ANSWER_SECONDS)
        except TimeoutError:
            # The connection was lost meanwhile; the next one joins again.
            return
        if answer.get("ok"):
            _note(f"joined {room}")
        else:
            error = answer["error"]
            sentence = f"{room}: {error['code']}: {error['message']}"
            self.end(Ending(os.EX_NOPERM, sentence))

    def _line(self, event: str, payload: Any, offset: str | None) -> str:
        now = datetime.now(UTC)
        if self._wanted.as_json:
            line = {"at": format_timestamp(now), "event": event, "data": payload}
            return json.dumps(line | ({"offset": offset} if offset else {}), ensure_ascii=False)
        text = json.dumps(payload, ensure_ascii=False)
        return f"{now.astimezone():%H:%M:%S}.{now.microsecond // 1000:03}  {event}  {text}"


def _note(sentence: str) -> None:
    click.echo(f"· {sentence}", err=True)
