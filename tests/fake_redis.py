"""A Redis in memory, as `cluster.link.Link` sees it: away, slow, emptied or set back at will."""

import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from gtower_realtime.cluster.link import Entry, Place, RedisAway, Roster, Sent
from gtower_realtime.cluster.scripts import Keys

Trouble = Literal["lost", "unanswered"]
"""What becomes of an append: it does not arrive, or the answer to it does not."""


@dataclass
class _State:
    entries: list[Entry] = field(default_factory=list)
    last_id: str = "0-0"
    sequences: dict[str, int] = field(default_factory=dict)
    refused: set[tuple[str, int]] = field(default_factory=set)
    values: dict[str, str] = field(default_factory=dict)
    epoch: str = ""
    heard: dict[str, int] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)

    def copy(self) -> "_State":
        return replace(
            self,
            entries=list(self.entries),
            sequences=dict(self.sequences),
            refused=set(self.refused),
            values=dict(self.values),
            heard=dict(self.heard),
            details=dict(self.details),
        )


class FakeRedis:
    """What all the links to it share. Its clock stands unless it is moved."""

    def __init__(self) -> None:
        self.now = 1_000_000
        """In milliseconds; ids come from it."""
        self.is_away = False
        """Whether every call fails."""
        self.cuts = 0
        """How often all connections were cut."""
        self.lifetimes: dict[str, int] = {}
        """For how many milliseconds values were to be kept, by key."""
        self.troubles: list[Trouble] = []
        """What happens to the next appends; when it is empty, nothing."""
        self.inboxes: dict[str, list[tuple[str, str]]] = {}
        self.state = _State()
        self._saved = _State()
        self._news = asyncio.Event()
        self._let = asyncio.Event()
        self._let.set()

    @property
    def entries(self) -> list[Entry]:
        """The log."""
        return self.state.entries

    @property
    def values(self) -> dict[str, str]:
        """What is kept by key."""
        return self.state.values

    # What may happen to it

    def save(self) -> None:
        """Take note of what it has, for :meth:`set_back`."""
        self._saved = self.state.copy()

    def set_back(self) -> None:
        """Lose what has come since the last :meth:`save`; all of it if there was none."""
        self.state = self._saved.copy()
        self.inboxes.clear()

    def hold(self) -> None:
        """Take up nothing from the next append on, and answer to none."""
        self._let.clear()

    def let(self) -> None:
        """Take up what was held."""
        self._let.set()

    def go_away(self) -> None:
        """Fail every call, those that wait too; nothing is held any more."""
        self.is_away = True
        self.cuts += 1
        self._let.set()
        self.tell_readers()

    def come_back(self) -> None:
        """Answer again."""
        self.is_away = False

    def check(self, cuts: int | None = None) -> None:
        """Raise `RedisAway` while it is, and for who has waited since before the last cut."""
        if self.is_away or cuts not in (None, self.cuts):
            raise RedisAway("ConnectionError: gone")

    def tell_readers(self) -> None:
        """Wake who waits for something to read."""
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def next_news(self) -> None:
        """Wait until there may be something to read."""
        await self._news.wait()

    async def until_let(self) -> None:
        """Wait while appends are held."""
        await self._let.wait()

    # What it does

    def add(self, origin: str, sequence: int, text: str) -> str:
        """Append an entry to the log and return its id."""
        milliseconds, _, count = self.state.last_id.partition("-")
        at_once = int(milliseconds) >= self.now
        entry_id = f"{milliseconds}-{int(count) + 1}" if at_once else f"{self.now}-0"
        self.state.last_id = entry_id
        self.entries.append(Entry(entry_id, origin, sequence, text))
        self.tell_readers()
        return entry_id

    def append(self, unit: Sent) -> str:
        """Append a unit once; see `scripts.APPEND`."""
        state = self.state
        if unit.sequence <= state.sequences.get(unit.origin, 0):
            was_refused = (unit.origin, unit.sequence) in state.refused
            return "refused" if was_refused else "known"
        state.sequences[unit.origin] = unit.sequence
        puts = json.loads(unit.kept) if unit.kept else []
        for key, _, _, rule in puts:
            there = self.values.get(key)
            value = None if there is None else there.partition(" ")[2]
            if rule and (value is not None if rule == "!" else f"={value or ''}" != rule):
                state.refused.add((unit.origin, unit.sequence))
                return "refused"
        entry_id = self.add(unit.origin, unit.sequence, unit.text)
        for key, value, milliseconds, _ in puts:
            self.values[key] = f"{entry_id} {value}"
            self.lifetimes[key] = milliseconds
        return entry_id


