"""The inbox of webhooks and their marks, in memory: a part of `memory.MemoryStore`."""

import heapq
from collections.abc import Collection

from gtower_realtime.records import (
    SettledState,
    StoredWebhook,
    WebhookBacklog,
    WebhookMark,
    WebhookMarked,
    WebhookReceived,
    WebhookSettled,
    WebhookState,
)
from gtower_realtime.store.bounds import WEBHOOKS_KEPT, count_beyond, oldest_mark

_SLICE = 1000


class _Settled:
    """A webhook that was worked through, as the bounds see it."""

    __slots__ = ("number", "published_at", "size")

    def __init__(self, webhook: StoredWebhook) -> None:
        self.number = webhook.number
        self.size = len(webhook.body)
        self.published_at = webhook.received_at


class MemoryWebhooks:
    """Webhooks by their state, and marks by their keys."""

    def __init__(self) -> None:
        self._in: dict[WebhookState, dict[int, StoredWebhook]] = {
            "waiting": {},
            "done": {},
            "set_aside": {},
        }
        self._marks: dict[str, WebhookMark] = {}
        # May have more than one entry for a mark; the last one counts.
        self._by_time: list[tuple[int, str]] = []

    def apply(self, change: WebhookReceived | WebhookSettled | WebhookMarked) -> None:
        """Record a change; to settle a webhook that is not waiting has no effect."""
        match change:
            case WebhookReceived(webhook):
                self._in["waiting"][webhook.number] = webhook
            case WebhookSettled(number, state):
                settled = self._in["waiting"].pop(number, None)
                if settled is not None:
                    self._in[state][number] = settled
            case WebhookMarked(mark):
                self._marks[mark.key] = mark
                heapq.heappush(self._by_time, (mark.at, mark.key))

    def backlog(self) -> WebhookBacklog:
        """Return how much is waiting."""
        waiting = self._in["waiting"].values()
        numbers = (number for webhooks in self._in.values() for number in webhooks)
        return WebhookBacklog(
            max(numbers, default=0), len(waiting), sum(len(webhook.body) for webhook in waiting)
        )

    def next(self) -> StoredWebhook | None:
        """Return the oldest that is waiting."""
        waiting = self._in["waiting"]
        return waiting[min(waiting)] if waiting else None

    def marks(self, keys: Collection[str]) -> dict[str, str]:
        """Return the values of the marks that there are."""
        return {key: self._marks[key].value for key in keys if key in self._marks}

    def replay(self, since: int | None) -> int:
        """Let webhooks wait again; see `Store.replay_webhooks`."""
        again = [
            webhook
            for state in WEBHOOKS_KEPT
            for webhook in self._in[state].values()
            if (state == "set_aside" if since is None else webhook.received_at >= since)
        ]
        for webhook in again:
            for state in WEBHOOKS_KEPT:
                self._in[state].pop(webhook.number, None)
            self._in["waiting"][webhook.number] = webhook
        return len(again)

    def trim(self, now: int) -> bool:
        """Delete some of what is kept too long or is too much; return whether there may be more."""
        is_more = self._delete_old_marks(now)
        for state in WEBHOOKS_KEPT:
            is_more |= self._delete_settled(state, now)
        return is_more

    def _delete_old_marks(self, now: int) -> bool:
        oldest = oldest_mark(now)
        for _ in range(_SLICE):
            if not self._by_time or self._by_time[0][0] >= oldest:
                return False
            _, key = heapq.heappop(self._by_time)
            if key in self._marks and self._marks[key].at < oldest:
                del self._marks[key]
        return True

    def _delete_settled(self, state: SettledState, now: int) -> bool:
        settled = self._in[state]
        oldest = [_Settled(settled[number]) for number in heapq.nsmallest(_SLICE, settled)]
        size = sum(len(webhook.body) for webhook in settled.values())
        count = count_beyond(
            WEBHOOKS_KEPT[state], now, events=len(settled), size=size, oldest=oldest
        )
        for webhook in oldest[:count]:
            del settled[webhook.number]
        return bool(count)
