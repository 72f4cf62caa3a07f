"""What becomes of stored webhooks: set aside, replayed, put off, and how much may wait."""

import asyncio
from typing import Any

import pytest
import structlog.testing

from gtower_realtime.errors import Overloaded, StoreUnavailable
from gtower_realtime.records import WebhookSettled
from gtower_realtime.whatsapp import inbox, processing
from gtower_realtime.whatsapp.payloads import read_updates
from gtower_realtime.whatsapp.processing import MAX_AT_ONCE, slices
from tests.fakes import FakeStore
from tests.whatsapp_webhooks import WhatsAppWorld, a_body, a_message, a_status, a_value

pytestmark = pytest.mark.gen_test


def ids(world: WhatsAppWorld) -> list[str]:
    return [
        payload.get("whatsappMessageId", payload.get("messageId")) for _, payload in world.events()
    ]


def outcomes(world: WhatsAppWorld) -> dict[str, float]:
    """Return what webhooks and updates were counted as."""
    metrics = world.world.metrics
    return {
        sample.labels["outcome"]: sample.value
        for counter in (metrics.whatsapp_webhooks, metrics.whatsapp_updates)
        for family in counter.collect()
        for sample in family.samples
    }


def settled(world: WhatsAppWorld) -> list[tuple[int, str]]:
    return [
        (change.number, change.state)
        for commit in world.store.commits
        for change in commit
        if isinstance(change, WebhookSettled)
    ]


def break_for(monkeypatch: pytest.MonkeyPatch, broken_id: str) -> None:
    """Let nobody be able to tell of one message."""
    event_of = processing.event_of

    def broken(update: Any, *rest: Any) -> Any:
        if update.id == broken_id:
            raise RuntimeError("a fault")
        return event_of(update, *rest)

    monkeypatch.setattr(processing, "event_of", broken)


async def test_what_cannot_be_published_is_set_aside_and_stops_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = await WhatsAppWorld.begin()
    messages = [a_message(message_id) for message_id in ("m1", "m2", "m3")]
    with structlog.testing.capture_logs() as logged, monkeypatch.context() as patch:
        break_for(patch, "m2")
        await world.webhook.receive(a_body(a_value(messages)))
        await world.webhook.receive(a_body(a_value([a_message("m4")])))
        await world.all_published()
    assert ids(world) == ["m1", "m3", "m4"]
    assert settled(world) == [(1, "set_aside"), (2, "done")]
    assert [entry["event"] for entry in logged] == [
        "whatsapp_update_failed",
        "whatsapp_webhook_set_aside",
    ]
    assert outcomes(world) == {"stored": 2, "set_aside": 1, "done": 1, "message": 3}
    # The fault is mended.
    assert await world.webhook.replay(None) == 1
    await world.all_published()
    assert ids(world) == ["m1", "m3", "m4", "m2"]
    assert await world.webhook.replay(None) == 0
    await world.webhook.stop()


