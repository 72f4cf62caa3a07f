"""What is in the body of a webhook: messages and statuses, in their order. Pure functions.

Fields are read as they are needed, so that what Meta adds or leaves out one day does no harm.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gtower_realtime import strict_json
from gtower_realtime.whatsapp.contents import text_at

Object = Mapping[str, Any]

# One escape of a JSON string, with both halves of a pair where there are two.
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
_REPLACEMENT = rb"\ufffd"
_LAST_SECOND = 253_402_300_799
"""The last of the year 9999."""


@dataclass(frozen=True, slots=True)
class Message:
    """What a customer has sent: an element of ``messages``, and what stands around it."""

    message: Object
    metadata: Object
    contact: Object
    """The customer's entry in ``contacts``; empty when there is none."""

    @property
    def id(self) -> str:
        """Meta's id of the message; empty when it has none."""
        return text_at(self.message, "id") or ""

    @property
    def type(self) -> str:
        """What kind of message it is."""
        return text_at(self.message, "type") or ""

    @property
    def number(self) -> str:
        """The customer's number, or what WhatsApp calls a customer without one; may be empty."""
        return (
            text_at(self.message, "from")
            or text_at(self.contact, "wa_id")
            or text_at(self.message, "from_user_id")
            or text_at(self.contact, "user_id")
            or ""
        )

    @property
    def phone_number_id(self) -> str:
        """Which of our numbers it came to."""
        return text_at(self.metadata, "phone_number_id") or ""

    @property
    def sent_at(self) -> datetime | None:
        """When, by Meta's clock; None when that cannot be read."""
        return _time_of(self.message)

    @property
    def callback_data(self) -> str | None:
        """What the back-end gave along with what this answers."""
        return text_at(self.message, "biz_opaque_callback_data")


@dataclass(frozen=True, slots=True)
class Status:
    """What has become of a message of ours: an element of ``statuses``."""

    status: Object

    @property
    def id(self) -> str:
        """Meta's id of the message."""
        return text_at(self.status, "id") or ""

    @property
    def word(self) -> str:
        """What has become of it."""
        return text_at(self.status, "status") or ""

    @property
    def participant(self) -> str:
        """Of which member of a group it is told; empty for a single customer."""
        return text_at(self.status, "recipient_participant_id") or ""

    @property
    def number(self) -> str:
        """The customer's number, or what WhatsApp calls a customer without one; may be empty."""
        return (
            text_at(self.status, "recipient_id") or text_at(self.status, "recipient_user_id") or ""
        )

    @property
    def sent_at(self) -> datetime | None:
        """When, by Meta's clock; None when that cannot be read."""
        return _time_of(self.status)

    @property
    def callback_data(self) -> str | None:
        """What the back-end gave along with the message."""
        return text_at(self.status, "biz_opaque_callback_data")


Update = Message | Status


def read_updates(body: bytes) -> list[Update]:
    """Return all messages and statuses in ``body``, in their order; other things are left out.

    Raises:
        ValueError: it is not JSON, or not a webhook: an object with a list called ``entry``.
    """
    try:
        webhook = strict_json.loads(body)
    except ValueError:
        # A name or a text that was cut within an emoji must not cost all that is beside it.
        webhook = strict_json.loads(_ESCAPE.sub(_whole_escape, body))
    if not isinstance(webhook, dict) or not isinstance(webhook.get("entry"), list):
        raise ValueError("it is not a webhook")  # noqa: TRY004 - one kind of error says it all
    return [update for value in _values(webhook) for update in _updates_in(value)]


def _whole_escape(escape: re.Match[bytes]) -> bytes:
    return escape[0] if escape["half"] is None else _REPLACEMENT


def _values(webhook: Object) -> Iterator[Object]:
    """Yield what changed, of the one field that speaks of messages."""
    for entry in _objects(webhook, "entry"):
        for change in _objects(entry, "changes"):
            value = change.get("value")
            if change.get("field") == "messages" and isinstance(value, dict):
                yield value


def _updates_in(value: Object) -> Iterator[Update]:
    metadata = value.get("metadata")
    contacts = list(_objects(value, "contacts"))
    for message in _objects(value, "messages"):
        contact = _contact_of(message, contacts)
        yield Message(message, metadata if isinstance(metadata, dict) else {}, contact)
    for status in _objects(value, "statuses"):
        update = Status(status)
        if update.id and update.word:
            yield update


def _objects(parent: Object, name: str) -> Iterator[Object]:
    elements = parent.get(name)
    if isinstance(elements, list):
        yield from (element for element in elements if isinstance(element, dict))


def _contact_of(message: Object, contacts: list[Object]) -> Object:
    number = text_at(message, "from")
    if number is not None:
        return next((each for each in contacts if each.get("wa_id") == number), {})
    return contacts[0] if len(contacts) == 1 else {}


def _time_of(element: Object) -> datetime | None:
    text = str(element.get("timestamp"))
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        return None
    seconds = int(text)
    return datetime.fromtimestamp(seconds, UTC) if seconds <= _LAST_SECOND else None
