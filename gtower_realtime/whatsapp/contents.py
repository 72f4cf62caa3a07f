"""What a customer's message says, as a line that anybody can read. Pure functions.

A new type of message is one row in `_READERS`. A type without a row shows the text that is found in
it, and if there is none the name of the type.
"""

from collections.abc import Callable, Mapping
from typing import Any

_UNREADABLE = "A message that WhatsApp does not pass on to businesses"


def readable_content(message: Mapping[str, Any]) -> str:
    """Return the content of an element of ``messages``, whatever it consists of; never empty."""
    kind = text_at(message, "type")
    if kind is None:
        return "A message"
    content = message.get(kind)
    part = content if isinstance(content, Mapping) else {}
    reader = _READERS.get(kind)
    if reader is not None:
        return reader(message, part)
    words = ("body", "text", "caption", "title", "name")
    return next(filter(None, (text_at(part, word) for word in words)), f"A message: {kind}")


def text_at(value: Any, *path: str) -> str | None:
    """Return the text at ``path`` in nested objects; None if there is none, or an empty one."""
    for name in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value if isinstance(value, str) and value.strip() else None


def _text(_message: Mapping[str, Any], part: Mapping[str, Any]) -> str:
    return text_at(part, "body") or "An empty text"


def _button(_message: Mapping[str, Any], part: Mapping[str, Any]) -> str:
    return text_at(part, "payload") or text_at(part, "text") or "A button"


def _interactive(_message: Mapping[str, Any], part: Mapping[str, Any]) -> str:
    return (
        text_at(part, "button_reply", "title")
        or text_at(part, "list_reply", "title")
        or text_at(part, "nfm_reply", "response_json")
        or text_at(part, "nfm_reply", "body")
        or "An answer"
    )


def _captioned(message: Mapping[str, Any], part: Mapping[str, Any]) -> str:
    return text_at(part, "caption") or text_at(part, "filename") or _kind(message, part)


def _kind(message: Mapping[str, Any], _part: Mapping[str, Any]) -> str:
    return str(message["type"])


def _location(_message: Mapping[str, Any], part: Mapping[str, Any]) -> str:
    name = text_at(part, "name") or text_at(part, "address")
    if name is not None:
        return name
    places = [part.get("latitude"), part.get("longitude")]
    if all(isinstance(place, int | float) for place in places):
        return "{}, {}".format(*places)
    return "A location"


def _contacts(message: Mapping[str, Any], _part: Mapping[str, Any]) -> str:
    contacts = message.get("contacts")
    found = [
        text_at(contact, "name", "formatted_name") or text_at(contact, "name", "first_name")
        for contact in (contacts if isinstance(contacts, list) else [])
    ]
    return ", ".join(filter(None, found)) or "Contacts"


def _reaction(_message: Mapping[str, Any], part: Mapping[str, Any]) -> str:
    return text_at(part, "emoji") or "A reaction was taken back"


def _order(_message: Mapping[str, Any], part: Mapping[str, Any]) -> str:
    items = part.get("product_items")
    count = len(items) if isinstance(items, list) else 0
    order = (
        f"An order of {count} {'product' if count == 1 else 'products'}" if count else "An order"
    )
    text = text_at(part, "text")
    return order if text is None else f"{order}: {text}"


def _system(_message: Mapping[str, Any], part: Mapping[str, Any]) -> str:
    return text_at(part, "body") or "A notice of WhatsApp"


def _unsupported(_message: Mapping[str, Any], _part: Mapping[str, Any]) -> str:
    return _UNREADABLE


_READERS: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Any]], str]] = {
    "text": _text,
    "button": _button,
    "interactive": _interactive,
    "image": _captioned,
    "video": _captioned,
    "document": _captioned,
    "audio": _kind,
    "sticker": _kind,
    "location": _location,
    "contacts": _contacts,
    "reaction": _reaction,
    "order": _order,
    "system": _system,
    "unsupported": _unsupported,
    "unknown": _unsupported,
}
