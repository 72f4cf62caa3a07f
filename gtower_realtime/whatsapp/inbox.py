"""Webhooks between Meta and the agents: recorded before the answer, taken up in their order."""

import asyncio
from collections.abc import Collection

from gtower_realtime.errors import Overloaded
from gtower_realtime.ports import Clock, EventLog
from gtower_realtime.records import SettledState, StoredWebhook, WebhookReceived, WebhookSettled
from gtower_realtime.timestamps import milliseconds

MAX_WAITING = 20_000
MAX_WAITING_BYTES = 128 * 1024 * 1024


class Inbox:
    """What has come in signed and is not worked through yet; it outlives the process."""

    def __init__(self, journal: EventLog, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._last_number = 0
        self._waiting = 0
        self._waiting_bytes = 0
        self._arrived = asyncio.Event()

    async def open(self) -> None:
        """Find out what is waiting; once, before all else. Raises as the store does."""
        backlog = await self._journal.webhook_backlog()
        self._last_number = backlog.last_number
        self._waiting, self._waiting_bytes = backlog.waiting, backlog.waiting_bytes

    @property
    def waiting(self) -> int:
        """How many webhooks are waiting."""
        return self._waiting

    async def receive(self, body: bytes) -> None:
        """Record a body; when this returns it will be worked through, whatever happens.

        Raises:
            Overloaded: 20,000, or 128 MB, are waiting.
            StoreUnavailable: it could not be recorded.
        """
        if self._waiting >= MAX_WAITING or self._waiting_bytes >= MAX_WAITING_BYTES:
            raise Overloaded("Too many webhooks are waiting.", headers={"Retry-After": "5"})
        self._last_number += 1
        webhook = StoredWebhook(self._last_number, milliseconds(self._clock.now()), body)

        def arrive(_: int) -> None:
            self._waiting += 1
            self._waiting_bytes += len(body)
            self._arrived.set()

        await self._journal.record(lambda _: [WebhookReceived(webhook)], arrive, size=len(body))

    async def next(self) -> StoredWebhook:
        """Wait for a webhook and return the oldest. It is the same until it is settled.

        Raises:
            StoreUnavailable: the store cannot be read.
        """
        while True:
            self._arrived.clear()
            webhook = await self._journal.next_webhook()
            if webhook is not None:
                return webhook
            await self._arrived.wait()

    async def settle(self, webhook: StoredWebhook, state: SettledState) -> None:
        """Record that a webhook is not waiting any more. Raises as `EventLog.record` does."""

        def leave(_: int) -> None:
            self._waiting = max(0, self._waiting - 1)
            self._waiting_bytes = max(0, self._waiting_bytes - len(webhook.body))

        settled = WebhookSettled(webhook.number, state)
        await self._journal.record(lambda _: [settled], leave)

    async def marks(self, keys: Collection[str]) -> dict[str, str]:
        """Return the values of what is marked as published. Raises as the store does."""
        return await self._journal.webhook_marks(keys)

    async def replay(self, since: int | None) -> int:
        """Let webhooks wait again: those received since a time, or all that were set aside.

        Returns how many. What was published of them is not published again.

        Raises:
            StoreUnavailable: nothing has changed.
        """
        count = await self._journal.replay_webhooks(since)
        backlog = await self._journal.webhook_backlog()
        self._waiting, self._waiting_bytes = backlog.waiting, backlog.waiting_bytes
        self._arrived.set()
        return count
