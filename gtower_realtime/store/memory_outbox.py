"""What waits for other nodes, in memory: a part of `memory.MemoryStore`."""

from itertools import islice

from gtower_realtime.records import OutboxBacklog, OutboxEntry, OutboxPut, OutboxSent
from gtower_realtime.store.bounds import within_a_read


class MemoryOutbox:
    """Entries in the order in which they were put."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, int], OutboxEntry] = {}
        self._bytes = 0

    def check(self, changes: list[OutboxPut | OutboxSent]) -> None:
        """Check what one commit does to the outbox.

        Raises:
            ValueError: an entry is there already, and has not been sent before it is put again.
        """
        put: set[tuple[str, int]] = set()
        sent: dict[str, int] = {}
        for change in changes:
            if isinstance(change, OutboxSent):
                origin, until = change.origin, change.until
                sent[origin] = max(until, sent.get(origin, until))
                put = {key for key in put if key[0] != origin or key[1] > until}
                continue
            origin, sequence = key = _key(change.entry)
            is_sent = origin in sent and sequence <= sent[origin]
            if key in put or (key in self._entries and not is_sent):
                raise ValueError(f"entry {sequence} of {origin} is in the outbox")
            put.add(key)

    def apply(self, change: OutboxPut | OutboxSent) -> None:
        """Record a change that was checked."""
        match change:
            case OutboxPut(entry):
                self._entries[_key(entry)] = entry
                self._bytes += entry.size
            case OutboxSent(origin, until):
                for key in self._sent(origin, until):
                    self._bytes -= self._entries.pop(key).size

    def _sent(self, origin: str, until: int) -> list[tuple[str, int]]:
        sent: list[tuple[str, int]] = []
        for key in self._entries:
            if key[0] == origin:
                # Those of one origin rise: what follows is later still.
                if key[1] > until:
                    break
                sent.append(key)
        return sent

    def oldest(self, limit: int, max_bytes: int) -> list[OutboxEntry]:
        """Return the entries that are to be sent next; see `Store.outbox`."""
        return list(islice(within_a_read(self._entries.values(), max_bytes), limit))

    def backlog(self) -> OutboxBacklog:
        """Return how much waits."""
        return OutboxBacklog(len(self._entries), self._bytes)


def _key(entry: OutboxEntry) -> tuple[str, int]:
    return entry.origin, entry.sequence
