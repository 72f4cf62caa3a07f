"""Webhooks as Meta sends them, for tests: the samples, and bodies put together of pieces."""

import asyncio
import hmac
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gtower_realtime.errors import StoreUnavailable
from gtower_realtime.records import Change, WebhookMarked
from gtower_realtime.whatsapp.webhook import WhatsAppWebhook
from tests.fakes import FakeStore, FakeWorld, make_world

SECRET = "an app secret of Meta"
OLD_SECRET = "the one before"
VERIFY_TOKEN = "a token of ours, ü"
ENVIRON = {
    "GTOWER_WHATSAPP_APP_SECRET": f"{SECRET},{OLD_SECRET}",
    "GTOWER_WHATSAPP_VERIFY_TOKEN": VERIFY_TOKEN,
}
NUMBER = "16505551234"
SENT_AT = "1749416383"
SENT_AT_ON_THE_WIRE = "2025-06-08T20:59:43.000Z"

_SAMPLES = Path(__file__).parent / "whatsapp"
SAMPLE_NAMES = sorted(file.stem for file in _SAMPLES.glob("*.json"))


def sample(name: str) -> bytes:
    """Return the body of a sample."""
    return (_SAMPLES / f"{name}.json").read_bytes()


def signed(body: bytes, secret: str = SECRET) -> dict[str, str]:
    """Return the headers that Meta sends with ``body``."""
    digest = hmac.new(secret.encode(), body, "sha256").hexdigest()
    return {"X-Hub-Signature-256": f"sha256={digest}", "Content-Type": "application/json"}


def a_message(message_id: str, text: str = "Hello", **details: Any) -> dict[str, Any]:
    """Return an element of ``messages``."""
    message = {
        "from": NUMBER,
        "id": message_id,
        "timestamp": SENT_AT,
        "type": "text",
        "text": {"body": text},
    }
    return message | details


def a_status(message_id: str, status: str, **details: Any) -> dict[str, Any]:
    """Return an element of ``statuses``."""
    common = {"id": message_id, "timestamp": SENT_AT, "recipient_id": NUMBER, "status": status}
    return common | details


def a_value(
    messages: Iterable[dict[str, Any]] = (), statuses: Iterable[dict[str, Any]] = ()
) -> dict[str, Any]:
    """Return what a change tells, of messages, statuses or both."""
    value: dict[str, Any] = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550783881", "phone_number_id": "106540352242922"},
    }
    if messages:
        value["contacts"] = [{"profile": {"name": "Sheena Nelson"}, "wa_id": NUMBER}]
        value["messages"] = list(messages)
    if statuses:
        value["statuses"] = list(statuses)
    return value


def a_body(*values: dict[str, Any], field: str = "messages") -> bytes:
    """Return the body of a webhook with an entry for each of ``values``."""
    entries = [
        {"id": "102290129340398", "changes": [{"value": value, "field": field}]} for value in values
    ]
    return json.dumps({"object": "whatsapp_business_account", "entry": entries}).encode()


class StoreThatRefusesMarks(FakeStore):
    """A store that takes everything, but for some time nothing that is published of a webhook."""

    refusals = 0

    async def commit(self, changes: Sequence[Change]) -> None:
        if self.refusals and any(isinstance(change, WebhookMarked) for change in changes):
            self.refusals -= 1
            raise StoreUnavailable("The disk is full.")
        await super().commit(changes)


@dataclass
class WhatsAppWorld:
    """A service on fakes that publishes what webhooks have left in its store."""

    world: FakeWorld
    webhook: WhatsAppWebhook

    @property
    def store(self) -> FakeStore:
        return self.world.store

    @classmethod
    async def begin(cls, store: FakeStore | None = None) -> "WhatsAppWorld":
        """Start on a store; what waits there is taken up."""
        world = await make_world(store=store)
        webhook = WhatsAppWebhook(
            app_secrets=[SECRET],
            verify_token=VERIFY_TOKEN,
            resolver_url=None,
            journal=world.journal,
            publish=world.service.begin_whatsapp_event,
            clock=world.clock,
            metrics=world.metrics,
        )
        await webhook.start()
        return cls(world, webhook)

    async def killed(self) -> "WhatsAppWorld":
        """End all that runs, as a crash does, and start anew on what is recorded."""
        running = asyncio.all_tasks() - {asyncio.current_task()}
        while running:
            # More than once: `asyncio.wait_for` of Python 3.11 loses a cancellation that comes
            # together with its result.
            for task in running:
                task.cancel()
            _, running = await asyncio.wait(running, timeout=0)
        return await self.begin(self.store)

    async def all_published(self) -> None:
        """Wait until nothing is waiting in the inbox."""
        while self.world.count("gtower_whatsapp_waiting"):
            await self.world.journal.settled()

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        """Return what was ever published on the store, in its order."""
        return [(event.event, json.loads(event.payload)) for event in self.store.events]
