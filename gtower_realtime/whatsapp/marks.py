"""By what a message or status is known again, and whether it is news. Pure functions."""

from collections.abc import Mapping
from hashlib import sha256

from gtower_realtime import strict_json
from gtower_realtime.records import WebhookMark
from gtower_realtime.whatsapp import statuses
from gtower_realtime.whatsapp.payloads import Message, Update


def key_of(update: Update) -> str:
    """Return the key of the mark: one for a message, and one for all known statuses of a message.

    Hashed, so that it has a bounded length and no character that a database refuses.
    """
    if isinstance(update, Message):
        # One that Meta has given no id is known by all that it says.
        return _digest("message", update.id or strict_json.dumps(update.message))
    steps = "" if statuses.is_known(update.word) else update.word
    return _digest("status", update.id, update.participant, steps)


def mark_of(update: Update, at: int) -> WebhookMark:
    """Return the mark that tells that the update is published."""
    return WebhookMark(key_of(update), "" if isinstance(update, Message) else update.word, at)


def is_news(update: Update, marks: Mapping[str, str]) -> bool:
    """Say whether an update is to be published, ``marks`` being the values by their keys."""
    furthest = marks.get(key_of(update))
    if isinstance(update, Message) or not statuses.is_known(update.word):
        return furthest is None
    return statuses.leads_on(update.word, furthest)


def is_repeat(update: Update, marks: Mapping[str, str]) -> bool:
    """Say of an update that is no news whether it was published as it is, or comes too late."""
    return isinstance(update, Message) or marks.get(key_of(update)) == update.word


def _digest(*parts: str) -> str:
    return sha256(strict_json.dumps(parts).encode()).hexdigest()
