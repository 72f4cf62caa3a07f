"""By what a message or status is known again, and whether it is news. Pure functions."""

from collections.abc import Mapping
from hashlib import sha256
from typing import TypeGuard

from gtower_realtime import strict_json
from gtower_realtime.records import WebhookMark
from gtower_realtime.whatsapp import statuses
from gtower_realtime.whatsapp.payloads import Message, Status, Update


def key_of(update: Update) -> str:
    """Return the key of the mark: one for a message, and one for all known statuses of a message.

    Hashed, so that it has a bounded length and no character that a database refuses.
    """
    if isinstance(update, Message):
        # One that Meta has given no id is known by all that it says.
        return _digest("message", update.id or strict_json.dumps(update.message))
    unknown = "" if _is_step(update) else update.word
    return _digest("status", update.id, update.participant, unknown)


def mark_of(update: Update, at: int, marks: Mapping[str, str]) -> WebhookMark:
    """Return the mark that tells that the update is published, and of known statuses how far.

    ``marks`` are the values by their keys, as it was judged by them.
    """
    key = key_of(update)
    return WebhookMark(key, update.word if _is_step(update) else "", at, marks.get(key))


def is_news(update: Update, marks: Mapping[str, str]) -> bool:
    """Say whether an update is to be published, ``marks`` being the values by their keys."""
    furthest = marks.get(key_of(update))
    return statuses.leads_on(update.word, furthest) if _is_step(update) else furthest is None


def is_repeat(update: Update, marks: Mapping[str, str]) -> bool:
    """Say of an update that is no news whether it was published as it is, or comes too late."""
    return not _is_step(update) or marks.get(key_of(update)) == update.word


def _is_step(update: Update) -> TypeGuard[Status]:
    return isinstance(update, Status) and statuses.is_known(update.word)


def _digest(*parts: str) -> str:
    return sha256(strict_json.dumps(parts).encode()).hexdigest()
