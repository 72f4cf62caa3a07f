"""The page about WhatsApp against the code: what it shows is what agents get."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click
import pytest

from gtower_realtime.commands.whatsapp import whatsapp
from gtower_realtime.store.bounds import MARKS_KEPT_SECONDS, WEBHOOKS_KEPT
from gtower_realtime.whatsapp import inbox, resolver
from gtower_realtime.whatsapp.contents import readable_content
from gtower_realtime.whatsapp.processing import Outcome
from handlers.whatsapp import MAX_WEBHOOK_BYTES
from tests.whatsapp_webhooks import WhatsAppWorld

PAGE = (Path(__file__).parent.parent / "docs" / "whatsapp.md").read_text(encoding="utf-8")
DAY = 86_400


def examples() -> Iterator[tuple[str, bytes, Any]]:
    """Yield the name of each event that is shown, the webhook before it, and its payload."""
    blocks = re.findall(r"^```json\n(.*?)^```$", PAGE, re.M | re.S)
    names = re.findall(r"^agents get `(\w+)`", PAGE, re.M)
    for name, webhook, event in zip(names, blocks[::2], blocks[1::2], strict=True):
        yield name, webhook.encode(), json.loads(event)


@pytest.mark.gen_test
async def test_the_webhooks_that_are_shown_lead_to_the_events_that_are_shown() -> None:
    shown = list(examples())
    world = await WhatsAppWorld.begin()
    for _, webhook, _ in shown:
        await world.webhook.receive(webhook)
    await world.all_published()
    await world.webhook.stop()
    assert world.events() == [(name, payload) for name, _, payload in shown]
    assert [name for name, _, _ in shown] == ["whatsappMessage", "whatsappMessageStatus"]


def test_the_contents_that_are_quoted_are_those_of_the_code() -> None:
    quoted = dict(re.findall(r"^\| `(\w+)` \| .*`(A [^`]+)`", PAGE, re.M))
    assert quoted == {
        kind: readable_content({"type": kind, kind: {}}) for kind in ("reaction", "unsupported")
    }


def test_the_commands_that_are_shown_have_the_options_that_are_shown() -> None:
    lines = re.findall(r"^ *gtower-realtime whatsapp (\w+)(.*)$", PAGE, re.M)
    assert {name for name, _ in lines} == whatsapp.commands.keys()
    for name, rest in lines:
        options = {
            flag
            for parameter in whatsapp.commands[name].params
            if isinstance(parameter, click.Option)
            for flag in parameter.opts
        }
        assert set(re.findall(r"--[a-z-]+", rest)) <= options


def test_the_outcomes_of_the_metrics_are_explained() -> None:
    table = PAGE.partition("| Metric | `outcome` |\n")[2]
    explained = {
        metric: set(re.findall(r"`(\w+)`", text))
        for metric, text in re.findall(r"^\| `(\w+)` \| (.*) \|$", table, re.M)
    }
    assert explained == {
        "gtower_whatsapp_webhooks_total": set(get_args(Outcome)),
        "gtower_whatsapp_updates_total": {"message", "status", "repeated", "late"},
        "gtower_whatsapp_lookups_total": {"found", "unknown", "remembered", "failed", "skipped"},
    }


@pytest.mark.parametrize(
    ("sentence", "value", "expected"),
    [
        ("up to 3 MB", MAX_WEBHOOK_BYTES, 3 * 1024 * 1024),
        ("20,000 wait already", inbox.MAX_WAITING, 20_000),
        ("are kept for 7 days", WEBHOOKS_KEPT["done"].max_age_seconds, 7 * DAY),
        ("those set aside for 30", WEBHOOKS_KEPT["set_aside"].max_age_seconds, 30 * DAY),
        ("remembered for 40 days", MARKS_KEPT_SECONDS, 40 * DAY),
        ("It has 2 seconds", resolver.TIMEOUT_SECONDS, 2),
        ("good for ten minutes", resolver.KNOWN_SECONDS, 600),
        ("a 404 for one", resolver.UNKNOWN_SECONDS, 60),
        ("10,000 numbers are remembered", resolver.MAX_REMEMBERED, 10_000),
        ("at most ten asked for at once", resolver.MAX_AT_ONCE, 10),
        ("nobody is asked for 30 seconds", resolver.PAUSE_SECONDS, 30),
    ],
)
def test_a_bound_that_is_told_is_that_of_the_code(
    sentence: str, value: float, expected: float
) -> None:
    assert sentence in " ".join(PAGE.split())
    assert value == expected