@pytest.mark.parametrize("part", ["read_updates", "slices"])
async def test_a_fault_in_any_part_sets_the_webhook_aside(
    monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    world = await WhatsAppWorld.begin()

    def broken(_: Any) -> Any:
        raise RuntimeError("a fault")

    with monkeypatch.context() as patch:
        patch.setattr(processing, part, broken)
        await world.webhook.receive(a_body(a_value([a_message("m1")])))
        await world.all_published()
    await world.webhook.receive(a_body(a_value([a_message("m2")])))
    await world.all_published()
    assert (ids(world), settled(world)) == (["m2"], [(1, "set_aside"), (2, "done")])
    await world.webhook.stop()


async def test_repeated_and_late_ones_are_counted() -> None:
    world = await WhatsAppWorld.begin()
    for body in (
        a_body(a_value([a_message("m1")], [a_status("s1", "read")])),
        a_body(a_value([a_message("m1")], [a_status("s1", "read"), a_status("s1", "sent")])),
    ):
        await world.webhook.receive(body)
    await world.all_published()
    assert outcomes(world) == {
        "stored": 2,
        "done": 2,
        "message": 1,
        "status": 1,
        "repeated": 2,
        "late": 1,
    }
    await world.webhook.stop()


async def test_an_event_and_its_mark_are_recorded_together() -> None:
    world = await WhatsAppWorld.begin()
    await world.webhook.receive(a_body(a_value([a_message("m1"), a_message("m2")])))
    await world.all_published()
    for commit in world.store.commits:
        kinds = [type(change).__name__ for change in commit]
        assert kinds.count("EventAppended") == kinds.count("WebhookMarked")
    assert len(world.store.events) == 2
    await world.webhook.stop()


async def test_what_is_left_is_taken_up_by_the_next_process() -> None:
    world = await WhatsAppWorld.begin()
    await world.webhook.stop()
    await world.webhook.receive(a_body(a_value([a_message("m1")])))
    assert (ids(world), world.world.count("gtower_whatsapp_waiting")) == ([], 1)
    world = await world.killed()
    await world.webhook.receive(a_body(a_value([a_message("m2")])))
    await world.all_published()
    assert ids(world) == ["m1", "m2"]
    assert settled(world) == [(1, "done"), (2, "done")]
    await world.webhook.stop()


async def test_too_much_that_waits_is_refused_until_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = await WhatsAppWorld.begin()
    await world.webhook.stop()
    body = a_body(a_value([a_message("m1")]))
    for name, largest in (("MAX_WAITING", 1), ("MAX_WAITING_BYTES", len(body))):
        with monkeypatch.context() as patch:
            patch.setattr(inbox, name, largest)
            if name == "MAX_WAITING":
                await world.webhook.receive(body)
            with pytest.raises(Overloaded) as refusal:
                await world.webhook.receive(body)
        assert refusal.value.headers == {"Retry-After": "5"}
    assert outcomes(world) == {"stored": 1, "not_stored": 2}
    world = await world.killed()
    await world.all_published()
    await world.webhook.receive(body)
    await world.all_published()
    assert ids(world) == ["m1"]
    await world.webhook.stop()


class StoreThatCannotBeRead(FakeStore):
    """A store whose inbox cannot be read some times."""

    failures = 0

    async def next_webhook(self) -> Any:
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("The database is away.") if self.failures else OSError("?")
        return await super().next_webhook()


async def test_an_inbox_that_cannot_be_read_is_read_again_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processing, "_PAUSE_SECONDS", 0)
    store = StoreThatCannotBeRead()
    store.failures = 3
    with structlog.testing.capture_logs() as logged:
        world = await WhatsAppWorld.begin(store)
        await world.webhook.receive(a_body(a_value([a_message("m1")])))
        await world.all_published()
    assert ids(world) == ["m1"]
    # What is expected is told once; a fault each time.
    assert [entry["event"] for entry in logged] == ["whatsapp_put_off", "whatsapp_inbox_failed"]
    await world.webhook.stop()


async def test_a_processor_that_never_began_can_be_stopped() -> None:
    world = await WhatsAppWorld.begin()
    await world.webhook.stop()
    await world.webhook.stop()
    assert [task for task in asyncio.all_tasks() if "Processor" in repr(task)] == []


async def test_updates_are_cut_where_a_mark_repeats_and_where_there_are_many() -> None:
    statuses = [a_status("s1", "sent"), a_status("s2", "sent"), a_status("s1", "read")]
    updates = read_updates(a_body(a_value((), statuses)))
    assert [[update.id for update in some] for some in slices(updates)] == [["s1", "s2"], ["s1"]]
    many = read_updates(a_body(a_value([a_message(str(n)) for n in range(2 * MAX_AT_ONCE + 1)])))
    assert [len(some) for some in slices(many)] == [MAX_AT_ONCE, MAX_AT_ONCE, 1]
    assert list(slices([])) == []
