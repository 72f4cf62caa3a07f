"""Streams of messages and statuses: shuffled, repeated, cut into webhooks, and the process dies."""

import asyncio
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gtower_realtime.errors import StoreUnavailable
from gtower_realtime.whatsapp import processing
from tests.whatsapp_webhooks import (
    StoreThatRefusesMarks,
    WhatsAppWorld,
    a_body,
    a_message,
    a_status,
    a_value,
)

IDS = ("m1", "m2", "m3")
WORDS = ("sent", "delivered", "read", "played", "failed")
MEMBERS = (None, "p1", "p2")


class Update(NamedTuple):
    """A message, which has no ``word``, or a status."""

    id: str
    word: str | None = None
    member: str | None = None


updates = st.one_of(
    st.builds(Update, st.sampled_from(IDS), st.none(), st.none()),
    st.builds(Update, st.sampled_from(IDS), st.sampled_from(WORDS), st.sampled_from(MEMBERS)),
    st.builds(Update, st.sampled_from(IDS), st.sampled_from(["deleted", "warning"]), st.none()),
)


@st.composite
def streams(draw: st.DrawFn) -> list[list[Update]]:
    """Return some updates and repeats of them, shuffled, and cut into webhooks."""
    some = draw(st.lists(updates, max_size=12))
    repeats = draw(st.lists(st.sampled_from(some), max_size=12)) if some else []
    stream = draw(st.permutations([*some, *repeats]))
    cuts = sorted(draw(st.sets(st.integers(0, len(stream)), max_size=6)))
    return [stream[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


# In words of its own: what a message of ours may still become, by what has become of it.
MAY_BECOME = {
    None: {"sent", "delivered", "read", "played", "failed"},
    "sent": {"delivered", "read", "played", "failed"},
    "delivered": {"read", "played", "failed"},
    "read": {"played"},
    "played": set(),
    "failed": set(),
}


def expected(webhooks: list[list[Update]]) -> list[tuple[str, str | None]]:
    """Return what is to be published: ids of messages, and ids with their statuses."""
    published: list[tuple[str, str | None]] = []
    seen: set[Update] = set()
    become: dict[tuple[str, str | None], str] = {}
    for update in (update for webhook in webhooks for update in webhook):
        if update.word in WORDS:
            of_whom = (update.id, update.member)
            is_news = update.word in MAY_BECOME[become.get(of_whom)]
            if is_news:
                become[of_whom] = update.word
        else:
            is_news = update not in seen
            seen.add(update)
        if is_news:
            published.append((update.id, update.word))
    return published


def body_of(webhook: list[Update]) -> bytes:
    """Return the body that tells of the updates, a value for each to keep their order."""
    return a_body(*(value_of(update) for update in webhook))


async def post(world: WhatsAppWorld, webhook: list[Update]) -> None:
    """Let a webhook come as often as Meta would: until it is stored."""
    while True:
        try:
            await world.webhook.receive(body_of(webhook))
        except StoreUnavailable:
            continue
        return


def value_of(update: Update) -> dict[str, Any]:
    if update.word is None:
        return a_value([a_message(update.id)])
    member = {} if update.member is None else {"recipient_participant_id": update.member}
    return a_value((), [a_status(update.id, update.word, **member)])


async def published(
    webhooks: list[list[Update]], kills: list[int | None], refusals: int
) -> list[Any]:
    """Let webhooks come; after some of them the process dies, so many turns of the loop later.

    So many transactions that publish something fail.
    """
    store = StoreThatRefusesMarks()
    store.refusals = refusals
    world = await WhatsAppWorld.begin(store)
    for webhook, kill in zip(webhooks, kills, strict=False):
        await post(world, webhook)
        if kill is not None:
            for _ in range(kill):
                await asyncio.sleep(0)
            world = await world.killed()
    for webhook in webhooks[len(kills) :]:
        await post(world, webhook)
    await world.all_published()
    assert world.store.attempts >= len(webhooks)
    await world.webhook.stop()
    return [
        (payload.get("whatsappMessageId", payload.get("messageId")), status_in(event, payload))
        for event, payload in world.events()
    ]


def status_in(event: str, payload: dict[str, Any]) -> str | None:
    return payload["status"] if event == "whatsappMessageStatus" else None


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(streams(), st.lists(st.none() | st.integers(0, 40), max_size=7), st.integers(0, 3))
def test_each_is_published_once_and_leads_on(
    webhooks: list[list[Update]], kills: list[int | None], refusals: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processing, "_PAUSE_SECONDS", 0)
        assert asyncio.run(published(webhooks, kills, refusals)) == expected(webhooks)
