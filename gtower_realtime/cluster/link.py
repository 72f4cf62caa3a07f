"""The connections to Redis, three of a process: one that appends, one that reads, one for the rest.

Whatever goes wrong is `RedisAway`: who uses this has one answer to it, and tries again himself.
"""

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from gtower_realtime.cluster.scripts import APPEND, BEAT, BURY, JOIN, TELL, Keys

PREFIX = "gtower:"

MAX_ENTRIES = 200_000
"""Of the stream at the most; what its bounds are is less, and trimmed to now and then."""

_CONNECT_SECONDS = 1.0
_ANSWER_SECONDS = 1.0
_BLOCK_SECONDS = 1.0
_READ_AT_ONCE = 500
_SCAN_AT_ONCE = 500
_MAX_INBOX = 20_000


class RedisAway(Exception):
    """Redis does not answer, or refuses; the message says why, and holds no secret."""


class Entry(NamedTuple):
    """An entry of the log: who has written it under which number of his, and what it says."""

    id: str
    origin: str
    sequence: int
    text: str


class Kept(NamedTuple):
    """What is to be kept by key together with a unit; see `scripts.APPEND` for the rule."""

    key: str
    value: str
    milliseconds: int
    rule: str


@dataclass(frozen=True, slots=True)
class Sent:
    """A unit as it goes to Redis; ``kept`` is JSON of what is to be kept by key, or nothing."""

    origin: str
    sequence: int
    text: str
    kept: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the log is: its epoch, the ids of its last entry ever and of the first that it has.

    ``now`` is Redis's time in milliseconds, by which it gives ids.
    """

    epoch: str
    last_id: str
    first_id: str
    now: int


@dataclass(frozen=True, slots=True)
class Roster:
    """Who was heard of when, by Redis's milliseconds, and what each tells of itself, as JSON."""

    now: int
    heard: Mapping[str, int]
    details: Mapping[str, str]


