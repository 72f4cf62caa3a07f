"""The webhook as the HTTP edge knows it: whom it answers, and what it keeps."""

import hmac
from collections.abc import Sequence

from gtower_realtime.metrics import Metrics
from gtower_realtime.ports import Clock, EventLog
from gtower_realtime.whatsapp import signature
from gtower_realtime.whatsapp.customers import Customers
from gtower_realtime.whatsapp.inbox import Inbox
from gtower_realtime.whatsapp.processing import Outcome, Processor, Publish
from gtower_realtime.whatsapp.resolver import Resolver


class WhatsAppWebhook:
    """Takes in what Meta has signed, and has it published.

    ``app_secrets`` are all good, so that they can be rotated. Without ``resolver_url`` nobody is
    asked whose number it is.
    """

    def __init__(
        self,
        *,
        app_secrets: Sequence[str],
        verify_token: str,
        resolver_url: str | None,
        journal: EventLog,
        publish: Publish,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._app_secrets = tuple(app_secrets)
        self._verify_token = verify_token
        self._webhooks = metrics.whatsapp_webhooks
        self._inbox = Inbox(journal, clock)
        resolver = None if resolver_url is None else Resolver(resolver_url, clock, metrics)
        self._processor = Processor(
            inbox=self._inbox,
            publish=publish,
            customers=Customers(resolver),
            clock=clock,
            metrics=metrics,
        )
        metrics.whatsapp_waiting.set_function(lambda: self._inbox.waiting)

    async def start(self) -> None:
        """Take up what a process before has left. Raises as the store does."""
        await self._inbox.open()
        self._processor.start()

    async def stop(self) -> None:
        """Publish nothing more; what comes in is still recorded."""
        await self._processor.stop()

    def is_subscription(self, mode: str, verify_token: str) -> bool:
        """Say whether this is Meta's handshake, with our token."""
        is_ours = hmac.compare_digest(verify_token.encode(), self._verify_token.encode())
        return is_ours and mode == "subscribe"

    def is_signed(self, body: bytes, presented: str | None) -> bool:
        """Say whether the header's value is the signature of these very bytes."""
        is_signed = signature.is_signed(body, presented, self._app_secrets)
        if not is_signed:
            self._count("not_signed")
        return is_signed

    async def receive(self, body: bytes) -> None:
        """Record a signed body, to be published in its turn. Raises as `Inbox.receive` does."""
        try:
            await self._inbox.receive(body)
        except Exception:
            self._count("not_stored")
            raise
        self._count("stored")

    async def replay(self, since: int | None) -> int:
        """Work through webhooks again; see `Inbox.replay`."""
        return await self._inbox.replay(since)

    def _count(self, outcome: Outcome) -> None:
        self._webhooks.labels(outcome).inc()