class FakeLink:
    """A process's connections to a :class:`FakeRedis`; see `cluster.link.Link`."""

    def __init__(self, redis: FakeRedis, node: str) -> None:
        self.redis = redis
        self.keys = Keys("gtower:")
        self.node = node
        self.is_closed = False

    async def close(self) -> None:
        self.is_closed = True

    async def join(self, new_epoch: str, known_epoch: str, last_id: str) -> Place:
        self.redis.check()
        state = self.redis.state
        is_lost = _parts(state.last_id) < _parts(last_id)
        first_id = state.entries[0].id if state.entries else state.last_id
        if not is_lost and last_id != "0-0" and _parts(last_id) >= _parts(first_id):
            is_lost = all(entry.id != last_id for entry in state.entries)
        if not state.epoch or (is_lost and state.epoch == known_epoch):
            state.epoch = new_epoch
        return Place(state.epoch, state.last_id, first_id, self.redis.now)

    async def first_id(self) -> str:
        self.redis.check()
        entries = self.redis.state.entries
        return entries[0].id if entries else "0-0"

    async def append(self, units: Sequence[Sent]) -> list[str]:
        cuts = self.redis.cuts
        await self.redis.until_let()
        self.redis.check(cuts)
        trouble = self.redis.troubles.pop(0) if self.redis.troubles else None
        if trouble == "lost":
            raise RedisAway("ConnectionError: cut before it arrived")
        outcomes = [self.redis.append(unit) for unit in units]
        if trouble == "unanswered":
            raise RedisAway("TimeoutError: cut before the answer")
        return outcomes

    async def read(self, log_id: str, inbox_id: str) -> tuple[list[Entry], list[tuple[str, str]]]:
        cuts = self.redis.cuts
        while True:
            self.redis.check(cuts)
            entries = _after(self.redis.entries, log_id)
            inbox = self.redis.inboxes.get(self.node, [])
            messages = [one for one in inbox if _parts(one[0]) > _parts(inbox_id)]
            if entries or messages:
                return entries, messages
            await self.redis.next_news()

    async def slice(self, after: str, until: str) -> list[Entry]:
        self.redis.check()
        entries = _after(self.redis.entries, after)
        return [entry for entry in entries if _parts(entry.id) <= _parts(until)][:2]

    async def last_id(self) -> str:
        self.redis.check()
        return self.redis.entries[-1].id if self.redis.entries else "0-0"

    async def trim(self, first_id: str) -> None:
        self.redis.check()
        entries = self.redis.entries
        entries[:] = [entry for entry in entries if _parts(entry.id) >= _parts(first_id)]

    async def values(self, keys: Sequence[str]) -> list[str | None]:
        self.redis.check()
        return [self.redis.values.get(key) for key in keys]

    async def keep(
        self,
        kept: Iterable[tuple[str, str, int]],
        refreshed: Iterable[tuple[str, int]],
        gone: Iterable[str],
    ) -> None:
        self.redis.check()
        for key, value, milliseconds in kept:
            self.redis.values[key] = value
            self.redis.lifetimes[key] = milliseconds
        for key, milliseconds in refreshed:
            if key in self.redis.values:
                self.redis.lifetimes[key] = milliseconds
        for key in gone:
            self.redis.values.pop(key, None)

    async def sessions(self) -> list[str]:
        self.redis.check()
        prefix = self.keys.sessions
        return [text for key, text in self.redis.values.items() if key.startswith(prefix)]

    async def beat(self, details: str) -> Roster:
        self.redis.check()
        state = self.redis.state
        state.heard[self.node] = self.redis.now
        state.details[self.node] = details
        return Roster(self.redis.now, dict(state.heard), dict(state.details))

    async def bury(self, node: str, heard: int | None, unit: str) -> bool:
        self.redis.check()
        state = self.redis.state
        if node not in state.heard or (heard is not None and state.heard[node] != heard):
            return False
        del state.heard[node], state.details[node]
        self.redis.inboxes.pop(node, None)
        self.redis.add("", 0, unit)
        return True

    async def tell(self, messages: Sequence[tuple[str, str]]) -> None:
        self.redis.check()
        for node, text in messages:
            inbox = self.redis.inboxes.setdefault(node, [])
            inbox.append((f"{self.redis.now}-{len(inbox)}", text))
        if messages:
            self.redis.tell_readers()


def _parts(stream_id: str) -> tuple[int, int]:
    milliseconds, _, count = stream_id.partition("-")
    return int(milliseconds), int(count)


def _after(entries: Iterable[Entry], stream_id: str) -> list[Entry]:
    return [entry for entry in entries if _parts(entry.id) > _parts(stream_id)]
