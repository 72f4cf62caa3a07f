"""Works through the inbox: each webhook in its turn, and each message and status once.

An event and the mark that it is published are recorded together. So it does not matter where the
process dies, or how often a webhook comes: what is marked is known, what is not is published.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal, Protocol

import structlog

from gtower_realtime.errors import Overloaded, StoreUnavailable
from gtower_realtime.metrics import Metrics
from gtower_realtime.ports import Clock
from gtower_realtime.publishing import Receipt
from gtower_realtime.records import (
    Change,
    SettledState,
    StoredEvent,
    StoredWebhook,
    WebhookMarked,
)
from gtower_realtime.timestamps import from_milliseconds, milliseconds
from gtower_realtime.whatsapp import marks
from gtower_realtime.whatsapp.customers import Customers
from gtower_realtime.whatsapp.events import MESSAGE, event_of
from gtower_realtime.whatsapp.inbox import Inbox
from gtower_realtime.whatsapp.payloads import Update, read_updates

MAX_AT_ONCE = 100
"""Updates that are published together: few for the journal, many for a transaction."""

Outcome = Literal["stored", "not_stored", "not_signed", "done", "not_understood", "set_aside"]
"""What webhooks are counted as: the first three when one is received, the others behind that."""

_PAUSE_SECONDS = 0.5

logger = structlog.get_logger(__name__)


class Publish(Protocol):
    """Tells who follows a customer; see `RealtimeService.begin_whatsapp_event`."""

    def __call__(
        self,
        event: str,
        payload: dict[str, Any],
        customer_id: str,
        also: Callable[[StoredEvent], Sequence[Change]],
    ) -> "asyncio.Future[Receipt]": ...


class Processor:
    """Publishes what is in the inbox, from :meth:`start` to :meth:`stop`."""

    def __init__(
        self,
        *,
        inbox: Inbox,
        publish: Publish,
        customers: Customers,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._inbox = inbox
        self._publish = publish
        self._customers = customers
        self._clock = clock
        self._webhooks = metrics.whatsapp_webhooks
        self._count_update = metrics.whatsapp_updates.labels
        self._task: asyncio.Task[None] | None = None
        self._is_put_off = False

    def start(self) -> None:
        """Begin with what waits, and go on with what comes."""
        self._task = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Take up nothing more. What was begun is found by the next process."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    async def _work(self) -> None:
        while True:
            try:
                webhook = await self._inbox.next()
                await self._inbox.settle(webhook, await self._work_through(webhook))
                self._is_put_off = False
            except (StoreUnavailable, Overloaded) as problem:
                if not self._is_put_off:
                    logger.warning("whatsapp_put_off", reason=problem.message)
                self._is_put_off = True
                await asyncio.sleep(_PAUSE_SECONDS)
            except Exception:  # the edge: a fault must not end the work for good
                logger.exception("whatsapp_inbox_failed")
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _work_through(self, webhook: StoredWebhook) -> SettledState:
        """Publish what is news of a webhook, and return what becomes of it.

        Raises:
            StoreUnavailable, Overloaded: it has to be worked through again.
        """
        try:
            failed = await self._publish_all(webhook)
        except ValueError as problem:
            self._count_webhook("not_understood")
            logger.warning(
                "whatsapp_webhook_not_understood", number=webhook.number, reason=str(problem)
            )
            return "done"
        except (StoreUnavailable, Overloaded):
            raise
        except Exception:  # the edge: what nobody can work through must not stop what is behind it
            logger.exception("whatsapp_webhook_failed", number=webhook.number)
            failed = 1
        if failed:
            self._count_webhook("set_aside")
            logger.error("whatsapp_webhook_set_aside", number=webhook.number, failed=failed)
            return "set_aside"
        self._count_webhook("done")
        return "done"

    def _count_webhook(self, outcome: Outcome) -> None:
        self._webhooks.labels(outcome).inc()

    async def _publish_all(self, webhook: StoredWebhook) -> int:
        """Publish what is news of a webhook; return how much of it failed.

        Raises:
            ValueError: it is no webhook that can be understood.
        """
        updates = read_updates(webhook.body)
        failed = 0
        for some in slices(updates):
            try:
                failed += await self._publish_news(some, webhook)
            except (StoreUnavailable, Overloaded):
                raise
            except Exception:  # the edge: what fails must not stop what is beside it
                logger.exception("whatsapp_updates_failed", number=webhook.number)
                failed += len(some)
        return failed

    async def _publish_news(self, updates: Sequence[Update], webhook: StoredWebhook) -> int:
        """Publish those of ``updates`` that are news, all together; return how many failed."""
        known = await self._inbox.marks([marks.key_of(update) for update in updates])
        news = []
        for update in updates:
            if marks.is_news(update, known):
                news.append(update)
            else:
                outcome = "repeated" if marks.is_repeat(update, known) else "late"
                self._count_update(outcome).inc()
        customer_ids = await asyncio.gather(*map(self._customers.customer_of, news))
        begun = []
        failed = 0
        for update, customer_id in zip(news, customer_ids, strict=True):
            try:
                begun.append(self._begin(update, customer_id, webhook, known))
            except Exception:  # the edge: see above
                logger.exception("whatsapp_update_failed", number=webhook.number)
                failed += 1
        # All of them, before any refusal: what is on its way must not be begun anew.
        for published in await asyncio.gather(*begun, return_exceptions=True):
            if isinstance(published, BaseException):
                raise published
        return failed

    def _begin(
        self,
        update: Update,
        customer_id: str,
        webhook: StoredWebhook,
        known: Mapping[str, str],
    ) -> "asyncio.Future[Receipt]":
        """Have an update published together with its mark."""
        event, payload = event_of(update, customer_id, from_milliseconds(webhook.received_at))
        marked = WebhookMarked(marks.mark_of(update, milliseconds(self._clock.now()), known))
        published = self._publish(event, payload, customer_id, lambda _: (marked,))
        published.add_done_callback(partial(self._count_published, event))
        return published

    def _count_published(self, event: str, published: "asyncio.Future[Receipt]") -> None:
        if not published.cancelled() and published.exception() is None:
            self._count_update("message" if event == MESSAGE else "status").inc()


def slices(updates: Iterable[Update]) -> Iterator[list[Update]]:
    """Yield ``updates`` in their order, at most 100 together, and none with the same mark.

    So each is looked up after the one before it is recorded, or was not.
    """
    some: list[Update] = []
    keys: set[str] = set()
    for update in updates:
        key = marks.key_of(update)
        if key in keys or len(some) == MAX_AT_ONCE:
            yield some
            some, keys = [], set()
        some.append(update)
        keys.add(key)
    if some:
        yield some
