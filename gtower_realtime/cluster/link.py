"""The connections to Redis, three of a process: one that appends, one that reads, one for the rest.

Whatever goes wrong is `RedisAway`: who uses this has one answer to it, and tries again himself.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from gtower_realtime.cluster.connection import Command, Connection, RedisAway, Script
from gtower_realtime.cluster.scripts import APPEND, BEAT, BURY, JOIN, TELL, Keys

__all__ = ["Entry", "Kept", "Link", "Place", "RedisAway", "Roster", "Sent"]

PREFIX = "gtower:"

MAX_ENTRIES = 200_000
"""Of the stream at the most; what its bounds are is less, and trimmed to now and then."""

_ANSWER_SECONDS = 1.0
_BLOCK_SECONDS = 1.0
READ_AT_ONCE = 500
_SCAN_AT_ONCE = 500
_MAX_INBOX = 20_000

_APPEND, _JOIN, _BEAT, _BURY, _TELL = map(Script, (APPEND, JOIN, BEAT, BURY, TELL))


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


class Portion:
    """How many entries are asked for at once: far fewer after they have not come in time.

    After each time that they have come it is one more, so that large ones do not fail again soon.
    """

    def __init__(self) -> None:
        self._entries = READ_AT_ONCE

    def __enter__(self) -> int:
        return self._entries

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._entries = min(READ_AT_ONCE, self._entries + 1)
        elif issubclass(kind, RedisAway):
            self._entries = max(1, self._entries // 8)


class Link:
    """Speaks with Redis for the process ``node``."""

    def __init__(self, url: str, node: str, prefix: str = PREFIX) -> None:
        self.keys = Keys(prefix)
        self._portion = Portion()
        self.node = node
        self._appender = Connection(url, _ANSWER_SECONDS)
        self._reader = Connection(url, _BLOCK_SECONDS + _ANSWER_SECONDS)
        self._asker = Connection(url, _ANSWER_SECONDS)

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        for connection in (self._appender, self._reader, self._asker):
            await connection.close()

    # The log

    async def join(self, new_epoch: str, known_epoch: str, last_id: str) -> Place:
        """Return where the log is; ``new_epoch`` begins if it has lost what it had before.

        ``last_id`` is that of the last entry that it is known to have had, ``0-0`` if none is.
        """
        keys = [self.keys.log, self.keys.epoch]
        said = await self._appender.run(_JOIN, keys, [new_epoch, known_epoch, last_id])
        epoch, last, first, now = said
        return Place(epoch, last, first, int(now))

    async def append(self, units: Sequence[Sent]) -> list[str]:
        """Append units in their order; return the id of each, ``known`` or ``refused``."""
        arguments: list[str | int] = [self.keys.prefix, MAX_ENTRIES]
        for unit in units:
            arguments += (unit.origin, unit.sequence, unit.text, unit.kept)
        outcomes: list[str] = await self._appender.run(_APPEND, [self.keys.log], arguments)
        return outcomes

    async def read(self, log_id: str, inbox_id: str) -> tuple[list[Entry], list[tuple[str, str]]]:
        """Wait a second at most for what follows in the log and in the inbox, as (id, message)."""
        inbox = self.keys.inbox(self.node)
        block = ("BLOCK", round(_BLOCK_SECONDS * 1000))
        streams = (self.keys.log, inbox, log_id, inbox_id)
        with self._portion as count:
            said = await self._reader.ask("XREAD", "COUNT", count, *block, "STREAMS", *streams)
        entries: list[Entry] = []
        messages: list[tuple[str, str]] = []
        for name, found in said or []:
            if name == inbox:
                messages += ((one, dict(_pairs(fields)).get("m", "")) for one, fields in found)
            else:
                entries += map(_entry, found)
        return entries, messages

    async def slice(self, after: str, until: str) -> list[Entry]:
        """Return some entries of the log after one id and up to another, the oldest first."""
        bounds = (f"({after}", until)
        with self._portion as count:
            said = await self._asker.ask("XRANGE", self.keys.log, *bounds, "COUNT", count)
        return list(map(_entry, said))

    async def first_id(self) -> str:
        """Return the id of the first entry that the log has; ``0-0`` when there is none."""
        said = await self._asker.ask("XRANGE", self.keys.log, "-", "+", "COUNT", 1)
        return str(said[0][0]) if said else "0-0"

    async def last_id(self) -> str:
        """Return the id of the last entry of the log; ``0-0`` when there is none."""
        said = await self._asker.ask("XREVRANGE", self.keys.log, "+", "-", "COUNT", 1)
        return str(said[0][0]) if said else "0-0"

    async def trim(self, first_id: str) -> None:
        """Delete the entries of the log before an id, or some more."""
        await self._asker.ask("XTRIM", self.keys.log, "MINID", "~", first_id)

    # What is kept by key

    async def values(self, keys: Sequence[str]) -> list[str | None]:
        """Return what is kept by keys."""
        said: list[str | None] = await self._asker.ask("MGET", *keys) if keys else []
        return said

    async def keep(
        self,
        kept: Iterable[tuple[str, str, int]],
        refreshed: Iterable[tuple[str, int]],
        gone: Iterable[str],
    ) -> None:
        """Keep values by key for so many milliseconds, others for longer, and delete some."""
        commands: list[Command] = [
            *(("SET", key, value, "PX", milliseconds) for key, value, milliseconds in kept),
            *(("PEXPIRE", key, milliseconds) for key, milliseconds in refreshed),
            *(("DEL", key) for key in gone),
        ]
        if commands:
            await self._asker.ask_all(commands)

    async def sessions(self) -> list[str]:
        """Return all sessions that are kept."""
        found: list[str] = []
        cursor: str | int = 0
        while True:
            wanted = ("MATCH", f"{self.keys.sessions}*", "COUNT", _SCAN_AT_ONCE)
            cursor, keys = await self._asker.ask("SCAN", cursor, *wanted)
            found += [text for text in await self.values(keys) if text is not None]
            if not int(cursor):
                return found

    # Other processes

    async def beat(self, details: str) -> Roster:
        """Tell that this process is alive, and return who else is."""
        keys = [self.keys.nodes, self.keys.node_details]
        now, heard, told = await self._asker.run(_BEAT, keys, [self.node, details])
        return _roster(int(now), heard, told)

    async def roster(self) -> Roster:
        """Return who was heard of, and tell nothing."""
        (seconds, microseconds), heard, told = await self._asker.ask_all(
            [
                ("TIME",),
                ("ZRANGE", self.keys.nodes, 0, -1, "WITHSCORES"),
                ("HGETALL", self.keys.node_details),
            ]
        )
        return _roster(int(seconds) * 1000 + int(microseconds) // 1000, heard, told)

    async def bury(self, node: str, heard: int | None, unit: str) -> bool:
        """Declare a process dead that was not heard of since; return whether that was so."""
        keys = [self.keys.nodes, self.keys.node_details, self.keys.log, self.keys.inbox(node)]
        since = "" if heard is None else heard
        return bool(await self._asker.run(_BURY, keys, [node, since, unit]))

    async def tell(self, messages: Sequence[tuple[str, str]]) -> None:
        """Put messages into the inboxes of processes."""
        if messages:
            keys = [self.keys.inbox(node) for node, _ in messages]
            texts = [message for _, message in messages]
            await self._asker.run(_TELL, keys, [_MAX_INBOX, *texts])

    # What Redis tells of itself

    async def version(self) -> str:
        """Return which version it has, as ``7.0.15``; it need not let us do anything else."""
        said = await self._asker.ask("HELLO")
        return str(dict(_pairs(said))["version"])

    async def facts(self) -> Mapping[str, str]:
        """Return what ``INFO`` says, by the names that it has there."""
        said = await self._asker.ask("INFO")
        facts = (line.partition(":") for line in said.splitlines() if not line.startswith("#"))
        return {name: fact for name, _, fact in facts if name}


def _roster(now: int, heard: Sequence[Any], told: Sequence[Any]) -> Roster:
    heard_at = {name: int(float(at)) for name, at in _pairs(heard)}
    return Roster(now, heard_at, dict(_pairs(told)))


def _entry(found: tuple[str, Sequence[str]]) -> Entry:
    match found:
        case entry_id, ["o", origin, "n", sequence, "u", text] if sequence.isdecimal():
            return Entry(entry_id, origin, int(sequence), text)
    # Not one of ours; whoever reads its text says so.
    return Entry(found[0], "", 0, "")


def _pairs(flat: Sequence[Any]) -> Iterable[tuple[Any, Any]]:
    return zip(flat[::2], flat[1::2], strict=True)