class Link:
    """Speaks with Redis for the process ``node``."""

    def __init__(self, url: str, node: str, prefix: str = PREFIX) -> None:
        self.keys = Keys(prefix)
        self.node = node
        self._appender = _connection(url, _ANSWER_SECONDS)
        self._reader = _connection(url, _BLOCK_SECONDS + _ANSWER_SECONDS)
        self._asker = _connection(url, _ANSWER_SECONDS)
        self._append = self._appender.register_script(APPEND)
        self._join = self._appender.register_script(JOIN)
        self._beat = self._asker.register_script(BEAT)
        self._bury = self._asker.register_script(BURY)
        self._tell = self._asker.register_script(TELL)

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        for connection in (self._appender, self._reader, self._asker):
            try:
                await connection.aclose()
            except (RedisError, OSError):
                continue  # it is closed now, whatever it says

    # The log

    async def join(self, new_epoch: str, known_epoch: str, last_id: str) -> Place:
        """Return where the log is; ``new_epoch`` begins if it has lost what was read before."""
        keys = [self.keys.log, self.keys.epoch]
        said = await _asked(self._join(keys, [new_epoch, known_epoch, last_id]))
        epoch, last, first, now = said
        return Place(epoch, last, first, int(now))

    async def append(self, units: Sequence[Sent]) -> list[str]:
        """Append units in their order; return the id of each, ``known`` or ``refused``."""
        arguments: list[Any] = [self.keys.prefix, MAX_ENTRIES]
        for unit in units:
            arguments += (unit.origin, unit.sequence, unit.text, unit.kept)
        outcomes: list[str] = await _asked(self._append([self.keys.log], arguments))
        return outcomes

    async def read(self, log_id: str, inbox_id: str) -> tuple[list[Entry], list[tuple[str, str]]]:
        """Wait a second at most for what follows in the log and in the inbox, as (id, message)."""
        inbox = self.keys.inbox(self.node)
        streams: dict[Any, Any] = {self.keys.log: log_id, inbox: inbox_id}
        said = await _asked(
            self._reader.xread(streams, count=_READ_AT_ONCE, block=round(_BLOCK_SECONDS * 1000))
        )
        entries: list[Entry] = []
        messages: list[tuple[str, str]] = []
        for name, found in said or []:
            if name == inbox:
                messages += ((one, fields.get("m", "")) for one, fields in found)
            else:
                entries += map(_entry, found)
        return entries, messages

    async def slice(self, after: str, until: str) -> list[Entry]:
        """Return some entries of the log after one id and up to another, the oldest first."""
        said = await _asked(
            self._asker.xrange(self.keys.log, min=f"({after}", max=until, count=_READ_AT_ONCE)
        )
        return list(map(_entry, said))

    async def last_id(self) -> str:
        """Return the id of the last entry of the log; ``0-0`` when there is none."""
        said = await _asked(self._asker.xrevrange(self.keys.log, count=1))
        return said[0][0] if said else "0-0"

    async def trim(self, first_id: str) -> None:
        """Delete the entries of the log before an id, or some more."""
        await _asked(self._asker.xtrim(self.keys.log, minid=first_id, approximate=True))

    # What is kept by key

    async def values(self, keys: Sequence[str]) -> list[str | None]:
        """Return what is kept by keys."""
        said: list[str | None] = await _asked(self._asker.mget(keys)) if keys else []
        return said

    async def keep(
        self,
        kept: Iterable[tuple[str, str, int]],
        refreshed: Iterable[tuple[str, int]],
        gone: Iterable[str],
    ) -> None:
        """Keep values by key for so many milliseconds, others for longer, and delete some."""
        pipeline = self._asker.pipeline(transaction=False)
        for key, value, milliseconds in kept:
            pipeline.set(key, value, px=milliseconds)
        for key, milliseconds in refreshed:
            pipeline.pexpire(key, milliseconds)
        for key in gone:
            pipeline.delete(key)
        if len(pipeline):
            await _asked(pipeline.execute())

    async def sessions(self) -> list[str]:
        """Return all sessions that are kept."""
        found: list[str] = []
        cursor: Any = 0
        while True:
            cursor, keys = await _asked(
                self._asker.scan(cursor, match=f"{self.keys.sessions}*", count=_SCAN_AT_ONCE)
            )
            found += [text for text in await self.values(keys) if text is not None]
            if not int(cursor):
                return found

    # Other processes

    async def beat(self, details: str) -> Roster:
        """Tell that this process is alive, and return who else is."""
        keys = [self.keys.nodes, self.keys.node_details]
        now, heard, told = await _asked(self._beat(keys, [self.node, details]))
        return Roster(
            int(now),
            {name: int(float(at)) for name, at in _pairs(heard)},
            dict(_pairs(told)),
        )

    async def roster(self) -> Roster:
        """Return who was heard of, and tell nothing."""
        pipeline = self._asker.pipeline(transaction=False)
        pipeline.time()
        pipeline.zrange(self.keys.nodes, 0, -1, withscores=True)
        pipeline.hgetall(self.keys.node_details)
        (seconds, microseconds), heard, told = await _asked(pipeline.execute())
        now = seconds * 1000 + microseconds // 1000
        return Roster(now, {name: int(at) for name, at in heard}, told)

    async def bury(self, node: str, heard: int | None, unit: str) -> bool:
        """Declare a process dead that was not heard of since; return whether that was so."""
        keys = [self.keys.nodes, self.keys.node_details, self.keys.log, self.keys.inbox(node)]
        since = "" if heard is None else heard
        return bool(await _asked(self._bury(keys, [node, since, unit])))

    async def tell(self, messages: Sequence[tuple[str, str]]) -> None:
        """Put messages into the inboxes of processes."""
        if messages:
            keys = [self.keys.inbox(node) for node, _ in messages]
            await _asked(self._tell(keys, [_MAX_INBOX, *(message for _, message in messages)]))

    # What Redis tells of itself

    async def version(self) -> str:
        """Return which version it has, as ``7.0.15``; it need not let us do anything else."""
        asking = self._asker.execute_command("HELLO")  # type: ignore[no-untyped-call]
        said = await _asked(asking)
        told = said if isinstance(said, Mapping) else dict(_pairs(said))
        return str(told["version"])

    async def facts(self) -> Mapping[str, Any]:
        """Return what ``INFO`` says: names as there, numbers as such."""
        said: Mapping[str, Any] = await _asked(self._asker.info())
        return said


def _connection(url: str, answer_seconds: float) -> "Redis":
    connection: Redis = Redis.from_url(
        url,
        decode_responses=True,
        encoding_errors="replace",
        protocol=2,
        single_connection_client=True,
        socket_connect_timeout=_CONNECT_SECONDS,
        socket_timeout=answer_seconds,
        retry=Retry(NoBackoff(), 0),
        client_name="gtower-realtime",
    )
    return connection


async def _asked(answer: Awaitable[Any]) -> Any:
    """Return the answer.

    Raises:
        RedisAway: there is none, or it is a refusal.
    """
    try:
        return await answer
    except (RedisError, OSError, TimeoutError) as problem:
        # Of a command that Redis does not know it repeats what was said, and be it a password.
        said = str(problem).partition(", with args beginning with")[0]
        raise RedisAway(f"{type(problem).__name__}: {said}"[:200]) from problem


def _entry(found: tuple[str, Mapping[str, str]]) -> Entry:
    entry_id, fields = found
    try:
        return Entry(entry_id, fields["o"], int(fields["n"]), fields["u"])
    except (KeyError, ValueError):
        # Not one of ours; whoever reads its text says so.
        return Entry(entry_id, "", 0, "")


def _pairs(flat: Sequence[Any]) -> Iterable[tuple[Any, Any]]:
    return zip(flat[::2], flat[1::2], strict=True)
