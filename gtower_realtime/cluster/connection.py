"""One connection to Redis: commands and their answers, one after another.

Of redis-py it is what lies below its client: addresses, TLS, logging in, answers. The client takes
two timers and a task for each command besides, which is most of what a short one costs; and hiredis
packs commands in a tenth of the time.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha1
from typing import Any

import hiredis
from redis.asyncio import Connection as Wire
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

_CONNECT_SECONDS = 1.0

Command = Sequence[str | int]


class RedisAway(Exception):
    """Redis does not answer, or refuses; the message says why, and holds no secret."""


@dataclass(frozen=True, slots=True)
class Script:
    """What Redis does in one step, in Lua; it knows it by its digest once it has run it."""

    text: str
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        digest = sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        object.__setattr__(self, "digest", digest)


class Connection:
    """Connects when it is first needed, and anew after any trouble. Tries nothing twice.

    An answer that takes longer than ``answer_seconds`` is trouble. Whoever asks does so from a task
    of his own, as timeouts need one; a handler may have none before its first wait.
    """

    def __init__(self, url: str, answer_seconds: float) -> None:
        pool = ConnectionPool.from_url(
            url,
            decode_responses=True,
            encoding_errors="replace",
            protocol=2,
            socket_connect_timeout=_CONNECT_SECONDS,
            socket_timeout=None,
            retry=Retry(NoBackoff(), 0),
            client_name="gtower-realtime",
        )
        self._wire: Wire = pool.make_connection()  # type: ignore[no-untyped-call]
        self._answer_seconds = answer_seconds
        self._turn = asyncio.Lock()

    async def close(self) -> None:
        """Close it. Idempotent."""
        try:
            await self._wire.disconnect()
        except (RedisError, OSError, TimeoutError):
            return  # it is closed now, whatever it says

    async def ask(self, *command: str | int) -> Any:
        """Return the answer to a command: text, a number as such, None, or a list of these.

        Raises:
            RedisAway: there is none, or it is a refusal.
        """
        [answer] = await self.ask_all([command])
        return answer

    async def ask_all(self, commands: Sequence[Command]) -> list[Any]:
        """Return the answers to commands that are sent together. Raises as :meth:`ask` does."""
        answers = await self._answers(commands)
        for answer in answers:
            if isinstance(answer, ResponseError):
                raise _away(answer)
        return answers

    async def run(self, script: Script, keys: Sequence[str], arguments: Command) -> Any:
        """Return what a script returns. Raises as :meth:`ask` does."""
        command = ("EVALSHA", script.digest, len(keys), *keys, *arguments)
        [answer] = await self._answers([command])
        if isinstance(answer, NoScriptError):
            await self.ask("SCRIPT", "LOAD", script.text)
            return await self.ask(*command)
        if isinstance(answer, ResponseError):
            raise _away(answer)
        return answer

    async def _answers(self, commands: Sequence[Command]) -> list[Any]:
        """Return the answers, refusals among them. However it ends, none is left to be read."""
        wire = self._wire
        async with self._turn:
            try:
                if not wire.is_connected:
                    async with asyncio.timeout(_CONNECT_SECONDS + self._answer_seconds):
                        await wire.connect()  # type: ignore[no-untyped-call]
                async with asyncio.timeout(self._answer_seconds):
                    packed = b"".join(map(_packed, commands))
                    await wire.send_packed_command(packed, check_health=False)
                    return [await self._answer() for _ in commands]
            except TimeoutError as problem:
                await wire.disconnect(nowait=True)
                late = f"TimeoutError: no answer within {self._answer_seconds:g} s"
                raise RedisAway(late) from problem
            except (RedisError, OSError) as problem:
                await wire.disconnect(nowait=True)
                raise _away(problem) from problem

    async def _answer(self) -> Any:
        try:
            return await self._wire.read_response()
        except ResponseError as refusal:
            return refusal


def _packed(command: Command) -> bytes:
    # Its stub takes a tuple of one for one of any length.
    packed: bytes = hiredis.pack_command(tuple(command))  # type: ignore[arg-type]
    return packed


def _away(problem: Exception) -> RedisAway:
    # Of a command that Redis does not know it repeats what was said, and be it a password.
    said = str(problem).partition(", with args beginning with")[0]
    return RedisAway(f"{type(problem).__name__}: {said}"[:200])
