"""Bodies like Meta's, to try the webhook out: one message or one status each. Pure functions."""

from collections.abc import Callable, Mapping
from typing import Any

from gtower_realtime import strict_json

PHONE_NUMBER_ID = "106540352242922"

_MEDIA = {"id": "1003383421387256", "mime_type": "application/octet-stream"}

_PARTS: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "text": lambda text: {"text": {"body": text}},
    "button": lambda text: {"button": {"payload": text, "text": text}},
    "interactive": lambda text: {
        "interactive": {"type": "list_reply", "list_reply": {"id": "r1", "title": text}}
    },
    "image": lambda text: {"image": {**_MEDIA, "caption": text}},
    "video": lambda text: {"video": {**_MEDIA, "caption": text}},
    "document": lambda text: {"document": {**_MEDIA, "filename": text}},
    "audio": lambda _: {"audio": dict(_MEDIA)},
    "sticker": lambda _: {"sticker": dict(_MEDIA)},
    "location": lambda text: {"location": {"latitude": 37.44, "longitude": -122.16, "name": text}},
    "contacts": lambda text: {"contacts": [{"name": {"formatted_name": text}}]},
    "reaction": lambda _: {"reaction": {"message_id": "wamid.earlier", "emoji": "\U0001f44d"}},
    "order": lambda text: {"order": {"text": text, "product_items": [{"quantity": 1}]}},
    "system": lambda text: {"system": {"body": text}},
    "unsupported": lambda _: {"errors": [{"code": 131051, "title": "Message type unknown"}]},
}

MESSAGE_TYPES = tuple(_PARTS)
STATUSES = ("sent", "delivered", "read", "played", "failed")


def body_of_message(
    kind: str, *, message_id: str, number: str, name: str, text: str, at: int
) -> bytes:
    """Return a webhook with one message of a customer, of a type of `MESSAGE_TYPES`.

    ``at`` is in seconds since 1970.
    """
    message = {"from": number, "id": message_id, "timestamp": str(at), "type": kind}
    contact = {"profile": {"name": name}, "wa_id": number}
    return _body(contacts=[contact], messages=[message | _PARTS[kind](text)])


def body_of_status(
    status: str, *, message_id: str, number: str, customer_id: str | None, at: int
) -> bytes:
    """Return a webhook with one of `STATUSES`; ``customer_id`` is what a back-end gave along."""
    told: dict[str, Any] = {
        "id": message_id,
        "timestamp": str(at),
        "recipient_id": number,
        "status": status,
    }
    if status == "failed":
        told["errors"] = [{"code": 131026, "title": "Message undeliverable"}]
    if customer_id is not None:
        told["biz_opaque_callback_data"] = f"customer:{customer_id}"
    return _body(statuses=[told])


def _body(**updates: Any) -> bytes:
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550783881", "phone_number_id": PHONE_NUMBER_ID},
        **updates,
    }
    change = {"value": value, "field": "messages"}
    entry = {"id": "102290129340398", "changes": [change]}
    return strict_json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()
